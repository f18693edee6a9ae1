#include "layers/scaling.h"

#include <stdlib.h>

#include "base/error.h"

static kd_scaling *allocate(int most) {
    kd_scaling *list = calloc((size_t)most + 1, sizeof *list);
    if (!list) kd_fail_memory((size_t)most * sizeof *list, "places of scales");
    return list;
}

/* --- a list of nodes ----------------------------------------------------------------------------
 */

static int count_uses(const kd_net *net, int node) {
    int uses = 0;
    for (int i = 0; i < net->count; i++)
        for (int k = 0; k < 2; k++) uses += net->node[i].in[k] == node;
    return uses;
}

/* Whether a positive factor of a channel may pass it. */
static bool lets_pass(kd_node_kind kind) {
    return kind == KD_NODE_MAX_POOL || kind == KD_NODE_AVG_POOL ||
           kind == KD_NODE_GLOBAL_AVG_POOL || kind == KD_NODE_DROPOUT;
}

/* What makes the channels that `node` takes, for it alone; NULL when it is not to be scaled. relu
 * lets positive factors pass. */
static const kd_net_node *maker_of(const kd_net *net, const kd_net_node *node) {
    int at = node->in[0];
    while (lets_pass(net->node[at].spec.kind) && count_uses(net, at) == 1) at = net->node[at].in[0];
    const kd_net_node *maker = &net->node[at];
    return maker->weight && count_uses(net, at) == 1 ? maker : NULL;
}

int kd_net_scalings(kd_scaling **out, int *count, const void *model) {
    const kd_net *net = model;
    *count = 0;
    *out = allocate(net->count);
    if (!*out) return KD_EINTERNAL;
    for (int i = 1; i < net->count; i++) {
        const kd_net_node *node = &net->node[i];
        if (!node->weight || (node->spec.kind == KD_NODE_CONV && node->spec.groups > 1)) continue;
        const kd_net_node *maker = maker_of(net, node);
        if (!maker) continue;
        kd_scaling *s = &(*out)[(*count)++];
        s->from[0] = maker->gamma ? maker->gamma : maker->weight;
        s->from[1] = maker->gamma ? maker->beta : maker->bias;
        s->to[s->count++] = node->weight;
    }
    return KD_OK;
}

/* --- Whisper ------------------------------------------------------------------------------------
 */

static kd_scaling *add(kd_scaling **next, kd_param *first, kd_param *second) {
    kd_scaling *s = (*next)++;
    s->from[0] = first;
    s->from[1] = second;
    return s;
}

/* Keys first. */
static void add_memory(kd_scaling **next, const kd_whisper *m) {
    if (2 * m->spec.text_layers > KD_SCALING_MOST) return;
    kd_scaling *s = add(next, m->audio_norm.gamma, m->audio_norm.beta);
    for (int i = 0; i < m->spec.text_layers; i++)
        s->to[s->count++] = m->text_block[i].cross.key.weight;
    s->scores = s->count;
    for (int i = 0; i < m->spec.text_layers; i++)
        s->to[s->count++] = m->text_block[i].cross.value.weight;
}

/* Attention is linear in its values, channel by channel. */
static void add_values(kd_scaling **next, const kd_attention_layer *a) {
    kd_scaling *s = add(next, a->value.weight, a->value.bias);
    s->to[s->count++] = a->out.weight;
}

static void add_block(kd_scaling **next, const kd_whisper_block *b, bool cross) {
    kd_scaling *s = add(next, b->attn_norm.gamma, b->attn_norm.beta);
    s->to[s->count++] = b->attn.query.weight;
    s->to[s->count++] = b->attn.key.weight;
    s->scores = s->count;
    s->to[s->count++] = b->attn.value.weight;
    add_values(next, &b->attn);
    if (cross) {
        s = add(next, b->cross_norm.gamma, b->cross_norm.beta);
        s->to[s->count++] = b->cross.query.weight;
        s->scores = s->count;
        add_values(next, &b->cross);
    }
    s = add(next, b->mlp_norm.gamma, b->mlp_norm.beta);
    s->to[s->count++] = b->up.weight;
}

int kd_whisper_scalings(kd_scaling **out, int *count, const void *model) {
    const kd_whisper *m = model;
    enum { OF_BLOCK = 5 };
    *count = 0;
    *out = allocate(OF_BLOCK * (m->spec.audio_layers + m->spec.text_layers) + 1);
    if (!*out) return KD_EINTERNAL;
    kd_scaling *next = *out;
    for (int i = 0; i < m->spec.audio_layers; i++) add_block(&next, &m->audio_block[i], false);
    add_memory(&next, m);
    for (int i = 0; i < m->spec.text_layers; i++) add_block(&next, &m->text_block[i], true);
    *count = (int)(next - *out);
    return KD_OK;
}

/* Values pass to the columns of `out` one by one where no heads share them, and SwiGLU is linear in
 * `up`. */
static void add_llama_block(kd_scaling **next, const kd_llama *m, const kd_llama_block *b) {
    kd_scaling *s = add(next, b->attn_norm.gamma, NULL);
    s->to[s->count++] = b->query.weight;
    s->to[s->count++] = b->key.weight;
    s->scores = s->count;
    s->to[s->count++] = b->value.weight;
    if (m->spec.heads == m->spec.key_heads) {
        s = add(next, b->value.weight, b->value.bias);
        s->to[s->count++] = b->out.weight;
    }
    s = add(next, b->mlp_norm.gamma, NULL);
    s->to[s->count++] = b->gate.weight;
    s->to[s->count++] = b->up.weight;
    s = add(next, b->up.weight, NULL);
    s->to[s->count++] = b->down.weight;
}

int kd_llama_scalings(kd_scaling **out, int *count, const void *model) {
    const kd_llama *m = model;
    enum { OF_BLOCK = 4 };
    *count = 0;
    *out = allocate(OF_BLOCK * m->spec.layers);
    if (!*out) return KD_EINTERNAL;
    kd_scaling *next = *out;
    for (int i = 0; i < m->spec.layers; i++) add_llama_block(&next, m, &m->block[i]);
    *count = (int)(next - *out);
    return KD_OK;
}
