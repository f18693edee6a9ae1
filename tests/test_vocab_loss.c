/* The loss over a vocabulary against its dense form, and what it must do besides. Gradients: the op
 * tests. Sizes are such that there are several panels of rows and several tiles of classes. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/ops.h"
#include "distill/loss.h"

static const double TIGHT = sizeof(kd_real) == 4 ? 1e-5 : 1e-12;

/* A student, a teacher and a batch. */
typedef struct {
    int64_t N, V, C, width;
    kd_real *h, *E, *hidden, *output; /* (N,C), (V,C), (N,width), (V,width) */
    int32_t *label;
    uint8_t *valid;
    int32_t *index; /* of the top-k form, made by make_topk; NULL: the hidden form */
    kd_real *kept, *tail;
    kd_real *share; /* of draws, which take their places */
    int k;
} scene;

/* What a loss left behind. */
typedef struct {
    kd_real *dh, *dE;
    double loss;
    kd_loss_parts parts;
    size_t reserved;
} outcome;

static void *take(size_t count, size_t size) {
    void *memory = calloc(count, size);
    assert_non_null(memory);
    return memory;
}

static kd_real *normal(int64_t size, uint64_t stream, double spread) {
    kd_real *x = take((size_t)size, sizeof *x);
    kd_rng rng = kd_rng_init(11, stream);
    for (int64_t i = 0; i < size; i++) x[i] = (kd_real)(spread * kd_rng_normal(&rng));
    return x;
}

static scene make_scene(int64_t N, int64_t V, int64_t C, int64_t width) {
    scene s = {.N = N, .V = V, .C = C, .width = width};
    s.h = normal(N * C, 1, 1);
    s.E = normal(V * C, 2, 1);
    s.hidden = normal(N * width, 3, 1);
    s.output = normal(V * width, 4, 1);
    s.label = take((size_t)N, sizeof *s.label);
    s.valid = take((size_t)N, 1);
    for (int64_t i = 0; i < N; i++) {
        s.label[i] = (int32_t)(i * 7919 % V);
        s.valid[i] = i % 5 != 1;
    }
    return s;
}

