/* What a token may follow, by the rules of OpenAI's decoder (their decoding.py), with what the
 * model's files state otherwise (layers/whisper_generation.h):
 *
 *   never        the suppressed tokens: those that are no speech (brackets, notes) and the special
 *                ones that begin a text, unless the model states others; and, whatever it states,
 *                languages, <|notimestamps|> and, where none are wanted, timestamps
 *   first        neither a space nor the end, unless the model states otherwise
 *   timestamps   come in pairs but for the first, never fall, start at 1 s or before (or what the
 *                model states); one is taken when their total probability is above that of every
 *                other token
 *
 * Rules that together leave nothing end the text.
 */
#ifndef KD_TASKS_SPEECH_DECODE_RULES_H
#define KD_TASKS_SPEECH_DECODE_RULES_H

#include "autograd/real.h"
#include "data/tokenizer.h"
#include "layers/whisper_generation.h"

typedef struct {
    const kd_tokenizer *tokenizer; /* borrowed */
    bool timestamps;
    int first_timestamp_most;
    bool *never, *not_first; /* (V) each */
} kd_decode_rules;

/* The caller clears, on errors too. */
int kd_decode_rules_init(kd_decode_rules *out, const kd_tokenizer *tokenizer,
                         const kd_whisper_generation *generation, bool timestamps);
void kd_decode_rules_clear(kd_decode_rules *rules);

/* Sets what must not follow `sampled` (count tokens behind the prompt) to −∞ in z (V). */
void kd_decode_rules_apply(const kd_decode_rules *rules, kd_real *z, const int32_t *sampled,
                           int count);

/* The most tokens of a window's text with its end: half the text context, or fewer when the model
 * states so. */
int kd_decode_length_most(const kd_whisper_generation *generation, int text_context);

/* log Σ e^z over n numbers, some of them maybe −∞. */
double kd_log_sum_exp(const kd_real *z, int64_t n);

/* Writes start [language task] [no_timestamps] into out (4) and returns how many. */
int kd_decode_prompt(int32_t out[4], const kd_tokenizer *tokenizer, int32_t language, int32_t task,
                     bool timestamps);

#endif
