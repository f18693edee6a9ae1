/* `distill convert` of a classifier to ONNX: an exported file, in integers or of rounded weights,
 * or the float weights of a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "distill/checkpoint.h"
#include "files/onnx_file.h"
#include "tasks/classify/classify.h"
#include "tasks/classify/learner.h"

/* The config that the model carries, and the head of its data, which know the samples' shape. */
typedef struct {
    kd_config *config;
    kd_dataset *data;
    kd_learner *learner;
    kd_encoding *how;
    kd_file_map map; /* what `how` points into */
} model;

static int read_config(kd_config **out, const char *path) {
    char *text = NULL, stage[KD_STAGE_MAX];
    int status = kd_ends_with(path, ".gguf") ? kd_gguf_read_text(&text, path, "distill.config")
                                             : kd_checkpoint_config(&text, stage, path);
    if (status == KD_OK && !(text && text[0]))
        status = kd_fail(KD_EDATA, "%s: carries no config, which says what network it is", path);
    if (status == KD_OK) status = kd_config_parse(out, text, strlen(text), path, 0, NULL);
    free(text);
    return status;
}

static int open_model(model *m, const char *path) {
    int status = read_config(&m->config, path);
    if (status == KD_OK) status = kd_dataset_head(&m->data, &m->config->data, KD_SPLIT_TEST);
    if (status < 0) return status;
    const kd_learner_spec spec = {.model = &m->config->model,
                                  .input = {m->data->h, m->data->w, m->data->c},
                                  .classes = m->data->classes,
                                  .seed = m->config->seed};
    status = kd_learner_create(&m->learner, &spec);
    return status == KD_OK ? kd_learner_load(m->learner, path, m->data) : status;
}

/* A line about the matrices that are not small in the file. */
static void tell(const char *out, const model *m) {
    int count = 0, all = 0, first = 0;
    for (int i = 0; i < m->learner->params->count; i++) {
        if (m->learner->params->list[i]->tensor.rank < 2) continue;
        all++;
        if (!kd_onnx_keeps(m->how[i].format) && count++ == 0) first = i;
    }
    if (count > 0)
        kd_log("%s: %d of %d matrices are float32, since only rows of whole blocks of q4_0 or q8_0 "
               "stay small there; the first is %s, of rows of %lld",
               out, count, all, m->learner->params->list[first]->name,
               (long long)kd_param_rows(m->learner->params->list[first]).length);
}

static int write_model(const char *path, const char *out, const kd_number_format *format) {
    model m = {0};
    const bool rounded = kd_ends_with(path, ".gguf");
    int status = open_model(&m, path);
    if (status == KD_OK && rounded)
        status = kd_weights_gguf_encodings(&m.how, &m.map, m.learner->params, path);
    else if (status == KD_OK && format)
        status = kd_learner_encodings(&m.how, m.learner, format);
    if (status == KD_OK) {
        const kd_onnx_info info = {.dataset = m.data, .data = &m.config->data};
        status = kd_onnx_write(out, m.learner->net, m.how, &info);
    }
    if (status == KD_OK && m.how && format != &kd_format_f32) tell(out, &m);
    free(m.how);
    kd_file_map_close(&m.map);
    kd_learner_free(m.learner);
    kd_dataset_free(m.data);
    kd_config_free(m.config);
    return status;
}

int kd_classify_onnx(const char *path, const char *out, const kd_number_format *format) {
    bool weights = true;
    int status = KD_OK;
    if (kd_ends_with(path, ".safetensors"))
        return kd_fail(KD_EUSAGE,
                       "%s: holds weights alone; name the checkpoint or the exported file of a run",
                       path);
    if (kd_ends_with(path, ".gguf")) status = kd_weights_gguf_is_at(&weights, path);
    if (status == KD_OK && format && kd_ends_with(path, ".gguf"))
        status =
            kd_fail(KD_EUSAGE,
                    "%s: its numbers are rounded already, and go over as they are: leave --type "
                    "out, or convert the run's checkpoint",
                    path);
    if (status < 0) return status;
    return weights ? write_model(path, out, format) : kd_blob_write_onnx(out, path);
}
