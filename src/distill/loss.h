/* The losses of distillation, as ops on the tape (rows of the op tests like any other).
 *
 * Each is a sum over the valid rows divided by `normalizer`, the number of valid rows of the whole
 * (accumulated, all-rank) batch, so that splitting a batch never changes the result.
 */
#ifndef KD_DISTILL_LOSS_H
#define KD_DISTILL_LOSS_H

#include "autograd/tape.h"
#include "distill/divergence.h"

typedef struct {
    kd_real hard_weight;      /* w_hard                                         */
    kd_real kl_weight;        /* w_kl; 0 without a teacher                      */
    kd_real temperature;      /* τ > 0                                          */
    kd_real label_smoothing;  /* ε: the hard target is (1−ε)·onehot + ε/V       */
    double normalizer;        /* valid rows of the whole batch, > 0             */
    kd_divergence divergence; /* D of the soft part; 0: forward KL              */
    kd_real decoupled; /* β > 0: D is decoupled, KL(a ‖ b) + β·KL(p̂ ‖ q̂); 0: it is not   */
    bool standardize; /* the softmaxes see logits of mean 0 and deviation 1             */
    kd_tensor *bias;  /* of kd_vocab_loss: (V) added to z, an input of the op; or NULL       */
} kd_loss_spec;

/* What the soft targets are: dense logits, or the k largest and the rest's mass, or, of
 * kd_vocab_loss only, the teacher's last hidden state, which gives v exactly, or classes drawn from
 * softmax(v/τ). */
typedef struct {
    const kd_real *logits; /* (N,V) dense teacher logits v, or NULL                              */
    int k;                 /* entries per row of the next four; 0 when dense                     */
    const int32_t *index;  /* (N,k) class of each kept logit, or draw                            */
    const kd_real *share;  /* (N,k) of all draws of the row, or NULL; 0: no draw at this place   */
    const kd_real *kept;   /* (N,k) their logits                                                 */
    const kd_real *tail; /* (N) log Σ_{dropped} e^{v/τ} at this τ; the tail is one class       */
    const kd_real *hidden; /* (N,width) h_t with v = h_t·E_tᵀ, or NULL                           */
    const kd_real *output; /* (V,width) E_t, the teacher's output matrix                         */
    const kd_real *bias; /* (V) added to v = h_t·E_tᵀ; NULL: nothing is                        */
    int64_t width;
} kd_soft_targets;

/* Sums over the valid rows, for the log: parts of the same loss, before weighting. */
typedef struct {
    double hard; /* Σ CE                                */
    double kl;   /* Σ τ²·D                              */
    double rows; /* number of valid rows                */
    /* kd_vocab_loss without gradients: rows whose likeliest class is the label's and, with hidden
     * states, is the teacher's likeliest. */
    double right, agreed;
} kd_loss_parts;

/* L = Σ_valid [w_hard·CE(z, y) + w_kl·τ²·D(softmax(v/τ), softmax(z/τ))] / normalizer, and with
 * D(p, q) = KL(p ‖ q), the first of divergence.h,
 * ∂L/∂z = [w_hard(q_1 − target) + w_kl·τ(q_τ − p_τ)] / normalizer
 * Decoupled (Zhao et al. 2022): a, b are the label's probability against the rest, p̂, q̂ the
 * distributions among the rest; it needs labels. Standardized (Sun et al. 2024): of z and v. Both
 * are for dense logits. With top-k targets the dropped classes are one bucket in both p and q (the
 * bucket of q is Σ_{dropped} q_τ), a lower bound of the dense KL by the log-sum inequality. z
 * (N,V); label (N), or NULL when w_hard is 0; soft NULL when w_kl is 0; valid (N) of 0/1 or NULL
 * for all. They are read now and not kept. A masked row is not read and has gradient exactly 0.
 * `parts` (may be NULL) is added to: `hard` whenever there are labels, `kl` whenever w_kl ≠ 0.
 * Draws take the place of p: with their shares p̂ the loss is that of KL(p̂ ‖ q), whose gradient is
 * that above on average, whatever was drawn, since it is linear in p̂ (no other divergence is). With
 * τ² in front the soft gradient keeps its size as τ changes; as τ → ∞ it tends to (z − v)/V for
 * logits of mean 0 (Hinton, Vinyals, Dean 2015, equation 4). → scalar (1) */
