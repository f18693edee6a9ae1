/* The measures of divergence.h: one formula of a class for each, in loops that vectors take. */
#include "distill/divergence.h"

#include <math.h>

#include "autograd/vector_math.h"

/* Of one class: φ and q·g. The product, since g alone overflows where q is next to nothing. */
typedef struct {
    kd_real value, slope;
} class_terms;

/* log(share·e^log_a + (1−share)·e^log_b) − log_a; exactly 0 where the two are equal. The larger of
 * the two is taken out, so nothing overflows and the logarithm's argument is no less than a share. */
static inline kd_real mixture_above(kd_real share, kd_real log_a, kd_real log_b) {
    const kd_real d = log_b - log_a, e = kd_vexp(d < 0 ? d : -d), rest = 1 - share;
    return kd_vlog(d < 0 ? share + rest * e : rest + share * e) + (d < 0 ? 0 : d);
}

static inline class_terms forward_kl(kd_real log_p, kd_real log_q) {
    const kd_real p = kd_vexp(log_p);
    return (class_terms){p * (log_p - log_q), kd_vexp(log_q) - p};
}

static inline class_terms reverse_kl(kd_real log_p, kd_real log_q) {
    const kd_real value = kd_vexp(log_q) * (log_q - log_p);
    return (class_terms){value, value};
}

static inline class_terms symmetric_kl(kd_real log_p, kd_real log_q) {
    const class_terms a = forward_kl(log_p, log_q), b = reverse_kl(log_p, log_q);
    return (class_terms){(a.value + b.value) / 2, (a.slope + b.slope) / 2};
}

static inline class_terms jensen_shannon(kd_real beta, kd_real log_p, kd_real log_q) {
    const kd_real p_part = -beta * kd_vexp(log_p) * mixture_above(beta, log_p, log_q);
    const kd_real q_part = (beta - 1) * kd_vexp(log_q) * mixture_above(1 - beta, log_q, log_p);
    return (class_terms){p_part + q_part, q_part};
}

/* With m the mixture, q·(1−α)·(1 − p/m). */
static inline class_terms skewed_kl(kd_real alpha, kd_real log_p, kd_real log_q) {
    const kd_real above_p = mixture_above(alpha, log_p, log_q);
    return (class_terms){-kd_vexp(log_p) * above_p,
                         (1 - alpha) * kd_vexp(log_q) * (1 - kd_vexp(-above_p))};
}

/* With m the mixture, q·(log(q/m) + α·(1 − q/m)). */
static inline class_terms skewed_reverse_kl(kd_real alpha, kd_real log_p, kd_real log_q) {
    const kd_real q = kd_vexp(log_q), above_q = mixture_above(alpha, log_q, log_p);
    return (class_terms){-q * above_q, q * (alpha * (1 - kd_vexp(-above_q)) - above_q)};
}

static inline class_terms total_variation(kd_real log_p, kd_real log_q) {
    const kd_real q = kd_vexp(log_q), apart = q - kd_vexp(log_p), half = KD_REAL(0.5);
    return (class_terms){half * (apart < 0 ? -apart : apart),
                         apart < 0 ? -half * q : (apart > 0 ? half * q : 0)};
}

/* The loops are inlined once for each kind, whose terms need no branch then. */
#define INLINE static inline __attribute__((always_inline))

INLINE class_terms terms_of(kd_divergence d, kd_real log_p, kd_real log_q) {
    switch (d.kind) {
        case KD_FORWARD_KL: return forward_kl(log_p, log_q);
        case KD_REVERSE_KL: return reverse_kl(log_p, log_q);
        case KD_SYMMETRIC_KL: return symmetric_kl(log_p, log_q);
        case KD_JENSEN_SHANNON: return jensen_shannon(d.skew, log_p, log_q);
        case KD_SKEWED_KL: return skewed_kl(d.skew, log_p, log_q);
        case KD_SKEWED_REVERSE_KL: return skewed_reverse_kl(d.skew, log_p, log_q);
        case KD_TOTAL_VARIATION: return total_variation(log_p, log_q);
    }
    return (class_terms){0};
}

double kd_divergence_class(const kd_divergence *d, double log_p, double log_q, double *slope) {
    if (d->kind == KD_FORWARD_KL) { /* in double: p may be 0 */
        const double p = exp(log_p);
        *slope = exp(log_q) - p;
        return p > 0 ? p * (log_p - log_q) : 0;
    }
    const class_terms t = terms_of(*d, (kd_real)log_p, (kd_real)log_q);
    *slope = (double)t.slope;
    return (double)t.value;
}

INLINE void sums(kd_divergence d, const kd_divergence_row *row, const kd_real *restrict v,
                 const kd_real *restrict z, int64_t n, double *value, double *mean) {
    const kd_real rate = row->rate, max_v = row->max_v, max_z = row->max_z;
    const kd_real log_v = row->log_v, log_z = row->log_z;
    kd_real total = 0, weighted = 0;
#pragma omp simd reduction(+ : total, weighted)
    for (int64_t c = 0; c < n; c++) {
        const class_terms t =
            terms_of(d, (v[c] - max_v) * rate - log_v, (z[c] - max_z) * rate - log_z);
        total += t.value;
        weighted += t.slope;
    }
    *value += (double)total;
    *mean += (double)weighted;
}

INLINE void gradient(kd_divergence d, const kd_divergence_row *row, const kd_real *restrict v,
                     const kd_real *restrict z, int64_t n, kd_real mean, kd_real scale,
                     kd_real *restrict grad) {
    const kd_real rate = row->rate, max_v = row->max_v, max_z = row->max_z;
    const kd_real log_v = row->log_v, log_z = row->log_z;
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        const kd_real log_q = (z[c] - max_z) * rate - log_z;
        const class_terms t = terms_of(d, (v[c] - max_v) * rate - log_v, log_q);
        grad[c] += scale * (t.slope - kd_vexp(log_q) * mean);
    }
}

void kd_divergence_sums(const kd_divergence *d, const kd_divergence_row *row, const kd_real *v,
                        const kd_real *z, int64_t n, double *value, double *mean) {
    switch (d->kind) {
#define KD_SUMS(NAME, name)                                                                        \
    case KD_##NAME: sums((kd_divergence){KD_##NAME, d->skew}, row, v, z, n, value, mean); break;
        KD_DIVERGENCES(KD_SUMS)
    }
}

void kd_divergence_gradient(const kd_divergence *d, const kd_divergence_row *row, const kd_real *v,
                            const kd_real *z, int64_t n, double mean, kd_real scale,
                            kd_real *grad) {
    const kd_real m = (kd_real)mean;
    switch (d->kind) {
#define KD_GRADIENT(NAME, name)                                                                    \
    case KD_##NAME: gradient((kd_divergence){KD_##NAME, d->skew}, row, v, z, n, m, scale, grad); break;
        KD_DIVERGENCES(KD_GRADIENT)
    }
}
