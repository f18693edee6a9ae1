/* Numbers onto grids: kd_quantize, and accumulators back to real numbers: kd_dequantize. */
#include "quant/fake_quant.h"
#include "base/size.h"

#include "autograd/op_common.h"
#include "quant/fake_quant_common.h"

/* --- kd_quantize ------------------------------------------------------------------------------
 *
 *     y = clamp(rint(x/s) + z, qmin, qmax) − z
 *     ∂x ← ∂y/s where rint(x/s) + z lies in qmin … qmax
 *     ∂s ← Σ ∂y/s · rule(x/s) · gradient_scale        (fake_quant.h)
 *
 * Nothing is saved but the scales: x is still there, and rounding again is cheaper than a mask.
 */

typedef struct {
    int64_t slices;
    const float *scale;
    kd_grid grid;
    kd_learned learned;
} quantize_saved;

static void quantize_run(const kd_real *restrict x, kd_real *restrict y, int64_t n, kd_grid grid) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        kd_real steps = (kd_real)kd_grid_steps(&grid, (float)x[i]);
        y[i] = x[i] == x[i] ? steps : x[i];
    }
}

/* Parts of a slice for threads; a part's size depends on the slice's alone. */
static int64_t parts_of(int64_t n) {
    return n < KD_PARALLEL_SIZE ? 1 : KD_TILES_MAX;
}

static void quantize_backward_run(const kd_real *restrict x, const kd_real *restrict g,
                                  kd_real *restrict dx, kd_real beta, int64_t n, kd_grid grid) {
    const float inverse = 1.0f / grid.scale;
    const float low = (float)(grid.qmin - grid.zero), high = (float)(grid.qmax - grid.zero);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float steps = rintf((float)x[i] * inverse);
        kd_real mine = steps >= low && steps <= high ? g[i] * (kd_real)inverse : 0;
        dx[i] = beta == 0 ? mine : dx[i] + mine;
    }
}

/* Σ ∂y · rule, without the common factor */
static double scale_gradient_run(const kd_real *restrict x, const kd_real *restrict g, int64_t n,
                                 kd_grid grid) {
    const float inverse = 1.0f / grid.scale;
    const float low = (float)(grid.qmin - grid.zero), high = (float)(grid.qmax - grid.zero);
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += KD_ROW_TILE) {
        int64_t end = begin + KD_ROW_TILE < n ? begin + KD_ROW_TILE : n;
        kd_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = begin; i < end; i++) {
            float v = (float)x[i] * inverse, steps = rintf(v);
            float rule = steps < low ? low : steps > high ? high : steps - v;
            part += g[i] * (kd_real)rule;
        }
        sum += (double)part;
    }
    return sum;
}

static void quantize_scale_backward(kd_tape *tape, const kd_node *node) {
    const quantize_saved *saved = node->saved;
    kd_real *ds = kd_tape_grad(tape, saved->learned.scale);
    if (!ds) return;
    const kd_tensor *x = node->in[0];
    const int64_t n = x->size / saved->slices, parts = parts_of(n), step = (n + parts - 1) / parts;
    double *sum = kd_tape_take(tape, kd_array_bytes(saved->slices * parts, sizeof *sum));
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < saved->slices * parts; tile++) {
        int64_t slice = tile / parts, begin = tile % parts * step;
        int64_t count = begin >= n ? 0 : n - begin < step ? n - begin : step;
        kd_grid grid = saved->grid;
        grid.scale = saved->scale[slice];
        sum[tile] = scale_gradient_run(x->value + slice * n + begin,
                                       node->out->grad + slice * n + begin, count, grid);
    }
    for (int64_t slice = 0; slice < saved->slices; slice++) {
        double total = 0;
        for (int64_t part = 0; part < parts; part++) total += sum[slice * parts + part];
        ds[slice] += (kd_real)(total * saved->learned.gradient_scale / (double)saved->scale[slice]);
    }
    kd_tape_give(tape, sum);
}

