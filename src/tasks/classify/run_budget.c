/* Formats of a classifier's weights by a budget. */
#include <stdlib.h>

#include "base/error.h"
#include "base/order.h"
#include "base/size.h"
#include "tasks/classify/run.h"

/* A sample of the choice is a batch; batches follow one another in the shuffle of calibration. */
enum { BATCH = 64 };

typedef struct {
    const kd_learner *student;
    const kd_dataset *data;
    int64_t *row; /* (data->count) */
    float *x;     /* (BATCH,H,W,C) */
} answering;

static int answer(kd_tensor **out, void *context, kd_tape *tape, int64_t i) {
    const answering *a = context;
    const kd_dataset *d = a->data;
    const int64_t size = d->h * d->w * d->c, first = i * BATCH;
    const int64_t n = kd_smaller(BATCH, d->count - first);
    for (int64_t k = 0; k < n; k++) kd_dataset_sample(d, a->row[first + k], a->x + k * size);
    *out = kd_learner_forward(a->student, tape, kd_learner_input(a->student, tape, n, a->x),
                              KD_RUN_FLOAT, NULL);
    return KD_OK;
}

static int choose(kd_budget **out, const answering *a, const kd_quantize_config *how) {
    const int64_t batches = (a->data->count + BATCH - 1) / BATCH;
    const kd_quantizable model = kd_learner_quantizable(a->student);
    const kd_answers answers = {.params = a->student->params,
                                .samples = kd_smaller(how->budget.samples, batches),
                                .answer = answer,
                                .context = (void *)(uintptr_t)a};
    return kd_budget_make(out, &how->budget, &model, &answers, how->name);
}

int kd_run_choose_formats(kd_run *run, const kd_learner *student, const kd_quantize_config *how) {
    kd_budget **budget = &run->budget[how - run->config->quantize];
    const kd_dataset *d = run->train;
    if (!how->budget.asked || *budget) return KD_OK;
    const size_t bytes = kd_array_bytes(BATCH * d->h * d->w * d->c, sizeof(float));
    answering a = {.student = student,
                   .data = d,
                   .row = malloc(kd_array_bytes(d->count, sizeof *a.row)),
                   .x = malloc(bytes)};
    int status = a.row && a.x ? KD_OK : kd_fail_memory(bytes, "calibration samples");
    if (status == KD_OK) kd_run_calibration_order(a.row, d->count);
    if (status == KD_OK) status = choose(budget, &a, how);
    if (status == KD_OK) status = kd_budget_save(*budget, run->folder, how->name);
    free(a.row);
    free(a.x);
    return status;
}
