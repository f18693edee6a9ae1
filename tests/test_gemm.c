/* Matrix products: against the definition, with every transposition, at any thread count. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "autograd/gemm.h"
#include "autograd/gemm_few.h"
#include "base/hash.h"
#include "base/isa.h"

static const double EPSILON = sizeof(kd_real) == 4 ? 0x1p-23 : 0x1p-52;

/* One product with rows that are farther apart than they are long. */
typedef struct {
    kd_trans ta, tb;
    int64_t M, N, K, lda, ldb, ldc;
    kd_real alpha, beta;
    kd_real *A, *B, *C;
    int64_t a_size, b_size, c_size;
} problem;

static kd_real *random_numbers(int64_t n, uint64_t stream) {
    kd_real *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    kd_rng rng = kd_rng_init(3, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (kd_real)kd_rng_normal(&rng);
    return x;
}

static problem make_problem(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                            int64_t gap) {
    problem p = {.ta = ta, .tb = tb, .M = M, .N = N, .K = K, .alpha = 1};
    p.lda = (ta == KD_PLAIN ? K : M) + gap;
    p.ldb = (tb == KD_PLAIN ? N : K) + gap;
    p.ldc = N + gap;
    p.a_size = p.lda * (ta == KD_PLAIN ? M : K);
    p.b_size = p.ldb * (tb == KD_PLAIN ? K : N);
    p.c_size = p.ldc * M;
    p.A = random_numbers(p.a_size, 1);
    p.B = random_numbers(p.b_size, 2);
    p.C = random_numbers(p.c_size, 3);
    return p;
}

static void free_problem(problem *p) {
    free(p->A);
    free(p->B);
    free(p->C);
}

/* The definition, on operands that went through `change`; and between the rows of C nothing moved.
 */
static void check_product(const problem *p, const kd_real *before, float (*change)(float)) {
    for (int64_t i = 0; i < p->M; i++)
        for (int64_t j = 0; j < p->ldc; j++) {
            const double found = (double)p->C[i * p->ldc + j], old = (double)before[i * p->ldc + j];
            double sum = 0, size = 0;
            for (int64_t k = 0; j < p->N && k < p->K; k++) {
                double a = (double)p->A[p->ta == KD_PLAIN ? i * p->lda + k : k * p->lda + i];
                double b = (double)p->B[p->tb == KD_PLAIN ? k * p->ldb + j : j * p->ldb + k];
                if (change) a = (double)change((float)a), b = (double)change((float)b);
                sum += a * b;
                size += fabs(a * b);
            }
            double expected = (double)p->alpha * sum, bound = fabs((double)p->alpha) * size;
            if (p->beta != 0)
                expected += (double)p->beta * old, bound += fabs((double)p->beta * old);
            if (j >= p->N) expected = old;
            if (!(fabs(found - expected) <= 4 * EPSILON * sqrt((double)p->K) * bound))
                fail_msg("%dx%dx%d, C[%d,%d] = %g, not %g", (int)p->M, (int)p->N, (int)p->K, (int)i,
                         (int)j, found, expected);
        }
}

static kd_real *copy_of(const kd_real *x, int64_t n) {
    kd_real *y = malloc((size_t)n * sizeof *y);
    assert_non_null(y);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

/* What the product of p's numbers is, written to C. */
static kd_matrix_product described(const problem *p, kd_real *C) {
    return (kd_matrix_product){.M = p->M,
                               .N = p->N,
                               .K = p->K,
                               .A = {.at = p->A, .ld = p->lda, .trans = p->ta},
                               .B = {.at = p->B, .ld = p->ldb, .trans = p->tb},
                               .alpha = p->alpha,
                               .beta = p->beta,
                               .C = C,
                               .ldc = p->ldc};
}

static void run_gemm(const problem *p) {
    const kd_matrix_product product = described(p, p->C);
    kd_gemm(&product);
}

static void run_tape(kd_tape *tape, const problem *p) {
    const kd_matrix_product product = described(p, p->C);
    kd_gemm_tape(tape, &product);
}

static void check_gemm(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K) {
    const kd_real factors[][2] = {{1, 0}, {1, 1}, {KD_REAL(-0.5), 2}};
    for (int f = 0; f < 3; f++) {
        problem p = make_problem(ta, tb, M, N, K, f);
        p.alpha = factors[f][0];
        p.beta = factors[f][1];
        kd_real *before = copy_of(p.C, p.c_size);
        run_gemm(&p);
        check_product(&p, before, NULL);
        free(before);
        free_problem(&p);
    }
}

static void test_odd_sizes(void **state) {
    (void)state;
    const int64_t sizes[] = {1, 2, 3, 5, 7};
    for (int t = 0; t < 4; t++)
        for (int m = 0; m < 5; m++)
            for (int n = 0; n < 5; n++)
                for (int k = 0; k < 5; k++)
                    check_gemm((kd_trans)(t & 1), (kd_trans)(t >> 1), sizes[m], sizes[n], sizes[k]);
}

static void test_sizes_with_tiles(void **state) {
    (void)state;
    for (int t = 0; t < 4; t++) {
        check_gemm((kd_trans)(t & 1), (kd_trans)(t >> 1), 129, 127, 65);
        check_gemm((kd_trans)(t & 1), (kd_trans)(t >> 1), 1, 300, 129);
        check_gemm((kd_trans)(t & 1), (kd_trans)(t >> 1), 300, 1, 129);
    }
}

/* Whatever fits into fewer bytes gives the bits it gave before; what does not is left alone. */
static void test_compact(void **state) {
    (void)state;
    enum { N = 37, K = 96 };
    static const float largest[] = {127, 8, 16, 0, 0}; /* 0: halves, bfloat16 */
    kd_params *params;
    kd_compact *c;
    const int64_t shape[2] = {N, K};
    assert_int_equal(kd_params_create(&params), 0);
    kd_param *p = kd_params_add(params, "w", 2, shape, KD_INIT_ZERO, K, N, KD_PARAM_TRAINED);
    assert_int_equal(kd_params_layout(params, 1), 0);
    kd_real A[7 * K], C[7 * N], D[7 * N];
    for (int i = 0; i < 7 * K; i++) A[i] = (kd_real)(i * 37 % 101) / 64 - KD_REAL(0.7);
    for (int kind = 0; kind < 5; kind++) {
        for (int i = 0; i < N * K; i++) {
            const float steps = largest[kind], q = (float)(i * 29 % 255 - 127);
            const float scale = 0.01f + (float)(i / 32 % 5) * 0.003f;
            p->tensor.value[i] =
                (kd_real)(steps > 0   ? scale * (i % 32 ? rintf(q / 127 * (steps - 1)) : -steps)
                          : kind == 3 ? (float)(i * 57 % 2048) / 1024
                                      : ldexpf((float)(i * 57 % 256), i % 60 - 30));
        }
        kd_params_touch(params);
        assert_int_equal(kd_compact_create(&c, p), 0);
        if (!c) continue; /* a processor without the conversions, or double precision */
        assert_true(kind == 4 ? c->brain != NULL : kind == 3 ? c->half != NULL : c->step != NULL);
        for (int64_t M = 1; M <= 6; M++) {
            kd_matrix_product product = kd_product_of(
                M, N, K, kd_plain(A, K), kd_factor_of(&p->tensor, KD_TRANSPOSED), C, N);
            kd_gemm_few(&product);
            product.C = D;
            kd_gemm_few_compact(&product, c);
            assert_memory_equal(C, D, (size_t)(M * N) * sizeof *C);
        }
        free(c);
    }
    p->tensor.value[5] = KD_REAL(0.1234567); /* no half, no multiple of anything near */
    kd_params_touch(params);
    assert_int_equal(kd_compact_create(&c, p), 0);
    assert_null(c);
    kd_params_free(params);
}

/* beta = 0 must not read C. */
/* A few rows have a kernel of their own, which takes columns and inner numbers in groups. */
static void test_few_rows(void **state) {
    (void)state;
    for (int64_t M = 1; M <= 7; M++)
        for (int transposed = 0; transposed < 2; transposed++)
            check_gemm(KD_PLAIN, transposed ? KD_TRANSPOSED : KD_PLAIN, M, 83 + M, 95 - M);
}

static void test_beta_zero_only_writes(void **state) {
    (void)state;
    problem p = make_problem(KD_PLAIN, KD_PLAIN, 65, 67, 33, 0);
    for (int64_t i = 0; i < p.c_size; i++) p.C[i] = (kd_real)NAN;
    run_gemm(&p);
    for (int64_t i = 0; i < p.c_size; i++) assert_true(isfinite((double)p.C[i]));
    free_problem(&p);
}

/* What every way to multiply makes of p: kd_gemm, the tape at both precisions, a batch of two. */
static void run_every_way(const problem *p, kd_tape *tape, kd_real *out) {
    for (int way = 0; way < 4; way++, out += p->c_size) {
        memcpy(out, p->C, (size_t)p->c_size * sizeof *out);
        tape->precision = way == 2 ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32;
        kd_matrix_product product = described(p, out);
        product.beta = 1;
        if (way == 0)
            kd_gemm(&product);
        else if (way < 3)
            kd_gemm_tape(tape, &product);
        else
            kd_gemm_batched(&product, (kd_product_batch){.count = 1});
    }
    kd_tape_reset(tape);
}

/* Shapes that are one tile, or few, and one that is large. */
static void test_threads_change_no_bit(void **state) {
    (void)state;
    static const int64_t sides[] = {7, 33, 64, 90};
    static const int64_t odd[][3] = {{64, 64, 512}, {10, 64, 1024},  {80, 80, 300},
                                     {90, 90, 700}, {257, 127, 129}, {64, 300, 784},
                                     {1, 400, 900}, {128, 10, 1200}};
    enum { SIDES = 4, GRID = SIDES * SIDES * 2, ODD = 8 };
    static const int threads[] = {1, 2, 3, 5};
    const int before = omp_get_max_threads();
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), 0);
#ifdef __SANITIZE_ADDRESS__
    enum { EVERY = 7 }; /* the sanitizers look at the reading and writing, not at bits */
#else
    enum { EVERY = 1 };
#endif
    for (int i = 0; i < 4 * (GRID + ODD); i += EVERY) {
        const int n = i / 4, g = n < GRID ? n : 0;
        const int64_t cube[3] = {sides[g % SIDES], sides[g / SIDES % SIDES],
                                 g / SIDES / SIDES ? 520 : 65};
        const int64_t *size = n < GRID ? cube : odd[n - GRID];
        problem p = make_problem(i & 1, i >> 1 & 1, size[0], size[1], size[2], 0);
        kd_real *first = malloc(8 * (size_t)p.c_size * sizeof *first),
                *other = first + 4 * p.c_size;
        assert_non_null(first);
        for (int t = 0; t < 4; t++) {
            omp_set_num_threads(threads[t]);
            run_every_way(&p, tape, t ? other : first);
            if (t && memcmp(first, other, 4 * (size_t)p.c_size * sizeof *first) != 0)
                fail_msg("%dx%dx%d, transposed %d %d: other bits with %d threads", (int)p.M,
                         (int)p.N, (int)p.K, p.ta, p.tb, threads[t]);
        }
        free(first);
        free_problem(&p);
    }
    omp_set_num_threads(before);
    kd_tape_free(tape);
}

