#include "layers/layer.h"

#include <stdio.h>

#include "base/error.h"

/* Registers "<name>.<suffix>". */
static kd_param *add(kd_params *params, const char *name, const char *suffix, int rank,
                     const int64_t *shape, kd_init init, int64_t fan_in, int flags) {
    char full[KD_NAME_MAX];
    int length = snprintf(full, sizeof full, "%s.%s", name, suffix);
    KD_CONTRACT(length > 0 && length < KD_NAME_MAX, "%s.%s: name too long", name, suffix);
    return kd_params_add(params, full, rank, shape, init, fan_in, shape[0],
                         flags | KD_PARAM_TRAINED);
}

int kd_linear_layer_init(kd_linear_layer *out, kd_params *params, const char *name, int64_t in,
                         int64_t units, bool bias) {
    const int64_t shape[2] = {units, in};
    *out = (kd_linear_layer){0};
    out->weight =
        add(params, name, "weight", 2, shape, KD_INIT_XAVIER_UNIFORM, in, KD_PARAM_DECAYED);
    if (out->weight) out->weight->by_rows = true;
    if (bias) out->bias = add(params, name, "bias", 1, &units, KD_INIT_ZERO, in, 0);
    return out->weight && (out->bias || !bias) ? KD_OK : KD_EINTERNAL;
}

kd_tensor *kd_linear_layer_forward(const kd_linear_layer *layer, kd_tape *tape, kd_tensor *x) {
    return kd_linear(tape, x, &layer->weight->tensor, layer->bias ? &layer->bias->tensor : NULL,
                     KD_ACT_NONE);
}

kd_tensor *kd_linear_layer_onto(const kd_linear_layer *layer, kd_tape *tape, kd_tensor *residual,
                                kd_tensor *x) {
    return kd_linear_onto(tape, residual, x, &layer->weight->tensor,
                          layer->bias ? &layer->bias->tensor : NULL);
}

int kd_conv1d_layer_init(kd_conv1d_layer *out, kd_params *params, const char *name, int64_t in,
                         int64_t channels, int kernel, int stride, int padding) {
    const int64_t shape[3] = {channels, kernel, in};
    *out = (kd_conv1d_layer){.stride = stride, .padding = padding};
    out->weight =
        add(params, name, "weight", 3, shape, KD_INIT_HE_NORMAL, kernel * in, KD_PARAM_DECAYED);
    out->bias = add(params, name, "bias", 1, &channels, KD_INIT_ZERO, 0, 0);
    return out->weight && out->bias ? KD_OK : KD_EINTERNAL;
}

kd_tensor *kd_conv1d_layer_forward(const kd_conv1d_layer *layer, kd_tape *tape, kd_tensor *x) {
    return kd_conv1d(tape, x, &layer->weight->tensor, &layer->bias->tensor, layer->stride,
                     layer->padding, 1);
}

int kd_norm_layer_init(kd_norm_layer *out, kd_params *params, const char *name, int64_t C,
                       kd_real epsilon) {
    *out = (kd_norm_layer){.epsilon = epsilon};
    out->gamma = add(params, name, "weight", 1, &C, KD_INIT_ONE, 0, 0);
    out->beta = add(params, name, "bias", 1, &C, KD_INIT_ZERO, 0, 0);
    return out->gamma && out->beta ? KD_OK : KD_EINTERNAL;
}

kd_tensor *kd_norm_layer_forward(const kd_norm_layer *layer, kd_tape *tape, kd_tensor *x) {
    return kd_layer_norm(tape, x, &layer->gamma->tensor, &layer->beta->tensor, layer->epsilon);
}

int kd_rms_norm_layer_init(kd_rms_norm_layer *out, kd_params *params, const char *name, int64_t C,
                           kd_real epsilon) {
    *out = (kd_rms_norm_layer){.epsilon = epsilon};
    out->gamma = add(params, name, "weight", 1, &C, KD_INIT_ONE, 0, 0);
    return out->gamma ? KD_OK : KD_EINTERNAL;
}

kd_tensor *kd_rms_norm_layer_forward(const kd_rms_norm_layer *layer, kd_tape *tape, kd_tensor *x) {
    return kd_rms_norm(tape, x, &layer->gamma->tensor, layer->epsilon);
}

int kd_embedding_layer_init(kd_embedding_layer *out, kd_params *params, const char *name, int64_t V,
                            int64_t C) {
    const int64_t shape[2] = {V, C};
    out->table = add(params, name, "weight", 2, shape, KD_INIT_NORMAL_002, 0, 0);
    if (out->table) out->table->by_rows = true;
    return out->table ? KD_OK : KD_EINTERNAL;
}

kd_tensor *kd_embedding_layer_forward(const kd_embedding_layer *layer, kd_tape *tape,
                                      const int32_t *id, int64_t n) {
    return kd_embedding(tape, &layer->table->tensor, id, n);
}

int kd_attention_layer_init(kd_attention_layer *out, kd_params *params, const char *name, int64_t C,
                            int heads, bool key_bias) {
    struct {
        const char *suffix;
        kd_linear_layer *layer;
        bool bias;
    } part[] = {{"query", &out->query, true},
                {"key", &out->key, key_bias},
                {"value", &out->value, true},
                {"out", &out->out, true}};
    KD_CONTRACT(heads > 0 && C % heads == 0, "%s: %d heads of %lld channels", name, heads,
                (long long)C);
    *out = (kd_attention_layer){.heads = heads};
    for (int i = 0; i < 4; i++) {
        char full[KD_NAME_MAX];
        snprintf(full, sizeof full, "%s.%s", name, part[i].suffix);
        int status = kd_linear_layer_init(part[i].layer, params, full, C, C, part[i].bias);
        if (status < 0) return status;
    }
    return KD_OK;
}

kd_tensor *kd_attention_layer_onto(const kd_attention_layer *layer, kd_tape *tape,
                                   kd_tensor *residual, kd_tensor *x, kd_tensor *memory,
                                   bool causal, const int32_t *valid) {
    kd_tensor *from = memory ? memory : x;
    kd_tensor *q = kd_linear_layer_forward(&layer->query, tape, x);
    kd_tensor *k = kd_linear_layer_forward(&layer->key, tape, from);
    kd_tensor *v = kd_linear_layer_forward(&layer->value, tape, from);
    kd_tensor *y = kd_attention(tape, q, k, v, layer->heads,
                                (kd_attention_mask){.causal = causal, .valid = valid});
    return kd_linear_layer_onto(&layer->out, tape, residual, y);
}
