/* Stored values of some places, with zeros around their channels. */
#include <string.h>

#include "base/error.h"
#include "quant/node.h"

static int write(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    (void)grids;
    const kd_net *net = w->qnet->net;
    const kd_net_node *node = &net->node[i];
    const int missing = (int)(node->out.c - net->node[node->in[0]].out.c);
    kd_text_add(&w->graph, ", \"step\": %d", node->spec.stride[0]);
    kd_blob_describe_pair(w, "pad", (int[]){missing / 2, missing - missing / 2});
    return KD_OK;
}

static int read(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    const kd_extent from = node->from;
    int64_t step = 0, pad[2] = {0};
    int status = kd_blob_get_integer(r, item, "step", 1, KD_BLOB_WINDOW_MAX, &step);
    if (status == KD_OK)
        status = kd_blob_get_integers(r, item, "pad", 2, 0, KD_BLOB_EXTENT_MAX, pad);
    if (status < 0) return status;
    node->spec.stride[0] = node->spec.stride[1] = (int)step;
    node->pad_before = (int)pad[0];
    *made = (kd_extent){(from.h + step - 1) / step, (from.w + step - 1) / step,
                        from.c + pad[0] + pad[1]};
    return KD_OK;
}

static void run_sample(const kd_blob_node *node, const uint8_t *x, kd_blob_range lines,
                       uint8_t *out) {
    const size_t C = (size_t)node->from.c, before = (size_t)node->pad_before,
                 after = (size_t)node->out.c - C - before;
    for (int64_t i = lines.first; i < lines.end; i++)
        for (int64_t j = 0; j < node->out.w; j++) {
            const int64_t row = i * node->spec.stride[0], column = j * node->spec.stride[1];
            memset(out, node->grid.zero, before);
            out += before;
            memcpy(out, x + (row * node->from.w + column) * node->from.c, C);
            memset(out + C, node->grid.zero, after);
            out += C + after;
        }
}

static void run(const kd_blob_task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const kd_blob_range lines = kd_blob_share(t, node->out.h);
    for (int64_t s = 0; s < t->n; s++)
        run_sample(node, kd_blob_activation(t, s, node->in[0]), lines,
                   kd_blob_line(t, s, index, lines.first));
}

const kd_qnode_class kd_qnode_shortcut = {.write = write, .read = read, .run = run};
