#include "layers/bert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/segment.h"
#include "base/error.h"
#include "base/size.h"

/* --- the parameters ----------------------------------------------------------------------------
 */

int kd_bert_spec_check(const kd_bert_spec *s, const char *source) {
    const struct {
        const char *name;
        int value, least, most;
    } size[] = {{"width", s->width, 1, 1 << 15},           {"layers", s->layers, 1, 512},
                {"heads", s->heads, 1, 1 << 10},           {"hidden units", s->hidden, 1, 1 << 18},
                {"vocabulary", s->vocabulary, 1, 1 << 20}, {"positions", s->context, 1, 1 << 20},
                {"token types", s->types, 0, 1 << 10},     {"classes", s->classes, 0, 1 << 16}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].value < size[i].least || size[i].value > size[i].most)
            return kd_fail(KD_EDATA, "%s: %s: %d; an encoder has %d to %d", source, size[i].name,
                           size[i].value, size[i].least, size[i].most);
    if (s->width % s->heads)
        return kd_fail(KD_EDATA, "%s: a width of %d over %d heads; it must be a multiple", source,
                       s->width, s->heads);
    if (s->classes > 0 && !s->pooler)
        return kd_fail(KD_EDATA, "%s: classes without a pooler, which they are told by", source);
    if (!(s->epsilon > 0 && s->epsilon < 1))
        return kd_fail(KD_EDATA, "%s: the norms' epsilon is %g; it is above 0 and below 1", source,
                       s->epsilon);
    return KD_OK;
}

int64_t kd_bert_size(const kd_bert_spec *s) {
    const int64_t C = s->width, square = C * C + C;
    const int64_t block = 4 * square + 2 * C * s->hidden + s->hidden + C + 4 * C;
    const int64_t tables = C * ((int64_t)s->vocabulary + s->context + s->types) + 2 * C;
    const int64_t head = s->head ? square + 2 * C + s->vocabulary : 0;
    return tables + s->layers * block + head + (s->pooler ? square : 0) + s->classes * (C + 1);
}

static int add_linear(kd_linear_layer *out, kd_params *params, const char *name, int64_t in,
                      int64_t units) {
    const int status = kd_linear_layer_init(out, params, name, in, units, true);
    if (status == KD_OK) out->weight->init = KD_INIT_NORMAL_002;
    return status;
}

static int add_block(kd_bert *m, int layer) {
    const int64_t C = m->spec.width, H = m->spec.hidden;
    kd_bert_block *b = &m->block[layer];
    char name[KD_NAME_MAX];
    const struct {
        kd_linear_layer *layer;
        const char *name;
        int64_t in, units;
    } matrix[] = {{&b->query, "attn.query", C, C}, {&b->key, "attn.key", C, C},
                  {&b->value, "attn.value", C, C}, {&b->out, "attn.out", C, C},
                  {&b->up, "mlp.up", C, H},        {&b->down, "mlp.down", H, C}};
    const struct {
        kd_norm_layer *layer;
        const char *name;
    } norm[] = {{&b->attn_norm, "attn_norm"}, {&b->mlp_norm, "mlp_norm"}};
    int status = KD_OK;
    for (size_t i = 0; i < sizeof matrix / sizeof *matrix && status == KD_OK; i++) {
        snprintf(name, sizeof name, "layers.%d.%s", layer, matrix[i].name);
        status = add_linear(matrix[i].layer, m->params, name, matrix[i].in, matrix[i].units);
    }
    for (size_t i = 0; i < sizeof norm / sizeof *norm && status == KD_OK; i++) {
        snprintf(name, sizeof name, "layers.%d.%s", layer, norm[i].name);
        status = kd_norm_layer_init(norm[i].layer, m->params, name, C, (kd_real)m->spec.epsilon);
    }
    return status;
}

static int add_heads(kd_bert *m) {
    const kd_bert_spec *s = &m->spec;
    const int64_t C = s->width, V = s->vocabulary;
    int status = KD_OK;
    if (s->pooler) status = add_linear(&m->pooler, m->params, "pooler", C, C);
    if (status == KD_OK && s->classes > 0)
        status = add_linear(&m->classifier, m->params, "classifier", C, s->classes);
    if (status < 0 || !s->head) return status;
    status = add_linear(&m->transform, m->params, "head.transform", C, C);
    if (status == KD_OK)
        status = kd_norm_layer_init(&m->head_norm, m->params, "head.norm", C, (kd_real)s->epsilon);
    if (status < 0) return status;
    m->bias = kd_params_add(m->params, "head.bias", 1, &V, KD_INIT_ZERO, C, V, KD_PARAM_TRAINED);
    return m->bias ? KD_OK : KD_EINTERNAL;
}

