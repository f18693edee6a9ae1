/* A trained or calibrated qnet → GGUF. The layout is in docs/blob.md. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "quant/blob_internal.h"
#include "quant/qnet_internal.h"

typedef struct {
    const kd_qnet *qnet;
    const char *path;
    kd_tape *tape;
    kd_gguf_writer *file;
    kd_text graph; /* JSON */
    int *place;    /* net->count: index of a node in the file; a dropout has its input's */
} writer;

/* --- tensors ---------------------------------------------------------------------------------- */

static void add_tensor(writer *w, const char *node, const char *suffix, kd_gguf_tensor_type type,
                       int rank, const uint64_t *ne, const void *data) {
    char name[KD_GGUF_NAME_MAX + 1];
    snprintf(name, sizeof name, "%s.%s", node, suffix);
    kd_gguf_add_tensor(w->file, name, type, rank, ne, data);
}

static void add_i32s(writer *w, const char *node, const char *suffix, const int32_t *value,
                     int64_t n) {
    add_tensor(w, node, suffix, KD_GGUF_TENSOR_I32, 1, (uint64_t[]){(uint64_t)n}, value);
}

/* int8, or with 4 bits and fewer two to a byte, the first in the low half. */
static void add_weight(writer *w, const char *node, const kd_tensor *steps, int bits) {
    int8_t *bytes = kd_tape_take(w->tape, (size_t)steps->size);
    if (bits > 4) {
        uint64_t ne[KD_GGUF_RANK_MAX];
        for (int i = 0; i < steps->rank; i++) ne[i] = (uint64_t)steps->shape[steps->rank - 1 - i];
        for (int64_t i = 0; i < steps->size; i++) bytes[i] = (int8_t)steps->value[i];
        add_tensor(w, node, "weight", KD_GGUF_TENSOR_I8, steps->rank, ne, bytes);
    } else {
        const int64_t n = (steps->size + 1) / 2;
        for (int64_t i = 0; i < n; i++) {
            int low = (int)steps->value[2 * i];
            int high = 2 * i + 1 < steps->size ? (int)steps->value[2 * i + 1] : 0;
            bytes[i] = (int8_t)(uint8_t)((low & 15) | (high & 15) << 4);
        }
        add_tensor(w, node, "weight", KD_GGUF_TENSOR_I8, 1, (uint64_t[]){(uint64_t)n}, bytes);
    }
    kd_tape_give(w->tape, bytes);
}

