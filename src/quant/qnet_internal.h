/* Inside of a qnet, shared by its parts, by the kinds of nodes (node.h) and by the blob writer. */
#ifndef KD_QUANT_QNET_INTERNAL_H
#define KD_QUANT_QNET_INTERNAL_H

#include "quant/fake_quant.h"
#include "quant/qnet.h"

/* One node of the net, as far as quantization goes. */
typedef struct {
    int source;             /* the node whose grid this node's output is on; itself, or −1 for the
                               last LINEAR, which has none                                        */
    int bits, weight_bits;  /* of a node with a grid of its own; of a CONV or LINEAR              */
    kd_param *range;        /* (KD_RANGE_SIZE) state, where source is the node itself; else NULL  */
    kd_param *scale;        /* LSQ: (1) beside each range; else NULL                              */
    kd_param *weight_scale; /* LSQ: (O) of a CONV or LINEAR; else NULL                            */
    kd_observer *observer;  /* beside each range                                                  */
} kd_qnode;

struct kd_qnet {
    kd_net *net; /* borrowed */
    kd_quant_spec spec;
    kd_qnode *node; /* net->count */
    kd_grid *grid;  /* net->count: grids in use in the present forward */
};

/* A CONV or LINEAR with batch norm folded. */
typedef struct {
    kd_tensor *weight; /* (O,…)          */
    kd_tensor *bias;   /* (O), or NULL   */
} kd_folded;

kd_folded kd_qnet_fold(const kd_qnet *qnet, kd_tape *tape, int node);

/* The same in integers. Everything lives on the tape. */
typedef struct {
    kd_tensor *steps;     /* (O,…) whole numbers −Q … Q                                     */
    float *scale;         /* (O)                                                            */
    int32_t *bias;        /* (O) rint(bias/(s_x·s_w[c])), |bias| ≤ 2^28; zeros without bias */
    kd_tensor *real_bias; /* (O) what it was rounded from, for gradients; or NULL           */
    int64_t channels;
} kd_qlayer;

kd_qlayer kd_qnet_layer(const kd_qnet *qnet, kd_tape *tape, int node, float scale_in);

/* Rounding of the layer's accumulator to `out`: factor, shift and ratio are made on the tape. */
kd_rescale kd_qlayer_rescale(kd_tape *tape, const kd_qlayer *layer, float scale_in,
                             const kd_grid *out, kd_act act);

/* The same for means of `window` values of C channels. */
kd_rescale kd_mean_rescale(kd_tape *tape, int64_t channels, int64_t window, float scale_in,
                           const kd_grid *out);

/* The grid of the numbers that node `i` makes (qnet->node[i].source == i), from its range or
 * learned scale. A range never observed is a broken contract. */
kd_grid kd_qnet_grid(const kd_qnet *qnet, int i);

/* That sums of the layer's products are exact, whatever its weights are. */
int kd_qnet_check_layer(const kd_net *net, int node);

/* --- a forward in steps ----------------------------------------------------------------------- */

typedef struct {
    kd_qnet *qnet;
    kd_tape *tape;
    bool exact;       /* KD_QUANT_EVAL                                    */
    bool averaging;   /* KD_QUANT_TRAIN with ranges that go on moving     */
    kd_tensor **step; /* every node's output in steps                     */
} kd_qrun;

/* The grid of what node i reads first (0) or second (1). */
const kd_grid *kd_qrun_input_grid(const kd_qrun *r, int i, int which);

/* Lets the range of node i follow what it makes, before relu, then puts its grid into use. */
const kd_grid *kd_qrun_use_grid(const kd_qrun *r, int i, double min, double max);

/* What kd_rescale and others want to know of the learned scale of node i, whose grid is in use. */
kd_learned kd_qrun_learned(const kd_qrun *r, int i);

/* The product of a layer's steps x and integer weights, without bias → the accumulator. */
typedef kd_tensor *(*kd_product)(kd_tape *tape, const kd_net_node *node, kd_tensor *x,
                                 kd_tensor *weight);

/* A CONV or LINEAR in steps; real numbers where it is the last node. */
kd_tensor *kd_qrun_layer(const kd_qrun *r, int i, kd_tensor *x, kd_product product);

#endif
