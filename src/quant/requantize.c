/* Accumulators and sums onto the next grid: kd_requantize_steps, kd_add_quantized. */
#include <string.h>

#include "autograd/op_common.h"
#include "base/order.h"
#include "base/size.h"
#include "quant/fake_quant_common.h"

/* The steps between which an output may lie. */
typedef struct {
    int32_t low, high;
} bounds;

static bounds bounds_of(const kd_grid *grid, bool relu) {
    int32_t low = grid->qmin - grid->zero;
    return (bounds){relu && low < 0 ? 0 : low, grid->qmax - grid->zero};
}

/* Rows are cut into at most KD_TILES_MAX tiles of whole rows. */
static int64_t tile_rows(int64_t rows) {
    return (rows + KD_TILES_MAX - 1) / KD_TILES_MAX;
}

/* --- kd_requantize_steps ----------------------------------------------------------------------
 *
 *     t = rint(acc·unit) + bias[c],    r = round(t·M[c]) in fixed point,    y = clamp(r)
 *     inside = low ≤ r ≤ high (with relu: t > 0 and r ≤ high)
 *     ∂acc ← ∂y·M[c]·unit,    ∂bias_tensor[c] ← Σ_rows ∂y/s,    both where inside
 *     ∂s ← Σ ∂y/s · rule(v = t·M[c]) · gradient_scale
 *
 * Backward rounds again instead of keeping a mask. Few channels are repeated side by side until a
 * row is long enough for vectors: below, "wide" rows and their per-column arrays.
 */

typedef struct {
    kd_rescale how;
    kd_accumulator acc;
    int64_t wide; /* columns of a wide row, a multiple of the channels */
    const int32_t *bias, *factor, *shift;
    const double *ratio; /* (wide) each */
} requantize_saved;

/* A (n) repeated to (wide). */
static void *repeat(kd_tape *tape, const void *array, size_t each, int64_t n, int64_t wide) {
    if (wide == n) return (void *)(uintptr_t)array;
    char *to = kd_tape_alloc(tape, kd_array_bytes(wide, each));
    for (int64_t at = 0; at < wide; at += n)
        memcpy(to + (size_t)at * each, array, (size_t)n * each);
    return to;
}

static requantize_saved *make_wide(kd_tape *tape, const kd_accumulator *acc,
                                   const kd_rescale *how) {
    requantize_saved *saved = kd_tape_alloc(tape, sizeof *saved);
    const int64_t C = how->channels, wide = C < KD_STEP_CHUNK ? KD_STEP_CHUNK / C * C : C;
    *saved = (requantize_saved){.how = *how, .acc = *acc, .wide = wide};
    saved->bias = repeat(tape, how->bias, sizeof *how->bias, C, wide);
    saved->factor = repeat(tape, how->factor, sizeof *how->factor, C, wide);
    saved->shift = repeat(tape, how->shift, sizeof *how->shift, C, wide);
    saved->ratio = repeat(tape, how->ratio, sizeof *how->ratio, C, wide);
    return saved;
}

/* A piece of a wide row: elements at … at + n of the tensor, columns column … column + n. */
typedef struct {
    int64_t at, column, n;
} piece;

/* t of a piece, and r when it is wanted. */
static void round_piece(const requantize_saved *saved, piece p, int32_t *steps, int32_t *rounded) {
    kd_accumulator_steps(steps, &saved->acc, (kd_real)saved->how.unit, p.at, saved->bias + p.column,
                         p.n);
    memcpy(rounded, steps, (size_t)p.n * sizeof *rounded);
    kd_requantize_run(rounded, saved->factor + p.column, saved->shift + p.column, p.n);
}

static void requantize_piece(const requantize_saved *saved, piece p, kd_real *restrict y) {
    const bounds in = bounds_of(&saved->how.grid, saved->how.relu);
    const kd_real *restrict x = saved->acc.digit[0]->value + p.at;
    int32_t steps[KD_STEP_CHUNK], rounded[KD_STEP_CHUNK];
    round_piece(saved, p, steps, rounded);
#pragma omp simd
    for (int64_t c = 0; c < p.n; c++) {
        int32_t r = rounded[c];
        r = r < in.low ? in.low : r > in.high ? in.high : r;
        y[c] = x[c] == x[c] ? (kd_real)r : x[c];
    }
}

/* The sums of one tile that gradients need. */
typedef struct {
    kd_real *bias; /* (wide) Σ ∂y inside  */
    double scale;  /* Σ ∂y · rule(v)      */
} tile_sums;

