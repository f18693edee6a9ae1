/* Products in whole numbers: the same bits by every kernel, and how far they are from real ones. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asserts.h"
#include "autograd/packed_kernel.h"
#include "autograd/tensor.h"
#include "base/rng.h"
#include "data/half.h"
#include "files/formats/number_format.h"

enum { N = 40 /* a panel is half empty */, K = 512, ROWS = 15 /* 8 + 4 + 2 + 1 */ };

/* A matrix in a format of a file, which plays the constant. */
typedef struct {
    kd_constant constant; /* first */
    kd_constant_steps steps;
    const kd_number_format *format;
    unsigned char *bytes;
} matrix;

static void row_of(const kd_constant *constant, kd_row_steps *out, int64_t row) {
    const matrix *m = (const matrix *)(const void *)constant;
    m->format->steps->get(out, m->bytes + (uint64_t)row * kd_number_format_bytes(m->format, K), K);
}

static void fill(kd_real *x, int64_t n, uint64_t seed) {
    kd_rng rng = kd_rng_init(seed, 0);
    for (int64_t i = 0; i < n; i++) {
        const double u = kd_rng_uniform(&rng) - 0.5;
        x[i] = (kd_real)(u * u * u * (i % 97 ? 4 : 40)); /* some are far out */
    }
}

static void matrix_init(matrix *m, const kd_number_format *format) {
    const uint64_t bytes = kd_number_format_bytes(format, K);
    kd_real *x = malloc((size_t)N * K * sizeof *x);
    float *w = malloc((size_t)N * K * sizeof *w);
    *m = (matrix){.format = format, .bytes = malloc(N * bytes)};
    assert_true(x && w && m->bytes);
    fill(x, (int64_t)N * K, 7);
    for (int i = 0; i < N * K; i++) w[i] = i / K % 9 == 4 ? 0 : (float)x[i];
    assert_ok(kd_number_format_encode(m->bytes, format, w, NULL, 1, N, K, 1, "a matrix"));
    m->steps = (kd_constant_steps){format->steps->kind, row_of};
    m->constant.steps = &m->steps;
    free(x);
    free(w);
}

/* Every format that has steps. */
static const kd_number_format *format_with_steps(int i) {
    const kd_number_format *f;
    for (int at = 0; (f = kd_number_format_at(at)); at++)
        if (f->steps && i-- == 0) return f;
    return NULL;
}

static void *pack(kd_packed *W, const matrix *m) {
    const int64_t bytes = kd_packed_bytes(&m->steps.kind, N, K);
    assert_true(bytes > 0);
    void *memory = aligned_alloc(64, (size_t)bytes);
    assert_non_null(memory);
    assert_ok(kd_packed_fill(W, memory, &m->constant, N, K));
    return memory;
}

static void multiply(kd_real *C, const kd_packed *W, const kd_real *A, int64_t rows) {
    kd_tape *tape;
    assert_ok(kd_tape_create(&tape, 0));
    assert_true(kd_tape_guard(tape) == 0);
    kd_packed_multiply(tape, A, K, rows, &(kd_packed_product){W, C}, 1);
    kd_tape_free(tape);
}

/* --- formats ------------------------------------------------------------------------------------
 */

/* The parts of a row are the numbers that decoding gives. */
static void test_steps_are_the_values(void **state) {
    (void)state;
    const kd_number_format *format;
    int count = 0;
    for (; (format = format_with_steps(count)); count++) {
        const kd_steps_kind kind = format->steps->kind;
        uint8_t code[K];
        uint16_t d[K / 32], offset[K / 32];
        int8_t s[K / 16], o[K / 16];
        float value[K];
        matrix m;
        matrix_init(&m, format);
        for (int row = 0; row < N; row++) {
            kd_row_steps steps = {code, d, offset, s, o};
            row_of(&m.constant, &steps, row);
            format->decode(value, m.bytes + (uint64_t)row * kd_number_format_bytes(format, K), K);
            for (int k = 0; k < K; k++) {
                const int block = k / (kind.sub ? 256 : 32), sub = kind.sub ? k / kind.sub : 0;
                const float scale = kd_half_to_float(d[block]) * (kind.sub ? (float)s[sub] : 1.0f);
                const float moved = kind.offset ? kd_half_to_float(offset[block]) *
                                                      (kind.sub ? (float)o[sub] : 1.0f)
                                                : 0;
                assert_true(code[k] < 1 << kind.bits);
                assert_true(fabsf(scale * (float)(code[k] - kind.zero) + moved - value[k]) <=
                            1e-6f * (fabsf(value[k]) + fabsf(moved)));
            }
        }
        free(m.bytes);
    }
    assert_int_equal(count, KD_STEPS_COUNT);
}

/* --- kernels ------------------------------------------------------------------------------------
 */

static void test_every_kernel(void **state) {
    (void)state;
    static kd_real A[ROWS * K], right[ROWS * N], found[ROWS * N];
    const kd_number_format *format;
    fill(A, ROWS * K, 3);
    for (int i = 0; (format = format_with_steps(i)); i++) {
        matrix m;
        kd_packed W;
        matrix_init(&m, format);
        void *memory = pack(&W, &m);
        W.kernel = kd_packed_kernel_of(KD_ISA_PORTABLE);
        multiply(right, &W, A, ROWS);
        for (int isa = 1; isa < KD_ISA_COUNT; isa++) {
            W.kernel = kd_packed_kernel_of((kd_isa)isa);
            if (!W.kernel) continue;
            memset(found, 0x55, sizeof found);
            multiply(found, &W, A, ROWS);
            assert_memory_equal(found, right, sizeof found);
        }
        free(memory);
        free(m.bytes);
    }
}

