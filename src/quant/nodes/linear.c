/* Fully connected layers in integers. The last one gives logits. */
#include "quant/int8_ops.h"
#include "quant/node.h"

static kd_tensor *product(kd_tape *tape, const kd_net_node *node, kd_tensor *x, kd_tensor *weight) {
    const int64_t batch = x->shape[0];
    kd_tensor *rows = kd_reshape(tape, x, 2, (int64_t[]){batch, x->size / batch});
    kd_tensor *y = kd_linear(tape, rows, weight, NULL, KD_ACT_NONE);
    return kd_reshape(tape, y, 4, (int64_t[]){batch, 1, 1, node->out.c});
}

static kd_tensor *steps(const kd_qrun *r, int node, kd_tensor *x, kd_tensor *second) {
    (void)second;
    return kd_qrun_layer(r, node, x, product);
}

static int write(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    kd_blob_describe_relu(w, &w->qnet->net->node[i]);
    return kd_blob_write_layer(w, i, grids);
}

static int read(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    node->K = node->from.h * node->from.w * node->from.c;
    node->spec.channels = node->out.c;
    *made = (kd_extent){1, 1, node->out.c};
    return kd_blob_read_layer(r, item, node);
}

/* The input of each sample is one row, and one run. */
static int prepare(kd_blob *blob, kd_blob_node *node) {
    kd_blob_need(blob, &blob->row_bytes, kd_blob_row_stride(node));
    return kd_blob_prepare_layer(blob, node, 1, 1);
}

const kd_qnode_class kd_qnode_linear = {.is_layer = true,
                                        .gives_logits = true,
                                        .check = kd_qnet_check_layer,
                                        .steps = steps,
                                        .write = write,
                                        .read = read,
                                        .prepare = prepare,
                                        .run = kd_int8_linear};
