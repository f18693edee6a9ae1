/* distill/class_bias: the shift that is best for held-out samples, against trying every one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "tasks/classify/class_bias.h"

enum { N = 400, CLASSES = 6 };

static float logits[N * CLASSES];
static int32_t label[N];

/* The right class is usually the largest, but those of labels 1 and 4 are too low by `sunk`. */
static void make_answers(uint64_t seed, double sunk) {
    kd_rng rng = kd_rng_init(seed, 1);
    for (int i = 0; i < N; i++) {
        label[i] = (int32_t)kd_rng_below(&rng, CLASSES);
        for (int v = 0; v < CLASSES; v++) {
            double z = (double)kd_rng_below(&rng, 4000) / 1000 + 2 * (v == label[i]);
            logits[i * CLASSES + v] = (float)(z - (v == 1 || v == 4 ? sunk : 0));
        }
    }
}

static int right_answers(const kd_class_bias *bias, double shift) {
    float row[CLASSES];
    int right = 0;
    kd_class_bias with = *bias;
    with.shift = shift;
    for (int i = 0; i < N; i++) {
        memcpy(row, logits + i * CLASSES, sizeof row);
        kd_class_bias_add(&with, 1, CLASSES, row);
        int best = 0;
        for (int v = 1; v < CLASSES; v++)
            if (row[v] > row[best]) best = v;
        right += best == label[i];
    }
    return right;
}

static void the_best_shift_is_found(void **state) {
    (void)state;
    static const double sunk[] = {5, -4, 0};
    for (uint64_t seed = 0; seed < 9; seed++) {
        make_answers(seed, sunk[seed % 3]);
        kd_class_bias bias = {.count = 2, .label = {1, 4}};
        assert_int_equal(kd_class_bias_choose(&bias, N, CLASSES, logits, label), KD_OK);
        int right = right_answers(&bias, bias.shift);
        for (double shift = -12; shift <= 12; shift += 0.003)
            assert_true(right_answers(&bias, shift) <= right);
        assert_true(fabs(bias.shift - sunk[seed % 3]) < 1.2);
    }
}

static void a_shift_moves_only_its_classes(void **state) {
    (void)state;
    float row[2 * 3] = {1, 2, 3, 4, 5, 6};
    kd_class_bias bias = {.count = 2, .label = {2, 0}, .shift = -1.5};
    kd_class_bias_add(&bias, 2, 3, row);
    static const float expect[] = {-0.5f, 2, 1.5f, 2.5f, 5, 4.5f};
    assert_memory_equal(row, expect, sizeof row);
}

static void nothing_to_gain_is_zero(void **state) {
    (void)state;
    static const float certain[] = {9, 0, 0, 0, 9, 0, 0, 0, 9};
    static const int32_t own[] = {0, 1, 2}, other[] = {1, 0, 1};
    kd_class_bias bias = {.count = 1, .label = {2}, .shift = 7};
    assert_int_equal(kd_class_bias_choose(&bias, 3, 3, certain, own), KD_OK);
    assert_true(bias.shift == 0);
    /* Of the last sample, class 2 is wrong and so is class 0: no shift changes the count. */
    static const float last[] = {1, 0, 0};
    assert_int_equal(kd_class_bias_choose(&bias, 1, 3, last, other), KD_OK);
    assert_true(bias.shift == 0);
}

/* Where the highest step has no end, half a unit beyond its one. */
static void an_endless_step_is_left_nearby(void **state) {
    (void)state;
    static const float rows[] = {4, 0, 0, 3, 0, 0};
    static const int32_t always[] = {2, 2}, never[] = {0, 0};
    kd_class_bias bias = {.count = 1, .label = {2}};
    assert_int_equal(kd_class_bias_choose(&bias, 2, 3, rows, always), KD_OK);
    assert_true(bias.shift == 4.5);
    static const float low[] = {0, 0, 4, 0, 0, 3};
    assert_int_equal(kd_class_bias_choose(&bias, 2, 3, low, never), KD_OK);
    assert_true(bias.shift == -4.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_best_shift_is_found),
                                       cmocka_unit_test(a_shift_moves_only_its_classes),
                                       cmocka_unit_test(nothing_to_gain_is_zero),
                                       cmocka_unit_test(an_endless_step_is_left_nearby)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
