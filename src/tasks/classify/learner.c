#include "tasks/classify/learner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "base/text.h"
#include "distill/checkpoint.h"
#include "files/onnx_file.h"
#include "files/safetensors.h"
#include "layers/import.h"

/* The learned projections of the hints whose two nodes have different widths. */
static int add_projections(kd_learner *learner, const kd_loss_config *loss, const kd_net *teacher) {
    for (int i = 0; i < loss->hint_count; i++) {
        const kd_hint_spec *hint = &loss->hint[i];
        int s = kd_net_find(learner->net, hint->student), t = kd_net_find(teacher, hint->teacher);
        if (s < 0 || t < 0)
            return kd_fail(
                KD_ECONFIG,
                "loss.hints[%d]: the %s has no node \"%s\" (`distill inspect` lists them)", i,
                s < 0 ? "student" : "teacher", s < 0 ? hint->student : hint->teacher);
        kd_extent from = learner->net->node[s].out, to = teacher->node[t].out;
        if (from.h != to.h || from.w != to.w)
            return kd_fail(
                KD_ECONFIG,
                "loss.hints[%d]: \"%s\" is %lldx%lld but \"%s\" is %lldx%lld; hints need "
                "the same height and width",
                i, hint->student, (long long)from.h, (long long)from.w, hint->teacher,
                (long long)to.h, (long long)to.w);
        if (from.c == to.c) continue;
        char name[KD_NAME_MAX];
        snprintf(name, sizeof name, "hint%d.projection", i);
        int64_t shape[2] = {to.c, from.c};
        learner->projection[i] = kd_params_add(learner->params, name, 2, shape, KD_INIT_HE_NORMAL,
                                               from.c, to.c, KD_PARAM_TRAINED);
        if (!learner->projection[i]) return KD_EINTERNAL;
    }
    return KD_OK;
}

static bool is_projection(const char *name) {
    return strncmp(name, "hint", 4) == 0 && kd_ends_with(name, ".projection");
}

/* Matrices are the weights of convolutions and linear layers. */
static const kd_number_format *format_of(const kd_param *param, const kd_number_format *matrices) {
    if (is_projection(param->name)) return NULL;
    return param->tensor.rank > 1 ? matrices : &kd_format_f32;
}

kd_quantizable kd_learner_quantizable(const kd_learner *learner) {
    return (kd_quantizable){.params = learner->params,
                            .net = learner->net,
                            .rule = format_of,
                            .scalings = kd_net_scalings,
                            .layers = learner->net};
}

const char *kd_learner_onnx(const char *weights) {
    return kd_ends_with(weights, ".onnx") ? weights : NULL;
}

/* The file's network, whose samples and classes must be those of the spec. */
static int open_onnx(kd_learner *learner, const kd_learner_spec *spec) {
    int status = kd_onnx_open(&learner->onnx, spec->onnx);
    if (status == KD_OK)
        status =
            kd_onnx_import_net(&learner->import, &learner->net, learner->params, learner->onnx);
    if (status < 0) return status;
    const kd_extent in = learner->net->node[0].out, given = spec->input;
    const kd_extent out = learner->net->node[learner->net->count - 1].out;
    if (in.h == given.h && in.w == given.w && in.c == given.c &&
        out.h * out.w * out.c == spec->classes)
        return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: a network from %lldx%lldx%lld to %lld classes; the data are "
                   "%lldx%lldx%lld with %d",
                   spec->onnx, (long long)in.h, (long long)in.w, (long long)in.c,
                   (long long)(out.h * out.w * out.c), (long long)given.h, (long long)given.w,
                   (long long)given.c, spec->classes);
}

