/* A feed-forward network as a list of nodes: what is computed from what, with which parameters.
 *
 * One registration per fact: the builders (mlp, cnn, resnet) append nodes; the float forward, the
 * quantized forward (quant/), the exports, the integer inference and the printing all walk this
 * list and ask each node's kind (node.h). Node 0 is the input; a node's inputs come before it.
 */
#ifndef KD_LAYERS_NET_H
#define KD_LAYERS_NET_H

#include "autograd/ops.h"
#include "autograd/param.h"
#include "base/text.h"

/* Every kind of node, once. Its file nodes/<name>.c defines kd_node_<name> (node.h): shape,
 * parameters, float forward; quant/nodes/<name>.c defines kd_qnode_<name> (quant/node.h): the same
 * in integers. What is missing does not link. */
#define KD_NODE_KINDS(X) X(INPUT, input) KD_LAYER_KINDS(X) X(ADD, add) X(SHORTCUT, shortcut)

/* Of these, those that a config can name among the "layers" of a cnn: the file also defines their
 * keys, kd_layer_<name>. The three pools share the file pool.c. */
#define KD_LAYER_KINDS(X)                                                                          \
    X(CONV, conv)                                                                                  \
    X(MAX_POOL, max_pool)                                                                          \
    X(AVG_POOL, avg_pool)                                                                          \
    X(GLOBAL_AVG_POOL, global_avg_pool)                                                            \
    X(LINEAR, linear)                                                                              \
    X(ACTIVATION, activation)                                                                      \
    X(DROPOUT, dropout)

#define KD_ENUMERATE_NODE(KIND, name) KD_NODE_##KIND,
typedef enum { KD_NODE_KINDS(KD_ENUMERATE_NODE) KD_NODE_KIND_COUNT } kd_node_kind;
#undef KD_ENUMERATE_NODE

/* Per-sample shape: images (H,W,C); vectors have H = W = 1. */
typedef struct {
    int64_t h, w, c;
} kd_extent;

/* What an ACTIVATION computes: for each an op kd_<name>, and the same for one number as
 * value_<name> in nodes/activation.c. (relu is not among them: layers have it built in.) */
#define KD_ACTIVATIONS(X)                                                                          \
    X(GELU, gelu) X(GELU_TANH, gelu_tanh) X(SIGMOID, sigmoid) X(SILU, silu) X(TANH, tanh)
#define KD_ENUMERATE_ACTIVATION(NAME, name) KD_ACTIVATION_##NAME,
typedef enum { KD_ACTIVATIONS(KD_ENUMERATE_ACTIVATION) KD_ACTIVATION_COUNT } kd_activation;
#undef KD_ENUMERATE_ACTIVATION

/* What a node is told besides its name and inputs: by a config, by a model written as code, by the
 * graph of an exported file. Each kind uses some of it; the rest is 0. */
typedef struct {
    kd_node_kind kind;
    int64_t channels;                     /* of the output: CONV, LINEAR (units), SHORTCUT */
    int kernel[2], stride[2], padding[2]; /* CONV, pools; stride: SHORTCUT                 */
    int groups;                           /* CONV; −1: as many as the input has channels   */
    bool batch_norm;                      /* CONV: behind it, instead of a bias            */
    bool relu;                            /* CONV, LINEAR, ADD: behind all                 */
    double drop;                          /* DROPOUT: probability                          */
    kd_activation activation;             /* ACTIVATION                                    */
} kd_node_spec;

typedef struct kd_net_node {
    kd_node_spec spec;           /* groups and channels resolved                            */
    char name[KD_NAME_MAX - 16]; /* "layer1.0.conv1"; parameters are name + ".weight" …     */
    int in[2];                   /* indices of earlier nodes; −1 when unused                */
    int last_use;                /* the last node that takes it; its own index when none    */
    kd_extent out;               /* what it hands on, per sample                            */
    kd_param *weight, *bias;     /* CONV (O,KH,KW,C/groups), LINEAR (O,K); bias (O) or NULL */
    kd_param *gamma, *beta, *mean, *var; /* CONV with batch norm, (O); else NULL            */
} kd_net_node;

