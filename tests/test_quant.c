/* Fake-quantization against PyTorch and against its stated rules; grids; observers. */
#include "quant_nets.h"

#include <omp.h>

#include "autograd/op_common.h"
#include "base/file.h"

/* --- golden values of PyTorch ----------------------------------------------------------------- */

static char *golden_bytes;
static size_t golden_length;

/* The record `name.part` of tests/golden/quant.bin, `n` its length. */
static const float *golden(const char *name, const char *part, int64_t *n) {
    if (!golden_bytes)
        ASSERT_OK(kd_file_read(&golden_bytes, &golden_length, "tests/golden/quant.bin", 1 << 20));
    char wanted[32] = {0};
    snprintf(wanted, sizeof wanted, "%s.%s", name, part);
    for (size_t at = 0; at < golden_length; at += 40 + 4 * (size_t)*n) {
        memcpy(n, golden_bytes + at + 32, sizeof *n);
        if (memcmp(golden_bytes + at, wanted, 32) == 0)
            return (const float *)(const void *)(golden_bytes + at + 40);
    }
    fail_msg("no golden %s", wanted);
    return NULL;
}

static void assert_near(const char *what, double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance * fmax(1, fabs(expected))))
        fail_msg("%s: %.9g, should be %.9g", what, found, expected);
}

/* One case: steps · scale is PyTorch's fake-quantized value exactly, and so are the gradients. */
static void check_golden(const char *name, bool learned) {
    int64_t n, slices, four;
    const float *grid4 = golden(name, "grid", &four), *x = golden(name, "x", &n);
    const float *scale = golden(name, "scale", &slices), *y = golden(name, "y", &n);
    const float *weight = golden(name, "weight", &n), *grad = golden(name, "grad", &n);
    const kd_grid grid = {scale[0], (int32_t)grid4[0], (int32_t)grid4[1], (int32_t)grid4[2]};
    kd_tape *tape;
    ASSERT_OK(kd_tape_create(&tape, 1));
    kd_tensor *in = kd_tape_input(tape, 2, (int64_t[]){slices, n / slices});
    kd_tensor *s = kd_tape_input(tape, 1, &slices), *w = kd_tape_input(tape, 2, in->shape);
    in->needs_grad = true;
    s->needs_grad = learned;
    for (int64_t i = 0; i < n; i++) {
        in->value[i] = (kd_real)x[i];
        w->value[i] = (kd_real)(weight[i] * scale[i * slices / n]); /* L = Σ weight·scale·steps */
    }
    const double factor = 1 / sqrt((double)(n / slices) * (grid.qmax - grid.zero));
    const kd_learned how = {learned ? s : NULL, factor};
    kd_tensor *steps = kd_quantize(tape, in, slices, scale, &grid, how);
    for (int64_t i = 0; i < n; i++) {
        const float value = (float)steps->value[i] * scale[i * slices / n];
        if (value != y[i])
            fail_msg("%s[%lld]: %.9g, PyTorch %.9g", name, (long long)i, (double)value,
                     (double)y[i]);
    }
    kd_tape_backward(tape, kd_scale(tape, kd_mean(tape, kd_mul(tape, steps, w)), (kd_real)n));
    for (int64_t i = 0; i < n; i++) assert_near(name, (double)in->grad[i], (double)grad[i], 1e-5);
    if (learned) {
        const float *scale_grad = golden(name, "scale_grad", &slices);
        for (int64_t i = 0; i < slices; i++)
            assert_near(name, (double)s->grad[i], (double)scale_grad[i], 2e-5);
    }
    kd_tape_free(tape);
}

