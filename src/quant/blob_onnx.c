/* An exported network as ONNX: numbers stay real between the operators and are put on each node's
 * grid by QuantizeLinear and DequantizeLinear, which whoever runs the file fuses into integer
 * operators.
 *
 * Two forms. Where all grids are symmetric, values are int8 and zero-points 0 throughout, and
 * biases float32: what TensorRT wants, and others take. Else values are uint8 with zero-points and
 * biases int32.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "files/onnx_file.h"
#include "quant/node.h"

typedef struct {
    kd_onnx *onnx;
    const kd_blob *blob;
    bool symmetric;
    const char **value; /* blob->count: the name of each node's result */
    bool *rows;         /* blob->count: whether it is rows             */
} writer;

static bool all_symmetric(const kd_blob *blob) {
    for (int i = 0; i < blob->count; i++) {
        const kd_grid *grid = &blob->node[i].grid.grid;
        if (!blob->node[i].last && (grid->zero != 0 || grid->qmin < -128 || grid->qmax > 127))
            return false;
    }
    return true;
}

/* --- layers -------------------------------------------------------------------------------------
 */

/* Integers (O,…) with a scale for each of O → the name of their real values; NULL without memory.
 */
static const char *add_integers(writer *w, const char *const name[4], kd_onnx_type type, int rank,
                                const int64_t *shape, const void *steps, const float *scale) {
    const int64_t channels = shape[0];
    const char *real = name[0];
    int32_t *zeros = calloc(kd_array_bytes(channels, 1), sizeof *zeros);
    if (!zeros) return NULL;
    const char *const in[] = {
        kd_onnx_constant(w->onnx, name[1], type, rank, shape, steps),
        kd_onnx_constant(w->onnx, name[2], KD_ONNX_FLOAT, 1, &channels, scale),
        kd_onnx_constant(w->onnx, name[3], type, 1, &channels, zeros)};
    const kd_onnx_setting axis = KD_ONNX_WHOLE("axis", 0);
    kd_onnx_add(w->onnx, "DequantizeLinear", real, 3, in, 1, &axis);
    free(zeros);
    return real;
}

static const char *name_of(writer *w, const kd_blob_node *node, const char *suffix) {
    return kd_onnx_name(w->onnx, node->name, suffix);
}

/* The file has (O,positions,channels). */
static const char *add_weight(writer *w, const kd_blob_node *node) {
    const kd_node_spec *spec = &node->spec;
    const int64_t o = spec->channels, places = (int64_t)spec->kernel[0] * spec->kernel[1];
    const int64_t positions = places ? places : node->from.h * node->from.w;
    const int64_t inner = node->K / positions;
    const int64_t window[4] = {o, inner, spec->kernel[0], spec->kernel[1]}, rows[2] = {o, node->K};
    const char *const names[] = {name_of(w, node, "weight"), name_of(w, node, "weight_steps"),
                                 name_of(w, node, "weight_scale"), name_of(w, node, "weight_zero")};
    int8_t *turned = malloc(kd_array_bytes(o * node->K, 1));
    if (!turned) return NULL;
    kd_onnx_turn(turned, node->weight, o, positions, inner, sizeof *turned);
    const char *real = add_integers(w, names, KD_ONNX_INT8, places ? 4 : 2, places ? window : rows,
                                    turned, node->scale);
    free(turned);
    return real;
}

/* At the scales of the sums. */
static const char *add_bias(writer *w, const kd_blob_node *node) {
    const int64_t o = node->spec.channels;
    const float scale_in = w->blob->node[node->in[0]].grid.grid.scale;
    const char *const names[] = {name_of(w, node, "bias"), name_of(w, node, "bias_steps"),
                                 name_of(w, node, "bias_scale"), name_of(w, node, "bias_zero")};
    const char *real = NULL;
    float *value = malloc(kd_array_bytes(o, sizeof *value));
    if (!value) return NULL;
    for (int64_t c = 0; c < o; c++)
        value[c] = w->symmetric ? kd_accumulator_value(node->bias[c], scale_in, node->scale[c])
                                : scale_in * node->scale[c];
    real = w->symmetric ? kd_onnx_constant(w->onnx, names[0], KD_ONNX_FLOAT, 1, &o, value)
                        : add_integers(w, names, KD_ONNX_INT32, 1, &o, node->bias, value);
    free(value);
    return real;
}

/* --- grids --------------------------------------------------------------------------------------
 */

