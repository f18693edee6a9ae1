/* What the distillation loss must do beyond having the right gradient (which test_ops.c checks). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "distill/loss.h"

enum { N = 12, V = 33, SIZE = N * V };
static const double TIGHT = sizeof(kd_real) == 4 ? 2e-5 : 1e-12;

typedef struct {
    kd_real z[SIZE], v[SIZE], grad[SIZE];
    int32_t label[N];
    uint8_t valid[N];
    kd_loss_parts parts;
    double loss;
} scene;

static void fill(kd_real *x, uint64_t stream, double spread) {
    kd_rng rng = kd_rng_init(7, stream);
    for (int i = 0; i < SIZE; i++) x[i] = (kd_real)(spread * kd_rng_normal(&rng));
}

static scene make_scene(void) {
    scene s = {.loss = 0};
    fill(s.z, 1, 2);
    fill(s.v, 2, 2);
    for (int i = 0; i < N; i++) {
        s.label[i] = (i * 5) % V;
        s.valid[i] = 1;
    }
    return s;
}

static kd_loss_spec make_spec(double hard, double kl, double temperature) {
    return (kd_loss_spec){.hard_weight = (kd_real)hard,
                          .kl_weight = (kd_real)kl,
                          .temperature = (kd_real)temperature,
                          .normalizer = N};
}

/* Rows begin … end−1 through the op; the gradient, the loss and the parts are added to the scene.
 */
static void run_rows(scene *s, kd_loss_spec spec, const kd_soft_targets *soft, int begin, int end) {
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    kd_tensor *z = kd_tape_input(tape, 2, (int64_t[]){end - begin, V});
    memcpy(z->value, s->z + begin * V, (size_t)z->size * sizeof *z->value);
    z->needs_grad = true;
    kd_soft_targets rows = {0};
    if (soft && soft->logits)
        rows.logits = soft->logits + begin * V;
    else if (soft)
        rows = (kd_soft_targets){.k = soft->k,
                                 .index = soft->index + begin * soft->k,
                                 .kept = soft->kept + begin * soft->k,
                                 .tail = soft->tail + begin};
    kd_tensor *loss = kd_distill_loss(tape, z, s->label + begin, s->valid + begin,
                                      soft ? &rows : NULL, spec, &s->parts);
    kd_tape_backward(tape, loss);
    memcpy(s->grad + begin * V, z->grad, (size_t)z->size * sizeof *z->grad);
    s->loss += (double)loss->value[0];
    kd_tape_free(tape);
}

static void run_all(scene *s, kd_loss_spec spec) {
    kd_soft_targets soft = {.logits = s->v};
    run_rows(s, spec, spec.kl_weight != 0 ? &soft : NULL, 0, N);
}

static double largest(const kd_real *x) {
    double max = 0;
    for (int i = 0; i < SIZE; i++)
        if (fabs((double)x[i]) > max) max = fabs((double)x[i]);
    return max;
}

static void assert_close(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance)) fail_msg("%.12g, not %.12g", found, expected);
}

/* --- properties ------------------------------------------------------------------------------ */

static void test_same_logits_give_zero(void **state) {
    (void)state;
    scene s = make_scene();
    memcpy(s.z, s.v, sizeof s.z);
    run_all(&s, make_spec(0, 1, 3));
    assert_true(s.loss == 0);
    assert_true(s.parts.kl == 0);
    assert_true(largest(s.grad) == 0);
}

/* A shift of every logit of a row changes nothing either. */
static void test_shifted_logits_give_zero(void **state) {
    (void)state;
    scene s = make_scene();
    for (int i = 0; i < SIZE; i++) s.z[i] = s.v[i] + 5;
    run_all(&s, make_spec(0, 1, 3));
    assert_close(s.loss, 0, TIGHT);
    assert_close(largest(s.grad), 0, TIGHT);
}

/* At τ with logits τ·z and τ·v the softmaxes are those of τ = 1: the loss is τ² times as large, the
 * gradient τ times. */
static void test_temperature_squared(void **state) {
    (void)state;
    scene one = make_scene(), four = make_scene();
    for (int i = 0; i < SIZE; i++) {
        four.z[i] *= 4;
        four.v[i] *= 4;
    }
    run_all(&one, make_spec(0, 1, 1));
    run_all(&four, make_spec(0, 1, 4));
    assert_true(one.loss > 0.1);
    assert_close(four.loss, 16 * one.loss, 16 * one.loss * TIGHT);
    for (int i = 0; i < SIZE; i++)
        assert_close((double)four.grad[i], 4 * (double)one.grad[i], 4 * TIGHT);
}