static void requantize_backward_piece(const requantize_saved *saved, piece p,
                                      const kd_real *restrict g, kd_real *restrict da, kd_real beta,
                                      tile_sums *sums) {
    const kd_rescale *how = &saved->how;
    const bounds in = bounds_of(&how->grid, how->relu);
    const int32_t above = how->relu ? 0 : INT32_MIN; /* t must be larger */
    const double *restrict ratio = saved->ratio + p.column;
    kd_real *restrict bias = sums->bias + p.column;
    int32_t steps[KD_STEP_CHUNK], rounded[KD_STEP_CHUNK];
    kd_real through[KD_STEP_CHUNK], sum = 0;
    round_piece(saved, p, steps, rounded);
#pragma omp simd
    for (int64_t c = 0; c < p.n; c++) {
        const int32_t r = rounded[c];
        through[c] = ((steps[c] > above) & (r >= in.low) & (r <= in.high)) ? g[c] : 0;
        bias[c] += through[c];
    }
    if (da) {
        const double unit = how->unit;
#pragma omp simd
        for (int64_t c = 0; c < p.n; c++) {
            kd_real mine = through[c] * (kd_real)(ratio[c] * unit);
            da[c] = beta == 0 ? mine : da[c] + mine;
        }
    }
    if (!how->learned.scale) return;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < p.n; c++) {
        const int32_t r = rounded[c];
        const bool under = (r < in.low) | (steps[c] <= above);
        kd_real rule = (kd_real)((double)r - (double)steps[c] * ratio[c]);
        rule = r > in.high ? (kd_real)in.high : under ? (kd_real)in.low : rule;
        sum += g[c] * rule;
    }
    sums->scale += (double)sum;
}

static piece piece_at(const requantize_saved *saved, int64_t row, int64_t column, int64_t size) {
    const int64_t at = row * saved->wide + column;
    const int64_t n = kd_smaller(kd_smaller(saved->wide - column, KD_STEP_CHUNK), size - at);
    return (piece){at, column, n};
}

static void add_bias_gradient(kd_tape *tape, const requantize_saved *saved, const kd_real *sums,
                              int64_t tiles) {
    kd_real *db = kd_tape_grad(tape, saved->how.bias_tensor);
    if (!db) return;
    const int64_t C = saved->how.channels;
    for (int64_t c = 0; c < C; c++) {
        double sum = 0;
        for (int64_t i = c; i < tiles * saved->wide; i += C) sum += (double)sums[i];
        db[c] += (kd_real)(sum / (double)saved->how.grid.scale);
    }
}

static void requantize_backward(kd_tape *tape, kd_node *node) {
    const requantize_saved *saved = node->saved;
    const int64_t size = node->out->size, wide = saved->wide, rows = (size + wide - 1) / wide;
    const int64_t step = tile_rows(rows), tiles = (rows + step - 1) / step;
    kd_real beta;
    kd_real *da = kd_tape_grad_beta(tape, node->in[0], &beta);
    kd_real *bias = kd_tape_take(tape, kd_array_bytes(tiles * wide, sizeof *bias));
    double *scale = kd_tape_take(tape, kd_array_bytes(tiles, sizeof *scale));
    memset(bias, 0, (size_t)(tiles * wide) * sizeof *bias);
#pragma omp parallel for if (size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++) {
        tile_sums sums = {.bias = bias + tile * wide};
        for (int64_t row = tile * step; row < kd_smaller(rows, (tile + 1) * step); row++)
            for (int64_t column = 0; column < wide; column += KD_STEP_CHUNK) {
                const piece p = piece_at(saved, row, column, size);
                if (p.n <= 0) break;
                requantize_backward_piece(saved, p, node->out->grad + p.at, da ? da + p.at : NULL,
                                          beta, &sums);
            }
        scale[tile] = sums.scale;
    }
    add_bias_gradient(tape, saved, bias, tiles);
    kd_real *ds = kd_tape_grad(tape, saved->how.learned.scale);
    if (ds) {
        double sum = 0;
        for (int64_t tile = 0; tile < tiles; tile++) sum += scale[tile];
        ds[0] += (kd_real)(sum * saved->how.learned.gradient_scale / (double)saved->how.grid.scale);
    }
    kd_tape_give(tape, scale);
    kd_tape_give(tape, bias);
}

