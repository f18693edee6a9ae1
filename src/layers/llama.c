#include "layers/llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/segment.h"
#include "base/error.h"
#include "base/size.h"

/* --- the parameters ----------------------------------------------------------------------------
 */

int kd_llama_spec_check(const kd_llama_spec *s, const char *source) {
    const struct {
        const char *name;
        int value, most;
    } size[] = {{"width", s->width, 1 << 15},
                {"layers", s->layers, 512},
                {"heads", s->heads, 1 << 10},
                {"heads of the keys", s->key_heads, 1 << 10},
                {"width of a head", s->head_width, 2 * KD_ROTARY_PAIRS_MAX},
                {"hidden units", s->hidden, 1 << 18},
                {"vocabulary", s->vocabulary, 1 << 20},
                {"context", s->context, 1 << 20}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].value < 1 || size[i].value > size[i].most)
            return kd_fail(KD_EDATA, "%s: %s: %d; a decoder has 1 to %d", source, size[i].name,
                           size[i].value, size[i].most);
    if (s->heads % s->key_heads)
        return kd_fail(KD_EDATA, "%s: %d heads over %d of the keys; it must be a multiple", source,
                       s->heads, s->key_heads);
    if (s->head_width % 2)
        return kd_fail(KD_EDATA, "%s: heads of width %d; rotary positions turn pairs", source,
                       s->head_width);
    if (s->attention_bias && s->head_norms)
        return kd_fail(KD_EDATA, "%s: biases and norms of the heads; a decoder has one of them",
                       source);
    if (!(s->epsilon > 0 && s->epsilon < 1))
        return kd_fail(KD_EDATA, "%s: the norms' epsilon is %g; it is above 0 and below 1", source,
                       s->epsilon);
    return kd_rotary_check(&s->rotary, s->head_width / 2, source);
}

int64_t kd_llama_size(const kd_llama_spec *s) {
    const int64_t C = s->width, queries = (int64_t)s->heads * s->head_width;
    const int64_t keys = (int64_t)s->key_heads * s->head_width;
    const int64_t biases = s->attention_bias ? queries + 2 * keys : 0;
    const int64_t norms = 2 * C + (s->head_norms ? 2 * s->head_width : 0);
    const int64_t block = 2 * C * queries + 2 * C * keys + biases + 3 * C * s->hidden + norms;
    return (s->tied ? 1 : 2) * C * s->vocabulary + s->layers * block + C;
}

static int add_linear(kd_linear_layer *out, kd_params *params, int layer, const char *name,
                      int64_t in, int64_t units, bool bias) {
    char full[KD_NAME_MAX];
    snprintf(full, sizeof full, "layers.%d.%s", layer, name);
    const int status = kd_linear_layer_init(out, params, full, in, units, bias);
    if (status == KD_OK) out->weight->init = KD_INIT_NORMAL_002;
    return status;
}

static int add_norm(kd_rms_norm_layer *out, kd_params *params, int layer, const char *name,
                    int64_t C, double epsilon) {
    char full[KD_NAME_MAX];
    snprintf(full, sizeof full, "layers.%d.%s", layer, name);
    return kd_rms_norm_layer_init(out, params, full, C, (kd_real)epsilon);
}

/* In the order of Hugging Face's state dict. */
static int add_block(kd_llama *m, int layer) {
    const kd_llama_spec *s = &m->spec;
    kd_llama_block *b = &m->block[layer];
    const int64_t C = s->width, queries = (int64_t)s->heads * s->head_width;
    const int64_t keys = (int64_t)s->key_heads * s->head_width;
    const struct {
        kd_linear_layer *layer;
        const char *name;
        int64_t in, units;
        bool bias;
    } matrix[] = {{&b->query, "attn.query", C, queries, s->attention_bias},
                  {&b->key, "attn.key", C, keys, s->attention_bias},
                  {&b->value, "attn.value", C, keys, s->attention_bias},
                  {&b->out, "attn.out", queries, C, false},
                  {&b->gate, "mlp.gate", C, s->hidden, false},
                  {&b->up, "mlp.up", C, s->hidden, false},
                  {&b->down, "mlp.down", s->hidden, C, false}};
    int status = KD_OK;
    for (size_t i = 0; i < sizeof matrix / sizeof *matrix && status == KD_OK; i++)
        status = add_linear(matrix[i].layer, m->params, layer, matrix[i].name, matrix[i].in,
                            matrix[i].units, matrix[i].bias);
    const kd_linear_layer *turned[] = {&b->query, &b->key};
    for (int i = 0; i < 2 && status == KD_OK; i++) {
        turned[i]->weight->head_rows = s->head_width;
        if (turned[i]->bias) turned[i]->bias->head_rows = s->head_width;
    }
    const struct {
        kd_rms_norm_layer *layer;
        const char *name;
        int64_t C;
    } norm[] = {{&b->attn_norm, "attn_norm", C},
                {&b->mlp_norm, "mlp_norm", C},
                {&b->query_norm, "attn.query_norm", s->head_width},
                {&b->key_norm, "attn.key_norm", s->head_width}};
    for (int i = 0; i < (s->head_norms ? 4 : 2) && status == KD_OK; i++)
        status = add_norm(norm[i].layer, m->params, layer, norm[i].name, norm[i].C, s->epsilon);
    return status;
}

