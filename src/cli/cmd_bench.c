/* `distill bench`: what this machine's matrix products can do, and what training makes of it. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemm.h"
#include "base/file.h"
#include "base/isa.h"
#include "base/json.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"
#include "cli/bench_int8.h"
#include "cli/bench_loss.h"
#include "cli/cli.h"
#include "quant/int8_kernel.h"
#include "tasks/classify/classifier.h"
#include "tasks/language/bench_llama.h"
#include "tasks/speech/bench_whisper.h"

enum { PEAK_SIZE = 1536, REPEATS = 9, STEPS = 24 };

static const kd_option OPTIONS[] = {
    {"model", "NAME",
     "only this: mlp, resnet8, vocabulary, whisper_base_en, whisper_small or smollm_student"},
    {"batch", "N",
     "samples per step (default 128; Whisper: windows of 30 s, SmolLM: contexts, default 4)"},
    {"precision", "NAME", "float32, bfloat16 or auto (default: both of the first two where fast)"},
    {"json", "FILE",
     "also write the peaks and the steps' shares of them, for tests/bench_compare.py"},
    {"export", "FILE", "only write an untrained int8 ResNet-8"},
    {"blob", "FILE", "only measure the inference of this exported file"},
    {"input", "FILE", "with --blob: the batch, float32, as the network sees it (default noise)"},
    {"output", "FILE", "with --blob: the batch's logits, float32"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "bench",
    .positional = "",
    .least = 0,
    .most = 0,
    .summary =
        "Measures this machine's matrix-product peak (float32, bfloat16, int8), then training\n"
        "steps: samples per second, the share of the step's time spent in products, and the\n"
        "share of the peak they reach there, in float32 and in bfloat16 where it is fast; then\n"
        "the loss over a vocabulary. A step of Whisper or SmolLM takes half a minute and is\n"
        "measured by name. Medians; data in memory, random weights.",
    .options = OPTIONS,
    .example = "distill bench\n"
               "distill bench --model mlp --batch 256\n"
               "distill bench --json bench.json\n"
               "distill bench --blob runs/fashion_mnist/student.int8.gguf --batch 1"};

/* What --json writes. */
typedef struct {
    cJSON *root, *kernels, *peak, *share;
} record;

static record begin_record(void) {
    record r = {.root = cJSON_CreateObject()};
    cJSON_AddNumberToObject(r.root, "threads", omp_get_max_threads());
    r.kernels = cJSON_AddObjectToObject(r.root, "kernels");
    r.peak = cJSON_AddObjectToObject(r.root, "peak");
    r.share = cJSON_AddObjectToObject(r.root, "share_of_peak");
    return r;
}

/* Writes it, unless `status` is an error, and frees it. */
static int end_record(record *r, const char *path, int status) {
    char *text = status == KD_OK && path ? kd_json_print(r->root, true) : NULL;
    if (status == KD_OK && path)
        status = text ? kd_file_replace(path, text, strlen(text))
                      : kd_fail(KD_EINTERNAL, "%s: no memory for it", path);
    cJSON_free(text);
    cJSON_Delete(r->root);
    return status;
}

static const char *precision_name(kd_precision precision) {
    return precision == KD_PRECISION_BFLOAT16 ? "bfloat16" : "float32";
}

/* Of a step that took `seconds`: how much of what the machine's products could have done then its
 * own did. Nothing where no peak was measured. */
static void record_share(const record *r, const char *name, kd_precision precision, double flop,
                         double seconds, double peak) {
    char key[64];
    snprintf(key, sizeof key, "%s %s", name, precision_name(precision));
    if (peak > 0) cJSON_AddNumberToObject(r->share, key, flop / seconds / peak);
}

/* Operations per second of a square product at `precision`. */
static int measure_peak(kd_precision precision, double *out) {
    const int64_t n = PEAK_SIZE;
    const int64_t shape[2] = {n, n};
    kd_tape *tape;
    int status = kd_tape_create(&tape, 1);
    if (status < 0) return status;
    if (kd_tape_guard(tape)) {
        kd_tape_free(tape);
        return KD_EINTERNAL;
    }
    tape->precision = precision;
    kd_tensor *a = kd_tape_input(tape, 2, shape), *b = kd_tape_input(tape, 2, shape);
    kd_tensor *c = kd_tape_input(tape, 2, shape);
    for (int64_t i = 0; i < n * n; i++) {
        a->value[i] = (kd_real)(i % 13) - 6;
        b->value[i] = (kd_real)(i % 7) - 3;
    }
    const kd_matrix_product square = kd_product_of(n, n, n, kd_factor_of(a, KD_PLAIN),
                                                   kd_factor_of(b, KD_TRANSPOSED), c->value, n);
    double seconds[REPEATS];
    for (int r = -1; r < REPEATS; r++) {
        double began = kd_clock();
        kd_gemm_tape(tape, &square);
        if (r >= 0) seconds[r] = kd_clock() - began;
    }
    *out = 2.0 * (double)n * (double)n * (double)n / kd_median(seconds, REPEATS);
    kd_tape_free(tape);
    return KD_OK;
}

