/* Every number format by its table row, and beside ggml: a format without a row fails. What ggml's
 * own encoders make of odd and even rows was written by golden/make_formats.py. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/file.h"
#include "base/rng.h"
#include "files/formats/number_format.h"
#include "quant/grid.h"

enum {
    BLOCKS = 37,
    ODD_ROW = 129,
    ROW = 512,
    TYPES = 256,
    BAD = 5 /* where a row has no number */
};

/* `bound`: of |x − decode(encode(x))| over the largest |x| of the block. A step of a block format
 * is max/7 … max/127, or (max − min)/15 … /31 where there is an offset; half of it, the
 * half-precision rounding of d (2⁻¹¹ of all steps), and at the far end of the asymmetric grids a
 * whole one. */
static const struct {
    const char *name;
    uint32_t type;
    int file_type;
    double bits_per_value, bound;
    const char *fallback;
} rows[] = {
    {"f32", 0, 0, 32, 0, NULL},
    {"f16", 1, 1, 16, 1.0 / 2048, NULL},
    {"q8_0", 8, 7, 8.5, 0.5 / 127 + 1.0 / 2048, "f16"},
    {"q5_0", 6, 8, 5.5, 1.01 / 16, "f16"},
    {"q5_1", 7, 9, 6, 1.01 / 31, "f16"},
    {"q4_0", 2, 2, 4.5, 1.01 / 8, "f16"},
    {"q4_1", 3, 3, 5, 1.01 / 15, "f16"},
    {"q2_K", 10, 10, 2.625, 0.4, "q4_0"},
    {"q3_K", 11, 11, 3.4375, 0.3, "q4_0"},
    {"q4_K", 12, 12, 4.5, 0.12, "q5_0"},
    {"q5_K", 13, 13, 5.5, 0.06, "q5_1"},
    {"iq4_nl", 20, 19, 4.5, 0.13, "f16"},
    {"iq4_xs", 23, 22, 4.25, 0.15, "iq4_nl"},
    {"q6_K", 14, 14, 6.5625, 0.04, "q8_0"},
    {"mxfp4", 39, -1, 4.25, 0.26, "q8_0"},
    {"nvfp4", 40, -1, 4.5, 0.34, "mxfp4"},
    {"int8", KD_NO_GGML_TYPE, -1, 8 + 32.0 / ODD_ROW, 0.5 / 127 + 1e-6, NULL},
    {"f8_e4m3", KD_NO_GGML_TYPE, -1, 8 + 32.0 / ODD_ROW, 1.0 / 16, NULL},
    {"f8_e4m3_tensor", KD_NO_GGML_TYPE, -1, 8, 1.0 / 16, NULL},
    {"f8_e5m2", KD_NO_GGML_TYPE, -1, 8, 1.0 / 8, NULL},
    {"bf16", 30, -1, 16, 0, NULL},
    {"f64", 28, -1, 64, 0, NULL},
};
enum { FORMATS = (int)(sizeof rows / sizeof *rows) };

/* Values that are encoded together: a block, or a row of odd length. */
static int unit_of(const kd_number_format *f) {
    return f->block ? f->block : ODD_ROW;
}

static size_t unit_bytes(const kd_number_format *f) {
    return (size_t)kd_number_format_bytes(f, unit_of(f));
}

