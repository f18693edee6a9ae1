/* Tokenizers of language models: byte-pair encoding over bytes (GPT-2, SmolLM, Llama 3, Qwen 2) or
 * characters (SentencePiece), unigram language models (Kudo 2018, as SentencePiece has them) and
 * WordPiece (BERT). Whisper's is tokenizer.h.
 *
 * A text's added tokens ("<|im_start|>") are found first. What is between them is normalised
 * (text_normal.h), split into pieces (text_split.h), and each piece becomes tokens. Text and pieces
 * are UTF-8; ids are 0 … V−1.
 */
#ifndef KD_DATA_TEXT_TOKENIZER_H
#define KD_DATA_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "data/token_table.h"

/* What a token is; the numbers are SentencePiece's and GGUF's. */
typedef enum {
    KD_TOKEN_NORMAL = 1,
    KD_TOKEN_UNKNOWN,
    KD_TOKEN_CONTROL, /* special: no text, left out when a text is made of ids */
    KD_TOKEN_USER,    /* added, and text                                       */
    KD_TOKEN_UNUSED,
    KD_TOKEN_BYTE /* "<0x0A>", for characters without a token */
} kd_token_kind;

typedef struct {
    int32_t vocabulary; /* V; ids are below                        */
    int32_t bos, eos;   /* begin and end of a text; −1: none, as all below */
    int32_t unknown, padding, mask, separator, classify;
} kd_text_token_ids;

enum { KD_TEXT_VOCABULARY_MAX = 1 << 24, KD_TEXT_BYTES_MAX = 1 << 28 };

typedef struct kd_text_tokenizer kd_text_tokenizer;

/* From a folder of Hugging Face's: tokenizer.json, or else tokenizer.model (SentencePiece), or else
 * vocab.json and merges.txt (GPT-2's splitting), or else vocab.txt (BERT); and, where they are,
 * special_tokens_map.json and tokenizer_config.json (which tokens begin, end, pad …; the chat
 * template). What a file asks for and this reader has not is refused by its name. KD_ENOINPUT when
 * none is there, KD_EDATA. The caller frees *out, which is NULL after an error. */
int kd_text_tokenizer_read(kd_text_tokenizer **out, const char *folder);
/* A whole tokenizer.json in memory; `name` is for messages. */
int kd_text_tokenizer_parse_json(kd_text_tokenizer **out, const char *text, size_t length,
                                 const char *name);
/* A whole tokenizer.model of SentencePiece's (unigram or BPE) in memory. Its control and
 * user-defined pieces are found in a text before all else, as transformers does. */
int kd_text_tokenizer_parse_model(kd_text_tokenizer **out, const void *bytes, size_t length,
                                  const char *name);
/* Writes tokenizer.json and tokenizer_config.json into a folder that exists, each whole or not at
 * all; reading them gives the same ids. */
int kd_text_tokenizer_write(const kd_text_tokenizer *tokenizer, const char *folder);
void kd_text_tokenizer_free(kd_text_tokenizer *tokenizer);

const kd_text_token_ids *kd_text_tokenizer_ids(const kd_text_tokenizer *tokenizer);
/* Which tokens begin and end a text, by what a model's file says; −1 leaves what is known. KD_EDATA
 * when an id is beyond the vocabulary. */
int kd_text_tokenizer_set_ends(kd_text_tokenizer *tokenizer, int32_t bos, int32_t eos);
/* Names everything that the ids of a text depend on, but for the tokens put around it: models whose
 * tokenizers have one hash share ids. */
kd_hash kd_text_tokenizer_hash(const kd_text_tokenizer *tokenizer);
/* The text of tokenizer_config.json's (or GGUF's) chat template, or NULL. */
const char *kd_text_tokenizer_template(const kd_text_tokenizer *tokenizer);

/* text → *out (*count ids), which the caller frees. With `ends`, the tokens that the tokenizer puts
 * around a text ([CLS] … [SEP], <s> …) are there; GPT-2 and SmolLM put none. The text of an added
 * token becomes that token, as in transformers. KD_EDATA when the text is not UTF-8 (the first bad
 * byte is named) or longer than KD_TEXT_BYTES_MAX, or when a character has no token and there is
 * none for the unknown; bytes that a byte-level vocabulary
 * lacks are left out, as by transformers and llama.cpp (SmolLM: some controls). Several threads may
 * use one tokenizer. */
int kd_text_tokenizer_encode(int32_t **out, int64_t *count, const kd_text_tokenizer *tokenizer,
                             const char *text, size_t length, bool ends);

/* ids (count) → UTF-8, 0-terminated, *length bytes (length may be NULL); bytes that make no
 * character become U+FFFD. Special tokens are left out unless `specials`. The caller frees *out.
 * KD_EDATA when an id is not in the vocabulary. */
int kd_text_tokenizer_decode(char **out, size_t *length, const kd_text_tokenizer *tokenizer,
                             const int32_t *id, int64_t count, bool specials);

/* A token's bytes (byte-level), or its text as the vocabulary has it ("▁the", "##ing"); 0 ≤ id < V.
 * Valid until the free. */
kd_token_bytes kd_text_tokenizer_token(const kd_text_tokenizer *tokenizer, int32_t id);
kd_token_kind kd_text_tokenizer_kind(const kd_text_tokenizer *tokenizer, int32_t id);
/* The id of a token by its text as kd_text_tokenizer_token gives it, or −1. */
int32_t kd_text_tokenizer_find(const kd_text_tokenizer *tokenizer, const char *text);

#endif