/* The thread test alone in a process of its own: what multiplies is chosen when it starts. */
static void run_threads_with(const char *variable, const char *value) {
    fflush(NULL); /* or the child would print it once more */
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv(variable, value, 1);
        execl("/proc/self/exe", "test_gemm", "threads", (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s=%s: products differ between numbers of threads, or are wrong", variable,
                 value);
}

/* With every set of loops that this processor can run. */
static void test_threads_at_every_level(void **state) {
    (void)state;
    for (kd_isa isa = 0; isa < KD_ISA_COUNT; isa++) {
        if (isa == KD_ISA_AVXVNNI || isa == KD_ISA_AVX512VNNI) continue; /* loops of those below */
        if (kd_isa_has(isa))
            run_threads_with("DISTILL_ISA", kd_isa_name(isa));
        else
            print_message("SKIP level %s: this processor does not have it\n", kd_isa_name(isa));
    }
}

/* A hash of bfloat16 products of both kinds, of a batch and any other. */
static uint64_t bfloat16_digest(void) {
    kd_tape *tape;
    uint64_t digest = 1;
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    tape->precision = KD_PRECISION_BFLOAT16;
    for (int t = 0; t < 8; t++) {
        problem p = make_problem(t & 1, t >> 1 & 1, t & 4 ? 130 : 21, 260, 141, t & 3);
        p.beta = 1;
        run_tape(tape, &p);
        digest = kd_checksum64(p.C, (size_t)p.c_size * sizeof *p.C) + 31 * digest;
        free_problem(&p);
    }
    kd_tape_free(tape);
    return digest;
}

/* What a processor without bfloat16 makes of it is what AVX512-BF16 makes of it. */
static void test_bfloat16_at_every_level(void **state) {
    (void)state;
    if (sizeof(kd_real) != 4) skip();
    char path[256], command[320];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(length > 0);
    path[length] = 0;
    uint64_t first = 0;
    for (kd_isa isa = 0; isa < KD_ISA_AMX; isa++) {
        if (!kd_isa_has(isa)) continue;
        snprintf(command, sizeof command, "DISTILL_ISA=%s %s digest", kd_isa_name(isa), path);
        FILE *child = popen(command, "r");
        unsigned long long digest;
        assert_non_null(child);
        assert_int_equal(fscanf(child, "%llx", &digest), 1);
        assert_int_equal(pclose(child), 0);
        if (isa == 0) first = digest;
        if (digest != first) fail_msg("bfloat16 products have other bits at %s", kd_isa_name(isa));
    }
}

/* With every set of kernels of OpenBLAS's that it can run: those of its level are used. */
static void test_threads_with_every_core(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* OpenBLAS is not compiled with the sanitizers */
#endif
    static const struct {
        const char *core;
        kd_isa needs;
    } cores[] = {{"Prescott", KD_ISA_PORTABLE},
                 {"Haswell", KD_ISA_AVX2},
                 {"Zen", KD_ISA_AVX2},
                 {"SkylakeX", KD_ISA_AVX512},
                 {"Cooperlake", KD_ISA_AVX512BF16}};
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++) {
        if (!kd_isa_has(cores[i].needs)) continue;
        const kd_isa level = cores[i].needs > KD_ISA_AVX512 ? KD_ISA_AVX512 : cores[i].needs;
        setenv("DISTILL_ISA", kd_isa_name(level), 1);
        run_threads_with("OPENBLAS_CORETYPE", cores[i].core);
        unsetenv("DISTILL_ISA");
    }
}

