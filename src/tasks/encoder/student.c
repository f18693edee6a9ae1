#include "tasks/encoder/student.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* DistilBERT has every other layer of its teacher. */
static int layers_of(const kd_encoder_student *model, const kd_bert_spec *from) {
    if (model->keep_count > 0) return model->keep_count;
    if (model->layers > 0) return model->layers;
    const bool halved =
        model->type == KD_ENCODER_DISTILBERT && !model->weights[0] && from->layers > 1;
    return halved ? from->layers / 2 : from->layers;
}

int kd_encoder_student_spec(kd_bert_spec *out, const kd_encoder_config *config,
                            const kd_bert_spec *from) {
    const kd_encoder_student *model = &config->model;
    const bool sentences = config->data.kind == KD_ENCODER_SENTENCES;
    *out = *from;
    out->layers = layers_of(model, from);
    if (out->layers > from->layers)
        return kd_fail(KD_ECONFIG, "model.layers: %d, but the model it begins as has only %d",
                       out->layers, from->layers);
    for (int i = 0; i < model->keep_count; i++)
        if (model->keep[i] >= from->layers)
            return kd_fail(KD_ECONFIG, "model.keep: layer %d, but the teacher has 0 to %d",
                           model->keep[i], from->layers - 1);
    if (model->type == KD_ENCODER_BERT && from->types == 0)
        return kd_fail(KD_ECONFIG, "model.type: \"bert\" has token types, but the model it begins "
                                   "as is a DistilBERT");
    if (model->type == KD_ENCODER_DISTILBERT) out->types = 0;
    if (!sentences && !from->head)
        return kd_fail(KD_ECONFIG, "model: the model it begins as has no head for masked tokens");
    out->head = !sentences;
    out->pooler = sentences || (from->pooler && out->types > 0);
    out->classes = sentences ? config->data.class_count : 0;
    return kd_bert_spec_check(out, "model") < 0 ? KD_ECONFIG : KD_OK;
}

/* The name in `from` of a student's parameter: "layers.1.…" may be its "layers.4.…". */
static void name_in_other(char out[KD_NAME_MAX], const char *name, const int *layer_from) {
    static const char layers[] = "layers.";
    char *rest;
    if (strncmp(name, layers, sizeof layers - 1) != 0) {
        snprintf(out, KD_NAME_MAX, "%s", name);
        return;
    }
    const long layer = strtol(name + sizeof layers - 1, &rest, 10);
    snprintf(out, KD_NAME_MAX, "%s%d%s", layers, layer_from[layer], rest);
}

/* A pooler of another activation is none. */
static bool carries_over(const kd_bert *student, const kd_bert *from, const char *name) {
    const bool same_kind = (student->spec.types > 0) == (from->spec.types > 0);
    return same_kind || strncmp(name, "pooler.", 7) != 0;
}

static void copy_values(kd_bert *student, const kd_bert *from, const int *layer_from) {
    for (int i = 0; i < student->params->count; i++) {
        kd_param *p = student->params->list[i];
        char name[KD_NAME_MAX];
        name_in_other(name, p->name, layer_from);
        const kd_param *q = kd_params_find(from->params, name);
        if (!q || !kd_same_shape(&p->tensor, &q->tensor) || !carries_over(student, from, name))
            continue;
        memcpy(p->tensor.value, q->tensor.value, (size_t)p->tensor.size * sizeof(kd_real));
    }
    if (student->spec.types == 0 && from->spec.types > 0) {
        kd_tensor *place = &student->position.table->tensor;
        const kd_real *type = from->type.table->tensor.value;
        for (int64_t i = 0; i < place->size; i++) place->value[i] += type[i % student->spec.width];
    }
    kd_params_touch(student->params);
}

/* i·(L − 1)/(n − 1) rounded, the first and the last among them: of 12 layers 0 2 4 7 9 11, as
 * DistilBERT has them. */
static void choose_layers(int *out, const kd_encoder_student *model, int n, int layers) {
    for (int i = 0; i < n; i++)
        out[i] = model->keep_count > 0 ? model->keep[i]
                 : i == n - 1          ? layers - 1
                                       : (2 * i * (layers - 1) + n - 1) / (2 * (n - 1));
}

int kd_encoder_student_create(kd_bert_file **out, const kd_encoder_config *config,
                              const kd_bert_file *from, bool frozen) {
    kd_bert_spec spec;
    int layer_from[KD_ENCODER_LAYERS_MAX];
    *out = NULL;
    int status = kd_encoder_student_spec(&spec, config, &from->model->spec);
    if (status < 0) return status;
    kd_bert_file *student = calloc(1, sizeof *student);
    if (!student) return kd_fail_memory(sizeof *student, "the student");
    student->tokenizer = from->tokenizer;
    status = kd_bert_create(&student->model, &spec, frozen);
    if (status == KD_OK) status = kd_bert_layout(student->model, config->seed);
    if (status < 0) {
        kd_bert_file_free(student);
        return status;
    }
    choose_layers(layer_from, &config->model, spec.layers, from->model->spec.layers);
    copy_values(student->model, from->model, layer_from);
    *out = student;
    return KD_OK;
}
