#include "tasks/language/bench_llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"
#include "base/text.h"
#include "distill/gradient.h"
#include "distill/loss.h"
#include "distill/optimizer.h"

enum { TOKENS = 512, REPEATS = 3 };

/* configs/smollm_student.json */
static const char NAME[] = "smollm_student";
static const kd_llama_spec SPEC = {.width = 576,
                                   .layers = 14,
                                   .heads = 9,
                                   .key_heads = 3,
                                   .head_width = 64,
                                   .hidden = 1536,
                                   .vocabulary = 49152,
                                   .context = 8192,
                                   .tied = true,
                                   .epsilon = 1e-5,
                                   .rotary = {.base = 100000}};
static const kd_loss_spec LOSS = {.hard_weight = KD_REAL(0.1), .kl_weight = 1, .temperature = 1};
static const kd_train_spec TRAIN = {
    .optimizer = KD_OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .clip = 1};

typedef struct {
    int64_t contexts;
    kd_llama *model;
    kd_optimizer optimizer;
    kd_gradient gradient; /* of a micro-batch for each rank */
    kd_tape *tape;
    kd_real *hidden, *output; /* (contexts·TOKENS,width), (vocabulary,width): the teacher's */
    int32_t *id, *label;      /* (contexts·TOKENS)                                          */
    double updating;          /* seconds of AdamW in the last step                          */
} bench;

static int fill_noise(kd_real **out, int64_t n, double scale) {
    const size_t bytes = kd_array_bytes(n, sizeof **out);
    *out = kd_large_alloc(bytes);
    if (!*out) return kd_fail_memory(bytes, "the bench");
    kd_rng rng = kd_rng_init(1, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) (*out)[i] = (kd_real)(scale * (kd_rng_uniform(&rng) - 0.5));
    return KD_OK;
}

static int fill_tokens(int32_t **out, int64_t n) {
    *out = malloc(kd_array_bytes(n, sizeof **out));
    if (!*out) return kd_fail_memory((size_t)n * sizeof **out, "the bench");
    kd_rng rng = kd_rng_init(2, (uint64_t)n);
    for (int64_t i = 0; i < n; i++)
        (*out)[i] = (int32_t)(kd_rng_u32(&rng) % (uint32_t)SPEC.vocabulary);
    return KD_OK;
}

static int create(bench *b, kd_precision precision) {
    const int64_t rows = b->contexts * TOKENS;
    int status = kd_llama_create(&b->model, &SPEC, KD_LLAMA_TRAIN);
    if (status == KD_OK) status = kd_llama_layout(b->model, 1);
    if (status == KD_OK) status = kd_optimizer_init(&b->optimizer, b->model->params, &TRAIN);
    if (status == KD_OK)
        status = kd_gradient_init(&b->gradient, b->model->params, &b->optimizer.deal,
                                  kd_rank_count(), kd_rank_count());
    if (status == KD_OK) status = kd_tape_create(&b->tape, 1);
    if (status < 0) return status;
    b->tape->precision = precision;
    status = fill_noise(&b->hidden, rows * SPEC.width, 1);
    if (status == KD_OK)
        status = fill_noise(&b->output, (int64_t)SPEC.vocabulary * SPEC.width, 0.1);
    if (status == KD_OK) status = fill_tokens(&b->id, rows);
    return status == KD_OK ? fill_tokens(&b->label, rows) : status;
}

static void clear(bench *b) {
    kd_tape_free(b->tape);
    kd_gradient_clear(&b->gradient);
    kd_optimizer_clear(&b->optimizer);
    kd_llama_free(b->model);
    free(b->hidden);
    free(b->output);
    free(b->id);
    free(b->label);
}

/* Forward and backward of this rank's micro-batch. */
static int find_gradient(bench *b) {
    const kd_soft_targets soft = {.hidden = b->hidden, .output = b->output, .width = SPEC.width};
    kd_loss_spec spec = LOSS;
    spec.normalizer = (double)(b->contexts * TOKENS);
    if (kd_tape_guard(b->tape)) return KD_EINTERNAL;
    kd_tape_reset(b->tape);
    b->tape->recording = true;
    kd_gradient_enter(&b->gradient);
    kd_tensor *h = kd_llama_hidden(b->model, b->tape, b->id, b->contexts, TOKENS, NULL);
    kd_tensor *loss =
        kd_vocab_loss(b->tape, h, &b->model->output->tensor, b->label, NULL, &soft, spec, NULL);
    kd_gradient_backward(&b->gradient, b->tape, loss);
    return KD_OK;
}

static int learn(bench *b) {
    int64_t first, end;
    kd_gradient_begin(&b->gradient, kd_rank_count(), &first, &end);
    int status = find_gradient(b);
    kd_gradient_exchange(&b->gradient, status < 0);
    status = kd_ranks_worst(status);
    if (status == KD_OK) kd_gradient_finish(&b->gradient);
    const double learnt = kd_clock();
    if (status == KD_OK) kd_optimizer_update(&b->optimizer, 1e-4);
    b->updating = kd_clock() - learnt;
    return status;
}

static void print(const bench *b, double learning, double updating) {
    struct rusage usage;
    char memory[32], activations[32];
    getrusage(RUSAGE_SELF, &usage);
    kd_format_bytes(memory, sizeof memory, 1024.0 * (double)usage.ru_maxrss);
    kd_format_bytes(activations, sizeof activations, (double)kd_tape_reserved(b->tape));
    printf("%-16s %3d contexts of %d tokens: a step %.0f ms, %.0f of them AdamW; %.0f tokens per "
           "second; %s of activations, peak memory %s\n",
           NAME, (int)b->contexts, TOKENS, 1e3 * learning, 1e3 * updating,
           (double)(b->contexts * TOKENS * kd_rank_count()) / learning, activations, memory);
}

/* The first step warms up. */
static int measure(bench *b) {
    double learning[REPEATS], updating[REPEATS];
    int status = KD_OK;
    for (int r = -1; r < REPEATS && status == KD_OK; r++) {
        const double began = kd_clock();
        status = learn(b);
        if (r < 0) continue;
        learning[r] = kd_clock() - began;
        updating[r] = b->updating;
    }
    if (status == KD_OK) print(b, kd_median(learning, REPEATS), kd_median(updating, REPEATS));
    return status;
}

bool kd_bench_is_llama(const char *name) {
    return strcmp(name, NAME) == 0;
}

int kd_bench_llama(int64_t contexts, kd_precision precision) {
    bench b = {.contexts = contexts};
    int status = create(&b, precision);
    if (status == KD_OK) status = measure(&b);
    clear(&b);
    return status;
}
