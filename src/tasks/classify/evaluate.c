#include "tasks/classify/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"

enum { EVALUATION_BATCH = 100 };

double kd_result_accuracy(const kd_result *result) {
    return result->samples ? (double)result->correct / (double)result->samples : 0;
}

static int begin_result(kd_result *out, const kd_dataset *dataset) {
    memset(out, 0, sizeof *out);
    out->classes = dataset->classes;
    out->largest_difference = -1;
    out->disagreements = -1;
    out->class_samples = calloc((size_t)dataset->classes, sizeof *out->class_samples);
    out->class_correct = calloc((size_t)dataset->classes, sizeof *out->class_correct);
    out->answer = calloc(kd_array_bytes(dataset->count + 1, 1), sizeof *out->answer);
    if (out->class_samples && out->class_correct && out->answer) return KD_OK;
    kd_result_free_counts(out);
    return kd_fail_memory((unsigned long long)dataset->classes * 16, "per-class counts");
}

static int argmax(const float *row, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

/* Logits that are no numbers have no largest one: the first class would win. */
static int count_row(kd_result *result, const float *row, const kd_dataset *dataset,
                     int64_t sample) {
    const int label = dataset->label[sample];
    for (int v = 0; v < result->classes; v++)
        if (!isfinite(row[v]))
            return kd_fail(KD_EDATA,
                           "the logit of class %d is %g for sample %llu: its weights make numbers "
                           "that are not finite, so that there is no answer to count",
                           v, (double)row[v], (unsigned long long)dataset->id[sample]);
    const int answer = argmax(row, result->classes);
    const bool right = answer == label;
    result->answer[result->samples++] = answer;
    result->correct += right;
    result->class_samples[label]++;
    result->class_correct[label] += right;
    double top = row[answer], sum = 0;
    for (int v = 0; v < result->classes; v++) sum += exp((double)row[v] - top);
    result->loss += top + log(sum) - (double)row[label];
    return KD_OK;
}

/* Fills x with samples [first, first + n). */
static void gather(const kd_dataset *dataset, int64_t first, int64_t n, float *x) {
    int64_t size = dataset->h * dataset->w * dataset->c;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++) kd_dataset_sample(dataset, first + i, x + i * size);
}

static int64_t batch_size(const kd_dataset *dataset, int64_t first) {
    int64_t left = dataset->count - first;
    return left < EVALUATION_BATCH ? left : EVALUATION_BATCH;
}

static void finish_result(kd_result *out, double seconds) {
    if (out->samples == 0) return;
    out->ms_per_sample = 1e3 * seconds;
    out->loss /= (double)out->samples;
}

int kd_evaluate_logits(kd_result *out, const kd_dataset *dataset, const float *logits) {
    int status = begin_result(out, dataset);
    if (status < 0) return status;
    for (int64_t i = 0; i < dataset->count && status == KD_OK; i++)
        status = count_row(out, logits + i * dataset->classes, dataset, i);
    if (status < 0) kd_result_free_counts(out);
    finish_result(out, 0);
    return status;
}

int kd_learner_logits(const kd_learner *learner, kd_run_mode mode, kd_tape *tape, int64_t n,
                      const float *x, float *logits) {
    const bool training = tape->training, recording = tape->recording;
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    tape->training = tape->recording = false;
    kd_tape_reset(tape);
    kd_tensor *z =
        kd_learner_forward(learner, tape, kd_learner_input(learner, tape, n, x), mode, NULL);
    for (int64_t i = 0; i < z->size; i++) logits[i] = (float)z->value[i];
    tape->training = training;
    tape->recording = recording;
    return KD_OK;
}

static float *sample_buffer(const kd_dataset *dataset) {
    size_t bytes =
        kd_array_bytes(EVALUATION_BATCH * dataset->h * dataset->w * dataset->c, sizeof(float));
    float *x = malloc(bytes);
    if (!x) kd_fail_memory(bytes, "an evaluation batch");
    return x;
}