kd_tensor *kd_requantize_steps(kd_tape *tape, const kd_accumulator *acc, const kd_rescale *how) {
    kd_tensor *first = acc->digit[0];
    KD_CONTRACT(kd_channels(first) == how->channels, "requantize: %lld channels, %lld multipliers",
                (long long)kd_channels(first), (long long)how->channels);
    kd_tensor *y = kd_tape_output(tape, first->rank, first->shape);
    requantize_saved *saved = make_wide(tape, acc, how);
    const int64_t size = y->size, wide = saved->wide, rows = (size + wide - 1) / wide;
#pragma omp parallel for if (size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < wide; column += KD_STEP_CHUNK) {
            const piece p = piece_at(saved, row, column, size);
            if (p.n > 0) requantize_piece(saved, p, y->value + p.at);
        }
    if (acc->count > 1) return y;
    kd_tape_record(tape, "requantize", requantize_backward, y, saved, 3,
                   (kd_tensor *[]){first, how->bias_tensor, how->learned.scale});
    return y;
}

/* --- kd_add_quantized -------------------------------------------------------------------------
 *
 *     r = kd_add_steps(a, b),    y = clamp(r),    v = (s_a·a + s_b·b)/s
 *     inside = low ≤ r ≤ high (with relu: v > 0 and r ≤ high)
 *     ∂a ← ∂y·s_a/s,    ∂b ← ∂y·s_b/s,    both where inside;    ∂s ← Σ ∂y/s · rule(v)
 */

typedef struct {
    kd_add_multipliers multipliers;
    float scale_a, scale_b;
    kd_grid grid;
    bool relu;
    kd_learned learned;
} add_saved;

/* Steps of an addend. Integers stay within ±255; dropout in training may stretch them a little. */
static void addend_steps(int32_t *restrict steps, const kd_real *restrict x, int64_t n) {
    const kd_real bound = 1024;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const kd_real most = x[i] < bound ? x[i] : bound;
        steps[i] = (int32_t)kd_rint(most > -bound ? most : -bound);
    }
}

/* r for n elements from `at` on. */
static void round_sums(int32_t *rounded, const kd_tensor *a, const kd_tensor *b,
                       const kd_add_multipliers *m, int64_t at, int64_t n) {
    int32_t second[KD_STEP_CHUNK] = {0};
    addend_steps(rounded, a->value + at, n);
    addend_steps(second, b->value + at, n);
    kd_add_steps_run(rounded, rounded, second, m, n);
}

/* Gradients of n elements from `at` on; dx are the inputs' gradients or NULL. Returns Σ ∂y·rule. */
static double add_backward_piece(const kd_node *node, kd_real *const dx[2], const kd_real beta[2],
                                 int64_t at, int64_t n) {
    const add_saved *saved = node->saved;
    const bounds in = bounds_of(&saved->grid, saved->relu);
    const kd_real ratio[2] = {(kd_real)saved->scale_a / (kd_real)saved->grid.scale,
                              (kd_real)saved->scale_b / (kd_real)saved->grid.scale};
    const kd_real *restrict a = node->in[0]->value + at, *restrict b = node->in[1]->value + at;
    const kd_real *restrict g = node->out->grad + at;
    const kd_real above = saved->relu ? 0 : -(kd_real)INFINITY; /* v must be larger */
    int32_t rounded[KD_STEP_CHUNK] = {0};
    kd_real through[KD_STEP_CHUNK], sum = 0;
    round_sums(rounded, node->in[0], node->in[1], &saved->multipliers, at, n);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const int32_t r = rounded[i];
        const kd_real v = ratio[0] * a[i] + ratio[1] * b[i];
        const bool inside = (v > above) & (r >= in.low) & (r <= in.high);
        const kd_real rule = r > in.high ? (kd_real)in.high : (kd_real)in.low;
        through[i] = inside ? g[i] : 0;
        sum += g[i] * (inside ? (kd_real)r - v : rule);
    }
    for (int which = 0; which < 2; which++) {
        if (!dx[which]) continue;
        kd_real *restrict to = dx[which] + at;
        const kd_real add = beta[which], factor = ratio[which];
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            to[i] = add == 0 ? through[i] * factor : to[i] + through[i] * factor;
    }
    return (double)sum;
}

static void add_backward(kd_tape *tape, kd_node *node) {
    const add_saved *saved = node->saved;
    const int64_t size = node->out->size, chunks = (size + KD_STEP_CHUNK - 1) / KD_STEP_CHUNK;
    const int64_t step = tile_rows(chunks), tiles = (chunks + step - 1) / step;
    kd_real beta[2], *dx[2];
    for (int which = 0; which < 2; which++)
        dx[which] = kd_tape_grad_beta(tape, node->in[which], &beta[which]);
    double sum[KD_TILES_MAX], total = 0;
#pragma omp parallel for if (size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++) {
        sum[tile] = 0;
        for (int64_t chunk = tile * step; chunk < kd_smaller(chunks, (tile + 1) * step); chunk++) {
            const int64_t at = chunk * KD_STEP_CHUNK;
            sum[tile] +=
                add_backward_piece(node, dx, beta, at, kd_smaller(KD_STEP_CHUNK, size - at));
        }
    }
    kd_real *ds = kd_tape_grad(tape, saved->learned.scale);
    if (!ds) return;
    for (int64_t tile = 0; tile < tiles; tile++) total += sum[tile];
    ds[0] += (kd_real)(total * saved->learned.gradient_scale / (double)saved->grid.scale);
}

