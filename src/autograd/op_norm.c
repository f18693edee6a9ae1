#include <string.h>

#include "autograd/op_common.h"
#include "autograd/ops.h"
#include "autograd/vec.h"
#include "base/order.h"
#include "base/size.h"

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast")

/* Sums over rows are taken in tiles of at least TILE_ROWS rows and at most MAX_TILES tiles. */
enum { TILE_ROWS = 64, MAX_TILES = 256 };

static int64_t tile_rows(int64_t rows) {
    int64_t step = (rows + MAX_TILES - 1) / MAX_TILES;
    return step > TILE_ROWS ? step : TILE_ROWS;
}

/* ∂a ← ∂a + factor ∘ sum; `factor` may be NULL. */
static void add_sums(kd_tape *tape, kd_tensor *a, const double *sum, const kd_real *factor) {
    kd_real *grad = kd_tape_grad(tape, a);
    for (int64_t c = 0; grad && c < a->size; c++)
        grad[c] += (kd_real)(factor ? sum[c] * (double)factor[c] : sum[c]);
}

/* Σ over the tiles of sums (tiles, C), in order. */
static void add_tiles(double *out, const kd_real *sums, int64_t tiles, int64_t C, int64_t stride) {
    for (int64_t c = 0; c < C; c++) out[c] = 0;
    for (int64_t tile = 0; tile < tiles; tile++)
        for (int64_t c = 0; c < C; c++) out[c] += (double)sums[tile * stride + c];
}

/* --- layer norm ------------------------------------------------------------------------------ */

/* y = γ∘x̂ + β, x̂ = (x − μ)/√(σ² + ε), over the last axis of x (N,C).
 *
 *     ∂x ← (g − mean(g) − x̂·mean(g∘x̂))/√(σ² + ε),  g = γ∘∂y
 *     ∂γ ← Σ_rows ∂y∘x̂,  ∂β ← Σ_rows ∂y
 *
 * Saved: μ and 1/√(σ² + ε) of every row; x̂ is two operations away from them. σ² is taken around μ
 * in a second pass, while the row is in the cache. */
typedef struct {
    kd_real mean, rstd;
} row_moments;

static row_moments moments_of(const kd_real *x, int64_t C, kd_real epsilon) {
    const kd_real mean = (kd_real)(kd_row_sum(x, C) / (double)C);
    double squares = 0;
    for (int64_t begin = 0; begin < C; begin += KD_ROW_TILE) {
        const int64_t end = kd_smaller(begin + KD_ROW_TILE, C);
        kd_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t c = begin; c < end; c++) part += (x[c] - mean) * (x[c] - mean);
        squares += (double)part;
    }
    return (row_moments){mean, (kd_real)(1 / sqrt(squares / (double)C + (double)epsilon))};
}

/* One row of the backward pass; sum_g and sum_b are the tile's share of ∂γ and ∂β. */
static void layer_norm_row(kd_real *restrict dx, kd_real beta, kd_real *restrict sum_g,
                           kd_real *restrict sum_b, const kd_real *restrict x,
                           const kd_real *restrict dy, const kd_real *restrict gamma, row_moments m,
                           int64_t C) {
    kd_real along_one = 0, along_x = 0;
#pragma omp simd reduction(+ : along_one, along_x)
    for (int64_t c = 0; c < C; c++) {
        const kd_real normed = (x[c] - m.mean) * m.rstd;
        along_one += dy[c] * gamma[c];
        along_x += dy[c] * gamma[c] * normed;
        sum_g[c] += dy[c] * normed;
        sum_b[c] += dy[c];
    }
    if (!dx) return;
    along_one /= (kd_real)C;
    along_x /= (kd_real)C;
    for (int64_t c = 0; c < C; c++) {
        const kd_real normed = (x[c] - m.mean) * m.rstd;
        const kd_real g = m.rstd * (dy[c] * gamma[c] - along_one - normed * along_x);
        dx[c] = beta == 0 ? g : dx[c] + g;
    }
}

