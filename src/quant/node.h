/* What a kind of node is in integers: one such row for each of KD_NODE_KINDS, in the file
 * nodes/<name>.c. Its other half, in real numbers, is layers/node.h.
 *
 * A node makes new numbers, which have a grid of their own (`steps`), or hands on those it reads,
 * on their grid: then whole steps go through its float forward as real numbers do. What `steps`
 * gives in evaluation and what `run` gives are the same integers; tests/test_blob.c compares them.
 */
#ifndef KD_QUANT_NODE_H
#define KD_QUANT_NODE_H

#include "layers/node.h"
#include "quant/blob_internal.h"
#include "quant/qnet_internal.h"

typedef struct {
    /* Why a network with this kind cannot be quantized: "has no integer form"; told before training
     * starts. Then nothing else is set. NULL: it can. */
    const char *refused;

    bool is_layer;     /* its `weight` is rounded per output channel, for sums of products      */
    bool gives_logits; /* as the last node it keeps the accumulator's resolution, without a grid */

    /* KD_ECONFIG when this one is too large for integers, whatever its weights. NULL: never. */
    int (*check)(const kd_net *net, int node);

    /* The float forward that observers watch. NULL: that of layers/node.h. */
    kd_tensor *(*observe)(const kd_qrun *r, int node, kd_tensor *x);

    /* Steps of what it reads → its own. NULL: it hands on. */
    kd_tensor *(*steps)(const kd_qrun *r, int node, kd_tensor *x, kd_tensor *second);

    /* Adds its members of the graph and its tensors. NULL: it has none. */
    int (*write)(kd_blob_writer *w, int node, const kd_node_grids *grids);

    /* Reads the same, checking all: the file is hostile. *made, at first the input's extent,
     * becomes what the node's numbers make of it. NULL: nothing to read, the extent stays. */
    int (*read)(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made);

    /* Before the first run: lays out what was read as `run` wants it. NULL: as it is. */
    int (*prepare)(kd_blob *blob, kd_blob_node *node);

    /* The task's part of the node, for all its samples. NULL: no blob has this kind. */
    void (*run)(const kd_blob_task *t, int node);
} kd_qnode_class;

#define KD_DECLARE_NODE(KIND, name) extern const kd_qnode_class kd_qnode_##name;
KD_NODE_KINDS(KD_DECLARE_NODE)
#undef KD_DECLARE_NODE

const kd_qnode_class *kd_qnode_class_of(kd_node_kind kind);

#endif
