#include "tasks/language/student.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

void kd_language_layers(int *out, int n, int layers) {
    KD_CONTRACT(n >= 1 && n <= layers, "%d of %d layers", n, layers);
    for (int i = 0; i < n - 1; i++) out[i] = i * (layers - 1) / (n - 1);
    out[n - 1] = layers - 1;
}

int kd_language_student_spec(kd_llama_spec *out, const kd_language_model *model,
                             const kd_llama_spec *teacher) {
    const struct {
        int asked, *to;
    } size[] = {{model->layers, &out->layers},
                {model->width, &out->width},
                {model->heads, &out->heads},
                {model->key_heads, &out->key_heads},
                {model->hidden, &out->hidden}};
    *out = *teacher;
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].asked > 0) *size[i].to = size[i].asked;
    if (model->keep_count > 0) out->layers = model->keep_count;
    for (int i = 0; i < model->keep_count; i++)
        if (model->keep[i] >= teacher->layers)
            return kd_fail(KD_ECONFIG, "model.keep: layer %d, but the teacher has 0 to %d",
                           model->keep[i], teacher->layers - 1);
    if (model->start == KD_START_TEACHER && out->layers > teacher->layers)
        return kd_fail(KD_ECONFIG, "model.layers: %d, but the teacher has only %d", out->layers,
                       teacher->layers);
    return kd_llama_spec_check(out, "model") < 0 ? KD_ECONFIG : KD_OK;
}

/* The teacher's name of a student's parameter: "layers.1.…" may be its "layers.5.…". */
static void name_in_teacher(char out[KD_NAME_MAX], const char *name, const int *from) {
    static const char layers[] = "layers.";
    char *rest;
    if (strncmp(name, layers, sizeof layers - 1) != 0) {
        snprintf(out, KD_NAME_MAX, "%s", name);
        return;
    }
    const long layer = strtol(name + sizeof layers - 1, &rest, 10);
    snprintf(out, KD_NAME_MAX, "%s%d%s", layers, from[layer], rest);
}

static void copy_values(kd_llama *student, const kd_llama *teacher, const int *from) {
    for (int i = 0; i < student->params->count; i++) {
        kd_param *p = student->params->list[i];
        char name[KD_NAME_MAX];
        name_in_teacher(name, p->name, from);
        const kd_param *q = kd_params_find(teacher->params, name);
        KD_CONTRACT(q && q->tensor.size == p->tensor.size, "%s is not the teacher's %s", p->name,
                    name);
        kd_tensor_read(&q->tensor, p->tensor.value, 0, kd_rows(&q->tensor));
    }
    kd_params_touch(student->params);
}

int kd_language_student_create(kd_llama_file **out, const kd_llama_file *teacher,
                               const kd_language_model *model, uint64_t seed,
                               kd_llama_training training) {
    kd_llama_spec spec;
    int from[KD_LANGUAGE_LAYERS_MAX];
    *out = NULL;
    int status = kd_language_student_spec(&spec, model, &teacher->model->spec);
    if (status < 0) return status;
    kd_llama_file *student = calloc(1, sizeof *student);
    if (!student) return kd_fail_memory(sizeof *student, "the student");
    student->ends = teacher->ends;
    student->tokenizer = teacher->tokenizer;
    status = kd_llama_create(&student->model, &spec, training);
    if (status == KD_OK)
        status = model->start == KD_START_RANDOM ? kd_llama_layout(student->model, seed)
                                                 : kd_llama_layout_blank(student->model);
    if (status < 0) {
        kd_llama_file_free(student);
        return status;
    }
    if (model->start == KD_START_TEACHER) {
        if (model->keep_count > 0)
            memcpy(from, model->keep, (size_t)model->keep_count * sizeof *from);
        else
            kd_language_layers(from, spec.layers, teacher->model->spec.layers);
        copy_values(student->model, teacher->model, from);
    }
    *out = student;
    return KD_OK;
}