static void *take(size_t bytes) {
    void *memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

static void every_format_has_a_row(void **state) {
    (void)state;
    int found = 0;
    for (const kd_number_format *f; (f = kd_number_format_at(found)); found++) {
        int row = 0;
        while (row < FORMATS && strcmp(rows[row].name, f->name) != 0) row++;
        if (row == FORMATS) fail_msg("%s has no row in this test", f->name);
        assert_ptr_equal(kd_number_format_named(f->name), f);
        assert_int_equal(f->ggml_type, rows[row].type);
        assert_int_equal(f->file_type, rows[row].file_type);
        assert_true(8.0 * (double)unit_bytes(f) / unit_of(f) == rows[row].bits_per_value);
        if (rows[row].fallback)
            assert_string_equal(f->fallback->name, rows[row].fallback);
        else
            assert_null(f->fallback);
        if (f->ggml_type != KD_NO_GGML_TYPE)
            assert_ptr_equal(kd_number_format_typed(f->ggml_type), f);
    }
    assert_int_equal(found, FORMATS);
    assert_null(kd_number_format_named("q3"));
    assert_null(kd_number_format_typed(KD_NO_GGML_TYPE));
}

/* What GGUF has no type for, and is not a row's scale and bytes, it cannot hold. */
static void files_hold_what_they_can(void **state) {
    (void)state;
    kd_number_format strange = kd_format_q4_0;
    assert_true(kd_number_format_in_gguf(&strange));
    assert_true(kd_number_format_in_gguf(&kd_format_int8));
    strange.ggml_type = KD_NO_GGML_TYPE;
    assert_false(kd_number_format_in_gguf(&strange));
}

static void rows_find_a_format_they_fit(void **state) {
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *f = kd_number_format_named(rows[i].name);
        for (int64_t n = 1; n <= 2 * ROW; n++) {
            const kd_number_format *fit = kd_number_format_fit(f, n);
            assert_true(kd_number_format_bytes(fit, n) > 0);
            if (kd_number_format_bytes(f, n) > 0) assert_ptr_equal(fit, f);
        }
    }
    assert_ptr_equal(kd_number_format_fit(&kd_format_q4_0, 48), &kd_format_f16);
}

/* `units` units of magnitudes from 2⁻⁶ to 2⁶, which half precision holds well. */
static void fill(float *x, const kd_number_format *f, int units) {
    const int n = unit_of(f);
    kd_rng rng = kd_rng_init(7, f->ggml_type);
    for (int b = 0; b < units; b++)
        for (int j = 0; j < n; j++)
            x[b * n + j] = ldexpf((float)(2 * kd_rng_uniform(&rng) - 1), b % 13 - 6);
}

static void numbers_come_back(void **state) {
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *f = kd_number_format_named(rows[i].name);
        if (!f->encode) continue; /* only read */
        const int n = unit_of(f);
        float *x = take((size_t)(BLOCKS * n) * sizeof *x), *y = take((size_t)n * sizeof *y);
        unsigned char *bytes = take(unit_bytes(f));
        fill(x, f, BLOCKS);
        for (int b = 0; b < BLOCKS; b++) {
            double largest = 0, error = 0;
            f->encode(bytes, x + b * n, NULL, n);
            f->decode(y, bytes, n);
            for (int j = 0; j < n; j++) {
                if (fabs((double)x[b * n + j]) > largest) largest = fabs((double)x[b * n + j]);
                if (fabs((double)x[b * n + j] - (double)y[j]) > error)
                    error = fabs((double)x[b * n + j] - (double)y[j]);
            }
            if (f == &kd_format_f8_e4m3_tensor) /* below, steps are alike: its tensor is scaled */
                largest = fmax(largest, 0x1p-6);
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
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *f = kd_number_format_named(rows[i].name);
        if (f->block == 0 || !f->encode) continue;
        const size_t size = unit_bytes(f);
        float *x = take(3 * (size_t)f->block * sizeof *x);
        unsigned char *together = take(3 * size + 1), *alone = take(size);
        fill(x, f, 3);
        together[3 * size] = 0xa5;
        f->encode(together, x, NULL, 3 * f->block);
        assert_int_equal(together[3 * size], 0xa5);
        for (int b = 0; b < 3; b++) {
            f->encode(alone, x + b * f->block, NULL, f->block);
            assert_memory_equal(alone, together + (size_t)b * size, size);
        }
        free(x);
        free(together);
        free(alone);
    }
}

static void zeros_stay_zero(void **state) {
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *f = kd_number_format_named(rows[i].name);
        const int n = unit_of(f);
        float *x = calloc((size_t)n, sizeof *x), *y = take((size_t)n * sizeof *y);
        unsigned char *bytes = calloc(1, unit_bytes(f));
        assert_true(x && bytes);
        if (f->encode) f->encode(bytes, x, NULL, n);
        f->decode(y, bytes, n);
        for (int j = 0; j < n; j++) assert_true(y[j] == 0);
        free(x);
        free(y);
        free(bytes);
    }
}