/* The same for unsigned times signed bytes, by the kernel that inference uses. */
static int measure_int8_peak(double *out) {
    const int64_t n = PEAK_SIZE, panels = n / KD_INT8_COLUMNS;
    const kd_int8_kernel *kernel = kd_int8_kernel_choose();
    const int64_t panel = kd_int8_panel_bytes(kernel, 1, n), bytes = panels * panel;
    const int64_t start = 0;
    int8_t *weight = calloc((size_t)(n * n), 1), *packed = malloc((size_t)bytes);
    int16_t *activation = calloc(kd_array_bytes(n * n, 1), sizeof *activation);
    int status =
        weight && packed && activation ? KD_OK : kd_fail_memory((size_t)bytes, "the bench");
    double seconds[REPEATS];
    if (status == KD_OK) kd_int8_pack(kernel, packed, weight, n, 1, n);
    for (int r = -1; r < REPEATS && status == KD_OK; r++) {
        double began = kd_clock();
#pragma omp parallel for
        for (int64_t row = 0; row < n; row += kernel->rows) {
            int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS];
            kd_int8_windows in = {.segments = 1, .offset = &start};
            in.groups = kd_int8_groups(kernel, n);
            in.rows = (int)(n - row < kernel->rows ? n - row : kernel->rows);
            for (int i = 0; i < in.rows; i++)
                in.row[i] = (const char *)activation + (row + i) * n * (kernel->wide ? 2 : 1);
            for (int64_t p = 0; p < panels; p++) kernel->tile(&in, packed + p * panel, c);
        }
        if (r >= 0) seconds[r] = kd_clock() - began;
    }
    if (status == KD_OK) *out = 2.0 * (double)(n * n * n) / kd_median(seconds, REPEATS);
    free(weight);
    free(packed);
    free(activation);
    return status;
}

/* A data set of noise, so that the bench needs no files. */
static int make_dataset(kd_dataset *d, int64_t count, kd_extent extent) {
    *d = (kd_dataset){.count = count, .h = extent.h, .w = extent.w, .c = extent.c, .classes = 10};
    int64_t size = count * extent.h * extent.w * extent.c;
    d->bytes = malloc((size_t)size);
    d->label = malloc(kd_array_bytes(count, sizeof *d->label));
    d->id = malloc(kd_array_bytes(count, sizeof *d->id));
    if (!d->bytes || !d->label || !d->id) return kd_fail_memory((size_t)size, "the bench's data");
    d->normaliser.unit = 1 / 255.0f;
    kd_rng rng = kd_rng_init(1, 2);
    for (int64_t i = 0; i < size; i++) d->bytes[i] = (uint8_t)kd_rng_u32(&rng);
    for (int64_t i = 0; i < count; i++) {
        d->label[i] = (int32_t)(i % 10);
        d->id[i] = (uint64_t)i;
    }
    return KD_OK;
}

static void clear_dataset(kd_dataset *d) {
    free(d->bytes);
    free(d->label);
    free(d->id);
}

typedef struct {
    const char *name, *text;
    kd_model_spec model;
    kd_extent input;
} step_case;

static const step_case CASES[] = {
    {"mlp",
     "MLP 784-1200-1200-10",
     {.kind = KD_MODEL_MLP, .hidden_count = 2, .hidden = {1200, 1200}},
     {28, 28, 1}},
    {"resnet8",
     "ResNet-8, 32x32x3",
     {.kind = KD_MODEL_RESNET, .depth = 8, .width = 16, .shortcut = KD_SHORTCUT_A},
     {32, 32, 3}},
};

static int measure_step(const step_case *c, int64_t batch, kd_precision precision, double peak,
                        const record *r) {
    kd_dataset data;
    kd_learner *learner = NULL;
    int status = make_dataset(&data, batch * (STEPS + 2) * kd_rank_count(), c->input);
    kd_learner_spec spec = {.model = &c->model, .input = c->input, .classes = 10, .seed = 1};
    if (status == KD_OK) status = kd_learner_create(&learner, &spec);
    kd_train_spec train = {.epochs = 1,
                           .batch = batch,
                           .accumulate = kd_rank_count(), /* a micro-batch for each */
                           .optimizer = KD_OPTIMIZER_SGD,
                           .learning_rate = 0.01,
                           .momentum = 0.9,
                           .evaluate_every = 1};
    kd_loss_config loss = {.hard = 1, .temperature = 1};
    kd_classifier_job job = {
        .loop = {.stage = "bench", .spec = &train, .precision = precision, .seed = 1},
        .loss = &loss,
        .mode = KD_RUN_FLOAT,
        .train = &data};
    double step = 0;
    size_t arena = 0;
    kd_gemm_count_enable(true);
    if (status == KD_OK) status = kd_classifier_measure(learner, &job, STEPS, &step, &arena);
    kd_gemm_counters count = kd_gemm_count();
    kd_gemm_count_enable(false);
    if (status == KD_OK) {
        double products = count.seconds / (STEPS + 1), flop = count.flop / (STEPS + 1);
        char memory[32];
        kd_format_bytes(memory, sizeof memory, (double)arena);
        record_share(r, c->name, precision, flop, step, peak);
        printf("%-20s %-8s %9.0f samples/s  %8.2f ms a step  products %3.0f %% of the time, ",
               c->text, precision_name(precision), (double)(batch * kd_rank_count()) / step,
               1e3 * step, 100 * products / step);
        if (peak > 0)
            printf("at %3.0f %% of the peak", 100 * flop / products / peak);
        else
            printf("%.0f billion operations per second", 1e-9 * flop / products);
        printf("  %s of activations\n", memory);
    }
    kd_learner_free(learner);
    clear_dataset(&data);
    return status;
}

