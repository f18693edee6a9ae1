/* Every number format of ggml by its table row, and int8: a format without one fails. What whole
 * files of them hold is compared with ggml's own in test_whisper_golden.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "files/formats/number_format.h"
#include "quant/grid.h"

enum { TYPES = 256, BLOCKS = 37 };

/* `bound`: of |x − decode(encode(x))| over the largest |x| of the block. A step of a block format
 * is max/7 … max/127, or (max − min)/15 … /31 where there is an offset; half of it, the
 * half-precision rounding of d (2⁻¹¹ of all steps), and at the far end of the asymmetric grids a
 * whole one. */
static const struct {
    const char *name;
    double bits_per_value, bound;
} rows[] = {
    {"f32", 32, 0},
    {"bf16", 16, 0},
    {"f64", 64, 0},
    {"f16", 16, 1.0 / 2048},
    {"q8_0", 8.5, 0.5 / 127 + 1.0 / 2048},
    {"q5_0", 5.5, 1.01 / 16},
    {"q5_1", 6, 1.01 / 31},
    {"q4_0", 4.5, 1.01 / 8},
    {"q4_1", 5, 1.01 / 15},
};
enum { ROWS = (int)(sizeof rows / sizeof *rows) };

static void every_format_has_a_row(void **state) {
    (void)state;
    int found = 0;
    for (uint32_t type = 0; type < TYPES; type++) {
        const kd_number_format *format = kd_number_format_typed(type);
        if (!format) continue;
        found++;
        int row = 0;
        while (row < ROWS && strcmp(rows[row].name, format->name) != 0) row++;
        if (row == ROWS) fail_msg("%s has no row in this test", format->name);
        assert_ptr_equal(kd_number_format_named(format->name), format);
    }
    assert_int_equal(found, ROWS);
    assert_null(kd_number_format_named("q3"));
}

/* `blocks` blocks of magnitudes from 2⁻⁶ to 2⁶, which half precision holds well. */
static void fill(float *x, const kd_number_format *format, int blocks) {
    kd_rng rng = kd_rng_init(7, format->ggml_type);
    for (int b = 0; b < blocks; b++)
        for (int j = 0; j < format->block; j++)
            x[b * format->block + j] = ldexpf((float)(2 * kd_rng_uniform(&rng) - 1), b % 13 - 6);
}

static void numbers_come_back(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        const kd_number_format *format = kd_number_format_named(rows[i].name);
        assert_non_null(format);
        assert_true(8.0 * format->bytes / format->block == rows[i].bits_per_value);
        if (!format->encode) continue; /* only read */
        const int n = BLOCKS * format->block;
        float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
        unsigned char *bytes = malloc((size_t)(BLOCKS * format->bytes));
        assert_true(x && y && bytes);
        fill(x, format, BLOCKS);
        format->encode(bytes, x, n);
        format->decode(y, bytes, n);
        for (int b = 0; b < BLOCKS; b++) {
            double largest = 0, error = 0;
            for (int j = b * format->block; j < (b + 1) * format->block; j++) {
                largest = fmax(largest, fabs((double)x[j]));
                error = fmax(error, fabs((double)x[j] - (double)y[j]));
            }
            if (error > rows[i].bound * largest)
                fail_msg("%s, block %d: error %g of %g", rows[i].name, b, error, largest);
        }
        free(x);
        free(y);
        free(bytes);
    }
}

/* Blocks that come alone or side by side give the same bytes; nothing behind them is written. */
static void blocks_are_apart(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        const kd_number_format *format = kd_number_format_named(rows[i].name);
        if (!format->encode) continue;
        float x[3 * 32];
        unsigned char together[3 * 128 + 1], alone[128];
        fill(x, format, 3);
        together[3 * format->bytes] = 0xa5;
        format->encode(together, x, 3 * format->block);
        assert_int_equal(together[3 * format->bytes], 0xa5);
        for (int b = 0; b < 3; b++) {
            format->encode(alone, x + b * format->block, format->block);
            assert_memory_equal(alone, together + b * format->bytes, (size_t)format->bytes);
        }
    }
}

