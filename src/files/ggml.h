/* What whisper.cpp's `.bin` and GGUF share: sizes fastest first, and numbers of formats. */
#ifndef KD_FILES_GGML_H
#define KD_FILES_GGML_H

#include "files/stored.h"

/* Formats whose tensors are read, for messages. */
#define KD_GGML_READ "f32, f16, bf16, f64, q4_0, q4_1, q5_0, q5_1 and q8_0"

/* The sizes of a tensor, fastest first; the rank, at most 4 (contract), is returned. */
int kd_ggml_sizes(int64_t ne[4], const kd_named *named);

/* Whether sizes found are those; sizes of 1 count for nothing but in convolutions. */
bool kd_ggml_sizes_fit(const kd_named *named, int rank, const int64_t *ne);

/* KD_EDATA, naming `source`, unless every row of the parameter is whole blocks of the format. */
int kd_ggml_check_rows(const kd_param *param, const kd_named *named, const kd_number_format *format,
                       const char *source);

/* ggml's number of a file whose matrices have this format ("ftype"); −1 when it has none. */
int kd_ggml_file_type(const kd_number_format *format);

#endif
