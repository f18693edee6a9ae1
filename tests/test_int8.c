/* Integer arithmetic: gemmlowp's rounding bit for bit, multipliers, and the product kernels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "quant/blob.h"
#include "quant/grid.h"
#include "quant/int8_kernel.h"

/* gemmlowp_reference.cc; not there when libgemmlowp-dev or a C++ compiler is missing. */
#define OPTIONAL __attribute__((weak))
OPTIONAL int32_t gemmlowp_high_mul(int32_t a, int32_t b);
OPTIONAL int32_t gemmlowp_rounding_shift(int32_t x, int n);
OPTIONAL int32_t gemmlowp_left_shift(int32_t x, int n);

static const int32_t EDGES[] = {INT32_MIN,
                                INT32_MIN + 1,
                                -(1 << 30) - 1,
                                -(1 << 30),
                                -(1 << 30) + 1,
                                -65536,
                                -32769,
                                -257,
                                -3,
                                -2,
                                -1,
                                0,
                                1,
                                2,
                                3,
                                255,
                                32767,
                                65536,
                                (1 << 30) - 1,
                                1 << 30,
                                (1 << 30) + 1,
                                INT32_MAX - 1,
                                INT32_MAX};
enum { EDGE_COUNT = sizeof EDGES / sizeof *EDGES, MILLIONS = 3000000 };

static void check_pair(int32_t a, int32_t b, int n) {
    const int32_t factor = b < 0 ? ~b : b; /* multipliers are never negative */
    if (kd_rounding_high_mul(a, factor) != gemmlowp_high_mul(a, factor))
        fail_msg("high_mul(%d, %d): %d, gemmlowp %d", a, factor, kd_rounding_high_mul(a, factor),
                 gemmlowp_high_mul(a, factor));
    if (kd_rounding_shift(a, n) != gemmlowp_rounding_shift(a, n))
        fail_msg("shift(%d, %d): %d, gemmlowp %d", a, n, kd_rounding_shift(a, n),
                 gemmlowp_rounding_shift(a, n));
    if (n <= 30 && kd_saturating_left_shift(a, n) != gemmlowp_left_shift(a, n))
        fail_msg("left_shift(%d, %d): %d, gemmlowp %d", a, n, kd_saturating_left_shift(a, n),
                 gemmlowp_left_shift(a, n));
    const int shift = n - 15;
    const int32_t right = shift > 0 ? shift : 0, left = shift < 0 ? -shift : 0;
    const int32_t expected =
        gemmlowp_rounding_shift(gemmlowp_high_mul(gemmlowp_left_shift(a, left), factor), right);
    assert_int_equal(kd_requantize(a, factor, shift), expected);
}

static void test_rounding_is_gemmlowps(void **state) {
    (void)state;
    if (!gemmlowp_high_mul) {
        print_message("SKIP gemmlowp's rounding: built without gemmlowp_reference.cc\n");
        skip();
    }
    for (int i = 0; i < EDGE_COUNT; i++)
        for (int j = 0; j < EDGE_COUNT; j++)
            for (int n = 0; n <= 31; n++) check_pair(EDGES[i], EDGES[j], n);
    kd_rng rng = kd_rng_init(1, 1);
    uint32_t word[4];
    for (uint64_t i = 0; i < MILLIONS; i++) {
        kd_rng_block(rng.key, i, word);
        /* all magnitudes, and odd multiples of powers of two, where ties lie */
        int32_t a = (int32_t)word[0] >> (word[2] & 31);
        if (word[3] & 1) a = (int32_t)((uint32_t)a << (word[2] >> 8 & 31));
        check_pair(a, (int32_t)word[1], (int)(word[3] >> 8 & 31));
    }
}

/* x·M to within the rounding of M (2^-31 relative) and the two roundings of the result. */
static void test_multiplier_is_near_the_real_one(void **state) {
    (void)state;
    kd_rng rng = kd_rng_init(2, 2);
    for (int i = 0; i < 200000; i++) {
        const double M = exp(-18 + 24 * kd_rng_uniform(&rng));
        const int32_t x = (int32_t)kd_rng_u32(&rng) >> (kd_rng_u32(&rng) & 31);
        const kd_multiplier m = kd_multiplier_from(M);
        const double exact = x * M, found = kd_requantize(x, m.factor, m.shift);
        if (fabs(exact) >= 0x1p30) continue; /* the left shift may saturate; clamped anyway */
        /* A negative shift rounds before it is lost: each step is then 1 unit of the result. */
        if (fabs(found - exact) > 1.0 + fabs(exact) * 0x1p-29)
            fail_msg("%d · %g: %g, exactly %g", x, M, found, exact);
    }
    assert_int_equal(kd_multiplier_from(1).factor, 1 << 30);
    assert_int_equal(kd_multiplier_from(1).shift, -1);
    assert_int_equal(kd_multiplier_from(0.5).shift, 0);
    assert_int_equal(kd_multiplier_from(1 - 0x1p-40).factor, 1 << 30); /* rounds up to 1 */
    assert_int_equal(kd_multiplier_from(0).factor, 0);
    assert_int_equal(kd_multiplier_from(NAN).factor, 0);
    assert_int_equal(kd_multiplier_from(0x1p-40).factor, 0);
    assert_int_equal(
        kd_requantize(1, kd_multiplier_from(1e300).factor, kd_multiplier_from(1e300).shift),
        1 << 30);
}

