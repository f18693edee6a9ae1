/* Whisper models in files: whisper.cpp's `.bin`, GGUF and Hugging Face folders, both ways.
 *
 * What travels with the weights is kept: the mel filters and the tokens of the vocabulary.
 */
#ifndef KD_FILES_WHISPER_FILE_H
#define KD_FILES_WHISPER_FILE_H

#include <stddef.h>

#include "base/file.h"
#include "data/tokenizer.h"
#include "files/encoding.h"
#include "files/gguf.h"
#include "files/packing.h"
#include "files/stored.h"
#include "layers/whisper.h"

/* A head of the decoder's cross-attention that follows the words in time. */
typedef struct {
    int layer, head;
} kd_whisper_head;

typedef struct {
    kd_whisper *model;
    int bins;       /* of the DFT: 201                                      */
    float *filters; /* (mels, bins), or NULL when the file brought none     */
    kd_tokenizer *tokenizer;
    kd_whisper_head *head; /* (head_count), for the times of words; none when not known */
    int head_count;
    const char *origin; /* what it was made from, for the GGUF that is written; borrowed, or NULL */
    const char *budget; /* how its formats were chosen (distill/budget.h), likewise */
    const kd_encoding *encoding; /* (parameters), for files that are written; borrowed. NULL: what
                                    kd_whisper_format_of says, the nearest numbers            */
    const kd_number_format **stored; /* (parameters) the formats a `.bin` has them in, else NULL */
    void *kept; /* of KD_WHISPER_ONLY_READ: the matrices, and the files in which they stay */
    kd_file_map map;
    struct kd_folder_weights *folder;
} kd_whisper_file;

/* A `.bin` or GGUF file, told by its first bytes, or a folder with config.json and safetensors.
 * Everything is checked before use, that the weights are finite and the mel filters Whisper's too:
 * KD_EDATA says what is wrong and where. The caller frees *out.
 */
int kd_whisper_file_open(kd_whisper_file **out, const char *path, kd_whisper_training training);
void kd_whisper_file_free(kd_whisper_file *file);

/* The `.bin` in memory, borrowed during the call or, with KD_WHISPER_ONLY_READ, as long as *out;
 * `name` is for messages. */
int kd_whisper_bin_decode(kd_whisper_file **out, const void *bytes, size_t length, const char *name,
                          kd_whisper_training training);
int kd_whisper_bin_read(kd_whisper_file **out, const char *path, kd_whisper_training training);

/* Whole or not at all. `format` is that of the matrices; for the others see kd_whisper_format_of.
 * KD_EUSAGE when not all matrices can have it, since whisper.cpp has one format for all of them,
 * for int8, which the layout has not, and for tokens beyond Whisper's. A warning says what is
 * stated of generation and has no place there. */
int kd_whisper_bin_write(const char *path, const kd_whisper_file *file,
                         const kd_number_format *format);

/* Whether it can: the header and all matrices of a model of these sizes can have the format. */
bool kd_whisper_bin_fits(const kd_whisper_spec *spec, const kd_number_format *format);

/* GGUF of architecture "whisper". Keys: those of ggml's GGUF description (whisper.encoder.* and
 * whisper.decoder.*), tokenizer.ggml.* of the model "gpt2" with all V tokens, and, ours,
 * whisper.decoder.alignment_heads (layer, head, layer, …) and how text is generated
 * (whisper_gguf.h), each where it is stated. Tensors: the names and shapes of the
 * `.bin`, and "mel_filters" (mels,bins). A matrix W in int8 is two tensors, W of type I8 and
 * "W.scale" (out) of type F32.
 * Reading: sizes may have any integer type; without mel filters OpenAI's are used; our checksum is
 * compared where the file has one. `bytes` are borrowed as above. */
int kd_whisper_gguf_decode(kd_whisper_file **out, const void *bytes, size_t length,
                           const char *name, kd_whisper_training training);
int kd_whisper_gguf_read(kd_whisper_file **out, const char *path, kd_whisper_training training);
bool kd_gguf_is_whisper(const kd_gguf *gguf); /* by its general.architecture */
/* As kd_whisper_bin_write, in any format that GGUF can hold; a line says how many matrices have
 * another than the one that is asked for. */
int kd_whisper_gguf_write(const char *path, const kd_whisper_file *file,
                          const kd_number_format *format);

/* A Hugging Face folder: config.json, model.safetensors or the shards that
 * model.safetensors.index.json names, and the tokenizer's files; generation_config.json and
 * preprocessor_config.json where they are. What they state is followed (kd_whisper_generation) or,
 * where this program knows one way only, must be that way. */
int kd_whisper_folder_read(kd_whisper_file **out, const char *folder, kd_whisper_training training);
/* Makes the folder, and in it config.json, generation_config.json, preprocessor_config.json, the
 * tokenizer's files and, last, model.safetensors, in `format` f32 or f16. How text is generated is
 * written as it is stated, or as Whisper does it. Alignment heads of layers
 * the model does not have are left out; without any left, all heads of the decoder's upper half
 * stand for them, as OpenAI does it. */
int kd_whisper_folder_write(const char *folder, const kd_whisper_file *file,
                            const kd_number_format *format);
/* The same, with matrices packed (packing.h); file->encoding goes by kd_packed_format_of. */
int kd_whisper_folder_write_packed(const char *folder, const kd_whisper_file *file,
                                   const kd_packing *packing);

/* The format in which a parameter lies in a `.bin` or GGUF file whose matrices have this one
 * (whisper_names.h): convolutions are f16 (f32 in an f32 file), norms, biases and positions f32. A
 * kd_format_rule. */
const kd_number_format *kd_whisper_format_of(const kd_param *param,
                                             const kd_number_format *matrices);

/* --- for the readers and writers ----------------------------------------------------------------
 */

/* The weights, from where they lie; with KD_WHISPER_ONLY_READ matrices stay there. */
int kd_whisper_file_load(kd_whisper_file *file, const kd_stored *list, kd_whisper_training training,
                         const char *source);

/* What the file says of its writing, or the nearest numbers, which *own then holds for the caller
 * to free. */
int kd_whisper_encodings(const kd_encoding **out, kd_encoding **own, const kd_whisper_file *file,
                         const kd_number_format *matrices);

/* OpenAI's mel filters into a file without. */
int kd_whisper_add_filters(kd_whisper_file *file, int mels);

#endif