static int add_all(kd_llama *m) {
    const kd_llama_spec *s = &m->spec;
    int status =
        kd_embedding_layer_init(&m->embedding, m->params, "embedding", s->vocabulary, s->width);
    for (int i = 0; i < s->layers && status == KD_OK; i++) status = add_block(m, i);
    if (status == KD_OK)
        status = kd_rms_norm_layer_init(&m->norm, m->params, "norm", s->width, (kd_real)s->epsilon);
    kd_embedding_layer output = m->embedding;
    if (status == KD_OK && !s->tied)
        status = kd_embedding_layer_init(&output, m->params, "output", s->vocabulary, s->width);
    m->output = output.table;
    return status;
}

int kd_llama_create(kd_llama **out, const kd_llama_spec *spec, kd_llama_training training) {
    *out = NULL;
    kd_llama *m = calloc(1, sizeof *m);
    if (!m) return kd_fail_memory(sizeof *m, "a decoder");
    m->spec = *spec;
    m->block = calloc((size_t)spec->layers, sizeof *m->block);
    int status = m->block ? kd_params_create(&m->params)
                          : kd_fail_memory((size_t)spec->layers * sizeof *m->block, "a decoder");
    if (status == KD_OK) status = add_all(m);
    if (status < 0) {
        kd_llama_free(m);
        return status;
    }
    for (int i = 0; i < m->params->count && training != KD_LLAMA_TRAIN; i++) {
        m->params->list[i]->flags = KD_PARAM_STATE;
        m->params->list[i]->tensor.needs_grad = false;
    }
    *out = m;
    return KD_OK;
}

void kd_llama_free(kd_llama *model) {
    if (!model) return;
    kd_params_free(model->params);
    free(model->block);
    free(model);
}

int kd_llama_layout(kd_llama *model, uint64_t seed) {
    return kd_params_layout(model->params, seed);
}

int kd_llama_layout_blank(kd_llama *model) {
    for (int i = 0; i < model->params->count; i++) model->params->list[i]->init = KD_INIT_ZERO;
    return kd_params_layout(model->params, 0);
}

/* --- on the tape -------------------------------------------------------------------------------
 */

kd_rotary_table kd_llama_angles(const kd_llama *m, kd_tape *tape, int64_t first, int64_t T) {
    const int pairs = m->spec.head_width / 2;
    KD_CONTRACT(first >= 0 && first + T <= m->spec.context, "positions %lld to %lld of %d",
                (long long)first, (long long)(first + T), m->spec.context);
    kd_real *angles = kd_tape_alloc(tape, kd_array_bytes(2 * T * pairs, sizeof *angles));
    kd_rotary_fill(angles, angles + T * pairs, &m->spec.rotary, first, T, pairs);
    return (kd_rotary_table){pairs, angles, angles + T * pairs};
}

kd_tensor *kd_llama_turn(const kd_llama *m, kd_tape *tape, const kd_rms_norm_layer *norm,
                         kd_tensor *x, const kd_rotary_table *angles) {
    const int64_t heads[2] = {x->size / m->spec.head_width, m->spec.head_width};
    if (m->spec.head_norms) {
        kd_tensor *y = kd_rms_norm_layer_forward(norm, tape, kd_reshape(tape, x, 2, heads));
        x = kd_reshape(tape, y, 3, x->shape);
    }
    return kd_rotary(tape, x, angles);
}

/* x + out(attention(attn_norm(x))) */
static kd_tensor *attention(const kd_llama *m, const kd_llama_block *b, kd_tape *tape, kd_tensor *x,
                            const kd_rotary_table *angles, const int32_t *first) {
    kd_tensor *n = kd_rms_norm_layer_forward(&b->attn_norm, tape, x);
    kd_tensor *q = kd_linear_layer_forward(&b->query, tape, n);
    kd_tensor *k = kd_linear_layer_forward(&b->key, tape, n);
    kd_tensor *v = kd_linear_layer_forward(&b->value, tape, n);
    q = kd_llama_turn(m, tape, &b->query_norm, q, angles);
    k = kd_llama_turn(m, tape, &b->key_norm, k, angles);
    kd_tensor *y = kd_attention(tape, q, k, v, m->spec.heads,
                                (kd_attention_mask){.causal = true, .first = first});
    return kd_linear_layer_onto(&b->out, tape, x, y);
}

/* x + down(silu(gate(n)) ∘ up(n)), n = mlp_norm(x) */
static kd_tensor *mlp(const kd_llama_block *b, kd_tape *tape, kd_tensor *x) {
    kd_tensor *n = kd_rms_norm_layer_forward(&b->mlp_norm, tape, x);
    kd_tensor *gate = kd_linear_layer_forward(&b->gate, tape, n);
    kd_tensor *up = kd_linear_layer_forward(&b->up, tape, n);
    return kd_linear_layer_onto(&b->down, tape, x, kd_swiglu(tape, gate, up));
}

