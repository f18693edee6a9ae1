/* GPTQ: beside its paper's program (golden/make_gptq.py), in every format that has a grid, with
 * what it gathers of a model in one pass over the samples and in several. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "asserts.h"
#include "autograd/cholesky.h"
#include "autograd/ops.h"
#include "base/rng.h"
#include "golden.h"
#include "quant/quantizer.h"

static const kd_gptq_spec STANDARD = {.damping = 0.01, .activation_order = true};

/* --- one matrix --------------------------------------------------------------------------------
 */

typedef struct {
    int64_t rows, n;
    int groups;
    kd_real *w, *H; /* (rows,n), (groups,n,n) */
    float *scratch;
    unsigned char *bytes;
    kd_param param;
    kd_param *list[1];
    kd_params params;
    kd_quantized quantized;
} problem;

static void *take(size_t bytes) {
    void *memory = calloc(1, bytes);
    assert_non_null(memory);
    return memory;
}

static problem *make(int64_t rows, int64_t n, int groups) {
    problem *p = take(sizeof *p);
    *p = (problem){.rows = rows, .n = n, .groups = groups};
    p->w = take((size_t)(rows * n) * sizeof *p->w);
    p->H = take((size_t)(groups * n * n) * sizeof *p->H);
    p->scratch = take((size_t)(64 * n) * sizeof *p->scratch);
    p->bytes = take((size_t)(rows * n) * sizeof(float) + 64);
    snprintf(p->param.name, sizeof p->param.name, "the matrix");
    p->list[0] = &p->param;
    p->params = (kd_params){.list = p->list, .count = 1};
    p->quantized.model.params = &p->params;
    return p;
}

static void free_problem(problem *p) {
    free(p->w);
    free(p->H);
    free(p->scratch);
    free(p->bytes);
    free(p);
}

/* Inputs that go together, some louder than others; all weights alike. */
static problem *make_random(int64_t rows, int64_t n, int groups) {
    problem *p = make(rows, n, groups);
    enum { SAMPLES = 300 };
    kd_rng rng = kd_rng_init(11, (uint64_t)n);
    double *x = take((size_t)n * sizeof *x);
    for (int64_t i = 0; i < rows * n; i++) p->w[i] = (kd_real)kd_rng_normal(&rng);
    for (int g = 0; g < groups; g++)
        for (int s = 0; s < SAMPLES; s++) {
            double together = 0;
            for (int64_t j = 0; j < n; j++) {
                together = 0.8 * together + 0.6 * (double)kd_rng_normal(&rng);
                x[j] = together * (j % 16 == 3 ? 4 : 1);
            }
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < n; j++)
                    p->H[(g * n + i) * n + j] += (kd_real)(2 * x[i] * x[j] / SAMPLES);
        }
    free(x);
    return p;
}

static kd_rounding rounding_of(problem *p, const kd_number_format *format) {
    return (kd_rounding){.model = &p->quantized,
                         .format = format,
                         .rows = p->rows,
                         .n = p->n,
                         .w = p->w,
                         .bytes = p->bytes,
                         .scratch = p->scratch};
}

/* Σ (w − w')·H·(w − w')ᵀ of what the bytes say. */
static double output_error(problem *p, const kd_number_format *format) {
    const int64_t n = p->n, bytes = (int64_t)kd_number_format_bytes(format, n);
    double sum = 0;
    for (int64_t row = 0; row < p->rows; row++) {
        const kd_real *H = p->H + row / (p->rows / p->groups) * n * n;
        float *back = p->scratch;
        format->decode(back, p->bytes + row * bytes, n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                sum += ((double)p->w[row * n + i] - (double)back[i]) * (double)H[i * n + j] *
                       ((double)p->w[row * n + j] - (double)back[j]);
    }
    return sum;
}

static void encode_nearest(problem *p, const kd_number_format *format) {
    float *w = take((size_t)(p->rows * p->n) * sizeof *w);
    for (int64_t i = 0; i < p->rows * p->n; i++) w[i] = (float)p->w[i];
    assert_ok(kd_number_format_encode(p->bytes, format, w, NULL, 0, p->rows, p->n, 1, "a matrix"));
    free(w);
}

/* UᵀU·H is the identity, whatever the number of threads. */
static void factors_are_of_the_inverse(void **state) {
    (void)state;
    enum { N = 70 };
    problem *p = make_random(1, N, 1);
    kd_real U[N * N], again[N * N];
    for (int i = 0; i < N; i++) p->H[i * N + i] += (kd_real)0.1;
    memcpy(U, p->H, sizeof U);
    memcpy(again, p->H, sizeof again);
    assert_true(kd_factor_of_inverse(U, N));
    omp_set_num_threads(1);
    assert_true(kd_factor_of_inverse(again, N));
    omp_set_num_threads(omp_get_num_procs());
    assert_memory_equal(U, again, sizeof U);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < N; k++)
                for (int l = 0; l <= k && l <= i; l++)
                    sum += (double)U[l * N + i] * (double)U[l * N + k] * (double)p->H[k * N + j];
            assert_true(fabs(sum - (i == j)) < 1e-3);
            if (i > j) assert_true(U[i * N + j] == 0);
        }
    U[5 * N + 5] = -1;
    assert_false(kd_factor_of_inverse(U, N));
    for (int i = 0; i < N * N; i++) U[i] = NAN;
    assert_false(kd_factor_of_inverse(U, N));
    free_problem(p);
}

