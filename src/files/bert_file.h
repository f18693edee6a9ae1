/* Encoders of text (layers/bert.h) in files: Hugging Face folders of BERT and DistilBERT, and GGUF,
 * both ways. The tokens of the vocabulary travel with the weights.
 */
#ifndef KD_FILES_BERT_FILE_H
#define KD_FILES_BERT_FILE_H

#include "base/json.h"
#include "base/text.h"
#include "data/text_tokenizer.h"
#include "files/encoding.h"
#include "files/gguf.h"
#include "files/stored.h"
#include "layers/bert.h"

typedef struct {
    kd_bert *model;
    const kd_text_tokenizer *tokenizer; /* own_tokenizer or borrowed; NULL: the file has none    */
    kd_text_tokenizer *own_tokenizer;
    const char *const *class_name; /* (classes) for files that are written; borrowed, or NULL    */
    const char *origin;          /* what it was made from, for a GGUF; borrowed, or NULL         */
    const kd_encoding *encoding; /* (parameters), for files that are written; borrowed. NULL: what
                                    kd_bert_format_of says, the nearest numbers                  */
} kd_bert_file;

/* A GGUF, told by its first bytes, or a folder with config.json and safetensors. Everything is
 * checked before use, that the weights are finite too: KD_EDATA says what is wrong and where. The
 * caller frees *out. */
int kd_bert_file_open(kd_bert_file **out, const char *path, bool frozen);
/* Whether a file or folder says that it is one of these; false for what cannot be read. */
bool kd_bert_file_is(const char *path);
void kd_bert_file_free(kd_bert_file *file);

/* A folder of model_type bert or distilbert, whose masked-language head, pooler and classes are
 * there or not. The head's matrix is the token embedding; the head for the next sentence, which
 * BERT's first files have, is passed over. */
int kd_bert_folder_read(kd_bert_file **out, const char *folder, bool frozen);
/* Makes the folder, and in it config.json and, last, model.safetensors, in `format` f32 or f16,
 * with the tokenizer's files where it has one. */
int kd_bert_folder_write(const char *folder, const kd_bert_file *file,
                         const kd_number_format *format);

/* Whether its general.architecture is that. */
bool kd_gguf_is_bert(const kd_gguf *gguf);
/* A GGUF of architecture bert; `bytes` are borrowed during the call. llama.cpp reads those that
 * have no masked-language head, of which it knows no tensors. */
int kd_bert_gguf_decode(kd_bert_file **out, const void *bytes, size_t length, const char *name,
                        bool frozen);
int kd_bert_gguf_read(kd_bert_file **out, const char *path, bool frozen);
/* Whole or not at all, in any format that GGUF can hold (KD_EUSAGE). */
int kd_bert_gguf_write(const char *path, const kd_bert_file *file, const kd_number_format *format);

/* The format in which a parameter lies in a file whose matrices have this one: norms and biases are
 * f32. A kd_format_rule. */
const kd_number_format *kd_bert_format_of(const kd_param *param, const kd_number_format *matrices);

/* KD_EDATA when the file has no tokenizer, or one of more tokens than the model; `path` is for the
 * message. */
int kd_bert_file_need_tokenizer(const kd_bert_file *file, const char *path);

/* --- for the readers and writers, and for tests ---------------------------------------------- */

/* config.json, both ways. Which heads there are is not in it, but for `classes`, which count only
 * where the weights have them. */
bool kd_bert_config_is(const kd_json *config);
int kd_bert_config_read(kd_bert_spec *spec, const char *folder);
void kd_bert_config_text(kd_text *out, const kd_bert_spec *spec, const char *const *class_name,
                         const char *dtype);

/* "bert" or "distilbert". */
const char *kd_bert_family_name(const kd_bert_spec *spec);
/* Hugging Face's names: "bert.encoder.layer.0.attention.self.query.weight". `older`: norms have
 * gamma and beta. */
const kd_names *kd_bert_hugging(const kd_bert_spec *spec, bool older);
/* llama.cpp's: "blk.0.attn_q.weight". */
extern const kd_names kd_bert_ggml;

#endif