typedef struct kd_net {
    kd_params *params; /* borrowed */
    kd_net_node *node;
    int count, capacity;
    kd_real bn_momentum, bn_epsilon; /* 0.1, 1e-5 */
    int failed;                      /* sticky status of the builders; checked once at the end */
} kd_net;

/* `params` is borrowed and must outlive the net. The net starts with its input node. */
int kd_net_create(kd_net **out, kd_params *params, kd_extent input);
void kd_net_free(kd_net *net);

/* Appends a node that reads node `a` and, when its kind has two inputs, node `b`, else −1. Returns
 * its index. When it fails (memory, or KD_ECONFIG with the node's name), net->failed is set and
 * what follows is harmless. */
int kd_net_append(kd_net *net, const char *name, const kd_node_spec *spec, int a, int b);

/* The same, a kind each, for models written as code. */
int kd_net_conv(kd_net *net, const char *name, int in, int64_t channels, const int kernel[2],
                kd_conv_spec spec, bool batch_norm, kd_act act);
int kd_net_linear(kd_net *net, const char *name, int in, int64_t units, kd_act act);
int kd_net_pool(kd_net *net, const char *name, int in, kd_node_kind max_or_avg, kd_pool_spec spec);
int kd_net_global_avg_pool(kd_net *net, const char *name, int in);
int kd_net_add(kd_net *net, const char *name, int a, int b, kd_act act);
/* Option A: x[::stride, ::stride], the missing channels zero-padded on both sides. */
int kd_net_shortcut(kd_net *net, const char *name, int in, int stride, int64_t channels);
int kd_net_dropout(kd_net *net, const char *name, int in, kd_real p);

/* The index of the node called `name`, or −1. */
int kd_net_find(const kd_net *net, const char *name);

/* Whether two nets make the same of the same parameters: nodes in order, their inputs, all that
 * they were told. Dropout, which only training has, does not count. When they differ the first
 * difference is in `out`: "pool1: stride 2x2, not 1x1", what `a` has first. */
bool kd_net_same(const kd_net *a, const kd_net *b, char *out, size_t capacity);

/* Runs the list in float. x (B,H,W,C) → (B,V), the last node's output flattened. When `taps` is not
 * NULL it has net->count entries and receives every node's output tensor (for hints). */
kd_tensor *kd_net_forward(const kd_net *net, kd_tape *tape, kd_tensor *x, kd_tensor **taps);

/* One node of it alone, in float. x (B,H,W,C) is its first input, `second` the other one's or NULL;
 * the input node hands x on. */
kd_tensor *kd_net_node_forward(const kd_net *net, const kd_net_node *node, kd_tape *tape,
                               kd_tensor *x, kd_tensor *second);

/* That batches of so many samples can train it: batch norm needs the variance of at least two
 * values of each channel. KD_ECONFIG names the layer. */
int kd_net_check_batch(const kd_net *net, int64_t batch);

/* Multiply-adds of one sample's forward pass. */
int64_t kd_net_macs(const kd_net *net);

/* The largest number of activation values alive at once while one sample goes through, when every
 * output is dropped after its last use. */
int64_t kd_net_peak_activations(const kd_net *net);

/* "conv", as exported files call it. */
const char *kd_node_kind_name(kd_node_kind kind);

/* "silu", and its value, in double. */
const char *kd_activation_name(kd_activation which);
double kd_activation_value(kd_activation which, double x);

/* "conv 3×3, 8 groups, relu" */
void kd_net_describe(kd_text *out, const kd_net_node *node);

static inline kd_act kd_node_act(const kd_node_spec *spec) {
    return spec->relu ? KD_ACT_RELU : KD_ACT_NONE;
}
static inline kd_conv_spec kd_node_conv_spec(const kd_node_spec *spec) {
    return (kd_conv_spec){.stride = {spec->stride[0], spec->stride[1]},
                          .padding = {spec->padding[0], spec->padding[1]},
                          .groups = spec->groups};
}
static inline kd_pool_spec kd_node_pool_spec(const kd_node_spec *spec) {
    return (kd_pool_spec){.kernel = {spec->kernel[0], spec->kernel[1]},
                          .stride = {spec->stride[0], spec->stride[1]},
                          .padding = {spec->padding[0], spec->padding[1]}};
}

#endif