/* A real value onto a grid. Where that has fewer values than the type, it is cut before. */
static const char *put_on_grid(writer *w, const char *name, const kd_grid *grid,
                               const char *value) {
    const int32_t all = w->symmetric ? 254 : 255, zero = grid->zero - grid->qmin;
    const kd_onnx_type type = w->symmetric ? KD_ONNX_INT8 : KD_ONNX_UINT8;
    const uint8_t stored = w->symmetric ? 0 : (uint8_t)zero;
    kd_onnx *onnx = w->onnx;
    if (grid->qmax - grid->qmin < all) {
        const float low = grid->scale * (float)(grid->qmin - grid->zero);
        const float high = grid->scale * (float)(grid->qmax - grid->zero);
        const char *const in[] = {
            value,
            kd_onnx_constant(onnx, kd_onnx_name(onnx, name, "low"), KD_ONNX_FLOAT, 0, NULL, &low),
            kd_onnx_constant(onnx, kd_onnx_name(onnx, name, "high"), KD_ONNX_FLOAT, 0, NULL,
                             &high)};
        value = kd_onnx_name(onnx, name, "cut");
        kd_onnx_add(onnx, "Clip", value, 3, in, 0, NULL);
    }
    const char *steps = kd_onnx_name(onnx, name, "steps"), *real = kd_onnx_name(onnx, name, "real");
    const char *in[] = {
        value,
        kd_onnx_constant(onnx, kd_onnx_name(onnx, name, "grid_scale"), KD_ONNX_FLOAT, 0, NULL,
                         &grid->scale),
        kd_onnx_constant(onnx, kd_onnx_name(onnx, name, "grid_zero"), type, 0, NULL, &stored)};
    kd_onnx_add(onnx, "QuantizeLinear", steps, 3, in, 0, NULL);
    in[0] = steps;
    kd_onnx_add(onnx, "DequantizeLinear", real, 3, in, 0, NULL);
    return real;
}

/* An image as rows, put on its grid once more: a product is fused only right behind a grid. */
static const char *flatten(writer *w, const kd_blob_node *node, const char *value) {
    const char *flat = name_of(w, node, "flat");
    const kd_onnx_setting axis = KD_ONNX_WHOLE("axis", 1);
    kd_onnx_add(w->onnx, "Flatten", flat, 1, &value, 1, &axis);
    return put_on_grid(w, flat, &w->blob->node[node->in[0]].grid.grid, flat);
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static int add_node(writer *w, int i) {
    const kd_blob_node *node = &w->blob->node[i];
    const int inputs = kd_node_class_of(node->spec.kind)->inputs;
    int status = KD_OK;
    kd_onnx_node to = {.spec = &node->spec,
                       .name = node->name,
                       .from = node->from,
                       .out = node->out,
                       .pad_before = node->pad_before};
    for (int k = 0; k < inputs; k++) {
        to.in[k] = w->value[node->in[k]];
        to.rows[k] = w->rows[node->in[k]];
    }
    if (node->weight) {
        to.weight = add_weight(w, node);
        to.bias = add_bias(w, node);
        if (!node->spec.kernel[0] && !to.rows[0]) to.in[0] = flatten(w, node, to.in[0]);
        to.rows[0] = to.rows[0] || !node->spec.kernel[0];
        if (!to.weight || !to.bias) status = kd_fail_memory((size_t)node->K, node->name);
    }
    w->value[i] = "input";
    if (inputs > 0 && status == KD_OK)
        status = kd_onnx_add_node(w->onnx, &to, &w->value[i], &w->rows[i]);
    if (status == KD_OK && !node->last)
        w->value[i] = put_on_grid(w, node->name, &node->grid.grid, w->value[i]);
    return status;
}

static int write_blob(const char *path, const kd_blob *blob) {
    writer w = {.blob = blob, .symmetric = all_symmetric(blob)};
    const int last = blob->count - 1;
    const kd_dataset dataset = {
        .classes = blob->classes, .class_name = blob->class_name, .normaliser = blob->normaliser};
    int status = kd_onnx_create(&w.onnx, blob->node[0].out);
    w.value = calloc((size_t)blob->count, sizeof *w.value);
    w.rows = calloc((size_t)blob->count, sizeof *w.rows);
    if (status == KD_OK && !(w.value && w.rows)) status = kd_fail_memory(sizeof w, path);
    for (int i = 0; i < blob->count && status == KD_OK; i++) status = add_node(&w, i);
    if (status == KD_ECONFIG) kd_fail_in(status, "%s", path);
    if (status == KD_OK) {
        kd_onnx_add_info(w.onnx, &(kd_onnx_info){.dataset = &dataset, .data = &blob->data});
        status = kd_onnx_finish(w.onnx, path, w.value[last], w.rows[last], blob->node[last].out);
    }
    kd_onnx_free(w.onnx);
    free(w.value);
    free(w.rows);
    return status;
}

int kd_blob_write_onnx(const char *path, const char *blob_path) {
    kd_blob *blob;
    int status = kd_blob_open_only(&blob, blob_path);
    if (status < 0) return status;
    status = write_blob(path, blob);
    kd_blob_free(blob);
    return status;
}
