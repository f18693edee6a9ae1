/* A file's bytes from start to end, decompressed where its name ends in .gz (zlib) or .xz
 * (liblzma). A file that breaks off is an error. */
#ifndef KD_DATA_TEXT_STREAM_H
#define KD_DATA_TEXT_STREAM_H

#include <stddef.h>
#include <stdint.h>

typedef struct kd_text_stream kd_text_stream;

/* `path` is borrowed until the close. KD_ENOINPUT, KD_EIO. The caller closes. */
int kd_text_stream_open(kd_text_stream **out, const char *path);
void kd_text_stream_close(kd_text_stream *stream);

/* Up to `room` bytes into out, fewer only at the end; how many, 0 at the end, or KD_EDATA, KD_EIO.
 */
int64_t kd_text_stream_read(kd_text_stream *stream, char *out, size_t room);

#endif