int kd_learner_outline(kd_learner **out, const kd_learner_spec *spec) {
    *out = NULL;
    kd_learner *learner = calloc(1, sizeof *learner);
    if (!learner) return kd_fail_memory(sizeof *learner, "a network");
    int status = kd_params_create(&learner->params);
    if (status == KD_OK)
        status = spec->onnx ? open_onnx(learner, spec)
                            : kd_model_build(&learner->net, learner->params, spec->model,
                                             spec->input, spec->classes);
    if (status == KD_OK && spec->quantize) {
        const kd_quantizable model = kd_learner_quantizable(learner);
        status = kd_quantized_create(&learner->quantized, &model, spec->quantize);
    }
    if (status == KD_OK && spec->loss && spec->teacher)
        status = add_projections(learner, spec->loss, spec->teacher);
    if (status < 0) {
        kd_learner_free(learner);
        return status;
    }
    *out = learner;
    return KD_OK;
}

int kd_learner_create(kd_learner **out, const kd_learner_spec *spec) {
    int status = kd_learner_outline(out, spec);
    if (status == KD_OK) status = kd_params_layout((*out)->params, spec->seed);
    if (status == KD_OK && spec->quantize) status = kd_quantized_start((*out)->quantized);
    if (status == KD_OK) return KD_OK;
    kd_learner_free(*out);
    *out = NULL;
    return status;
}

void kd_learner_free(kd_learner *learner) {
    if (!learner) return;
    kd_quantized_free(learner->quantized);
    kd_onnx_import_free(learner->import);
    kd_onnx_tables_free(learner->onnx);
    kd_net_free(learner->net);
    kd_params_free(learner->params);
    free(learner);
}

static void free_arrays(kd_foreign_array *array, int n) {
    for (int i = 0; i < n; i++) free((void *)(uintptr_t)array[i].values);
    free(array);
}

/* Entry `entry` as an array of its own; a number without axes counts as an array of one. */
static int read_array(kd_foreign_array *out, const kd_safetensors *file,
                      const kd_safetensors_entry *entry, const char *path) {
    if (entry->rank > KD_MAX_RANK)
        return kd_fail(KD_EDATA, "%s: \"%s\" has %d axes, more than the %d a parameter may have",
                       path, entry->name, entry->rank, KD_MAX_RANK);
    *out = (kd_foreign_array){.name = entry->name, .rank = entry->rank ? entry->rank : 1};
    out->shape[0] = 1;
    for (int i = 0; i < entry->rank; i++) out->shape[i] = entry->shape[i];
    float *values = malloc(kd_array_bytes(entry->count, sizeof *values) + 1);
    if (!values) return kd_fail_memory((size_t)entry->count * sizeof *values, path);
    out->values = values;
    return kd_safetensors_read(file, entry, values);
}

static int load_safetensors(kd_net *net, const char *path) {
    kd_safetensors *file;
    int status = kd_safetensors_open(&file, path);
    if (status < 0) return status;
    int64_t count = kd_safetensors_count(file);
    int n = 0;
    kd_foreign_array *array = calloc((size_t)count + 1, sizeof *array);
    if (!array) status = kd_fail_memory((size_t)count * sizeof *array, path);
    for (int64_t i = 0; i < count && status == KD_OK; i++) {
        const kd_safetensors_entry *entry = kd_safetensors_at(file, i);
        if (entry->dtype[0] == 'I' || entry->dtype[0] == 'U') continue; /* counters of PyTorch */
        status = read_array(&array[n++], file, entry, path);
    }
    if (status == KD_OK) status = kd_import_params(net, n, array, path);
    if (array) free_arrays(array, n);
    kd_safetensors_close(file);
    return status;
}

/* What a checkpoint may hold beside the network itself. */
static bool is_beside(const char *name) {
    return is_projection(name) || kd_qnet_is_state(name);
}

/* That the network a checkpoint's config describes makes of the weights what this one makes. */
static int check_model(const kd_learner *learner, const kd_config *config, const char *path) {
    const kd_extent out = learner->net->node[learner->net->count - 1].out;
    kd_params *params;
    kd_net *net = NULL;
    char difference[160];
    int status = kd_params_create(&params);
    if (status == KD_OK)
        status = kd_model_build(&net, params, &config->model, learner->net->node[0].out,
                                (int)(out.h * out.w * out.c));
    if (status == KD_OK && !kd_net_same(net, learner->net, difference, sizeof difference))
        status = kd_fail(KD_EDATA,
                         "%s: was trained as another \"model\" than this config's: %s; `distill "
                         "inspect` shows the config it carries",
                         path, difference);
    kd_net_free(net);
    kd_params_free(params);
    return status;
}

