/* A network of real numbers as ONNX. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"
#include "base/size.h"
#include "files/onnx_file.h"
#include "layers/node.h"

/* --- facts --------------------------------------------------------------------------------------
 */

static void describe(kd_onnx *onnx, const char *key, kd_text *text) {
    if (kd_text_finish(text, key) == KD_OK) kd_onnx_describe(onnx, key, text->text);
    free(text->text);
    *text = (kd_text){0};
}

static void describe_number(kd_onnx *onnx, const char *key, double value) {
    kd_text text = {0};
    kd_text_add(&text, "%.9g", value);
    describe(onnx, key, &text);
}

static void describe_list(kd_onnx *onnx, const char *key, const float *value, int n) {
    kd_text text = {0};
    for (int i = 0; i < n; i++) kd_text_add(&text, "%s%.9g", i ? ", " : "[", (double)value[i]);
    kd_text_add(&text, "]");
    describe(onnx, key, &text);
}

static void describe_classes(kd_onnx *onnx, const kd_dataset *dataset) {
    kd_text text = {0};
    for (int i = 0; i < dataset->classes; i++) {
        kd_text_add(&text, i ? ", " : "[");
        kd_json_add_quoted(&text, dataset->class_name[i]);
    }
    kd_text_add(&text, "]");
    describe(onnx, "distill.classes", &text);
}

void kd_onnx_add_info(kd_onnx *onnx, const kd_onnx_info *info) {
    const kd_normaliser *normaliser = &info->dataset->normaliser;
    const kd_audio_spec *audio = &info->data->audio;
    describe_classes(onnx, info->dataset);
    kd_onnx_describe(onnx, "distill.data.kind", kd_data_kind_name[info->data->kind]);
    describe_number(onnx, "distill.normaliser.unit", (double)normaliser->unit);
    if (normaliser->channels) {
        describe_list(onnx, "distill.normaliser.mean", normaliser->mean, normaliser->channels);
        describe_list(onnx, "distill.normaliser.deviation", normaliser->deviation,
                      normaliser->channels);
    }
    if (info->data->kind != KD_DATA_AUDIO) return;
    describe_number(onnx, "distill.audio.sample_rate", audio->sample_rate);
    describe_number(onnx, "distill.audio.window", audio->window);
    describe_number(onnx, "distill.audio.hop", audio->hop);
    describe_number(onnx, "distill.audio.mels", audio->mels);
    describe_number(onnx, "distill.audio.seconds", audio->seconds);
    describe_number(onnx, "distill.audio.trim", audio->trim);
    describe_number(onnx, "distill.audio.range", audio->range);
    kd_onnx_describe(onnx, "distill.audio.normalise", kd_clip_norm_name[audio->normalise]);
}

/* --- weights ------------------------------------------------------------------------------------
 */

enum { BLOCKS_OPSET = 21 };

static const struct {
    const kd_number_format *format;
    kd_onnx_type type;
} BLOCKS[] = {{&kd_format_q4_0, KD_ONNX_INT4}, {&kd_format_q8_0, KD_ONNX_INT8}};
enum { BLOCKS_COUNT = sizeof BLOCKS / sizeof *BLOCKS };

bool kd_onnx_keeps(const kd_number_format *format) {
    for (int i = 0; i < BLOCKS_COUNT; i++)
        if (BLOCKS[i].format == format) return true;
    return false;
}

typedef struct {
    kd_onnx *onnx;
    const kd_net *net;
    const kd_encoding *how;
    const char **value; /* net->count: the name of each node's result */
    bool *rows;         /* net->count: whether it is rows             */
} writer;

static float *floats_of(const kd_tensor *tensor) {
    float *out = malloc(kd_array_bytes(tensor->size, sizeof *out));
    if (!out) kd_fail_memory((size_t)tensor->size * sizeof *out, "a tensor");
    for (int64_t i = 0; i < tensor->size && out; i++) out[i] = (float)tensor->value[i];
    return out;
}

/* A parameter of one axis; *out stays NULL where there is none. */
static int add_vector(writer *w, const char **out, const kd_net_node *node, const char *suffix,
                      const kd_param *param) {
    if (!param) return KD_OK;
    float *values = floats_of(&param->tensor);
    if (!values) return KD_EINTERNAL;
    *out = kd_onnx_constant(w->onnx, kd_onnx_name(w->onnx, node->name, suffix), KD_ONNX_FLOAT, 1,
                            param->tensor.shape, values);
    free(values);
    return KD_OK;
}

/* How a layer's weights, rows of (positions, channels), lie in ONNX. */
typedef struct {
    int64_t rows, positions, channels;
    int rank;
    int64_t shape[4]; /* channels first */
} weight_layout;

