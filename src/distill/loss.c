/* The distillation loss, forward and gradient in one visit of each row; see docs/math-kd-loss.md.
 *
 * Where the gradient is made. The forward pass has the row of z (and of v) in the cache and its
 * exponentials' sums at hand, so it writes ∂L/∂z at once. Memory traffic per class: z and v read,
 * ∂z written, nothing else; the backward pass hands that buffer over as the gradient of z. Making
 * it in the backward pass instead would read z and v a second time and take three exponentials
 * again.
 *
 * Reproducibility. A row is one thread's; the rows' losses are added in order, in double. */
#include "distill/loss.h"
#include "base/size.h"

#include <omp.h>
#include <string.h>

#include "autograd/op_common.h"
#include "autograd/vector_math.h"
#include "distill/loss_parts.h"

/* CE against (1−ε)·onehot(y) + ε/V:
 *     l − (1−ε)·z_y − ε·mean(z),  l = log Σ e^z          ∂: weight · (e^{z−l} − target) */
static double hard_row(const kd_loss_row *row, int32_t label, kd_real smoothing, kd_real weight) {
    const int64_t V = row->V;
    const kd_real *restrict z = row->z;
    const kd_real max = kd_row_max(z, V);
    const double log_sum = log(kd_sum_exp(z, V, max, 1));
    const double own = (double)(z[label] - max), eps = (double)smoothing;
    double loss = log_sum - (1 - eps) * own;
    if (smoothing > 0) loss -= eps * (kd_row_sum(z, V) / (double)V - (double)max);
    if (row->grad && weight != 0) {
        kd_real *restrict grad = row->grad;
        const kd_real shift = max + (kd_real)log_sum, share = smoothing / (kd_real)V;
#pragma omp simd
        for (int64_t c = 0; c < V; c++) grad[c] += weight * (kd_vexp(z[c] - shift) - share);
        grad[label] -= weight * (1 - smoothing);
    }
    return loss;
}

/* --- the op ---------------------------------------------------------------------------------- */

typedef struct {
    const int32_t *label;
    const kd_soft_targets *soft; /* NULL: no soft part */
    kd_loss_spec spec;
} loss_terms;

/* Row i: its two losses, and its gradient when wanted. */
static void row_loss(const loss_terms *terms, const kd_loss_row *row, int64_t i, double *hard,
                     double *kl) {
    const kd_loss_spec *spec = &terms->spec;
    const double share = 1 / spec->normalizer, tau = (double)spec->temperature;
    *hard = *kl = 0;
    if (terms->label) {
        KD_CONTRACT(terms->label[i] >= 0 && terms->label[i] < row->V,
                    "distill_loss: label[%lld] = %d of %lld classes", (long long)i,
                    (int)terms->label[i], (long long)row->V);
        *hard = hard_row(row, terms->label[i], spec->label_smoothing,
                         (kd_real)((double)spec->hard_weight * share));
    }
    if (!terms->soft) return;
    const kd_real weight = (kd_real)((double)spec->kl_weight * share);
    *kl = tau * tau *
          kd_soft_row(row, terms->soft, spec, i, terms->label ? terms->label[i] : -1, weight);
}

/* All rows; per-row losses go to `each` (2N), 0 for masked rows, whose z is never read. */
static void all_rows(kd_tape *tape, const kd_tensor *z, const loss_terms *terms,
                     const uint8_t *valid, kd_real *grad, double *each) {
    const int64_t N = kd_rows(z), V = kd_channels(z), stride = KD_SOFT_SCRATCH * (V + 15) / 16 * 16;
    const bool needed = kd_soft_scratch(terms->soft, &terms->spec);
    const size_t threads = (size_t)omp_get_max_threads();
    kd_real *scratch =
        needed ? kd_tape_take(tape, kd_array_bytes((int64_t)threads * stride, sizeof *scratch))
               : NULL;
#pragma omp parallel for schedule(static) if (z->size >= KD_PARALLEL_SIZE / 4)
    for (int64_t i = 0; i < N; i++) {
        kd_loss_row row = {.z = z->value + i * V, .V = V};
        if (grad) {
            row.grad = grad + i * V;
            memset(row.grad, 0, (size_t)V * sizeof *grad);
        }
        if (scratch) row.scratch = scratch + omp_get_thread_num() * stride;
        each[2 * i] = each[2 * i + 1] = 0;
        if (!valid || valid[i]) row_loss(terms, &row, i, &each[2 * i], &each[2 * i + 1]);
    }
    if (scratch) kd_tape_give(tape, scratch);
}

