/* What divergences, decoupled and standardized losses must be, beyond having the right gradient (which
 * test_ops.c checks): values by the definitions in double, 0 for a student equal to its teacher, finite
 * far out, the same over a vocabulary as over logits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "distill/loss.h"

enum { N = 6, V = 1037, SIZE = N * V };
static const double TIGHT = sizeof(kd_real) == 4 ? 3e-5 : 1e-11;

static const kd_divergence DIVERGENCES[] = {
    {KD_FORWARD_KL, 0},
    {KD_REVERSE_KL, 0},
    {KD_SYMMETRIC_KL, 0},
    {KD_JENSEN_SHANNON, KD_REAL(0.5)},
    {KD_JENSEN_SHANNON, KD_REAL(0.1)},
    {KD_SKEWED_KL, KD_REAL(0.1)},
    {KD_SKEWED_REVERSE_KL, KD_REAL(0.1)},
    {KD_TOTAL_VARIATION, 0},
};
enum { DIVERGENCE_COUNT = (int)(sizeof DIVERGENCES / sizeof *DIVERGENCES) };

static void fill(kd_real *x, uint64_t stream, double spread, int64_t size) {
    kd_rng rng = kd_rng_init(11, stream);
    for (int64_t i = 0; i < size; i++) x[i] = (kd_real)(spread * kd_rng_normal(&rng));
}

/* Σ over a row of the definitions, p and q of the larger exponents taken out. */
static double by_definition(const kd_divergence *d, const kd_real *v, const kd_real *z, double tau) {
    static double p[V], q[V];
    double sum_p = 0, sum_q = 0, max_v = -1e30, max_z = -1e30, value = 0;
    const double s = (double)d->skew;
    for (int c = 0; c < V; c++) {
        max_v = fmax(max_v, (double)v[c]);
        max_z = fmax(max_z, (double)z[c]);
    }
    for (int c = 0; c < V; c++) {
        sum_p += p[c] = exp(((double)v[c] - max_v) / tau);
        sum_q += q[c] = exp(((double)z[c] - max_z) / tau);
    }
    for (int c = 0; c < V; c++) {
        const double a = p[c] / sum_p, b = q[c] / sum_q;
        switch (d->kind) {
            case KD_FORWARD_KL: value += a * log(a / b); break;
            case KD_REVERSE_KL: value += b * log(b / a); break;
            case KD_SYMMETRIC_KL: value += (a * log(a / b) + b * log(b / a)) / 2; break;
            case KD_JENSEN_SHANNON:
                value += s * a * log(a / (s * a + (1 - s) * b)) +
                         (1 - s) * b * log(b / (s * a + (1 - s) * b));
                break;
            case KD_SKEWED_KL: value += a * log(a / (s * a + (1 - s) * b)); break;
            case KD_SKEWED_REVERSE_KL: value += b * log(b / (s * b + (1 - s) * a)); break;
            case KD_TOTAL_VARIATION: value += fabs(a - b) / 2; break;
        }
    }
    return value;
}

/* The loss of N rows, its gradient in grad (SIZE). */
static double loss_of(const kd_real *z, const kd_real *v, kd_loss_spec spec, const int32_t *label,
                      kd_real *grad) {
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    kd_tensor *x = kd_tape_input(tape, 2, (int64_t[]){N, V});
    memcpy(x->value, z, SIZE * sizeof *z);
    x->needs_grad = true;
    const kd_soft_targets soft = {.logits = v};
    kd_tensor *loss = kd_distill_loss(tape, x, label, NULL, &soft, spec, NULL);
    kd_tape_backward(tape, loss);
    memcpy(grad, x->grad, SIZE * sizeof *grad);
    const double value = (double)loss->value[0];
    kd_tape_free(tape);
    return value;
}

static kd_loss_spec spec_of(kd_divergence d, double tau) {
    return (kd_loss_spec){
        .kl_weight = 1, .temperature = (kd_real)tau, .normalizer = N, .divergence = d};
}

static void values_are_the_definitions(void **state) {
    (void)state;
    static kd_real z[SIZE], v[SIZE], grad[SIZE];
    fill(z, 1, 2, SIZE);
    fill(v, 2, 2, SIZE);
    for (int i = 0; i < DIVERGENCE_COUNT; i++)
        for (double tau = 0.5; tau <= 8; tau *= 4) {
            double expected = 0;
            for (int r = 0; r < N; r++)
                expected += tau * tau * by_definition(&DIVERGENCES[i], v + r * V, z + r * V, tau) / N;
            const double found = loss_of(z, v, spec_of(DIVERGENCES[i], tau), NULL, grad);
            if (!(fabs(found - expected) <= TIGHT * (1 + expected)))
                fail_msg("divergence %d at %g: %.9g, not %.9g", i, tau, found, expected);
        }
}

static void an_equal_student_has_nothing_to_learn(void **state) {
    (void)state;
    static kd_real v[SIZE], grad[SIZE];
    static const int32_t label[N] = {0, 1, 2, 3, 4, 5};
    fill(v, 3, 4, SIZE);
    for (int i = 0; i < DIVERGENCE_COUNT; i++)
        for (int standard = 0; standard < 2; standard++) {
            kd_loss_spec spec = spec_of(DIVERGENCES[i], 2);
            spec.standardize = standard;
            assert_true(loss_of(v, v, spec, NULL, grad) == 0);
            for (int c = 0; c < SIZE; c++) assert_true(grad[c] == 0);
        }
    kd_loss_spec spec = spec_of((kd_divergence){0}, 2);
    spec.decoupled = 8;
    assert_true(loss_of(v, v, spec, label, grad) == 0);
}