static void free_scene(scene *s) {
    void *all[] = {s->h,     s->E,     s->hidden, s->output, s->label,
                   s->valid, s->index, s->kept,   s->tail,   s->share};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void free_outcome(outcome *o) {
    free(o->dh);
    free(o->dE);
}

static kd_loss_spec make_spec(double hard, double kl, double smoothing) {
    return (kd_loss_spec){.hard_weight = (kd_real)hard,
                          .kl_weight = (kd_real)kl,
                          .temperature = 2,
                          .label_smoothing = (kd_real)smoothing,
                          .normalizer = 17};
}

static kd_real *teacher_logits(const scene *s) {
    kd_real *v = take((size_t)(s->N * s->V), sizeof *v);
    const kd_matrix_product logits =
        kd_product_of(s->N, s->V, s->width, kd_plain(s->hidden, s->width),
                      kd_transposed(s->output, s->width), v, s->V);
    kd_gemm(&logits);
    return v;
}

static void make_topk(scene *s, int k, double temperature) {
    kd_real *v = teacher_logits(s);
    s->k = k;
    s->index = take((size_t)(s->N * k), sizeof *s->index);
    s->kept = take((size_t)(s->N * k), sizeof *s->kept);
    s->tail = take((size_t)s->N, sizeof *s->tail);
    for (int64_t i = 0; i < s->N; i++) {
        kd_real *row = v + i * s->V;
        for (int j = 0; j < k; j++) {
            int32_t best = 0;
            for (int32_t c = 1; c < s->V; c++) best = row[c] > row[best] ? c : best;
            s->index[i * k + j] = best;
            s->kept[i * k + j] = row[best];
            row[best] = -(kd_real)INFINITY;
        }
        double sum = 0;
        for (int64_t c = 0; c < s->V; c++) sum += exp((double)row[c] / temperature);
        s->tail[i] = (kd_real)log(sum);
    }
    free(v);
}

typedef enum { DENSE, VOCAB, EVALUATE } form;

static outcome run(const scene *s, form how, kd_loss_spec spec) {
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    kd_tensor *h = kd_tape_input(tape, 2, (int64_t[]){s->N, s->C});
    kd_tensor *E = kd_tape_input(tape, 2, (int64_t[]){s->V, s->C});
    memcpy(h->value, s->h, (size_t)h->size * sizeof *h->value);
    memcpy(E->value, s->E, (size_t)E->size * sizeof *E->value);
    h->needs_grad = E->needs_grad = how != EVALUATE;
    kd_soft_targets soft = {.hidden = s->hidden, .output = s->output, .width = s->width};
    kd_real *v = NULL;
    if (s->share)
        soft = (kd_soft_targets){.k = s->k, .index = s->index, .share = s->share};
    else if (s->index)
        soft = (kd_soft_targets){.k = s->k, .index = s->index, .kept = s->kept, .tail = s->tail};
    else if (how == DENSE)
        soft = (kd_soft_targets){.logits = v = teacher_logits(s)};
    const kd_soft_targets *teacher = spec.kl_weight != 0 ? &soft : NULL;
    outcome o = {.loss = 0};
    kd_tensor *loss;
    if (how == DENSE) {
        kd_tensor *z = kd_linear(tape, h, E, NULL, KD_ACT_NONE);
        loss = kd_distill_loss(tape, z, s->label, s->valid, teacher, spec, &o.parts);
    } else {
        loss = kd_vocab_loss(tape, h, E, s->label, s->valid, teacher, spec, &o.parts);
    }
    o.loss = (double)loss->value[0];
    kd_tape_backward(tape, loss);
    if (how != EVALUATE) {
        o.dh = take((size_t)h->size, sizeof *o.dh);
        o.dE = take((size_t)E->size, sizeof *o.dE);
        memcpy(o.dh, h->grad, (size_t)h->size * sizeof *o.dh);
        memcpy(o.dE, E->grad, (size_t)E->size * sizeof *o.dE);
    }
    o.reserved = kd_arena_reserved(tape->arena);
    kd_tape_free(tape);
    free(v);
    return o;
}

/* |found − expected| ≤ tolerance · the root mean square of what is expected */
static void assert_near(const char *what, const kd_real *found, const kd_real *expected,
                        int64_t size, double tolerance) {
    double sum = 0;
    for (int64_t i = 0; i < size; i++) sum += (double)expected[i] * (double)expected[i];
    const double scale = fmax(sqrt(sum / (double)size), 1e-30);
    for (int64_t i = 0; i < size; i++) {
        const double error = fabs((double)found[i] - (double)expected[i]);
        if (!(error <= tolerance * fmax(scale, fabs((double)expected[i]))))
            fail_msg("%s[%lld]: %.17g, not %.17g", what, (long long)i, (double)found[i],
                     (double)expected[i]);
    }
}

static void assert_close(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance * fmax(1, fabs(expected))))
        fail_msg("%.17g, not %.17g", found, expected);
}

static void compare_with_dense(const scene *s, kd_loss_spec spec) {
    outcome dense = run(s, DENSE, spec), vocab = run(s, VOCAB, spec);
    outcome evaluated = run(s, EVALUATE, spec);
    assert_close(vocab.loss, dense.loss, TIGHT);
    assert_close(vocab.parts.hard, dense.parts.hard, TIGHT);
    assert_close(vocab.parts.kl, dense.parts.kl, TIGHT);
    assert_true(vocab.parts.rows == dense.parts.rows);
    assert_true(evaluated.loss == vocab.loss && evaluated.parts.kl == vocab.parts.kl);
    assert_near("dh", vocab.dh, dense.dh, s->N * s->C, TIGHT);
    assert_near("dE", vocab.dE, dense.dE, s->V * s->C, TIGHT);
    free_outcome(&dense);
    free_outcome(&vocab);
}