static const double *golden(const char *name, int64_t *size) {
    golden_entry found = {0};
    if (!golden_find(&found, "tests/golden/gptq.bin", name)) fail_msg("no \"%s\"", name);
    *size = found.size;
    return found.value;
}

/* Every code is that of the paper's program; two inputs never were anything but 0. */
static void codes_are_those_of_the_paper(void **state) {
    (void)state;
    enum { N = 160 };
    int64_t size, samples;
    const double *w = golden("w", &size), *x = golden("x", &samples);
    const int64_t rows = size / N;
    samples /= N;
    problem *p = make(rows, N, 1);
    for (int64_t i = 0; i < size; i++) p->w[i] = (kd_real)w[i];
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++) {
            double sum = 0;
            for (int64_t s = 0; s < samples; s++) sum += x[s * N + i] * x[s * N + j];
            p->H[i * N + j] = (kd_real)(2 * sum / (double)samples);
        }
    const kd_rounding matrix = rounding_of(p, &kd_format_q4_0);
    for (int by_activation = 0; by_activation < 2; by_activation++) {
        const kd_gptq_spec spec = {.damping = 0.01, .activation_order = by_activation};
        const double *code = golden(by_activation ? "by activation" : "in order", &size);
        assert_int_equal(size, rows * N);
        assert_ok(kd_gptq_round(&matrix, p->H, 1, &spec));
        for (int64_t i = 0; i < size; i++) {
            const int j = (int)(i % 32);
            const unsigned char pair = p->bytes[i / 32 * 18 + 2 + j % 16];
            assert_int_equal(j < 16 ? pair & 15 : pair >> 4, (int)code[i]);
        }
    }
    free_problem(p);
}

/* --- every format ------------------------------------------------------------------------------
 */

/* A row's scales and any codes are what decoding makes of the bytes. */
static void grids_are_what_is_decoded(void **state) {
    (void)state;
    enum { N = 512 };
    float x[N], scale[N], offset[N], back[N];
    uint8_t code[N];
    unsigned char bytes[N * sizeof(float) + 64];
    const kd_number_format *format;
    kd_rng rng = kd_rng_init(2, 9);
    for (int i = 0; (format = kd_number_format_at(i)); i++) {
        const kd_format_grid *grid = format->grid;
        if (!grid) continue;
        for (int j = 0; j < N; j++) x[j] = (float)kd_rng_normal(&rng);
        format->encode(bytes, x, NULL, N);
        grid->scales(scale, offset, bytes, N);
        for (int j = 0; j < N; j++) code[j] = (uint8_t)(kd_rng_uniform(&rng) * (double)grid->codes);
        grid->put(bytes, code, N);
        format->decode(back, bytes, N);
        for (int j = 0; j < N; j++) {
            const float level = grid->level ? grid->level[code[j]] : grid->first + (float)code[j];
            if (back[j] != scale[j] * level + offset[j])
                fail_msg("%s: code %d is decoded as %g, not %g", format->name, code[j],
                         (double)back[j], (double)(scale[j] * level + offset[j]));
        }
        grid->scales(scale, offset, bytes, N); /* and the scales have stayed */
        for (int j = 0; j < N; j++)
            assert_true(back[j] == scale[j] * (grid->level ? grid->level[code[j]]
                                                           : grid->first + (float)code[j]) +
                                       offset[j]);
    }
}

