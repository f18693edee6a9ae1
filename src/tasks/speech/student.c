#include "tasks/speech/student.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { LAYERS_MAX = 256 }; /* of kd_whisper_spec_check */

/* Where each layer of the student comes from. */
typedef struct {
    int encoder[LAYERS_MAX], decoder[LAYERS_MAX];
} origin;

void kd_student_layers(int *out, int n, int layers) {
    KD_CONTRACT(n >= 1 && n <= layers, "%d of %d layers", n, layers);
    for (int i = 0; i < n - 1; i++) out[i] = i * (layers - 1) / (n - 1);
    out[n - 1] = layers - 1;
}

/* The teacher's name of a student's parameter: "decoder.blocks.1.…" may be its "blocks.5". */
static void name_in_teacher(char out[KD_NAME_MAX], const char *name, const origin *from) {
    static const char encoder[] = "encoder.blocks.", decoder[] = "decoder.blocks.";
    const size_t front = sizeof encoder - 1;
    const bool is_encoder = strncmp(name, encoder, front) == 0;
    if (!is_encoder && strncmp(name, decoder, front) != 0) {
        snprintf(out, KD_NAME_MAX, "%s", name);
        return;
    }
    char *rest;
    const long layer = strtol(name + front, &rest, 10);
    snprintf(out, KD_NAME_MAX, "%.*s%d%s", (int)front, name,
             (is_encoder ? from->encoder : from->decoder)[layer], rest);
}

static void copy_values(kd_whisper *student, const kd_whisper *teacher, const origin *from) {
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

static int copy_filters(kd_whisper_file *student, const kd_whisper_file *teacher) {
    student->bins = teacher->bins;
    if (!teacher->filters) return KD_OK;
    const size_t bytes =
        (size_t)teacher->model->spec.mels * (size_t)teacher->bins * sizeof *teacher->filters;
    student->filters = malloc(bytes);
    if (!student->filters) return kd_fail_memory(bytes, "the student's mel filters");
    memcpy(student->filters, teacher->filters, bytes);
    return KD_OK;
}

static int copy_heads(kd_whisper_file *student, const kd_whisper_file *teacher,
                      const origin *from) {
    if (teacher->head_count == 0) return KD_OK;
    const size_t bytes = (size_t)teacher->head_count * sizeof *teacher->head;
    student->head = malloc(bytes);
    if (!student->head) return kd_fail_memory(bytes, "the student's alignment heads");
    for (int i = 0; i < teacher->head_count; i++)
        for (int layer = 0; layer < student->model->spec.text_layers; layer++)
            if (from->decoder[layer] == teacher->head[i].layer)
                student->head[student->head_count++] =
                    (kd_whisper_head){layer, teacher->head[i].head};
    return KD_OK;
}

static int choose_layers(int *out, int *kept, int wanted, int layers, const char *side) {
    if (wanted > layers)
        return kd_fail(KD_ECONFIG, "model.%s_layers: %d, but the teacher has only %d", side, wanted,
                       layers);
    *kept = wanted > 0 ? wanted : layers;
    kd_student_layers(out, *kept, layers);
    return KD_OK;
}

int kd_student_check(const kd_whisper_file *teacher, int encoder_layers, int decoder_layers) {
    const kd_whisper_spec *spec = &teacher->model->spec;
    origin from;
    int kept,
        status = choose_layers(from.encoder, &kept, encoder_layers, spec->audio_layers, "encoder");
    return status < 0
               ? status
               : choose_layers(from.decoder, &kept, decoder_layers, spec->text_layers, "decoder");
}

int kd_student_create(kd_whisper_file **out, const kd_whisper_file *teacher, int encoder_layers,
                      int decoder_layers, kd_whisper_training training) {
    *out = NULL;
    kd_whisper_spec spec = teacher->model->spec;
    origin from;
    int status = choose_layers(from.encoder, &spec.audio_layers, encoder_layers, spec.audio_layers,
                               "encoder");
    if (status == KD_OK)
        status = choose_layers(from.decoder, &spec.text_layers, decoder_layers, spec.text_layers,
                               "decoder");
    if (status < 0) return status;
    kd_whisper_file *student = calloc(1, sizeof *student);
    if (!student) return kd_fail_memory(sizeof *student, "the student");
    status = kd_whisper_create(&student->model, &spec, training);
    if (status == KD_OK) status = kd_whisper_layout_blank(student->model);
    if (status == KD_OK) status = kd_tokenizer_copy(&student->tokenizer, teacher->tokenizer);
    if (status == KD_OK)
        status =
            kd_whisper_generation_copy(&student->model->generation, &teacher->model->generation);
    if (status == KD_OK) status = copy_filters(student, teacher);
    if (status == KD_OK) status = copy_heads(student, teacher, &from);
    if (status < 0) {
        kd_whisper_file_free(student);
        return status;
    }
    copy_values(student->model, teacher->model, &from);
    *out = student;
    return KD_OK;
}
