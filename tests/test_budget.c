/* Formats by a budget: never above it, more bytes never at a higher cost, near the best there is;
 * costs by gradients agree with what is measured, and are the same bits at any thread count. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "asserts.h"
#include "autograd/ops.h"
#include "base/rng.h"
#include "distill/budget.h"
#include "files/gguf.h"
#include "files/weights_gguf.h"

static const kd_number_format *all_matrices(const kd_param *param,
                                            const kd_number_format *matrices) {
    return param->tensor.rank > 1 ? matrices : &kd_format_f32;
}

/* Three linear layers with relu; rows of 96 fit blocks of 32, those of 40 none. */
typedef struct {
    kd_params *params;
    kd_net *net;
    kd_quantizable quantizable;
    kd_real *x; /* (SAMPLES,96) */
} model;

enum { SAMPLES = 24, INPUTS = 96, CLASSES = 6 };

static void make_model(model *m) {
    *m = (model){0};
    assert_ok(kd_params_create(&m->params));
    assert_ok(kd_net_create(&m->net, m->params, (kd_extent){1, 1, INPUTS}));
    int at = kd_net_linear(m->net, "first", 0, 40, KD_ACT_RELU);
    at = kd_net_linear(m->net, "second", at, 64, KD_ACT_RELU);
    kd_net_linear(m->net, "answer", at, CLASSES, KD_ACT_NONE);
    assert_ok(m->net->failed);
    assert_ok(kd_params_layout(m->params, 3));
    m->quantizable = (kd_quantizable){.params = m->params, .net = m->net, .rule = all_matrices};
    kd_rng rng = kd_rng_init(9, 1);
    m->x = malloc(SAMPLES * INPUTS * sizeof *m->x);
    for (int i = 0; i < SAMPLES * INPUTS; i++) m->x[i] = (kd_real)kd_rng_normal(&rng);
}

static void clear_model(model *m) {
    kd_net_free(m->net);
    kd_params_free(m->params);
    free(m->x);
}

/* Eight rows a sample. */
static int answer(kd_tensor **out, void *context, kd_tape *tape, int64_t i) {
    const model *m = context;
    kd_tensor *x = kd_tape_input(tape, 4, (const int64_t[]){8, 1, 1, INPUTS});
    for (int64_t k = 0; k < x->size; k++) x->value[k] = m->x[i * 8 * INPUTS + k];
    *out = kd_net_forward(m->net, tape, x, NULL);
    return KD_OK;
}

static kd_answers answers_of(model *m) {
    return (kd_answers){
        .params = m->params, .samples = SAMPLES / 8, .answer = answer, .context = m};
}

/* Options of any costs: not falling with the bytes, far off the hull, equal. */
static void make_costs(kd_budget *b, kd_rng *rng) {
    for (int t = 0; t < b->count; t++)
        for (int k = 0; k < b->matrix[t].count; k++) {
            kd_budget_option *o = &b->matrix[t].option[k];
            o->cost = pow(kd_rng_uniform(rng), 3) * (kd_rng_below(rng, 4) ? 1 : 0.01);
            if (kd_rng_below(rng, 8) == 0 && k > 0) o->cost = o[-1].cost;
        }
}

static int64_t smallest(const kd_budget *b) {
    int64_t bytes = b->rest;
    for (int t = 0; t < b->count; t++) bytes += b->matrix[t].option[0].bytes;
    return bytes;
}

static int64_t bytes_of(const kd_budget *b) {
    int64_t bytes = b->rest;
    for (int t = 0; t < b->count; t++) {
        const kd_budget_matrix *m = &b->matrix[t];
        assert_ptr_equal(b->format[m->param], m->option[m->chosen].format);
        bytes += m->option[m->chosen].bytes;
    }
    return bytes;
}

/* The least cost within `limit` of three matrices, by trying everything. */
static double optimum(const kd_budget *b, int64_t limit) {
    double best = INFINITY;
    assert_int_equal(b->count, 3);
    const kd_budget_matrix *m = b->matrix;
    for (int i = 0; i < m[0].count; i++)
        for (int j = 0; j < m[1].count; j++)
            for (int k = 0; k < m[2].count; k++) {
                const kd_budget_option *o[3] = {&m[0].option[i], &m[1].option[j], &m[2].option[k]};
                if (b->rest + o[0]->bytes + o[1]->bytes + o[2]->bytes <= limit)
                    best = fmin(best, o[0]->cost + o[1]->cost + o[2]->cost);
            }
    return best;
}

