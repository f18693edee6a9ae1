/* What is said in several recordings at once, greedily and without timestamps, previous text or
 * fallback: how a teacher's words are written down and how models are compared. The rules are those
 * of decode_rules.h.
 *
 * A recording gets the same bits whatever is decoded beside it: the encoder hears one at a time,
 * and the decoder's products sum each row by itself as long as there are few.
 */
#ifndef KD_TASKS_SPEECH_GREEDY_H
#define KD_TASKS_SPEECH_GREEDY_H

#include "data/tokenizer.h"
#include "layers/whisper_session.h"

enum { KD_GREEDY_MOST = 6 }; /* recordings at once */

typedef struct kd_greedy kd_greedy;

/* `language` and `task` are ids that only multilingual models need. Borrows model and tokenizer,
 * which must have one vocabulary; KD_EDATA otherwise, or when the text context is too short. The
 * caller frees. */
int kd_greedy_create(kd_greedy **out, const kd_whisper *model, const kd_tokenizer *tokenizer,
                     int32_t language, int32_t task);
void kd_greedy_free(kd_greedy *greedy);
void kd_greedy_hear_in(kd_greedy *greedy, kd_precision precision); /* whisper_session.h */

/* Listens to n ≤ KD_GREEDY_MOST recordings: mel (n,T,mels), or what the model's encoder made of
 * them, memory (n,S,width). */
int kd_greedy_listen(kd_greedy *greedy, const kd_real *mel, int n, int64_t T);
int kd_greedy_listen_encoded(kd_greedy *greedy, const kd_real *memory, int n, int64_t S);

typedef struct {
    const int32_t *token; /* (count), without prompt and end; of the kd_greedy, until it listens */
    int count;
    double average; /* mean log-probability of the tokens and the end */
} kd_greedy_text;

/* The text of each recording → out (n). One without an end is cut at half the text
 * context, or where the model states it (kd_whisper_generation). */
int kd_greedy_run(kd_greedy *greedy, kd_greedy_text *out);

#endif
