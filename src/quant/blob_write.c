/* A trained or calibrated qnet → GGUF. The layout is in docs/blob.md. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/node.h"

/* --- tensors ---------------------------------------------------------------------------------- */

void kd_blob_add_tensor(kd_blob_writer *w, const kd_net_node *node, const char *suffix,
                        kd_gguf_tensor_type type, int rank, const uint64_t *ne, const void *data) {
    char name[KD_GGUF_NAME_MAX + 1];
    snprintf(name, sizeof name, "%s.%s", node->name, suffix);
    kd_gguf_add_tensor(w->file, name, type, rank, ne, data);
}

void kd_blob_add_i32s(kd_blob_writer *w, const kd_net_node *node, const char *suffix,
                      const int32_t *value, int64_t n) {
    kd_blob_add_tensor(w, node, suffix, KD_GGUF_TENSOR_I32, 1, (uint64_t[]){(uint64_t)n}, value);
}

/* --- nodes ------------------------------------------------------------------------------------ */

static void describe_extent(kd_blob_writer *w, kd_extent e) {
    kd_text_add(&w->graph, ", \"out\": [%" PRId64 ", %" PRId64 ", %" PRId64 "]", e.h, e.w, e.c);
}

void kd_blob_describe_pair(kd_blob_writer *w, const char *key, const int pair[2]) {
    kd_text_add(&w->graph, ", \"%s\": [%d, %d]", key, pair[0], pair[1]);
}

void kd_blob_describe_window(kd_blob_writer *w, const kd_net_node *node) {
    kd_blob_describe_pair(w, "kernel", node->spec.kernel);
    kd_blob_describe_pair(w, "stride", node->spec.stride);
    kd_blob_describe_pair(w, "padding", node->spec.padding);
}

void kd_blob_describe_relu(kd_blob_writer *w, const kd_net_node *node) {
    kd_text_add(&w->graph, ", \"relu\": %s", node->spec.relu ? "true" : "false");
}

/* 9 significant digits give a float back exactly. */
static void describe_grid(kd_blob_writer *w, const kd_grid *grid) {
    kd_text_add(&w->graph,
                ", \"grid\": {\"scale\": %.9g, \"zero\": %d, \"qmin\": %d, \"qmax\": %d}",
                (double)grid->scale, grid->zero, grid->qmin, grid->qmax);
}

static void begin_node(kd_blob_writer *w, const kd_net_node *node) {
    kd_text_add(&w->graph, "%s\n  {\"kind\": \"%s\", \"name\": \"%s\"", node->in[0] < 0 ? "" : ",",
                kd_node_kind_name(node->spec.kind), node->name);
    if (node->in[1] >= 0)
        kd_text_add(&w->graph, ", \"in\": [%d, %d]", w->place[node->in[0]], w->place[node->in[1]]);
    else if (node->in[0] >= 0)
        kd_text_add(&w->graph, ", \"in\": [%d]", w->place[node->in[0]]);
    describe_extent(w, node->out);
}

static int write_node(kd_blob_writer *w, int i) {
    const kd_qnet *qnet = w->qnet;
    const kd_net_node *node = &qnet->net->node[i];
    const kd_qnode_class *class = kd_qnode_class_of(node->spec.kind);
    kd_node_grids grids = {.out = NULL};
    for (int k = 0; k < 2; k++)
        if (node->in[k] >= 0) grids.in[k] = &qnet->grid[qnet->node[node->in[k]].source];
    if (qnet->node[i].source == i) grids.out = &qnet->grid[i];
    begin_node(w, node);
    int status = class->write ? class->write(w, i, &grids) : KD_OK;
    if (grids.out) describe_grid(w, grids.out);
    kd_text_add(&w->graph, "}");
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int write_graph(kd_blob_writer *w) {
    const kd_qnet *qnet = w->qnet;
    int written = 0, status = KD_OK;
    kd_text_add(&w->graph, "[");
    for (int i = 0; i < qnet->net->count && status == KD_OK; i++) {
        const kd_net_node *node = &qnet->net->node[i];
        if (kd_node_class_of(node->spec.kind)->training_only) {
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

static int write_info(kd_blob_writer *w, const kd_blob_info *info) {
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

static int write_blob(kd_blob_writer *w, const kd_blob_info *info) {
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
    kd_blob_writer w = {.qnet = qnet, .path = path};
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
