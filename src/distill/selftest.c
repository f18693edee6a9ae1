#include "distill/selftest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

enum { ROWS = 16, CLASSES = 10, SIZE = ROWS * CLASSES, MASKED = 5, MARGIN = 4 };

/* One batch and what the loss under test made of it. */
typedef struct {
    kd_tape *tape;
    kd_loss_function function;
    double z[SIZE], v[SIZE];
    int32_t label[ROWS];
    double grad[SIZE], loss; /* gathered over calls */
    kd_selftest *out;
    int count;
} bench;

static void add_check(bench *b, double found, double most, const char *what) {
    KD_CONTRACT(b->count < KD_SELFTEST_MAX, "more than %d checks", KD_SELFTEST_MAX);
    kd_selftest *check = &b->out[b->count++];
    *check = (kd_selftest){.found = found, .most = most};
    snprintf(check->what, sizeof check->what, "%s", what);
}

bool kd_selftest_passed(const kd_selftest *check) {
    return check->found <= check->most; /* NAN fails */
}

/* --- the loss by its formula ---------------------------------------------------------------- */

/* log softmax(x/τ), in double. */
static void log_softmax(const double *x, double temperature, double *out) {
    double max = x[0], sum = 0;
    for (int c = 1; c < CLASSES; c++) max = x[c] > max ? x[c] : max;
    for (int c = 0; c < CLASSES; c++) sum += exp((x[c] - max) / temperature);
    for (int c = 0; c < CLASSES; c++) out[c] = (x[c] - max) / temperature - log(sum);
}

/* w_hard·CE + w_kl·τ²·KL of one row. */
static double row_loss(const double *z, const double *v, int label, const kd_loss_spec *spec) {
    const double tau = (double)spec->temperature, eps = (double)spec->label_smoothing;
    double p[CLASSES], q[CLASSES], hard = 0, kl = 0;
    log_softmax(z, 1, q);
    for (int c = 0; c < CLASSES; c++) hard -= (eps / CLASSES + (c == label ? 1 - eps : 0)) * q[c];
    log_softmax(z, tau, q);
    log_softmax(v, tau, p);
    for (int c = 0; c < CLASSES; c++) kl += exp(p[c]) * (p[c] - q[c]);
    return (double)spec->hard_weight * hard + (double)spec->kl_weight * tau * tau * kl;
}

/* Its derivative by z[c]: central differences of fourth order. */
static double slope_at(const double *z, const double *v, int label, const kd_loss_spec *spec,
                       int c) {
    const double step = 2e-3 * fmax(1, (double)spec->temperature);
    double moved[CLASSES], side[4];
    static const double at[] = {-2, -1, 1, 2};
    memcpy(moved, z, sizeof moved);
    for (int i = 0; i < 4; i++) {
        moved[c] = z[c] + at[i] * step;
        side[i] = row_loss(moved, v, label, spec);
    }
    return (side[0] - 8 * side[1] + 8 * side[2] - side[3]) / (12 * step);
}

/* --- the loss under test -------------------------------------------------------------------- */

/* Rows begin … end−1 through the loss; its gradient goes to b->grad, its value is added to b->loss.
 */
static void call_rows(bench *b, const kd_loss_spec *spec, const uint8_t *valid, int begin,
                      int end) {
    kd_tape_reset(b->tape);
    kd_real teacher[SIZE];
    kd_tensor *z = kd_tape_input(b->tape, 2, (int64_t[]){end - begin, CLASSES});
    for (int i = 0; i < (end - begin) * CLASSES; i++) {
        z->value[i] = (kd_real)b->z[begin * CLASSES + i];
        teacher[i] = (kd_real)b->v[begin * CLASSES + i];
    }
    z->needs_grad = true;
    kd_soft_targets soft = {.logits = teacher};
    kd_tensor *loss = b->function(b->tape, z, b->label + begin, valid ? valid + begin : NULL,
                                  spec->kl_weight > 0 ? &soft : NULL, *spec, NULL);
    kd_tape_backward(b->tape, loss);
    for (int i = 0; i < (end - begin) * CLASSES; i++)
        b->grad[begin * CLASSES + i] = z->grad ? (double)z->grad[i] : NAN;
    b->loss += (double)loss->value[0];
}

