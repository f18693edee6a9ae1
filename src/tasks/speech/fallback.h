/* What is done about a bad text (Radford et al. 2022, section 4.5; OpenAI's transcribe.py): a
 * window is decoded at temperature 0 first, then at 0.2 … 1 while the text is too repetitive or too
 * unlikely. */
#ifndef KD_TASKS_SPEECH_FALLBACK_H
#define KD_TASKS_SPEECH_FALLBACK_H

#include <stdbool.h>

#include "tasks/speech/decode.h"

/* How many times smaller zlib makes the text of `count` tokens, white space at its ends left out.
 */
int kd_text_compression(double *out, const kd_tokenizer *tokenizer, const int32_t *token,
                        int count);

/* Whether a text repeats itself: zlib makes it more than 2.4 times smaller. */
bool kd_text_loops(double compression);
/* Whether a text is to be decoded again: it loops, or the mean log-probability of its tokens is
 * below −1. */
bool kd_text_is_bad(double average, double compression);
/* Whether a window is probably silence: above 0.6, and its text is unlikely. */
bool kd_decoded_is_silence(const kd_decoded *decoded);

/* Decodes what was listened to, after `prompt` (count tokens), at the first temperature whose text
 * is not bad, or at the last. Errors as kd_decoder_run's. */
int kd_decode_with_fallback(kd_decoder *decoder, kd_decoded *out, double *compression,
                            const int32_t *prompt, int count);

#endif
