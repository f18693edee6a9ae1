/* Layers for models that are written as code rather than as a list of nodes (transformers): each
 * registers its parameters under its name and runs on a tape. net.h is for feed-forward networks.
 *
 * A layer is a few pointers into a kd_params; it owns nothing and needs no freeing. `_init` returns
 * KD_EINTERNAL when memory is out. Names of parameters are "<name>.weight" and so on.
 */
#ifndef KD_LAYERS_LAYER_H
#define KD_LAYERS_LAYER_H

#include "autograd/ops.h"
#include "autograd/param.h"

/* y = x·Wᵀ + b. x (…,in) → (…,out) */
typedef struct {
    kd_param *weight; /* (out,in)        */
    kd_param *bias;   /* (out), or NULL  */
} kd_linear_layer;
int kd_linear_layer_init(kd_linear_layer *out, kd_params *params, const char *name, int64_t in,
                         int64_t units, bool bias);
kd_tensor *kd_linear_layer_forward(const kd_linear_layer *layer, kd_tape *tape, kd_tensor *x);
/* residual (…,out) + y, without an array for y */
kd_tensor *kd_linear_layer_onto(const kd_linear_layer *layer, kd_tape *tape, kd_tensor *residual,
                                kd_tensor *x);

/* y = conv1d(x) + b. x (B,T,in) → (B,T',out) */
typedef struct {
    kd_param *weight, *bias; /* (out,kernel,in), (out) */
    int stride, padding;
} kd_conv1d_layer;
int kd_conv1d_layer_init(kd_conv1d_layer *out, kd_params *params, const char *name, int64_t in,
                         int64_t channels, int kernel, int stride, int padding);
kd_tensor *kd_conv1d_layer_forward(const kd_conv1d_layer *layer, kd_tape *tape, kd_tensor *x);

/* y = γ(x − μ)/√(σ² + ε) + β over the last axis. x (…,C) → (…,C) */
typedef struct {
    kd_param *gamma, *beta; /* "<name>.weight", "<name>.bias", (C) */
    kd_real epsilon;
} kd_norm_layer;
int kd_norm_layer_init(kd_norm_layer *out, kd_params *params, const char *name, int64_t C,
                       kd_real epsilon);
kd_tensor *kd_norm_layer_forward(const kd_norm_layer *layer, kd_tape *tape, kd_tensor *x);

/* y = γ ∘ x/√(mean(x²) + ε) over the last axis. x (…,C) → (…,C) */
typedef struct {
    kd_param *gamma; /* "<name>.weight", (C) */
    kd_real epsilon;
} kd_rms_norm_layer;
int kd_rms_norm_layer_init(kd_rms_norm_layer *out, kd_params *params, const char *name, int64_t C,
                           kd_real epsilon);
kd_tensor *kd_rms_norm_layer_forward(const kd_rms_norm_layer *layer, kd_tape *tape, kd_tensor *x);

/* y[i] = table[id[i]]. id (n) → (n,C) */
typedef struct {
    kd_param *table; /* "<name>.weight", (V,C) */
} kd_embedding_layer;
int kd_embedding_layer_init(kd_embedding_layer *out, kd_params *params, const char *name, int64_t V,
                            int64_t C);
kd_tensor *kd_embedding_layer_forward(const kd_embedding_layer *layer, kd_tape *tape,
                                      const int32_t *id, int64_t n);

/* Multi-head attention with projections (Vaswani et al. 2017, section 3.2.2):
 * y = out(attention(query(x), key(m), value(m))). The key has no bias where the model wants none
 * (Whisper): a key bias moves every score of a row alike, which softmax ignores. */
typedef struct {
    kd_linear_layer query, key, value, out; /* "<name>.query" …, each (C,C) */
    int heads;
} kd_attention_layer;
int kd_attention_layer_init(kd_attention_layer *out, kd_params *params, const char *name, int64_t C,
                            int heads, bool key_bias);
/* residual (B,T,C) + attention. x (B,T,C); memory (B,S,C) for cross-attention, or NULL for
 * self-attention. `causal` and `valid` as in kd_attention. → (B,T,C) */
kd_tensor *kd_attention_layer_onto(const kd_attention_layer *layer, kd_tape *tape,
                                   kd_tensor *residual, kd_tensor *x, kd_tensor *memory,
                                   bool causal, const int32_t *valid);

#endif