/* τ → ∞: N·∂L/∂z → (z − mean z − v + mean v)/V */
static void test_high_temperature_matches_logits(void **state) {
    (void)state;
    scene s = make_scene();
    run_all(&s, make_spec(0, 1, 1000));
    for (int i = 0; i < N; i++) {
        double mean = 0;
        for (int c = 0; c < V; c++) mean += (double)(s.z[i * V + c] - s.v[i * V + c]) / V;
        for (int c = 0; c < V; c++) {
            double expected = ((double)(s.z[i * V + c] - s.v[i * V + c]) - mean) / V;
            assert_close(N * (double)s.grad[i * V + c], expected, 2e-3);
        }
    }
}

static void test_masked_rows_count_for_nothing(void **state) {
    (void)state;
    scene s = make_scene(), kept = make_scene();
    for (int i = 0; i < N; i++) s.valid[i] = i % 3 != 0;
    for (int c = 0; c < V; c++) s.z[c] = (kd_real)NAN, s.v[c] = (kd_real)INFINITY;
    s.label[0] = -100;
    run_all(&s, make_spec(0.5, 1, 2));
    run_all(&kept, make_spec(0.5, 1, 2));
    for (int i = 0; i < SIZE; i++) {
        kd_real expected = s.valid[i / V] ? kept.grad[i] : 0;
        assert_memory_equal(&s.grad[i], &expected, sizeof expected);
    }
    assert_true(isfinite(s.loss));
    assert_true(s.parts.rows == N - N / 3);
}

static void test_all_rows_masked(void **state) {
    (void)state;
    scene s = make_scene();
    memset(s.valid, 0, sizeof s.valid);
    run_all(&s, make_spec(0.5, 1, 2));
    assert_true(s.loss == 0 && s.parts.rows == 0 && largest(s.grad) == 0);
}

/* With masked rows, so that the parts have different numbers of valid rows. */
static void test_accumulation_changes_nothing(void **state) {
    (void)state;
    scene whole = make_scene();
    for (int i = 0; i < 5; i++) whole.valid[i] = 0;
    const scene start = whole;
    kd_loss_spec spec = make_spec(0.8, 1, 2);
    spec.normalizer = N - 5;
    run_all(&whole, spec);
    for (int parts = 2; parts <= 4; parts *= 2) {
        scene s = start;
        kd_soft_targets soft = {.logits = s.v};
        for (int p = 0; p < parts; p++)
            run_rows(&s, spec, &soft, p * N / parts, (p + 1) * N / parts);
        assert_memory_equal(s.grad, whole.grad, sizeof s.grad);
        assert_close(s.loss, whole.loss, TIGHT);
        assert_close(s.parts.kl, whole.parts.kl, 1e-9);
        assert_true(s.parts.rows == whole.parts.rows);
    }
}

static void test_shuffled_teacher_raises_the_loss(void **state) {
    (void)state;
    scene s = make_scene(), shuffled;
    fill(s.z, 3, 0.3);
    for (int i = 0; i < SIZE; i++) s.z[i] += s.v[i]; /* a student near its teacher */
    shuffled = s;
    memcpy(shuffled.v, s.v + V, sizeof s.v - V * sizeof *s.v);
    memcpy(shuffled.v + SIZE - V, s.v, V * sizeof *s.v);
    run_all(&s, make_spec(0, 1, 2));
    run_all(&shuffled, make_spec(0, 1, 2));
    assert_true(shuffled.loss > 5 * s.loss);
}

/* --- the k largest and a tail ---------------------------------------------------------------- */

typedef struct {
    int32_t index[SIZE];
    kd_real kept[SIZE], tail[N];
} topk;

static kd_soft_targets make_topk(topk *t, const kd_real *v, int k, double temperature) {
    for (int i = 0; i < N; i++) {
        double dropped = 0;
        for (int c = 0, n = 0; c < V; c++) {
            int larger = 0;
            for (int o = 0; o < V; o++) larger += v[i * V + o] > v[i * V + c];
            if (larger < k) {
                t->index[i * k + n] = c;
                t->kept[i * k + n++] = v[i * V + c];
            } else {
                dropped += exp((double)v[i * V + c] / temperature);
            }
        }
        t->tail[i] = (kd_real)log(dropped);
    }
    return (kd_soft_targets){.k = k, .index = t->index, .kept = t->kept, .tail = t->tail};
}

