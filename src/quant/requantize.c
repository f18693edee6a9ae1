/* Accumulators and sums onto the next grid: kd_requantize_steps, kd_add_quantized. */
#include <string.h>

#include "autograd/op_common.h"
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

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* --- kd_requantize_steps ----------------------------------------------------------------------
 *
 *     t = rint(acc·unit) + bias[c],    r = round(t·M[c]) in fixed point,    y = clamp(r)
 *     inside = low ≤ r ≤ high (with relu: t > 0 and r ≤ high)
 *     ∂acc ← ∂y·M[c]·unit,    ∂bias_tensor[c] ← Σ_rows ∂y/s,    both where inside
 *     ∂s ← Σ ∂y/s · rule(v = t·M[c]) · gradient_scale
 *
 * Backward rounds again instead of keeping a mask.
 */

typedef struct {
    kd_rescale how;
    kd_accumulator acc;
} requantize_saved;

static void requantize_rows(const kd_accumulator *acc, const kd_rescale *how, kd_real *y,
                            int64_t begin_row, int64_t end_row) {
    const int64_t C = how->channels;
    const bounds in = bounds_of(&how->grid, how->relu);
    int32_t steps[KD_STEP_CHUNK];
    for (int64_t row = begin_row; row < end_row; row++) {
        for (int64_t begin = 0; begin < C; begin += KD_STEP_CHUNK) {
            const int64_t n = smaller(C - begin, KD_STEP_CHUNK), at = row * C + begin;
            kd_accumulator_steps(steps, acc, (kd_real)how->unit, at, how->bias + begin, n);
            const kd_real *restrict x = acc->digit[0]->value + at;
            const int32_t *restrict factor = how->factor + begin;
            const int32_t *restrict shift = how->shift + begin;
            kd_real *restrict out = y + at;
#pragma omp simd
            for (int64_t c = 0; c < n; c++) {
                int32_t r = kd_requantize(steps[c], factor[c], shift[c]);
                r = r < in.low ? in.low : r > in.high ? in.high : r;
                out[c] = x[c] == x[c] ? (kd_real)r : x[c];
            }
        }
    }
}

/* ∂acc for n channels from `at` on, and the sums it takes part in: ∂y inside → bias[c], and the
 * return value for the learned scale. */
static kd_real requantize_backward_run(const requantize_saved *saved, const kd_real *restrict g,
                                       kd_real *restrict da, kd_real beta, kd_real *restrict bias,
                                       int64_t at, int64_t begin, int64_t n) {
    const kd_rescale *how = &saved->how;
    const bounds in = bounds_of(&how->grid, how->relu);
    const int32_t *restrict factor = how->factor + begin;
    const int32_t *restrict shift = how->shift + begin;
    const double *restrict ratio = how->ratio + begin;
    const int32_t above = how->relu ? 0 : INT32_MIN; /* t must be larger */
    int32_t steps[KD_STEP_CHUNK];
    kd_real through[KD_STEP_CHUNK], sum = 0;
    kd_accumulator_steps(steps, &saved->acc, (kd_real)how->unit, at, how->bias + begin, n);
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        int32_t r = kd_requantize(steps[c], factor[c], shift[c]);
        through[c] = steps[c] > above && r >= in.low && r <= in.high ? g[c] : 0;
        bias[c] += through[c];
    }
    if (da) {
        const kd_real unit = (kd_real)how->unit;
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            kd_real mine = through[c] * ((kd_real)ratio[c] * unit);
            da[c] = beta == 0 ? mine : da[c] + mine;
        }
    }
    if (!how->learned.scale) return 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < n; c++) {
        int32_t r = kd_requantize(steps[c], factor[c], shift[c]);
        kd_real rule = (kd_real)((double)r - (double)steps[c] * ratio[c]);
        rule = r > in.high                       ? (kd_real)in.high
               : r < in.low || steps[c] <= above ? (kd_real)in.low
                                                 : rule;
        sum += g[c] * rule;
    }
    return sum;
}

static void requantize_backward(kd_tape *tape, kd_node *node) {
    const requantize_saved *saved = node->saved;
    const kd_rescale *how = &saved->how;
    const int64_t C = how->channels, rows = kd_rows(node->out), step = tile_rows(rows);
    const int64_t tiles = (rows + step - 1) / step;
    kd_real beta;
    kd_real *da = kd_tape_grad_beta(tape, node->in[0], &beta);
    kd_real *bias = kd_tape_take(tape, (size_t)(tiles * C) * sizeof *bias);
    double *scale = kd_tape_take(tape, (size_t)tiles * sizeof *scale);
    memset(bias, 0, (size_t)(tiles * C) * sizeof *bias);
#pragma omp parallel for if (node->out->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++) {
        scale[tile] = 0;
        for (int64_t row = tile * step; row < smaller(rows, (tile + 1) * step); row++)
            for (int64_t begin = 0; begin < C; begin += KD_STEP_CHUNK) {
                int64_t at = row * C + begin;
                scale[tile] += (double)requantize_backward_run(
                    saved, node->out->grad + at, da ? da + at : NULL, beta, bias + tile * C + begin,
                    at, begin, smaller(C - begin, KD_STEP_CHUNK));
            }
    }
    kd_real *db = kd_tape_grad(tape, how->bias_tensor);
    if (db)
        for (int64_t c = 0; c < C; c++) {
            double sum = 0;
            for (int64_t tile = 0; tile < tiles; tile++) sum += (double)bias[tile * C + c];
            db[c] += (kd_real)(sum / (double)how->grid.scale);
        }
    kd_real *ds = kd_tape_grad(tape, how->learned.scale);
    if (ds) {
        double sum = 0;
        for (int64_t tile = 0; tile < tiles; tile++) sum += scale[tile];
        ds[0] += (kd_real)(sum * how->learned.gradient_scale / (double)how->grid.scale);
    }
    kd_tape_give(tape, scale);
    kd_tape_give(tape, bias);
}