/* A batch is its products one by one; stride 0 uses one matrix for all. */
static void test_batch(void **state) {
    (void)state;
    enum { COUNT = 3, M = 5, N = 7, K = 3 };
    kd_real *A = random_numbers(COUNT * M * K, 1), *B = random_numbers(K * N, 2);
    kd_real batch[COUNT * M * N], single[M * N];
    kd_matrix_product p = kd_product_of(M, N, K, kd_plain(A, K), kd_plain(B, N), batch, N);
    kd_gemm_batched(&p, (kd_product_batch){COUNT, M * K, 0, M * N});
    p.C = single;
    for (int i = 0; i < COUNT; i++, p.A.at += M * K) {
        kd_gemm(&p);
        assert_memory_equal(batch + i * M * N, single, sizeof single);
    }
    free(A);
    free(B);
}

/* --- bfloat16 -------------------------------------------------------------------------------- */

static uint32_t rounded_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    x = kd_round_bfloat16(x);
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void test_rounding(void **state) {
    (void)state;
    assert_true(kd_round_bfloat16(1.0F) == 1.0F);
    assert_true(kd_round_bfloat16(-3.140625F) == -3.140625F);
    assert_true(kd_round_bfloat16(3.14159265F) == 3.140625F);
    assert_int_equal(rounded_bits(0x3F808000), 0x3F800000); /* a tie goes to even: down */
    assert_int_equal(rounded_bits(0x3F818000), 0x3F820000); /* and up                    */
    assert_int_equal(rounded_bits(0x3F808001), 0x3F810000); /* just above a tie          */
    assert_int_equal(rounded_bits(0x3F817FFF), 0x3F810000); /* just below                */
    assert_int_equal(rounded_bits(0xBF808001), 0xBF810000); /* the sign does not matter  */
    assert_int_equal(rounded_bits(0x7F7FFFFF), 0x7F800000); /* the largest float → ∞     */
    assert_int_equal(rounded_bits(0x80000000), 0x80000000); /* −0                        */
    assert_int_equal(rounded_bits(0x00000001), 0);          /* the smallest subnormal    */
    assert_int_equal(rounded_bits(0x7F800000), 0x7F800000); /* ∞                         */
    assert_int_equal(rounded_bits(0xFF800000), 0xFF800000);
    assert_int_equal(rounded_bits(0x7F800001), 0x7FC00000); /* a NaN never becomes ∞     */
    assert_int_equal(rounded_bits(0xFFFFFFFF), 0xFFFF0000);
}

