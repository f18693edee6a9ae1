/* One picture from a PNG, PGM (P5) or PPM (P6) file, as the bytes a network is fed. */
#ifndef KD_DATA_IMAGE_H
#define KD_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* Into out (h,w,c) with c = 1 (grey) or 3 (RGB). A picture of another size is refused (KD_EDATA,
 * both sizes named). Samples are taken as they are encoded, without regard to gamma or colour
 * profiles: 16 bits become 8 by 255/65535, fewer than 8 by 255/(2^bits − 1), what is transparent is
 * put on black as value·alpha/255, each rounded. Colours are converted behind that: grey = 0.299 R
 * + 0.587 G + 0.114 B, RGB = grey three times. KD_ENOINPUT when the file is missing. */
int kd_image_read(uint8_t *out, const char *path, int64_t h, int64_t w, int64_t c);

/* The same from a whole file in memory; `name` is for messages. */
int kd_image_decode(uint8_t *out, const void *bytes, size_t length, const char *name, int64_t h,
                    int64_t w, int64_t c);

#endif
