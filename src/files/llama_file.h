/* Decoders over text (layers/llama.h) in files: Hugging Face folders and GGUF, both ways.
 *
 * What travels with the weights is kept: the tokens of the vocabulary, and which of them end a
 * text.
 */
#ifndef KD_FILES_LLAMA_FILE_H
#define KD_FILES_LLAMA_FILE_H

#include "base/file.h"
#include "data/text_tokenizer.h"
#include "files/encoding.h"
#include "files/gguf.h"
#include "files/packing.h"
#include "files/stored.h"
#include "layers/llama.h"

enum { KD_STOPS_MAX = 16 };

typedef struct {
    int32_t bos; /* stands in front of a text; −1: nothing does, or it is not known */
    int32_t stop[KD_STOPS_MAX]; /* (stop_count) each ends a text                                  */
    int stop_count;
} kd_llama_ends;

typedef struct {
    kd_llama *model;
    const kd_text_tokenizer *tokenizer; /* own_tokenizer or borrowed; NULL: the file has none */
    kd_text_tokenizer *own_tokenizer;
    kd_llama_ends ends;
    const char *origin; /* what it was made from, for the GGUF that is written; borrowed, or NULL */
    const char *budget; /* how its formats were chosen (distill/budget.h), likewise */
    const kd_encoding *encoding; /* (parameters), for files that are written; borrowed. NULL: what
                                    kd_llama_format_of says, the nearest numbers             */
    void *kept; /* of KD_LLAMA_ONLY_READ: the matrices, and the files in which they stay */
    kd_file_map map;
    struct kd_folder_weights *folder;
} kd_llama_file;

/* A GGUF, told by its first bytes, or a folder with config.json and safetensors. Everything is
 * checked before use, that the weights are finite too: KD_EDATA says what is wrong and where. The
 * caller frees *out. */
int kd_llama_file_open(kd_llama_file **out, const char *path, kd_llama_training training);
/* Whether a file or folder says that it is one of these; false for what cannot be read. */
bool kd_llama_file_is(const char *path);
void kd_llama_file_free(kd_llama_file *file);

/* A Hugging Face folder of model_type llama, mistral (without a sliding window), qwen2 or qwen3. */
int kd_llama_folder_read(kd_llama_file **out, const char *folder, kd_llama_training training);
/* Makes the folder, and in it config.json, generation_config.json and, last, model.safetensors, in
 * `format` f32 or f16, with the tokenizer's files where it has one. KD_EUSAGE where config.json has
 * no word for what a GGUF said. */
int kd_llama_folder_write(const char *folder, const kd_llama_file *file,
                          const kd_number_format *format);

/* The same, with matrices packed (packing.h); file->encoding goes by kd_packed_format_of. */
int kd_llama_folder_write_packed(const char *folder, const kd_llama_file *file,
                                 const kd_packing *packing);

/* A GGUF of architecture llama, qwen2 or qwen3. `bytes` are borrowed during the call or, with
 * KD_LLAMA_ONLY_READ, as long as *out; `name` is for messages. Our checksum is compared where the
 * file has one. */
int kd_llama_gguf_decode(kd_llama_file **out, const void *bytes, size_t length, const char *name,
                         kd_llama_training training);
int kd_llama_gguf_read(kd_llama_file **out, const char *path, kd_llama_training training);
/* Whether its general.architecture is one of those. */
bool kd_gguf_is_llama(const kd_gguf *gguf);
/* Whole or not at all, in any format that GGUF can hold (KD_EUSAGE); a line says how many matrices
 * have another than the one that is asked for. */
int kd_llama_gguf_write(const char *path, const kd_llama_file *file,
                        const kd_number_format *format);

/* The format in which a parameter lies in a GGUF whose matrices have this one: norms and biases are
 * f32; of formats with a scale of the tensor, for which llama.cpp looks beside the layers' matrices
 * only, embeddings and the output matrix are q8_0. A kd_format_rule. */
const kd_number_format *kd_llama_format_of(const kd_param *param, const kd_number_format *matrices);

/* KD_EDATA when the file has no tokenizer, or one of more tokens than the model; `path` is for the
 * message. */
int kd_llama_file_need_tokenizer(const kd_llama_file *file, const char *path);

/* --- for the readers ------------------------------------------------------------------------- */

/* The weights, from where they lie; with KD_LLAMA_ONLY_READ matrices stay there. */
int kd_llama_file_load(kd_llama_file *file, const kd_stored *list, kd_llama_training training,
                       const char *source);

#endif