/* Less than half of what the nearest numbers lose, in groups too, and the same bits with another
 * number of threads. */
static void every_grid_loses_less(void **state) {
    (void)state;
    enum { ROWS = 10, N = 256 };
    problem *p = make_random(ROWS, N, 2);
    unsigned char *again = take(ROWS * N * sizeof(float));
    const kd_number_format *format;
    int grids = 0;
    for (int i = 0; (format = kd_number_format_at(i)); i++) {
        if (!format->grid) continue;
        grids++;
        encode_nearest(p, format);
        const double nearest = output_error(p, format);
        const kd_rounding matrix = rounding_of(p, format);
        assert_ok(kd_gptq_round(&matrix, p->H, p->groups, &STANDARD));
        const double found = output_error(p, format);
        if (!(found < 0.5 * nearest))
            fail_msg("%s: %g, the nearest numbers %g", format->name, found, nearest);
        const size_t bytes = ROWS * (size_t)kd_number_format_bytes(format, N);
        memcpy(again, p->bytes, bytes);
        omp_set_num_threads(omp_get_max_threads() > 1 ? 1 : 3);
        assert_ok(kd_gptq_round(&matrix, p->H, p->groups, &STANDARD));
        omp_set_num_threads(omp_get_num_procs());
        assert_memory_equal(again, p->bytes, bytes);
    }
    assert_true(grids >= 8);
    free(again);
    free_problem(p);
}

/* More rows than are rounded together, in more columns than errors are carried over. */
static void rows_do_not_know_each_other(void **state) {
    (void)state;
    enum { ROWS = 515, N = 160 };
    const size_t row = (size_t)kd_number_format_bytes(&kd_format_q4_0, N);
    problem *p = make_random(ROWS, N, 1), *one = make_random(1, N, 1);
    const kd_rounding matrix = rounding_of(p, &kd_format_q4_0);
    assert_ok(kd_gptq_round(&matrix, p->H, 1, &STANDARD));
    const kd_rounding alone = rounding_of(one, &kd_format_q4_0);
    for (int i = 0; i < ROWS; i += ROWS - 1) {
        memcpy(one->w, p->w + i * N, N * sizeof *one->w);
        assert_ok(kd_gptq_round(&alone, p->H, 1, &STANDARD));
        assert_memory_equal(p->bytes + (size_t)i * row, one->bytes, row);
    }
    free_problem(p);
    free_problem(one);
}

static void what_cannot_be_inverted_is_refused(void **state) {
    (void)state;
    problem *p = make_random(2, 64, 1);
    const kd_rounding matrix = rounding_of(p, &kd_format_q4_0);
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < 64; j++) p->H[i * 64 + j] = i == j || (i < 10 && j < 10);
    assert_ok(kd_gptq_round(&matrix, p->H, 1, &STANDARD)); /* singular, but for the damping */
    p->H[3 * 64 + 3] = NAN;
    assert_refused(kd_gptq_round(&matrix, p->H, 1, &STANDARD), KD_EDATA, "the matrix: ");
    free_problem(p);
}

/* --- what passes over the tape -----------------------------------------------------------------
 */

typedef struct {
    kd_params *params;
    kd_param *conv, *rows, *unseen;
    kd_tape *tape;
    kd_tensor *x;
    kd_conv_spec how;
} network;

enum { B = 2, HIGH = 5, WIDE = 4, C = 8, O = 6, K = 2 };

static void make_network(network *n) {
    *n = (network){.how = {.stride = {2, 1}, .padding = {1, 0}, .groups = 2}};
    assert_ok(kd_params_create(&n->params));
    n->conv = kd_params_add(n->params, "conv", 4, (int64_t[]){O, K, K, C / 2}, KD_INIT_HE_NORMAL, 1,
                            1, KD_PARAM_TRAINED);
    n->rows = kd_params_add(n->params, "rows", 2, (int64_t[]){3, C}, KD_INIT_HE_NORMAL, 1, 1,
                            KD_PARAM_TRAINED);
    n->unseen = kd_params_add(n->params, "unseen", 2, (int64_t[]){3, C}, KD_INIT_HE_NORMAL, 1, 1,
                              KD_PARAM_TRAINED);
    assert_ok(kd_params_layout(n->params, 1));
    assert_ok(kd_tape_create(&n->tape, 1));
    n->x = kd_tape_input(n->tape, 4, (int64_t[]){B, HIGH, WIDE, C});
    kd_rng rng = kd_rng_init(3, 3);
    for (int64_t i = 0; i < n->x->size; i++) n->x->value[i] = (kd_real)kd_rng_normal(&rng);
}