static void layer_norm_backward(kd_tape *tape, kd_node *node) {
    kd_tensor *x = node->in[0], *gamma = node->in[1], *shift = node->in[2];
    const row_moments *moments = node->saved;
    const kd_real *dy = node->out->grad;
    const int64_t N = kd_rows(x), C = kd_channels(x), step = tile_rows(N);
    const int64_t tiles = (N + step - 1) / step;
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    kd_real *sums = kd_tape_take(tape, kd_array_bytes(tiles * 2 * C, sizeof *sums));
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++) {
        kd_real *sum = sums + tile * 2 * C;
        memset(sum, 0, (size_t)(2 * C) * sizeof *sum);
        for (int64_t row = tile * step; row < kd_smaller(N, (tile + 1) * step); row++)
            layer_norm_row(dx ? dx + row * C : NULL, beta, sum, sum + C, x->value + row * C,
                           dy + row * C, gamma->value, moments[row], C);
    }
    double *total = kd_tape_take(tape, kd_array_bytes(C, sizeof *total));
    add_tiles(total, sums, tiles, C, 2 * C);
    add_sums(tape, gamma, total, NULL);
    add_tiles(total, sums + C, tiles, C, 2 * C);
    add_sums(tape, shift, total, NULL);
    kd_tape_give(tape, total);
    kd_tape_give(tape, sums);
}

kd_tensor *kd_layer_norm(kd_tape *tape, kd_tensor *x, kd_tensor *gamma, kd_tensor *beta,
                         kd_real epsilon) {
    const int64_t N = kd_rows(x), C = kd_channels(x);
    KD_FIT(gamma->size == C, "layer_norm", x, gamma);
    KD_FIT(beta->size == C, "layer_norm", x, beta);
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    row_moments *moments = kd_tape_alloc(tape, kd_array_bytes(N, sizeof *moments));
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < N; row++) {
        const kd_real *restrict in = x->value + row * C;
        kd_real *restrict out = y->value + row * C;
        const row_moments m = moments[row] = moments_of(in, C, epsilon);
        for (int64_t c = 0; c < C; c++)
            out[c] = (in[c] - m.mean) * m.rstd * gamma->value[c] + beta->value[c];
    }
    kd_tape_record(tape, "layer_norm", layer_norm_backward, y, moments, 3,
                   (kd_tensor *[]){x, gamma, beta});
    return y;
}

/* --- rms norm -------------------------------------------------------------------------------- */

/* y = γ∘x̂, x̂ = x·r, r = 1/√(mean(x²) + ε), over the last axis of x (N,C).
 *
 *     ∂x ← r·(g − x̂·mean(g∘x̂)),  g = γ∘∂y        ∂γ ← Σ_rows ∂y∘x̂
 *
 * Saved: r of every row. */
static void rms_norm_row(kd_real *restrict dx, kd_real beta, kd_real *restrict sum,
                         const kd_real *restrict x, const kd_real *restrict dy,
                         const kd_real *restrict gamma, kd_real r, int64_t C) {
    kd_real along_x = 0;
#pragma omp simd reduction(+ : along_x)
    for (int64_t c = 0; c < C; c++) {
        const kd_real normed = x[c] * r;
        along_x += dy[c] * gamma[c] * normed;
        sum[c] += dy[c] * normed;
    }
    if (!dx) return;
    along_x /= (kd_real)C;
    for (int64_t c = 0; c < C; c++) {
        const kd_real g = r * (dy[c] * gamma[c] - x[c] * r * along_x);
        dx[c] = beta == 0 ? g : dx[c] + g;
    }
}