/* No step along a hull wins more than the costs of its matrix differ. */
static double largest_step(const kd_budget *b) {
    double most = 0;
    for (int t = 0; t < b->count; t++) {
        double low = INFINITY, high = 0;
        for (int k = 0; k < b->matrix[t].count; k++) {
            low = fmin(low, b->matrix[t].option[k].cost);
            high = fmax(high, b->matrix[t].option[k].cost);
        }
        most = fmax(most, high - low);
    }
    return most;
}

static void test_choice(void **state) {
    (void)state;
    model m;
    make_model(&m);
    kd_rng rng = kd_rng_init(1, 7);
    int at_optimum = 0, tried = 0;
    for (int round = 0; round < 60; round++) {
        kd_budget *b;
        assert_ok(kd_budget_create(&b, &m.quantizable, &(kd_budget_spec){0}));
        make_costs(b, &rng);
        const int64_t least = smallest(b);
        double before = INFINITY;
        for (int64_t limit = least; limit < 4 * least;
             limit += 1 + (int64_t)kd_rng_below(&rng, 400)) {
            assert_ok(kd_budget_choose(b, limit));
            assert_true(b->bytes <= limit);
            assert_int_equal(b->bytes, bytes_of(b));
            assert_true(b->cost <= before);
            before = b->cost;
            const double best = optimum(b, limit);
            assert_true(b->cost >= best - 1e-12 && b->cost <= best + largest_step(b) + 1e-12);
            at_optimum += b->cost <= best + 1e-12;
            tried++;
        }
        assert_int_equal(kd_budget_choose(b, least - 1), KD_ECONFIG);
        char words[64];
        snprintf(words, sizeof words, "has %lld bytes of weights", (long long)least);
        assert_non_null(strstr(kd_error(), words));
        kd_budget_free(b);
        assert_ok(kd_budget_check(&m.quantizable, &(kd_budget_spec){.bytes = least}));
        assert_int_equal(kd_budget_check(&m.quantizable, &(kd_budget_spec){.bytes = least - 1}),
                         KD_ECONFIG);
        assert_non_null(strstr(kd_error(), words));
    }
    assert_true(at_optimum > tried / 2); /* and mostly nothing better exists */
    clear_model(&m);
}

/* Options are what a row can be cut into, each once; int8 only of networks. */
static void test_options(void **state) {
    (void)state;
    model m;
    kd_budget *b;
    make_model(&m);
    assert_ok(kd_budget_create(&b, &m.quantizable, &(kd_budget_spec){0}));
    int64_t values = 0;
    for (int i = 0; i < m.params->count; i++) values += m.params->list[i]->tensor.size;
    assert_int_equal(b->values, values);
    assert_string_equal(b->matrix[1].name, "second.weight"); /* rows of 40 */
    assert_int_equal(b->matrix[1].count, 2);
    assert_ptr_equal(b->matrix[1].option[0].format, &kd_format_int8);
    assert_ptr_equal(b->matrix[1].option[1].format, &kd_format_f16);
    assert_int_equal(b->matrix[1].option[0].bytes, 64 * 4 + 64 * 40);
    for (int t = 0; t < b->count; t++)
        for (int k = 1; k < b->matrix[t].count; k++)
            assert_true(b->matrix[t].option[k - 1].bytes <= b->matrix[t].option[k].bytes);
    kd_budget_free(b);
    m.quantizable.net = NULL;
    const kd_budget_spec two = {.format_count = 2, .format = {"q4_K", "q8_0"}};
    assert_ok(kd_budget_create(&b, &m.quantizable, &two));
    assert_int_equal(b->matrix[0].count, 2); /* q4_K falls back to q5_0 */
    assert_ptr_equal(b->matrix[0].option[0].format, &kd_format_q5_0);
    assert_int_equal(b->matrix[1].count, 1);
    assert_ptr_equal(b->matrix[1].option[0].format, &kd_format_f16);
    kd_budget_free(b);
    clear_model(&m);
}

