/* What the files of the tokenizer share. */
#ifndef KD_DATA_TOKENIZER_INTERNAL_H
#define KD_DATA_TOKENIZER_INTERNAL_H

#include "data/tokenizer.h"

struct kd_tokenizer {
    kd_token_ids ids;
    char *bytes;     /* of all tokens, one behind the other               */
    uint32_t *start; /* (vocabulary + 1) where each token's bytes begin   */
    int32_t *slot;   /* (slots) ids of ordinary tokens by hash, −1: empty */
    uint32_t slots;  /* a power of two                                    */
    size_t longest;  /* of the ordinary tokens                            */
    int32_t byte[256];
};

/* The ids behind `ordinary` tokens, `added` of them behind all others. KD_EDATA when `vocabulary`
 * leaves no sensible number of languages. */
int kd_token_ids_layout(kd_token_ids *out, int64_t ordinary, int64_t vocabulary, int64_t added,
                        const char *name);

enum { KD_SPECIAL_TEXT_MAX = 32 };

/* The text of special token `id`, which is not an added one, into out; its length. */
int kd_token_special_text(char out[KD_SPECIAL_TEXT_MAX], const kd_token_ids *ids, int32_t id);

/* The ordinary token of these bytes, or −1. */
int32_t kd_tokenizer_find(const kd_tokenizer *tokenizer, const char *bytes, size_t length);

/* Where the piece ends that begins at text[at], at < length. */
size_t kd_tokenizer_piece(const char *text, size_t length, size_t at);

#endif
