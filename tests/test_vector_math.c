/* vector_math.h against libm in double: error in units of the last place, over the whole range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/vector_math.h"

#ifdef KD_DOUBLE
static const double STEP = 1e-3;
#else
static const double STEP = 1e-4;
#endif

static double units(kd_real found, double expected) {
    int exponent;
    frexp(expected, &exponent);
    return fabs((double)found - expected) / ldexp(1, exponent - (sizeof(kd_real) == 4 ? 24 : 53));
}

/* Every STEP between −range and range, and every power of two down to 2^−100. */
static void check(kd_real (*found)(kd_real), double (*expected)(double), double range,
                  double bound) {
    for (double at = -range; at <= range; at += STEP) {
        const kd_real x = (kd_real)at;
        if (!(units(found(x), expected((double)x)) <= bound))
            fail_msg("f(%.9g) = %.9g, not %.9g", (double)x, (double)found(x), expected((double)x));
    }
    for (int e = 0; e < 100; e++) {
        const kd_real x = (kd_real)ldexp(1, -e);
        assert_true(units(found(x), expected((double)x)) <= bound);
        assert_true(units(found(-x), expected(-(double)x)) <= bound);
    }
}

static kd_real vexp(kd_real x) {
    return kd_vexp(x);
}
static kd_real vtanh(kd_real x) {
    return kd_vtanh(x);
}
static kd_real verf(kd_real x) {
    return kd_verf(x);
}
static kd_real vsigmoid(kd_real x) {
    return kd_vsigmoid(x);
}
static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static void test_exp(void **state) {
    (void)state;
    check(vexp, exp, 87, 1.5);
}

static void test_tanh(void **state) {
    (void)state;
    check(vtanh, tanh, 12, 2);
}

static void test_erf(void **state) {
    (void)state;
    check(verf, erf, 6, 2);
}

static void test_sigmoid(void **state) {
    (void)state;
    check(vsigmoid, sigmoid, 80, 3);
}

/* Over the normal numbers, and close around 1, where it is exactly 0. */
static void test_log(void **state) {
    (void)state;
    for (double at = -87; at <= 87; at += 10 * STEP) {
        const kd_real x = (kd_real)exp(at), near = (kd_real)(1 + at / 1e4);
        assert_true(units(kd_vlog(x), log((double)x)) <= 2);
        if (near != 1) assert_true(units(kd_vlog(near), log((double)near)) <= 2);
    }
    assert_true(kd_vlog(1) == 0);
}

static void test_ends(void **state) {
    (void)state;
    const kd_real inf = (kd_real)INFINITY, nan = (kd_real)NAN;
    assert_true(kd_vexp(0) == 1 && kd_vexp(-inf) == 0 && kd_vexp(inf) == inf);
    assert_true(isnan((double)kd_vexp(nan)) && isnan((double)kd_vtanh(nan)) &&
                isnan((double)kd_verf(nan)));
    assert_true(kd_vtanh(inf) == 1 && kd_vtanh(-inf) == -1 && kd_vtanh(0) == 0);
    assert_true(kd_verf(inf) == 1 && kd_verf(-inf) == -1 && kd_verf(0) == 0);
    assert_true(kd_vsigmoid(inf) == 1 && kd_vsigmoid(-inf) == 0);
}

/* In a vectorised loop and alone: the same bits. */
static void test_vector_and_scalar_agree(void **state) {
    (void)state;
    enum { SIZE = 1003 };
    static kd_real x[SIZE], y[SIZE];
    for (int i = 0; i < SIZE; i++) x[i] = (kd_real)(i - SIZE / 2) * KD_REAL(0.171);
#pragma omp simd
    for (int i = 0; i < SIZE; i++) y[i] = kd_vexp(x[i]) + kd_vtanh(x[i]) + kd_verf(x[i]);
    for (int i = 0; i < SIZE; i++) {
        const kd_real alone = vexp(x[i]) + vtanh(x[i]) + verf(x[i]);
        assert_memory_equal(&y[i], &alone, sizeof alone);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),  cmocka_unit_test(test_tanh),
        cmocka_unit_test(test_erf),  cmocka_unit_test(test_sigmoid), cmocka_unit_test(test_log),
        cmocka_unit_test(test_ends), cmocka_unit_test(test_vector_and_scalar_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
