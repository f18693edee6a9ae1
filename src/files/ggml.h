/* What whisper.cpp's `.bin` and GGUF share: sizes fastest first, and numbers of formats. */
#ifndef KD_FILES_GGML_H
#define KD_FILES_GGML_H

#include "files/stored.h"

/* The sizes of a tensor in `format`, fastest first; the rank, at most 4 (contract), is returned.
 * Blocks need whole rows: what has more axes is a matrix of shape[0] rows then. */
int kd_ggml_sizes(int64_t ne[4], const kd_named *named, const kd_number_format *format);

/* Whether sizes found are those; sizes of 1 count for nothing but in convolutions. */
bool kd_ggml_sizes_fit(const kd_named *named, const kd_number_format *format, int rank,
                       const int64_t *ne);

/* KD_EDATA, naming `source`, unless every row of the parameter is whole blocks of the format. */
int kd_ggml_check_rows(const kd_param *param, const kd_named *named, const kd_number_format *format,
                       const char *source);

#endif