static int check_data(kd_learner *learner, const kd_config *config, const char *path,
                      const kd_dataset *data) {
    kd_dataset *stated;
    int status = kd_dataset_stated(&stated, &config->data);
    if (status < 0) return status;
    status = kd_dataset_agree(stated, path, data, "the data");
    if (status == KD_OK && !kd_normaliser_equal(&stated->normaliser, &data->normaliser)) {
        kd_log("%s: was trained with other numbers for data.mean and data.deviation; it sees its "
               "inputs with its own",
               path);
        kd_learner_adapt(learner, &stated->normaliser, &data->normaliser);
    }
    kd_dataset_free(stated);
    return status;
}

/* That the network and the data are those of the config that the file carries. */
static int check_config(kd_learner *learner, const char *text, const char *path,
                        const kd_dataset *data) {
    kd_config *config;
    if (kd_config_parse(&config, text, strlen(text), path, 0, NULL) < 0)
        return kd_fail(KD_EDATA, "%s: the config it carries is not one of this program's", path);
    int status = check_model(learner, config, path);
    if (status == KD_OK) status = check_data(learner, config, path, data);
    kd_config_free(config);
    return status;
}

static int load_checkpoint(kd_learner *learner, const char *path, const kd_dataset *data) {
    char *text = NULL, stage[KD_STAGE_MAX];
    int status = kd_checkpoint_load_params(path, learner->params, is_beside);
    if (status == KD_OK) status = kd_checkpoint_config(&text, stage, path);
    if (status == KD_OK && strncmp(stage, "qat.", 4) == 0)
        kd_warn("%s: was trained with rounded numbers and is used here without rounding; what was "
                "trained is the exported .gguf",
                path);
    if (status == KD_OK && text[0]) status = check_config(learner, text, path, data);
    free(text);
    return status;
}

static int load_gguf(kd_learner *learner, const char *path, const kd_dataset *data) {
    char *text = NULL;
    int status = kd_weights_gguf_read(learner->params, path);
    if (status == KD_OK) status = kd_gguf_read_text(&text, path, "distill.config");
    if (status == KD_OK && !text) status = kd_fail(KD_EDATA, "%s: distill.config is no text", path);
    if (status == KD_OK) status = check_config(learner, text, path, data);
    free(text);
    return status;
}

/* A normaliser that the file states is that of its network. */
static int load_onnx(kd_learner *learner, const char *path, const kd_dataset *data) {
    kd_onnx_stated stated;
    if (!learner->import)
        return kd_fail(KD_ECONFIG, "%s: brings its own network; leave \"model\" out", path);
    int status = kd_onnx_import_weights(learner->import);
    if (status == KD_OK) status = kd_onnx_read_info(&stated, learner->onnx);
    if (status == KD_OK && stated.classes)
        status = kd_class_names_agree(
            stated.classes, (const char(*)[KD_CLASS_NAME_MAX])stated.class_name, path,
            data->classes, (const char(*)[KD_CLASS_NAME_MAX])data->class_name, "the data");
    if (status == KD_OK && stated.normalises)
        kd_learner_adapt(learner, &stated.normaliser, &data->normaliser);
    return status;
}

int kd_learner_load(kd_learner *learner, const char *path, const kd_dataset *data) {
    if (kd_learner_onnx(path)) return load_onnx(learner, path, data);
    if (kd_ends_with(path, ".safetensors")) return load_safetensors(learner->net, path);
    return kd_ends_with(path, ".gguf") ? load_gguf(learner, path, data)
                                       : load_checkpoint(learner, path, data);
}