static void test_sizes(void **state) {
    (void)state;
    assert_int_equal(kd_budget_parse("30 MB"), 30000000);
    assert_int_equal(kd_budget_parse("1.5kB"), 1500);
    assert_int_equal(kd_budget_parse("2 MiB"), 2097152);
    assert_int_equal(kd_budget_parse("4096"), 4096);
    static const char *const bad[] = {"",  "MB",       "-3 MB", "3 apples",
                                      "0", "1e300 GB", "nan",   "3 MB 4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(kd_budget_parse(bad[i]), -1);
}

static void make_choice(kd_budget **out, model *m, double bits, kd_sensitivity how) {
    const kd_budget_spec spec = {.asked = true, .bits_per_weight = bits, .sensitivity = how};
    const kd_answers answers = answers_of(m);
    assert_ok(kd_budget_make(out, &spec, &m->quantizable, &answers, "test"));
}

/* The diagonal of Fisher's information foretells what a matrix alone costs; the model has its own
 * values afterwards. */
static void test_costs(void **state) {
    (void)state;
    model m;
    kd_budget *b;
    make_model(&m);
    kd_real *own = malloc((size_t)m.params->slab_size * sizeof *own);
    memcpy(own, m.params->value, (size_t)m.params->slab_size * sizeof *own);
    make_choice(&b, &m, 7, KD_SENSITIVITY_MEASURED);
    for (int t = 0; t < b->count; t++) {
        const kd_budget_matrix *x = &b->matrix[t];
        assert_true(x->measured > 0 && x->gradient > 0);
        assert_true(x->measured < 4 * x->gradient && x->gradient < 4 * x->measured);
    }
    assert_true(b->together < 3 * b->cost && b->cost < 3 * b->together);
    assert_memory_equal(own, m.params->value, (size_t)m.params->slab_size * sizeof *own);
    for (int i = 0; i < m.params->count; i++)
        assert_ptr_equal(m.params->list[i]->tensor.value,
                         m.params->value + m.params->list[i]->offset);
    kd_budget_free(b);
    free(own);
    clear_model(&m);
}

static void test_threads(void **state) {
    (void)state;
    model m;
    make_model(&m);
    kd_budget *b[2];
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i ? 5 : 1);
        make_choice(&b[i], &m, 7, KD_SENSITIVITY_MEASURED);
    }
    for (int t = 0; t < b[0]->count; t++)
        assert_memory_equal(&b[0]->matrix[t], &b[1]->matrix[t], sizeof b[0]->matrix[t]);
    assert_true(b[0]->together == b[1]->together);
    kd_budget_free(b[0]);
    kd_budget_free(b[1]);
    clear_model(&m);
}

/* What is chosen is what a file of rounded weights has, and what it says of itself. */
static void test_file(void **state) {
    (void)state;
    model m;
    kd_budget *b;
    kd_quantized *q;
    make_model(&m);
    make_choice(&b, &m, 7, KD_SENSITIVITY_GRADIENT);
    const kd_quantize_spec plain = {.how = &kd_quantizer_nearest, .format = &kd_format_q8_0};
    const kd_quantize_spec spec = kd_budget_quantize(&plain, b);
    assert_ok(kd_quantized_create(&q, &m.quantizable, &spec));
    assert_ok(kd_quantized_start(q));
    assert_ok(kd_quantized_round(q));
    const kd_encoding *how = kd_quantized_encodings(q);
    for (int i = 0; i < m.params->count; i++) assert_ptr_equal(how[i].format, b->format[i]);
    kd_text chosen = {0};
    kd_budget_add_metadata(&chosen, b);
    assert_ok(kd_text_finish(&chosen, "metadata"));
    cJSON *json = cJSON_Parse(chosen.text);
    assert_true(cJSON_GetObjectItem(json, "bytes")->valuedouble == (double)b->bytes);
    int matrices = 0;
    for (const cJSON *n = cJSON_GetObjectItem(json, "matrices")->child; n; n = n->next)
        matrices += n->valueint;
    assert_int_equal(matrices, b->count);
    cJSON_Delete(json);
    free(chosen.text);
    kd_quantized_free(q);
    kd_budget_free(b);
    clear_model(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice), cmocka_unit_test(test_options), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_costs),  cmocka_unit_test(test_threads), cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