/* An evaluation in rounds of a batch for each rank. */
typedef struct {
    kd_logits_function run;
    void *context;
    const kd_dataset *dataset;
    int64_t classes, batches;
    float *x, *logits; /* a batch; (ranks · EVALUATION_BATCH, classes) of a round        */
    double *seconds;   /* for a sample, of each batch of this rank: `batches` of them    */
} evaluation;

/* This rank's batch of the round that begins with sample `first`. */
static int run_batch(evaluation *e, int64_t first) {
    const int64_t at = first + (int64_t)kd_rank() * EVALUATION_BATCH;
    if (at >= e->dataset->count) return KD_OK;
    const int64_t n = batch_size(e->dataset, at);
    float *logits = e->logits + (int64_t)kd_rank() * EVALUATION_BATCH * e->classes;
    gather(e->dataset, at, n, e->x);
    int status = KD_OK;
    if (e->batches == 0) /* what starts a model is not its time */
        status = e->run(e->context, n, e->x, logits);
    if (status < 0) return status;
    const double began = kd_clock();
    status = e->run(e->context, n, e->x, logits);
    e->seconds[e->batches++] = (kd_clock() - began) / (double)n;
    return status;
}

/* The answers of all ranks are counted by each, in the order of the samples. */
static int run_round(evaluation *e, kd_result *out, int64_t first, float *logits) {
    const int64_t ranks = kd_rank_count();
    const int64_t n = kd_smaller(ranks * EVALUATION_BATCH, e->dataset->count - first);
    int status = kd_ranks_worst(run_batch(e, first));
    if (status < 0) return status;
    kd_ranks_gather_parts(e->logits, ranks,
                          (size_t)(EVALUATION_BATCH * e->classes) * sizeof *e->logits);
    for (int64_t i = 0; i < n && status == KD_OK; i++)
        status = count_row(out, e->logits + i * e->classes, e->dataset, first + i);
    if (logits)
        memcpy(logits + first * e->classes, e->logits, (size_t)(n * e->classes) * sizeof *logits);
    return status;
}

int kd_evaluate_with(kd_result *out, kd_logits_function run, void *context,
                     const kd_dataset *dataset, float *logits) {
    const int64_t round = (int64_t)kd_rank_count() * EVALUATION_BATCH;
    int status = begin_result(out, dataset);
    if (status < 0) return status;
    evaluation e = {.run = run,
                    .context = context,
                    .dataset = dataset,
                    .classes = dataset->classes,
                    .x = sample_buffer(dataset),
                    .logits = malloc(kd_array_bytes(round * dataset->classes, sizeof *e.logits)),
                    .seconds =
                        malloc(kd_array_bytes(dataset->count / round + 1, sizeof *e.seconds))};
    if (!e.x || !e.logits || !e.seconds) status = kd_fail_memory(4096, "an evaluation batch");
    status = kd_ranks_worst(status);
    for (int64_t first = 0; first < dataset->count && status == KD_OK; first += round)
        status = run_round(&e, out, first, logits);
    if (status < 0)
        kd_result_free_counts(out);
    else /* a batch during which the machine did something else says nothing of the model */
        finish_result(out, kd_median(e.seconds, e.batches));
    free(e.x);
    free(e.logits);
    free(e.seconds);
    return status;
}

typedef struct {
    const kd_learner *learner;
    kd_run_mode mode;
    kd_tape *tape;
} learner_run;

static int run_learner(void *context, int64_t n, const float *x, float *logits) {
    const learner_run *run = context;
    return kd_learner_logits(run->learner, run->mode, run->tape, n, x, logits);
}

static int check_shape(const kd_dataset *d, kd_extent in, int64_t outputs) {
    if (in.h == d->h && in.w == d->w && in.c == d->c && outputs == d->classes) return KD_OK;
    return kd_fail(KD_EDATA,
                   "a model from %lldx%lldx%lld to %lld classes; the data are %lldx%lldx%lld with "
                   "%d",
                   (long long)in.h, (long long)in.w, (long long)in.c, (long long)outputs,
                   (long long)d->h, (long long)d->w, (long long)d->c, d->classes);
}

