/* Which heads and units of its teacher a narrower student keeps (Minitron: Muralidharan et al.
 * 2024).
 *
 * A unit of a feed-forward layer, or a dimension of a head, adds to the residual stream what it
 * says times its column of the matrix behind it; over calibration contexts that is, in squares,
 *
 *     importance_j = mean(x_j²) · Σ_i W[i,j]²        of W = down or attn.out
 *
 * A key and value go with all heads that ask them: their importance is that of all their
 * dimensions. Kept are the most important of each layer, in the teacher's order, the lower one
 * first among equals.
 */
#ifndef KD_TASKS_LANGUAGE_NARROW_H
#define KD_TASKS_LANGUAGE_NARROW_H

#include "layers/llama.h"
#include "tasks/language/contexts.h"

/* Rows of a layer's query matrix (queries), of its key and value matrices (keys), and units of its
 * feed-forward layer (hidden), rising. */
typedef struct {
    int64_t queries, keys, hidden;
    int64_t *query, *key, *unit; /* (teacher's layers, …) */
} kd_language_kept;

/* For a student of these sizes, whose heads ask keys in groups as large as the teacher's. Where it
 * is as wide as the teacher, everything is kept and nothing is read; else the first `samples`
 * contexts of a fixed shuffle are. `contexts` NULL: all are equally important. KD_EAGAIN after
 * kd_train_request_stop. The caller clears, also after an error. */
int kd_language_keep(kd_language_kept *out, const kd_llama *teacher, const kd_llama_spec *student,
                     kd_contexts *contexts, int64_t samples);
void kd_language_kept_clear(kd_language_kept *kept);

#endif