/* --- against the dense form ------------------------------------------------------------------ */

static void test_equals_the_dense_form(void **state) {
    (void)state;
    scene s = make_scene(601, 1100, 6, 9);
    compare_with_dense(&s, make_spec(0.8, 1, 0));
    compare_with_dense(&s, make_spec(0.8, 1, 0.1));
    compare_with_dense(&s, make_spec(0, 1, 0));
    compare_with_dense(&s, make_spec(1, 0, 0));
    compare_with_dense(&s, make_spec(1, 0, 0.1));
    free_scene(&s);
}

static void test_equals_the_dense_form_topk(void **state) {
    (void)state;
    scene s = make_scene(270, 1100, 6, 9);
    make_topk(&s, 12, 2);
    compare_with_dense(&s, make_spec(0.8, 1, 0.1));
    compare_with_dense(&s, make_spec(0, 1, 0));
    free_scene(&s);
}

static void test_whisper_vocabulary(void **state) {
    (void)state;
    scene s = make_scene(9, 51865, 16, 24);
    compare_with_dense(&s, make_spec(0.8, 1, 0));
    free_scene(&s);
}

/* p = softmax(v/2) (N,V) */
static kd_real *teacher_shares(const scene *s) {
    kd_real *v = teacher_logits(s);
    for (int64_t i = 0; i < s->N; i++) {
        kd_real *row = v + i * s->V;
        double max = (double)row[0], sum = 0;
        for (int64_t c = 1; c < s->V; c++) max = fmax(max, (double)row[c]);
        for (int64_t c = 0; c < s->V; c++) sum += exp(((double)row[c] - max) / 2);
        for (int64_t c = 0; c < s->V; c++)
            row[c] = (kd_real)(exp(((double)row[c] - max) / 2) / sum);
    }
    return v;
}

/* Every class drawn as often as it is likely: the dense form. */
static void test_equals_the_dense_form_drawn(void **state) {
    (void)state;
    scene s = make_scene(270, 1100, 6, 9), drawn = make_scene(270, 1100, 6, 9);
    drawn.k = (int)s.V;
    drawn.share = teacher_shares(&s);
    drawn.index = take((size_t)(s.N * s.V), sizeof *drawn.index);
    for (int64_t i = 0; i < s.N * s.V; i++)
        drawn.index[i] = (int32_t)((i % s.V * 7 + i / s.V) % s.V);
    kd_real *p = drawn.share;
    drawn.share = take((size_t)(s.N * s.V), sizeof *drawn.share);
    for (int64_t i = 0; i < s.N * s.V; i++) drawn.share[i] = p[i / s.V * s.V + drawn.index[i]];
    free(p);
    for (int hard = 0; hard < 2; hard++) {
        const kd_loss_spec spec = make_spec(0.8 * hard, 1, 0.1 * hard);
        outcome dense = run(&s, DENSE, spec), vocab = run(&drawn, VOCAB, spec);
        outcome evaluated = run(&drawn, EVALUATE, spec);
        assert_close(vocab.parts.kl, dense.parts.kl, 10 * TIGHT);
        assert_close(vocab.loss, dense.loss, 10 * TIGHT);
        assert_true(evaluated.loss == vocab.loss);
        assert_near("dh", vocab.dh, dense.dh, s.N * s.C, 10 * TIGHT);
        assert_near("dE", vocab.dE, dense.dE, s.V * s.C, 10 * TIGHT);
        free_outcome(&dense);
        free_outcome(&vocab);
    }
    free_scene(&s);
    free_scene(&drawn);
}

/* Σ over all of ∂h of the distance between the mean of many draws' gradients and the dense one,
 * over what chance makes of it: about 1 without bias. */
