/* The optimizers and the schedules of the learning rate against PyTorch's and transformers' numbers
 * (golden/make_optimizer.py holds the same cases). */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "asserts.h"
#include "distill/optimizer.h"
#include "golden.h"

#define GOLDEN "tests/golden/optimizer.bin"
static const double RATE = 0.1;

/* The norm of the gradient of an update at RATE. */
static double updated(kd_optimizer *optimizer) {
    return kd_optimizer_update(optimizer, RATE);
}

/* In float32 1 − 0.999 is off by 1e-5 of itself, and with it AdamW's second moment. */
static const double TOLERANCE = sizeof(kd_real) == 4 ? 1e-5 : 1e-12;

enum { STEPS = 8, DENSE = 0, CONV = 3, PARAMS = 4 };

static const kd_real *const UNTRAINED = (const kd_real[]){1, 1, 1};

/* As PyTorch's three, and one that is saved but not trained. */
static kd_params *make_params(void) {
    kd_params *params;
    const int weight = KD_PARAM_TRAINED | KD_PARAM_DECAYED;
    assert_ok(kd_params_create(&params));
    kd_params_add(params, "dense", 2, (int64_t[]){5, 7}, KD_INIT_ZERO, 7, 5, weight);
    kd_params_add(params, "mean", 1, (int64_t[]){3}, KD_INIT_ONE, 1, 1, KD_PARAM_STATE);
    kd_params_add(params, "bias", 1, (int64_t[]){5}, KD_INIT_ZERO, 7, 5, KD_PARAM_TRAINED);
    kd_params_add(params, "conv", 4, (int64_t[]){4, 3, 2, 3}, KD_INIT_ZERO, 18, 4, weight);
    assert_ok(kd_params_layout(params, 1));
    assert_int_equal(params->count, PARAMS);
    return params;
}

static golden_entry golden(const char *format, ...) {
    char name[64];
    golden_entry entry;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (!golden_find(&entry, GOLDEN, name)) fail_msg("no golden %s", name);
    return entry;
}

static void fill(kd_real *out, golden_entry from, int64_t size) {
    assert_int_equal(from.size, size);
    for (int64_t i = 0; i < size; i++) out[i] = (kd_real)from.value[i];
}

static void assert_near(double found, double expected, const char *name, int64_t i) {
    if (!(fabs(found - expected) <= TOLERANCE * (1 + fabs(expected))))
        fail_msg("%s[%lld] is %.15g, not %.15g", name, (long long)i, found, expected);
}

static void set_gradients(kd_params *params, int step) {
    for (int p = 0; p < params->count; p++) {
        kd_tensor *t = &params->list[p]->tensor;
        if (t->grad) fill(t->grad, golden("gradient.%d.%s", step, params->list[p]->name), t->size);
    }
}

static void compare(const kd_params *params, const char *name, int updates) {
    for (int p = 0; p < params->count; p++) {
        const kd_tensor *t = &params->list[p]->tensor;
        if (!t->grad) continue;
        golden_entry expected = golden("%s.%d.%s", name, updates, params->list[p]->name);
        for (int64_t i = 0; i < t->size; i++)
            assert_near((double)t->value[i], expected.value[i], expected.name, i);
    }
}

/* The same weights after 1, 2 and 8 updates, whose rate falls. */
static void run_case(const char *name, const kd_train_spec *spec) {
    kd_params *params = make_params();
    kd_optimizer optimizer;
    for (int p = 0; p < params->count; p++) {
        kd_tensor *t = &params->list[p]->tensor;
        if (t->grad) fill(t->value, golden("start.%s", params->list[p]->name), t->size);
    }
    assert_ok(kd_optimizer_init(&optimizer, params, spec));
    golden_entry norms = golden("%s.norms", name);
    for (int t = 0; t < STEPS; t++) {
        const int64_t version = params->version;
        set_gradients(params, t);
        const double norm = kd_optimizer_update(&optimizer, RATE * (1 - t / (2.0 * STEPS)));
        assert_near(norm, norms.value[t], norms.name, t);
        assert_int_equal(optimizer.step, t + 1);
        assert_true(params->version > version);
        if (t + 1 == 1 || t + 1 == 2 || t + 1 == STEPS) compare(params, name, t + 1);
    }
    assert_memory_equal(params->list[1]->tensor.value, UNTRAINED, 3 * sizeof(kd_real));
    kd_optimizer_clear(&optimizer);
    kd_params_free(params);
}

