/* Keys of a GGUF whose values a model needs. Integers come in any integer type, numbers in any
 * float type; KD_EDATA, naming `name`, where a key has another type or is out of range. */
#ifndef KD_FILES_GGUF_VALUES_H
#define KD_FILES_GGUF_VALUES_H

#include "files/gguf.h"

/* A size, 0 to 2^31 − 1, that must be there. */
int kd_gguf_size(int *out, const kd_gguf *gguf, const char *key, const char *name);
/* The same; `fallback` where the key is missing. */
int kd_gguf_size_or(int *out, const kd_gguf *gguf, const char *key, int fallback, const char *name);
int kd_gguf_number(double *out, const kd_gguf *gguf, const char *key, const char *name);
int kd_gguf_number_or(double *out, const kd_gguf *gguf, const char *key, double fallback,
                      const char *name);
/* Whether the key holds exactly this text. */
bool kd_gguf_says(const kd_gguf *gguf, const char *key, const char *text);

#endif