static double bias_of_draws(bool of_the_likely) {
    enum { TIMES = 300, DRAWS = 8 };
    scene s = make_scene(6, 60, 4, 5), drawn = make_scene(6, 60, 4, 5);
    const int64_t n = s.N * s.C;
    const kd_loss_spec spec = make_spec(0, 1, 0);
    double mean[24] = {0}, square[24] = {0}, distance = 0, chance = 0;
    kd_real *p = teacher_shares(&s);
    kd_rng rng = kd_rng_init(1, 2);
    drawn.k = DRAWS;
    drawn.index = take((size_t)(s.N * DRAWS), sizeof *drawn.index);
    drawn.share = take((size_t)(s.N * DRAWS), sizeof *drawn.share);
    outcome dense = run(&s, DENSE, spec);
    for (int time = 0; time < TIMES; time++) {
        for (int64_t i = 0; i < s.N * DRAWS; i++) { /* a class may come up in several places */
            const kd_real *row = p + i / DRAWS * s.V;
            double left = kd_rng_uniform(&rng);
            int32_t class = 0;
            do {
                for (class = 0; class < s.V - 1 && left >= (double)row[class]; class ++)
                    left -= (double)row[class];
                left = kd_rng_uniform(&rng);
            } while (of_the_likely && row[class] < (kd_real)0.02);
            drawn.index[i] = class;
            drawn.share[i] = (kd_real)1 / DRAWS;
        }
        outcome o = run(&drawn, VOCAB, spec);
        for (int64_t i = 0; i < n; i++) {
            mean[i] += (double)o.dh[i] / TIMES;
            square[i] += (double)o.dh[i] * (double)o.dh[i] / TIMES;
        }
        free_outcome(&o);
    }
    for (int64_t i = 0; i < n; i++) {
        distance += pow(mean[i] - (double)dense.dh[i], 2);
        chance += (square[i] - mean[i] * mean[i]) / TIMES;
    }
    free_outcome(&dense);
    free(p);
    free_scene(&s);
    free_scene(&drawn);
    return distance / chance;
}

static void test_draws_are_without_bias(void **state) {
    (void)state;
    const double right = bias_of_draws(false), wrong = bias_of_draws(true);
    print_message("distance over chance: %.2f, of likely classes alone %.2f\n", right, wrong);
    assert_true(right < 2);
    assert_true(wrong > 4);
}

/* --- properties ------------------------------------------------------------------------------ */

static double largest(const kd_real *x, int64_t size) {
    double max = 0;
    for (int64_t i = 0; i < size; i++)
        if (fabs((double)x[i]) > max) max = fabs((double)x[i]);
    return max;
}

static int64_t likeliest(const kd_real *row, int64_t n) {
    int64_t best = 0;
    for (int64_t c = 1; c < n; c++) best = row[c] > row[best] ? c : best;
    return best;
}

/* Whose likeliest class is the label's, or the teacher's: counted by hand. */
static void test_counts_the_likeliest(void **state) {
    (void)state;
    scene s = make_scene(300, 1100, 6, 6);
    for (int64_t i = 0; i < s.N * s.C; i++) s.hidden[i] += 2 * s.h[i];
    for (int64_t i = 0; i < s.V * s.C; i++) s.output[i] += 3 * s.E[i];
    kd_real *v = teacher_logits(&s), *z = take((size_t)(s.N * s.V), sizeof *z);
    const kd_matrix_product logits =
        kd_product_of(s.N, s.V, s.C, kd_plain(s.h, s.C), kd_transposed(s.E, s.C), z, s.V);
    kd_gemm(&logits);
    int right = 0, agreed = 0;
    for (int64_t i = 0; i < s.N; i++) {
        const int64_t own = likeliest(z + i * s.V, s.V);
        if (i % 3 == 0) s.label[i] = (int32_t)own;
        if (!s.valid[i]) continue;
        right += s.label[i] == own;
        agreed += likeliest(v + i * s.V, s.V) == own;
    }
    outcome o = run(&s, EVALUATE, make_spec(1, 1, 0)), trained = run(&s, VOCAB, make_spec(1, 1, 0));
    assert_int_equal((int)o.parts.right, right);
    assert_int_equal((int)o.parts.agreed, agreed);
    assert_true(agreed > 30 && agreed < 200 && right >= 80 && right < 200);
    assert_true(trained.parts.right == 0 && trained.parts.agreed == 0);
    free_outcome(&o);
    free_outcome(&trained);
    free(v);
    free(z);
    free_scene(&s);
}

