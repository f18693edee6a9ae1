/* Whisper's text: byte-level byte-pair encoding (Sennrich et al. 2016, on bytes as GPT-2 does it)
 * and the special tokens behind the ordinary ones.
 *
 * A text is split as GPT-2 splits it (contractions, words, numbers, punctuation, white space; an
 * initial space belongs to what follows); within a piece the neighbours whose union is the token of
 * the lowest id are joined until no union is a token. Ids, lowest first:
 *
 *     ordinary tokens · end · start · languages · translate · transcribe · start_lm · previous ·
 *     no_speech · no_timestamps · timestamps 0.00, 0.02 … 30.00 s · added ones
 *
 * English-only models have 51864 tokens, end = 50256; multilingual ones 51865 (99 languages) or
 * 51866 (100), end = 50257; more where tokens were added to them, which keep their ids.
 */
#ifndef KD_DATA_TOKENIZER_H
#define KD_DATA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "data/token_table.h"

enum {
    KD_TIMESTAMPS = 1501,
    KD_LANGUAGES_MAX = 100,
    KD_ORDINARY_TOKENS_MAX = 1 << 24,
    KD_SPECIALS = 8, /* those of kd_token_ids that are one token each */
    KD_MULTILINGUAL_VOCABULARY = 51865
};

#define KD_TIMESTAMP_SECONDS 0.02

typedef struct {
    int32_t vocabulary; /* V: ids are 0 … V−1                              */
    int32_t end;        /* <|endoftext|>; ordinary tokens have smaller ids */
    int32_t start;      /* <|startoftranscript|>                           */
    int32_t language;   /* the first language, <|en|>                      */
    int32_t languages;  /* how many                                        */
    int32_t translate, transcribe, start_lm, previous, no_speech, no_timestamps;
    int32_t timestamp; /* <|0.00|>, the first of KD_TIMESTAMPS            */
    int32_t added;     /* the first that is none of Whisper's, or V       */
    bool multilingual; /* the model wants language and task behind start  */
} kd_token_ids;

static inline bool kd_token_is_timestamp(const kd_token_ids *ids, int32_t id) {
    return id >= ids->timestamp && id < ids->added;
}

typedef struct kd_tokenizer kd_tokenizer;

/* Tokens that a model has beyond Whisper's, their ids behind the timestamps'. */
typedef struct {
    const kd_token_bytes *token; /* (count); of length 0: an id without a token */
    int64_t count;
} kd_added_tokens;

/* From the ordinary tokens in order of their ids, as a whisper.cpp file lists them; bytes are
 * copied. What stands at and behind "<|endoftext|>" is left out, if it is in the list: the special
 * tokens follow from `vocabulary`. `name` is for messages. KD_EDATA when tokens and vocabulary
 * cannot belong together, when a token is there twice, or a byte has none. The caller frees. */
int kd_tokenizer_create(kd_tokenizer **out, const kd_token_bytes *token, int64_t count,
                        int64_t vocabulary, const char *name);
/* The same where tokens were added, which `vocabulary` counts. An added token is text, and left out
 * like a special one when it looks like one, "<|…|>"; encoding makes none. */
int kd_tokenizer_create_added(kd_tokenizer **out, const kd_token_bytes *token, int64_t count,
                              int64_t vocabulary, const kd_added_tokens *added, const char *name);
/* A copy, which shares nothing. */
int kd_tokenizer_copy(kd_tokenizer **out, const kd_tokenizer *tokenizer);
void kd_tokenizer_free(kd_tokenizer *tokenizer);

/* The same from a tiktoken file: lines of base64 and rank. */
int kd_tokenizer_read_ranks(kd_tokenizer **out, const char *path, int64_t vocabulary);
/* The same from a whole such file in memory. */
int kd_tokenizer_parse_ranks(kd_tokenizer **out, const char *text, size_t length,
                             int64_t vocabulary, const char *name);

/* The same from a Hugging Face folder: vocab.json and, where they are, merges.txt and
 * added_tokens.json; or else tokenizer.json. Where both are, they must have the same tokens. Merges
 * that are not in the order of their ids, special tokens at other ids than Whisper's, and a
 * tokenizer.json that does more to a text than Whisper's are refused; added tokens are named in a
 * warning. */
int kd_tokenizer_read_folder(kd_tokenizer **out, const char *folder, int64_t vocabulary);

const kd_token_ids *kd_tokenizer_ids(const kd_tokenizer *tokenizer);

/* Names all tokens: two models whose tokenizers have one hash can share ids. */
kd_hash kd_tokenizer_hash(const kd_tokenizer *tokenizer);

/* UTF-8 (or any bytes) → *out (*count ids), which the caller frees. What looks like a special token
 * is encoded as the text it is. Several threads may use one tokenizer. */
int kd_tokenizer_encode(int32_t **out, int64_t *count, const kd_tokenizer *tokenizer,
                        const char *text, size_t length);

/* The bytes of a token, 0 ≤ id < vocabulary: maybe part of a character, or "<|en|>", "<|0.02|>".
 * Valid until the free. */
kd_token_bytes kd_tokenizer_token(const kd_tokenizer *tokenizer, int32_t id);

/* ids (count) → UTF-8, 0-terminated, *length bytes (length may be NULL); bytes that make no
 * character become U+FFFD. Special tokens are left out unless `specials`. The caller frees *out.
 * KD_EDATA when an id is not in the vocabulary. */
int kd_tokenizer_decode(char **out, size_t *length, const kd_tokenizer *tokenizer,
                        const int32_t *id, int64_t count, bool specials);

/* The id of a special token by its text, "<|en|>", or −1. Two have an older text, "<|nocaptions|>"
 * and "<|iw|>". */
int32_t kd_tokenizer_special(const kd_tokenizer *tokenizer, const char *text);

/* The id of a language by its code ("de"), English name ("german") or another name OpenAI knows
 * ("mandarin", "castilian"), in any case; or −1. */
int32_t kd_tokenizer_language(const kd_tokenizer *tokenizer, const char *code_or_name);
/* "de" of a language's id. */
const char *kd_tokenizer_language_code(const kd_tokenizer *tokenizer, int32_t id);

/* Tokens that are no speech (brackets, notes, "--" …), as Whisper suppresses them when it decodes,
 * in rising order; at most `capacity` into out. Returns their number, or a negative status. */
int kd_tokenizer_non_speech(const kd_tokenizer *tokenizer, int32_t *out, int capacity);

/* What OpenAI's decoder never lets be said unless told otherwise: the tokens that are no speech and
 * those of kd_token_ids that begin a text or say what it is. And what must not be said first: a
 * space, the end. As kd_tokenizer_non_speech. */
int kd_tokenizer_suppressed(const kd_tokenizer *tokenizer, int32_t *out, int capacity);
int kd_tokenizer_begin_suppressed(const kd_tokenizer *tokenizer, int32_t *out, int capacity);

#endif