static weight_layout layout_of(const kd_net *net, const kd_net_node *node) {
    const int64_t *shape = node->weight->tensor.shape;
    if (node->weight->tensor.rank == 4)
        return (weight_layout){
            shape[0], shape[1] * shape[2], shape[3], 4, {shape[0], shape[3], shape[1], shape[2]}};
    const kd_extent from = net->node[node->in[0]].out;
    return (weight_layout){shape[0], from.h * from.w, from.c, 2, {shape[0], shape[1]}};
}

static int add_float_weight(writer *w, const char *name, const kd_net_node *node,
                            const weight_layout *l) {
    const kd_tensor *tensor = &node->weight->tensor;
    float *values = floats_of(tensor),
          *turned = malloc(kd_array_bytes(tensor->size, sizeof *turned));
    int status = values && turned ? KD_OK : kd_fail_memory((size_t)tensor->size * 4, name);
    if (status == KD_OK) {
        kd_onnx_turn(turned, values, l->rows, l->positions, l->channels, sizeof *turned);
        kd_onnx_constant(w->onnx, name, KD_ONNX_FLOAT, l->rank, l->shape, turned);
    }
    free(values);
    free(turned);
    return status;
}

/* --- weights in blocks: integers and scales, in our order; then turned by operators --------------
 */

/* One row of blocks: what they stand for is scale·steps, exactly. */
static void split_row(int8_t *steps, float *scale, const kd_number_format *format,
                      const unsigned char *bytes, int64_t n, float *work) {
    float *value = work, *each = work + n, *offset = work + 2 * n;
    format->decode(value, bytes, n);
    format->grid->scales(each, offset, bytes, n);
    for (int64_t i = 0; i < n; i++) steps[i] = each[i] != 0 ? (int8_t)rintf(value[i] / each[i]) : 0;
    for (int64_t i = 0; i < n / format->block; i++) scale[i] = each[i * format->block];
}

/* `blocks`, in our order, → `name`, in the operator's. */
static void turn(writer *w, const char *name, const kd_net_node *node, const char *blocks,
                 const weight_layout *l) {
    kd_onnx *onnx = w->onnx;
    const int64_t four = 4, rank = l->rank, ours[4] = {l->rows, 1, l->positions, l->channels};
    const char *spread = kd_onnx_name(onnx, node->name, "spread");
    const char *turned = kd_onnx_name(onnx, node->name, "turned");
    const kd_onnx_setting order = KD_ONNX_LIST("perm", 4, 0, 3, 1, 2);
    const char *const in[] = {blocks, kd_onnx_constant(onnx, kd_onnx_name(onnx, node->name, "ours"),
                                                       KD_ONNX_INT64, 1, &four, ours)};
    const char *const shaped[] = {turned,
                                  kd_onnx_constant(onnx, kd_onnx_name(onnx, node->name, "theirs"),
                                                   KD_ONNX_INT64, 1, &rank, l->shape)};
    kd_onnx_add(onnx, "Reshape", spread, 2, in, 0, NULL);
    kd_onnx_add(onnx, "Transpose", turned, 1, &spread, 1, &order);
    kd_onnx_add(onnx, "Reshape", name, 2, shaped, 0, NULL);
}

/* The encoded rows of a weight: those given, or the nearest. *own is the caller's. */
static int encode(const unsigned char **out, unsigned char **own, const kd_encoding *how,
                  const kd_param *param) {
    *out = how->bytes;
    if (how->bytes) return KD_OK;
    const kd_rows_of rows = kd_param_rows(param);
    float *values = floats_of(&param->tensor);
    *out = *own = malloc(kd_array_bytes((int64_t)kd_encoding_bytes(how, param), 1));
    int status =
        values && *own ? KD_OK : kd_fail_memory(kd_encoding_bytes(how, param), param->name);
    if (status == KD_OK)
        status = kd_number_format_encode(*own, how->format, values, NULL, 1, rows.count,
                                         rows.length, 1, param->name);
    free(values);
    return status;
}