#define SGD(...)                                                                                   \
    &(kd_train_spec) {                                                                             \
        .optimizer = KD_OPTIMIZER_SGD, __VA_ARGS__                                                 \
    }
#define ADAMW(b1, b2, e, ...)                                                                      \
    &(kd_train_spec) {                                                                             \
        .optimizer = KD_OPTIMIZER_ADAMW, .beta1 = b1, .beta2 = b2, .epsilon = e, __VA_ARGS__       \
    }

static void sgd_is_pytorchs(void **state) {
    (void)state;
    run_case("sgd", SGD(.momentum = 0));
    run_case("sgd_decay", SGD(.weight_decay = 0.3));
    run_case("sgd_momentum", SGD(.momentum = 0.9, .weight_decay = 0.3));
    run_case("sgd_nesterov", SGD(.momentum = 0.7, .weight_decay = 0.3, .nesterov = true));
    run_case("sgd_clip", SGD(.momentum = 0.9, .weight_decay = 0.3, .clip = 1.25));
    run_case("sgd_max_norm", SGD(.momentum = 0.9, .max_norm = 1.3));
}

static void adamw_is_pytorchs(void **state) {
    (void)state;
    run_case("adamw", ADAMW(0.9, 0.999, 1e-8, .weight_decay = 0));
    run_case("adamw_decay", ADAMW(0.9, 0.999, 1e-8, .weight_decay = 0.5));
    run_case("adamw_betas", ADAMW(0.6, 0.8, 0.05, .weight_decay = 0.5));
    run_case("adamw_clip", ADAMW(0.8, 0.9, 0.05, .weight_decay = 0.5, .clip = 1.25));
    run_case("adamw_all",
             ADAMW(0.8, 0.9, 0.05, .weight_decay = 0.5, .clip = 1.25, .max_norm = 1.3));
}

/* SGD divides nothing, so what its state would be in plain loops is exact but for rounding. */
static void long_parameters_are_updated_whole(void **state) {
    (void)state;
    enum { ROWS = 3, COLUMNS = 16384 + 5, SIZE = ROWS * COLUMNS, UPDATES = 3 };
    const double clip = 20, momentum = 0.5, decay = 0.25, bound = 60;
    const kd_train_spec *spec =
        SGD(.momentum = momentum, .weight_decay = decay, .clip = clip, .max_norm = bound);
    const int threads = omp_get_max_threads();
    kd_real *first = NULL;
    for (int n = 1; n <= 5; n += 2) {
        kd_params *params;
        kd_optimizer optimizer;
        omp_set_num_threads(n);
        assert_ok(kd_params_create(&params));
        kd_params_add(params, "long", 2, (int64_t[]){ROWS, COLUMNS}, KD_INIT_ONE, COLUMNS, ROWS,
                      KD_PARAM_TRAINED | KD_PARAM_DECAYED);
        kd_params_add(params, "short", 1, (int64_t[]){1}, KD_INIT_ONE, 1, 1, KD_PARAM_TRAINED);
        assert_ok(kd_params_layout(params, 1));
        assert_ok(kd_optimizer_init(&optimizer, params, spec));
        double *w = malloc(SIZE * sizeof *w), *v = calloc(SIZE, sizeof *v);
        for (int i = 0; i < SIZE; i++) w[i] = 1;
        for (int u = 0; u < UPDATES; u++) {
            double square = 0;
            for (int i = 0; i < SIZE; i++) {
                params->grad[i] = (kd_real)((i * 37 + u) % 101 - 50) / 64;
                square += (double)params->grad[i] * (double)params->grad[i];
            }
            params->list[1]->tensor.grad[0] = 3;
            const double norm = sqrt(square + 9), scale = clip / norm;
            assert_true(norm > clip);
            for (int r = 0; r < ROWS; r++) {
                double sum = 0;
                for (int i = r * COLUMNS; i < (r + 1) * COLUMNS; i++) {
                    v[i] = momentum * v[i] + scale * (double)params->grad[i] + decay * w[i];
                    w[i] -= RATE * v[i];
                    sum += w[i] * w[i];
                }
                const double shrink = fmin(1, bound / sqrt(sum));
                for (int i = r * COLUMNS; i < (r + 1) * COLUMNS; i++) w[i] *= shrink;
            }
            assert_near(updated(&optimizer), norm, "norm", u);
        }
        for (int i = 0; i < SIZE; i++) assert_near((double)params->value[i], w[i], "long", i);
        if (!first) {
            first = malloc(SIZE * sizeof *first);
            memcpy(first, params->value, SIZE * sizeof *first);
        }
        assert_memory_equal(params->value, first, SIZE * sizeof *first);
        free(w);
        free(v);
        kd_optimizer_clear(&optimizer);
        kd_params_free(params);
    }
    omp_set_num_threads(threads);
    free(first);
}

