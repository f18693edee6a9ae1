/* The operations of the engine, each with its formula. B batch, T time, C channels, H heads (or
 * height, in images), N rows in general; the last axis is always channels.
 *
 * Every op returns a new tensor on the tape, never fails to (see tape.h on memory), and aborts with
 * both shapes when they do not fit. Tensors are never modified. The list of these prototypes is the
 * list of rows of the op tests: a missing row does not compile.
 */
#ifndef KD_AUTOGRAD_OPS_H
#define KD_AUTOGRAD_OPS_H

#include "autograd/gemm.h"
#include "autograd/tape.h"

/* What an op does to its result in place. Others are ops of their own (kd_silu …). */
typedef enum { KD_ACT_NONE, KD_ACT_RELU } kd_act;

/* --- op_matmul.c ---------------------------------------------------------------------------- */

/* C = op(A)·op(B). A (N,K) or (B,N,K); B (K,M) or (B,K,M); a rank-2 B serves a whole batch. */
kd_tensor *kd_matmul(kd_tape *tape, kd_tensor *a, kd_tensor *b, kd_trans ta, kd_trans tb);
/* y = act(x·Wᵀ + b). x (…,K), W (M,K), b (M) or NULL → (…,M) */
kd_tensor *kd_linear(kd_tape *tape, kd_tensor *x, kd_tensor *weight, kd_tensor *bias, kd_act act);
/* y = r + (x·Wᵀ + b): the end of a branch, added to what it branched from. r as y */
kd_tensor *kd_linear_onto(kd_tape *tape, kd_tensor *r, kd_tensor *x, kd_tensor *weight,
                          kd_tensor *bias);

/* --- op_elementwise.c ----------------------------------------------------------------------- */

/* y = x + b, b (C) over the last axis of x */
kd_tensor *kd_bias(kd_tape *tape, kd_tensor *x, kd_tensor *b);
/* y = act(a + b), same shapes */
kd_tensor *kd_add(kd_tape *tape, kd_tensor *a, kd_tensor *b, kd_act act);
/* y = a ∘ b, same shapes */
kd_tensor *kd_mul(kd_tape *tape, kd_tensor *a, kd_tensor *b);
/* y = factor · x, a constant */
kd_tensor *kd_scale(kd_tape *tape, kd_tensor *x, kd_real factor);
/* y[i,…] = x[i,…] · s[i]: every slice of the first axis by its own factor, s (shape[0]) */
kd_tensor *kd_scale_rows(kd_tape *tape, kd_tensor *x, kd_tensor *s);

/* --- op_activation.c ------------------------------------------------------------------------ */

/* y = max(x, 0) */
kd_tensor *kd_relu(kd_tape *tape, kd_tensor *x);
/* y = x/2 · (1 + erf(x/√2)) */
kd_tensor *kd_gelu(kd_tape *tape, kd_tensor *x);
/* y = x/2 · (1 + tanh(√(2/π)(x + 0.044715 x³))) */
kd_tensor *kd_gelu_tanh(kd_tape *tape, kd_tensor *x);
/* y = 1/(1 + e^−x) */
kd_tensor *kd_sigmoid(kd_tape *tape, kd_tensor *x);
/* y = x/(1 + e^−x) */
kd_tensor *kd_silu(kd_tape *tape, kd_tensor *x);
/* y = tanh x */
kd_tensor *kd_tanh(kd_tape *tape, kd_tensor *x);
/* y = g/(1 + e^−g) ∘ u, same shapes: SwiGLU's middle (Shazeer 2020, arXiv 2002.05202, equation 6)
 */
kd_tensor *kd_swiglu(kd_tape *tape, kd_tensor *gate, kd_tensor *up);

/* --- op_softmax.c --------------------------------------------------------------------------- */

/* y = e^{x−max} / Σ e^{x−max} over the last axis */
kd_tensor *kd_softmax(kd_tape *tape, kd_tensor *x);
/* y = x − max − log Σ e^{x−max} over the last axis */
kd_tensor *kd_log_softmax(kd_tape *tape, kd_tensor *x);

/* --- op_norm.c ------------------------------------------------------------------------------ */

/* y = γ(x − μ)/√(σ² + ε) + β, μ and σ² over the last axis; γ, β (C) */
kd_tensor *kd_layer_norm(kd_tape *tape, kd_tensor *x, kd_tensor *gamma, kd_tensor *beta,
                         kd_real epsilon);
/* y = γ ∘ x/√(mean(x²) + ε), the mean over the last axis; γ (C) (Zhang and Sennrich 2019, arXiv
 * 1910.07467, equation 4) */
kd_tensor *kd_rms_norm(kd_tape *tape, kd_tensor *x, kd_tensor *gamma, kd_real epsilon);
/* y = act(γ(x − μ)/√(σ² + ε) + β), per channel of the last axis. Training: μ, σ² (biased) of the
 * batch, and running ← (1−m')·running + m'·batch (unbiased variance), written when the forward
 * runs, m' = m·min(1, 4·B/F) for a batch of B samples where a full one has F = tape->full_batch:
 * the few samples left at the end of an epoch do not count as much as a full batch. Otherwise, and
 * in training when a channel has one value only, which has no variance, μ = running_mean, σ² =
 * running_var (state, no gradient; left as they are). All (C). */
kd_tensor *kd_batch_norm(kd_tape *tape, kd_tensor *x, kd_tensor *gamma, kd_tensor *beta,
                         kd_tensor *running_mean, kd_tensor *running_var, kd_real momentum,
                         kd_real epsilon, kd_act act);