static void test_equal_student_gives_zero(void **state) {
    (void)state;
    scene s = make_scene(300, 1100, 8, 8);
    memcpy(s.hidden, s.h, (size_t)(s.N * s.C) * sizeof *s.h);
    memcpy(s.output, s.E, (size_t)(s.V * s.C) * sizeof *s.E);
    outcome o = run(&s, VOCAB, make_spec(0, 1, 0));
    assert_true(o.loss == 0 && o.parts.kl == 0);
    assert_true(largest(o.dh, s.N * s.C) == 0 && largest(o.dE, s.V * s.C) == 0);
    free_outcome(&o);
    free_scene(&s);
}

/* Masked rows are not read: not the student's, the teacher's, or the label. */
static void test_masked_rows_count_for_nothing(void **state) {
    (void)state;
    scene s = make_scene(300, 700, 8, 5);
    outcome clean = run(&s, VOCAB, make_spec(0.8, 1, 0));
    for (int64_t i = 0; i < s.N; i++) {
        if (s.valid[i]) continue;
        for (int64_t c = 0; c < s.C; c++) s.h[i * s.C + c] = (kd_real)NAN;
        for (int64_t c = 0; c < s.width; c++) s.hidden[i * s.width + c] = (kd_real)INFINITY;
        s.label[i] = -100;
    }
    outcome o = run(&s, VOCAB, make_spec(0.8, 1, 0));
    assert_true(o.loss == clean.loss);
    assert_memory_equal(o.dh, clean.dh, (size_t)(s.N * s.C) * sizeof *o.dh);
    assert_memory_equal(o.dE, clean.dE, (size_t)(s.V * s.C) * sizeof *o.dE);
    for (int64_t i = 0; i < s.N; i++)
        if (!s.valid[i]) assert_true(largest(o.dh + i * s.C, s.C) == 0);
    memset(s.valid, 0, (size_t)s.N);
    outcome none = run(&s, VOCAB, make_spec(0.8, 1, 0));
    assert_true(none.loss == 0 && none.parts.rows == 0);
    assert_true(largest(none.dh, s.N * s.C) == 0 && largest(none.dE, s.V * s.C) == 0);
    free_outcome(&clean);
    free_outcome(&o);
    free_outcome(&none);
    free_scene(&s);
}