/* With nothing to learn, momentum and decay go on; nothing becomes NaN. */
static void no_gradient_is_no_trouble(void **state) {
    (void)state;
    const kd_train_spec *spec = ADAMW(0.9, 0.999, 1e-8, .clip = 1);
    kd_params *params = make_params();
    kd_optimizer optimizer;
    assert_ok(kd_optimizer_init(&optimizer, params, spec));
    const kd_tensor *dense = &params->list[DENSE]->tensor, *conv = &params->list[CONV]->tensor;
    for (int64_t i = 0; i < dense->size; i++) dense->value[i] = 2;
    assert_true(updated(&optimizer) == 0);
    for (int64_t i = 0; i < dense->size; i++) assert_true(dense->value[i] == 2);
    for (int64_t i = 0; i < conv->size; i++) assert_true(conv->value[i] == 0);
    conv->grad[3] = (kd_real)NAN; /* which the trainer asks for */
    assert_true(isnan(updated(&optimizer)));
    kd_optimizer_clear(&optimizer);
    kd_params_free(params);
}

/* --- schedules ------------------------------------------------------------------------------- */

enum { TOTAL = 24, WARMUP = 5 };

static const char *const SCHEDULES[] = {[KD_SCHEDULE_CONSTANT] = "constant",
                                        [KD_SCHEDULE_LINEAR] = "linear",
                                        [KD_SCHEDULE_COSINE] = "cosine"};

/* Theirs begins to warm up at rate 0, ours one step later in their count. */
static void schedules_are_transformers(void **state) {
    (void)state;
    for (int kind = KD_SCHEDULE_CONSTANT; kind <= KD_SCHEDULE_COSINE; kind++)
        for (int warmup = 0; warmup <= WARMUP; warmup += WARMUP)
            for (int low = 0; low < 2; low++) {
                const kd_train_spec spec = {.learning_rate = RATE,
                                            .schedule = (kd_schedule_kind)kind,
                                            .final_fraction = low ? 0.2 : 0};
                golden_entry theirs =
                    golden("%s.%d.%s", SCHEDULES[kind], warmup, low ? "0.2" : "0.0");
                assert_int_equal(theirs.size, TOTAL + 1);
                for (int t = 0; t <= TOTAL; t++) {
                    double expected = theirs.value[t < warmup ? t + 1 : t];
                    double rate = kd_schedule_rate(&spec, t, warmup, TOTAL);
                    if (!(fabs(rate - expected) < 1e-12))
                        fail_msg("%s at %d is %.15g, not %.15g", theirs.name, t, rate, expected);
                }
            }
}

/* The formulas at places that can be read off. */
static void schedules_begin_and_end_where_they_should(void **state) {
    (void)state;
    kd_train_spec spec = {.learning_rate = 8, .final_fraction = 0.25};
    for (int kind = KD_SCHEDULE_CONSTANT; kind <= KD_SCHEDULE_COSINE; kind++) {
        const bool falls = kind != KD_SCHEDULE_CONSTANT;
        spec.schedule = (kd_schedule_kind)kind;
        assert_true(kd_schedule_rate(&spec, 0, 4, 20) == 2); /* not 0: no update is for nothing */
        assert_true(kd_schedule_rate(&spec, 3, 4, 20) == 8);
        assert_true(kd_schedule_rate(&spec, 4, 4, 20) == 8);
        assert_float_equal(kd_schedule_rate(&spec, 12, 4, 20), (falls ? 5 : 8), 1e-12);
        assert_float_equal(kd_schedule_rate(&spec, 20, 4, 20), (falls ? 2 : 8), 1e-12);
        assert_true(kd_schedule_rate(&spec, 0, 0, 20) == 8);
        assert_true(kd_schedule_rate(&spec, 19, 20, 20) == 8); /* warm-up alone */
        assert_true(kd_schedule_rate(&spec, 20, 20, 20) == (falls ? 2 : 8));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgd_is_pytorchs),
        cmocka_unit_test(adamw_is_pytorchs),
        cmocka_unit_test(long_parameters_are_updated_whole),
        cmocka_unit_test(no_gradient_is_no_trouble),
        cmocka_unit_test(schedules_are_transformers),
        cmocka_unit_test(schedules_begin_and_end_where_they_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
