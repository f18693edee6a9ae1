#include "tasks/speech/bench_whisper.h"

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
#include "layers/whisper.h"

/* A window is 30 s: some 75 words of English, which are 100 tokens. */
enum { POSITIONS = 1500, SECONDS = 30, TOKENS = 100, REPEATS = 3 };

/* The students: 6 + 2 layers of base.en, 12 + 4 of small.en. */
static const struct {
    const char *name;
    kd_whisper_spec spec;
} RECIPES[] = {{"whisper_base_en", {80, 512, 51864, POSITIONS, 6, 8, 448, 2, 8}},
               {"whisper_small", {80, 768, 51864, POSITIONS, 12, 12, 448, 4, 12}}};

static const kd_train_spec TRAIN = {
    .optimizer = KD_OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .clip = 1};

typedef struct {
    int64_t windows, tokens, frames; /* tokens and frames of each window */
    kd_whisper *model;
    kd_optimizer optimizer;
    kd_gradient gradient;     /* of a micro-batch for each rank */
    kd_tape *tape;            /* of the encoder, then of the step behind it */
    kd_real *mel;             /* (windows,frames,mels)                                    */
    kd_tensor memory;         /* (windows,frames/2,width), the encoder's outputs          */
    kd_real *hidden, *output; /* (windows·tokens,width), (vocabulary,width): the teacher's */
    int32_t *id, *label;      /* (windows·tokens)                                         */
    double listening, learning, updating;
} bench;

static int fill_noise(kd_real **out, int64_t n, double scale) {
    const size_t bytes = kd_array_bytes(n, sizeof **out);
    *out = kd_large_alloc(bytes);
    if (!*out) return kd_fail_memory(bytes, "the bench");
    kd_rng rng = kd_rng_init(1, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) (*out)[i] = (kd_real)(scale * (kd_rng_uniform(&rng) - 0.5));
    return KD_OK;
}

static int fill_tokens(int32_t **out, int64_t n, int vocabulary) {
    *out = malloc(kd_array_bytes(n, sizeof **out));
    if (!*out) return kd_fail_memory((size_t)n * sizeof **out, "the bench");
    kd_rng rng = kd_rng_init(2, (uint64_t)n);
    for (int64_t i = 0; i < n; i++) (*out)[i] = (int32_t)(kd_rng_u32(&rng) % (uint32_t)vocabulary);
    return KD_OK;
}

static int create_data(bench *b) {
    const kd_whisper_spec *s = &b->model->spec;
    const int64_t rows = b->windows * b->tokens;
    b->memory = (kd_tensor){.rank = 3,
                            .shape = {b->windows, s->audio_context, s->width},
                            .size = b->windows * s->audio_context * s->width};
    int status = fill_noise(&b->mel, b->windows * b->frames * s->mels, 1);
    if (status == KD_OK) status = fill_noise(&b->memory.value, b->memory.size, 1);
    if (status == KD_OK) status = fill_noise(&b->hidden, rows * s->width, 1);
    if (status == KD_OK) status = fill_noise(&b->output, (int64_t)s->vocabulary * s->width, 0.1);
    if (status == KD_OK) status = fill_tokens(&b->id, rows, s->vocabulary);
    if (status == KD_OK) status = fill_tokens(&b->label, rows, s->vocabulary);
    return status;
}

static int create(bench *b, const kd_whisper_spec *spec, kd_precision precision) {
    int status = kd_whisper_create(&b->model, spec, KD_WHISPER_TRAIN_DECODER);
    if (status == KD_OK) status = kd_whisper_layout(b->model, 1);
    if (status == KD_OK) status = kd_optimizer_init(&b->optimizer, b->model->params, &TRAIN);
    if (status == KD_OK)
        status = kd_gradient_init(&b->gradient, b->model->params, &b->optimizer.deal,
                                  kd_rank_count(), kd_rank_count());
    if (status == KD_OK) status = kd_tape_create(&b->tape, 1);
    if (status < 0) return status;
    b->tape->precision = precision;
    b->frames = 2 * spec->audio_context;
    b->tokens = spec->text_context < TOKENS ? spec->text_context : TOKENS;
    return create_data(b);
}

static void clear(bench *b) {
    kd_tape_free(b->tape);
    kd_gradient_clear(&b->gradient);
    kd_optimizer_clear(&b->optimizer);
    kd_whisper_free(b->model);
    free(b->mel);
    free(b->memory.value);
    free(b->hidden);
    free(b->output);
    free(b->id);
    free(b->label);
}

/* The frozen encoder, window by window: one needs all threads already, and the least memory. */
static int listen(bench *b) {
    const kd_whisper_spec *s = &b->model->spec;
    int status = KD_OK;
    for (int64_t i = 0; i < b->windows && status == KD_OK; i++)
        status =
            kd_whisper_encode(b->model, b->tape, b->memory.value + i * s->audio_context * s->width,
                              b->mel + i * b->frames * s->mels, 1, b->frames);
    return status;
}