/* Two networks that are sure of different classes: e^±100 are no numbers of a float. */
static void far_apart_is_finite(void **state) {
    (void)state;
    static kd_real z[SIZE], v[SIZE], grad[SIZE];
    static const int32_t label[N] = {7, 8, 9, 7, 8, 9};
    fill(z, 4, 300, SIZE);
    fill(v, 5, 300, SIZE);
    for (int i = 0; i <= DIVERGENCE_COUNT; i++) {
        kd_loss_spec spec = spec_of(DIVERGENCES[i % DIVERGENCE_COUNT], 1);
        if (i == DIVERGENCE_COUNT) spec.decoupled = 8;
        const double value = loss_of(z, v, spec, label, grad);
        assert_true(isfinite(value) && value > 0);
        for (int c = 0; c < SIZE; c++) assert_true(isfinite((double)grad[c]));
    }
}

/* KL(p ‖ q) is the decoupled loss with β = 1 − p_y, row by row. */
static void decoupled_is_what_kl_is_made_of(void **state) {
    (void)state;
    static kd_real z[SIZE], v[SIZE], plain[SIZE], decoupled[SIZE];
    static int32_t label[N];
    fill(z, 6, 1, V);
    fill(v, 7, 1, V);
    for (int r = 0; r < N; r++) { /* the same row, of another label each time */
        memcpy(z + r * V, z, V * sizeof *z);
        memcpy(v + r * V, v, V * sizeof *v);
        label[r] = 101 * r;
    }
    const kd_loss_spec spec = spec_of((kd_divergence){0}, 3);
    loss_of(z, v, spec, label, plain);
    for (int r = 0; r < N; r++) {
        double sum = 0;
        for (int c = 0; c < V; c++) sum += exp((double)v[c] / 3);
        kd_loss_spec parts = spec;
        parts.decoupled = (kd_real)(1 - exp((double)v[label[r]] / 3) / sum);
        loss_of(z, v, parts, label, decoupled);
        for (int c = 0; c < V; c++)
            assert_true(fabs((double)(plain[r * V + c] - decoupled[r * V + c])) < TIGHT * 1e-2);
    }
}

static void a_standardized_student_may_have_any_scale(void **state) {
    (void)state;
    static kd_real z[SIZE], v[SIZE], scaled[SIZE], grad[SIZE];
    fill(z, 8, 1, SIZE);
    fill(v, 9, 1, SIZE);
    for (int i = 0; i < SIZE; i++) scaled[i] = 5 * z[i] - 3;
    kd_loss_spec spec = spec_of((kd_divergence){0}, 2);
    const double apart = loss_of(scaled, v, spec, NULL, grad);
    spec.standardize = true;
    const double value = loss_of(z, v, spec, NULL, grad);
    assert_true(fabs(loss_of(scaled, v, spec, NULL, grad) - value) < TIGHT * (1 + value));
    assert_true(apart > 2 * value);
    memset(z, 0, sizeof z); /* a row of equals has no direction */
    assert_true(isfinite(loss_of(z, v, spec, NULL, grad)));
    for (int c = 0; c < SIZE; c++) assert_true(grad[c] == 0);
}

/* z = h·Eᵀ and v = h_t·E_tᵀ: the vocabulary's loss never has them, and gives what the dense one does. */
static void a_vocabulary_gives_the_same(void **state) {
    (void)state;
    enum { C = 5 };
    static kd_real h[N * C], hidden[N * C], E[V * C], output[V * C], z[SIZE], v[SIZE], grad[SIZE];
    fill(h, 10, 1, N * C);
    fill(hidden, 11, 1, N * C);
    fill(E, 12, 1, V * C);
    fill(output, 13, 1, V * C);
    for (int r = 0; r < N; r++)
        for (int c = 0; c < V; c++) {
            double a = 0, b = 0;
            for (int k = 0; k < C; k++) {
                a += (double)h[r * C + k] * (double)E[c * C + k];
                b += (double)hidden[r * C + k] * (double)output[c * C + k];
            }
            z[r * V + c] = (kd_real)a;
            v[r * V + c] = (kd_real)b;
        }
    const kd_soft_targets soft = {.hidden = hidden, .output = output, .width = C};
    for (int i = 0; i < 2 * DIVERGENCE_COUNT; i++) { /* with and without gradients */
        const kd_loss_spec spec = spec_of(DIVERGENCES[i / 2], 2);
        const double dense = loss_of(z, v, spec, NULL, grad);
        kd_tape *tape;
        assert_int_equal(kd_tape_create(&tape, 1), 0);
        tape->recording = i % 2 == 0;
        kd_tensor *x = kd_tape_input(tape, 2, (int64_t[]){N, C});
        kd_tensor *table = kd_tape_input(tape, 2, (int64_t[]){V, C});
        memcpy(x->value, h, sizeof h);
        memcpy(table->value, E, sizeof E);
        x->needs_grad = i % 2 == 0;
        kd_tensor *loss = kd_vocab_loss(tape, x, table, NULL, NULL, &soft, spec, NULL);
        if (!(fabs((double)loss->value[0] - dense) < TIGHT * (1 + dense)))
            fail_msg("divergence %d: %.9g, not %.9g", i / 2, (double)loss->value[0], dense);
        kd_tape_free(tape);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_the_definitions),
        cmocka_unit_test(an_equal_student_has_nothing_to_learn),
        cmocka_unit_test(far_apart_is_finite),
        cmocka_unit_test(decoupled_is_what_kl_is_made_of),
        cmocka_unit_test(a_standardized_student_may_have_any_scale),
        cmocka_unit_test(a_vocabulary_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