static void test_fake_quant_is_torchs(void **state) {
    (void)state;
    static const char *const names[] = {"tensor8", "tensor4",  "tensor2", "symmetric8",
                                        "ties",    "channel8", "channel4"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_golden(names[i], false);
}

static void test_lsq_is_torchs(void **state) {
    (void)state;
    check_golden("lsq8", true);
    check_golden("lsq_relu4", true);
    check_golden("lsq_channel4", true);
    check_golden("lsq_channel8", true);
}

/* --- grids ------------------------------------------------------------------------------------ */

static void test_grids(void **state) {
    (void)state;
    kd_grid g = kd_grid_from_range(-1, 3, 8, false);
    assert_int_equal(g.qmin, 0);
    assert_int_equal(g.qmax, 255);
    assert_int_equal(g.zero, 64); /* round(1/(4/255)) = round(63.75) */
    assert_near("scale", (double)g.scale, 4.0 / 255, 1e-7);
    g = kd_grid_from_range(0.5, 3, 4, false); /* widened to hold 0 */
    assert_int_equal(g.zero, 0);
    assert_int_equal(g.qmax, 15);
    assert_near("scale", (double)g.scale, 3.0 / 15, 1e-7);
    g = kd_grid_from_range(-3, -1, 8, false);
    assert_int_equal(g.zero, 255);
    g = kd_grid_from_range(-2, 1, 8, true);
    assert_int_equal(g.qmin, -127);
    assert_int_equal(g.zero, 0);
    assert_near("scale", (double)g.scale, 2.0 / 127, 1e-7);
    const double widths[] = {0, 1e-45, 1e-38, 1e30};
    for (int i = 0; i < 4; i++)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            g = kd_grid_from_range(-widths[i], widths[i], 8, symmetric);
            assert_true(g.scale > 0 && isfinite(1 / g.scale));
            assert_int_equal(kd_grid_steps(&g, 0.0f), 0); /* real zero is on every grid */
        }
    g = kd_grid_from_range(-1, 1, 8, false);
    assert_int_equal(kd_grid_steps(&g, 1e30f), g.qmax - g.zero);
    assert_int_equal(kd_grid_steps(&g, -INFINITY), g.qmin - g.zero);
    assert_int_equal(kd_grid_steps(&g, NAN), g.qmax - g.zero);
}

/* --- observers -------------------------------------------------------------------------------- */

enum { WATCHED = 100000 };

static kd_real *normal_values(uint64_t stream) {
    kd_real *x = malloc(WATCHED * sizeof *x);
    kd_rng rng = kd_rng_init(3, stream);
    for (int i = 0; i < WATCHED; i++) x[i] = (kd_real)kd_rng_normal(&rng);
    return x;
}

/* The range that two batches of `x`, the second one scaled, give. */
static void watch(kd_observer_kind kind, kd_real *x, double second, kd_real *range) {
    kd_observer *observer;
    ASSERT_OK(kd_observer_create(&observer, kind, 0.75, 99));
    memset(range, 0, KD_RANGE_SIZE * sizeof *range);
    kd_observer_watch(observer, range, x, WATCHED);
    kd_real *scaled = malloc(WATCHED * sizeof *scaled);
    for (int i = 0; i < WATCHED; i++) scaled[i] = x[i] * (kd_real)second;
    kd_observer_watch(observer, range, scaled, WATCHED);
    kd_observer_finish(observer, range, 4, false);
    assert_true(range[KD_RANGE_BATCHES] == 2);
    kd_observer_free(observer);
    free(scaled);
}

static void test_observers(void **state) {
    (void)state;
    kd_real *x = normal_values(1), range[KD_RANGE_SIZE];
    double min = 0, max = 0;
    for (int i = 0; i < WATCHED; i++) {
        min = fmin(min, (double)x[i]);
        if ((double)x[i] > max) max = (double)x[i];
    }
    watch(KD_OBSERVER_MINMAX, x, 3, range);
    assert_near("min", (double)range[KD_RANGE_MIN], 3 * min, 1e-6);
    assert_near("max", (double)range[KD_RANGE_MAX], 3 * max, 1e-6);
    watch(KD_OBSERVER_EMA, x, 3, range);
    assert_near("mean min", (double)range[KD_RANGE_MIN], (min + 3 * min) / 2, 1e-6);
    assert_near("mean max", (double)range[KD_RANGE_MAX], (max + 3 * max) / 2, 1e-6);
    watch(KD_OBSERVER_PERCENTILE, x, 1, range); /* 1 % and 99 % of a normal distribution */
    assert_near("percentile", (double)range[KD_RANGE_MIN], -2.326, 0.03);
    assert_near("percentile", (double)range[KD_RANGE_MAX], 2.326, 0.03);
    watch(KD_OBSERVER_PERCENTILE, x, 40, range); /* the histogram had to grow */
    assert_true((double)range[KD_RANGE_MAX] > 2.326 * 30 && (double)range[KD_RANGE_MAX] < 93);
    free(x);
}

