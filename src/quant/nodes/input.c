/* Real numbers come in and are put on the first grid. */
#include "quant/int8_ops.h"
#include "quant/node.h"

static kd_tensor *steps(const kd_qrun *r, int node, kd_tensor *x, kd_tensor *second) {
    (void)second;
    double min = 0, max = 0;
    if (r->averaging) kd_extrema(x->value, x->size, &min, &max);
    const kd_grid *grid = kd_qrun_use_grid(r, node, min, max);
    float *scale = kd_tape_alloc(r->tape, sizeof *scale);
    *scale = grid->scale;
    return kd_quantize(r->tape, x, 1, scale, grid, kd_qrun_learned(r, node));
}

static void run(const kd_blob_task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const int64_t size = node->out.h * node->out.w * node->out.c;
    for (int64_t s = 0; s < t->n; s++)
        kd_int8_input(node, t->x + s * size, kd_blob_share(t, size),
                      kd_blob_activation(t, s, index));
}

const kd_qnode_class kd_qnode_input = {.steps = steps, .run = run};
