/* What a token may follow, by the rules of OpenAI's decoder (their decoding.py):
 *
 *   never        tokens that are no speech (brackets, notes), and special ones but the end
 *   first        neither a space nor the end
 *   timestamps   come in pairs but for the first, never fall, start at 1 s or before; one is taken
 *                when their total probability is above that of every other token
 */
#ifndef KD_SPEECH_DECODE_RULES_H
#define KD_SPEECH_DECODE_RULES_H

#include "autograd/real.h"
#include "data/tokenizer.h"

typedef struct {
    const kd_tokenizer *tokenizer; /* borrowed */
    bool timestamps;
    bool *never;   /* (V) */
    int32_t space; /* the token of " ", or −1 */
} kd_decode_rules;

/* The caller clears, on errors too. */
int kd_decode_rules_init(kd_decode_rules *out, const kd_tokenizer *tokenizer, bool timestamps);
void kd_decode_rules_clear(kd_decode_rules *rules);

/* Sets what must not follow `sampled` (count tokens behind the prompt) to −∞ in z (V). */
void kd_decode_rules_apply(const kd_decode_rules *rules, kd_real *z, const int32_t *sampled,
                           int count);

/* log Σ e^z over n numbers, some of them maybe −∞. */
double kd_log_sum_exp(const kd_real *z, int64_t n);

/* Writes start [language task] [no_timestamps] into out (4) and returns how many. */
int kd_decode_prompt(int32_t out[4], const kd_tokenizer *tokenizer, int32_t language, int32_t task,
                     bool timestamps);

#endif
