/* Tokenizers of language models in GGUF's keys "tokenizer.ggml.…", as llama.cpp has them:
 *
 *     model   "gpt2" byte-level BPE · "llama" SentencePiece's BPE · "t5" unigram · "bert" WordPiece
 *     pre     how a text is split: "gpt-2", "smollm", "llama-bpe", "qwen2" and a few that do the
 * same tokens, token_type, scores or merges; …_token_id, add_…_token; tokenizer.chat_template
 */
#ifndef KD_FILES_TEXT_TOKENIZER_GGUF_H
#define KD_FILES_TEXT_TOKENIZER_GGUF_H

#include "data/text_tokenizer.h"
#include "files/gguf.h"

/* KD_EDATA when keys are missing or not what they should be, and for another model or split, which
 * is named. `name` is what messages call the file. The caller frees *out. */
int kd_text_tokenizer_read_gguf(kd_text_tokenizer **out, const kd_gguf *gguf, const char *name);

/* Adds the keys, with tokens "[PADn]" up to `rows`, the rows of the embedding. KD_EDATA when
 * llama.cpp has no such tokenizer, or rows are fewer than tokens. */
int kd_text_tokenizer_add_gguf(kd_gguf_writer *writer, const kd_text_tokenizer *tokenizer,
                               int64_t rows);

#endif
