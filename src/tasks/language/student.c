#include "tasks/language/student.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tasks/language/hints.h"
#include "tasks/language/narrow.h"

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
    const int group = teacher->heads / teacher->key_heads;
    if (model->start == KD_START_TEACHER && !model->heads) out->heads = group * out->key_heads;
    if (model->start == KD_START_TEACHER && !model->key_heads) out->key_heads = out->heads / group;
    for (int i = 0; i < model->keep_count; i++)
        if (model->keep[i] >= teacher->layers)
            return kd_fail(KD_ECONFIG, "model.keep: layer %d, but the teacher has 0 to %d",
                           model->keep[i], teacher->layers - 1);
    if (model->start == KD_START_TEACHER && out->layers > teacher->layers)
        return kd_fail(KD_ECONFIG, "model.layers: %d, but the teacher has only %d", out->layers,
                       teacher->layers);
    if (model->start == KD_START_TEACHER &&
        (out->key_heads < 1 || out->heads != group * out->key_heads || out->heads > teacher->heads))
        return kd_fail(
            KD_ECONFIG,
            "model.heads, model.key_heads: %d and %d; of the teacher's %d and %d a student "
            "keeps whole groups of %d with a key",
            out->heads, out->key_heads, teacher->heads, teacher->key_heads, group);
    if (model->start == KD_START_TEACHER && out->hidden > teacher->hidden)
        return kd_fail(KD_ECONFIG, "model.hidden: %d, but the teacher has only %d", out->hidden,
                       teacher->hidden);
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

/* Rows row[i], or all (NULL), of a matrix or bias. */
static void copy_rows(kd_param *to, const kd_param *from, const int64_t *row) {
    if (!to) return;
    const int64_t n = to->tensor.shape[0], width = to->tensor.size / n;
    KD_CONTRACT(row ? from->tensor.size / from->tensor.shape[0] == width
                    : from->tensor.size == to->tensor.size,
                "%s is not the teacher's %s", to->name, from->name);
    if (!row)
        kd_tensor_read(&from->tensor, to->tensor.value, 0, kd_rows(&from->tensor));
    else
        for (int64_t i = 0; i < n; i++)
            memcpy(to->tensor.value + i * width, from->tensor.value + row[i] * width,
                   (size_t)width * sizeof *to->tensor.value);
}

static void copy_columns(kd_param *to, const kd_param *from, const int64_t *column) {
    const int64_t n = to->tensor.shape[1], wide = from->tensor.shape[1];
    for (int64_t i = 0; i < to->tensor.shape[0]; i++)
        for (int64_t j = 0; j < n; j++)
            to->tensor.value[i * n + j] = from->tensor.value[i * wide + column[j]];
}

/* The heads and units of a block that are kept; all else is whole already. */
static void copy_kept(kd_llama_block *to, const kd_llama_block *from, const kd_language_kept *kept,
                      int layer) {
    const int64_t *query = kept->query + layer * kept->queries;
    const int64_t *key = kept->key + layer * kept->keys;
    const int64_t *unit = kept->unit + layer * kept->hidden;
    copy_rows(to->query.weight, from->query.weight, query);
    copy_rows(to->query.bias, from->query.bias, query);
    copy_rows(to->key.weight, from->key.weight, key);
    copy_rows(to->key.bias, from->key.bias, key);
    copy_rows(to->value.weight, from->value.weight, key);
    copy_rows(to->value.bias, from->value.bias, key);
    copy_columns(to->out.weight, from->out.weight, query);
    copy_rows(to->gate.weight, from->gate.weight, unit);
    copy_rows(to->up.weight, from->up.weight, unit);
    copy_columns(to->down.weight, from->down.weight, unit);
}

static bool is_narrowed(const char *name) {
    return strstr(name, ".attn.query.") || strstr(name, ".attn.key.") ||
           strstr(name, ".attn.value.") || strstr(name, ".attn.out.") || strstr(name, ".mlp.");
}

static void copy_values(kd_llama *student, const kd_llama *teacher, const int *from,
                        const kd_language_kept *kept) {
    for (int i = 0; i < student->params->count; i++) {
        kd_param *p = student->params->list[i];
        char name[KD_NAME_MAX];
        name_in_teacher(name, p->name, from);
        if (!is_narrowed(name)) copy_rows(p, kd_params_find(teacher->params, name), NULL);
    }
    for (int i = 0; i < student->spec.layers; i++)
        copy_kept(&student->block[i], &teacher->block[from[i]], kept, from[i]);
    kd_params_touch(student->params);
}

void kd_language_sources(int *out, const kd_language_model *model, int layers, int teacher_layers) {
    if (model->keep_count > 0)
        memcpy(out, model->keep, (size_t)model->keep_count * sizeof *out);
    else
        kd_language_layers(out, layers, teacher_layers);
}

/* The teacher's numbers into a student that is laid out. */
static int take_values(kd_llama *student, const kd_llama *teacher, const kd_language_model *model,
                       kd_contexts *contexts) {
    int from[KD_LANGUAGE_LAYERS_MAX];
    kd_language_kept kept;
    kd_language_sources(from, model, student->spec.layers, teacher->spec.layers);
    int status =
        kd_language_keep(&kept, teacher, &student->spec, contexts, model->calibration_samples);
    if (status == KD_OK) copy_values(student, teacher, from, &kept);
    kd_language_kept_clear(&kept);
    return status;
}

/* `loss` NULL: without hints. */
static int create(kd_llama_file **out, const kd_llama_file *teacher, const kd_language_model *model,
                  const kd_loss_config *loss, kd_contexts *contexts, uint64_t seed,
                  kd_llama_training training) {
    kd_llama_spec spec;
    *out = NULL;
    int status = kd_language_student_spec(&spec, model, &teacher->model->spec);
    if (status < 0) return status;
    kd_llama_file *student = calloc(1, sizeof *student);
    if (!student) return kd_fail_memory(sizeof *student, "the student");
    student->ends = teacher->ends;
    student->tokenizer = teacher->tokenizer;
    status = kd_llama_create(&student->model, &spec, training);
    if (status == KD_OK && loss)
        status = kd_language_hints_add(student->model->params, loss, &spec, &teacher->model->spec);
    if (status == KD_OK)
        status = model->start == KD_START_RANDOM ? kd_llama_layout(student->model, seed)
                                                 : kd_llama_layout_blank(student->model);
    if (status == KD_OK && model->start == KD_START_TEACHER)
        status = take_values(student->model, teacher->model, model, contexts);
    if (status < 0) {
        kd_llama_file_free(student);
        return status;
    }
    *out = student;
    return KD_OK;
}

int kd_language_student_create(kd_llama_file **out, const kd_llama_file *teacher,
                               const kd_language_model *model, kd_contexts *contexts, uint64_t seed,
                               kd_llama_training training) {
    return create(out, teacher, model, NULL, contexts, seed, training);
}

int kd_language_student_create_hinted(kd_llama_file **out, const kd_llama_file *teacher,
                                      const kd_language_model *model, const kd_loss_config *loss,
                                      kd_contexts *contexts, uint64_t seed) {
    return create(out, teacher, model, loss, contexts, seed, KD_LLAMA_TRAIN);
}
