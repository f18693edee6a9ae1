/* The sum of two grids on a third (grid.h). */
#include "base/error.h"
#include "quant/int8_ops.h"
#include "quant/node.h"

static kd_tensor *steps(const kd_qrun *r, int i, kd_tensor *a, kd_tensor *b) {
    const kd_grid *grid_a = kd_qrun_input_grid(r, i, 0), *grid_b = kd_qrun_input_grid(r, i, 1);
    double min = 0, max = 0;
    if (r->averaging) kd_sum_extrema(a, grid_a->scale, b, grid_b->scale, &min, &max);
    const kd_grid *out = kd_qrun_use_grid(r, i, min, max);
    return kd_add_quantized(r->tape, a, grid_a, b, grid_b, out, r->qnet->net->node[i].spec.relu,
                            kd_qrun_learned(r, i));
}

static int write(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    const kd_net_node *node = &w->qnet->net->node[i];
    const kd_add_multipliers m =
        kd_add_multipliers_from(grids->in[0]->scale, grids->in[1]->scale, grids->out->scale);
    kd_blob_describe_relu(w, node);
    kd_blob_add_i32s(w, node, "multiplier", (int32_t[]){m.a.factor, m.b.factor, m.out.factor}, 3);
    kd_blob_add_i32s(w, node, "shift", (int32_t[]){m.a.shift, m.b.shift, m.out.shift}, 3);
    return KD_OK;
}

/* Both addends' multipliers are below 1, so that their sum cannot overflow. */
static int read(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    const kd_extent a = *made, b = r->blob->node[node->in[1]].out;
    if (b.h != a.h || b.w != a.w || b.c != a.c)
        return kd_blob_fail(r, item, "in", "must name two nodes of the same shape");
    int status = kd_blob_take_multipliers(r, node, 3);
    if (status < 0) return status;
    if (node->shift[0] < 0 || node->shift[1] < 0)
        return kd_fail(KD_EDATA, "%s: %s: an addend's shift must not be negative", r->name,
                       node->name);
    node->add = (kd_add_multipliers){{node->factor[0], node->shift[0]},
                                     {node->factor[1], node->shift[1]},
                                     {node->factor[2], node->shift[2]}};
    return KD_OK;
}

static void run(const kd_blob_task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const kd_blob_range values = kd_blob_share(t, node->out.h * node->out.w * node->out.c);
    for (int64_t s = 0; s < t->n; s++)
        kd_int8_add(t->blob, node, kd_blob_activation(t, s, node->in[0]),
                    kd_blob_activation(t, s, node->in[1]), values, kd_blob_activation(t, s, index));
}

const kd_qnode_class kd_qnode_add = {.steps = steps, .write = write, .read = read, .run = run};