static int add_blocks(writer *w, const char *name, const kd_net_node *node, const weight_layout *l,
                      const kd_encoding *how, const unsigned char *bytes, kd_onnx_type type) {
    const kd_rows_of rows = kd_param_rows(node->weight);
    const int64_t n = rows.length, blocks = n / how->format->block;
    const size_t row_bytes = (size_t)kd_number_format_bytes(how->format, n);
    int8_t *steps = malloc(kd_array_bytes(rows.count * n, 1));
    float *scale = malloc(kd_array_bytes(rows.count * blocks, sizeof *scale));
    float *work = malloc(kd_array_bytes(3 * n, sizeof *work));
    int status = steps && scale && work ? KD_OK : kd_fail_memory((size_t)(rows.count * n), name);
    for (int64_t i = 0; i < rows.count && status == KD_OK; i++)
        split_row(steps + i * n, scale + i * blocks, how->format, bytes + (size_t)i * row_bytes, n,
                  work);
    if (status == KD_OK) {
        const int64_t ours[2] = {rows.count, n}, scales[2] = {rows.count, blocks};
        const bool as_it_is = l->rank == 2 && l->positions == 1;
        const char *real = as_it_is ? name : kd_onnx_name(w->onnx, node->name, "real");
        const char *const in[] = {
            kd_onnx_constant(w->onnx, kd_onnx_name(w->onnx, node->name, "steps"), type, 2, ours,
                             steps),
            kd_onnx_constant(w->onnx, kd_onnx_name(w->onnx, node->name, "scale"), KD_ONNX_FLOAT, 2,
                             scales, scale)};
        const kd_onnx_setting settings[] = {KD_ONNX_WHOLE("axis", 1),
                                            KD_ONNX_WHOLE("block_size", how->format->block)};
        kd_onnx_need(w->onnx, BLOCKS_OPSET);
        kd_onnx_add(w->onnx, "DequantizeLinear", real, 2, in, 2, settings);
        if (!as_it_is) turn(w, name, node, real, l);
    }
    free(steps);
    free(scale);
    free(work);
    return status;
}

static int add_weight(writer *w, const char **out, const kd_net_node *node) {
    if (!node->weight) return KD_OK;
    const weight_layout l = layout_of(w->net, node);
    const char *name = *out = kd_onnx_name(w->onnx, node->name, "weight");
    int at = 0, kind = 0;
    while (w->net->params->list[at] != node->weight) at++;
    const kd_encoding *how = w->how ? &w->how[at] : NULL;
    while (kind < BLOCKS_COUNT && (!how || BLOCKS[kind].format != how->format)) kind++;
    if (kind == BLOCKS_COUNT) return add_float_weight(w, name, node, &l);
    const unsigned char *bytes = NULL;
    unsigned char *own = NULL;
    int status = encode(&bytes, &own, how, node->weight);
    if (status == KD_OK) status = add_blocks(w, name, node, &l, how, bytes, BLOCKS[kind].type);
    free(own);
    return status;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static int add_parameters(writer *w, kd_onnx_node *to, const kd_net_node *node) {
    static const char *const suffix[] = {"bn.weight", "bn.bias", "bn.running_mean",
                                         "bn.running_var"};
    const kd_param *const norm[] = {node->gamma, node->beta, node->mean, node->var};
    int status = add_weight(w, &to->weight, node);
    if (status == KD_OK) status = add_vector(w, &to->bias, node, "bias", node->bias);
    for (int i = 0; i < 4 && status == KD_OK; i++)
        status = add_vector(w, &to->norm[i], node, suffix[i], norm[i]);
    return status;
}

static int add_node(writer *w, int i) {
    const kd_net_node *node = &w->net->node[i];
    const kd_node_class *class = kd_node_class_of(node->spec.kind);
    if (class->inputs == 0) {
        w->value[i] = "input";
        return KD_OK;
    }
    if (class->training_only) {
        w->value[i] = w->value[node->in[0]];
        w->rows[i] = w->rows[node->in[0]];
        return KD_OK;
    }
    const kd_extent from = w->net->node[node->in[0]].out;
    kd_onnx_node to = {.spec = &node->spec,
                       .name = node->name,
                       .from = from,
                       .out = node->out,
                       .epsilon = (float)w->net->bn_epsilon,
                       .pad_before = (node->out.c - from.c) / 2};
    for (int k = 0; k < class->inputs; k++) {
        to.in[k] = w->value[node->in[k]];
        to.rows[k] = w->rows[node->in[k]];
    }
    int status = add_parameters(w, &to, node);
    return status == KD_OK ? kd_onnx_add_node(w->onnx, &to, &w->value[i], &w->rows[i]) : status;
}

int kd_onnx_write(const char *path, const kd_net *net, const kd_encoding *how,
                  const kd_onnx_info *info) {
    writer w = {.net = net, .how = how};
    const int last = net->count - 1;
    int status = kd_onnx_create(&w.onnx, net->node[0].out);
    w.value = calloc((size_t)net->count, sizeof *w.value);
    w.rows = calloc((size_t)net->count, sizeof *w.rows);
    if (status == KD_OK && !(w.value && w.rows)) status = kd_fail_memory(sizeof w, path);
    for (int i = 0; i < net->count && status == KD_OK; i++) status = add_node(&w, i);
    if (status == KD_ECONFIG) kd_fail_in(status, "%s", path);
    if (status == KD_OK) {
        kd_onnx_add_info(w.onnx, info);
        status = kd_onnx_finish(w.onnx, path, w.value[last], w.rows[last], net->node[last].out);
    }
    kd_onnx_free(w.onnx);
    free(w.value);
    free(w.rows);
    return status;
}