/* Monotone, so that clamping before or after makes no difference. */
static void test_requantize_is_monotone(void **state) {
    (void)state;
    for (int shift = -3; shift < 12; shift++)
        for (int32_t x = -70000; x < 70000; x++)
            assert_true(kd_requantize(x, 1518500250, shift) <=
                        kd_requantize(x + 1, 1518500250, shift));
}

static void test_add_is_near_the_real_sum(void **state) {
    (void)state;
    const float a = 0.013f, b = 0.0007f, out = 0.0101f;
    const kd_add_multipliers m = kd_add_multipliers_from(a, b, out);
    for (int i = -255; i <= 255; i++)
        for (int j = -255; j <= 255; j++) {
            double exact = (i * (double)a + j * (double)b) / (double)out;
            assert_true(fabs(kd_add_steps(i, j, &m) - exact) < 0.5001);
        }
}

/* --- kernels ---------------------------------------------------------------------------------- */

/* One panel of random or extreme numbers against the definition. */
static void check_kernel(const kd_int8_kernel *kernel, int64_t K, int rows, bool extreme,
                         uint64_t seed) {
    const int64_t stride = (K + kernel->group - 1) / kernel->group * kernel->group;
    int8_t *w = malloc((size_t)(KD_INT8_COLUMNS * K));
    int8_t *packed = malloc((size_t)kd_int8_packed_bytes(kernel, KD_INT8_COLUMNS, K));
    uint8_t *a = calloc((size_t)(rows * stride), 1);
    uint16_t *wide = calloc((size_t)(rows * stride), 2);
    int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS];
    kd_rng rng = kd_rng_init(seed, (uint64_t)K);
    for (int64_t i = 0; i < KD_INT8_COLUMNS * K; i++) {
        int random = (int)kd_rng_below(&rng, 256) - 128;
        w[i] = (int8_t)(extreme ? (random < 0 ? -128 : 127) : random);
    }
    for (int r = 0; r < rows; r++)
        for (int64_t k = 0; k < K; k++)
            wide[r * stride + k] = a[r * stride + k] =
                (uint8_t)(extreme ? 255 : kd_rng_below(&rng, 256));
    kd_int8_pack(kernel, packed, w, KD_INT8_COLUMNS, K);
    kernel->tile(rows, stride / kernel->group, kernel->wide ? (void *)wide : (void *)a, stride,
                 packed, c);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < KD_INT8_COLUMNS; j++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < K; k++) sum += a[r * stride + k] * w[j * K + k];
            if (c[r][j] != sum)
                fail_msg("%s, K %lld, row %d, column %d: %d, should be %lld", kernel->name,
                         (long long)K, r, j, c[r][j], (long long)sum);
        }
    free(w);
    free(packed);
    free(a);
    free(wide);
}

static void test_kernels(void **state) {
    (void)state;
    static const char *const names[] = {"portable", "avx2", "avxvnni", "avx512vnni"};
    static const int64_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 27, 64, 127, 129, 576, 1201};
    for (int i = 0; i < 4; i++) {
        const kd_int8_kernel *kernel = kd_int8_kernel_find(names[i]);
        if (!kernel) {
            assert_int_not_equal(i, 0);
            print_message("SKIP kernel %s: this processor does not have it\n", names[i]);
            continue;
        }
        assert_string_equal(kernel->name, names[i]);
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
            for (int rows = 1; rows <= KD_INT8_ROWS; rows++)
                for (int extreme = 0; extreme < 2; extreme++)
                    check_kernel(kernel, lengths[k], rows, extreme, 3);
    }
}

static void test_choice_can_be_forced(void **state) {
    (void)state;
    setenv("DISTILL_ISA", "portable", 1);
    assert_string_equal(kd_int8_kernel_name(), "portable");
    setenv("DISTILL_ISA", "avx2", 1);
    assert_string_equal(kd_int8_kernel_name(), kd_int8_kernel_find("avx2") ? "avx2" : "portable");
    unsetenv("DISTILL_ISA");
    assert_non_null(kd_int8_kernel_find(kd_int8_kernel_name()));
    assert_null(kd_int8_kernel_find("sse9"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding_is_gemmlowps),
        cmocka_unit_test(test_multiplier_is_near_the_real_one),
        cmocka_unit_test(test_requantize_is_monotone),
        cmocka_unit_test(test_add_is_near_the_real_sum),
        cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_choice_can_be_forced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
