#include "tasks/classify/preflight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "tasks/classify/learner.h"

enum { TEACHERS_DEEP = 8 };

/* --- missing files ---------------------------------------------------------------------------- */

typedef struct {
    int count;
    kd_text list; /* a line each */
} missing_files;

/* Takes note of a file that is not there; passes other errors on. */
static int note(missing_files *missing, int status) {
    if (status != KD_ENOINPUT) return status;
    missing->count++;
    kd_text_add(&missing->list, "\n  %s", kd_error());
    return KD_OK;
}

static int look_for_data(missing_files *missing, const kd_config *config) {
    int status = KD_OK;
    static const kd_split split[] = {KD_SPLIT_TRAIN, KD_SPLIT_TEST};
    for (int i = 0; i < 2 && status == KD_OK; i++) {
        kd_dataset *head;
        status = note(missing, kd_dataset_head(&head, &config->data, split[i]));
        kd_dataset_free(head);
    }
    return status;
}

static int look_for_file(missing_files *missing, const char *path, const char *what) {
    if (!*path || kd_file_exists(path)) return KD_OK;
    return note(missing, kd_fail(KD_ENOINPUT, "%s: not there; %s", path, what));
}

static int look_for_files(missing_files *missing, const kd_config *config, int depth) {
    if (depth == TEACHERS_DEEP)
        return kd_fail(KD_ECONFIG, "%s: more than %d teachers' teachers: a circle?", config->path,
                       TEACHERS_DEEP);
    const kd_teacher_config *teacher = &config->teacher;
    int status = look_for_data(missing, config);
    if (status == KD_OK) status = look_for_file(missing, teacher->store, "it is teacher.store");
    for (int i = 0; i < teacher->count && status == KD_OK; i++) {
        const kd_teacher_source *source = &teacher->source[i];
        status = look_for_file(missing, source->weights, "they are a teacher's weights");
        if (status < 0 || !source->config[0]) continue;
        kd_config *child;
        status = note(missing, kd_config_load(&child, source->config, 0, NULL));
        if (status == KD_OK && child) status = look_for_files(missing, child, depth + 1);
        kd_config_free(child);
    }
    return status;
}

static int check_files(const kd_config *config) {
    missing_files missing = {0};
    int status = look_for_files(&missing, config, 0);
    if (status == KD_OK && missing.count > 0) {
        status = kd_text_finish(&missing.list, "a message");
        if (status == KD_OK && missing.count == 1)
            status = kd_fail(KD_ENOINPUT, "%s", missing.list.text + 3);
        else if (status == KD_OK)
            status = kd_fail(KD_ENOINPUT, "%s: %d things it needs are not there:%s", config->path,
                             missing.count, missing.list.text);
    }
    free(missing.list.text);
    return status;
}

/* --- networks --------------------------------------------------------------------------------- */

static kd_learner_spec spec_of(const kd_model_spec *model, const kd_dataset *data) {
    return (kd_learner_spec){
        .model = model, .input = {data->h, data->w, data->c}, .classes = data->classes};
}

static int check_budgets(const kd_config *config, const kd_learner *student) {
    const kd_quantizable model = kd_learner_quantizable(student);
    int status = KD_OK;
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++)
        if (config->quantize[i].budget.asked)
            status = kd_budget_check(&model, &config->quantize[i].budget);
    return status;
}

/* The student as every stage will build it. */
static int check_student(const kd_config *config, const kd_dataset *data, const kd_net *teacher) {
    kd_learner_spec spec = spec_of(&config->model, data);
    kd_learner *learner = NULL;
    spec.loss = &config->loss;
    spec.teacher = teacher;
    const int64_t batch = config->train.batch < data->count ? config->train.batch : data->count;
    int status = kd_learner_outline(&learner, &spec);
    if (status == KD_OK) status = kd_net_check_batch(learner->net, batch);
    if (status == KD_OK) status = check_budgets(config, learner);
    kd_learner_free(learner);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        spec.quantize = &config->quantize[i].spec;
        learner = NULL;
        status = kd_learner_outline(&learner, &spec);
        if (status == KD_OK && spec.quantize->how->check)
            status = spec.quantize->how->check(learner->net);
        kd_learner_free(learner);
    }
    return status;
}

static int check_weights(const kd_teacher_source *source, const kd_dataset *data) {
    kd_learner_spec spec = spec_of(&source->model, data);
    spec.onnx = kd_learner_onnx(source->weights);
    kd_learner *learner;
    int status = kd_learner_create(&learner, &spec);
    if (status < 0) return status;
    status = kd_learner_load(learner, source->weights, data);
    kd_learner_free(learner);
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int check_run(const kd_config *config, const kd_dataset *train);

/* A teacher trained by a config of its own: it must have learnt from data that mean the same. */
static int check_teacher_config(const char *path, const kd_config *config, const kd_dataset *data) {
    kd_config *child;
    kd_dataset *own = NULL;
    int status = kd_config_load(&child, path, 0, NULL);
    if (status < 0) return status;
    status = kd_dataset_head(&own, &child->data, KD_SPLIT_TRAIN);
    if (status == KD_OK) status = kd_dataset_agree(own, path, data, config->path);
    if (status == KD_OK) status = check_run(child, own);
    kd_dataset_free(own);
    kd_config_free(child);
    return status;
}

/* The net hints look into: the first teacher's. The caller frees with kd_learner_free. */
static int outline_teacher(kd_learner **out, const kd_config *config, const kd_dataset *data) {
    const kd_teacher_source *source = &config->teacher.source[0];
    kd_config *child = NULL;
    int status = source->config[0] ? kd_config_load(&child, source->config, 0, NULL) : KD_OK;
    if (status < 0) return status;
    kd_learner_spec spec = spec_of(child ? &child->model : &source->model, data);
    spec.onnx = kd_learner_onnx(source->weights);
    status = kd_learner_outline(out, &spec);
    kd_config_free(child);
    return status;
}

/* `train` is the head of the config's training samples. */
static int check_run(const kd_config *config, const kd_dataset *train) {
    kd_dataset *test;
    kd_learner *teacher = NULL;
    int status = kd_dataset_head(&test, &config->data, KD_SPLIT_TEST);
    if (status < 0) return status;
    status = kd_dataset_agree(train, "training samples", test, "test samples");
    kd_dataset_free(test);
    if (status == KD_OK && config->loss.hint_count > 0 && config->teacher.count > 0)
        status = outline_teacher(&teacher, config, train);
    if (status == KD_OK) status = check_student(config, train, teacher ? teacher->net : NULL);
    kd_learner_free(teacher);
    if (status < 0) return kd_fail_in(status, "%s", config->path);
    for (int i = 0; i < config->teacher.count && status == KD_OK; i++) {
        const kd_teacher_source *source = &config->teacher.source[i];
        status = source->config[0] ? check_teacher_config(source->config, config, train)
                                   : check_weights(source, train);
    }
    return status;
}

int kd_preflight(const kd_config *config) {
    kd_dataset *train = NULL;
    int status = check_files(config);
    if (status == KD_OK) status = kd_dataset_head(&train, &config->data, KD_SPLIT_TRAIN);
    if (status == KD_OK) status = check_run(config, train);
    kd_dataset_free(train);
    return status;
}