static void run_network(const network *n) {
    kd_conv2d(n->tape, n->x, &n->conv->tensor, NULL, n->how, KD_ACT_NONE);
    kd_linear(n->tape, kd_reshape(n->tape, n->x, 2, (int64_t[]){B * HIGH * WIDE, C}),
              &n->rows->tensor, NULL, KD_ACT_NONE);
}

static void free_network(network *n) {
    kd_tape_free(n->tape);
    kd_params_free(n->params);
}

/* One value of a window, or 0 in the padding. */
static double value_at(const network *n, int64_t group, int64_t place, int64_t k) {
    const int64_t high = (HIGH + 2 - K) / 2 + 1, wide = WIDE - K + 1;
    const int64_t b = place / (high * wide), i = place / wide % high, j = place % wide;
    const int64_t h = 2 * i - 1 + k / (C / 2) / K, w = j + k / (C / 2) % K;
    if (h < 0 || h >= HIGH) return 0;
    return (double)n->x->value[((b * HIGH + h) * WIDE + w) * C + group * (C / 2) + k % (C / 2)];
}

static void check_products(const network *n, kd_input_products *products) {
    enum { LENGTH = K * K * C / 2, PLACES = B * 3 * (WIDE - K + 1) };
    int groups;
    const kd_real *H = kd_input_products_of(products, 0, &groups);
    if (H) {
        assert_int_equal(groups, 2);
        for (int k = 0; k < 2 * LENGTH * LENGTH; k++) {
            const int g = k / (LENGTH * LENGTH), i = k / LENGTH % LENGTH, j = k % LENGTH;
            double sum = 0;
            for (int place = 0; place < PLACES; place++)
                sum += value_at(n, g, place, i) * value_at(n, g, place, j);
            assert_true(fabs((double)H[k] - 2 * sum / PLACES) < 1e-5);
        }
    }
    H = kd_input_products_of(products, 1, &groups);
    for (int k = 0; H && k < C * C; k++) {
        double sum = 0;
        for (int row = 0; row < B * HIGH * WIDE; row++)
            sum += (double)n->x->value[row * C + k / C] * (double)n->x->value[row * C + k % C];
        assert_true(fabs((double)H[k] - 2 * sum / (B * HIGH * WIDE)) < 1e-5);
    }
    assert_null(kd_input_products_of(products, 2, &groups));
}

/* Σ x·xᵀ of windows and rows beside plain loops; where there is no room for both, one after the
 * other. */
static void products_of_inputs_are_summed(void **state) {
    (void)state;
    network n;
    const bool wanted[] = {true, true, true};
    make_network(&n);
    for (int passes = 1; passes <= 2; passes++) {
        kd_input_products *products;
        bool again = true;
        int groups, found = 0;
        assert_ok(kd_input_products_create(&products, n.params, wanted, passes == 1 ? 1 << 20 : 8));
        assert_int_equal(kd_input_products_finish(products, &again), KD_EDATA);
        run_network(&n); /* nobody looks */
        for (int pass = 1; pass <= passes; pass++) {
            kd_input_products_watch(products, n.tape);
            run_network(&n);
            run_network(&n); /* twice the rows, the same mean */
            kd_input_products_watch(NULL, n.tape);
            assert_ok(kd_input_products_finish(products, &again));
            assert_int_equal(again, pass < passes);
            for (int i = 0; i < 2; i++) found += kd_input_products_of(products, i, &groups) != NULL;
            check_products(&n, products);
            kd_input_products_release(products);
        }
        assert_int_equal(found, 2);
        kd_input_products_free(products);
    }
    free_network(&n);
}

