/* What the ops share: the shape contract, adding to a gradient, and sums in a fixed order. */
#ifndef KD_AUTOGRAD_OP_COMMON_H
#define KD_AUTOGRAD_OP_COMMON_H

#include "autograd/tape.h"
#include "base/error.h"

/* Loops over fewer elements are not worth waking the other threads for. */
enum { KD_PARALLEL_SIZE = 1 << 15 };

/* The shapes of `a` and `b` must fit `op`. */
#define KD_FIT(condition, op, a, b)                                                                \
    do {                                                                                           \
        char first_[96], second_[96];                                                              \
        KD_CONTRACT(condition, "%s: shapes %s and %s do not fit", op,                              \
                    kd_shape_text(first_, sizeof first_, a),                                       \
                    kd_shape_text(second_, sizeof second_, b));                                    \
    } while (0)

/* ∂x[i] ← ∂x[i] + expression of i, for all i; nothing when x wants no gradient. */
#define KD_ADD_GRAD(tape, x, expression)                                                           \
    do {                                                                                           \
        kd_real beta_;                                                                             \
        kd_real *restrict grad_ = kd_tape_grad_beta(tape, x, &beta_);                              \
        if (!grad_) break;                                                                         \
        const int64_t size_ = (x)->size;                                                           \
        if (beta_ == 0) {                                                                          \
            _Pragma("omp parallel for simd if (size_ >= KD_PARALLEL_SIZE)") for (int64_t i = 0;    \
                                                                                 i < size_; i++)   \
                grad_[i] = (expression);                                                           \
        } else {                                                                                   \
            _Pragma("omp parallel for simd if (size_ >= KD_PARALLEL_SIZE)") for (int64_t i = 0;    \
                                                                                 i < size_; i++)   \
                grad_[i] += (expression);                                                          \
        }                                                                                          \
    } while (0)

/* --- rows: one thread, an order of summation that depends on n alone ------------------------- */

static inline kd_real kd_row_max(const kd_real *restrict x, int64_t n) {
    kd_real max = x[0];
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* Σ x and Σ a ∘ b, in double between tiles of this many elements. */
enum { KD_ROW_TILE = 512 };

static inline double kd_row_sum(const kd_real *restrict x, int64_t n) {
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += KD_ROW_TILE) {
        int64_t end = begin + KD_ROW_TILE < n ? begin + KD_ROW_TILE : n;
        kd_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = begin; i < end; i++) part += x[i];
        sum += (double)part;
    }
    return sum;
}

static inline double kd_row_dot(const kd_real *restrict a, const kd_real *restrict b, int64_t n) {
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += KD_ROW_TILE) {
        int64_t end = begin + KD_ROW_TILE < n ? begin + KD_ROW_TILE : n;
        kd_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = begin; i < end; i++) part += a[i] * b[i];
        sum += (double)part;
    }
    return sum;
}

/* --- whole tensors: threaded, the same bits at any thread count ------------------------------ */

/* ∂b[c] ← ∂b[c] + Σ_rows x[row, c], x (rows, C): the gradient of a bias. */
void kd_add_column_sums(kd_tape *tape, kd_tensor *b, const kd_real *x, int64_t rows);

/* ∂x ← ∂x ∘ [y > 0] in place: the gradient of y = max(x, 0), taken on the output's own buffer. */
void kd_relu_gate(kd_real *grad, const kd_real *y, int64_t size);

#endif
