/* What the files of the tokenizer share. */
#ifndef KD_DATA_TOKENIZER_INTERNAL_H
#define KD_DATA_TOKENIZER_INTERNAL_H

#include "data/tokenizer.h"

struct kd_tokenizer {
    kd_token_ids ids;
    kd_token_table table; /* of all; the ordinary ones are indexed */
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

#endif
