/* Floats of four and eight bits: every number goes to the nearest, ties to even; the scales of
 * blocks and tensors; what is written is what was computed with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/rng.h"
#include "files/formats/format_small.h"
#include "files/weights_gguf.h"
#include "golden.h"
#include "quant/quantizer.h"

/* The code next to x among those below `codes`, of two the even one. */
static int nearest(double x, const double *value, int codes) {
    int best = 0;
    for (int code = 1; code < codes; code++) {
        const double closer = fabs(value[best] - x) - fabs(value[code] - x);
        if (closer > 0 || (closer == 0 && code % 2 == 0)) best = code;
    }
    return best;
}

/* Every value, every middle of two, and what lies a bit beside them. */
static void check(const double *value, int codes, uint8_t (*from)(float)) {
    for (int code = 0; code + 1 < codes; code++)
        for (int part = 0; part <= 8; part++)
            for (int beside = -1; beside <= 1; beside++) {
                const double x = (value[code] + (value[code + 1] - value[code]) * part / 8) *
                                 (1 + beside * 1e-6);
                const float rounded = (float)x;
                if (from(rounded) != nearest((double)rounded, value, codes))
                    fail_msg("%.9g becomes code %d, not %d", (double)rounded, from(rounded),
                             nearest((double)rounded, value, codes));
            }
    assert_int_equal(from((float)(2 * value[codes - 1])), codes - 1);
}

static void numbers_go_to_the_nearest(void **state) {
    (void)state;
    double e2m1[8], e4m3[127];
    for (int code = 0; code < 8; code++) {
        e2m1[code] = code < 2 ? code / 2.0 : (1 + code % 2 / 2.0) * pow(2, code / 2 - 1);
        assert_true(e2m1[code] == (double)KD_E2M1_VALUE[code]);
        assert_true(e2m1[code] == -(double)KD_E2M1_VALUE[code + 8]);
        assert_int_equal(kd_e2m1_from_float((float)-e2m1[code]), code ? code + 8 : 0);
    }
    for (int code = 0; code < 127; code++) {
        e4m3[code] = code < 8 ? code * pow(2, -9) : (1 + code % 8 / 8.0) * pow(2, code / 8 - 7);
        assert_true(e4m3[code] == (double)kd_e4m3_to_float((uint8_t)code));
    }
    check(e2m1, 8, kd_e2m1_from_float);
    check(e4m3, 127, kd_e4m3_from_float);
    assert_true(isnan(kd_e4m3_to_float(0x7f)));
    assert_int_equal(kd_e4m3_from_float(NAN), 0);
    assert_int_equal(kd_e4m3_from_float(1e-30f), 0);
}

static double magnitude(int code, int mantissa, int bias) {
    const int steps = 1 << mantissa, exponent = code / steps;
    return exponent ? (1 + code % steps / (double)steps) * pow(2, exponent - bias)
                    : code * pow(2, 1 - bias - mantissa);
}

/* Both signs of every number of eight bits, and what lies between two; what is beyond the largest
 * is the largest, and what is no number stays none. */
static void floats_of_eight_bits(void **state) {
    (void)state;
    double e4m3[127], e5m2[124];
    for (int code = 0; code < 127; code++) e4m3[code] = magnitude(code, 3, 7);
    for (int code = 0; code < 124; code++) e5m2[code] = magnitude(code, 2, 15);
    assert_true(e4m3[126] == 448 && e5m2[123] == 57344);
    check(e4m3, 127, kd_f8_e4m3_from_float);
    check(e5m2, 124, kd_f8_e5m2_from_float);
    for (int code = 0; code < 127; code++) {
        const float a = kd_f8_e4m3_to_float((uint8_t)code);
        assert_true((double)a == e4m3[code]);
        assert_true(kd_f8_e4m3_to_float((uint8_t)(code | 0x80)) == -a);
        assert_int_equal(kd_f8_e4m3_from_float(-a), code | 0x80);
    }
    for (int code = 0; code < 124; code++) {
        const float a = kd_f8_e5m2_to_float((uint8_t)code);
        assert_true((double)a == e5m2[code]);
        assert_int_equal(kd_f8_e5m2_from_float(-a), code | 0x80);
    }
    assert_int_equal(kd_f8_e4m3_from_float(-1e30f), 0xfe);
    assert_int_equal(kd_f8_e5m2_from_float(1e30f), 0x7b);
    assert_int_equal(kd_f8_e4m3_from_float(INFINITY), 0x7f);
    assert_int_equal(kd_f8_e5m2_from_float(-INFINITY), 0xfc);
    assert_true(isnan(kd_f8_e4m3_to_float(kd_f8_e4m3_from_float(NAN))));
    assert_true(isnan(kd_f8_e5m2_to_float(kd_f8_e5m2_from_float(NAN))));
    assert_true(isinf(kd_f8_e5m2_to_float(0x7c)));
}

