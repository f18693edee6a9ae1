#include "cli/bench_int8.h"

#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/size.h"
#include "quant/blob.h"
#include "tasks/classify/evaluate.h"
#include "tasks/classify/learner.h"

enum { CALIBRATION = 64, CLASSES = 10, REPEATS_MOST = 400, REPEATS_LEAST = 15 };

static void fill_noise(float *x, int64_t n) {
    kd_rng rng = kd_rng_init(1, 3);
    for (int64_t i = 0; i < n; i++) x[i] = (float)kd_rng_normal(&rng);
}

static int write_blob(const char *path, const kd_learner *learner, kd_extent in) {
    char names[CLASSES][KD_CLASS_NAME_MAX];
    for (int i = 0; i < CLASSES; i++) snprintf(names[i], sizeof names[i], "class %d", i);
    kd_dataset dataset = {.h = in.h, .w = in.w, .c = in.c, .classes = CLASSES, .class_name = names};
    dataset.normaliser = (kd_normaliser){.unit = 1 / 255.0f};
    const kd_data_spec data = {.kind = KD_DATA_CIFAR10};
    const kd_blob_info info = {
        .name = "bench", .teacher = "none", .dataset = &dataset, .data = &data};
    return learner->quantized->how->write(path, learner->quantized, &info);
}

int kd_bench_export(const char *path) {
    const kd_model_spec model = {
        .kind = KD_MODEL_RESNET, .depth = 8, .width = 16, .shortcut = KD_SHORTCUT_B};
    const kd_quantize_spec int8 = {
        .how = &kd_quantizer_integers,
        .integers = {
            .weight_bits = 8, .activation_bits = 8, .observer = KD_OBSERVER_EMA, .ema = 0.99}};
    const kd_learner_spec spec = {
        .model = &model, .input = {32, 32, 3}, .classes = CLASSES, .seed = 1, .quantize = &int8};
    const int64_t size = CALIBRATION * 32 * 32 * 3;
    kd_learner *learner = NULL;
    kd_tape *tape = NULL;
    float *x = malloc(kd_array_bytes(size, sizeof *x)), logits[CALIBRATION * CLASSES];
    int status = x ? KD_OK : kd_fail_memory((size_t)size * sizeof *x, "the bench");
    if (status == KD_OK) fill_noise(x, size);
    if (status == KD_OK) status = kd_learner_create(&learner, &spec);
    if (status == KD_OK) status = kd_tape_create(&tape, 1);
    if (status == KD_OK)
        status = kd_learner_logits(learner, KD_RUN_OBSERVE, tape, CALIBRATION, x, logits);
    if (status == KD_OK) status = kd_quantized_calibrated(learner->quantized);
    if (status == KD_OK) status = write_blob(path, learner, spec.input);
    kd_tape_free(tape);
    kd_learner_free(learner);
    free(x);
    return status;
}

/* Reads (or, when `write`, writes) exactly n numbers. */
static int move_numbers(const char *path, float *x, size_t n, bool write) {
    FILE *file = fopen(path, write ? "wb" : "rb");
    if (!file) return kd_fail(KD_ENOINPUT, "%s: %s", path, strerror(errno));
    const size_t done = write ? fwrite(x, sizeof *x, n, file) : fread(x, sizeof *x, n, file);
    const bool more = !write && getc(file) != EOF;
    if (fclose(file) != 0 || done != n || more)
        return kd_fail(KD_EDATA, "%s: not the %zu float32 numbers of one batch", path, n);
    return KD_OK;
}

int kd_bench_blob(const char *path, int64_t batch, const char *input, const char *output) {
    kd_blob *blob = NULL;
    int status = kd_blob_open(&blob, path);
    if (status < 0) return status;
    const kd_extent in = kd_blob_input(blob);
    const size_t size = (size_t)(batch * in.h * in.w * in.c);
    const size_t outputs = (size_t)batch * (size_t)kd_blob_classes(blob);
    int repeats = (int)(4 * REPEATS_MOST / batch), n = 0;
    repeats = repeats > REPEATS_MOST ? REPEATS_MOST : repeats;
    repeats = repeats < REPEATS_LEAST ? REPEATS_LEAST : repeats;
    double seconds[REPEATS_MOST];
    float *x = malloc(size * sizeof *x), *logits = malloc(outputs * sizeof *logits);
    if (!x || !logits) status = kd_fail_memory(size * sizeof *x, "the bench");
    if (status == KD_OK && input) status = move_numbers(input, x, size, false);
    if (status == KD_OK && !input) fill_noise(x, (int64_t)size);
    if (status == KD_OK) status = kd_blob_run(blob, batch, x, logits); /* warms up */
    for (; n < repeats && status == KD_OK; n++) {
        const double began = kd_clock();
        status = kd_blob_run(blob, batch, x, logits);
        seconds[n] = kd_clock() - began;
    }
    if (status == KD_OK && output) status = move_numbers(output, logits, outputs, true);
    if (status == KD_OK) {
        const double median = kd_median(seconds, repeats);
        printf("%s  %9.0f samples/s  %8.3f ms a batch of %lld  %s, %d threads\n", path,
               (double)batch / median, 1e3 * median, (long long)batch, kd_int8_kernel_name(),
               omp_get_max_threads());
    }
    free(x);
    free(logits);
    kd_blob_free(blob);
    return status;
}