static void test_all_classes_kept_is_dense(void **state) {
    (void)state;
    scene dense = make_scene(), s = make_scene();
    static topk t;
    kd_soft_targets soft = make_topk(&t, s.v, V, 2);
    assert_true(isinf((double)t.tail[0]));
    run_all(&dense, make_spec(0.4, 1, 2));
    run_rows(&s, make_spec(0.4, 1, 2), &soft, 0, N);
    assert_close(s.loss, dense.loss, TIGHT);
    for (int i = 0; i < SIZE; i++) assert_close((double)s.grad[i], (double)dense.grad[i], TIGHT);
}

/* The bucket merges classes, so it can only lose divergence; more kept classes lose less. */
static void test_tail_bounds_the_dense_loss(void **state) {
    (void)state;
    scene dense = make_scene();
    double before = 0;
    run_all(&dense, make_spec(0, 1, 2));
    for (int k = 1; k <= V; k *= 2) {
        static topk t;
        scene s = make_scene();
        kd_soft_targets soft = make_topk(&t, s.v, k, 2);
        run_rows(&s, make_spec(0, 1, 2), &soft, 0, N);
        assert_true(s.loss > before && s.loss < dense.loss + TIGHT);
        before = s.loss;
    }
    assert_true(before > 0.9 * dense.loss);
}

static void test_topk_of_equal_student_is_zero(void **state) {
    (void)state;
    static topk t;
    scene s = make_scene();
    memcpy(s.z, s.v, sizeof s.z);
    kd_soft_targets soft = make_topk(&t, s.v, 4, 2);
    run_rows(&s, make_spec(0, 1, 2), &soft, 0, N);
    assert_close(s.loss, 0, TIGHT);
    assert_close(largest(s.grad), 0, TIGHT);
}

/* A confident student whose dropped classes underflow: large, but a number. */
static void test_vanishing_tail_stays_finite(void **state) {
    (void)state;
    static topk t;
    scene s = make_scene();
    kd_soft_targets soft = make_topk(&t, s.v, 1, 1);
    for (int i = 0; i < N; i++) s.z[i * V + t.index[i]] = 500;
    run_rows(&s, make_spec(0, 1, 1), &soft, 0, N);
    assert_true(isfinite(s.loss) && s.loss > 1);
    assert_true(isfinite(largest(s.grad)));
}

/* --- the hard part --------------------------------------------------------------------------- */

/* CE of uniform logits is log V, whatever the smoothing; parts are before weighting. */
static void test_uniform_student(void **state) {
    (void)state;
    scene s = make_scene();
    memset(s.z, 0, sizeof s.z);
    kd_loss_spec spec = make_spec(0.25, 0, 1);
    spec.label_smoothing = KD_REAL(0.1);
    run_all(&s, spec);
    assert_close(s.parts.hard, N * log(V), 1e-4);
    assert_close(s.loss, 0.25 * log(V), TIGHT);
    double sum = 0;
    for (int c = 0; c < V; c++) sum += (double)s.grad[c];
    assert_close(sum, 0, TIGHT);
}

/* Smoothing is the mean over both targets: L_ε = (1−ε)·L_0 + ε·L_uniform. */
static void test_smoothing_mixes_targets(void **state) {
    (void)state;
    scene plain = make_scene(), smooth = make_scene();
    double uniform = 0;
    for (int i = 0; i < N; i++) {
        double sum = 0, mean = 0;
        for (int c = 0; c < V; c++) {
            sum += exp((double)plain.z[i * V + c]);
            mean += (double)plain.z[i * V + c] / V;
        }
        uniform += (log(sum) - mean) / N;
    }
    kd_loss_spec spec = make_spec(1, 0, 1);
    run_all(&plain, spec);
    spec.label_smoothing = KD_REAL(0.3);
    run_all(&smooth, spec);
    assert_close(smooth.loss, 0.7 * plain.loss + 0.3 * uniform, 10 * TIGHT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_logits_give_zero),
        cmocka_unit_test(test_shifted_logits_give_zero),
        cmocka_unit_test(test_temperature_squared),
        cmocka_unit_test(test_high_temperature_matches_logits),
        cmocka_unit_test(test_masked_rows_count_for_nothing),
        cmocka_unit_test(test_all_rows_masked),
        cmocka_unit_test(test_accumulation_changes_nothing),
        cmocka_unit_test(test_shuffled_teacher_raises_the_loss),
        cmocka_unit_test(test_all_classes_kept_is_dense),
        cmocka_unit_test(test_tail_bounds_the_dense_loss),
        cmocka_unit_test(test_topk_of_equal_student_is_zero),
        cmocka_unit_test(test_vanishing_tail_stays_finite),
        cmocka_unit_test(test_uniform_student),
        cmocka_unit_test(test_smoothing_mixes_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