int kd_learner_export(const char *path, const kd_learner *learner, const kd_weights_info *info) {
    const kd_quantized *q = learner->quantized;
    int status = kd_weights_gguf_write(path, learner->params, kd_quantized_encodings(q), info);
    if (status == KD_OK)
        kd_encoding_tell(path, learner->params, kd_quantized_encodings(q), q->model.rule,
                         q->spec.format);
    return status;
}

int kd_learner_encodings(kd_encoding **out, const kd_learner *learner,
                         const kd_number_format *format) {
    return kd_encodings_nearest(out, learner->params, format_of, format);
}

void kd_learner_adapt(kd_learner *learner, const kd_normaliser *own, const kd_normaliser *given) {
    const int64_t C = learner->net->node[0].out.c;
    learner->adapts = !kd_normaliser_equal(own, given);
    if (!learner->adapts) return;
    KD_CONTRACT(C <= KD_IMAGE_CHANNELS_MAX, "%lld channels", (long long)C);
    const double units = (double)own->unit / (double)given->unit;
    for (int64_t k = 0; k < C; k++) {
        const double given_mean = given->channels ? (double)given->mean[k] : 0;
        const double given_deviation = given->channels ? (double)given->deviation[k] : 1;
        const double mean = own->channels ? (double)own->mean[k] : 0;
        const double deviation = own->channels ? (double)own->deviation[k] : 1;
        learner->factor[k] = given_deviation * units / deviation;
        learner->shift[k] = (given_mean * units - mean) / deviation;
    }
}

int kd_learner_hash(kd_hash *out, const kd_learner *learner) {
    kd_hash part[4];
    int status = kd_params_hash(&part[0], learner->params), parts = 1;
    const size_t bytes = kd_array_bytes(learner->net->node[0].out.c, sizeof(double));
    if (status < 0) return status;
    if (learner->adapts) {
        part[parts++] = kd_hash_bytes(learner->factor, bytes);
        part[parts++] = kd_hash_bytes(learner->shift, bytes);
    }
    if (learner->onnx)
        part[parts++] = kd_hash_bytes(learner->onnx->map.bytes, learner->onnx->map.length);
    *out = parts > 1 ? kd_hash_join(part, parts) : part[0];
    return KD_OK;
}

kd_tensor *kd_learner_forward(const kd_learner *learner, kd_tape *tape, kd_tensor *x,
                              kd_run_mode mode, kd_tensor **taps) {
    static const kd_quant_mode quant_mode[] = {[KD_RUN_OBSERVE] = KD_QUANT_OBSERVE,
                                               [KD_RUN_FAKE_TRAIN] = KD_QUANT_TRAIN,
                                               [KD_RUN_FAKE_EVAL] = KD_QUANT_EVAL};
    if (mode == KD_RUN_FLOAT) return kd_net_forward(learner->net, tape, x, taps);
    KD_CONTRACT(learner->quantized, "a quantized forward of a float learner");
    return kd_quantized_forward(learner->quantized, tape, x, quant_mode[mode], taps);
}

kd_tensor *kd_learner_input(const kd_learner *learner, kd_tape *tape, int64_t n, const float *x) {
    kd_extent in = learner->net->node[0].out;
    int64_t shape[4] = {n, in.h, in.w, in.c};
    kd_tensor *input = kd_tape_input(tape, 4, shape);
    for (int64_t i = 0; i < input->size; i++) {
        const int64_t k = i % in.c;
        input->value[i] = learner->adapts
                              ? (kd_real)((double)x[i] * learner->factor[k] + learner->shift[k])
                              : (kd_real)x[i];
    }
    return input;
}

int64_t kd_learner_parameters(const kd_learner *learner) {
    int64_t count = 0;
    for (int i = 0; i < learner->net->count; i++) {
        const kd_net_node *node = &learner->net->node[i];
        const kd_param *own[] = {node->weight, node->bias, node->gamma, node->beta};
        for (int p = 0; p < 4; p++) count += own[p] ? own[p]->tensor.size : 0;
    }
    return count;
}