/* --- beside ggml --------------------------------------------------------------------------------
 */

static char *golden_bytes;
static size_t golden_length;

/* The record `name` of formats.bin; NULL when there is none. */
static const void *golden(const char *name, int64_t *n) {
    if (!golden_bytes)
        assert_ok(kd_file_read(&golden_bytes, &golden_length, "tests/golden/formats.bin", 1 << 22));
    for (size_t at = 0; at < golden_length; at += 32 + (size_t)*n) {
        memcpy(n, golden_bytes + at + 24, sizeof *n);
        if (strncmp(golden_bytes + at, name, 24) == 0) return golden_bytes + at + 32;
    }
    return NULL;
}

static void assert_rows(const char *name, const kd_number_format *f, const float *importance) {
    int64_t values, n;
    const float *x = golden("x", &values);
    const unsigned char *right = golden(name, &n);
    const int64_t count = values / (int64_t)sizeof *x / ROW;
    const size_t size = (size_t)kd_number_format_bytes(f, ROW);
    unsigned char *found = take(size);
    assert_non_null(right);
    assert_int_equal(n, count * (int64_t)size);
    for (int64_t row = 0; row < count; row++) {
        /* ggml's maximum begins anew behind what is no number; rows with such are refused. */
        if (isnan(x[row * ROW + BAD]) && f == &kd_format_q8_0) continue;
        f->encode(found, x + row * ROW, importance ? importance + row * ROW : NULL, ROW);
        for (size_t k = 0; k < size; k++)
            if (found[k] != right[(size_t)row * size + k])
                fail_msg("%s, row %lld: byte %zu is %d, ggml's is %d", name, (long long)row, k,
                         found[k], right[(size_t)row * size + k]);
    }
    free(found);
}

/* The small floats are rounded otherwise: test_format_small.c. */
static bool is_as_ggml(const kd_number_format *f) {
    return f->block > 1 && f->ggml_type != KD_NO_GGML_TYPE && f != &kd_format_mxfp4 &&
           f != &kd_format_nvfp4;
}

static void bytes_are_those_of_ggml(void **state) {
    (void)state;
    int64_t n;
    const float *importance = golden("importance", &n);
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *f = kd_number_format_named(rows[i].name);
        char name[32];
        if (!is_as_ggml(f)) continue;
        assert_rows(f->name, f, NULL);
        snprintf(name, sizeof name, "%s.important", f->name);
        assert_rows(name, f, importance);
    }
}

static void values_are_those_of_ggml(void **state) {
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *f = kd_number_format_named(rows[i].name);
        char name[32];
        float found[ROW];
        int64_t n, values;
        if (!is_as_ggml(f)) continue;
        const unsigned char *bytes = golden(f->name, &n);
        snprintf(name, sizeof name, "%s.value", f->name);
        const float *value = golden(name, &values);
        assert_non_null(value);
        for (int64_t row = 0; row < values / (int64_t)sizeof found; row++) {
            f->decode(found, bytes + row * (int64_t)kd_number_format_bytes(f, ROW), ROW);
            assert_memory_equal(found, value + row * ROW, sizeof found);
        }
    }
}

/* Rows that end in the middle of eight blocks. */
static void short_rows_are_those_of_ggml(void **state) {
    (void)state;
    int64_t n;
    const float *x = (const float *)golden("x", &n) + ROW, *importance = golden("importance", &n);
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *f = kd_number_format_named(rows[i].name);
        unsigned char found[4 * ROW];
        char name[32];
        if (!is_as_ggml(f)) continue;
        snprintf(name, sizeof name, "%s.short", f->name);
        const unsigned char *right = golden(name, &n);
        assert_non_null(right);
        f->encode(found, x, importance, n / f->bytes * f->block);
        assert_memory_equal(found, right, (size_t)n);
    }
}

/* Σ importance·√(σ² + x²)·(x − x')², what the search keeps small. */
static double cost(const kd_number_format *f, const float *x, const float *importance, bool looks) {
    unsigned char bytes[4 * ROW + 4];
    float y[ROW];
    double sum = 0, square = 0;
    f->encode(bytes, x, looks ? importance : NULL, ROW);
    f->decode(y, bytes, ROW);
    for (int j = 0; j < ROW; j++) square += (double)x[j] * (double)x[j] / ROW;
    for (int j = 0; j < ROW; j++)
        sum += (double)importance[j] * sqrt(square + (double)x[j] * (double)x[j]) *
               pow((double)x[j] - (double)y[j], 2);
    return sum;
}