static void zeros_stay_zero(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        const kd_number_format *format = kd_number_format_named(rows[i].name);
        float x[32] = {0}, y[32];
        unsigned char bytes[128] = {0};
        if (format->encode) format->encode(bytes, x, format->block);
        format->decode(y, bytes, format->block);
        for (int j = 0; j < format->block; j++) assert_true(y[j] == 0);
    }
}

/* int8: a row of any length is one block, on the symmetric grid of its largest magnitude. */
static void int8_is_a_grid_for_each_row(void **state) {
    (void)state;
    static const int lengths[] = {1, 2, 3, 5, 7, 127, 129};
    const kd_number_format *format = kd_number_format_named("int8");
    assert_non_null(format);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const int n = lengths[i];
        float x[129], y[129], largest = 0;
        unsigned char bytes[129 + 4];
        kd_rng rng = kd_rng_init(3, (uint64_t)n);
        for (int j = 0; j < n; j++) x[j] = (float)(2 * kd_rng_uniform(&rng) - 1);
        for (int j = 0; j < n; j++) largest = fmaxf(largest, fabsf(x[j]));
        assert_int_equal(kd_number_format_bytes(format, n), n + 4);
        const kd_grid grid = kd_grid_from_range(-(double)largest, (double)largest, 8, true);
        format->encode(bytes, x, n);
        format->decode(y, bytes, n);
        for (int j = 0; j < n; j++)
            assert_true(y[j] == grid.scale * (float)kd_grid_steps(&grid, x[j]));
        memset(x, 0, sizeof x);
        format->encode(bytes, x, n);
        format->decode(y, bytes, n);
        for (int j = 0; j < n; j++) assert_true(y[j] == 0);
    }
}

/* q8_0 rounds half away from zero, and nothing below a half up: blocks with d = 1 exactly. */
static void q8_0_rounds_as_roundf(void **state) {
    (void)state;
    for (int whole = 0; whole < 127; whole++) {
        const float half = (float)whole + 0.5f;
        const float x[32] = {127,
                             half,
                             nextafterf(half, 0),
                             nextafterf(half, 128),
                             -half,
                             -nextafterf(half, 0),
                             -nextafterf(half, 128)};
        unsigned char bytes[34];
        kd_format_q8_0.encode(bytes, x, 32);
        for (int j = 0; j < 32; j++) assert_int_equal((int8_t)bytes[2 + j], (int8_t)roundf(x[j]));
    }
}

static void rows_that_cannot_be_cut(void **state) {
    (void)state;
    assert_int_equal(kd_number_format_bytes(&kd_format_q8_0, 64), 68);
    assert_int_equal(kd_number_format_bytes(&kd_format_q8_0, 48), 0);
    assert_int_equal(kd_number_format_bytes(&kd_format_f16, 3), 6);
}

/* A type has one size, wherever it is asked for. */
static void sizes_of_types(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        const kd_number_format *format = kd_number_format_named(rows[i].name);
        assert_int_equal(kd_ggml_type_bytes(format->ggml_type, 64, 192),
                         3 * kd_number_format_bytes(format, 64));
    }
    assert_int_equal(kd_ggml_type_bytes(8, 48, 96), 0);           /* q8_0: 48 is no whole block */
    assert_int_equal(kd_ggml_type_bytes(14, 512, 1024), 4 * 210); /* q6_K: known, not coded     */
    assert_int_equal(kd_ggml_type_bytes(26, 3, 6), 24);           /* i32                        */
    assert_int_equal(kd_ggml_type_bytes(29, 256, 256), 0);        /* iq1_m                      */
    assert_int_equal(kd_ggml_type_bytes(28, 1, UINT64_MAX), 0);   /* 8 times that overflows     */
    assert_int_equal(kd_ggml_type_bytes(UINT32_MAX, 1, 1), 0);    /* what ggml has no number for */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_format_has_a_row),
                                       cmocka_unit_test(numbers_come_back),
                                       cmocka_unit_test(blocks_are_apart),
                                       cmocka_unit_test(zeros_stay_zero),
                                       cmocka_unit_test(int8_is_a_grid_for_each_row),
                                       cmocka_unit_test(q8_0_rounds_as_roundf),
                                       cmocka_unit_test(rows_that_cannot_be_cut),
                                       cmocka_unit_test(sizes_of_types)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
