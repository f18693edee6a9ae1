/* Whisper models in files: whisper.cpp's `.bin` and Hugging Face folders, both ways.
 *
 * What travels with the weights is kept: the mel filters and the tokens of the vocabulary.
 */
#ifndef KD_QUANT_WHISPER_FILE_H
#define KD_QUANT_WHISPER_FILE_H

#include <stddef.h>

#include "layers/whisper.h"
#include "quant/number_format.h"

/* The bytes of each token, by its number. Special tokens, which come behind, are not among them. */
typedef struct {
    int count;
    uint32_t *begin; /* (count + 1) token i is text[begin[i]] … text[begin[i+1]] */
    char *text;
} kd_whisper_tokens;

typedef struct {
    kd_whisper *model;
    int bins;       /* of the DFT: 201                                      */
    float *filters; /* (mels, bins), or NULL when the file brought none     */
    kd_whisper_tokens tokens;
} kd_whisper_file;

/* A `.bin` file, or a folder with config.json and safetensors. Everything is checked before use:
 * KD_EDATA says what is wrong and where. The caller frees *out. */
int kd_whisper_file_open(kd_whisper_file **out, const char *path, kd_whisper_training training);
void kd_whisper_file_free(kd_whisper_file *file);

/* The `.bin` in memory (borrowed during the call); `name` is for messages. */
int kd_whisper_bin_decode(kd_whisper_file **out, const void *bytes, size_t length, const char *name,
                          kd_whisper_training training);
int kd_whisper_bin_read(kd_whisper_file **out, const char *path, kd_whisper_training training);

/* Whole or not at all. `format` is that of the matrices; norms, biases and positions are f32 and
 * convolutions f16 (f32 with f32) whatever it is. KD_EUSAGE when the width does not divide into
 * blocks. */
int kd_whisper_bin_write(const char *path, const kd_whisper_file *file,
                         const kd_number_format *format);

/* --- for the readers and writers --- */

/* Between a parameter and its values in PyTorch's layout: a convolution is (out,in,kernel). */
void kd_whisper_set_values(kd_param *param, const float *values);
void kd_whisper_get_values(float *values, const kd_param *param);

/* Token number `count`, behind those that are there. */
int kd_whisper_tokens_add(kd_whisper_tokens *tokens, int capacity, const char *bytes,
                          uint32_t length);

#endif
