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

#include <float.h>
#include <omp.h>
#include <string.h>

#include "autograd/op_common.h"
#include "autograd/vector_math.h"
#include "distill/loss_parts.h"

/* One row of logits: what is added to its gradient (NULL: none wanted) and where scratch is. */
typedef struct {
    const kd_real *z;
    kd_real *grad;    /* (V), or NULL */
    kd_real *scratch; /* (V) */
    int64_t V;
} loss_row;

/* Σ e^{(x − max)/τ}, with rate = 1/τ */
static double sum_exp(const kd_real *restrict x, int64_t n, kd_real max, kd_real rate) {
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += KD_ROW_TILE) {
        const int64_t end = begin + KD_ROW_TILE < n ? begin + KD_ROW_TILE : n;
        kd_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t c = begin; c < end; c++) part += kd_vexp((x[c] - max) * rate);
        sum += (double)part;
    }
    return sum;
}

/* CE against (1−ε)·onehot(y) + ε/V:
 *     l − (1−ε)·z_y − ε·mean(z),  l = log Σ e^z          ∂: weight · (e^{z−l} − target) */
static double hard_row(const loss_row *row, int32_t label, kd_real smoothing, kd_real weight) {
    const int64_t V = row->V;
    const kd_real *restrict z = row->z;
    const kd_real max = kd_row_max(z, V);
    const double log_sum = log(sum_exp(z, V, max, 1));
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

/* KL(p ‖ q) = Σ p·(log p − log q), p = softmax(v/τ), q = softmax(z/τ)   ∂: weight · τ·(q − p)
 * where weight already holds τ's second factor: the caller wants τ²·KL. The log-ratio is taken per
 * class, so that a student equal to its teacher gives exactly 0. */
static double dense_row(const loss_row *row, const kd_real *restrict v, kd_real temperature,
                        kd_real weight) {
    const int64_t V = row->V;
    const kd_real *restrict z = row->z;
    const kd_real rate = 1 / temperature, slope = weight * temperature;
    const kd_real max_z = kd_row_max(z, V), max_v = kd_row_max(v, V);
    const kd_real log_z = (kd_real)log(sum_exp(z, V, max_z, rate));
    const kd_real log_v = (kd_real)log(sum_exp(v, V, max_v, rate));
    double kl = 0;
    for (int64_t begin = 0; begin < V; begin += KD_ROW_TILE) {
        const int64_t end = begin + KD_ROW_TILE < V ? begin + KD_ROW_TILE : V;
        kd_real *restrict grad = row->grad, part = 0;
        if (grad) {
#pragma omp simd reduction(+ : part)
            for (int64_t c = begin; c < end; c++) {
                const kd_real log_p = (v[c] - max_v) * rate - log_v;
                const kd_real log_q = (z[c] - max_z) * rate - log_z;
                const kd_real p = kd_vexp(log_p);
                part += p * (log_p - log_q);
                grad[c] += slope * (kd_vexp(log_q) - p);
            }
        } else {
#pragma omp simd reduction(+ : part)
            for (int64_t c = begin; c < end; c++) {
                const kd_real log_p = (v[c] - max_v) * rate - log_v;
                const kd_real log_q = (z[c] - max_z) * rate - log_z;
                part += kd_vexp(log_p) * (log_p - log_q);
            }
        }
        kl += (double)part;
    }
    return kl;
}

double kd_topk_log_sum(const kd_real *kept, int k, kd_real tail, double rate) {
    double max = (double)tail, sum = 0;
    for (int j = 0; j < k; j++) {
        const double z = (double)kept[j] * rate;
        max = z > max ? z : max;
    }
    for (int j = 0; j < k; j++) sum += exp((double)kept[j] * rate - max);
    return max + log(sum + exp((double)tail - max));
}

/* KL over the k kept classes and one bucket for all others, Q = Σ_{dropped} q:
 *
 *     Σ_kept p·(log p − log q) + P·(log P − log Q),  P = e^{tail − log Σ}
 *     ∂ kept: weight·τ·(q − p)          ∂ dropped: weight·τ·(q − P·q/Q)
 *
 * Q is summed over the dropped classes and not taken as 1 − Σ_kept q, which would cancel. */
static double topk_row(const loss_row *row, const kd_soft_targets *soft, int64_t i,
                       kd_real temperature, kd_real weight) {
    const int64_t V = row->V;
    const int k = soft->k;
    const int32_t *index = soft->index + i * k;
    const kd_real *kept = soft->kept + i * k;
    const double rate = 1 / (double)temperature, slope = (double)(weight * temperature);
    const double log_v = kd_topk_log_sum(kept, k, soft->tail[i], rate);
    const kd_real max = kd_row_max(row->z, V), simd_rate = (kd_real)rate;
    const kd_real *restrict z = row->z;
    kd_real *restrict e = row->scratch;
#pragma omp simd
    for (int64_t c = 0; c < V; c++) e[c] = kd_vexp((z[c] - max) * simd_rate);
    double kept_sum = 0, kl = 0;
    for (int j = 0; j < k; j++) {
        KD_CONTRACT(index[j] >= 0 && index[j] < V, "distill_loss: top-k class %d of %lld",
                    (int)index[j], (long long)V);
        kept_sum += (double)e[index[j]];
        e[index[j]] = 0;
    }
    const double dropped = fmax(kd_row_sum(e, V), FLT_MIN), total = kept_sum + dropped;
    const double log_z = log(total), tail = exp((double)soft->tail[i] - log_v);
    if (tail > 0) kl += tail * ((double)soft->tail[i] - log_v - (log(dropped) - log_z));
    if (row->grad) {
        const kd_real factor = (kd_real)(slope * (1 / total - tail / dropped));
        kd_real *restrict grad = row->grad;
#pragma omp simd
        for (int64_t c = 0; c < V; c++) grad[c] += factor * e[c];
    }
    for (int j = 0; j < k; j++) {
        const double log_p = (double)kept[j] * rate - log_v, p = exp(log_p);
        const double log_q = (double)(z[index[j]] - max) * rate - log_z;
        kl += p * (log_p - log_q);
        if (row->grad) row->grad[index[j]] += (kd_real)(slope * (exp(log_q) - p));
    }
    return kl;
}

/* --- the op ---------------------------------------------------------------------------------- */

typedef struct {
    const int32_t *label;
    const kd_soft_targets *soft; /* NULL: no soft part */
    kd_loss_spec spec;
} loss_terms;

/* Row i: its two losses, and its gradient when wanted. */
static void row_loss(const loss_terms *terms, const loss_row *row, int64_t i, double *hard,
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
          (terms->soft->logits
               ? dense_row(row, terms->soft->logits + i * row->V, spec->temperature, weight)
               : topk_row(row, terms->soft, i, spec->temperature, weight));
}

/* All rows; per-row losses go to `each` (2N), 0 for masked rows, whose z is never read. */
static void all_rows(kd_tape *tape, const kd_tensor *z, const loss_terms *terms,
                     const uint8_t *valid, kd_real *grad, double *each) {
    const int64_t N = kd_rows(z), V = kd_channels(z), stride = (V + 15) / 16 * 16;
    const bool topk = terms->soft && !terms->soft->logits;
    const size_t threads = (size_t)omp_get_max_threads();
    kd_real *scratch = topk ? kd_tape_take(tape, threads * (size_t)stride * sizeof *scratch) : NULL;
#pragma omp parallel for schedule(static) if (z->size >= KD_PARALLEL_SIZE / 4)
    for (int64_t i = 0; i < N; i++) {
        loss_row row = {.z = z->value + i * V, .V = V};
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
    if (tape->recording && z->needs_grad) grad = kd_tape_take(tape, (size_t)z->size * sizeof *grad);
    double *each = kd_tape_take(tape, 2 * (size_t)N * sizeof *each);
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