int kd_evaluate(kd_result *out, const kd_learner *learner, kd_run_mode mode, kd_tape *tape,
                const kd_dataset *dataset, float *logits) {
    learner_run run = {learner, mode, tape};
    const kd_extent last = learner->net->node[learner->net->count - 1].out;
    int status = check_shape(dataset, learner->net->node[0].out, last.h * last.w * last.c);
    if (status == KD_OK) status = kd_evaluate_with(out, run_learner, &run, dataset, logits);
    if (status < 0) return status;
    out->parameters = kd_learner_parameters(learner);
    out->bytes = out->parameters * (int64_t)sizeof(float);
    out->memory = out->bytes + kd_net_peak_activations(learner->net) * (int64_t)sizeof(float);
    return KD_OK;
}

static int run_blob(void *context, int64_t n, const float *x, float *logits) {
    return kd_blob_run(context, n, x, logits);
}

static void compare_logits(kd_result *out, int64_t rows, const float *a, const float *b) {
    out->largest_difference = 0;
    out->disagreements = 0;
    for (int64_t i = 0; i < rows; i++, a += out->classes, b += out->classes) {
        out->disagreements += argmax(a, out->classes) != argmax(b, out->classes);
        for (int v = 0; v < out->classes; v++) {
            const double difference = fabs((double)a[v] - (double)b[v]);
            if (difference > out->largest_difference) out->largest_difference = difference;
        }
    }
}

/* kd_evaluate_with beside the reference. */
static int evaluate_beside(kd_result *out, kd_logits_function run, void *context,
                           const kd_dataset *dataset, const float *reference) {
    const int64_t size = dataset->count * dataset->classes;
    float *logits = malloc(kd_array_bytes(size, sizeof *logits));
    if (!logits) return kd_fail_memory((unsigned long long)size * sizeof *logits, "logits");
    int status = kd_evaluate_with(out, run, context, dataset, logits);
    if (status == KD_OK) compare_logits(out, dataset->count, logits, reference);
    free(logits);
    return status;
}

static int evaluate_blob(kd_result *out, const char *path, const kd_dataset *dataset,
                         const float *reference) {
    kd_blob *blob;
    int status = kd_blob_open(&blob, path);
    if (status < 0) return status;
    status = check_shape(dataset, kd_blob_input(blob), kd_blob_classes(blob));
    if (status == KD_OK) status = evaluate_beside(out, run_blob, blob, dataset, reference);
    if (status == KD_OK) out->parameters = kd_blob_parameters(blob);
    kd_blob_free(blob);
    return status;
}

static int evaluate_weights(kd_result *out, const char *path, const kd_learner_spec *model,
                            kd_tape *tape, const kd_dataset *dataset, const float *reference) {
    kd_learner *learner;
    int status = kd_learner_create(&learner, model);
    if (status < 0) return status;
    learner_run run = {learner, KD_RUN_FLOAT, tape};
    status = kd_learner_load(learner, path, dataset);
    if (status == KD_OK) status = evaluate_beside(out, run_learner, &run, dataset, reference);
    if (status == KD_OK) out->parameters = kd_learner_parameters(learner);
    kd_learner_free(learner);
    return status;
}

int kd_evaluate_exported(kd_result *out, const char *path, const kd_learner_spec *model,
                         kd_tape *tape, const kd_dataset *dataset, const float *reference) {
    bool weights;
    struct stat info;
    int status = kd_weights_gguf_is_at(&weights, path);
    if (status == KD_OK)
        status = weights ? evaluate_weights(out, path, model, tape, dataset, reference)
                         : evaluate_blob(out, path, dataset, reference);
    if (status == KD_OK && stat(path, &info) == 0) out->bytes = info.st_size;
    return status;
}
