/* Do two nets compute the same? */
#include <stdio.h>
#include <string.h>

#include "layers/net.h"

typedef struct {
    char *out;
    size_t capacity;
    const char *node; /* the one compared */
    bool same;
} comparison;

static void compare_pair(comparison *c, const char *what, const int a[2], const int b[2]) {
    if (!c->same || (a[0] == b[0] && a[1] == b[1])) return;
    snprintf(c->out, c->capacity, "%s: %s %dx%d, not %dx%d", c->node, what, a[0], a[1], b[0], b[1]);
    c->same = false;
}

static void compare_number(comparison *c, const char *what, int a, int b) {
    if (!c->same || a == b) return;
    snprintf(c->out, c->capacity, "%s: %s %d, not %d", c->node, what, a, b);
    c->same = false;
}

static void compare_words(comparison *c, const char *what, const char *a, const char *b) {
    if (!c->same || strcmp(a, b) == 0) return;
    snprintf(c->out, c->capacity, "%s: %s %s, not %s", c->node, what, a, b);
    c->same = false;
}

static int without_dropout(const kd_net *net, int i) {
    while (i >= 0 && net->node[i].kind == KD_NODE_DROPOUT) i = net->node[i].in[0];
    return i;
}

static const char *input_name(const kd_net *net, const kd_net_node *node, int which) {
    const int i = without_dropout(net, node->in[which]);
    return i < 0 ? "" : net->node[i].name;
}

static void compare_nodes(comparison *c, const kd_net *a, const kd_net_node *x, const kd_net *b,
                          const kd_net_node *y) {
    static const char *const act[] = {[KD_ACT_NONE] = "none", [KD_ACT_RELU] = "relu"};
    c->node = x->name;
    compare_words(c, "is called", x->name, y->name);
    compare_words(c, "is a", kd_node_kind_name(x->kind), kd_node_kind_name(y->kind));
    for (int i = 0; i < 2; i++) compare_words(c, "reads", input_name(a, x, i), input_name(b, y, i));
    compare_words(c, "activation", act[x->act], act[y->act]);
    if (x->kind == KD_NODE_CONV) {
        compare_pair(c, "stride", x->conv.stride, y->conv.stride);
        compare_pair(c, "padding", x->conv.padding, y->conv.padding);
        compare_number(c, "groups", x->conv.groups, y->conv.groups);
    }
    if (x->kind == KD_NODE_MAX_POOL || x->kind == KD_NODE_AVG_POOL) {
        compare_pair(c, "window", x->pool.kernel, y->pool.kernel);
        compare_pair(c, "stride", x->pool.stride, y->pool.stride);
        compare_pair(c, "padding", x->pool.padding, y->pool.padding);
    }
    compare_number(c, "step", x->stride, y->stride);
    compare_number(c, "channels in front", x->pad_before, y->pad_before);
    compare_number(c, "channels behind", x->pad_after, y->pad_after);
}

/* The next node behind i that computes. */
static int next_node(const kd_net *net, int i) {
    for (i++; i < net->count && net->node[i].kind == KD_NODE_DROPOUT;) i++;
    return i;
}

bool kd_net_same(const kd_net *a, const kd_net *b, char *out, size_t capacity) {
    comparison c = {.out = out, .capacity = capacity, .same = true};
    int i = 0, k = 0;
    while (c.same && i < a->count && k < b->count) {
        compare_nodes(&c, a, &a->node[i], b, &b->node[k]);
        i = next_node(a, i);
        k = next_node(b, k);
    }
    if (!c.same || (i >= a->count && k >= b->count)) return c.same;
    snprintf(out, capacity, "%s: %s", i < a->count ? a->node[i].name : b->node[k].name,
             i < a->count ? "one node more" : "is missing");
    return false;
}
