/* distill/run: several teachers that answer as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "tasks/classify/run.h"

enum { N = 7, SIDE = 4, CLASSES = 5, MEMBERS = 3, NUMBERS = N * CLASSES };

static float x[N * SIDE * SIDE];
static float alone[MEMBERS][NUMBERS]; /* each member's logits */
static kd_ensemble all;

static int setup(void **state) {
    (void)state;
    kd_rng rng = kd_rng_init(5, 1);
    for (int i = 0; i < N * SIDE * SIDE; i++) x[i] = (float)kd_rng_below(&rng, 1000) / 100;
    const kd_model_spec model = {.kind = KD_MODEL_MLP, .hidden_count = 1, .hidden = {6}};
    if (kd_tape_create(&all.tape, 1) != KD_OK) return -1;
    for (; all.count < MEMBERS; all.count++) {
        const kd_learner_spec spec = {.model = &model,
                                      .input = {SIDE, SIDE, 1},
                                      .classes = CLASSES,
                                      .seed = (uint64_t)all.count + 1};
        if (kd_learner_create(&all.member[all.count], &spec) != KD_OK) return -1;
        if (kd_learner_logits(all.member[all.count], KD_RUN_FLOAT, all.tape, N, x,
                              alone[all.count]) != KD_OK)
            return -1;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    kd_ensemble_clear(&all);
    return 0;
}

/* p = softmax(logits / tau) */
static void soften(const float *logits, double tau, double p[CLASSES]) {
    double sum = 0;
    for (int v = 0; v < CLASSES; v++) sum += p[v] = exp((double)logits[v] / tau);
    for (int v = 0; v < CLASSES; v++) p[v] /= sum;
}

static void one_answers_for_itself(void **state) {
    (void)state;
    kd_ensemble one = {.count = 1, .member = {all.member[1]}, .tape = all.tape};
    float logits[NUMBERS];
    assert_int_equal(kd_ensemble_logits(&one, N, x, logits), KD_OK);
    assert_memory_equal(logits, alone[1], sizeof logits);
}

static void the_same_twice_is_itself(void **state) {
    (void)state;
    kd_ensemble twice = {
        .count = 2, .member = {all.member[2], all.member[2]}, .tape = all.tape};
    float logits[NUMBERS];
    assert_int_equal(kd_ensemble_logits(&twice, N, x, logits), KD_OK);
    assert_memory_equal(logits, alone[2], sizeof logits);
}

static void geometric_mean_at_every_temperature(void **state) {
    (void)state;
    float logits[NUMBERS];
    assert_int_equal(kd_ensemble_logits(&all, N, x, logits), KD_OK);
    static const double temperature[] = {0.5, 1, 4, 20};
    for (int t = 0; t < 4; t++) {
        for (int row = 0; row < N; row++) {
            double together[CLASSES], expect[CLASSES] = {1, 1, 1, 1, 1}, sum = 0;
            soften(logits + row * CLASSES, temperature[t], together);
            for (int m = 0; m < MEMBERS; m++) {
                double p[CLASSES];
                soften(alone[m] + row * CLASSES, temperature[t], p);
                for (int v = 0; v < CLASSES; v++) expect[v] *= pow(p[v], 1.0 / MEMBERS);
            }
            for (int v = 0; v < CLASSES; v++) sum += expect[v];
            for (int v = 0; v < CLASSES; v++)
                assert_true(fabs(together[v] - expect[v] / sum) < 1e-5);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_answers_for_itself),
        cmocka_unit_test(the_same_twice_is_itself),
        cmocka_unit_test(geometric_mean_at_every_temperature),
    };
    return cmocka_run_group_tests_name("ensemble", tests, setup, teardown);
}
