#include "quant/int8_ops.h"

#include <string.h>

#include "base/order.h"

/* --- products --------------------------------------------------------------------------------- */

/* The rows of a product: `lines` lines of `columns` windows each. Windows begin column_step apart
 * in the input, lines line_step. Row r's results go to out + r·row_stride, or as real numbers to
 * logits + r·row_stride. */
typedef struct {
    int64_t lines, columns, line_step, column_step;
    uint8_t *out;
    float *logits;
    float scale_in;
    int64_t row_stride;
} rows_of;

static void store_logits(const kd_blob_node *node, float scale_in, int64_t at, int64_t channels,
                         const int32_t *sum, float *out) {
    for (int64_t j = 0; j < channels; j++) {
        int32_t steps = (int32_t)((uint32_t)sum[j] + (uint32_t)node->bias[at + j]);
        float value = kd_accumulator_value(steps, scale_in, node->scale[at + j]);
        out[j] = node->spec.relu && value < 0 ? 0 : value;
    }
}

/* All rows times `panels` panels: channels `first` … of group `group`. */
static void multiply_panels(const kd_blob_task *t, const kd_blob_node *node, int64_t group,
                            int64_t first, int64_t panels, const rows_of *to) {
    const kd_int8_kernel *kernel = t->blob->kernel;
    const int64_t own = node->spec.channels / node->spec.groups, each = kernel->wide ? 2 : 1;
    const int64_t padded = kd_blob_padded_channels(node) / node->spec.groups;
    const int64_t at = group * padded + first, left = own - first;
    const int64_t channels = kd_smaller(left, panels * KD_INT8_COLUMNS);
    const int64_t panel_bytes = kd_int8_panel_bytes(kernel, node->segments, node->length);
    const int8_t *weight = node->weight + at / KD_INT8_COLUMNS * panel_bytes;
    const char *input = (const char *)t->input + group * (node->from.c / node->spec.groups) * each;
    kd_int8_windows in = {.segments = node->segments, .offset = node->offset};
    in.groups = kd_int8_groups(kernel, node->length);
    kd_int8_rounding how = {.low = node->grid.low, .high = node->grid.high};
    how.zero = node->grid.zero;
    how.channels = (int)channels;
    how.row_stride = to->row_stride;
    how.bias = node->bias + at;
    if (!to->logits) how.factor = node->factor + at, how.shift = node->shift + at;
    int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS];
    const int64_t rows = to->lines * to->columns;
    int64_t line = 0, column = 0;
    for (int64_t row = 0; row < rows; row += in.rows) {
        in.rows = (int)kd_smaller(rows - row, kernel->rows);
        for (int r = 0; r < in.rows; r++) {
            in.row[r] = input + (line * to->line_step + column * to->column_step) * each;
            if (++column == to->columns) column = 0, line++;
        }
        const int64_t place = row * to->row_stride + group * own + first;
        if (!to->logits) how.out = to->out + place;
        if (kernel->run && !to->logits) {
            kernel->run(&in, weight, panel_bytes, &how);
            continue;
        }
        kernel->tile(&in, weight, sum);
        if (to->logits) {
            for (int r = 0; r < in.rows; r++)
                store_logits(node, to->scale_in, at, channels, sum[r],
                             to->logits + place + r * to->row_stride);
        } else {
            kernel->store(in.rows, sum, &how);
        }
    }
}

/* All rows times the panels [first, end) of every group. */
static void multiply(const kd_blob_task *t, const kd_blob_node *node, kd_blob_range panels,
                     const rows_of *to) {
    const int64_t most = t->blob->kernel->run && !to->logits ? KD_INT8_PANELS : 1;
    for (int64_t group = 0; group < node->spec.groups; group++)
        for (int64_t panel = panels.first; panel < panels.end; panel += most)
            multiply_panels(t, node, group, panel * KD_INT8_COLUMNS,
                            kd_smaller(panels.end - panel, most), to);
}

static int64_t panel_count(const kd_blob_node *node) {
    return (node->spec.channels / node->spec.groups + KD_INT8_COLUMNS - 1) / KD_INT8_COLUMNS;
}

/* Appends `n` stored values to the input of a product, widened when the kernel wants it. */
static inline void *put(void *to, const uint8_t *from, int64_t n, bool wide) {
    if (!wide) {
        memcpy(to, from, (size_t)n);
        return (uint8_t *)to + n;
    }
    uint16_t *restrict out = to;
    for (int64_t i = 0; i < n; i++) out[i] = from[i];
    return out + n;
}

static inline void *put_value(void *to, uint8_t value, int64_t n, bool wide) {
    if (!wide) {
        memset(to, value, (size_t)n);
        return (uint8_t *)to + n;
    }
    uint16_t *out = to;
    for (int64_t i = 0; i < n; i++) out[i] = value;
    return out + n;
}