/* No sum of stored activations (0 … 255) times weights, with bias and zero-point, may pass 2^31. */
static int check_accumulators(const writer *w, const char *node, const kd_qlayer *layer) {
    const int64_t n = layer->steps->size / layer->channels;
    for (int64_t c = 0; c < layer->channels; c++) {
        double sum = 0;
        for (int64_t k = 0; k < n; k++) sum += fabs((double)layer->steps->value[c * n + k]);
        if (2 * 255 * sum + fabs((double)layer->bias[c]) >= 0x1p31)
            return kd_fail(KD_EDATA,
                           "%s: %s, channel %lld: its sums can pass 2^31, which an int32 "
                           "cannot hold: use a smaller layer or fewer weight bits",
                           w->path, node, (long long)c);
        if (!isfinite((double)layer->scale[c]) || !isfinite(sum))
            return kd_fail(KD_EDATA, "%s: %s, channel %lld: its weights are not finite", w->path,
                           node, (long long)c);
    }
    return KD_OK;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static void describe_extent(writer *w, kd_extent e) {
    kd_text_add(&w->graph, ", \"out\": [%" PRId64 ", %" PRId64 ", %" PRId64 "]", e.h, e.w, e.c);
}

static void describe_pair(writer *w, const char *key, const int pair[2]) {
    kd_text_add(&w->graph, ", \"%s\": [%d, %d]", key, pair[0], pair[1]);
}

/* 9 significant digits give a float back exactly. */
static void describe_grid(writer *w, const kd_grid *grid) {
    kd_text_add(&w->graph,
                ", \"grid\": {\"scale\": %.9g, \"zero\": %d, \"qmin\": %d, \"qmax\": %d}",
                (double)grid->scale, grid->zero, grid->qmin, grid->qmax);
}

static int write_layer(writer *w, int i, const kd_grid *in, const kd_grid *out) {
    const kd_net_node *node = &w->qnet->net->node[i];
    const int bits = w->qnet->node[i].weight_bits;
    const kd_qlayer layer = kd_qnet_layer(w->qnet, w->tape, i, in->scale);
    int status = check_accumulators(w, node->name, &layer);
    if (status < 0) return status;
    if (node->kind == KD_NODE_CONV) {
        const int64_t *shape = node->weight->tensor.shape;
        describe_pair(w, "kernel", (int[]){(int)shape[1], (int)shape[2]});
        describe_pair(w, "stride", node->conv.stride);
        describe_pair(w, "padding", node->conv.padding);
        kd_text_add(&w->graph, ", \"groups\": %d", node->conv.groups);
    }
    kd_text_add(&w->graph, ", \"weight_bits\": %d", bits);
    add_weight(w, node->name, layer.steps, bits);
    add_i32s(w, node->name, "bias", layer.bias, layer.channels);
    add_tensor(w, node->name, "scale", KD_GGUF_TENSOR_F32, 1,
               (uint64_t[]){(uint64_t)layer.channels}, layer.scale);
    if (!out) return KD_OK;
    const kd_rescale how = kd_qlayer_rescale(w->tape, &layer, in->scale, out, node->act);
    add_i32s(w, node->name, "multiplier", how.factor, layer.channels);
    add_i32s(w, node->name, "shift", how.shift, layer.channels);
    return KD_OK;
}

static void write_mean(writer *w, int i, const kd_grid *in, const kd_grid *out) {
    const kd_net_node *node = &w->qnet->net->node[i];
    const kd_rescale how =
        kd_mean_rescale(w->tape, 1, kd_pool_window(w->qnet->net, i), in->scale, out);
    add_i32s(w, node->name, "multiplier", how.factor, 1);
    add_i32s(w, node->name, "shift", how.shift, 1);
}

static void write_add(writer *w, int i, const kd_grid *a, const kd_grid *b, const kd_grid *out) {
    const kd_net_node *node = &w->qnet->net->node[i];
    const kd_add_multipliers m = kd_add_multipliers_from(a->scale, b->scale, out->scale);
    add_i32s(w, node->name, "multiplier", (int32_t[]){m.a.factor, m.b.factor, m.out.factor}, 3);
    add_i32s(w, node->name, "shift", (int32_t[]){m.a.shift, m.b.shift, m.out.shift}, 3);
}

static void begin_node(writer *w, const kd_net_node *node) {
    kd_text_add(&w->graph, "%s\n  {\"kind\": \"%s\", \"name\": \"%s\"",
                node->kind == KD_NODE_INPUT ? "" : ",", kd_node_kind_name(node->kind), node->name);
    if (node->in[1] >= 0)
        kd_text_add(&w->graph, ", \"in\": [%d, %d]", w->place[node->in[0]], w->place[node->in[1]]);
    else if (node->in[0] >= 0)
        kd_text_add(&w->graph, ", \"in\": [%d]", w->place[node->in[0]]);
    describe_extent(w, node->out);
    if (node->kind == KD_NODE_CONV || node->kind == KD_NODE_LINEAR || node->kind == KD_NODE_ADD)
        kd_text_add(&w->graph, ", \"relu\": %s", node->act == KD_ACT_RELU ? "true" : "false");
}

static int write_node(writer *w, int i) {
    const kd_qnet *qnet = w->qnet;
    const kd_net_node *node = &qnet->net->node[i];
    const kd_grid *grid = qnet->grid, *in = NULL, *second = NULL, *out = NULL;
    if (node->in[0] >= 0) in = &grid[qnet->node[node->in[0]].source];
    if (node->in[1] >= 0) second = &grid[qnet->node[node->in[1]].source];
    if (qnet->node[i].source == i) out = &grid[i];
    begin_node(w, node);
    int status = KD_OK;
    switch (node->kind) {
    case KD_NODE_CONV:
    case KD_NODE_LINEAR:
        status = write_layer(w, i, in, out);
        break;
    case KD_NODE_MAX_POOL:
    case KD_NODE_AVG_POOL:
        describe_pair(w, "kernel", node->pool.kernel);
        describe_pair(w, "stride", node->pool.stride);
        describe_pair(w, "padding", node->pool.padding);
        if (out) write_mean(w, i, in, out);
        break;
    case KD_NODE_GLOBAL_AVG_POOL:
        write_mean(w, i, in, out);
        break;
    case KD_NODE_ADD:
        write_add(w, i, in, second, out);
        break;
    case KD_NODE_SHORTCUT:
        kd_text_add(&w->graph, ", \"step\": %d", node->stride);
        describe_pair(w, "pad", (int[]){node->pad_before, node->pad_after});
        break;
    case KD_NODE_INPUT:
    case KD_NODE_DROPOUT:
    case KD_NODE_KIND_COUNT:
        break;
    }
    if (out) describe_grid(w, out);
    kd_text_add(&w->graph, "}");
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int write_graph(writer *w) {
    const kd_qnet *qnet = w->qnet;
    int written = 0, status = KD_OK;
    kd_text_add(&w->graph, "[");
    for (int i = 0; i < qnet->net->count && status == KD_OK; i++) {
        const kd_net_node *node = &qnet->net->node[i];
        if (node->kind == KD_NODE_DROPOUT) {
            w->place[i] = w->place[node->in[0]];
            continue;
        }
        if (qnet->node[i].source == i) {
            if (qnet->node[i].range->tensor.value[KD_RANGE_BATCHES] == 0)
                return kd_fail(KD_EDATA,
                               "%s: %s was never observed: calibrate or train before "
                               "exporting",
                               w->path, node->name);
            qnet->grid[i] = kd_qnet_grid(qnet, i);
        }
        w->place[i] = written++;
        status = write_node(w, i);
        kd_tape_reset(w->tape);
    }
    kd_text_add(&w->graph, "\n]");
    if (status == KD_OK) status = kd_text_finish(&w->graph, "the graph of a blob");
    if (status == KD_OK) kd_gguf_add_string(w->file, "distill.graph", w->graph.text);
    return status;
}

static int write_info(writer *w, const kd_blob_info *info) {
    const kd_dataset *dataset = info->dataset;
    const kd_normaliser *normaliser = &dataset->normaliser;
    kd_gguf_add_string(w->file, "general.name", info->name);
    if (info->teacher) kd_gguf_add_string(w->file, "distill.teacher", info->teacher);
    if (info->origin) kd_gguf_add_string(w->file, "distill.origin", info->origin);
    kd_gguf_add_u32(w->file, "distill.version", 1);
    const char **names = malloc((size_t)dataset->classes * sizeof *names);
    if (!names) return kd_fail_memory((size_t)dataset->classes * sizeof *names, "class names");
    for (int i = 0; i < dataset->classes; i++) names[i] = dataset->class_name[i];
    kd_gguf_add_strings(w->file, "distill.classes", names, (uint64_t)dataset->classes);
    free(names);
    kd_gguf_add_string(w->file, "distill.data.kind", kd_data_kind_name[info->data->kind]);
    kd_gguf_add_f32(w->file, "distill.normaliser.unit", normaliser->unit);
    if (normaliser->channels) {
        const uint64_t n = (uint64_t)normaliser->channels;
        kd_gguf_add_f32s(w->file, "distill.normaliser.mean", normaliser->mean, n);
        kd_gguf_add_f32s(w->file, "distill.normaliser.deviation", normaliser->deviation, n);
    }
    if (info->data->kind == KD_DATA_AUDIO) {
        const kd_audio_spec *audio = &info->data->audio;
        kd_gguf_add_u32(w->file, "distill.audio.sample_rate", (uint32_t)audio->sample_rate);
        kd_gguf_add_u32(w->file, "distill.audio.window", (uint32_t)audio->window);
        kd_gguf_add_u32(w->file, "distill.audio.hop", (uint32_t)audio->hop);
        kd_gguf_add_u32(w->file, "distill.audio.mels", (uint32_t)audio->mels);
        kd_gguf_add_f64(w->file, "distill.audio.seconds", audio->seconds);
        kd_gguf_add_f64(w->file, "distill.audio.trim", audio->trim);
        kd_gguf_add_f64(w->file, "distill.audio.range", audio->range);
        kd_gguf_add_string(w->file, "distill.audio.normalise", kd_clip_norm_name[audio->normalise]);
    }
    return KD_OK;
}

static int write_blob(writer *w, const kd_blob_info *info) {
    if (kd_tape_guard(w->tape)) return KD_EINTERNAL;
    w->tape->recording = w->tape->training = false;
    int status = write_info(w, info);
    if (status == KD_OK) status = write_graph(w);
    if (status == KD_OK) status = kd_gguf_write(w->path, w->file);
    return status;
}

int kd_blob_write(const char *path, const kd_qnet *qnet, const kd_blob_info *info) {
    const kd_extent out = qnet->net->node[qnet->net->count - 1].out;
    KD_CONTRACT(out.h * out.w * out.c == info->dataset->classes,
                "a net of %lld outputs for %d classes", (long long)(out.h * out.w * out.c),
                info->dataset->classes);
    writer w = {.qnet = qnet, .path = path};
    w.place = calloc((size_t)qnet->net->count, sizeof *w.place);
    int status = w.place ? KD_OK : kd_fail_memory(sizeof *w.place, "a blob");
    if (status == KD_OK) status = kd_tape_create(&w.tape, 0);
    if (status == KD_OK) status = kd_gguf_writer_create(&w.file, "distill");
    if (status == KD_OK) status = write_blob(&w, info);
    free(w.graph.text);
    kd_gguf_writer_free(w.file);
    kd_tape_free(w.tape);
    free(w.place);
    return status;
}
