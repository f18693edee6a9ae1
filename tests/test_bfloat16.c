/* Ops whose products take bfloat16 numbers, beside the same ops in float32: how far off their
 * results and gradients are, and that the number of threads changes no bit. Products alone:
 * test_gemm. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/ops.h"
#include "autograd/vec_pair.h"
#include "distill/loss.h"

enum { INPUTS = 3, MOST = 1 << 16 };

/* What an op leaves behind: its result and the gradients by its inputs, behind each other. */
typedef struct {
    kd_real value[MOST];
    int64_t size[1 + INPUTS];
} outcome;

static outcome exact, rounded, again, bound;

/* Makes the inputs, from normal numbers or from their magnitudes, and the op of them. */
typedef kd_tensor *op(kd_tape *tape, bool magnitudes, kd_tensor *in[INPUTS]);

static kd_tensor *input(kd_tape *tape, uint64_t stream, bool magnitudes, int rank,
                        const int64_t *shape) {
    kd_tensor *x = kd_tape_input(tape, rank, shape);
    kd_rng rng = kd_rng_init(5, stream);
    for (int64_t i = 0; i < x->size; i++) {
        x->value[i] = (kd_real)kd_rng_normal(&rng);
        if (magnitudes) x->value[i] = kd_fabs(x->value[i]);
    }
    x->needs_grad = true;
    return x;
}

static void run(outcome *out, op *make, kd_precision precision, bool magnitudes, int threads) {
    kd_tape *tape;
    kd_tensor *in[INPUTS] = {NULL};
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    tape->precision = precision;
    omp_set_num_threads(threads);
    kd_tensor *y = make(tape, magnitudes, in);
    kd_tensor *g = y->size > 1 ? input(tape, 9, magnitudes, y->rank, y->shape) : NULL;
    if (g) g->needs_grad = false;
    kd_tape_backward(tape, g ? kd_mean(tape, kd_mul(tape, y, g)) : y);
    memset(out, 0, sizeof *out);
    kd_real *to = out->value;
    for (int i = 0; i <= INPUTS; i++) {
        const kd_tensor *t = i ? in[i - 1] : y;
        out->size[i] = t ? t->size : 0;
        assert_true(to + out->size[i] <= out->value + MOST);
        if (t) memcpy(to, i ? t->grad : t->value, (size_t)t->size * sizeof *to);
        to += out->size[i];
    }
    kd_tape_free(tape);
    omp_set_num_threads(1);
}

static int64_t numbers(void) {
    return exact.size[0] + exact.size[1] + exact.size[2] + exact.size[3];
}

static void run_both(op *make) {
    run(&exact, make, KD_PRECISION_FLOAT32, false, 1);
    run(&rounded, make, KD_PRECISION_BFLOAT16, false, 1);
    run(&again, make, KD_PRECISION_BFLOAT16, false, 3);
    for (int64_t i = 0; i < numbers(); i++) assert_true(again.value[i] == rounded.value[i]);
}

/* What lies behind the numbers is of an op before. */
static bool differ(void) {
    return memcmp(exact.value, rounded.value, (size_t)numbers() * sizeof *exact.value) != 0;
}

/* Of an op that is linear in each input. Both factors of a term are off by 2⁻⁸ of themselves, so a
 * sum by 2⁻⁷ of the sum of magnitudes, which is the op of the magnitudes; `slack` for float32. */
static void check_bilinear(op *make, bool rounds) {
    run_both(make);
    run(&bound, make, KD_PRECISION_FLOAT32, true, 1);
    assert_int_equal(differ(), rounds && KD_HAS_PAIRS);
    for (int64_t i = 0; i < numbers(); i++)
        if (!(kd_fabs(exact.value[i] - rounded.value[i]) <= bound.value[i] * KD_REAL(0.00784)))
            fail_msg("number %d: %g in float32, %g in bfloat16, magnitudes %g", (int)i,
                     (double)exact.value[i], (double)rounded.value[i], (double)bound.value[i]);
}

/* Of any other: off by `share` of the largest of the same tensor. A double build rounds in some. */
static void check_near(op *make, double share) {
    run_both(make);
    assert_true(differ() || !KD_HAS_PAIRS);
    const kd_real *a = exact.value, *b = rounded.value;
    for (int t = 0; t <= INPUTS; a += exact.size[t], b += exact.size[t], t++) {
        double largest = 0;
        for (int64_t i = 0; i < exact.size[t]; i++)
            if (fabs((double)a[i]) > largest) largest = fabs((double)a[i]);
        for (int64_t i = 0; i < exact.size[t]; i++)
            if (!(fabs((double)(a[i] - b[i])) <= share * largest))
                fail_msg("tensor %d, number %d: %g in float32, %g in bfloat16, largest %g", t,
                         (int)i, (double)a[i], (double)b[i], largest);
    }
}

/* --- convolutions ---------------------------------------------------------------------------- */

static struct { int64_t B, H, W, C, O, kernel, stride, padding, groups; } conv;