static void scales_are_powers_of_two(void **state) {
    (void)state;
    assert_true(kd_power_above(1) == 1 && kd_power_above(1.0000001f) == 2);
    assert_true(kd_power_above(0.75f) == 1 && kd_power_above(0.5f) == 0.5f);
    assert_true(kd_power_above(0) == 1 && kd_power_above(INFINITY) == 1 &&
                kd_power_above(NAN) == 1);
    assert_true(kd_power_above(1e-44f) == 0x1p-100f);
}

/* ‖x − w‖/‖w‖ of Gaussian weights, with a scale of the tensor, or 1. */
static double error_of(const kd_number_format *format, float *w, int n, float scale) {
    static float scaled[1 << 14], back[1 << 14];
    static unsigned char bytes[(1 << 16) + 4];
    double lost = 0, all = 0;
    for (int i = 0; i < n; i++) scaled[i] = w[i] / scale;
    format->encode(bytes, scaled, NULL, n);
    format->decode(back, bytes, n);
    for (int i = 0; i < n; i++) {
        lost += pow((double)(back[i] * scale - w[i]), 2);
        all += pow((double)w[i], 2);
    }
    return sqrt(lost / all);
}

/* What docs/math-quantization.md says of the formats; and that a power of two as the scale costs no
 * more than the largest value would. */
static void weights_lose_what_is_said(void **state) {
    (void)state;
    enum { N = 1 << 14 };
    static float w[N];
    static const struct {
        const kd_number_format *format;
        double percent;
    } said[] = {{&kd_format_f8_e4m3, 2.65},
                {&kd_format_f8_e4m3_tensor, 2.65},
                {&kd_format_f8_e5m2, 5.25},
                {&kd_format_nvfp4, 9.5},
                {&kd_format_mxfp4, 11.4}};
    kd_rng rng = kd_rng_init(9, 1);
    double most = 0;
    for (int i = 0; i < N; i++) {
        w[i] = 0.02f * (float)kd_rng_normal(&rng);
        most = fmax(most, fabs((double)w[i]));
    }
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        const kd_number_format *f = said[i].format;
        const double error = error_of(f, w, N, kd_number_format_scale(f, most));
        if (fabs(100 * error - said[i].percent) > 0.2) fail_msg("%s: %g %%", f->name, 100 * error);
        if (!(f->largest > 0)) continue;
        const double other = error_of(f, w, N, (float)(most / (double)f->largest));
        assert_true(fabs(error / other - 1) < 0.01);
    }
}

static const double *golden(const char *name, int64_t *size) {
    golden_entry found = {0};
    if (!golden_find(&found, "tests/golden/small_floats.bin", name)) fail_msg("no \"%s\"", name);
    *size = found.size;
    return found.value;
}

/* The bytes are those of ml_dtypes' rounding, the numbers those that PyPI's gguf decodes. */
static void bytes_are_what_others_read(void **state) {
    (void)state;
    enum { N = 512 };
    static const kd_number_format *const format[] = {&kd_format_nvfp4, &kd_format_mxfp4};
    float x[N], back[N];
    unsigned char bytes[N];
    int64_t size;
    const double *golden_x = golden("x", &size);
    assert_int_equal(size, N);
    for (int i = 0; i < N; i++) x[i] = (float)golden_x[i];
    for (int f = 0; f < 2; f++) {
        char name[24];
        const double *right = golden(format[f]->name, &size);
        assert_int_equal(size, kd_number_format_bytes(format[f], N));
        format[f]->encode(bytes, x, NULL, N);
        for (int64_t i = 0; i < size; i++) assert_int_equal(bytes[i], (int)right[i]);
        snprintf(name, sizeof name, "%s values", format[f]->name);
        right = golden(name, &size);
        assert_int_equal(size, N);
        format[f]->decode(back, bytes, N);
        for (int i = 0; i < N; i++) assert_true((double)back[i] == right[i]);
    }
}