/* A tape at bfloat16 gives the product of the rounded operands, by whatever way the processor has.
 */
static void test_bfloat16_product(void **state) {
    (void)state;
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    tape->precision = KD_PRECISION_BFLOAT16;
    for (int t = 0; t < 8; t++) {
        problem p = make_problem(t & 1, (t >> 1) & 1, 65, 300, 129, t & 3);
        p.beta = (kd_real)(t >> 2);
        kd_real *before = copy_of(p.C, p.c_size), *alone = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            memcpy(p.C, before, (size_t)p.c_size * sizeof *before);
            run_tape(tape, &p);
            if (!alone) alone = copy_of(p.C, p.c_size);
            assert_memory_equal(p.C, alone, (size_t)p.c_size * sizeof *alone);
        }
        omp_set_num_threads(1);
        check_product(&p, before, kd_round_bfloat16);
        free(before);
        free(alone);
        free_problem(&p);
        kd_tape_reset(tape);
    }
    kd_tape_free(tape);
}

/* The kept copy of a parameter follows its values, version by version. */
static void test_packed_parameter(void **state) {
    (void)state;
    enum { N = 5, K = 40, M = 30 };
    const int64_t shape[2] = {M, K};
    kd_params *params;
    kd_tape *tape;
    kd_real x[N * K], kept[N * M], fresh[N * M];
    assert_int_equal(kd_params_create(&params), 0);
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    kd_param *w = kd_params_add(params, "w", 2, shape, KD_INIT_HE_NORMAL, K, M, KD_PARAM_TRAINED);
    assert_int_equal(kd_params_layout(params, 1), 0);
    tape->precision = KD_PRECISION_BFLOAT16;
    for (int i = 0; i < N * K; i++) x[i] = (kd_real)(i % 7) / 3;
    for (int version = 0; version < 3; version++) {
        for (int use = 0; use < 2; use++) {
            kd_matrix_product p = kd_product_of(N, M, K, kd_plain(x, K),
                                                kd_factor_of(&w->tensor, KD_TRANSPOSED), kept, M);
            kd_gemm_tape(tape, &p);
            p.B = kd_transposed(w->tensor.value, K);
            p.C = fresh;
            kd_gemm_tape(tape, &p);
            assert_memory_equal(kept, fresh, sizeof kept);
        }
        for (int64_t i = 0; i < w->tensor.size; i++) w->tensor.value[i] *= KD_REAL(1.37);
        kd_params_touch(params);
    }
    kd_tape_free(tape);
    kd_params_free(params);
}

