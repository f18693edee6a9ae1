/* The soft part of the loss, row by row: how far softmax(z/τ) is from the teacher's softmax(v/τ).
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "autograd/op_common.h"
#include "autograd/vector_math.h"
#include "distill/loss_parts.h"

double kd_sum_exp(const kd_real *restrict x, int64_t n, kd_real max, kd_real rate) {
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

/* KL(p ‖ q) = Σ p·(log p − log q), p = softmax(v/τ), q = softmax(z/τ)   ∂: weight · τ·(q − p)
 * where weight already holds τ's second factor: the caller wants τ²·KL. The log-ratio is taken per
 * class, so that a student equal to its teacher gives exactly 0. */
static double dense_row(const kd_loss_row *row, const kd_real *restrict v, kd_real temperature,
                        kd_real weight) {
    const int64_t V = row->V;
    const kd_real *restrict z = row->z;
    const kd_real rate = 1 / temperature, slope = weight * temperature;
    const kd_real max_z = kd_row_max(z, V), max_v = kd_row_max(v, V);
    const kd_real log_z = (kd_real)log(kd_sum_exp(z, V, max_z, rate));
    const kd_real log_v = (kd_real)log(kd_sum_exp(v, V, max_v, rate));
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

/* Any divergence: a first visit for the loss and the mean slope, a second one for the gradient. */
static double divergence_row(const kd_loss_row *row, const kd_real *v, const kd_loss_spec *spec,
                             kd_real weight) {
    const int64_t V = row->V;
    kd_divergence_row at = {
        .rate = 1 / spec->temperature, .max_v = kd_row_max(v, V), .max_z = kd_row_max(row->z, V)};
    at.log_v = (kd_real)log(kd_sum_exp(v, V, at.max_v, at.rate));
    at.log_z = (kd_real)log(kd_sum_exp(row->z, V, at.max_z, at.rate));
    double value = 0, mean = 0;
    for (int64_t begin = 0; begin < V; begin += KD_ROW_TILE) {
        const int64_t n = begin + KD_ROW_TILE < V ? KD_ROW_TILE : V - begin;
        kd_divergence_sums(&spec->divergence, &at, v + begin, row->z + begin, n, &value, &mean);
    }
    if (row->grad)
        kd_divergence_gradient(&spec->divergence, &at, v, row->z, V, mean,
                               weight * spec->temperature, row->grad);
    return value;
}

/* Decoupled distillation (Zhao et al. 2022). With b = (q_y, 1 − q_y), a likewise of the teacher,
 * and q̂, p̂ the distributions among the classes that are not the label's,
 *
 *     KL(a ‖ b) + β·KL(p̂ ‖ q̂)
 *     ∂ y: weight·τ·(q_y − p_y)        ∂ others: weight·τ·(β·(q̂ − p̂) − q̂·(q_y − p_y))
 *
 * where KL(p ‖ q) itself has β = 1 − p_y: what a sure teacher says of the others weighs next to
 * nothing there. 1 − q_y is a sum over the others, which does not cancel. */
static double decoupled_row(const kd_loss_row *row, const kd_real *restrict v,
                            const kd_loss_spec *spec, int32_t label, kd_real weight) {
    const int64_t V = row->V;
    const double rate = 1 / (double)spec->temperature, beta = (double)spec->decoupled;
    const kd_real *restrict z = row->z;
    const double max_z = (double)kd_row_max(z, V), max_v = (double)kd_row_max(v, V);
    double rest_z = 0, rest_v = 0;
    for (int64_t c = 0; c < V; c++) {
        if (c == label) continue;
        rest_z += exp(((double)z[c] - max_z) * rate);
        rest_v += exp(((double)v[c] - max_v) * rate);
    }
    const double own_z = ((double)z[label] - max_z) * rate,
                 own_v = ((double)v[label] - max_v) * rate;
    const double log_rest_z = log(fmax(rest_z, DBL_MIN)), log_rest_v = log(fmax(rest_v, DBL_MIN));
    const double log_z = log(rest_z + exp(own_z)), log_v = log(rest_v + exp(own_v));
    const double p = exp(own_v - log_v), apart = exp(own_z - log_z) - p;
    double target = p * ((own_v - log_v) - (own_z - log_z)) +
                    exp(log_rest_v - log_v) * ((log_rest_v - log_v) - (log_rest_z - log_z));
    double others = 0;
    const double slope = (double)(weight * spec->temperature);
    for (int64_t c = 0; c < V; c++) {
        if (c == label) continue;
        const double log_p = ((double)v[c] - max_v) * rate - log_rest_v;
        const double log_q = ((double)z[c] - max_z) * rate - log_rest_z;
        const double q = exp(log_q);
        others += exp(log_p) * (log_p - log_q);
        if (row->grad) row->grad[c] += (kd_real)(slope * (beta * (q - exp(log_p)) - q * apart));
    }
    if (row->grad) row->grad[label] += (kd_real)(slope * apart);
    return target + beta * others;
}

static double dense_loss(const kd_loss_row *row, const kd_real *v, const kd_loss_spec *spec,
                         int32_t label, kd_real weight) {
    if (spec->decoupled > 0) return decoupled_row(row, v, spec, label, weight);
    if (spec->divergence.kind == KD_FORWARD_KL) return dense_row(row, v, spec->temperature, weight);
    return divergence_row(row, v, spec, weight);
}

/* out ← (x − mean)/σ with σ² the mean square of x − mean; returns 1/σ, 0 for a row of equals, which
 * becomes 0. */
static double standardize(const kd_real *restrict x, int64_t n, kd_real *restrict out) {
    const double mean = kd_row_sum(x, n) / (double)n;
    double squares = 0;
    for (int64_t c = 0; c < n; c++) {
        const double above = (double)x[c] - mean;
        squares += above * above;
    }
    const double sigma = sqrt(squares / (double)n), rate = sigma > 1e-7 ? 1 / sigma : 0;
    for (int64_t c = 0; c < n; c++) out[c] = (kd_real)(((double)x[c] - mean) * rate);
    return rate;
}

/* The loss of standardized logits (Sun et al. 2024): the student need not have the teacher's scale.
 *
 *     ∂/∂z = (g − mean g − ẑ·mean(g·ẑ))/σ,  g = ∂/∂ẑ */
static double standardized_loss(const kd_loss_row *row, const kd_real *v, const kd_loss_spec *spec,
                                int32_t label, kd_real weight) {
    const int64_t V = row->V;
    kd_real *z = row->scratch, *teacher = z + V, *g = teacher + V;
    standardize(v, V, teacher);
    const double rate = standardize(row->z, V, z);
    memset(g, 0, (size_t)V * sizeof *g);
    const kd_loss_row inner = {.z = z, .grad = row->grad ? g : NULL, .V = V};
    const double value = dense_loss(&inner, teacher, spec, label, weight);
    if (!row->grad) return value;
    double mean = 0, along = 0;
    for (int64_t c = 0; c < V; c++) {
        mean += (double)g[c] / (double)V;
        along += (double)g[c] * (double)z[c] / (double)V;
    }
    for (int64_t c = 0; c < V; c++)
        row->grad[c] += (kd_real)(rate * ((double)g[c] - mean - (double)z[c] * along));
    return value;
}

/* --- top-k ----------------------------------------------------------------------------------- */

double kd_topk_log_sum(const kd_real *kept, int k, kd_real tail, double rate) {
    double max = (double)tail, sum = 0;
    for (int j = 0; j < k; j++) {
        const double z = (double)kept[j] * rate;
        max = z > max ? z : max;
    }
    for (int j = 0; j < k; j++) sum += exp((double)kept[j] * rate - max);
    return max + log(sum + exp((double)tail - max));
}

double kd_topk_divergence(kd_topk_row *row, const kd_divergence *d, const kd_real *z) {
    const bool forward = d->kind == KD_FORWARD_KL;
    row->log_z = log(row->total);
    const double log_dropped = log(row->dropped) - row->log_z;
    row->log_v = kd_topk_log_sum(row->kept, row->k, (kd_real)row->tail, (double)row->rate);
    double slope = 0, value = 0, own;
    /* Of a tail of nothing only forward KL has a value: 0, and what q gives it is taken away. */
    if (exp(row->tail - row->log_v) > 0)
        value = kd_divergence_class(d, row->tail - row->log_v, log_dropped, &slope);
    else if (forward)
        slope = exp(log_dropped);
    row->drop_factor = slope / row->dropped;
    row->mean = slope;
    for (int j = 0; j < row->k; j++) {
        const double log_p = (double)row->kept[j] * (double)row->rate - row->log_v;
        value += kd_divergence_class(
            d, log_p, (double)(z[j] - row->max_z) * (double)row->rate - row->log_z, &own);
        row->mean += own;
    }
    if (forward) row->mean = 0; /* Σ (q − p) */
    row->drop_factor -= row->mean / row->total;
    return value;
}

double kd_topk_slope(const kd_topk_row *row, const kd_divergence *d, int j, kd_real z) {
    const double rate = (double)row->rate, log_q = (double)(z - row->max_z) * rate - row->log_z;
    double slope;
    kd_divergence_class(d, (double)row->kept[j] * rate - row->log_v, log_q, &slope);
    return slope - exp(log_q) * row->mean;
}

/* With the bucket of the dropped classes, of P = e^{tail − log Σ} and Q = Σ_{dropped} q, and slopes
 * g with their mean m = Σ_kept q·g + Q·g_bucket
 *
 *     ∂ kept: weight·τ·q·(g − m)          ∂ dropped: weight·τ·q·(g_bucket − m)
 *
 * Q is summed over the dropped classes and not taken as 1 − Σ_kept q, which would cancel. */
static double topk_row(const kd_loss_row *row, const kd_soft_targets *soft, int64_t i,
                       const kd_loss_spec *spec, kd_real weight) {
    const int64_t V = row->V;
    const int32_t *index = soft->index + i * soft->k;
    kd_topk_row at = {.kept = soft->kept + i * soft->k,
                      .k = soft->k,
                      .tail = (double)soft->tail[i],
                      .max_z = kd_row_max(row->z, V),
                      .rate = 1 / spec->temperature};
    const kd_real *restrict z = row->z;
    kd_real *restrict e = row->scratch, *restrict own = e + V;
#pragma omp simd
    for (int64_t c = 0; c < V; c++) e[c] = kd_vexp((z[c] - at.max_z) * at.rate);
    double kept_sum = 0;
    for (int j = 0; j < at.k; j++) {
        KD_CONTRACT(index[j] >= 0 && index[j] < V, "distill_loss: top-k class %d of %lld",
                    (int)index[j], (long long)V);
        kept_sum += (double)e[index[j]];
        e[index[j]] = 0;
        own[j] = z[index[j]];
    }
    at.dropped = fmax(kd_row_sum(e, V), FLT_MIN);
    at.total = kept_sum + at.dropped;
    const double value = kd_topk_divergence(&at, &spec->divergence, own);
    if (!row->grad) return value;
    const double slope = (double)(weight * spec->temperature);
    const kd_real factor = (kd_real)(slope * at.drop_factor);
    kd_real *restrict grad = row->grad;
#pragma omp simd
    for (int64_t c = 0; c < V; c++) grad[c] += factor * e[c];
    for (int j = 0; j < at.k; j++)
        grad[index[j]] += (kd_real)(slope * kd_topk_slope(&at, &spec->divergence, j, own[j]));
    return value;
}

bool kd_soft_scratch(const kd_soft_targets *soft, const kd_loss_spec *spec) {
    return soft && (!soft->logits || spec->standardize);
}

double kd_soft_row(const kd_loss_row *row, const kd_soft_targets *soft, const kd_loss_spec *spec,
                   int64_t i, int32_t label, kd_real weight) {
    if (!soft->logits) return topk_row(row, soft, i, spec, weight);
    const kd_real *v = soft->logits + i * row->V;
    return spec->standardize ? standardized_loss(row, v, spec, label, weight)
                             : dense_loss(row, v, spec, label, weight);
}