static void rms_norm_backward(kd_tape *tape, kd_node *node) {
    kd_tensor *x = node->in[0], *gamma = node->in[1];
    const kd_real *r = node->saved, *dy = node->out->grad;
    const int64_t N = kd_rows(x), C = kd_channels(x), step = tile_rows(N);
    const int64_t tiles = (N + step - 1) / step;
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    kd_real *sums = kd_tape_take(tape, kd_array_bytes(tiles * C, sizeof *sums));
    memset(sums, 0, (size_t)(tiles * C) * sizeof *sums);
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++)
        for (int64_t row = tile * step; row < kd_smaller(N, (tile + 1) * step); row++)
            rms_norm_row(dx ? dx + row * C : NULL, beta, sums + tile * C, x->value + row * C,
                         dy + row * C, gamma->value, r[row], C);
    double *total = kd_tape_take(tape, kd_array_bytes(C, sizeof *total));
    add_tiles(total, sums, tiles, C, C);
    add_sums(tape, gamma, total, NULL);
    kd_tape_give(tape, total);
    kd_tape_give(tape, sums);
}

kd_tensor *kd_rms_norm(kd_tape *tape, kd_tensor *x, kd_tensor *gamma, kd_real epsilon) {
    const int64_t N = kd_rows(x), C = kd_channels(x);
    KD_FIT(gamma->size == C, "rms_norm", x, gamma);
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    kd_real *saved = kd_tape_alloc(tape, kd_array_bytes(N, sizeof *saved));
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < N; row++) {
        const kd_real *restrict in = x->value + row * C;
        kd_real *restrict out = y->value + row * C;
        const kd_real r = saved[row] =
            (kd_real)(1 / sqrt(kd_row_dot(in, in, C) / (double)C + (double)epsilon));
        for (int64_t c = 0; c < C; c++) out[c] = in[c] * r * gamma->value[c];
    }
    kd_tape_record(tape, "rms_norm", rms_norm_backward, y, saved, 2, (kd_tensor *[]){x, gamma});
    return y;
}

/* --- batch norm ------------------------------------------------------------------------------ */

/* y = act(z), z = (x − μ)·scale + β, scale = γ/√(σ² + ε), per channel of x (N,C).
 *
 *     g = ∂y where z > 0 (all of ∂y without an activation)
 *     ∂γ ← Σ g·(x − μ)/√(σ² + ε),  ∂β ← Σ g
 *     ∂x ← scale·(g − mean(g) − (x − μ)·mean(g·(x − μ))/(σ² + ε))    training
 *     ∂x ← scale·g                                                   otherwise
 *
 * Saved: μ, 1/√(σ² + ε) and scale, (C) each. The op is bound by memory, so z is computed again from
 * x, which the backward pass needs in any case, instead of reading y: the same operations in the
 * same order give the same sign. A block of channels keeps its sums and factors in registers while
 * the rows of a tile go by.
 *
 * μ and σ² of a tile are summed as differences to the tile's first row, which keeps them exact when
 * the mean is much larger than the deviation; the tiles are merged in double (Chan, Golub, LeVeque,
 * "Updating formulae and a pairwise algorithm for computing sample variances", 1979). */
typedef struct {
    int64_t N, C, step; /* step: rows of a tile */
    const kd_real *x, *beta;
    kd_real *mean, *rstd, *scale;
    bool relu, training;
} batch_norm;

/* Calls kernel(…, channel, registers, lanes) for blocks of two full registers, then for the rest
 * one register at a time, the last with fewer lanes. */
#define OVER_CHANNELS(C, kernel, ...)                                                              \
    do {                                                                                           \
        int64_t c_ = 0;                                                                            \
        for (; c_ + 2 * KD_VEC <= (C); c_ += 2 * KD_VEC) kernel(__VA_ARGS__, c_, 2, KD_VEC);       \
        for (; c_ < (C); c_ += KD_VEC) kernel(__VA_ARGS__, c_, 1, kd_smaller(KD_VEC, (C)-c_));     \
    } while (0)

KD_INLINE kd_vec normalise(kd_vec x, kd_vec mean, kd_vec scale, kd_vec beta) {
    return (x - mean) * scale + beta;
}

