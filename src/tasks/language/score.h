/* How well a language model foretells contexts, and how far from its teacher it is. */
#ifndef KD_TASKS_LANGUAGE_SCORE_H
#define KD_TASKS_LANGUAGE_SCORE_H

#include "distill/fidelity.h"
#include "layers/llama.h"
#include "tasks/language/contexts.h"

/* Sums over the targets. */
typedef struct {
    double nats;       /* −log p of the text                              */
    double divergence; /* KL(teacher ‖ model) at τ = 1; 0 without teacher */
    double right;      /* targets that are the likeliest token            */
    double agreed;     /* whose likeliest token is also the teacher's     */
    double targets;
    double error;   /* of nats/targets: standard error over contexts; NAN of fewer than two */
    double seconds; /* the model's decoder took                        */
} kd_language_score;

/* How close the answers of `model` to all contexts stay to those of `like`: *f, which starts with
 * {0}, is the caller's to clear. */
int kd_language_fidelity(kd_fidelity *f, const kd_llama *model, const kd_llama *like,
                         kd_contexts *contexts, kd_tape *tape);

/* Of all contexts, which the ranks share: called by all of them. `teacher` NULL: none. `tape` is
 * scratch, whose settings stay. */
int kd_language_score_of(kd_language_score *out, const kd_llama *model, const kd_llama *teacher,
                         kd_contexts *contexts, kd_tape *tape);

#endif