/* The largest sums there are: 255·127 beside each other, which pass 15 bits. */
static void largest_row(const kd_constant *constant, kd_row_steps *out, int64_t row) {
    (void)constant;
    for (int k = 0; k < K; k++) out->code[k] = row % 3 == 0 ? 255 : row % 3 == 1 ? 0 : 128;
    for (int b = 0; b < K / 32; b++) out->d[b] = 0x3c00; /* 1 */
}

static void test_largest_sums(void **state) {
    (void)state;
    static kd_real A[2 * K], C[2 * N];
    const kd_steps_kind kind = {.bits = 8, .zero = 128};
    const kd_constant_steps steps = {kind, largest_row};
    const kd_constant constant = {.steps = &steps};
    void *memory = aligned_alloc(64, (size_t)kd_packed_bytes(&kind, N, K));
    kd_packed W;
    assert_ok(kd_packed_fill(&W, memory, &constant, N, K));
    for (int k = 0; k < 2 * K; k++) A[k] = k < K ? 127 : -127;
    for (int isa = 0; isa < KD_ISA_COUNT; isa++) {
        W.kernel = kd_packed_kernel_of((kd_isa)isa);
        if (!W.kernel) continue;
        multiply(C, &W, A, 2);
        for (int n = 0; n < N; n++) {
            const int weight = n % 3 == 0 ? 127 : n % 3 == 1 ? -128 : 0;
            assert_true(C[n] == (kd_real)(weight * 127 * K));
            assert_true(C[N + n] == -C[n]);
        }
    }
    free(memory);
}

/* --- what is computed ---------------------------------------------------------------------------
 */

/* Within Σ|w|·a/2 of the product in real numbers, a/2 what rounding x can change; and the bound is
 * no empty one. */
static void test_bound(void **state) {
    (void)state;
    static kd_real A[ROWS * K], C[ROWS * N];
    const kd_number_format *format;
    fill(A, ROWS * K, 5);
    for (int i = 0; (format = format_with_steps(i)); i++) {
        matrix m;
        kd_packed W;
        matrix_init(&m, format);
        void *memory = pack(&W, &m);
        multiply(C, &W, A, ROWS);
        double worst = 0;
        for (int n = 0; n < N; n++) {
            float w[K];
            format->decode(w, m.bytes + (uint64_t)n * kd_number_format_bytes(format, K), K);
            for (int r = 0; r < ROWS; r++) {
                double exact = 0, bound = 0, size = 0;
                for (int b = 0; b < K; b += 32) {
                    double most = 0;
                    for (int k = b; k < b + 32; k++) most = fmax(most, fabs((double)A[r * K + k]));
                    for (int k = b; k < b + 32; k++) {
                        exact += (double)w[k] * (double)A[r * K + k];
                        bound += fabs((double)w[k]) * most / 254;
                        size += fabs((double)w[k]) * most;
                    }
                }
                const double off = fabs((double)C[r * N + n] - exact);
                assert_true(off <= bound * 1.001 + 2e-6 * size);
                if (bound > 0) worst = fmax(worst, off / bound);
            }
        }
        assert_true(worst > 0.02);
        free(memory);
        free(m.bytes);
    }
}

/* Rows alone and together, one thread and several. */
static void test_same_bits(void **state) {
    (void)state;
    static kd_real A[ROWS * K], together[ROWS * N], alone[N];
    matrix m;
    kd_packed W;
    matrix_init(&m, &kd_format_q5_K);
    void *memory = pack(&W, &m);
    fill(A, ROWS * K, 11);
    omp_set_num_threads(3);
    multiply(together, &W, A, ROWS);
    omp_set_num_threads(1);
    for (int r = 0; r < ROWS; r++) {
        multiply(alone, &W, A + r * K, 1);
        assert_memory_equal(alone, together + r * N, sizeof alone);
    }
    free(memory);
    free(m.bytes);
}

/* What is no number stays none; of what is too small nothing is left. */
static void test_strange_activations(void **state) {
    (void)state;
    static kd_real A[3 * K], C[3 * N];
    matrix m;
    kd_packed W;
    matrix_init(&m, &kd_format_q4_K);
    void *memory = pack(&W, &m);
    A[5] = (kd_real)INFINITY;
    A[K + 100] = (kd_real)NAN;
    for (int k = 0; k < K; k++) A[2 * K + k] = KD_REAL(1e-39);
    multiply(C, &W, A, 3);
    for (int n = 0; n < N; n++) {
        assert_true(isnan(C[n]) && isnan(C[N + n]));
        assert_true(C[2 * N + n] == 0);
    }
    free(memory);
    free(m.bytes);
}

static void test_what_cannot_be_packed(void **state) {
    (void)state;
    const kd_steps_kind q8_0 = {.bits = 8, .zero = 128}, q6_K = {.bits = 6, .zero = 32, .sub = 16};
    const kd_steps_kind unknown = {.bits = 3, .zero = 4};
    assert_true(kd_packed_bytes(&q8_0, N, 96) > 0);
    assert_int_equal(kd_packed_bytes(&q8_0, N, 40), 0);
    assert_int_equal(kd_packed_bytes(&q6_K, N, 96), 0);
    assert_int_equal(kd_packed_bytes(&unknown, N, K), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_are_the_values),
        cmocka_unit_test(test_every_kernel),
        cmocka_unit_test(test_largest_sums),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_strange_activations),
        cmocka_unit_test(test_what_cannot_be_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
