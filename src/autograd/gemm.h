/* Matrix products. The only place that includes OpenBLAS or oneDNN.
 *
 * All matrices are row-major; ld is the distance between rows. With op(A) = A or Aᵀ:
 *
 *     C (M,N) = alpha · op(A) (M,K) · op(B) (K,N) + beta · C        beta = 0: C is only written
 *
 * Same bits at any thread count: the work is cut into tiles whose sizes depend on M, N and K only,
 * and each tile is one thread's.
 */
#ifndef KD_AUTOGRAD_GEMM_H
#define KD_AUTOGRAD_GEMM_H

#include "autograd/param.h"
#include "autograd/tape.h"

typedef enum { KD_PLAIN, KD_TRANSPOSED } kd_trans;

/* Threaded; call from outside parallel regions. */
void kd_gemm(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
             const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta, kd_real *C,
             int64_t ldc);

/* One product on the calling thread; safe inside OpenMP regions. For ops that tile themselves. */
void kd_gemm_serial(kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K, kd_real alpha,
                    const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb, kd_real beta,
                    kd_real *C, int64_t ldc);

/* The same at a precision: with bfloat16, A and B are rounded (vec_pair.h) and summed in float32;
 * in double precision they are not rounded. */
void kd_gemm_serial_at(kd_precision precision, kd_trans ta, kd_trans tb, int64_t M, int64_t N,
                       int64_t K, kd_real alpha, const kd_real *A, int64_t lda, const kd_real *B,
                       int64_t ldb, kd_real beta, kd_real *C, int64_t ldc);

/* `count` products of one shape; stride_* is the distance between successive matrices, 0 to reuse
 * one (never stride_c). */
void kd_gemm_batched(int64_t count, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                     kd_real alpha, const kd_real *A, int64_t lda, int64_t stride_a,
                     const kd_real *B, int64_t ldb, int64_t stride_b, kd_real beta, kd_real *C,
                     int64_t ldc, int64_t stride_c);

/* The product at the tape's precision. With bfloat16, A and B are rounded to bfloat16 and summed in
 * float32: by oneDNN where the processor has AMX (a lower DISTILL_ISA in the environment leaves it
 * out), else by our own loops, in AVX512-BF16 or in float32. These give the same bits on every
 * processor but for subnormal numbers (vec_pair.h); oneDNN sums in another order. When `b_param` is
 * not NULL and B is its whole value, oneDNN's rounded copy of it is made once per version of the
 * parameters (once per step), not once per product. */
void kd_gemm_tape(kd_tape *tape, kd_trans ta, kd_trans tb, int64_t M, int64_t N, int64_t K,
                  kd_real alpha, const kd_real *A, int64_t lda, const kd_real *B, int64_t ldb,
                  kd_param *b_param, kd_real beta, kd_real *C, int64_t ldc);

/* C (M,N) = A (M,K) · Bᵀ, B (N,K) a constant: the bits of kd_gemm and of kd_gemm_tape with all of B
 * in memory, of which only a part is at a time where B is large. */
void kd_gemm_constant(kd_tape *tape, int64_t M, int64_t N, int64_t K, const kd_real *A, int64_t lda,
                      const kd_constant *B, kd_real *C, int64_t ldc);
void kd_gemm_tape_constant(kd_tape *tape, int64_t M, int64_t N, int64_t K, const kd_real *A,
                           int64_t lda, const kd_constant *B, kd_real *C, int64_t ldc);

/* "float32", "bfloat16" or "auto" (bfloat16 where it is fast, else float32) → *out. A request for
 * bfloat16 on a processor without it is granted through rounding and float32 products. */
int kd_precision_parse(kd_precision *out, const char *text);
bool kd_bfloat16_is_fast(void);
/* Whose kernels those are: "oneDNN, amx" or "our own, avx512bf16"; NULL where it is not fast. */
const char *kd_bfloat16_kernels(void);

/* Whose kernels multiply float32 (double), for people: "OpenBLAS Haswell, and our own (avx2) …". */
void kd_gemm_describe(char *out, size_t capacity);

/* Nearest bfloat16, ties to even, as a float; infinities stay, a NaN comes out quiet. */
float kd_round_bfloat16(float x);

/* Seconds and operations spent in matrix products (convolutions included) since counting was
 * enabled, for the bench. Off by default. */
typedef struct {
    double seconds, flop;
} kd_gemm_counters;
kd_gemm_counters kd_gemm_count(void);
void kd_gemm_count_enable(bool on);
/* Around a product, from outside parallel regions: the clock, and the sum. */
double kd_gemm_count_begin(void);
void kd_gemm_count_end(double began, double flop);

#endif