static void call_all(bench *b, const kd_loss_spec *spec, const uint8_t *valid) {
    b->loss = 0;
    call_rows(b, spec, valid, 0, ROWS);
}

static kd_loss_spec spec_of(double hard, double kl, double temperature) {
    return (kd_loss_spec){.hard_weight = (kd_real)hard,
                          .kl_weight = (kd_real)kl,
                          .temperature = (kd_real)temperature,
                          .normalizer = ROWS};
}

static void fill(bench *b) {
    kd_rng rng = kd_rng_init(20, 26);
    for (int i = 0; i < SIZE; i++) {
        b->v[i] = (double)(float)(3 * kd_rng_normal(&rng));
        b->z[i] = (double)(float)(0.5 * b->v[i] + kd_rng_normal(&rng));
    }
    for (int i = 0; i < ROWS; i++) b->label[i] = (int32_t)kd_rng_below(&rng, CLASSES);
}

/* ‖found − expected‖ / ‖expected‖ */
static double relative(const double *found, const double *expected) {
    double off = 0, size = 0;
    for (int i = 0; i < SIZE; i++) {
        off += (found[i] - expected[i]) * (found[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    return sqrt(off / size);
}

/* --- checks --------------------------------------------------------------------------------- */

/* What rounding may leave: p and q differ by 1/τ of their size, so single precision loses digits as
 * the temperature rises. */
static double tight(double temperature) {
    return sizeof(kd_real) == sizeof(double) ? 1e-7 : 1e-6 * fmax(1, temperature);
}

static void check_gradients(bench *b) {
    static const double tau[] = {0.5, 1, 2, 4, 8, 20, 100};
    double expected[SIZE];
    char what[80];
    for (int k = -2; k < (int)(sizeof tau / sizeof *tau); k++) {
        kd_loss_spec spec = k < 0 ? spec_of(1, 0, 1) : spec_of(0, 1, tau[k]);
        if (k == -1) spec.label_smoothing = (kd_real)0.25;
        if (k < 0)
            snprintf(what, sizeof what, "gradient, labels%s", k == -1 ? " smoothed by 0.25" : "");
        else
            snprintf(what, sizeof what, "gradient, teacher at temperature %g", tau[k]);
        for (int i = 0; i < SIZE; i++) {
            int row = i / CLASSES;
            expected[i] = slope_at(b->z + row * CLASSES, b->v + row * CLASSES, b->label[row], &spec,
                                   i % CLASSES) /
                          ROWS;
        }
        call_all(b, &spec, NULL);
        add_check(b, relative(b->grad, expected), tight(k < 0 ? 1 : tau[k]), what);
    }
}

/* Student = teacher: the teacher's entropy is part of KL, which is 0 then, and so is its gradient.
 */
static void check_equal(bench *b) {
    double keep[SIZE], largest = 0;
    kd_loss_spec spec = spec_of(0, 1, 4);
    memcpy(keep, b->z, sizeof keep);
    memcpy(b->z, b->v, sizeof keep);
    call_all(b, &spec, NULL);
    for (int i = 0; i < SIZE; i++)
        if (fabs(b->grad[i]) > largest) largest = fabs(b->grad[i]);
    add_check(b, fabs(b->loss), 0, "loss of a student that equals its teacher");
    add_check(b, largest, 0, "its gradient");
    memcpy(b->z, keep, sizeof keep);
}

/* With all logits τ times as large the softmaxes at τ are those at 1: the loss is τ² times as
 * large. That is what keeps the soft gradient's size. */
static void check_square(bench *b) {
    const double tau = 8;
    double z[SIZE], v[SIZE];
    kd_loss_spec one = spec_of(0, 1, 1), warm = spec_of(0, 1, tau);
    call_all(b, &one, NULL);
    double expected = tau * tau * b->loss;
    memcpy(z, b->z, sizeof z);
    memcpy(v, b->v, sizeof v);
    for (int i = 0; i < SIZE; i++) {
        b->z[i] *= tau;
        b->v[i] *= tau;
    }
    call_all(b, &warm, NULL);
    add_check(b, fabs(b->loss / expected - 1), tight(1), "the loss grows with temperature squared");
    memcpy(b->z, z, sizeof z);
    memcpy(b->v, v, sizeof v);
}

static void check_mask(bench *b) {
    uint8_t valid[ROWS];
    double all[SIZE], masked = 0, others = 0;
    kd_loss_spec spec = spec_of(0.5, 0.5, 4);
    call_all(b, &spec, NULL);
    memcpy(all, b->grad, sizeof all);
    for (int i = 0; i < ROWS; i++) valid[i] = i % MASKED != 0;
    call_all(b, &spec, valid);
    for (int i = 0; i < SIZE; i++) {
        const bool counts = valid[i / CLASSES];
        const double differs = counts ? fabs(b->grad[i] - all[i]) : fabs(b->grad[i]);
        double *most = counts ? &others : &masked;
        if (differs > *most) *most = differs;
    }
    add_check(b, masked, 0, "gradient of masked rows");
    add_check(b, others, 0, "what a mask changes in other rows");
}

/* A batch in parts, each divided by the whole batch's rows: the same gradient. */
static void check_parts(bench *b) {
    double whole[SIZE];
    char what[80];
    kd_loss_spec spec = spec_of(0.3, 0.7, 4);
    call_all(b, &spec, NULL);
    memcpy(whole, b->grad, sizeof whole);
    for (int parts = 2; parts <= 4; parts *= 2) {
        for (int i = 0; i < parts; i++)
            call_rows(b, &spec, NULL, i * ROWS / parts, (i + 1) * ROWS / parts);
        snprintf(what, sizeof what, "gradient accumulated in %d parts", parts);
        add_check(b, relative(b->grad, whole), tight(1), what);
    }
}

/* Rows that do not belong to their samples must cost: the teacher's rows moved on by one. A student
 * near its teacher then has a larger loss; what is measured is the ratio of the two. */
static void check_shuffled(bench *b) {
    double v[SIZE], z[SIZE];
    kd_loss_spec spec = spec_of(0, 1, 4);
    memcpy(v, b->v, sizeof v);
    memcpy(z, b->z, sizeof z);
    for (int i = 0; i < SIZE; i++) b->z[i] = v[i] + 0.1 * (z[i] - v[i]);
    call_all(b, &spec, NULL);
    double right = b->loss;
    for (int i = 0; i < SIZE; i++) b->v[i] = v[(i + CLASSES) % SIZE];
    call_all(b, &spec, NULL);
    add_check(b, right / b->loss, 0.5,
              "loss with the right teacher rows over that with shuffled ones");
    memcpy(b->v, v, sizeof v);
    memcpy(b->z, z, sizeof z);
}

static int run_checks(bench *b) {
    if (kd_tape_guard(b->tape)) return KD_EINTERNAL;
    check_gradients(b);
    check_equal(b);
    check_square(b);
    check_mask(b);
    check_parts(b);
    check_shuffled(b);
    return KD_OK;
}

int kd_selftest_run(kd_selftest *out, int *count, kd_loss_function loss) {
    bench b = {.function = loss, .out = out};
    int status = kd_tape_create(&b.tape, 1);
    if (status < 0) return status;
    b.tape->training = b.tape->recording = true;
    fill(&b);
    status = run_checks(&b);
    *count = b.count;
    kd_tape_free(b.tape);
    return status;
}