/* sums[0] = x of the first row, sums[1] = Σ (x − sums[0]), sums[2] = Σ (x − sums[0])²; (3,C). */
KD_INLINE void tile_moments(const batch_norm *n, kd_real *sums, int64_t first, int64_t end,
                            int64_t c, const int registers, int64_t lanes) {
    const kd_real *x = n->x + c;
    kd_vec shift[2], sum[2] = {{0}, {0}}, square[2] = {{0}, {0}};
    for (int v = 0; v < registers; v++)
        shift[v] = kd_vec_load_part(x + first * n->C + v * KD_VEC, lanes);
    for (int64_t row = first; row < end; row++)
        for (int v = 0; v < registers; v++) {
            const kd_vec d = kd_vec_load_part(x + row * n->C + v * KD_VEC, lanes) - shift[v];
            sum[v] += d;
            square[v] += d * d;
        }
    for (int v = 0; v < registers; v++) {
        kd_vec_store_part(sums + c + v * KD_VEC, shift[v], lanes);
        kd_vec_store_part(sums + n->C + c + v * KD_VEC, sum[v], lanes);
        kd_vec_store_part(sums + 2 * n->C + c + v * KD_VEC, square[v], lanes);
    }
}

/* Writes mean and Σ (x − mean)², both (C), from the moments of the tiles. */
static void merge_moments(const batch_norm *n, const kd_real *sums, double *mean, double *squares) {
    memset(mean, 0, (size_t)n->C * sizeof *mean);
    memset(squares, 0, (size_t)n->C * sizeof *squares);
    for (int64_t first = 0; first < n->N; first += n->step, sums += 3 * n->C) {
        const double before = (double)first, rows = (double)kd_smaller(n->step, n->N - first);
        const double share = rows / (before + rows), apart = before * share, inverse = 1 / rows;
        const kd_real *shift = sums, *sum = sums + n->C, *square = sums + 2 * n->C;
        for (int64_t c = 0; c < n->C; c++) {
            const double s = (double)sum[c], delta = (double)shift[c] + s * inverse - mean[c];
            mean[c] += delta * share;
            squares[c] += (double)square[c] - s * s * inverse + delta * delta * apart;
        }
    }
}

/* How much of the momentum a batch is worth: all of it from a quarter of a full batch on. */
static double batch_share(const kd_tape *tape, const kd_tensor *x) {
    const double share =
        tape->full_batch > 0 ? 4 * (double)x->shape[0] / (double)tape->full_batch : 1;
    return share < 1 ? share : 1;
}

/* Fills n->mean and n->rstd from the batch and moves the running statistics. */
static void batch_statistics(kd_tape *tape, const batch_norm *n, double m, kd_real epsilon,
                             kd_real *running_mean, kd_real *running_var) {
    const int64_t tiles = (n->N + n->step - 1) / n->step;
    kd_real *sums = kd_tape_take(tape, kd_array_bytes(tiles * 3 * n->C, sizeof *sums));
    double *mean = kd_tape_take(tape, kd_array_bytes(2 * n->C, sizeof *mean)),
           *squares = mean + n->C;
#pragma omp parallel for if (n->N * n->C >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++)
        OVER_CHANNELS(n->C, tile_moments, n, sums + tile * 3 * n->C, tile * n->step,
                      kd_smaller(n->N, (tile + 1) * n->step));
    merge_moments(n, sums, mean, squares);
    const double N = (double)n->N;
    for (int64_t c = 0; c < n->C; c++) {
        const double var = squares[c] > 0 ? squares[c] / N : 0;
        const double unbiased = var * N / (N - 1);
        n->mean[c] = (kd_real)mean[c];
        n->rstd[c] = (kd_real)(1 / sqrt(var + (double)epsilon));
        running_mean[c] = (kd_real)((1 - m) * (double)running_mean[c] + m * mean[c]);
        running_var[c] = (kd_real)((1 - m) * (double)running_var[c] + m * unbiased);
    }
    kd_tape_give(tape, mean);
    kd_tape_give(tape, sums);
}