/* The first four batches count alike at a weight of 3/4 for what was; from then on a batch has 1/4.
 */
static void test_average_of_batches(void **state) {
    (void)state;
    kd_real range[KD_RANGE_SIZE] = {0};
    double mean = 0;
    for (int n = 1; n <= 4; n++) {
        mean += n * n / 4.0;
        kd_range_average(range, 0.75, -n * n, 2 * n * n);
    }
    assert_near("mean min", (double)range[KD_RANGE_MIN], -mean, 1e-6);
    assert_near("mean max", (double)range[KD_RANGE_MAX], 2 * mean, 1e-6);
    kd_range_average(range, 0.75, -10, NAN); /* passed over */
    assert_true(range[KD_RANGE_BATCHES] == 4);
    kd_range_average(range, 0.75, -10, 40);
    assert_near("moving min", (double)range[KD_RANGE_MIN], -0.75 * mean - 2.5, 1e-6);
    assert_near("moving max", (double)range[KD_RANGE_MAX], 1.5 * mean + 10, 1e-6);
}

/* No shrunken range rounds the values themselves (not their histogram) noticeably better. */
static void test_mse_observer(void **state) {
    (void)state;
    kd_real *x = normal_values(2), range[KD_RANGE_SIZE];
    watch(KD_OBSERVER_MSE, x, 1, range);
    double best = INFINITY, ours = 0, largest = 0;
    for (int i = 0; i < WATCHED; i++)
        if (fabs((double)x[i]) > largest) largest = fabs((double)x[i]);
    for (int step = -1; step < 60; step++) {
        const double part = largest * (60 - step) / 60;
        kd_grid g = step < 0 ? kd_grid_from_range((double)range[0], (double)range[1], 4, false)
                             : kd_grid_from_range(-part, part, 4, false);
        double sum = 0;
        for (int i = 0; i < WATCHED; i++) {
            double e = (double)x[i] - (double)g.scale * kd_grid_steps(&g, (float)x[i]);
            sum += e * e;
        }
        if (step < 0)
            ours = sum;
        else
            best = fmin(best, sum);
    }
    assert_true(ours < 1.03 * best);
    assert_true((double)range[1] < 0.9 * largest);
    free(x);
}

static void test_observers_with_threads(void **state) {
    (void)state;
    kd_real *x = normal_values(3), once[KD_RANGE_SIZE], range[KD_RANGE_SIZE];
    for (int kind = 0; kind <= KD_OBSERVER_MSE; kind++)
        for (int threads = 1; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            watch((kd_observer_kind)kind, x, 2.5, threads == 1 ? once : range);
            if (threads > 1) assert_memory_equal(once, range, sizeof once);
        }
    free(x);
}

/* --- the rescaling ops against their stated rules ----------------------------------------------
 */

enum { ROWS = 700, CHANNELS = 61 };

typedef struct {
    kd_tape *tape;
    kd_tensor *acc, *bias, *scale, *weight;
    kd_rescale how;
    int32_t steps[CHANNELS], factor[CHANNELS], shift[CHANNELS];
    double ratio[CHANNELS];
} rescale_case;

