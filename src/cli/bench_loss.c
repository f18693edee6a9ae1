#include "cli/bench_loss.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/ops.h"
#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/text.h"
#include "distill/loss.h"

/* Whisper's English vocabulary; a student and a teacher of base width. */
enum { N = 512, C = 512, V = 51864, REPEATS = 5 };

typedef enum { ALL_LOGITS, PANELS, FORMS } form;

typedef struct {
    kd_tape *tape[FORMS];
    kd_tensor E; /* (V,C), the student's; its gradient lies in a slab, as in training */
    kd_real *h, *hidden, *output; /* (N,C), (N,C), (V,C) */
    int32_t *label;
} bench;

static int create(bench *b) {
    const size_t matrix = (size_t)V * C, rows = (size_t)N * C;
    int status = KD_OK;
    *b = (bench){.E = {.rank = 2, .shape = {V, C}, .size = V * C, .needs_grad = true}};
    for (int i = 0; i < FORMS && status == KD_OK; i++) status = kd_tape_create(&b->tape[i], 1);
    b->E.value = malloc(matrix * sizeof(kd_real));
    b->E.grad = malloc(matrix * sizeof(kd_real));
    b->output = malloc(matrix * sizeof(kd_real));
    b->h = malloc(rows * sizeof(kd_real));
    b->hidden = malloc(rows * sizeof(kd_real));
    b->label = malloc(N * sizeof *b->label);
    if (status < 0) return status;
    if (!b->E.value || !b->E.grad || !b->output || !b->h || !b->hidden || !b->label)
        return kd_fail_memory(3 * matrix * sizeof(kd_real), "the bench");
    kd_rng rng = kd_rng_init(1, 2);
    for (size_t i = 0; i < matrix; i++) b->E.value[i] = (kd_real)(0.05 * kd_rng_normal(&rng));
    for (size_t i = 0; i < rows; i++) b->h[i] = (kd_real)kd_rng_normal(&rng);
    for (size_t i = 0; i < rows; i++) b->hidden[i] = (kd_real)kd_rng_normal(&rng);
    memcpy(b->output, b->E.value, matrix * sizeof(kd_real));
    for (int i = 0; i < N; i++) b->label[i] = (int32_t)(kd_rng_u32(&rng) % V);
    return KD_OK;
}

static void clear(bench *b) {
    for (int i = 0; i < FORMS; i++) kd_tape_free(b->tape[i]);
    free(b->E.value);
    free(b->E.grad);
    free(b->output);
    free(b->h);
    free(b->hidden);
    free(b->label);
}

/* One loss and its gradients; returns the seconds it took. */
static int run(bench *b, form how, double *seconds) {
    kd_tape *tape = b->tape[how];
    const kd_loss_spec spec = {
        .hard_weight = KD_REAL(0.8), .kl_weight = 1, .temperature = 2, .normalizer = N};
    kd_tape_reset(tape);
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    const double began = kd_clock();
    b->E.grad_written = false;
    kd_tensor *h = kd_tape_input(tape, 2, (int64_t[]){N, C}), *loss;
    memcpy(h->value, b->h, (size_t)N * C * sizeof(kd_real));
    h->needs_grad = true;
    if (how == PANELS) {
        kd_soft_targets soft = {.hidden = b->hidden, .output = b->output, .width = C};
        loss = kd_vocab_loss(tape, h, &b->E, b->label, NULL, &soft, spec, NULL);
    } else {
        kd_real *v = kd_tape_alloc(tape, (size_t)N * V * sizeof *v);
        const kd_matrix_product logits =
            kd_product_of(N, V, C, kd_plain(b->hidden, C), kd_transposed(b->output, C), v, V);
        kd_gemm(&logits);
        kd_soft_targets soft = {.logits = v};
        loss = kd_distill_loss(tape, kd_linear(tape, h, &b->E, NULL, KD_ACT_NONE), b->label, NULL,
                               &soft, spec, NULL);
    }
    kd_tape_backward(tape, loss);
    *seconds = kd_clock() - began;
    return KD_OK;
}

int kd_bench_vocabulary_loss(double peak, double *flop, double *median) {
    bench b;
    double seconds[FORMS][REPEATS] = {{0}};
    int status = create(&b);
    for (int r = -1; r < REPEATS; r++) /* by turns, so that a busy machine slows both */
        for (int how = 0; how < FORMS && status == KD_OK; how++)
            status = run(&b, (form)how, &seconds[how][r < 0 ? 0 : r]);
    if (status == KD_OK) {
        char memory[FORMS][32];
        for (int how = 0; how < FORMS; how++) {
            qsort(seconds[how], REPEATS, sizeof(double), kd_order_doubles);
            kd_format_bytes(memory[how], sizeof memory[how],
                            (double)kd_arena_reserved(b.tape[how]->arena));
        }
        const double time = *median = seconds[PANELS][REPEATS / 2];
        *flop = 8.0 * N * C * V;
        printf(
            "vocabulary loss, %d x %d on %d classes: %.0f ms, at %.0f %% of the peak, in %s; with "
            "all logits %.0f ms in %s\n",
            N, C, V, 1e3 * time, 100 * *flop / time / peak, memory[PANELS],
            1e3 * seconds[ALL_LOGITS][REPEATS / 2], memory[ALL_LOGITS]);
    }
    clear(&b);
    return status;
}