KD_INLINE void tile_forward(const batch_norm *n, kd_real *y, int64_t first, int64_t end, int64_t c,
                            const int registers, int64_t lanes) {
    kd_vec mean[2], scale[2], beta[2];
    for (int v = 0; v < registers; v++) {
        mean[v] = kd_vec_load_part(n->mean + c + v * KD_VEC, lanes);
        scale[v] = kd_vec_load_part(n->scale + c + v * KD_VEC, lanes);
        beta[v] = kd_vec_load_part(n->beta + c + v * KD_VEC, lanes);
    }
    for (int64_t row = first; row < end; row++)
        for (int v = 0; v < registers; v++) {
            const int64_t at = row * n->C + c + v * KD_VEC;
            const kd_vec z =
                normalise(kd_vec_load_part(n->x + at, lanes), mean[v], scale[v], beta[v]);
            kd_vec_store_part(y + at, n->relu ? kd_vec_relu(z) : z, lanes);
        }
}

/* g of one register, and x − μ in *apart. */
KD_INLINE kd_vec gradient_at(const batch_norm *n, const kd_real *dy, int64_t at, kd_vec mean,
                             kd_vec scale, kd_vec beta, int64_t lanes, kd_vec *apart) {
    const kd_vec x = kd_vec_load_part(n->x + at, lanes), g = kd_vec_load_part(dy + at, lanes);
    *apart = x - mean;
    if (!n->relu) return g;
    return (kd_vec)((kd_vec_mask)g & (normalise(x, mean, scale, beta) > 0));
}

/* sums[0] = Σ g, sums[1] = Σ g·(x − μ); (2,C). */
KD_INLINE void tile_backward_sums(const batch_norm *n, const kd_real *dy, kd_real *sums,
                                  int64_t first, int64_t end, int64_t c, const int registers,
                                  int64_t lanes) {
    kd_vec mean[2], scale[2], beta[2], sum[2] = {{0}, {0}}, product[2] = {{0}, {0}};
    for (int v = 0; v < registers; v++) {
        mean[v] = kd_vec_load_part(n->mean + c + v * KD_VEC, lanes);
        scale[v] = kd_vec_load_part(n->scale + c + v * KD_VEC, lanes);
        beta[v] = kd_vec_load_part(n->beta + c + v * KD_VEC, lanes);
    }
    for (int64_t row = first; row < end; row++)
        for (int v = 0; v < registers; v++) {
            kd_vec apart, g = gradient_at(n, dy, row * n->C + c + v * KD_VEC, mean[v], scale[v],
                                          beta[v], lanes, &apart);
            sum[v] += g;
            product[v] += g * apart;
        }
    for (int v = 0; v < registers; v++) {
        kd_vec_store_part(sums + c + v * KD_VEC, sum[v], lanes);
        kd_vec_store_part(sums + n->C + c + v * KD_VEC, product[v], lanes);
    }
}

/* ∂x = scale·(g − means[0] − (x − μ)·means[1]), added when `add`; means (2,C). */
KD_INLINE void tile_backward(const batch_norm *n, const kd_real *dy, const kd_real *means,
                             kd_real *dx, bool add, int64_t first, int64_t end, int64_t c,
                             const int registers, int64_t lanes) {
    kd_vec mean[2], scale[2], beta[2], mean_g[2], mean_gx[2];
    for (int v = 0; v < registers; v++) {
        mean[v] = kd_vec_load_part(n->mean + c + v * KD_VEC, lanes);
        scale[v] = kd_vec_load_part(n->scale + c + v * KD_VEC, lanes);
        beta[v] = kd_vec_load_part(n->beta + c + v * KD_VEC, lanes);
        mean_g[v] = kd_vec_load_part(means + c + v * KD_VEC, lanes);
        mean_gx[v] = kd_vec_load_part(means + n->C + c + v * KD_VEC, lanes);
    }
    for (int64_t row = first; row < end; row++)
        for (int v = 0; v < registers; v++) {
            const int64_t at = row * n->C + c + v * KD_VEC;
            kd_vec apart, g = gradient_at(n, dy, at, mean[v], scale[v], beta[v], lanes, &apart);
            g = scale[v] * (g - mean_g[v] - apart * mean_gx[v]);
            if (add) g += kd_vec_load_part(dx + at, lanes);
            kd_vec_store_part(dx + at, g, lanes);
        }
}