static int add_all(kd_bert *m) {
    const kd_bert_spec *s = &m->spec;
    const struct {
        kd_embedding_layer *layer;
        const char *name;
        int rows;
    } table[] = {{&m->embedding, "embedding", s->vocabulary},
                 {&m->position, "position", s->context},
                 {&m->type, "type", s->types}};
    int status = KD_OK;
    for (size_t i = 0; i < sizeof table / sizeof *table && status == KD_OK; i++)
        if (table[i].rows > 0)
            status = kd_embedding_layer_init(table[i].layer, m->params, table[i].name,
                                             table[i].rows, s->width);
    if (status == KD_OK)
        status = kd_norm_layer_init(&m->embed_norm, m->params, "embed_norm", s->width,
                                    (kd_real)s->epsilon);
    for (int i = 0; i < s->layers && status == KD_OK; i++) status = add_block(m, i);
    return status == KD_OK ? add_heads(m) : status;
}

int kd_bert_create(kd_bert **out, const kd_bert_spec *spec, bool frozen) {
    *out = NULL;
    kd_bert *m = calloc(1, sizeof *m);
    if (!m) return kd_fail_memory(sizeof *m, "an encoder");
    m->spec = *spec;
    m->block = calloc((size_t)spec->layers, sizeof *m->block);
    int status = m->block ? kd_params_create(&m->params)
                          : kd_fail_memory((size_t)spec->layers * sizeof *m->block, "an encoder");
    if (status == KD_OK) status = add_all(m);
    if (status < 0) {
        kd_bert_free(m);
        return status;
    }
    for (int i = 0; i < m->params->count && frozen; i++) {
        m->params->list[i]->flags = KD_PARAM_STATE;
        m->params->list[i]->tensor.needs_grad = false;
    }
    *out = m;
    return KD_OK;
}

void kd_bert_free(kd_bert *model) {
    if (!model) return;
    kd_params_free(model->params);
    free(model->block);
    free(model);
}

int kd_bert_layout(kd_bert *model, uint64_t seed) {
    return kd_params_layout(model->params, seed);
}

int kd_bert_layout_blank(kd_bert *model) {
    for (int i = 0; i < model->params->count; i++) model->params->list[i]->init = KD_INIT_ZERO;
    return kd_params_layout(model->params, 0);
}

/* --- on the tape -------------------------------------------------------------------------------
 */

static kd_tensor *embed(const kd_bert *m, kd_tape *tape, const kd_bert_input *in) {
    const int64_t n = in->B * in->T, shape[3] = {in->B, in->T, m->spec.width};
    int32_t *place = kd_tape_alloc(tape, kd_array_bytes(n, sizeof *place));
    int32_t *type = kd_tape_alloc(tape, kd_array_bytes(n, sizeof *type));
    for (int64_t i = 0; i < n; i++) {
        place[i] = (int32_t)(i % in->T) - (in->first ? in->first[i] : 0);
        KD_CONTRACT(place[i] < m->spec.context, "position %d of %d", (int)place[i],
                    m->spec.context);
        type[i] = 0;
    }
    kd_tensor *x = kd_embedding_layer_forward(&m->embedding, tape, in->id, n);
    x = kd_add(tape, x, kd_embedding_layer_forward(&m->position, tape, place, n), KD_ACT_NONE);
    if (m->spec.types > 0)
        x = kd_add(tape, x, kd_embedding_layer_forward(&m->type, tape, type, n), KD_ACT_NONE);
    return kd_norm_layer_forward(&m->embed_norm, tape, kd_reshape(tape, x, 3, shape));
}