kd_tensor *kd_requantize_steps(kd_tape *tape, const kd_accumulator *acc, const kd_rescale *how) {
    kd_tensor *first = acc->digit[0];
    KD_CONTRACT(kd_channels(first) == how->channels, "requantize: %lld channels, %lld multipliers",
                (long long)kd_channels(first), (long long)how->channels);
    kd_tensor *y = kd_tape_output(tape, first->rank, first->shape);
    const int64_t rows = kd_rows(y), step = tile_rows(rows), tiles = (rows + step - 1) / step;
#pragma omp parallel for if (y->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++)
        requantize_rows(acc, how, y->value, tile * step, smaller(rows, (tile + 1) * step));
    if (acc->count > 1) return y;
    requantize_saved *saved = kd_tape_alloc(tape, sizeof *saved);
    *saved = (requantize_saved){*how, *acc};
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
static inline int32_t addend_steps(kd_real x) {
    const kd_real bound = 1024;
    x = x < bound ? x : bound;
    return (int32_t)kd_rint(x > -bound ? x : -bound);
}

/* What the gradients need of one element: v, r, and whether ∂y passes. */
typedef struct {
    kd_real v;
    int32_t r;
    bool inside;
} add_place;

static inline add_place place_of(const add_saved *saved, bounds in, kd_real a, kd_real b) {
    add_place p;
    p.r = kd_add_steps(addend_steps(a), addend_steps(b), &saved->multipliers);
    p.v = ((kd_real)saved->scale_a * a + (kd_real)saved->scale_b * b) / (kd_real)saved->grid.scale;
    p.inside = (p.v > 0 || !saved->relu) && p.r >= in.low && p.r <= in.high;
    return p;
}

static void add_backward_input(kd_tape *tape, const kd_node *node, int which) {
    const add_saved *saved = node->saved;
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, node->in[which], &beta);
    if (!dx) return;
    const kd_real *a = node->in[0]->value, *b = node->in[1]->value, *g = node->out->grad;
    const bounds in = bounds_of(&saved->grid, saved->relu);
    const float scale = which == 0 ? saved->scale_a : saved->scale_b;
    const kd_real ratio = (kd_real)scale / (kd_real)saved->grid.scale;
#pragma omp parallel for simd if (node->out->size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < node->out->size; i++) {
        kd_real mine = place_of(saved, in, a[i], b[i]).inside ? g[i] * ratio : 0;
        dx[i] = beta == 0 ? mine : dx[i] + mine;
    }
}

static void add_backward_scale(kd_tape *tape, const kd_node *node) {
    const add_saved *saved = node->saved;
    kd_real *ds = kd_tape_grad(tape, saved->learned.scale);
    if (!ds) return;
    const kd_real *a = node->in[0]->value, *b = node->in[1]->value, *g = node->out->grad;
    const bounds in = bounds_of(&saved->grid, saved->relu);
    const int64_t size = node->out->size, step = tile_rows(size), tiles = (size + step - 1) / step;
    double sum[KD_TILES_MAX], total = 0;
#pragma omp parallel for if (size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++) {
        sum[tile] = 0;
        for (int64_t i = tile * step; i < smaller(size, (tile + 1) * step); i++) {
            add_place p = place_of(saved, in, a[i], b[i]);
            kd_real rule =
                p.inside ? (kd_real)p.r - p.v : (kd_real)(p.r > in.high ? in.high : in.low);
            sum[tile] += (double)(g[i] * rule);
        }
    }
    for (int64_t tile = 0; tile < tiles; tile++) total += sum[tile];
    ds[0] += (kd_real)(total * saved->learned.gradient_scale / (double)saved->grid.scale);
}

static void add_backward(kd_tape *tape, kd_node *node) {
    add_backward_input(tape, node, 0);
    add_backward_input(tape, node, 1);
    add_backward_scale(tape, node);
}

kd_tensor *kd_add_quantized(kd_tape *tape, kd_tensor *a, const kd_grid *grid_a, kd_tensor *b,
                            const kd_grid *grid_b, const kd_grid *out, bool relu,
                            kd_learned learned) {
    KD_FIT(kd_same_shape(a, b), "add_quantized", a, b);
    const kd_add_multipliers m = kd_add_multipliers_from(grid_a->scale, grid_b->scale, out->scale);
    const bounds in = bounds_of(out, relu);
    kd_tensor *y = kd_tape_output(tape, a->rank, a->shape);
    const kd_real *restrict x0 = a->value, *restrict x1 = b->value;
    kd_real *restrict to = y->value;
#pragma omp parallel for simd if (y->size >= KD_PARALLEL_SIZE)
    for (int64_t i = 0; i < y->size; i++) {
        int32_t r = kd_add_steps(addend_steps(x0[i]), addend_steps(x1[i]), &m);
        r = r < in.low ? in.low : r > in.high ? in.high : r;
        kd_real sum = x0[i] + x1[i];
        to[i] = sum == sum ? (kd_real)r : sum;
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
    kd_real *part = kd_tape_take(tape, (size_t)(2 * tiles * C) * sizeof *part);
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++) {
        kd_real *restrict low = part + 2 * tile * C, *restrict high = low + C;
        const kd_real *restrict first = x->value + tile * step * C;
        for (int64_t c = 0; c < C; c++) low[c] = high[c] = first[c];
        for (int64_t row = tile * step + 1; row < smaller(rows, (tile + 1) * step); row++) {
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
