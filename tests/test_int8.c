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

/* Over arrays, of any length, with left shifts among them: the same numbers. */
static void test_runs_are_the_same(void **state) {
    (void)state;
    enum { LENGTH = 41 };
    kd_rng rng = kd_rng_init(6, 6);
    for (int i = 0; i < 20000; i++) {
        int32_t x[LENGTH], y[LENGTH], factor[LENGTH], shift[LENGTH], expected[LENGTH];
        const int64_t n = 1 + (int64_t)kd_rng_below(&rng, LENGTH);
        for (int64_t k = 0; k < n; k++) {
            x[k] = (int32_t)kd_rng_u32(&rng) >> kd_rng_below(&rng, 31);
            factor[k] = kd_rng_u32(&rng) & 1 ? 1 << 30 : (int32_t)(kd_rng_u32(&rng) >> 1);
            shift[k] = (int32_t)kd_rng_below(&rng, 32) - (i % 5 == 0 && k % 7 == 3 ? 20 : 0);
            if (shift[k] < -30) shift[k] = -30;
            expected[k] = kd_requantize(x[k], factor[k], shift[k]);
        }
        kd_requantize_run(x, factor, shift, n);
        assert_memory_equal(x, expected, (size_t)n * sizeof *x);
        const kd_add_multipliers m = kd_add_multipliers_from(
            (float)kd_rng_uniform(&rng) + 1e-6f, (float)kd_rng_uniform(&rng) + 1e-6f,
            (float)kd_rng_uniform(&rng) * (i % 5 ? 1 : 1e-6f) + 1e-12f);
        for (int64_t k = 0; k < n; k++) {
            x[k] = (int32_t)kd_rng_below(&rng, 511) - 255;
            y[k] = (int32_t)kd_rng_below(&rng, 511) - 255;
            expected[k] = kd_add_steps(x[k], y[k], &m);
        }
        kd_add_steps_run(x, x, y, &m, n);
        assert_memory_equal(x, expected, (size_t)n * sizeof *x);
    }
}

/* --- kernels ---------------------------------------------------------------------------------- */

/* Windows of `segments` runs of `length` in a larger input, against the definition. */
static void check_kernel(const kd_int8_kernel *kernel, int segments, int64_t length, int rows,
                         bool extreme) {
    enum { SEGMENTS_MAX = 4, SLACK = 8, ROW_STEP = 3 };
    const int64_t K = segments * length, pitch = length + 5;
    const int64_t size = segments * pitch + ROW_STEP * rows + SLACK;
    int8_t *w = malloc((size_t)(KD_INT8_COLUMNS * K));
    int8_t *packed =
        malloc((size_t)kd_int8_packed_bytes(kernel, KD_INT8_COLUMNS, segments, length));
    uint8_t *a = malloc((size_t)size);
    uint16_t *wide = malloc((size_t)size * sizeof *wide);
    int64_t offset[SEGMENTS_MAX];
    int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS];
    kd_rng rng = kd_rng_init(3, (uint64_t)K);
    for (int64_t i = 0; i < KD_INT8_COLUMNS * K; i++) {
        int random = (int)kd_rng_below(&rng, 256) - 128;
        w[i] = (int8_t)(extreme ? (random < 0 ? -128 : 127) : random);
    }
    for (int64_t i = 0; i < size; i++)
        wide[i] = a[i] = (uint8_t)(extreme ? 255 : kd_rng_below(&rng, 256));
    kd_int8_pack(kernel, packed, w, KD_INT8_COLUMNS, segments, length);
    kd_int8_windows in = {.rows = rows, .segments = segments, .offset = offset};
    in.groups = kd_int8_groups(kernel, length);
    for (int s = 0; s < segments; s++) offset[s] = s * pitch;
    for (int r = 0; r < rows; r++)
        in.row[r] = kernel->wide ? (void *)(wide + ROW_STEP * r) : (void *)(a + ROW_STEP * r);
    kernel->tile(&in, packed, c);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < KD_INT8_COLUMNS; j++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < K; k++)
                sum += a[ROW_STEP * r + k / length * pitch + k % length] * w[j * K + k];
            if (c[r][j] != sum)
                fail_msg("%s, %d × %lld, row %d, column %d: %d, should be %lld", kernel->name,
                         segments, (long long)length, r, j, c[r][j], (long long)sum);
        }
    free(w);
    free(packed);
    free(a);
    free(wide);
}