static rescale_case *rescale_create(bool relu, bool learned) {
    rescale_case *r = calloc(1, sizeof *r);
    ASSERT_OK(kd_tape_create(&r->tape, 1));
    const int64_t C = CHANNELS, shape[2] = {ROWS, CHANNELS};
    r->acc = kd_tape_input(r->tape, 2, shape);
    r->weight = kd_tape_input(r->tape, 2, shape);
    r->bias = kd_tape_input(r->tape, 1, &C);
    r->scale = kd_tape_input(r->tape, 1, (int64_t[]){1});
    r->acc->needs_grad = r->bias->needs_grad = r->scale->needs_grad = true;
    kd_rng rng = kd_rng_init(8, 8);
    for (int64_t i = 0; i < r->acc->size; i++) {
        r->acc->value[i] = (kd_real)rint(9000 * kd_rng_normal(&rng));
        r->weight->value[i] = (kd_real)kd_rng_normal(&rng);
    }
    for (int c = 0; c < CHANNELS; c++) {
        r->ratio[c] = 0.002 + 0.03 * kd_rng_uniform(&rng);
        const kd_multiplier m = kd_multiplier_from(r->ratio[c]);
        r->factor[c] = m.factor;
        r->shift[c] = m.shift;
        r->steps[c] = (int32_t)(3000 * kd_rng_normal(&rng));
    }
    r->how = (kd_rescale){.channels = CHANNELS,
                          .bias = r->steps,
                          .factor = r->factor,
                          .shift = r->shift,
                          .ratio = r->ratio,
                          .unit = 1,
                          .grid = {0.05f, relu ? 0 : 120, 0, 255},
                          .relu = relu,
                          .bias_tensor = r->bias};
    if (learned) r->how.learned = (kd_learned){r->scale, 0.01};
    return r;
}

/* Forward and backward of L = Σ weight ∘ y. */
static kd_tensor *rescale_run(rescale_case *r) {
    r->acc->grad_written = r->bias->grad_written = r->scale->grad_written = false;
    kd_tensor *y =
        kd_requantize_steps(r->tape, &(kd_accumulator){.count = 1, .digit = {r->acc}}, &r->how);
    kd_tensor *mean = kd_mean(r->tape, kd_mul(r->tape, y, r->weight));
    kd_tape_backward(r->tape, kd_scale(r->tape, mean, (kd_real)y->size));
    return y;
}

static void check_rescale(bool relu, bool learned) {
    rescale_case *r = rescale_create(relu, learned);
    kd_tensor *y = rescale_run(r);
    double bias_grad[CHANNELS] = {0}, scale_grad = 0;
    const int low = relu ? 0 : -120, high = relu ? 255 : 135;
    int clipped = 0;
    for (int64_t i = 0; i < y->size; i++) {
        const int64_t c = i % CHANNELS;
        const int32_t t = (int32_t)r->acc->value[i] + r->steps[c];
        const int32_t q = kd_requantize(t, r->factor[c], r->shift[c]);
        const double g = (double)r->weight->value[i];
        const bool under = relu ? t <= 0 : q<low, over = q> high;
        assert_true((double)y->value[i] == (q < low ? low : q > high ? high : q));
        assert_near("acc", (double)r->acc->grad[i], under || over ? 0 : g * r->ratio[c], 1e-6);
        if (!under && !over) bias_grad[c] += g / 0.05;
        scale_grad += g / 0.05 * (over ? high : under ? low : q - t * r->ratio[c]) * 0.01;
        clipped += under || over;
    }
    assert_true(clipped > 1000 && clipped < y->size - 1000);
    for (int c = 0; c < CHANNELS; c++)
        assert_near("bias", (double)r->bias->grad[c], bias_grad[c], 1e-4);
    if (learned)
        assert_near("scale", (double)r->scale->grad[0], scale_grad, 1e-4);
    else
        assert_false(r->scale->grad_written);
    kd_tape_free(r->tape);
    free(r);
}

static void test_requantize_rules(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) check_rescale(i & 1, i & 2);
}

static void test_requantize_with_threads(void **state) {
    (void)state;
    kd_real first[3];
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        rescale_case *r = rescale_create(false, true);
        rescale_run(r);
        kd_real found[3] = {r->acc->grad[77], r->bias->grad[5], r->scale->grad[0]};
        if (threads == 1) memcpy(first, found, sizeof first);
        assert_memory_equal(first, found, sizeof first);
        kd_tape_free(r->tape);
        free(r);
    }
}