kd_tensor *kd_add_quantized(kd_tape *tape, kd_tensor *a, const kd_grid *grid_a, kd_tensor *b,
                            const kd_grid *grid_b, const kd_grid *out, bool relu,
                            kd_learned learned) {
    KD_FIT(kd_same_shape(a, b), "add_quantized", a, b);
    const kd_add_multipliers m = kd_add_multipliers_from(grid_a->scale, grid_b->scale, out->scale);
    const bounds in = bounds_of(out, relu);
    kd_tensor *y = kd_tape_output(tape, a->rank, a->shape);
    const int64_t size = y->size, chunks = (size + KD_STEP_CHUNK - 1) / KD_STEP_CHUNK;
#pragma omp parallel for if (size >= KD_PARALLEL_SIZE)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t at = chunk * KD_STEP_CHUNK, n = kd_smaller(KD_STEP_CHUNK, size - at);
        const kd_real *restrict x0 = a->value + at, *restrict x1 = b->value + at;
        kd_real *restrict to = y->value + at;
        int32_t rounded[KD_STEP_CHUNK] = {0};
        round_sums(rounded, a, b, &m, at, n);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            int32_t r = rounded[i];
            r = r < in.low ? in.low : r > in.high ? in.high : r;
            const kd_real sum = x0[i] + x1[i];
            to[i] = sum == sum ? (kd_real)r : sum;
        }
    }
    add_saved *saved = kd_tape_alloc(tape, sizeof *saved);
    *saved = (add_saved){m, grid_a->scale, grid_b->scale, *out, relu, learned};
    kd_tape_record(tape, "add_quantized", add_backward, y, saved, 3,
                   (kd_tensor *[]){a, b, learned.scale});
    return y;
}

/* --- what observers need ---------------------------------------------------------------------- */

void kd_channel_extrema(kd_tape *tape, const kd_tensor *x, kd_real *min, kd_real *max) {
    const int64_t C = kd_channels(x), rows = kd_rows(x), step = tile_rows(rows);
    const int64_t tiles = (rows + step - 1) / step;
    kd_real *part = kd_tape_take(tape, kd_array_bytes(2 * tiles * C, sizeof *part));
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++) {
        kd_real *restrict low = part + 2 * tile * C, *restrict high = low + C;
        const kd_real *restrict first = x->value + tile * step * C;
        for (int64_t c = 0; c < C; c++) low[c] = high[c] = first[c];
        for (int64_t row = tile * step + 1; row < kd_smaller(rows, (tile + 1) * step); row++) {
            const kd_real *restrict from = x->value + row * C;
#pragma omp simd
            for (int64_t c = 0; c < C; c++) {
                low[c] = from[c] < low[c] ? from[c] : low[c];
                high[c] = from[c] > high[c] ? from[c] : high[c];
            }
        }
    }
    for (int64_t c = 0; c < C; c++) {
        min[c] = part[c];
        max[c] = part[C + c];
        for (int64_t tile = 1; tile < tiles; tile++) {
            const kd_real low = part[2 * tile * C + c], high = part[(2 * tile + 1) * C + c];
            min[c] = low < min[c] ? low : min[c];
            max[c] = high > max[c] ? high : max[c];
        }
    }
    kd_tape_give(tape, part);
}

void kd_sum_extrema(const kd_tensor *a, float scale_a, const kd_tensor *b, float scale_b,
                    double *min, double *max) {
    const kd_real s0 = (kd_real)scale_a, s1 = (kd_real)scale_b;
    const kd_real *restrict x0 = a->value, *restrict x1 = b->value;
    kd_real low = s0 * x0[0] + s1 * x1[0], high = low;
#pragma omp parallel for simd reduction(min                                                        \
                                        : low) reduction(max                                       \
                                                         : high) if (a->size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < a->size; i++) {
        const kd_real sum = s0 * x0[i] + s1 * x1[i];
        low = sum < low ? sum : low;
        high = sum > high ? sum : high;
    }
    *min = (double)low;
    *max = (double)high;
}