/* Forward and backward of this rank's micro-batch. */
static int find_gradient(bench *b) {
    const int64_t rows = b->windows * b->tokens;
    const kd_soft_targets soft = {
        .hidden = b->hidden, .output = b->output, .width = b->model->spec.width};
    const kd_loss_spec spec = {
        .hard_weight = KD_REAL(0.8), .kl_weight = 1, .temperature = 2, .normalizer = (double)rows};
    if (kd_tape_guard(b->tape)) return KD_EINTERNAL;
    kd_tape_reset(b->tape);
    b->tape->recording = true;
    kd_gradient_enter(&b->gradient);
    kd_tensor *h = kd_whisper_decoder(b->model, b->tape, b->id, b->windows, b->tokens, &b->memory);
    kd_tensor *loss = kd_vocab_loss(b->tape, h, &b->model->tokens.table->tensor, b->label, NULL,
                                    &soft, spec, NULL);
    kd_gradient_backward(&b->gradient, b->tape, loss);
    return KD_OK;
}

static int learn(bench *b) {
    int64_t first, end;
    kd_gradient_begin(&b->gradient, kd_rank_count(), &first, &end);
    int status = find_gradient(b);
    kd_gradient_exchange(&b->gradient, status < 0);
    status = kd_ranks_worst(status);
    if (status < 0) return status;
    kd_gradient_finish(&b->gradient);
    const double learnt = kd_clock();
    kd_optimizer_update(&b->optimizer, 1e-4);
    b->updating = kd_clock() - learnt;
    return KD_OK;
}

/* The first step warms up. */
static int measure(bench *b) {
    double listening[REPEATS], learning[REPEATS], updating[REPEATS];
    int status = KD_OK;
    for (int r = -1; r < REPEATS && status == KD_OK; r++) {
        const double began = kd_clock();
        status = listen(b);
        const double heard = kd_clock();
        if (status == KD_OK) status = learn(b);
        if (r < 0) continue;
        listening[r] = heard - began;
        learning[r] = kd_clock() - heard;
        updating[r] = b->updating;
    }
    if (status < 0) return status;
    b->listening = kd_median(listening, REPEATS);
    b->learning = kd_median(learning, REPEATS);
    b->updating = kd_median(updating, REPEATS);
    return KD_OK;
}

static void print(const bench *b, const char *name) {
    struct rusage usage;
    char memory[32], activations[32];
    const double sound = (double)(SECONDS * b->windows * kd_rank_count());
    getrusage(RUSAGE_SELF, &usage);
    kd_format_bytes(memory, sizeof memory, 1024.0 * (double)usage.ru_maxrss);
    kd_format_bytes(activations, sizeof activations, (double)kd_tape_reserved(b->tape));
    printf("%-16s %3d windows of %d s, %d tokens each: encoder %.0f ms a window, a step behind it "
           "%.0f ms; seconds of sound per second %.1f, with stored encoder outputs %.1f; %s of "
           "activations, peak memory %s\n",
           name, (int)b->windows, SECONDS, TOKENS, 1e3 * b->listening / (double)b->windows,
           1e3 * b->learning, sound / (b->listening + b->learning), sound / b->learning,
           activations, memory);
}

static int find(const char *name) {
    for (int i = 0; i < (int)(sizeof RECIPES / sizeof *RECIPES); i++)
        if (strcmp(name, RECIPES[i].name) == 0) return i;
    return -1;
}

bool kd_bench_is_whisper(const char *name) {
    return find(name) >= 0;
}

int kd_bench_whisper(const char *name, int64_t windows, kd_precision precision) {
    bench b = {.windows = windows};
    int status = create(&b, &RECIPES[find(name)].spec, precision);
    if (status == KD_OK) status = measure(&b);
    if (status == KD_OK) print(&b, name);
    clear(&b);
    return status;
}

int kd_bench_whisper_costs(kd_whisper_costs *out, const kd_whisper_spec *spec, int64_t windows,
                           kd_precision precision, bool recompute) {
    bench b = {.windows = windows};
    int status = create(&b, spec, precision);
    if (status == KD_OK) b.tape->recompute = recompute;
    if (status == KD_OK) status = measure(&b);
    if (status == KD_OK) {
        const kd_params *params = b.model->params;
        *out = (kd_whisper_costs){.listening = b.listening / (double)windows,
                                  .learning = b.learning,
                                  .updating = b.updating,
                                  .parameters = params->slab_size,
                                  .trained = params->trained_size};
        out->bytes =
            (double)sizeof(kd_real) *
                (double)(params->slab_size + (1 + KD_OPTIMIZER_MOMENTS) * params->trained_size) +
            (double)kd_tape_reserved(b.tape);
    }
    clear(&b);
    return status;
}