/* When it is the first contribution the memory becomes ∂x itself; the usual ∂L = 1 then costs no
 * pass at all. */
void kd_loss_hand_over(kd_tape *tape, kd_tensor *x, kd_real *restrict saved, kd_real dloss) {
    if (!x->grad) {
        if (dloss != 1)
            for (int64_t i = 0; i < x->size; i++) saved[i] *= dloss;
        x->grad = saved;
        x->grad_written = true;
        return;
    }
    KD_ADD_GRAD(tape, x, dloss * saved[i]);
    kd_tape_give(tape, saved);
}

/* ∂z ← ∂z + ∂L · saved. Saved: the gradient of z, in memory from the pool. */
static void distill_loss_backward(kd_tape *tape, kd_node *node) {
    KD_CONTRACT(node->saved, "distill_loss: backward runs twice");
    kd_loss_hand_over(tape, node->in[0], node->saved, *node->out->grad);
    node->saved = NULL;
}

kd_real kd_loss_total(const kd_loss_spec *spec, const kd_loss_parts *sum, kd_loss_parts *parts) {
    if (parts) {
        parts->hard += sum->hard;
        parts->kl += sum->kl;
        parts->rows += sum->rows;
        parts->right += sum->right;
        parts->agreed += sum->agreed;
    }
    return (kd_real)(((double)spec->hard_weight * sum->hard + (double)spec->kl_weight * sum->kl) /
                     spec->normalizer);
}

static void check_loss(const kd_tensor *z, const int32_t *label, const kd_soft_targets *soft,
                       const kd_loss_spec *spec) {
    char text[96];
    KD_CONTRACT(z->rank == 2, "distill_loss: logits %s, not (N, V)",
                kd_shape_text(text, sizeof text, z));
    KD_CONTRACT(spec->normalizer > 0 && spec->temperature > 0,
                "distill_loss: normalizer %g, temperature %g", spec->normalizer,
                (double)spec->temperature);
    KD_CONTRACT(label || spec->hard_weight == 0, "distill_loss: a hard part without labels");
    KD_CONTRACT(soft || spec->kl_weight == 0, "distill_loss: a soft part without a teacher");
    KD_CONTRACT(spec->decoupled == 0 || label, "distill_loss: a decoupled part without labels");
    KD_CONTRACT((spec->decoupled == 0 && !spec->standardize) || !soft || soft->logits,
                "distill_loss: decoupled or standardized with top-k targets");
    KD_CONTRACT(spec->decoupled == 0 || spec->divergence.kind == KD_FORWARD_KL,
                "distill_loss: decoupled, but not forward KL");
    KD_CONTRACT(!soft || !soft->hidden, "distill_loss: hidden states are for vocab_loss");
    KD_CONTRACT(!soft || soft->logits || (soft->k >= 1 && soft->k <= kd_channels(z)),
                "distill_loss: %d soft targets a row for logits %s", soft ? soft->k : 0,
                kd_shape_text(text, sizeof text, z));
}

kd_tensor *kd_distill_loss(kd_tape *tape, kd_tensor *z, const int32_t *label, const uint8_t *valid,
                           const kd_soft_targets *soft, kd_loss_spec spec, kd_loss_parts *parts) {
    check_loss(z, label, soft, &spec);
    const int64_t N = kd_rows(z);
    const loss_terms terms = {label, spec.kl_weight != 0 ? soft : NULL, spec};
    kd_tensor *loss = kd_tape_output(tape, 1, (int64_t[]){1});
    kd_real *grad = NULL;
    if (tape->recording && z->needs_grad)
        grad = kd_tape_take(tape, kd_array_bytes(z->size, sizeof *grad));
    double *each = kd_tape_take(tape, kd_array_bytes(2 * N, sizeof *each));
    all_rows(tape, z, &terms, valid, grad, each);
    kd_loss_parts sum = {0};
    for (int64_t i = 0; i < N; i++) {
        sum.hard += each[2 * i];
        sum.kl += each[2 * i + 1];
        sum.rows += !valid || valid[i];
    }
    kd_tape_give(tape, each);
    loss->value[0] = kd_loss_total(&spec, &sum, parts);
    kd_tape_record(tape, "distill_loss", distill_loss_backward, loss, grad, 1, &z);
    return loss;
}