static void quantize_backward(kd_tape *tape, kd_node *node) {
    const quantize_saved *saved = node->saved;
    kd_tensor *x = node->in[0];
    if (saved->learned.scale) quantize_scale_backward(tape, node);
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (!dx) return;
    const int64_t n = x->size / saved->slices, parts = parts_of(n), step = (n + parts - 1) / parts;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < saved->slices * parts; tile++) {
        int64_t slice = tile / parts, begin = tile % parts * step, at = slice * n + begin;
        int64_t count = begin >= n ? 0 : n - begin < step ? n - begin : step;
        kd_grid grid = saved->grid;
        grid.scale = saved->scale[slice];
        quantize_backward_run(x->value + at, node->out->grad + at, dx + at, beta, count, grid);
    }
}

kd_tensor *kd_quantize(kd_tape *tape, kd_tensor *x, int64_t slices, const float *scale,
                       const kd_grid *grid, kd_learned learned) {
    KD_CONTRACT(slices == 1 || slices == x->shape[0], "quantize: %lld scales for %lld slices",
                (long long)slices, (long long)x->shape[0]);
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    const int64_t n = x->size / slices, parts = parts_of(n), step = (n + parts - 1) / parts;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < slices * parts; tile++) {
        int64_t slice = tile / parts, begin = tile % parts * step;
        int64_t count = begin >= n ? 0 : n - begin < step ? n - begin : step;
        kd_grid own = *grid;
        own.scale = scale[slice];
        quantize_run(x->value + slice * n + begin, y->value + slice * n + begin, count, own);
    }
    quantize_saved *saved = kd_tape_alloc(tape, sizeof *saved);
    *saved = (quantize_saved){slices, scale, *grid, learned};
    kd_tape_record(tape, "quantize", quantize_backward, y, saved, 2,
                   (kd_tensor *[]){x, learned.scale});
    return y;
}

/* --- kd_dequantize ----------------------------------------------------------------------------
 *
 *     y = s_in·s_w[c]·(acc + bias[c]),    ∂acc ← ∂y·s_in·s_w[c],    ∂bias_tensor[c] ← Σ_rows ∂y
 *     after relu: the same where y > 0
 */

typedef struct {
    float scale_in;
    const float *scale_weight;
    bool relu;
} dequantize_saved;

static void dequantize_backward(kd_tape *tape, kd_node *node) {
    const dequantize_saved *saved = node->saved;
    const int64_t C = kd_channels(node->out), rows = kd_rows(node->out);
    if (saved->relu) kd_relu_gate(node->out->grad, node->out->value, node->out->size);
    const kd_real *g = node->out->grad;
    if (node->in[1] && node->in[1]->needs_grad) kd_add_column_sums(tape, node->in[1], g, rows);
    kd_real beta;
    kd_real *da = kd_tape_grad_beta(tape, node->in[0], &beta);
    if (!da) return;
    for (int64_t i = 0; i < node->out->size; i++) {
        kd_real mine = g[i] * (kd_real)(saved->scale_in * saved->scale_weight[i % C]);
        da[i] = beta == 0 ? mine : da[i] + mine;
    }
}

kd_tensor *kd_dequantize(kd_tape *tape, const kd_accumulator *acc, const int32_t *bias,
                         float scale_in, const float *scale_weight, kd_tensor *bias_tensor,
                         bool relu) {
    kd_tensor *first = acc->digit[0];
    kd_tensor *y = kd_tape_output(tape, first->rank, first->shape);
    const int64_t C = kd_channels(y), rows = kd_rows(y);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t begin = 0; begin < C; begin += KD_STEP_CHUNK) {
            int32_t steps[KD_STEP_CHUNK];
            int64_t n = C - begin < KD_STEP_CHUNK ? C - begin : KD_STEP_CHUNK;
            kd_accumulator_steps(steps, acc, 1, row * C + begin, bias + begin, n);
            for (int64_t c = 0; c < n; c++) {
                int64_t at = row * C + begin + c;
                float value = kd_accumulator_value(steps[c], scale_in, scale_weight[begin + c]);
                if (relu && value < 0) value = 0;
                y->value[at] =
                    first->value[at] == first->value[at] ? (kd_real)value : first->value[at];
            }
        }
    }
    if (acc->count > 1) return y;
    dequantize_saved *saved = kd_tape_alloc(tape, sizeof *saved);
    *saved = (dequantize_saved){scale_in, scale_weight, relu};
    kd_tape_record(tape, "dequantize", dequantize_backward, y, saved, 2,
                   (kd_tensor *[]){first, bias_tensor});
    return y;
}