/* Rows and classes in another order fall into other panels and tiles; nothing else may change. */
static void test_order_does_not_matter(void **state) {
    (void)state;
    scene s = make_scene(300, 1100, 6, 9), moved = make_scene(300, 1100, 6, 9);
    int64_t *row = take((size_t)s.N, sizeof *row), *class = take((size_t)s.V, sizeof *class);
    kd_rng rng = kd_rng_init(5, 6);
    kd_rng_permutation(&rng, row, s.N);
    kd_rng_permutation(&rng, class, s.V);
    for (int64_t c = 0; c < s.V; c++) {
        memcpy(moved.E + class[c] * s.C, s.E + c * s.C, (size_t)s.C * sizeof *s.E);
        memcpy(moved.output + class[c] * s.width, s.output + c * s.width,
               (size_t)s.width * sizeof *s.output);
    }
    for (int64_t i = 0; i < s.N; i++) {
        memcpy(moved.h + row[i] * s.C, s.h + i * s.C, (size_t)s.C * sizeof *s.h);
        memcpy(moved.hidden + row[i] * s.width, s.hidden + i * s.width,
               (size_t)s.width * sizeof *s.hidden);
        moved.label[row[i]] = (int32_t) class[s.label[i]];
        moved.valid[row[i]] = s.valid[i];
    }
    outcome a = run(&s, VOCAB, make_spec(0.8, 1, 0.1)),
            b = run(&moved, VOCAB, make_spec(0.8, 1, 0.1));
    assert_close(b.loss, a.loss, TIGHT);
    for (int64_t i = 0; i < s.N; i++)
        assert_near("dh", b.dh + row[i] * s.C, a.dh + i * s.C, s.C, 10 * TIGHT);
    for (int64_t c = 0; c < s.V; c++)
        assert_near("dE", b.dE + class[c] * s.C, a.dE + c * s.C, s.C, 20 * TIGHT);
    free_outcome(&a);
    free_outcome(&b);
    free(row);
    free(class);
    free_scene(&s);
    free_scene(&moved);
}

static void test_same_bits_at_any_thread_count(void **state) {
    (void)state;
    const int before = omp_get_max_threads(), counts[] = {1, 2, 5};
    for (int topk = 0; topk < 2; topk++) {
        scene s = make_scene(400, 3000, 8, 5);
        if (topk) make_topk(&s, 6, 2);
        outcome o[3];
        for (int i = 0; i < 3; i++) {
            omp_set_num_threads(counts[i]);
            o[i] = run(&s, VOCAB, make_spec(0.8, 1, 0.1));
            assert_true(o[i].loss == o[0].loss);
            assert_memory_equal(o[i].dh, o[0].dh, (size_t)(s.N * s.C) * sizeof *o[i].dh);
            assert_memory_equal(o[i].dE, o[0].dE, (size_t)(s.V * s.C) * sizeof *o[i].dE);
        }
        for (int i = 0; i < 3; i++) free_outcome(&o[i]);
        free_scene(&s);
    }
    omp_set_num_threads(before);
}

/* Five times the rows: what the tape takes grows with N·C, by far less than the logits would. And
 * without gradients a tile a thread is all there is. */
static void test_memory_does_not_grow_with_the_logits(void **state) {
    (void)state;
    scene few = make_scene(448, 8192, 4, 4), many = make_scene(2240, 8192, 4, 4);
    memset(few.valid, 1, (size_t)few.N);
    memset(many.valid, 1, (size_t)many.N);
    outcome a = run(&few, VOCAB, make_spec(0.8, 1, 0)), b = run(&many, VOCAB, make_spec(0.8, 1, 0));
    outcome e = run(&many, EVALUATE, make_spec(0.8, 1, 0));
    const size_t logits = (size_t)(many.N * many.V) * sizeof(kd_real);
    print_message("%zu bytes for 448 rows, %zu for 2240, %zu without gradients; logits %zu\n",
                  a.reserved, b.reserved, e.reserved, logits);
    assert_true(b.reserved - a.reserved <= logits / 8 && b.reserved < logits);
    assert_true(e.reserved <= logits / 2);
    free_outcome(&a);
    free_outcome(&b);
    free_scene(&few);
    free_scene(&many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_the_dense_form),
        cmocka_unit_test(test_equals_the_dense_form_topk),
        cmocka_unit_test(test_equals_the_dense_form_drawn),
        cmocka_unit_test(test_draws_are_without_bias),
        cmocka_unit_test(test_whisper_vocabulary),
        cmocka_unit_test(test_equal_student_gives_zero),
        cmocka_unit_test(test_counts_the_likeliest),
        cmocka_unit_test(test_masked_rows_count_for_nothing),
        cmocka_unit_test(test_order_does_not_matter),
        cmocka_unit_test(test_same_bits_at_any_thread_count),
        cmocka_unit_test(test_memory_does_not_grow_with_the_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