static kd_tensor *make_conv(kd_tape *tape, bool magnitudes, kd_tensor *in[INPUTS]) {
    const int s = (int)conv.stride, p = (int)conv.padding;
    in[0] = input(tape, 1, magnitudes, 4, (int64_t[]){conv.B, conv.H, conv.W, conv.C});
    in[1] = input(tape, 2, magnitudes, 4,
                  (int64_t[]){conv.O, conv.kernel, conv.kernel, conv.C / conv.groups});
    in[2] = input(tape, 3, magnitudes, 1, (int64_t[]){conv.O});
    for (int64_t i = 0; i < conv.O; i++) in[2]->value[i] += 100; /* so that relu hides nothing */
    return kd_conv2d(
        tape, in[0], in[1], in[2],
        (kd_conv_spec){.stride = {s, s}, .padding = {p, p}, .groups = (int)conv.groups},
        KD_ACT_RELU);
}

static void check_conv(int64_t C, int64_t O, int64_t W, int64_t kernel, int64_t stride,
                       int64_t padding, int64_t groups, bool rounds) {
    conv.B = 3, conv.H = 9, conv.W = W, conv.C = C, conv.O = O, conv.kernel = kernel;
    conv.stride = stride, conv.padding = padding, conv.groups = groups;
    check_bilinear(make_conv, rounds);
}

static void test_convolutions(void **state) {
    (void)state;
    for (int64_t W = 7; W <= 8; W++)
        for (int64_t stride = 1; stride <= 3; stride++) {
            check_conv(4, 6, W, 3, stride, 1, 1, true);
            check_conv(16, 34, W, 3, stride, 1, 1, true);
            check_conv(8, 2, W, 1, stride, 0, 1, true);
            check_conv(12, 18, W, 2, stride, 0, 3, true);
        }
    check_conv(3, 8, 7, 3, 1, 1, 1, true); /* forward in float32, dw not */
    check_conv(8, 8, 7, 3, 1, 1, 8, false);
}

/* --- linear layers and attention ------------------------------------------------------------- */

static int64_t rows, columns, depth;

static kd_tensor *make_linear(kd_tape *tape, bool magnitudes, kd_tensor *in[INPUTS]) {
    in[0] = input(tape, 1, magnitudes, 2, (int64_t[]){rows, depth});
    in[1] = input(tape, 2, magnitudes, 2, (int64_t[]){columns, depth});
    return kd_linear(tape, in[0], in[1], NULL, KD_ACT_NONE);
}

static void test_linear(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{5, 7, 9}, {1, 33, 20}, {70, 90, 131}};
    for (int i = 0; i < 3; i++) {
        rows = shapes[i][0], columns = shapes[i][1], depth = shapes[i][2];
        kd_tape *tape;
        assert_int_equal(kd_tape_create(&tape, 1), 0);
        run_both(make_linear);
        run(&bound, make_linear, KD_PRECISION_FLOAT32, true, 1);
        for (int64_t n = 0; n < exact.size[0] + exact.size[1] + exact.size[2]; n++)
            assert_true(kd_fabs(exact.value[n] - rounded.value[n]) <=
                        bound.value[n] * KD_REAL(0.00784));
        kd_tape_free(tape);
    }
}

static struct {
    int64_t T, S, D;
    bool causal;
    const int32_t *valid;
} attention;

static kd_tensor *make_attention(kd_tape *tape, bool magnitudes, kd_tensor *in[INPUTS]) {
    enum { B = 2, HEADS = 2 };
    for (int i = 0; i < 3; i++)
        in[i] = input(tape, (uint64_t)i, magnitudes, 3,
                      (int64_t[]){B, i ? attention.S : attention.T, HEADS * attention.D});
    return kd_attention(tape, in[0], in[1], in[2], HEADS,
                        (kd_attention_mask){.causal = attention.causal, .valid = attention.valid});
}

static void check_attention(int64_t T, int64_t S, int64_t D, bool causal, const int32_t *valid) {
    attention.T = T, attention.S = S, attention.D = D;
    attention.causal = causal, attention.valid = valid;
    check_near(make_attention, 0.05);
}

static void test_attention(void **state) {
    (void)state;
    check_attention(70, 70, 32, true, NULL);
    check_attention(33, 401, 5, false, NULL);
    check_attention(33, 101, 20, false, (const int32_t[]){1, 78});
    check_attention(5, 31, 16, true, NULL);
}

/* --- the loss over a vocabulary -------------------------------------------------------------- */

static kd_tensor *make_vocabulary(kd_tape *tape, bool magnitudes, kd_tensor *in[INPUTS]) {
    enum { N = 40, V = 700, C = 20 };
    static int32_t label[N];
    in[0] = input(tape, 1, magnitudes, 2, (int64_t[]){N, C});
    in[1] = input(tape, 2, magnitudes, 2, (int64_t[]){V, C});
    const kd_tensor *hidden = input(tape, 3, magnitudes, 2, (int64_t[]){N, C});
    const kd_tensor *output = input(tape, 4, magnitudes, 2, (int64_t[]){V, C});
    for (int i = 0; i < N; i++) label[i] = i * 17 % V;
    const kd_soft_targets soft = {.hidden = hidden->value, .output = output->value, .width = C};
    const kd_loss_spec spec = {.hard_weight = 1, .kl_weight = 1, .temperature = 2, .normalizer = N};
    return kd_vocab_loss(tape, in[0], in[1], label, NULL, &soft, spec, NULL);
}

static void test_vocabulary(void **state) {
    (void)state;
    check_near(make_vocabulary, 0.02);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