static void importance_pays(void **state) {
    (void)state;
    static const char *const searched[] = {"q5_0", "q5_1", "q4_0",   "q4_1",   "q2_K", "q3_K",
                                           "q4_K", "q5_K", "iq4_nl", "iq4_xs", "q6_K"};
    int64_t n;
    const float *x = golden("x", &n), *importance = golden("importance", &n);
    for (size_t i = 0; i < sizeof searched / sizeof *searched; i++) {
        const kd_number_format *f = kd_number_format_named(searched[i]);
        const double plain = cost(f, x, importance, false), looked = cost(f, x, importance, true);
        if (!(looked < 0.95 * plain))
            fail_msg("%s: %g, %g with importance", f->name, plain, looked);
    }
    assert_true(cost(&kd_format_q8_0, x, importance, false) ==
                cost(&kd_format_q8_0, x, importance, true));
}

static int free_golden(void **state) {
    (void)state;
    free(golden_bytes);
    return 0;
}

/* --- one by one ---------------------------------------------------------------------------------
 */

/* int8: a row of any length is one block, on the symmetric grid of its largest magnitude. */
static void int8_is_a_grid_for_each_row(void **state) {
    (void)state;
    static const int lengths[] = {1, 2, 3, 5, 7, 127, 129};
    const kd_number_format *f = kd_number_format_named("int8");
    assert_non_null(f);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const int n = lengths[i];
        float x[129], y[129], largest = 0;
        unsigned char bytes[129 + 4];
        kd_rng rng = kd_rng_init(3, (uint64_t)n);
        for (int j = 0; j < n; j++) x[j] = (float)(2 * kd_rng_uniform(&rng) - 1);
        for (int j = 0; j < n; j++) largest = fmaxf(largest, fabsf(x[j]));
        assert_int_equal(kd_number_format_bytes(f, n), n + 4);
        const kd_grid grid = kd_grid_from_range(-(double)largest, (double)largest, 8, true);
        f->encode(bytes, x, NULL, n);
        f->decode(y, bytes, n);
        for (int j = 0; j < n; j++)
            assert_true(y[j] == grid.scale * (float)kd_grid_steps(&grid, x[j]));
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
        kd_format_q8_0.encode(bytes, x, NULL, 32);
        for (int j = 0; j < 32; j++) assert_int_equal((int8_t)bytes[2 + j], (int8_t)roundf(x[j]));
    }
}

static void rows_that_cannot_be_cut(void **state) {
    (void)state;
    assert_int_equal(kd_number_format_bytes(&kd_format_q8_0, 64), 68);
    assert_int_equal(kd_number_format_bytes(&kd_format_q8_0, 48), 0);
    assert_int_equal(kd_number_format_bytes(&kd_format_f16, 3), 6);
}

/* Values that are none, and blocks whose scale half precision cannot hold. */
static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    float x[2 * 32] = {1, 2, 3};
    unsigned char bytes[2 * 4 * 32];
    assert_ok(kd_number_format_encode(bytes, &kd_format_q4_0, x, NULL, 1, 2, 32, 1, "w"));
    x[40] = NAN;
    assert_refused(kd_number_format_encode(bytes, &kd_format_q4_0, x, NULL, 1, 2, 32, 1, "w"),
                   KD_EDATA, "w: value 8 of row 1 is nan, which q4_0 cannot hold");
    x[40] = 1e6f;
    assert_refused(kd_number_format_encode(bytes, &kd_format_q4_0, x, NULL, 1, 2, 32, 1, "w"),
                   KD_EDATA, "row 1 is 1e+06, which q4_0 cannot hold");
    assert_refused(kd_number_format_encode(bytes, &kd_format_f16, x, NULL, 1, 2, 32, 1, "w"),
                   KD_EDATA, "which f16 cannot hold");
    x[40] = NAN;
    assert_ok(
        kd_number_format_encode(bytes, &kd_format_f16, x, NULL, 1, 2, 32, 1, "w")); /* as it is */
    x[40] = 1e6f;
    assert_ok(kd_number_format_encode(bytes, &kd_format_int8, x, NULL, 1, 2, 32, 1, "w"));
}