static void test_nan_passes(void **state) {
    (void)state;
    rescale_case *r = rescale_create(true, false);
    r->acc->value[5] = (kd_real)NAN;
    kd_tensor *y =
        kd_requantize_steps(r->tape, &(kd_accumulator){.count = 1, .digit = {r->acc}}, &r->how);
    assert_true(isnan(y->value[5]) && !isnan(y->value[6]));
    kd_grid g = {0.1f, 0, 0, 255};
    assert_true(isnan(kd_quantize(r->tape, r->acc, 1, &g.scale, &g, (kd_learned){0})->value[5]));
    kd_tape_free(r->tape);
    free(r);
}

static void check_add(bool relu) {
    kd_tape *tape;
    ASSERT_OK(kd_tape_create(&tape, 1));
    const int64_t shape[2] = {300, 130};
    kd_tensor *a = kd_tape_input(tape, 2, shape), *b = kd_tape_input(tape, 2, shape);
    kd_tensor *s = kd_tape_input(tape, 1, (int64_t[]){1}), *w = kd_tape_input(tape, 2, shape);
    a->needs_grad = b->needs_grad = s->needs_grad = true;
    kd_rng rng = kd_rng_init(4, 4);
    for (int64_t i = 0; i < a->size; i++) {
        a->value[i] = (kd_real)((double)kd_rng_below(&rng, 256) - 100);
        b->value[i] = (kd_real)((double)kd_rng_below(&rng, 256) - 128);
        w->value[i] = (kd_real)kd_rng_normal(&rng);
    }
    const kd_grid ga = {1.0f / 64, 100, 0, 255}, gb = {3.0f / 64, 128, 0, 255};
    const kd_grid out = {1.0f / 32, relu ? 0 : 100, 0, 255};
    kd_tensor *y = kd_add_quantized(tape, a, &ga, b, &gb, &out, relu, (kd_learned){s, 1});
    kd_tape_backward(tape, kd_scale(tape, kd_mean(tape, kd_mul(tape, y, w)), (kd_real)y->size));
    const kd_add_multipliers m = kd_add_multipliers_from(ga.scale, gb.scale, out.scale);
    const int low = relu ? 0 : -100, high = relu ? 255 : 155;
    double scale_grad = 0;
    for (int64_t i = 0; i < y->size; i++) {
        const double g = (double)w->value[i];
        const double v = ((double)a->value[i] + 3 * (double)b->value[i]) / 2;
        const int32_t r = kd_add_steps((int32_t)a->value[i], (int32_t)b->value[i], &m);
        const bool under = relu ? v <= 0 : r<low, over = r> high;
        assert_true((double)y->value[i] == (r < low ? low : r > high ? high : r));
        assert_near("a", (double)a->grad[i], under || over ? 0 : g * 0.5, 1e-6);
        assert_near("b", (double)b->grad[i], under || over ? 0 : g * 1.5, 1e-6);
        scale_grad += g * 32 * (over ? high : under ? low : r - v);
    }
    assert_near("scale", (double)s->grad[0], scale_grad, 1e-4);
    kd_tape_free(tape);
}

static void test_add_rules(void **state) {
    (void)state;
    check_add(false);
    check_add(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fake_quant_is_torchs),
        cmocka_unit_test(test_lsq_is_torchs),
        cmocka_unit_test(test_grids),
        cmocka_unit_test(test_observers),
        cmocka_unit_test(test_average_of_batches),
        cmocka_unit_test(test_mse_observer),
        cmocka_unit_test(test_observers_with_threads),
        cmocka_unit_test(test_requantize_rules),
        cmocka_unit_test(test_requantize_with_threads),
        cmocka_unit_test(test_nan_passes),
        cmocka_unit_test(test_add_rules),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(golden_bytes);
    return failed;
}
