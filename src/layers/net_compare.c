/* Do two nets compute the same? */
#include <stdio.h>
#include <string.h>

#include "layers/node.h"

typedef struct {
    char *out;
    size_t capacity;
    const char *node; /* the one compared */
    bool same;
} comparison;

static void compare_words(comparison *c, const char *what, const char *a, const char *b) {
    if (!c->same || strcmp(a, b) == 0) return;
    snprintf(c->out, c->capacity, "%s: %s %s, not %s", c->node, what, a, b);
    c->same = false;
}

static void compare_numbers(comparison *c, const char *what, int64_t a, int64_t b) {
    char x[24], y[24];
    snprintf(x, sizeof x, "%lld", (long long)a);
    snprintf(y, sizeof y, "%lld", (long long)b);
    compare_words(c, what, x, y);
}

static void compare_pairs(comparison *c, const char *what, const int a[2], const int b[2]) {
    char x[32], y[32];
    snprintf(x, sizeof x, "%dx%d", a[0], a[1]);
    snprintf(y, sizeof y, "%dx%d", b[0], b[1]);
    compare_words(c, what, x, y);
}

/* All that a node is told, but what only training has. */
static void compare_specs(comparison *c, const kd_node_spec *a, const kd_node_spec *b) {
    compare_words(c, "is a", kd_node_kind_name(a->kind), kd_node_kind_name(b->kind));
    compare_words(c, "activation", a->relu ? "relu" : "none", b->relu ? "relu" : "none");
    compare_words(c, "function", kd_activation_name(a->activation),
                  kd_activation_name(b->activation));
    compare_words(c, "batch norm", a->batch_norm ? "on" : "off", b->batch_norm ? "on" : "off");
    compare_pairs(c, "window", a->kernel, b->kernel);
    compare_pairs(c, "stride", a->stride, b->stride);
    compare_pairs(c, "padding", a->padding, b->padding);
    compare_numbers(c, "groups", a->groups, b->groups);
    compare_numbers(c, "channels", a->channels, b->channels);
}

static bool is_training_only(const kd_net *net, int i) {
    return kd_node_class_of(net->node[i].spec.kind)->training_only;
}

static const char *input_name(const kd_net *net, const kd_net_node *node, int which) {
    int i = node->in[which];
    while (i >= 0 && is_training_only(net, i)) i = net->node[i].in[0];
    return i < 0 ? "" : net->node[i].name;
}

static void compare_nodes(comparison *c, const kd_net *a, const kd_net_node *x, const kd_net *b,
                          const kd_net_node *y) {
    c->node = x->name;
    compare_words(c, "is called", x->name, y->name);
    for (int i = 0; i < 2; i++) compare_words(c, "reads", input_name(a, x, i), input_name(b, y, i));
    compare_specs(c, &x->spec, &y->spec);
}

/* The next node behind i that computes. */
static int next_node(const kd_net *net, int i) {
    for (i++; i < net->count && is_training_only(net, i);) i++;
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
