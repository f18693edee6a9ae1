/* distill/evaluate: what is counted, against counting by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "asserts.h"
#include "distill/checkpoint.h"
#include "tasks/classify/evaluate.h"
#include "tiny.h"

enum { COUNT = 230, SIZE = TINY_SIDE * TINY_SIDE, K = TINY_CLASSES };

/* Two whole batches of a hundred and a rest. */
typedef struct {
    int calls;
    int64_t n[8];
} calls;

/* Logits that depend on a sample's pixels: some right, some wrong, some ties. */
static void logits_of(const float *x, float *out) {
    for (int v = 0; v < K; v++) out[v] = roundf(8 * x[7 * v + 3]) / 2;
}

static int run(void *context, int64_t n, const float *x, float *logits) {
    calls *c = context;
    c->n[c->calls++] = n;
    for (int64_t i = 0; i < n; i++) logits_of(x + i * SIZE, logits + i * K);
    return KD_OK;
}

static void samples_are_counted_by_class(void **state) {
    (void)state;
    kd_dataset d;
    tiny_dataset(&d, COUNT);
    static float x[SIZE], expected[COUNT * K], logits[COUNT * K];
    int64_t samples[K] = {0}, correct[K] = {0}, ties = 0, right = 0;
    double loss = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        float *z = expected + i * K;
        double sum = 0;
        int best = K - 1;
        kd_dataset_sample(&d, i, x);
        logits_of(x, z);
        for (int v = K - 1; v >= 0; v--) { /* the first of equals */
            ties += v < K - 1 && z[v] == z[best];
            if (z[v] >= z[best]) best = v;
            sum += exp((double)z[v]);
        }
        samples[d.label[i]]++;
        correct[d.label[i]] += best == d.label[i];
        right += best == d.label[i];
        loss += log(sum) - (double)z[d.label[i]];
    }
    assert_true(ties > 5 && right > 5 && right < COUNT - 5);
    for (int way = 0; way < 2; way++) {
        kd_result r;
        calls c = {0};
        if (way == 0)
            assert_ok(kd_evaluate_with(&r, run, &c, &d, logits));
        else
            assert_ok(kd_evaluate_logits(&r, &d, logits));
        assert_int_equal(r.samples, COUNT);
        assert_int_equal(r.correct, right);
        assert_true(fabs(r.loss - loss / COUNT) < 1e-6);
        assert_true(fabs(kd_result_accuracy(&r) - (double)right / COUNT) < 1e-12);
        assert_int_equal(r.classes, K);
        assert_memory_equal(r.class_samples, samples, sizeof samples);
        assert_memory_equal(r.class_correct, correct, sizeof correct);
        assert_memory_equal(logits, expected, sizeof logits);
        assert_true(r.largest_difference == -1 && r.disagreements == -1);
        if (way == 0) {
            /* the first batch twice: once to warm up */
            assert_true(c.calls == 4 && c.n[0] == 100 && c.n[1] == 100);
            assert_true(c.n[2] == 100 && c.n[3] == 30);
            assert_true(r.ms_per_sample > 0 && r.ms_per_sample < 100);
        }
        kd_result_free_counts(&r);
    }
    kd_result none = {0};
    assert_true(kd_result_accuracy(&none) == 0);
    tiny_dataset_clear(&d);
}

static int fail_at_once(void *context, int64_t n, const float *x, float *logits) {
    (void)n, (void)x, (void)logits;
    return kd_fail(KD_EIO, "no %s", (const char *)context);
}

static void failures_are_passed_on(void **state) {
    (void)state;
    kd_dataset d;
    kd_result r;
    tiny_dataset(&d, 10);
    assert_refused(kd_evaluate_with(&r, fail_at_once, (char[]){"answer"}, &d, NULL), KD_EIO,
                   "no answer");
    tiny_dataset_clear(&d);
}

/* Evaluation looks: no dropout, no statistics moved, the tape as it was. */
static void evaluating_changes_nothing(void **state) {
    (void)state;
    kd_dataset d;
    kd_tape *tape;
    kd_hash before, after;
    kd_result r;
    static float first[COUNT * K], second[COUNT * K], alone[K], x[SIZE];
    const kd_model_spec model = tiny_cnn();
    kd_learner *learner = tiny_learner(&model, 7);
    tiny_dataset(&d, COUNT);
    assert_non_null(learner);
    assert_ok(kd_tape_create(&tape, 1));
    tape->training = true;
    assert_ok(kd_params_hash(&before, learner->params));
    assert_ok(kd_evaluate(&r, learner, KD_RUN_FLOAT, tape, &d, first));
    assert_true(tape->training && tape->recording);
    assert_int_equal(r.bytes, r.parameters * (int64_t)sizeof(float));
    assert_true(r.memory > r.bytes && r.parameters > 0);
    kd_result_free_counts(&r);
    assert_ok(kd_evaluate(&r, learner, KD_RUN_FLOAT, tape, &d, second));
    kd_result_free_counts(&r);
    assert_memory_equal(first, second, sizeof first);
    assert_ok(kd_params_hash(&after, learner->params));
    assert_string_equal(before.hex, after.hex);
    kd_dataset_sample(&d, COUNT - 1, x);
    assert_ok(kd_learner_logits(learner, KD_RUN_FLOAT, tape, 1, x, alone));
    for (int v = 0; v < K; v++)
        assert_true(fabs((double)(alone[v] - first[(COUNT - 1) * K + v])) < 1e-4);
    kd_tape_free(tape);
    kd_learner_free(learner);
    tiny_dataset_clear(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples_are_counted_by_class),
                                       cmocka_unit_test(failures_are_passed_on),
                                       cmocka_unit_test(evaluating_changes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
