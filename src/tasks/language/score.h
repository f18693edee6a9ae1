/* How well a language model foretells contexts, and how far from its teacher it is. */
#ifndef KD_TASKS_LANGUAGE_SCORE_H
#define KD_TASKS_LANGUAGE_SCORE_H

#include "layers/llama.h"
#include "tasks/language/contexts.h"

/* Sums over the targets. */
typedef struct {
    double nats;       /* −log p of the text                              */
    double divergence; /* KL(teacher ‖ model) at τ = 1; 0 without teacher */
    double targets;
} kd_language_score;

/* Of all contexts, which the ranks share: called by all of them. `teacher` NULL: none. `tape` is
 * scratch, whose settings stay. */
int kd_language_score_of(kd_language_score *out, const kd_llama *model, const kd_llama *teacher,
                         kd_contexts *contexts, kd_tape *tape);

#endif
