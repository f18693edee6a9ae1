#include "tasks/speech/speech_teach.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/teach.h"

/* Windows that are compared with the teacher once more. */
enum { SAMPLED = 8 };

typedef struct {
    const kd_speech_teaching *job;
    kd_tape *tape;
    float *output; /* (V,width) of the teacher                                                */
    float *values; /* of a window: hidden states (targets,width), then logits (targets,V)     */
} teaching;

static const kd_whisper_spec *spec_of(const teaching *t) {
    return &t->job->teacher->model->spec;
}

static int teaching_init(teaching *t, const kd_speech_teaching *job) {
    *t = (teaching){.job = job};
    const kd_tensor *table = &job->teacher->model->tokens.table->tensor;
    const size_t values = (size_t)(job->windows->longest * table->shape[0]);
    t->output = malloc(kd_array_bytes(table->size, sizeof *t->output));
    t->values = malloc(values * sizeof *t->values);
    if (!t->output || !t->values) return kd_fail_memory(values * sizeof *t->values, "logits");
    int status = kd_tape_create(&t->tape, 0);
    if (status < 0) return status;
    t->tape->precision = job->precision;
    if (kd_tape_guard(t->tape)) return KD_EINTERNAL;
    const int64_t C = kd_channels(table);
    kd_real *row = kd_tape_take(t->tape, kd_array_bytes(C, sizeof *row));
    for (int64_t i = 0; i < table->shape[0]; i++) {
        kd_tensor_read(table, row, i, 1);
        for (int64_t k = 0; k < C; k++) t->output[i * C + k] = (float)row[k];
    }
    kd_tape_give(t->tape, row);
    return KD_OK;
}

static void teaching_clear(teaching *t) {
    kd_tape_free(t->tape);
    free(t->output);
    free(t->values);
}

static kd_store_header describe(const teaching *t) {
    const kd_speech_teacher *how = t->job->how;
    const bool hidden = how->kind == KD_STORE_HIDDEN;
    kd_store_header header = {.kind = how->kind,
                              .dtype = how->dtype,
                              .sequences = true,
                              .classes = spec_of(t)->vocabulary,
                              .k = hidden ? 0 : how->k,
                              .temperature_count = hidden ? 0 : 1,
                              .temperature = {t->job->temperature},
                              .width = hidden ? spec_of(t)->width : 0,
                              .output = hidden ? t->output : NULL,
                              .views = 1,
                              .teacher = t->job->hash,
                              .class_list = kd_tokenizer_hash(t->job->teacher->tokenizer),
                              .data = t->job->windows->hash};
    snprintf(header.description, sizeof header.description, "%.255s", t->job->description);
    return header;
}

/* The teacher's decoder over window i → hidden states (targets,width), or logits (targets,V), in
 * t->values. */
static int answer(teaching *t, int64_t i, bool logits) {
    const kd_whisper *model = t->job->teacher->model;
    const kd_window *w = &t->job->windows->item[i];
    const int64_t shape[3] = {1, spec_of(t)->audio_context, spec_of(t)->width};
    const int64_t inputs = w->first_target + kd_window_targets(w);
    t->tape->recording = false;
    if (kd_tape_guard(t->tape)) return KD_EINTERNAL;
    kd_tape_reset(t->tape);
    kd_tensor *memory = kd_tape_input(t->tape, 3, shape);
    int status = kd_encoder_cache_read(t->job->encoder_cache, i, memory->value);
    if (status < 0) return status;
    kd_tensor *h = kd_whisper_decoder(model, t->tape, w->token, 1, inputs, memory);
    h = kd_slice(t->tape, h, 1, w->first_target, inputs, 1);
    if (logits) h = kd_whisper_logits(model, t->tape, h);
    for (int64_t k = 0; k < h->size; k++) t->values[k] = (float)h->value[k];
    return KD_OK;
}

static int64_t one_window(const void *context, int64_t row) {
    (void)context;
    (void)row;
    return 1;
}

static int64_t positions_of_window(const void *context, int64_t row, int64_t n) {
    (void)n;
    return kd_window_targets(&((const teaching *)context)->job->windows->item[row]);
}

static int answer_window(void *context, const kd_store_header *header, int64_t row, int64_t n,
                         void *packed) {
    teaching *t = context;
    const kd_window *w = &t->job->windows->item[row];
    (void)n;
    int status = answer(t, row, header->kind != KD_STORE_HIDDEN);
    if (status < 0) return status;
    return kd_store_pack(packed, header, kd_window_targets(w), &w->id, 0, t->values);
}

static int append_window(void *context, kd_store_writer *writer, int64_t row, int64_t n,
                         const void *packed) {
    const teaching *t = context;
    const kd_window *w = &t->job->windows->item[row];
    (void)n;
    return kd_store_writer_append_run(writer, 0, w->id, kd_window_targets(w), kd_window_labels(w),
                                      packed);
}

/* KL(teacher ‖ store) per token, over some windows all through the store, which the ranks share. */
static int report_divergence(teaching *t, const kd_store *store) {
    const kd_windows *windows = t->job->windows;
    const int64_t sampled = windows->count < SAMPLED ? windows->count : SAMPLED;
    double mean[SAMPLED], sum = 0, tokens = 0;
    int64_t first, end;
    int status = KD_OK;
    kd_ranks_part(kd_rank(), sampled, &first, &end);
    for (int64_t k = first; k < end && status == KD_OK; k++) {
        const int64_t i = k * windows->count / sampled;
        const kd_window *w = &windows->item[i];
        status = answer(t, i, true);
        if (status == KD_OK)
            status = kd_store_divergence(&mean[k], store, 0, w->id, kd_window_targets(w),
                                         t->job->temperature, t->values);
    }
    status = kd_ranks_worst(status);
    if (status < 0) return status;
    kd_ranks_gather_parts(mean, sampled, sizeof *mean);
    for (int64_t k = 0; k < sampled; k++) {
        const int64_t i = k * windows->count / sampled;
        const double targets = (double)kd_window_targets(&windows->item[i]);
        sum += mean[k] * targets;
        tokens += targets;
    }
    kd_log(
        "teach: KL(teacher ‖ store) %.2g nats a token at temperature %g, on %lld of %lld windows",
        sum / tokens, t->job->temperature, (long long)sampled, (long long)windows->count);
    return KD_OK;
}

int kd_speech_teach(kd_store **out, kd_hash *content, const char *path,
                    const kd_speech_teaching *job) {
    *out = NULL;
    teaching t;
    int status = teaching_init(&t, job);
    kd_teaching rows = {.origin = job->origin,
                        .rows = job->windows->count,
                        .unit = "windows",
                        .context = &t,
                        .batch = one_window,
                        .answer = answer_window,
                        .positions = positions_of_window,
                        .append = append_window};
    if (status == KD_OK) {
        rows.header = describe(&t);
        status = kd_teach(out, content, path, &rows);
    }
    if (status == KD_OK) status = report_divergence(&t, *out);
    if (status < 0) {
        kd_store_free(*out);
        *out = NULL;
    }
    teaching_clear(&t);
    return status;
}

double kd_speech_teach_bytes(const kd_speech_teacher *how, const kd_whisper_spec *teacher,
                             double targets) {
    const double number = how->dtype == KD_STORE_F16 ? 2 : 4;
    if (how->kind == KD_STORE_TOPK) return targets * (how->k * (4 + number) + 4);
    return targets * number * teacher->width + 4.0 * teacher->vocabulary * teacher->width;
}