static kd_tensor *embed(const kd_llama *m, kd_tape *tape, const int32_t *id, int64_t B, int64_t T) {
    const int64_t shape[3] = {B, T, m->spec.width};
    return kd_reshape(tape, kd_embedding_layer_forward(&m->embedding, tape, id, B * T), 3, shape);
}

typedef struct {
    const kd_llama *model;
    const kd_llama_block *block;
    kd_rotary_table angles;
    const int32_t *first;
} block_run;

static kd_tensor *run_block(kd_tape *tape, const void *context, kd_tensor *const *in) {
    const block_run *r = context;
    return mlp(r->block, tape, attention(r->model, r->block, tape, in[0], &r->angles, r->first));
}

kd_tensor *kd_llama_states(const kd_llama *model, kd_tape *tape, const int32_t *id, int64_t B,
                           int64_t T, const int32_t *first, kd_tensor **state) {
    kd_tensor *x = embed(model, tape, id, B, T);
    const kd_rotary_table angles = kd_llama_angles(model, tape, 0, T);
    block_run *run = kd_tape_alloc(tape, (size_t)model->spec.layers * sizeof *run);
    for (int i = 0; i < model->spec.layers; i++) {
        if (state) state[i] = x;
        run[i] = (block_run){model, &model->block[i], angles, first};
        x = kd_segment(tape, run_block, &run[i], 1, &x);
    }
    if (state) state[model->spec.layers] = x;
    return kd_rms_norm_layer_forward(&model->norm, tape, x);
}

kd_tensor *kd_llama_hidden(const kd_llama *model, kd_tape *tape, const int32_t *id, int64_t B,
                           int64_t T, const int32_t *first) {
    return kd_llama_states(model, tape, id, B, T, first, NULL);
}

/* A second time, so that blocks that are run again on the way back need not hand them out. */
void kd_llama_watch(const kd_llama *model, kd_tape *tape, int layer, kd_tensor *x,
                    kd_tensor **query, kd_tensor **key) {
    const kd_llama_block *b = &model->block[layer];
    const kd_rotary_table angles = kd_llama_angles(model, tape, 0, x->shape[1]);
    kd_tensor *n = kd_rms_norm_layer_forward(&b->attn_norm, tape, x);
    kd_tensor *q = kd_linear_layer_forward(&b->query, tape, n);
    kd_tensor *k = kd_linear_layer_forward(&b->key, tape, n);
    *query = kd_llama_turn(model, tape, &b->query_norm, q, &angles);
    *key = kd_llama_turn(model, tape, &b->key_norm, k, &angles);
}

kd_tensor *kd_llama_logits(const kd_llama *model, kd_tape *tape, kd_tensor *hidden) {
    const int64_t shape[2] = {kd_rows(hidden), kd_channels(hidden)};
    return kd_linear(tape, kd_reshape(tape, hidden, 2, shape), &model->output->tensor, NULL,
                     KD_ACT_NONE);
}

/* --- without gradients -------------------------------------------------------------------------
 */

/* The attention and the MLP of each block by turns. */
static kd_tensor *half(const kd_llama *m, kd_tape *tape, int stage, kd_tensor *x,
                       const int32_t *first) {
    const kd_llama_block *b = &m->block[stage / 2];
    if (stage % 2) return mlp(b, tape, x);
    const kd_rotary_table angles = kd_llama_angles(m, tape, 0, x->shape[1]);
    return attention(m, b, tape, x, &angles, first);
}

int kd_llama_run_states(const kd_llama *m, kd_tape *scratch, kd_real *out, const int32_t *id,
                        int64_t B, int64_t T, const int32_t *first, kd_real *const *state) {
    const int64_t width = m->spec.width;
    kd_tensor x = {.rank = 3, .shape = {B, T, width}, .size = B * T * width, .value = out};
    scratch->recording = false;
    if (kd_tape_guard(scratch)) return KD_EINTERNAL;
    for (int stage = -1; stage < 2 * m->spec.layers; stage++) {
        kd_tape_reset(scratch);
        kd_tensor *y = stage < 0 ? embed(m, scratch, id, B, T) : half(m, scratch, stage, &x, first);
        kd_real *kept = state && stage % 2 ? state[(stage + 1) / 2] : NULL;
        if (kept) memcpy(kept, y->value, (size_t)y->size * sizeof *kept);
        if (stage == 2 * m->spec.layers - 1) y = kd_rms_norm_layer_forward(&m->norm, scratch, y);
        memcpy(out, y->value, (size_t)y->size * sizeof *out);
    }
    kd_tape_reset(scratch);
    return KD_OK;
}

int kd_llama_run(const kd_llama *m, kd_tape *scratch, kd_real *out, const int32_t *id, int64_t B,
                 int64_t T, const int32_t *first) {
    return kd_llama_run_states(m, scratch, out, id, B, T, first, NULL);
}