static void record_peak(const record *r, const char *name, double peak, const char *kernels) {
    printf("  %-8s %7.1f  (%s)\n", name, 1e-9 * peak, kernels);
    cJSON_AddNumberToObject(r->peak, name, 1e-9 * peak);
    cJSON_AddStringToObject(r->kernels, name, kernels);
}

static int measure_peaks(double peak[2], const record *r) {
    double int8_peak = 0;
    int status = measure_peak(KD_PRECISION_FLOAT32, &peak[0]);
    if (status == KD_OK) status = measure_peak(KD_PRECISION_BFLOAT16, &peak[1]);
    if (status == KD_OK) status = measure_int8_peak(&int8_peak);
    if (status < 0) return status;
    printf("%d threads; products of %d x %d matrices, billions of operations per second\n",
           omp_get_max_threads(), PEAK_SIZE, PEAK_SIZE);
    char kernels[160], own[64];
    kd_gemm_describe(kernels, sizeof kernels);
    record_peak(r, "float32", peak[0], kernels);
    record_peak(r, "bfloat16", peak[1], kd_bfloat16_kernels());
    snprintf(own, sizeof own, "our own, %s", kd_int8_kernel_choose()->name);
    record_peak(r, "int8", int8_peak, own);
    return KD_OK;
}

/* The training steps, or the one called `only`, at `precision`, or at all that are fast (NULL). */
static int measure_steps(const char *only, int64_t batch, const kd_precision *precision,
                         const record *r) {
    double peak[2] = {0};
    bool found = false;
    int status = only ? KD_OK : measure_peaks(peak, r);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES && status == KD_OK; i++) {
        if (only && strcmp(only, CASES[i].name) != 0) continue;
        found = true;
        for (kd_precision p = KD_PRECISION_FLOAT32; p <= KD_PRECISION_BFLOAT16; p++) {
            const bool wanted =
                precision ? p == *precision : p == KD_PRECISION_FLOAT32 || kd_bfloat16_is_fast();
            if (wanted && status == KD_OK) status = measure_step(&CASES[i], batch, p, peak[p], r);
        }
    }
    if (status == KD_OK && (!only || strcmp(only, "vocabulary") == 0)) {
        double flop = 0, seconds = 1;
        found = true;
        if (only) status = measure_peak(KD_PRECISION_FLOAT32, &peak[0]);
        if (status == KD_OK) status = kd_bench_vocabulary_loss(peak[0], &flop, &seconds);
        if (status == KD_OK)
            record_share(r, "vocabulary", KD_PRECISION_FLOAT32, flop, seconds, peak[0]);
    }
    if (status == KD_OK && !found)
        status = kd_fail(KD_EUSAGE,
                         "--model %s: there are mlp, resnet8, vocabulary, whisper_base_en, "
                         "whisper_small and smollm_student",
                         only);
    return status;
}

int kd_cmd_bench(int argc, char **argv) {
    kd_arguments arguments;
    int64_t batch;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    const char *model = kd_arguments_value(&arguments, "model");
    const bool whisper = model && kd_bench_is_whisper(model);
    const bool text = model && kd_bench_is_llama(model);
    status = kd_arguments_integer(&batch, &arguments, "batch", 1, whisper || text ? 64 : 65536,
                                  whisper || text ? 4 : 128);
    const char *name = kd_arguments_value(&arguments, "precision");
    const char *blob = kd_arguments_value(&arguments, "blob");
    const char *made = kd_arguments_value(&arguments, "export");
    kd_precision precision = KD_PRECISION_FLOAT32;
    if (status == KD_OK && name) status = kd_precision_parse(&precision, name);
    if (status < 0) return status;
    if (made) return kd_bench_export(made);
    if (blob)
        return kd_bench_blob(blob, batch, kd_arguments_value(&arguments, "input"),
                             kd_arguments_value(&arguments, "output"));
    if (whisper) return kd_bench_whisper(model, batch, precision);
    if (text) return kd_bench_llama(batch, precision);
    record r = begin_record();
    status = measure_steps(model, batch, name ? &precision : NULL, &r);
    return end_record(&r, kd_arguments_value(&arguments, "json"), status);
}