void kd_int8_conv(const kd_blob_task *t, const kd_blob_node *node, const uint8_t *x, uint8_t *out) {
    const bool wide = t->blob->kernel->wide;
    const kd_blob_range own = kd_blob_share(t, node->out.h);
    const int64_t row = node->from.w * node->from.c, pitch = kd_blob_pitch(node);
    const int64_t side = node->spec.padding[1] * node->from.c, lines = own.end - own.first;
    const int64_t top = own.first * node->spec.stride[0] - node->spec.padding[0];
    const int64_t bottom = top + (lines - 1) * node->spec.stride[0] + node->spec.kernel[0];
    const uint8_t zero = (uint8_t)t->blob->node[node->in[0]].grid.zero; /* real zero */
    if (lines == 0) return;
    void *to = t->input;
    for (int64_t i = top; i < bottom; i++) {
        const bool outside = i < 0 || i >= node->from.h;
        to = put_value(to, zero, outside ? pitch : side, wide);
        if (outside) continue;
        to = put(to, x + i * row, row, wide);
        to = put_value(to, zero, side, wide);
    }
    put_value(to, 0, KD_BLOB_SLACK, wide);
    multiply(t, node, (kd_blob_range){0, panel_count(node)},
             &(rows_of){.lines = lines,
                        .columns = node->out.w,
                        .line_step = node->spec.stride[0] * pitch,
                        .column_step = node->spec.stride[1] * node->from.c,
                        .out = out + own.first * node->out.w * node->out.c,
                        .row_stride = node->out.c});
}

void kd_int8_linear(const kd_blob_task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const bool wide = t->blob->kernel->wide;
    void *row = t->input;
    for (int64_t s = 0; s < t->n; s++) {
        row = put(row, kd_blob_activation(t, s, node->in[0]), node->K, wide);
        row = put_value(row, 0, kd_blob_row_stride(node) - node->K, wide);
    }
    rows_of to = {.lines = t->n, .columns = 1, .line_step = kd_blob_row_stride(node)};
    to.row_stride = (int64_t)t->blob->sample_bytes;
    if (node->last) {
        to.logits = t->logits;
        to.scale_in = t->blob->node[node->in[0]].grid.grid.scale;
        to.row_stride = node->spec.channels;
    } else {
        to.out = kd_blob_activation(t, 0, index);
    }
    multiply(t, node, kd_blob_share(t, panel_count(node)), &to);
}

/* --- without a product ------------------------------------------------------------------------ */

enum { CHUNK = 256 }; /* values whose sums fit the stack */

/* Steps → stored values. */
static void store_steps(const kd_blob_grid *g, const int32_t *restrict steps, int64_t n,
                        uint8_t *restrict out) {
    const int32_t low = g->low, high = g->high, zero = g->zero;
    for (int64_t i = 0; i < n; i++) {
        const int32_t r = steps[i] < low ? low : steps[i] > high ? high : steps[i];
        out[i] = (uint8_t)(r + zero);
    }
}

/* out[c] = requantized Σ_taps (x − zero)·w of one place, channels side by side */
static void depthwise_place(const kd_blob_node *node, const uint8_t *x, int32_t zero, int64_t i,
                            int64_t j, uint8_t *out) {
    const int64_t C = node->spec.channels;
    const kd_blob_grid g = node->grid;
    for (int64_t begin = 0; begin < C; begin += CHUNK) {
        const int64_t n = C - begin < CHUNK ? C - begin : CHUNK;
        int32_t sum[CHUNK];
        memcpy(sum, node->bias + begin, (size_t)n * sizeof *sum);
        for (int64_t tap = 0; tap < node->K; tap++) {
            const int64_t row =
                i * node->spec.stride[0] - node->spec.padding[0] + tap / node->spec.kernel[1];
            const int64_t column =
                j * node->spec.stride[1] - node->spec.padding[1] + tap % node->spec.kernel[1];
            const int8_t *restrict w = node->weight + tap * C + begin;
            const bool outside =
                row < 0 || row >= node->from.h || column < 0 || column >= node->from.w;
            const uint8_t *restrict from =
                outside ? NULL : x + (row * node->from.w + column) * C + begin;
            if (outside)
                for (int64_t c = 0; c < n; c++) sum[c] += zero * w[c];
            else
                for (int64_t c = 0; c < n; c++) sum[c] += from[c] * w[c];
        }
        kd_requantize_run(sum, node->factor + begin, node->shift + begin, n);
        store_steps(&g, sum, n, out + begin);
    }
}