/* A type has one size and one name, wherever it is asked for. */
static void sizes_of_types(void **state) {
    (void)state;
    for (int i = 0; i < FORMATS; i++) {
        const kd_number_format *f = kd_number_format_named(rows[i].name);
        if (f->ggml_type == KD_NO_GGML_TYPE) continue;
        const uint64_t n = (uint64_t)f->block;
        assert_int_equal(kd_ggml_type_bytes(f->ggml_type, 2 * n, 6 * n), 6 * f->bytes);
        assert_string_equal(kd_ggml_type_name(f->ggml_type), f->name);
    }
    assert_int_equal(kd_ggml_type_bytes(8, 48, 96), 0);          /* q8_0: 48 is no whole block */
    assert_int_equal(kd_ggml_type_bytes(9, 512, 1024), 32 * 36); /* q8_1: known, not coded */
    assert_int_equal(kd_ggml_type_bytes(26, 3, 6), 24);          /* i32                        */
    assert_int_equal(kd_ggml_type_bytes(29, 256, 256), 0);       /* iq1_m                      */
    assert_int_equal(kd_ggml_type_bytes(28, 1, UINT64_MAX), 0);  /* 8 times that overflows     */
    assert_int_equal(kd_ggml_type_bytes(UINT32_MAX, 1, 1), 0);   /* what ggml has no number for */
    assert_string_equal(kd_ggml_type_name(9), "q8_1");
    assert_string_equal(kd_ggml_type_name(29), "?");
    for (uint32_t a = 0; a < TYPES; a++)
        for (uint32_t b = a + 1; b < TYPES; b++)
            if (strcmp(kd_ggml_type_name(a), "?") != 0)
                assert_string_not_equal(kd_ggml_type_name(a), kd_ggml_type_name(b));
}

/* What keys offer and messages list are the formats that can be written. */
static void formats_are_listed(void **state) {
    (void)state;
    char choices[] = KD_FORMAT_CHOICES, list[KD_FORMAT_LIST_MAX], joined[KD_FORMAT_LIST_MAX] = "";
    int count = 0;
    for (char *word = strtok(choices, "|"); word; word = strtok(NULL, "|")) {
        const kd_number_format *f = kd_number_format_named(word);
        if (!f || !kd_number_format_written(f))
            fail_msg("%s is no format that can be written", word);
        count -= f->mixture != NULL;
        strcat(joined, count++ ? ", " : "");
        strcat(joined, word);
    }
    for (int i = 0; kd_number_format_at(i); i++) count -= kd_number_format_at(i)->encode != NULL;
    assert_int_equal(count, 0);
    assert_string_equal(kd_number_format_list_written(list), joined);
    assert_non_null(strstr(kd_number_format_list_ggml(list), "bf16"));
    assert_null(strstr(list, "int8"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_format_has_a_row),
                                       cmocka_unit_test(files_hold_what_they_can),
                                       cmocka_unit_test(rows_find_a_format_they_fit),
                                       cmocka_unit_test(numbers_come_back),
                                       cmocka_unit_test(blocks_are_apart),
                                       cmocka_unit_test(zeros_stay_zero),
                                       cmocka_unit_test(bytes_are_those_of_ggml),
                                       cmocka_unit_test(values_are_those_of_ggml),
                                       cmocka_unit_test(short_rows_are_those_of_ggml),
                                       cmocka_unit_test(importance_pays),
                                       cmocka_unit_test(int8_is_a_grid_for_each_row),
                                       cmocka_unit_test(q8_0_rounds_as_roundf),
                                       cmocka_unit_test(rows_that_cannot_be_cut),
                                       cmocka_unit_test(what_does_not_fit_is_refused),
                                       cmocka_unit_test(sizes_of_types),
                                       cmocka_unit_test(formats_are_listed)};
    return cmocka_run_group_tests(tests, NULL, free_golden);
}