kd_tensor *kd_distill_loss(kd_tape *tape, kd_tensor *z, const int32_t *label, const uint8_t *valid,
                           const kd_soft_targets *soft, kd_loss_spec spec, kd_loss_parts *parts);

/* The same loss and gradient where V is a vocabulary and the logits are a product with the output
 * embedding, z = h·Eᵀ: they are made, used and dropped a panel of rows at a time, so that memory
 * does not grow with N·V (docs/math-vocabulary-loss.md). With G = ∂L/∂z as above
 *
 *     ∂h ← ∂h + G·E          ∂E ← ∂E + Gᵀ·h          ∂bias ← ∂bias + Σ_rows G
 *
 * h (…,C) with N rows in front, any rank: (B,T,C) for sequences; E (V,C), which may be tied or
 * frozen; soft NULL or top-k, draws or hidden, never dense logits. label, valid (N), parts and
 * masked rows as in kd_distill_loss: a masked row costs nothing. Products are at the tape's
 * precision, with G rounded too; maxima, exponentials and sums are in kd_real. → scalar (1) */
kd_tensor *kd_vocab_loss(kd_tape *tape, kd_tensor *h, kd_tensor *E, const int32_t *label,
                         const uint8_t *valid, const kd_soft_targets *soft, kd_loss_spec spec,
                         kd_loss_parts *parts);

/* L = weight · Σ_i mean (x[i,…] − target[i,…])² / normalizer: a row is a slice of the first axis,
 * its mean goes over all its numbers. x, target (N,…); target is constant and outlives the
 * backward. valid (N) of 0/1, which outlives it, too, or NULL for all: a masked row adds nothing.
 */
kd_tensor *kd_hint_mse(kd_tape *tape, kd_tensor *x, const kd_real *target, const uint8_t *valid,
                       kd_real weight, double normalizer);

/* L = weight · Σ_rows (1 − cos(x_row, target_row)) / normalizer over the last axis. x (…,C), target
 * the same, constant, outlives the backward. A row of zeros has cosine 0 and gradient 0. valid
 * (rows) of 0/1, read now, or NULL for all: a masked row adds nothing. */
kd_tensor *kd_hint_cosine(kd_tape *tape, kd_tensor *x, const kd_real *target, const uint8_t *valid,
                          kd_real weight, double normalizer);

/* Queries and keys of a teacher, constant, read now and not kept. */
typedef struct {
    const kd_real *query, *key; /* (B,T,heads·head_width), (B,T,G·head_width) */
    int heads, head_width;      /* of which the student has as many heads, of any width */
} kd_attention_hint;

/* L = weight · Σ_{b,t} 1/H · Σ_h KL(a_{b,h,t} ‖ p_{b,h,t}) / normalizer, where p =
 * softmax(q_h·k_gᵀ/√D) says what query t looks at among the keys first[t] … t, and a is the
 * teacher's: the transfer of attention distributions of MiniLM (Wang et al. 2020, arXiv 2002.10957,
 * section 3.1). q (B,T,H·D), k (B,T,G·D), heads sharing keys as in kd_attention; first (B,T) or
 * NULL: 0; valid (B,T) as above. Both are read now. */
kd_tensor *kd_hint_attention(kd_tape *tape, kd_tensor *q, kd_tensor *k,
                             const kd_attention_hint *hint, const int32_t *first,
                             const uint8_t *valid, kd_real weight, double normalizer);

#endif