/* At float32 the tape's product is kd_gemm's, bit by bit. */
static void test_float32_product(void **state) {
    (void)state;
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    problem p = make_problem(KD_PLAIN, KD_TRANSPOSED, 65, 67, 33, 1);
    run_gemm(&p);
    kd_real *expected = copy_of(p.C, p.c_size);
    run_tape(tape, &p);
    assert_memory_equal(p.C, expected, (size_t)p.c_size * sizeof *expected);
    free(expected);
    free_problem(&p);
    kd_tape_free(tape);
}

/* Products of weights and a batch, which have a kernel of their own: a side longer than a block of
 * it, and one that ends within a tile. */
static void test_batch_sized_product(void **state) {
    (void)state;
    const int64_t sizes[][3] = {{128, 300, 600}, {67, 515, 131}, {515, 67, 131}, {309, 301, 70}};
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), 0);
    for (int t = 0; t < 32; t++) {
        const int64_t *size = sizes[t >> 3];
        problem p = make_problem(t & 1, (t >> 1) & 1, size[0], size[1], size[2], t % 5);
        p.beta = (kd_real)((t >> 2) & 1);
        kd_real *before = copy_of(p.C, p.c_size), *alone = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            omp_set_num_threads(threads);
            memcpy(p.C, before, (size_t)p.c_size * sizeof *before);
            run_tape(tape, &p);
            if (!alone) alone = copy_of(p.C, p.c_size);
            assert_memory_equal(p.C, alone, (size_t)p.c_size * sizeof *alone);
        }
        omp_set_num_threads(1);
        check_product(&p, before, NULL);
        free(before);
        free(alone);
        free_problem(&p);
        kd_tape_reset(tape);
    }
    kd_tape_free(tape);
}

