/* A feed-forward network as a list of nodes: what is computed from what, with which parameters.
 *
 * One registration per fact: the builders (mlp, cnn, resnet) append nodes; the float forward, the
 * quantized forward (quant/), the exports, the integer inference and the printing all walk this
 * list. Node 0 is the input; a node's inputs come before it.
 */
#ifndef KD_LAYERS_NET_H
#define KD_LAYERS_NET_H

#include "autograd/ops.h"
#include "autograd/param.h"

typedef enum {
    KD_NODE_INPUT,
    KD_NODE_CONV,   /* conv2d, then batch norm when gamma is set, then relu */
    KD_NODE_LINEAR, /* linear on the flattened input, then relu             */
    KD_NODE_MAX_POOL,
    KD_NODE_AVG_POOL,
    KD_NODE_GLOBAL_AVG_POOL, /* (H,W,C) → (1,1,C)                                    */
    KD_NODE_ADD,             /* in[0] + in[1], then relu                             */
    KD_NODE_SHORTCUT,        /* option A: x[::s, ::s], channels zero-padded on both sides */
    KD_NODE_DROPOUT,
    KD_NODE_KIND_COUNT
} kd_node_kind;

/* Per-sample shape: images (H,W,C); vectors have H = W = 1. */
typedef struct {
    int64_t h, w, c;
} kd_extent;

typedef struct kd_net_node {
    kd_node_kind kind;
    char name[KD_NAME_MAX - 16]; /* "layer1.0.conv1"; parameters are name + ".weight" …     */
    int in[2];                   /* indices of earlier nodes; −1 when unused                */
    kd_extent out;               /* what it hands on, per sample                            */
    kd_act act;
    kd_conv_spec conv;         /* CONV                                                    */
    kd_pool_spec pool;         /* MAX_POOL, AVG_POOL                                      */
    int stride;                /* SHORTCUT                                                */
    int pad_before, pad_after; /* SHORTCUT: zero channels                                 */
    kd_real drop;              /* DROPOUT: probability                                    */
    kd_param *weight, *bias;   /* CONV (O,KH,KW,C/groups), LINEAR (O,K); bias (O) or NULL */
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

/* Builders return the index of the new node. When one fails (memory), net->failed is set and the
 * rest are harmless. `in` is the index of the input node. Bias-free when `batch_norm`. */
int kd_net_conv(kd_net *net, const char *name, int in, int64_t channels, const int kernel[2],
                kd_conv_spec spec, bool batch_norm, kd_act act);
int kd_net_linear(kd_net *net, const char *name, int in, int64_t units, kd_act act);
int kd_net_pool(kd_net *net, const char *name, int in, kd_node_kind max_or_avg, kd_pool_spec spec);
int kd_net_global_avg_pool(kd_net *net, const char *name, int in);
int kd_net_add(kd_net *net, const char *name, int a, int b, kd_act act);
int kd_net_shortcut(kd_net *net, const char *name, int in, int stride, int64_t channels);
int kd_net_dropout(kd_net *net, const char *name, int in, kd_real p);

/* The index of the node called `name`, or −1. */
int kd_net_find(const kd_net *net, const char *name);

/* Whether two nets make the same of the same parameters: nodes in order, kinds, inputs, strides,
 * paddings, groups, activations. Dropout, which only training has, does not count. When they differ
 * the first difference is in `out`: "pool1: stride 2x2, not 1x1", what `a` has first. */
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

const char *kd_node_kind_name(kd_node_kind kind);

#endif