/* Random sums and multipliers, ties among them; only the wanted channels are written. */
static void check_store(const kd_int8_kernel *kernel) {
    kd_rng rng = kd_rng_init(5, 5);
    for (int i = 0; i < 20000; i++) {
        int32_t sum[KD_INT8_ROWS][16], bias[16], factor[16], shift[16];
        uint8_t out[KD_INT8_ROWS][20];
        for (int j = 0; j < 16; j++) {
            shift[j] = (int32_t)kd_rng_below(&rng, i % 4 ? 32 : 62) - (i % 4 ? 0 : 30);
            factor[j] = kd_rng_u32(&rng) & 1 ? 1 << 30 : (int32_t)(kd_rng_u32(&rng) >> 1);
            bias[j] = (int32_t)kd_rng_below(&rng, 1000) - 500;
            for (int r = 0; r < KD_INT8_ROWS; r++)
                sum[r][j] = (int32_t)kd_rng_u32(&rng) >> kd_rng_below(&rng, 30);
        }
        const int rows = 1 + i % KD_INT8_ROWS, channels = i % 3 ? 16 : 1 + i % 16;
        const int32_t low = i % 2 ? 0 : -100;
        const kd_int8_rounding how = {bias, factor, shift, low, 155, 100, channels, out[0], 20};
        memset(out, 0x77, sizeof out);
        kernel->store(rows, sum, &how);
        for (int r = 0; r < KD_INT8_ROWS; r++)
            for (int j = 0; j < 20; j++) {
                if (r >= rows || j >= channels) {
                    assert_int_equal(out[r][j], 0x77);
                    continue;
                }
                const int32_t steps = (int32_t)((uint32_t)sum[r][j] + (uint32_t)bias[j]);
                const int32_t q = kd_requantize(steps, factor[j], shift[j]);
                assert_int_equal(out[r][j], (q < low ? low : q > 155 ? 155 : q) + 100);
            }
    }
}

/* Products and rounding in one are those of each, panel by panel; nothing else is written. */
static void check_run(const kd_int8_kernel *kernel) {
    enum { SEGMENTS = 2, LENGTH = 13, CHANNELS = KD_INT8_PANELS * KD_INT8_COLUMNS, STRIDE = 40 };
    kd_rng rng = kd_rng_init(7, 7);
    static const int64_t offset[SEGMENTS] = {0, 20};
    uint8_t x[64 + KD_INT8_ROWS];
    int8_t w[CHANNELS * SEGMENTS * LENGTH], packed[CHANNELS * SEGMENTS * (LENGTH + 3)];
    const int64_t panel = kd_int8_panel_bytes(kernel, SEGMENTS, LENGTH);
    assert_true((size_t)(KD_INT8_PANELS * panel) <= sizeof packed);
    for (int i = 0; i < 2000; i++) {
        int32_t bias[CHANNELS], factor[CHANNELS], shift[CHANNELS];
        uint8_t found[KD_INT8_ROWS][STRIDE], right[KD_INT8_ROWS][STRIDE];
        for (size_t k = 0; k < sizeof x; k++) x[k] = (uint8_t)kd_rng_u32(&rng);
        for (size_t k = 0; k < sizeof w; k++) w[k] = (int8_t)kd_rng_u32(&rng);
        for (int c = 0; c < CHANNELS; c++) {
            bias[c] = (int32_t)kd_rng_below(&rng, 20000) - 10000;
            factor[c] = (1 << 30) + (int32_t)kd_rng_below(&rng, 1 << 30);
            shift[c] = (int32_t)kd_rng_below(&rng, 20) - (i % 5 ? 0 : 2);
        }
        kd_int8_pack(kernel, packed, w, CHANNELS, SEGMENTS, LENGTH);
        kd_int8_windows in = {.segments = SEGMENTS, .offset = offset};
        in.rows = 1 + i % kernel->rows;
        in.groups = kd_int8_groups(kernel, LENGTH);
        for (int r = 0; r < in.rows; r++) in.row[r] = x + r;
        const int channels = 1 + (int)kd_rng_below(&rng, CHANNELS);
        memset(found, 0x77, sizeof found);
        memset(right, 0x77, sizeof right);
        kd_int8_rounding how = {bias, factor, shift, -100, 120, 100, channels, found[0], STRIDE};
        kernel->run(&in, packed, panel, &how);
        for (int at = 0; at < channels; at += KD_INT8_COLUMNS) {
            int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS];
            kernel->tile(&in, packed + at / KD_INT8_COLUMNS * panel, sum);
            how.bias = bias + at, how.factor = factor + at, how.shift = shift + at;
            how.channels = channels - at < KD_INT8_COLUMNS ? channels - at : KD_INT8_COLUMNS;
            how.out = right[0] + at;
            kd_int8_store_portable(in.rows, sum, &how);
        }
        assert_memory_equal(found, right, sizeof right);
    }
}

static void test_kernels(void **state) {
    (void)state;
    static const char *const names[] = {"portable",   "avx2",    "avxvnni",
                                        "avx512vnni", "dotprod", "i8mm"};
    static const int64_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 27, 64, 127, 129, 576, 1201};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const kd_int8_kernel *kernel = kd_int8_kernel_find(names[i]);
        if (!kernel) {
            assert_int_not_equal(i, 0);
            print_message("SKIP kernel %s: this processor does not have it\n", names[i]);
            continue;
        }
        assert_string_equal(kernel->name, names[i]);
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
            for (int rows = 1; rows <= KD_INT8_ROWS; rows++)
                for (int segments = 1; segments <= 4; segments++) {
                    check_kernel(kernel, segments, lengths[k], rows, false);
                    check_kernel(kernel, segments, lengths[k], rows, true);
                }
        check_store(kernel);
        if (kernel->run) check_run(kernel);
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
        cmocka_unit_test(test_runs_are_the_same),
        cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_choice_can_be_forced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