static void batch_norm_backward(kd_tape *tape, kd_node *node) {
    const batch_norm *n = node->saved;
    kd_tensor *x = node->in[0];
    const kd_real *dy = node->out->grad;
    const int64_t C = n->C, tiles = (n->N + n->step - 1) / n->step;
    const bool threads = n->N * C >= KD_PARALLEL_SIZE;
    kd_real *sums = kd_tape_take(tape, kd_array_bytes(tiles * 2 * C, sizeof *sums));
    kd_real *means = kd_tape_take(tape, kd_array_bytes(2 * C, sizeof *means));
    double *total = kd_tape_take(tape, kd_array_bytes(2 * C, sizeof *total));
#pragma omp parallel for if (threads)
    for (int64_t tile = 0; tile < tiles; tile++)
        OVER_CHANNELS(C, tile_backward_sums, n, dy, sums + tile * 2 * C, tile * n->step,
                      kd_smaller(n->N, (tile + 1) * n->step));
    add_tiles(total, sums, tiles, 2 * C, 2 * C);
    add_sums(tape, node->in[1], total + C, n->rstd);
    add_sums(tape, node->in[2], total, NULL);
    for (int64_t c = 0; c < C; c++) {
        const double share = n->training ? 1 / (double)n->N : 0, rstd = (double)n->rstd[c];
        means[c] = (kd_real)(total[c] * share);
        means[C + c] = (kd_real)(total[C + c] * share * rstd * rstd);
    }
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (dx) {
#pragma omp parallel for if (threads)
        for (int64_t tile = 0; tile < tiles; tile++)
            OVER_CHANNELS(C, tile_backward, n, dy, means, dx, beta != 0, tile * n->step,
                          kd_smaller(n->N, (tile + 1) * n->step));
    }
    kd_tape_give(tape, total);
    kd_tape_give(tape, means);
    kd_tape_give(tape, sums);
}

kd_tensor *kd_batch_norm(kd_tape *tape, kd_tensor *x, kd_tensor *gamma, kd_tensor *beta,
                         kd_tensor *running_mean, kd_tensor *running_var, kd_real momentum,
                         kd_real epsilon, kd_act act) {
    const int64_t N = kd_rows(x), C = kd_channels(x);
    KD_FIT(gamma->size == C, "batch_norm", x, gamma);
    KD_FIT(beta->size == C, "batch_norm", x, beta);
    KD_FIT(running_mean->size == C, "batch_norm", x, running_mean);
    KD_FIT(running_var->size == C, "batch_norm", x, running_var);
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    kd_real *saved = kd_tape_alloc(tape, kd_array_bytes(3 * C, sizeof *saved));
    batch_norm *n = kd_tape_alloc(tape, sizeof *n);
    *n = (batch_norm){.N = N,
                      .C = C,
                      .step = tile_rows(N),
                      .x = x->value,
                      .beta = beta->value,
                      .mean = saved,
                      .rstd = saved + C,
                      .scale = saved + 2 * C,
                      .relu = act == KD_ACT_RELU,
                      .training = tape->training && N > 1}; /* one value has no variance */
    if (n->training)
        batch_statistics(tape, n, (double)momentum * batch_share(tape, x), epsilon,
                         running_mean->value, running_var->value);
    else
        for (int64_t c = 0; c < C; c++) {
            n->mean[c] = running_mean->value[c];
            n->rstd[c] = 1 / kd_sqrt(running_var->value[c] + epsilon);
        }
    for (int64_t c = 0; c < C; c++) n->scale[c] = gamma->value[c] * n->rstd[c];
    const int64_t tiles = (N + n->step - 1) / n->step;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++)
        OVER_CHANNELS(C, tile_forward, n, y->value, tile * n->step,
                      kd_smaller(N, (tile + 1) * n->step));
    kd_tape_record(tape, "batch_norm", batch_norm_backward, y, n, 3,
                   (kd_tensor *[]){x, gamma, beta});
    return y;
}
