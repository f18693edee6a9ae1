/* What a kind of node is, as far as numbers are real: one such row for each of KD_NODE_KINDS, in
 * the file nodes/<name>.c. Its other half is quant/node.h. */
#ifndef KD_LAYERS_NODE_H
#define KD_LAYERS_NODE_H

#include "config/keys.h"
#include "layers/net.h"
#include "layers/onnx.h"

typedef struct {
    const char *name;  /* in exported files, and for people                                      */
    const char *label; /* with a number the name of a config's layer, "pool3"; NULL: `name` */
    int inputs; /* 0 … 2                                                                  */
    bool training_only; /* otherwise the identity, which no export has and no comparison minds    */

    /* Gives a new node, whose `out` is that of its first input, its own and its parameters, by
     * node->spec. What is wrong is left in net->failed. NULL: nothing changes. */
    void (*build)(kd_net *net, kd_net_node *node);

    /* x (B,H,W,C), and of a second input, or NULL → (B,H',W',C') as node->out says. Never NULL. */
    kd_tensor *(*forward)(const kd_net *net, const kd_net_node *node, kd_tape *tape, kd_tensor *x,
                          kd_tensor *second);

    /* Adds what people should know besides `name` and relu: " 3×3, 8 groups". NULL: nothing. */
    void (*describe)(kd_text *out, const kd_net_node *node);

    /* Adds its operators, but for relu, to a graph of ONNX; the last one's result is `out`. Whether
     * that is rows, not an image. NULL: it has no form there. */
    bool (*onnx)(kd_onnx *onnx, const kd_onnx_node *node, const char *out);
} kd_node_class;

#define KD_DECLARE_NODE(KIND, name) extern const kd_node_class kd_node_##name;
KD_NODE_KINDS(KD_DECLARE_NODE)
#undef KD_DECLARE_NODE

/* The keys of one entry of "layers", which fill a kd_node_spec; the first one names the kind. */
#define KD_DECLARE_LAYER(KIND, name) extern const kd_config_table kd_layer_##name;
KD_LAYER_KINDS(KD_DECLARE_LAYER)
#undef KD_DECLARE_LAYER

const kd_node_class *kd_node_class_of(kd_node_kind kind);

/* --- for `build` ------------------------------------------------------------------------------ */

/* Registers "<node>.<suffix>". NULL without memory: then net->failed is set. */
kd_param *kd_net_add_param(kd_net *net, const kd_net_node *node, const char *suffix, int rank,
                           const int64_t *shape, kd_init init, int64_t fan_in, int flags);

/* Makes of node->out what the spec's windows make of it, channels as they are; false, with
 * net->failed, when they do not fit. `what` is "kernel" or "window". */
bool kd_net_slide(kd_net *net, kd_net_node *node, const char *what);

/* The product of n extents must be such that it can be counted with. `what` is "weight" or
 * "output". */
bool kd_net_is_countable(kd_net *net, const kd_net_node *node, const char *what, int n,
                         const int64_t *extent);
bool kd_net_is_countable_output(kd_net *net, const kd_net_node *node);

#endif
