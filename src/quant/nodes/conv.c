/* Convolutions in integers: batch norm is folded into weights and biases. */
#include "base/error.h"
#include "quant/int8_ops.h"
#include "quant/node.h"

static kd_tensor *observe(const kd_qrun *r, int i, kd_tensor *x) {
    const kd_net_node *node = &r->qnet->net->node[i];
    const kd_folded folded = kd_qnet_fold(r->qnet, r->tape, i);
    return kd_conv2d(r->tape, x, folded.weight, folded.bias, kd_node_conv_spec(&node->spec),
                     kd_node_act(&node->spec));
}

static kd_tensor *product(kd_tape *tape, const kd_net_node *node, kd_tensor *x, kd_tensor *weight) {
    return kd_conv2d(tape, x, weight, NULL, kd_node_conv_spec(&node->spec), KD_ACT_NONE);
}

static kd_tensor *steps(const kd_qrun *r, int node, kd_tensor *x, kd_tensor *second) {
    (void)second;
    return kd_qrun_layer(r, node, x, product);
}

static int write(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    const kd_net_node *node = &w->qnet->net->node[i];
    kd_blob_describe_relu(w, node);
    kd_blob_describe_window(w, node);
    kd_text_add(&w->graph, ", \"groups\": %d", node->spec.groups);
    return kd_blob_write_layer(w, i, grids);
}

static int read(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    kd_node_spec *spec = &node->spec;
    int64_t groups = 1;
    int status = kd_blob_read_window(r, item, node, made);
    if (status == KD_OK) status = kd_blob_get_integer(r, item, "groups", 1, node->from.c, &groups);
    if (status < 0) return status;
    if (node->from.c % groups || node->out.c % groups)
        return kd_blob_fail(r, item, "groups", "must divide the channels");
    spec->groups = (int)groups;
    spec->channels = made->c = node->out.c;
    node->K = (int64_t)spec->kernel[0] * spec->kernel[1] * (node->from.c / groups);
    return kd_blob_read_layer(r, item, node);
}

/* A row of the kernel is one run of the input, unless it reads a group of the channels only. The
 * input is a padded image. */
static int prepare(kd_blob *blob, kd_blob_node *node) {
    const kd_node_spec *spec = &node->spec;
    const int64_t lines = node->from.h + 2 * spec->padding[0];
    kd_blob_need(blob, &blob->image_bytes, lines * kd_blob_pitch(node) + KD_BLOB_SLACK);
    return kd_blob_prepare_layer(blob, node, spec->kernel[0],
                                 spec->groups == 1 ? 1 : spec->kernel[1]);
}

static void run(const kd_blob_task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const kd_blob_range lines = kd_blob_share(t, node->out.h);
    const int32_t zero = t->blob->node[node->in[0]].grid.zero;
    for (int64_t s = 0; s < t->n; s++) {
        const uint8_t *x = kd_blob_activation(t, s, node->in[0]);
        if (kd_blob_is_depthwise(node))
            kd_int8_depthwise(node, x, zero, lines, kd_blob_line(t, s, index, lines.first));
        else
            kd_int8_conv(t, node, x, kd_blob_activation(t, s, index));
    }
}

const kd_qnode_class kd_qnode_conv = {.is_layer = true,
                                      .check = kd_qnet_check_layer,
                                      .observe = observe,
                                      .steps = steps,
                                      .write = write,
                                      .read = read,
                                      .prepare = prepare,
                                      .run = run};
