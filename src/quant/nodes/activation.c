/* A function of every number in integers: a table with an entry for each value its input can have,
 * which the exported file holds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/node.h"

enum { ENTRIES = 256 };

/* Entry q − qmin of `in` → q − qmin of `out`; 0 behind the last value of `in`. */
static void make_table(uint8_t table[ENTRIES], kd_activation which, const kd_grid *in,
                       const kd_grid *out) {
    for (int32_t i = 0; i < ENTRIES; i++) {
        const int32_t q = i + in->qmin;
        const double x = (double)in->scale * (q - in->zero), y = kd_activation_value(which, x);
        const int32_t stored = kd_grid_steps(out, (float)y) + out->zero - out->qmin;
        table[i] = q <= in->qmax ? (uint8_t)stored : 0;
    }
}

/* What integers will do. */
static kd_tensor *look_up(kd_tape *tape, const kd_tensor *x, kd_activation which, const kd_grid *in,
                          const kd_grid *out) {
    kd_tensor *y = kd_tape_input(tape, x->rank, x->shape);
    const int32_t shift_in = in->zero - in->qmin, shift_out = out->zero - out->qmin;
    uint8_t table[ENTRIES];
    make_table(table, which, in, out);
    for (int64_t i = 0; i < x->size; i++) {
        const kd_real v = x->value[i];
        y->value[i] = isnan(v) ? v : (kd_real)(table[(int32_t)v + shift_in] - shift_out);
    }
    return y;
}

static kd_tensor *steps(const kd_qrun *r, int i, kd_tensor *x, kd_tensor *second) {
    const kd_net_node *node = &r->qnet->net->node[i];
    const kd_grid *in = kd_qrun_input_grid(r, i, 0);
    if (r->exact)
        return look_up(r->tape, x, node->spec.activation, in, kd_qrun_use_grid(r, i, 0, 0));
    kd_tensor *real = kd_scale(r->tape, x, (kd_real)in->scale);
    kd_tensor *y = kd_net_node_forward(r->qnet->net, node, r->tape, real, second);
    double min = 0, max = 0;
    if (r->averaging) kd_extrema(y->value, y->size, &min, &max);
    const kd_grid *out = kd_qrun_use_grid(r, i, min, max);
    float *scale = kd_tape_alloc(r->tape, sizeof *scale);
    *scale = out->scale;
    return kd_quantize(r->tape, y, 1, scale, out, kd_qrun_learned(r, i));
}

static int write(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    const kd_net_node *node = &w->qnet->net->node[i];
    const uint64_t ne = ENTRIES;
    uint8_t table[ENTRIES];
    make_table(table, node->spec.activation, grids->in[0], grids->out);
    kd_text_add(&w->graph, ", \"function\": \"%s\"", kd_activation_name(node->spec.activation));
    for (int k = 0; k < ENTRIES; k++) table[k] ^= 0x80; /* stored − 128 */
    kd_blob_add_tensor(w, node, "table", KD_GGUF_TENSOR_I8, 1, &ne, table);
    return KD_OK;
}

/* The function that the file names, when its table is that function's: two processors may round a
 * value in the middle of two differently. KD_ACTIVATION_COUNT: none. */
static kd_activation named(const cJSON *item, const kd_blob_node *node, const kd_grid *in) {
    const cJSON *name = kd_json_get(item, "function");
    const uint8_t *table = node->own;
    uint8_t expected[ENTRIES];
    int which = 0, far = 0;
    while (which < KD_ACTIVATION_COUNT &&
           !(cJSON_IsString(name) &&
             strcmp(name->valuestring, kd_activation_name((kd_activation)which)) == 0))
        which++;
    if (which == KD_ACTIVATION_COUNT) return KD_ACTIVATION_COUNT;
    make_table(expected, (kd_activation)which, in, &node->grid.grid);
    for (int k = 0; k <= in->qmax - in->qmin; k++) far += abs(table[k] - expected[k]) > 1;
    return far ? KD_ACTIVATION_COUNT : (kd_activation)which;
}

/* What is run is the table; the name of the function is for people and for ONNX. */
static int read(kd_blob_reader *r, const cJSON *item, kd_blob_node *node, kd_extent *made) {
    (void)made;
    const int32_t most = node->grid.grid.qmax - node->grid.grid.qmin;
    int status = kd_blob_take_tensor(r, &node->own, node, "table", KD_GGUF_TENSOR_I8, ENTRIES);
    uint8_t *table = node->own;
    for (int k = 0; k < ENTRIES && status == KD_OK; k++) {
        table[k] ^= 0x80;
        if (table[k] > most)
            status = kd_fail(KD_EDATA, "%s: %s: entry %d of its table is %d: at most %d", r->name,
                             node->name, k, table[k], most);
    }
    if (status == KD_OK)
        node->spec.activation = named(item, node, &r->blob->node[node->in[0]].grid.grid);
    return status;
}

static void run(const kd_blob_task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const kd_blob_range values = kd_blob_share(t, node->out.h * node->out.w * node->out.c);
    const uint8_t *table = node->own;
    for (int64_t s = 0; s < t->n; s++) {
        const uint8_t *x = kd_blob_activation(t, s, node->in[0]);
        uint8_t *out = kd_blob_activation(t, s, index);
        for (int64_t i = values.first; i < values.end; i++) out[i] = table[x[i]];
    }
}

const kd_qnode_class kd_qnode_activation = {
    .steps = steps, .write = write, .read = read, .run = run};