/* --- op_dropout.c --------------------------------------------------------------------------- */

/* y = x ∘ mask/(1−p), mask ~ Bernoulli(1−p); the identity unless tape->training */
kd_tensor *kd_dropout(kd_tape *tape, kd_tensor *x, kd_real p);

/* --- op_embedding.c ------------------------------------------------------------------------- */

/* y[i] = table[id[i]]. table (V,C), id: `n` integers in 0 … V−1 that outlive the backward → (n,C)
 */
kd_tensor *kd_embedding(kd_tape *tape, kd_tensor *table, const int32_t *id, int64_t n);

/* --- op_conv.c ------------------------------------------------------------------------------ */

typedef struct {
    int stride[2], padding[2], groups; /* {height, width}; 1-d convolutions use width */
} kd_conv_spec;

/* y[b,i,j,o] = bias[o] + Σ_{u,v,c} x[b, i·s−p+u, j·s−p+v, c] · w[o,u,v,c], zeros outside.
 * x (B,H,W,C), w (O,KH,KW,C/groups), bias (O) or NULL → (B,H',W',O) with
 * H' = ⌊(H + 2p − KH)/s⌋ + 1. groups divides C and O; groups = C is depthwise. */
kd_tensor *kd_conv2d(kd_tape *tape, kd_tensor *x, kd_tensor *weight, kd_tensor *bias,
                     kd_conv_spec spec, kd_act act);
/* The same over time: x (B,T,C), w (O,K,C/groups) → (B,T',O) */
kd_tensor *kd_conv1d(kd_tape *tape, kd_tensor *x, kd_tensor *weight, kd_tensor *bias, int stride,
                     int padding, int groups);

/* --- op_pool.c ------------------------------------------------------------------------------ */

typedef struct {
    int kernel[2], stride[2], padding[2]; /* {height, width} */
} kd_pool_spec;

/* y = max over the window; padding counts as −∞. x (B,H,W,C) → (B,H',W',C) */
kd_tensor *kd_max_pool2d(kd_tape *tape, kd_tensor *x, kd_pool_spec spec);
/* y = sum over the window / (KH·KW); padding counts as 0. x (B,H,W,C) → (B,H',W',C) */
kd_tensor *kd_avg_pool2d(kd_tape *tape, kd_tensor *x, kd_pool_spec spec);
/* y[b,c] = mean over all positions. x (B,…,C) → (B,C) */
kd_tensor *kd_global_avg_pool(kd_tape *tape, kd_tensor *x);

/* --- op_shape.c ----------------------------------------------------------------------------- */

/* The same numbers under another shape of the same size. */
kd_tensor *kd_reshape(kd_tape *tape, kd_tensor *x, int rank, const int64_t *shape);
/* y has axis order[i] of x as its axis i. */
kd_tensor *kd_transpose(kd_tape *tape, kd_tensor *x, const int *order);
/* y = x[…, start:stop:step, …] along `axis` */
kd_tensor *kd_slice(kd_tape *tape, kd_tensor *x, int axis, int64_t start, int64_t stop,
                    int64_t step);
/* a and b behind each other along `axis` */
kd_tensor *kd_concat(kd_tape *tape, kd_tensor *a, kd_tensor *b, int axis);
/* x with `before` and `after` zeros put around `axis` */
kd_tensor *kd_pad(kd_tape *tape, kd_tensor *x, int axis, int64_t before, int64_t after);

/* --- op_rotary.c ---------------------------------------------------------------------------- */

/* Angles of rotary positions: of each row and each pair. */
typedef struct {
    int64_t pairs;
    const kd_real *cosine, *sine; /* (T,pairs); they outlive the backward */
} kd_rotary_table;

/* Every head of width D = 2·pairs turned by its row's angles (Su et al. 2021, arXiv 2104.09864,
 * equation 34), its pairs being (i, i + D/2): y_i = x_i·cos − x_{i+D/2}·sin, y_{i+D/2} =
 * x_{i+D/2}·cos + x_i·sin. x (B,T,heads·D) → the same. */
kd_tensor *kd_rotary(kd_tape *tape, kd_tensor *x, const kd_rotary_table *table);

/* --- op_attention.c ------------------------------------------------------------------------- */

/* Which of the S keys each of the T queries sees. All zero: all. Arrays outlive the backward. */
typedef struct {
    bool causal;          /* query t sees s ≤ t + (S − T)                                     */
    const int32_t *valid; /* (B) how many keys exist, 1 … S; NULL: S                          */
    const int32_t *first; /* (B,T) the first key a query sees, where a text begins that others lie
                             in front of; never beyond the last it sees; NULL: 0              */
    const int32_t *end; /* (B,T) where the keys end that a query sees, where its text ends; 1 … S,
                           never falling along T; NULL: S                                   */
} kd_attention_mask;

/* Per head h of width D = C/heads: y_h = softmax(q_h·k_gᵀ/√D + mask)·v_g. q (B,T,C); k, v
 * (B,S,G·D) → (B,T,C). As many heads as keys have (G = heads), or fewer of the keys, of which
 * heads/G neighbours share one: g = ⌊h·G/heads⌋ (Ainslie et al. 2023, arXiv 2305.13245). */
kd_tensor *kd_attention(kd_tape *tape, kd_tensor *q, kd_tensor *k, kd_tensor *v, int heads,
                        kd_attention_mask mask);

/* --- op_reduce.c ---------------------------------------------------------------------------- */

/* y = Σ x / size, a scalar (1) */
kd_tensor *kd_mean(kd_tape *tape, kd_tensor *x);

#endif