static void test_precision_names(void **state) {
    (void)state;
    kd_precision p;
    assert_int_equal(kd_precision_parse(&p, "float32"), 0);
    assert_int_equal(p, KD_PRECISION_FLOAT32);
    assert_int_equal(kd_precision_parse(&p, "bfloat16"), 0);
    assert_int_equal(p, KD_PRECISION_BFLOAT16);
    assert_int_equal(kd_precision_parse(&p, "auto"), 0);
    assert_int_equal(p, kd_bfloat16_is_fast() ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32);
    assert_true(kd_precision_parse(&p, "fp16") < 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest one_level[] = {
        cmocka_unit_test(test_threads_change_no_bit),
        cmocka_unit_test(test_sizes_with_tiles),
        cmocka_unit_test(test_batch_sized_product),
        cmocka_unit_test(test_bfloat16_product),
    };
    if (argc > 1 && strcmp(argv[1], "threads") == 0)
        return cmocka_run_group_tests(one_level, NULL, NULL);
    if (argc > 1 && strcmp(argv[1], "digest") == 0)
        return printf("%llx\n", (unsigned long long)bfloat16_digest()) > 0 ? 0 : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_odd_sizes),
        cmocka_unit_test(test_sizes_with_tiles),
        cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_beta_zero_only_writes),
        cmocka_unit_test(test_threads_change_no_bit),
        cmocka_unit_test(test_threads_at_every_level),
        cmocka_unit_test(test_threads_with_every_core),
        cmocka_unit_test(test_bfloat16_at_every_level),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_bfloat16_product),
        cmocka_unit_test(test_packed_parameter),
        cmocka_unit_test(test_float32_product),
        cmocka_unit_test(test_batch_sized_product),
        cmocka_unit_test(test_precision_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