/* attn_norm(x + out(attention)) */
static kd_tensor *attention(const kd_bert *m, const kd_bert_block *b, kd_tape *tape, kd_tensor *x,
                            const int32_t *first, const int32_t *end) {
    kd_tensor *q = kd_linear_layer_forward(&b->query, tape, x);
    kd_tensor *k = kd_linear_layer_forward(&b->key, tape, x);
    kd_tensor *v = kd_linear_layer_forward(&b->value, tape, x);
    kd_tensor *y =
        kd_attention(tape, q, k, v, m->spec.heads, (kd_attention_mask){.first = first, .end = end});
    return kd_norm_layer_forward(&b->attn_norm, tape, kd_linear_layer_onto(&b->out, tape, x, y));
}

/* mlp_norm(x + down(gelu(up(x)))) */
static kd_tensor *mlp(const kd_bert_block *b, kd_tape *tape, kd_tensor *x) {
    kd_tensor *y = kd_gelu(tape, kd_linear_layer_forward(&b->up, tape, x));
    return kd_norm_layer_forward(&b->mlp_norm, tape, kd_linear_layer_onto(&b->down, tape, x, y));
}

typedef struct {
    const kd_bert *model;
    const kd_bert_block *block;
    const int32_t *first, *end;
} block_run;

static kd_tensor *run_block(kd_tape *tape, const void *context, kd_tensor *const *in) {
    const block_run *r = context;
    return mlp(r->block, tape, attention(r->model, r->block, tape, in[0], r->first, r->end));
}

kd_tensor *kd_bert_states(const kd_bert *model, kd_tape *tape, const kd_bert_input *in) {
    kd_tensor *x = embed(model, tape, in);
    block_run *run = kd_tape_alloc(tape, (size_t)model->spec.layers * sizeof *run);
    for (int i = 0; i < model->spec.layers; i++) {
        run[i] = (block_run){model, &model->block[i], in->first, in->end};
        x = kd_segment(tape, run_block, &run[i], 1, &x);
    }
    return x;
}

kd_tensor *kd_bert_head(const kd_bert *model, kd_tape *tape, kd_tensor *states) {
    KD_CONTRACT(model->spec.head, "an encoder without a masked-language head");
    kd_tensor *y = kd_gelu(tape, kd_linear_layer_forward(&model->transform, tape, states));
    return kd_norm_layer_forward(&model->head_norm, tape, y);
}

kd_tensor *kd_bert_logits(const kd_bert *model, kd_tape *tape, kd_tensor *states) {
    const int64_t shape[2] = {kd_rows(states), kd_channels(states)};
    kd_tensor *h = kd_reshape(tape, kd_bert_head(model, tape, states), 2, shape);
    return kd_linear(tape, h, &model->embedding.table->tensor, &model->bias->tensor, KD_ACT_NONE);
}

kd_tensor *kd_bert_classes(const kd_bert *model, kd_tape *tape, kd_tensor *states,
                           const int32_t *start, int64_t n) {
    const int64_t shape[2] = {kd_rows(states), kd_channels(states)};
    KD_CONTRACT(model->spec.classes > 0, "an encoder without classes");
    kd_tensor *x = kd_embedding(tape, kd_reshape(tape, states, 2, shape), start, n);
    kd_tensor *p = kd_linear_layer_forward(&model->pooler, tape, x);
    p = model->spec.types > 0 ? kd_tanh(tape, p) : kd_relu(tape, p);
    return kd_linear_layer_forward(&model->classifier, tape, p);
}

/* --- without gradients -------------------------------------------------------------------------
 */

int kd_bert_run(const kd_bert *m, kd_tape *scratch, kd_real *out, const kd_bert_input *in) {
    const int64_t width = m->spec.width, B = in->B, T = in->T;
    kd_tensor x = {.rank = 3, .shape = {B, T, width}, .size = B * T * width, .value = out};
    scratch->recording = false;
    if (kd_tape_guard(scratch)) return KD_EINTERNAL;
    for (int stage = -1; stage < 2 * m->spec.layers; stage++) {
        const kd_bert_block *b = &m->block[stage < 0 ? 0 : stage / 2];
        kd_tape_reset(scratch);
        kd_tensor *y = stage < 0   ? embed(m, scratch, in)
                       : stage % 2 ? mlp(b, scratch, &x)
                                   : attention(m, b, scratch, &x, in->first, in->end);
        memcpy(out, y->value, (size_t)y->size * sizeof *out);
    }
    kd_tape_reset(scratch);
    return KD_OK;
}
