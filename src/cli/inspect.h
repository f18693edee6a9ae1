/* What `distill inspect` says about each kind of file, as text. */
#ifndef KD_CLI_INSPECT_H
#define KD_CLI_INSPECT_H

#include <stdint.h>

#include "base/text.h"
#include "files/bert_file.h"
#include "files/llama_file.h"
#include "files/whisper_file.h"

int kd_inspect_config(kd_text *out, const char *path); /* by its task */
int kd_inspect_checkpoint(kd_text *out, const char *path);
int kd_inspect_store(kd_text *out, const char *path);
int kd_inspect_gguf(kd_text *out, const char *path);
int kd_inspect_safetensors(kd_text *out, const char *path);
int kd_inspect_onnx(kd_text *out, const char *path);
int kd_inspect_whisper_bin(kd_text *out, const char *path);
int kd_inspect_whisper_folder(kd_text *out, const char *path);
int kd_inspect_llama_folder(kd_text *out, const char *path);
int kd_inspect_bert_folder(kd_text *out, const char *path);

/* The sizes of a Whisper model in a file: encoder and decoder, sound, words. */
int kd_inspect_add_whisper(kd_text *out, const kd_whisper_file *file);
/* Those of a language model: its parts, words, ends, chat template. */
int kd_inspect_add_llama(kd_text *out, const kd_llama_file *file);
/* Those of an encoder: its parts, words, heads. */
int kd_inspect_add_bert(kd_text *out, const kd_bert_file *file);

/* "16×3×3×3"; "single" for a number without axes. */
void kd_inspect_add_shape(kd_text *out, int rank, const int64_t *shape);
/* The last row of a table of tensors: name, two columns, numbers, size. */
void kd_inspect_add_total(kd_text *rows, int64_t tensors, int64_t numbers, double bytes);

#endif