/* More columns than are summed together: both halves are there, and the same. */
static void wide_products_are_symmetric(void **state) {
    (void)state;
    enum { ROWS = 3, COLUMNS = 530 };
    const bool wanted[] = {true};
    kd_params *params;
    kd_tape *tape;
    kd_input_products *products;
    bool again;
    int groups;
    assert_ok(kd_params_create(&params));
    kd_param *wide = kd_params_add(params, "wide", 2, (int64_t[]){2, COLUMNS}, KD_INIT_HE_NORMAL, 1,
                                   1, KD_PARAM_TRAINED);
    assert_ok(kd_params_layout(params, 1));
    assert_ok(kd_tape_create(&tape, 1));
    kd_tensor *x = kd_tape_input(tape, 2, (int64_t[]){ROWS, COLUMNS});
    kd_rng rng = kd_rng_init(4, 4);
    for (int64_t i = 0; i < x->size; i++) x->value[i] = (kd_real)kd_rng_normal(&rng);
    assert_ok(kd_input_products_create(&products, params, wanted, 1 << 20));
    kd_input_products_watch(products, tape);
    kd_linear(tape, x, &wide->tensor, NULL, KD_ACT_NONE);
    kd_input_products_watch(NULL, tape);
    assert_ok(kd_input_products_finish(products, &again));
    const kd_real *H = kd_input_products_of(products, 0, &groups);
    for (int i = 0; i < COLUMNS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            double sum = 0;
            for (int row = 0; row < ROWS; row++)
                sum += (double)x->value[row * COLUMNS + i] * (double)x->value[row * COLUMNS + j];
            if (!(fabs((double)H[i * COLUMNS + j] - 2 * sum / ROWS) < 1e-5))
                fail_msg("column %d by %d: %g, not %g", i, j, (double)H[i * COLUMNS + j],
                         2 * sum / ROWS);
            assert_true(H[i * COLUMNS + j] == H[j * COLUMNS + i] || i / 256 == j / 256);
        }
    kd_input_products_free(products);
    kd_tape_free(tape);
    kd_params_free(params);
}

static const kd_number_format *int8_for_all(const kd_param *param,
                                            const kd_number_format *matrices) {
    (void)param;
    return matrices;
}

/* A model of its own, as quantizer.h says it; what nothing was multiplied by is nearest. */
static void models_are_rounded_once(void **state) {
    (void)state;
    network n;
    make_network(&n);
    const kd_quantizable model = {.params = n.params, .rule = int8_for_all};
    const kd_quantize_spec spec = {
        .how = &kd_quantizer_gptq, .format = &kd_format_int8, .gptq = STANDARD};
    kd_quantized *q;
    assert_ok(kd_quantized_create(&q, &model, &spec));
    assert_ok(kd_quantized_start(q));
    assert_refused(kd_quantized_calibrated(q), KD_EDATA, "at least one batch");
    const kd_real own = n.rows->tensor.value[0];
    kd_quantized_watch(q, n.tape);
    run_network(&n);
    kd_quantized_unwatch(n.tape);
    assert_ok(kd_quantized_calibrated(q));
    assert_ok(kd_quantized_round(q));
    const kd_encoding *encoding = kd_quantized_encodings(q);
    unsigned char seen[64];
    memcpy(seen, encoding[1].bytes, 3 * (4 + C));
    assert_ok(kd_quantized_round(q)); /* again: nothing changes */
    assert_memory_equal(seen, encoding[1].bytes, 3 * (4 + C));
    for (int i = 0; i < 3; i++) {
        const kd_tensor *t = &n.params->list[i]->tensor;
        for (int64_t k = 0; k < t->size; k++) assert_true(isfinite(t->value[k]));
    }
    kd_quantized_free(q);
    assert_true(n.rows->tensor.value[0] == own);
    free_network(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(factors_are_of_the_inverse),
                                       cmocka_unit_test(codes_are_those_of_the_paper),
                                       cmocka_unit_test(grids_are_what_is_decoded),
                                       cmocka_unit_test(every_grid_loses_less),
                                       cmocka_unit_test(rows_do_not_know_each_other),
                                       cmocka_unit_test(what_cannot_be_inverted_is_refused),
                                       cmocka_unit_test(products_of_inputs_are_summed),
                                       cmocka_unit_test(wide_products_are_symmetric),
                                       cmocka_unit_test(models_are_rounded_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
