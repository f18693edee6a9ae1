/* What the files of models of text share, whatever their architecture: folders of Hugging Face and
 * GGUFs, with a tokenizer. */
#ifndef KD_FILES_TEXT_MODEL_H
#define KD_FILES_TEXT_MODEL_H

#include "base/json.h"
#include "data/text_tokenizer.h"
#include "files/gguf.h"

/* Whether `path` is a folder whose config.json, or a GGUF, is one of an architecture. */
bool kd_text_model_is(const char *path, bool (*config_is)(const kd_json *config),
                      bool (*gguf_is)(const kd_gguf *gguf));

/* KD_EDATA when there is no tokenizer (NULL), or one of more tokens than the `vocabulary` rows of
 * the embedding. */
int kd_text_model_need_tokenizer(const kd_text_tokenizer *tokenizer, int vocabulary,
                                 const char *path);

#endif
