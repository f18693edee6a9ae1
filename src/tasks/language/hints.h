/* Hints between layers of a decoder and of its teacher, which runs beside it: TinyBERT's and
 * MiniLM's losses (Jiao et al. 2020, arXiv 1909.10351; Wang et al. 2020, arXiv 2002.10957).
 *
 * Of a hint over n layers, with h_i the states behind layer i of the student (as its next layer
 * reads them), t_j those behind layer j of the teacher,
 *
 *     mse        1/n · Σ_i mean (W·h_i − t_j)²                      (TinyBERT, equation 8)
 *     cosine     1/n · Σ_i 1 − cos(W·h_i, t_j)
 *     attention  1/n · Σ_i 1/H · Σ_heads KL(attention of j ‖ of i)  (MiniLM, section 3.1)
 *
 * each the mean over the targets of the update. W is learnt, one for each hint, where the widths
 * differ, and the identity otherwise. Nothing is stored: the teacher runs for every batch, and its
 * states that hints ask for take (batch,length,width) each; attention multiplies its layer's
 * queries and keys once more in both models.
 */
#ifndef KD_TASKS_LANGUAGE_HINTS_H
#define KD_TASKS_LANGUAGE_HINTS_H

#include "distill/loss.h"
#include "layers/llama.h"
#include "tasks/language/language_config.h"

/* KD_ECONFIG, naming the hint, where there is no such layer, or heads are not as many. */
int kd_language_hints_check(const kd_loss_config *loss, const kd_llama_spec *student,
                            const kd_llama_spec *teacher);

/* Registers what hints learn besides, before the student's layout. */
int kd_language_hints_add(kd_params *params, const kd_loss_config *loss,
                          const kd_llama_spec *student, const kd_llama_spec *teacher);
/* Whether the student has such parameters, which no file of it has. */
bool kd_language_hints_learn(const kd_llama *student);

typedef struct {
    const kd_loss_config *loss;
    const kd_language_model *model;
    const kd_llama *student, *teacher;
    kd_real **taught;  /* (teacher's layers + 1): states (rows,width) that hints ask for, or NULL */
    kd_tensor **state; /* (student's layers + 1) of the batch                                     */
} kd_language_hints;

/* For batches of `rows` tokens; the caller clears, also after an error. */
int kd_language_hints_init(kd_language_hints *out, const kd_loss_config *loss,
                           const kd_language_model *model, const kd_llama *student,
                           const kd_llama *teacher, int64_t rows);
void kd_language_hints_clear(kd_language_hints *hints);

/* What the hints add to the loss of a batch whose states are in `taught` and `state`; the sum over
 * its rows, unweighted by `normalizer`, is added to *sum. `scratch` is the teacher's. */
kd_tensor *kd_language_hints_loss(kd_language_hints *hints, kd_tape *tape, kd_tape *scratch,
                                  const int32_t *first, const uint8_t *valid, double normalizer,
                                  double *sum);

#endif
