/* How far a student's distribution q is from its teacher's p: the measures that a loss may have.
 *
 *     forward_kl          Σ p·log(p/q)                      covers all that the teacher does
 *     reverse_kl          Σ q·log(q/p)                      stays where the teacher is (MiniLLM)
 *     symmetric_kl        half of each
 *     jensen_shannon      β·KL(p ‖ m) + (1−β)·KL(q ‖ m),  m = β·p + (1−β)·q          (GKD)
 *     skewed_kl           KL(p ‖ α·p + (1−α)·q)                                 (DistiLLM)
 *     skewed_reverse_kl   KL(q ‖ α·q + (1−α)·p)                                 (DistiLLM)
 *     total_variation     ½·Σ |p − q|
 *
 * Each is Σ φ(p_c, q_c). With q = softmax(z/τ) and the slopes g_c = ∂φ/∂q_c, which may be shifted by
 * a constant since Σ q = 1,
 *
 *     ∂/∂z_c = (1/τ)·q_c·(g_c − Σ_i q_i·g_i)
 *
 * The constants are chosen such that g is exactly 0 where p = q: a student equal to its teacher has
 * loss 0 and gradient 0. For forward_kl q·g is q − p, whose sum is 0.
 */
#ifndef KD_DISTILL_DIVERGENCE_H
#define KD_DISTILL_DIVERGENCE_H

#include <stdint.h>

#include "autograd/real.h"

#define KD_DIVERGENCES(X) X(FORWARD_KL, forward_kl) KD_OTHER_DIVERGENCES(X)
#define KD_OTHER_DIVERGENCES(X)                                                                    \
    X(REVERSE_KL, reverse_kl)                                                                      \
    X(SYMMETRIC_KL, symmetric_kl)                                                                  \
    X(JENSEN_SHANNON, jensen_shannon)                                                              \
    X(SKEWED_KL, skewed_kl)                                                                        \
    X(SKEWED_REVERSE_KL, skewed_reverse_kl)                                                        \
    X(TOTAL_VARIATION, total_variation)

typedef enum {
#define KD_DIVERGENCE_ENUM(NAME, name) KD_##NAME,
    KD_DIVERGENCES(KD_DIVERGENCE_ENUM)
#undef KD_DIVERGENCE_ENUM
} kd_divergence_kind;

typedef struct {
    kd_divergence_kind kind; /* 0 is forward_kl                                       */
    kd_real skew;            /* β or α where the kind has one, in (0,1)               */
} kd_divergence;

/* One row's logits as logarithms of probabilities: log p_c = (v_c − max_v)·rate − log_v, and q from
 * z likewise; rate = 1/τ. */
typedef struct {
    kd_real rate, max_v, log_v, max_z, log_z;
} kd_divergence_row;

/* φ of one class, and *slope = q·g, from log p and log q. */
double kd_divergence_class(const kd_divergence *d, double log_p, double log_q, double *slope);

/* Adds Σ φ and Σ q·g of n classes of a row. */
void kd_divergence_sums(const kd_divergence *d, const kd_divergence_row *row, const kd_real *v,
                        const kd_real *z, int64_t n, double *value, double *mean);

/* grad_c += scale·q_c·(g_c − mean), mean = Σ q·g of the whole row. */
void kd_divergence_gradient(const kd_divergence *d, const kd_divergence_row *row, const kd_real *v,
                            const kd_real *z, int64_t n, double mean, kd_real scale, kd_real *grad);

#endif