/* Values are rounded with the scale as E4M3 has it; importance never loses more. */
static void scales_are_those_that_are_stored(void **state) {
    (void)state;
    enum { N = 64 };
    float x[N], back[N], importance[N];
    unsigned char bytes[36];
    kd_rng rng = kd_rng_init(4, 4);
    for (int round = 0; round < 50; round++) {
        double plain = 0, weighted = 0;
        for (int i = 0; i < N; i++) {
            x[i] = (float)kd_rng_normal(&rng) * ldexpf(1, round % 8);
            importance[i] = (float)kd_rng_uniform(&rng);
        }
        kd_format_nvfp4.encode(bytes, x, NULL, N);
        for (int sub = 0; sub < 4; sub++) {
            float most = 0;
            for (int i = 0; i < 16; i++) most = fmaxf(most, fabsf(x[16 * sub + i]));
            assert_int_equal(bytes[sub], kd_e4m3_from_float(most / 6));
            for (int i = 0; i < 16; i++) {
                const int code = bytes[4 + 8 * sub + i % 8] >> (i < 8 ? 0 : 4) & 15;
                assert_int_equal(
                    code, kd_e2m1_from_float(x[16 * sub + i] / kd_e4m3_to_float(bytes[sub])));
            }
        }
        for (int format = 0; format < 2; format++) {
            const kd_number_format *f = format ? &kd_format_mxfp4 : &kd_format_nvfp4;
            for (int i = 0; i < N; i++) back[i] = 0;
            plain = weighted = 0;
            unsigned char own[36];
            f->encode(own, x, NULL, N);
            f->decode(back, own, N);
            for (int i = 0; i < N; i++)
                plain += (double)importance[i] * pow((double)(x[i] - back[i]), 2);
            f->encode(own, x, importance, N);
            f->decode(back, own, N);
            for (int i = 0; i < N; i++)
                weighted += (double)importance[i] * pow((double)(x[i] - back[i]), 2);
            assert_true(weighted <= plain);
        }
    }
}

static const kd_number_format *all_matrices(const kd_param *param,
                                            const kd_number_format *matrices) {
    return param->tensor.rank > 1 ? matrices : &kd_format_f32;
}

/* Weights far too small for E4M3 by itself: the tensor's scale brings them there, in training and
 * in the file, whoever has rounded them. */
static void files_hold_what_was_computed(void **state) {
    (void)state;
    enum { N = 128, ROWS = 3 };
    static const char path[] = "/tmp/distill_test_nvfp4.gguf";
    kd_params *params = NULL, *read = NULL;
    kd_quantized *q;
    for (int twice = 0; twice < 2; twice++) {
        kd_params *p;
        assert_ok(kd_params_create(&p));
        kd_params_add(p, "layer.weight", 2, (int64_t[]){ROWS, N}, KD_INIT_NORMAL_002, 1, 1,
                      KD_PARAM_TRAINED);
        kd_params_add(p, "layer.bias", 1, (int64_t[]){ROWS}, KD_INIT_ONE, 1, 1, KD_PARAM_TRAINED);
        assert_ok(kd_params_layout(p, 7));
        *(twice ? &read : &params) = p;
    }
    kd_tensor *w = &params->list[0]->tensor;
    for (int64_t i = 0; i < w->size; i++) w->value[i] = (kd_real)((double)w->value[i] * 1e-4);
    const kd_quantizable model = {.params = params, .rule = all_matrices};
    const kd_quantize_spec spec = {.how = &kd_quantizer_nearest, .format = &kd_format_nvfp4};
    assert_ok(kd_quantized_create(&q, &model, &spec));
    assert_ok(kd_quantized_start(q));
    assert_ok(kd_quantized_round(q));
    const kd_encoding *how = kd_quantized_encodings(q);
    double most = 0, error = 0, all = 0;
    for (int64_t i = 0; i < w->size; i++) {
        const double own = (double)params->value[params->list[0]->offset + i];
        most = fmax(most, fabs(own));
        error += pow(own - (double)w->value[i], 2);
        all += own * own;
    }
    const double share = (double)how[0].scale / (most / 2688);
    assert_true(share > 1 - 1e-6 && share < 2);
    assert_true(sqrt(error / all) < 0.11);
    for (int by_writer = 0; by_writer < 2; by_writer++) {
        kd_encoding own[2] = {how[0], how[1]};
        if (by_writer) own[0].bytes = NULL; /* it takes the nearest itself, of the model's values */
        kd_tensor kept = *w;
        if (by_writer) w->value = params->value + params->list[0]->offset;
        assert_ok(kd_weights_gguf_write(path, params, own, &(kd_weights_info){.config = "{}"}));
        *w = kept;
        assert_ok(kd_weights_gguf_read(read, path));
        for (int64_t i = 0; i < w->size; i++)
            assert_true(fabs((double)(read->list[0]->tensor.value[i] - w->value[i])) <=
                        (sizeof(kd_real) == 4 ? 0 : 1e-12));
    }
    unlink(path);
    kd_quantized_free(q);
    kd_params_free(params);
    kd_params_free(read);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_go_to_the_nearest),
                                       cmocka_unit_test(floats_of_eight_bits),
                                       cmocka_unit_test(scales_are_powers_of_two),
                                       cmocka_unit_test(weights_lose_what_is_said),
                                       cmocka_unit_test(bytes_are_what_others_read),
                                       cmocka_unit_test(scales_are_those_that_are_stored),
                                       cmocka_unit_test(files_hold_what_was_computed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
