/* Pools in integers. The largest value stays on its grid; means are sums that are rounded to a grid
 * of their own. */
#include "base/error.h"
#include "quant/int8_ops.h"
#include "quant/node.h"

enum {
    FAKE_WINDOW_MAX =
        1 << 14,         /* a mean is recovered from its float value: its sum stays below 2^22 */
    WINDOW_MAX = 1 << 22 /* 255 times it stays below 2^30                                      */
};

/* The values a mean is over. */
static int64_t window_of(const kd_net *net, int i) {
    const kd_net_node *node = &net->node[i];
    const kd_extent in = net->node[node->in[0]].out;
    if (node->spec.kind == KD_NODE_GLOBAL_AVG_POOL) return in.h * in.w;
    return (int64_t)node->spec.kernel[0] * node->spec.kernel[1];
}

static int mean_check(const kd_net *net, int i) {
    const int64_t window = window_of(net, i);
    if (window <= FAKE_WINDOW_MAX) return KD_OK;
    return kd_fail(KD_ECONFIG, "%s: quantized means are over at most %d values, not %lld",
                   net->node[i].name, FAKE_WINDOW_MAX, (long long)window);
}

static kd_tensor *mean_steps(const kd_qrun *r, int i, kd_tensor *x, kd_tensor *second) {
    const kd_net *net = r->qnet->net;
    const kd_grid *in = kd_qrun_input_grid(r, i, 0);
    kd_tensor *mean = kd_net_node_forward(net, &net->node[i], r->tape, x, second);
    double min = 0, max = 0;
    if (r->averaging) kd_extrema(mean->value, mean->size, &min, &max);
    const kd_grid *out = kd_qrun_use_grid(r, i, min * (double)in->scale, max * (double)in->scale);
    kd_rescale how =
        kd_mean_rescale(r->tape, net->node[i].out.c, window_of(net, i), in->scale, out);
    how.learned = kd_qrun_learned(r, i);
    return kd_requantize_steps(r->tape, &(kd_accumulator){.count = 1, .digit = {mean}}, &how);
}

/* --- in a blob -------------------------------------------------------------------------------- */

static int max_write(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    (void)grids;
    kd_blob_describe_window(w, &w->qnet->net->node[i]);
    return KD_OK;
}

static int global_write(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    const kd_net *net = w->qnet->net;
    const kd_rescale how =
        kd_mean_rescale(w->tape, 1, window_of(net, i), grids->in[0]->scale, grids->out);
    kd_blob_add_i32s(w, &net->node[i], "multiplier", how.factor, 1);
    kd_blob_add_i32s(w, &net->node[i], "shift", how.shift, 1);
    return KD_OK;
}

static int avg_write(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    max_write(w, i, grids);
    return global_write(w, i, grids);
}

/* A pool must see at least one real value at every place. */
static int max_read(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    const kd_node_spec *spec = &node->spec;
    int status = kd_blob_read_window(r, item, node, made);
    if (status < 0) return status;
    if (spec->padding[0] >= spec->kernel[0] || spec->padding[1] >= spec->kernel[1])
        return kd_blob_fail(r, item, "padding", "must be less than the window");
    return KD_OK;
}

static int read_mean(kd_blob_reader *r, const cJSON *item, kd_blob_node *node) {
    if ((int64_t)node->spec.kernel[0] * node->spec.kernel[1] > WINDOW_MAX)
        return kd_blob_fail(r, item, "kernel", "is too large");
    return kd_blob_take_multipliers(r, node, 1);
}

static int avg_read(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    int status = max_read(r, item, node, made);
    return status == KD_OK ? read_mean(r, item, node) : status;
}

static int global_read(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    node->spec.kernel[0] = (int)node->from.h;
    node->spec.kernel[1] = (int)node->from.w;
    node->spec.stride[0] = node->spec.stride[1] = 1;
    made->h = made->w = 1;
    return read_mean(r, item, node);
}

static void max_run(const kd_blob_task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const kd_blob_range lines = kd_blob_share(t, node->out.h);
    for (int64_t s = 0; s < t->n; s++)
        kd_int8_max_pool(node, kd_blob_activation(t, s, node->in[0]), lines,
                         kd_blob_line(t, s, index, lines.first));
}

static void mean_run(const kd_blob_task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const kd_blob_range lines = kd_blob_share(t, node->out.h);
    const int32_t zero = t->blob->node[node->in[0]].grid.zero;
    for (int64_t s = 0; s < t->n; s++)
        kd_int8_mean_pool(node, kd_blob_activation(t, s, node->in[0]), zero, lines,
                          kd_blob_line(t, s, index, lines.first));
}

const kd_qnode_class kd_qnode_max_pool = {.write = max_write, .read = max_read, .run = max_run};
const kd_qnode_class kd_qnode_avg_pool = {.check = mean_check,
                                          .steps = mean_steps,
                                          .write = avg_write,
                                          .read = avg_read,
                                          .run = mean_run};
const kd_qnode_class kd_qnode_global_avg_pool = {.check = mean_check,
                                                 .steps = mean_steps,
                                                 .write = global_write,
                                                 .read = global_read,
                                                 .run = mean_run};