void kd_int8_depthwise(const kd_blob_node *node, const uint8_t *x, int32_t zero,
                       kd_blob_range lines, uint8_t *out) {
    for (int64_t i = lines.first; i < lines.end; i++)
        for (int64_t j = 0; j < node->out.w; j++, out += node->spec.channels)
            depthwise_place(node, x, zero, i, j, out);
}

/* The part of a window that lies inside: rows and columns first … last − 1. */
typedef struct {
    int64_t row, row_end, column, column_end;
} window;

static window window_at(const kd_blob_node *node, int64_t i, int64_t j) {
    window w = {i * node->spec.stride[0] - node->spec.padding[0], 0,
                j * node->spec.stride[1] - node->spec.padding[1], 0};
    w.row_end = w.row + node->spec.kernel[0];
    w.column_end = w.column + node->spec.kernel[1];
    if (w.row < 0) w.row = 0;
    if (w.column < 0) w.column = 0;
    if (w.row_end > node->from.h) w.row_end = node->from.h;
    if (w.column_end > node->from.w) w.column_end = node->from.w;
    return w;
}

static void max_place(const kd_blob_node *node, const uint8_t *x, window w, uint8_t *restrict out) {
    const int64_t C = node->out.c;
    memset(out, 0, (size_t)C);
    for (int64_t row = w.row; row < w.row_end; row++)
        for (int64_t column = w.column; column < w.column_end; column++) {
            const uint8_t *restrict from = x + (row * node->from.w + column) * C;
            for (int64_t c = 0; c < C; c++) out[c] = from[c] > out[c] ? from[c] : out[c];
        }
}

static void mean_place(const kd_blob_node *node, const uint8_t *x, int32_t zero, window w,
                       uint8_t *restrict out) {
    const int64_t C = node->out.c;
    const kd_blob_grid g = node->grid;
    const int64_t count = (w.row_end - w.row) * (w.column_end - w.column);
    for (int64_t begin = 0; begin < C; begin += CHUNK) {
        const int64_t n = C - begin < CHUNK ? C - begin : CHUNK;
        int32_t sum[CHUNK];
        for (int64_t c = 0; c < n; c++) sum[c] = (int32_t)-count * zero;
        for (int64_t row = w.row; row < w.row_end; row++)
            for (int64_t column = w.column; column < w.column_end; column++) {
                const uint8_t *restrict from = x + (row * node->from.w + column) * C + begin;
                for (int64_t c = 0; c < n; c++) sum[c] += from[c];
            }
        for (int64_t c = 0; c < n; c++)
            sum[c] = kd_requantize(sum[c], node->factor[0], node->shift[0]);
        store_steps(&g, sum, n, out + begin);
    }
}

void kd_int8_max_pool(const kd_blob_node *node, const uint8_t *x, kd_blob_range lines,
                      uint8_t *out) {
    for (int64_t i = lines.first; i < lines.end; i++)
        for (int64_t j = 0; j < node->out.w; j++, out += node->out.c)
            max_place(node, x, window_at(node, i, j), out);
}

void kd_int8_mean_pool(const kd_blob_node *node, const uint8_t *x, int32_t zero,
                       kd_blob_range lines, uint8_t *out) {
    for (int64_t i = lines.first; i < lines.end; i++)
        for (int64_t j = 0; j < node->out.w; j++, out += node->out.c)
            mean_place(node, x, zero, window_at(node, i, j), out);
}

void kd_int8_add(const kd_blob *blob, const kd_blob_node *node, const uint8_t *a, const uint8_t *b,
                 kd_blob_range values, uint8_t *out) {
    const int32_t zero_a = blob->node[node->in[0]].grid.zero;
    const int32_t zero_b = blob->node[node->in[1]].grid.zero;
    const kd_blob_grid g = node->grid;
    int32_t x[CHUNK], y[CHUNK];
    for (int64_t begin = values.first; begin < values.end; begin += CHUNK) {
        const int64_t n = values.end - begin < CHUNK ? values.end - begin : CHUNK;
        for (int64_t i = 0; i < n; i++) x[i] = a[begin + i] - zero_a;
        for (int64_t i = 0; i < n; i++) y[i] = b[begin + i] - zero_b;
        kd_add_steps_run(x, x, y, &node->add, n);
        store_steps(&g, x, n, out + begin);
    }
}

void kd_int8_input(const kd_blob_node *node, const float *restrict x, kd_blob_range values,
                   uint8_t *restrict out) {
    const kd_grid grid = node->grid.grid;
    const int32_t zero = node->grid.zero;
#pragma omp simd
    for (int64_t i = values.first; i < values.end; i++)
        out[i] = (uint8_t)(kd_grid_steps(&grid, x[i]) + zero);
}
