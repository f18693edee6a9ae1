/* A classifier's config: its networks, node by node. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/manifest.h"
#include "layers/net_table.h"
#include "tasks/classify/classify.h"
#include "tasks/classify/learner.h"

/* What a sample looks like. */
typedef struct {
    kd_extent extent;
    int classes;
    bool assumed; /* the data are not there to look at */
} sample;

static void look_at_idx(sample *out, const kd_config *config) {
    kd_dataset *test;
    if (kd_dataset_open(&test, &config->data, KD_SPLIT_TEST) < 0) return;
    *out = (sample){{test->h, test->w, test->c}, test->classes, false};
    kd_dataset_free(test);
}

/* Sound has its shape from the config; only the number of words must be looked up. */
static void look_at_audio(sample *out, const kd_config *config) {
    const kd_audio_spec *audio = &config->data.audio;
    int64_t samples = (int64_t)floor(audio->seconds * audio->sample_rate + 0.5);
    out->extent = (kd_extent){samples / audio->hop, audio->mels, 1};
    char(*names)[KD_CLASS_NAME_MAX] = NULL;
    const char *path = config->data.train_manifest;
    kd_manifest manifest = {0};
    if (kd_manifest_read(&manifest, path) == KD_OK &&
        kd_manifest_labels(&names, &out->classes, &manifest, path) == KD_OK)
        out->assumed = false;
    free(names);
    kd_manifest_free(&manifest);
}

static sample look(const kd_config *config) {
    sample s = {{28, 28, 1}, config->data.class_name_count, true};
    if (s.classes == 0) s.classes = 10;
    switch (config->data.kind) {
    case KD_DATA_IDX:
        look_at_idx(&s, config);
        break;
    case KD_DATA_CIFAR10:
        return (sample){{32, 32, 3}, 10, false};
    case KD_DATA_AUDIO:
        look_at_audio(&s, config);
        break;
    }
    return s;
}

static int add_net(kd_text *out, const kd_model_spec *spec, const char *onnx, const sample *s) {
    const kd_learner_spec network = {
        .model = spec, .onnx = onnx, .input = s->extent, .classes = s->classes};
    kd_learner *learner;
    int status = kd_learner_outline(&learner, &network);
    if (status == KD_OK) status = kd_net_add_table(out, learner->net);
    kd_learner_free(learner);
    return status;
}

static int add_teacher(kd_text *out, const kd_config *config, const sample *s) {
    const kd_teacher_config *teacher = &config->teacher;
    int status = KD_OK;
    if (teacher->present && teacher->store[0])
        kd_text_add(out, "\nteacher: the store %s\n", teacher->store);
    for (int i = 0; i < teacher->count && status == KD_OK; i++) {
        const kd_teacher_source *source = &teacher->source[i];
        kd_text_add(out, "\nteacher: %s\n", source->config[0] ? source->config : source->weights);
        if (source->weights[0])
            status = add_net(out, &source->model, kd_learner_onnx(source->weights), s);
    }
    return status;
}

int kd_classify_inspect(kd_text *out, const void *context) {
    const kd_config *config = context;
    sample s = look(config);
    kd_text_add(out, "%s: configuration of the run %s, hash %s\n", config->path, config->name,
                config->hash.hex);
    kd_text_add(out, "data: %s, samples of %lld×%lld×%lld, %d classes%s\n",
                kd_data_kind_name[config->data.kind], (long long)s.extent.h, (long long)s.extent.w,
                (long long)s.extent.c, s.classes,
                s.assumed ? " (assumed: the files are not there)" : "");
    kd_text_add(out, "\nstudent:\n");
    int status = add_net(out, &config->model, NULL, &s);
    if (status == KD_OK) status = add_teacher(out, config, &s);
    return status < 0 ? kd_fail_in(status, "%s", config->path) : KD_OK;
}
