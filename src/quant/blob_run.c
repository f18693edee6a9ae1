/* Inference with integers only: u8 activations, int8 weights, int32 sums. The one float operation
 * at each end is the quantization of the input and the scaling of the logits. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/blob_internal.h"

/* Samples that go through the network together, so that a linear layer's weights are read once for
 * several of them, bounded by what their activations take of the second cache. */
enum { TOGETHER_MAX = 8 * KD_INT8_ROWS, TOGETHER_BYTES = 256 << 10 };

/* One thread's work: `n` samples, each with blob->sample_bytes of activations. */
typedef struct {
    const kd_blob *blob;
    int64_t n;
    unsigned char *samples;
    void *gathered;
    float *logits; /* (n,classes) */
} task;

static uint8_t *activation(const task *t, int64_t sample, int node) {
    return t->samples + (size_t)sample * t->blob->sample_bytes + t->blob->node[node].slot;
}

static int32_t clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : x > high ? high : x;
}

/* --- products --------------------------------------------------------------------------------- */

/* Sums of up to 16 channels (bias not yet added) → stored values. `at` is the first channel's place
 * in the padded arrays. */
static void store_panel(const kd_blob_node *node, int64_t at, int64_t channels, const int32_t *sum,
                        uint8_t *out) {
    const int32_t *restrict bias = node->bias + at, *restrict factor = node->factor + at;
    const int32_t *restrict shift = node->shift + at;
    const kd_blob_grid g = node->grid;
    uint8_t stored[KD_INT8_COLUMNS];
#pragma omp simd
    for (int j = 0; j < KD_INT8_COLUMNS; j++) {
        int32_t steps = (int32_t)((uint32_t)sum[j] + (uint32_t)bias[j]);
        int32_t r = kd_requantize(steps, factor[j], shift[j]);
        r = r < g.low ? g.low : r > g.high ? g.high : r;
        stored[j] = (uint8_t)(r + g.zero);
    }
    if (channels == KD_INT8_COLUMNS)
        memcpy(out, stored, KD_INT8_COLUMNS);
    else
        memcpy(out, stored, (size_t)channels);
}

static void store_logits(const kd_blob_node *node, float scale_in, int64_t at, int64_t channels,
                         const int32_t *sum, float *out) {
    for (int64_t j = 0; j < channels; j++) {
        int32_t steps = (int32_t)((uint32_t)sum[j] + (uint32_t)node->bias[at + j]);
        float value = kd_accumulator_value(steps, scale_in, node->scale[at + j]);
        out[j] = node->relu && value < 0 ? 0 : value;
    }
}

/* Where the results of a run of rows go: row r to out + r·row_stride. */
typedef struct {
    uint8_t *out;
    float *logits;
    float scale_in;
    int64_t row_stride;
} destination;

/* `rows` gathered rows times all panels of group `group`. */
static void multiply_rows(const task *t, const kd_blob_node *node, int64_t group, int64_t rows,
                          const destination *to) {
    const kd_int8_kernel *kernel = t->blob->kernel;
    const int64_t own = node->channels / node->groups;
    const int64_t padded = kd_blob_padded_channels(node) / node->groups;
    const int64_t stride = (int64_t)kd_blob_gather_stride(kernel, node);
    const int64_t groups = stride / kernel->group, row_bytes = stride * (kernel->wide ? 2 : 1);
    const int8_t *weight = node->weight + group * padded * stride;
    int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS];
    for (int64_t first = 0; first < own; first += KD_INT8_COLUMNS) {
        const int64_t channels = own - first < KD_INT8_COLUMNS ? own - first : KD_INT8_COLUMNS;
        for (int64_t row = 0; row < rows; row += KD_INT8_ROWS) {
            const int some = (int)(rows - row < KD_INT8_ROWS ? rows - row : KD_INT8_ROWS);
            kernel->tile(some, groups, (const char *)t->gathered + row * row_bytes, stride,
                         weight + first * stride, sum);
            for (int r = 0; r < some; r++) {
                const int64_t place = (row + r) * to->row_stride + group * own + first;
                const int64_t at = group * padded + first;
                if (to->logits)
                    store_logits(node, to->scale_in, at, channels, sum[r], to->logits + place);
                else
                    store_panel(node, at, channels, sum[r], to->out + place);
            }
        }
    }
}

/* Appends `n` stored values to a gathered row, widened when the kernel wants it. */
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

/* The window that makes output place (i,j), as one row of K; outside there is real zero. */
static void gather_window(void *to, const kd_blob_node *node, const uint8_t *x, uint8_t zero,
                          int64_t group, int64_t i, int64_t j, bool wide) {
    const int64_t own = node->from.c / node->groups, KW = node->kernel[1];
    const int64_t left = j * node->stride[1] - node->padding[1];
    const int64_t before = left < 0 ? (left + KW < 0 ? KW : -left) : 0; /* taps outside */
    const int64_t beyond = left + KW - node->from.w;
    const int64_t after = beyond > 0 ? (beyond > KW - before ? KW - before : beyond) : 0;
    const int64_t inside = KW - before - after;
    for (int64_t u = 0; u < node->kernel[0]; u++) {
        const int64_t row = i * node->stride[0] - node->padding[0] + u;
        if (row < 0 || row >= node->from.h) {
            to = put_value(to, zero, KW * own, wide);
            continue;
        }
        to = put_value(to, zero, before * own, wide);
        const uint8_t *from = x + (row * node->from.w + left + before) * node->from.c;
        if (node->groups == 1) {
            to = put(to, from, inside * own, wide);
        } else {
            for (int64_t v = 0; v < inside; v++)
                to = put(to, from + v * node->from.c + group * own, own, wide);
        }
        to = put_value(to, zero, after * own, wide);
    }
}

static void pad_row(void *row, int64_t from, int64_t to, bool wide) {
    const size_t each = wide ? 2 : 1;
    memset((char *)row + (size_t)from * each, 0, (size_t)(to - from) * each);
}

static void run_conv(const task *t, const kd_blob_node *node, const uint8_t *x, uint8_t *out) {
    const kd_int8_kernel *kernel = t->blob->kernel;
    const bool wide = kernel->wide;
    const int64_t stride = (int64_t)kd_blob_gather_stride(kernel, node);
    const int64_t step = (int64_t)kd_blob_gather_rows(kernel, node);
    const int64_t places = node->out.h * node->out.w, row_bytes = stride * (wide ? 2 : 1);
    const uint8_t zero = (uint8_t)t->blob->node[node->in[0]].grid.zero;
    for (int64_t group = 0; group < node->groups; group++) {
        for (int64_t first = 0; first < places; first += step) {
            const int64_t rows = places - first < step ? places - first : step;
            int64_t i = first / node->out.w, j = first % node->out.w;
            for (int64_t r = 0; r < rows; r++) {
                char *row = (char *)t->gathered + r * row_bytes;
                gather_window(row, node, x, zero, group, i, j, wide);
                pad_row(row, node->K, stride, wide);
                if (++j == node->out.w) j = 0, i++;
            }
            const destination to = {.out = out + first * node->out.c, .row_stride = node->out.c};
            multiply_rows(t, node, group, rows, &to);
        }
    }
}

/* Rows are samples. */
static void run_linear(const task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const kd_int8_kernel *kernel = t->blob->kernel;
    const int64_t stride = (int64_t)kd_blob_gather_stride(kernel, node);
    const int64_t row_bytes = stride * (kernel->wide ? 2 : 1);
    const int64_t step = (int64_t)kd_blob_gather_rows(kernel, node);
    for (int64_t first = 0; first < t->n; first += step) {
        const int64_t rows = t->n - first < step ? t->n - first : step;
        for (int64_t r = 0; r < rows; r++) {
            char *row = (char *)t->gathered + r * row_bytes;
            put(row, activation(t, first + r, node->in[0]), node->K, kernel->wide);
            pad_row(row, node->K, stride, kernel->wide);
        }
        destination to = {.row_stride = (int64_t)t->blob->sample_bytes};
        if (node->last) {
            to.logits = t->logits + first * node->channels;
            to.scale_in = t->blob->node[node->in[0]].grid.grid.scale;
            to.row_stride = node->channels;
        } else {
            to.out = activation(t, first, index);
        }
        multiply_rows(t, node, 0, rows, &to);
    }
}

/* --- without a product ------------------------------------------------------------------------ */

enum { CHUNK = 256 }; /* channels whose sums fit the stack */

/* out[c] = requantized Σ_taps (x − zero)·w of one place, channels side by side */
static void depthwise_place(const kd_blob_node *node, const uint8_t *x, int32_t zero, int64_t i,
                            int64_t j, uint8_t *out) {
    const int64_t C = node->channels;
    const kd_blob_grid g = node->grid;
    for (int64_t begin = 0; begin < C; begin += CHUNK) {
        const int64_t n = C - begin < CHUNK ? C - begin : CHUNK;
        int32_t sum[CHUNK];
        memcpy(sum, node->bias + begin, (size_t)n * sizeof *sum);
        for (int64_t tap = 0; tap < node->K; tap++) {
            const int64_t row = i * node->stride[0] - node->padding[0] + tap / node->kernel[1];
            const int64_t column = j * node->stride[1] - node->padding[1] + tap % node->kernel[1];
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
        const int32_t *restrict factor = node->factor + begin, *restrict shift =
                                                                   node->shift + begin;
#pragma omp simd
        for (int64_t c = 0; c < n; c++) {
            int32_t r = kd_requantize(sum[c], factor[c], shift[c]);
            r = r < g.low ? g.low : r > g.high ? g.high : r;
            out[begin + c] = (uint8_t)(r + g.zero);
        }
    }
}

static void run_depthwise(const kd_blob_node *node, const uint8_t *x, int32_t zero, uint8_t *out) {
    for (int64_t i = 0; i < node->out.h; i++)
        for (int64_t j = 0; j < node->out.w; j++, out += node->channels)
            depthwise_place(node, x, zero, i, j, out);
}

/* The part of a window that lies inside: rows and columns first … last − 1. */
typedef struct {
    int64_t row, row_end, column, column_end;
} window;

static window window_at(const kd_blob_node *node, int64_t i, int64_t j) {
    window w = {i * node->stride[0] - node->padding[0], 0, j * node->stride[1] - node->padding[1],
                0};
    w.row_end = w.row + node->kernel[0];
    w.column_end = w.column + node->kernel[1];
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
        for (int64_t c = 0; c < n; c++) {
            int32_t r = kd_requantize(sum[c], node->factor[0], node->shift[0]);
            out[begin + c] = (uint8_t)(clamp(r, g.low, g.high) + g.zero);
        }
    }
}

static void run_pool(const kd_blob_node *node, const uint8_t *x, int32_t zero, uint8_t *out) {
    for (int64_t i = 0; i < node->out.h; i++)
        for (int64_t j = 0; j < node->out.w; j++, out += node->out.c) {
            if (node->kind == KD_NODE_MAX_POOL)
                max_place(node, x, window_at(node, i, j), out);
            else
                mean_place(node, x, zero, window_at(node, i, j), out);
        }
}

static void run_add(const kd_blob *blob, const kd_blob_node *node, const uint8_t *restrict a,
                    const uint8_t *restrict b, uint8_t *restrict out) {
    const int32_t zero_a = blob->node[node->in[0]].grid.zero;
    const int32_t zero_b = blob->node[node->in[1]].grid.zero;
    const kd_blob_grid g = node->grid;
    const kd_add_multipliers m = node->add;
    const int64_t size = node->out.h * node->out.w * node->out.c;
#pragma omp simd
    for (int64_t i = 0; i < size; i++) {
        int32_t r = kd_add_steps(a[i] - zero_a, b[i] - zero_b, &m);
        r = r < g.low ? g.low : r > g.high ? g.high : r;
        out[i] = (uint8_t)(r + g.zero);
    }
}

static void run_shortcut(const kd_blob_node *node, const uint8_t *x, uint8_t *out) {
    const size_t C = (size_t)node->from.c,
                 after = (size_t)node->out.c - C - (size_t)node->pad_before;
    const int zero = node->grid.zero;
    for (int64_t i = 0; i < node->out.h; i++)
        for (int64_t j = 0; j < node->out.w; j++) {
            const int64_t row = i * node->stride[0], column = j * node->stride[1];
            memset(out, zero, (size_t)node->pad_before);
            out += node->pad_before;
            memcpy(out, x + (row * node->from.w + column) * node->from.c, C);
            memset(out + C, zero, after);
            out += C + after;
        }
}

static void run_input(const kd_blob_node *node, const float *restrict x, uint8_t *restrict out) {
    const int64_t size = node->out.h * node->out.w * node->out.c;
    const kd_grid grid = node->grid.grid;
    const int32_t zero = node->grid.zero;
#pragma omp simd
    for (int64_t i = 0; i < size; i++) out[i] = (uint8_t)(kd_grid_steps(&grid, x[i]) + zero);
}

/* --- all nodes -------------------------------------------------------------------------------- */

static void run_node(const task *t, int index, int64_t sample) {
    const kd_blob_node *node = &t->blob->node[index];
    const uint8_t *x = activation(t, sample, node->in[0]);
    const int32_t zero = t->blob->node[node->in[0]].grid.zero;
    uint8_t *out = activation(t, sample, index);
    switch (node->kind) {
    case KD_NODE_CONV:
        if (kd_blob_is_depthwise(node))
            run_depthwise(node, x, zero, out);
        else
            run_conv(t, node, x, out);
        break;
    case KD_NODE_MAX_POOL:
    case KD_NODE_AVG_POOL:
    case KD_NODE_GLOBAL_AVG_POOL:
        run_pool(node, x, zero, out);
        break;
    case KD_NODE_ADD:
        run_add(t->blob, node, x, activation(t, sample, node->in[1]), out);
        break;
    case KD_NODE_SHORTCUT:
        run_shortcut(node, x, out);
        break;
    case KD_NODE_LINEAR: /* all samples at once */
    case KD_NODE_INPUT:
    case KD_NODE_DROPOUT:
    case KD_NODE_KIND_COUNT:
        break;
    }
}

static void run_task(const task *t, const float *x) {
    const kd_blob *blob = t->blob;
    const int64_t size = blob->node[0].out.h * blob->node[0].out.w * blob->node[0].out.c;
    for (int64_t s = 0; s < t->n; s++) run_input(&blob->node[0], x + s * size, activation(t, s, 0));
    for (int i = 1; i < blob->count; i++) {
        if (blob->node[i].kind == KD_NODE_LINEAR)
            run_linear(t, i);
        else
            for (int64_t s = 0; s < t->n; s++) run_node(t, i, s);
    }
    const kd_blob_node *last = &blob->node[blob->count - 1];
    if (last->last) return;
    const kd_blob_grid g = last->grid; /* no LINEAR at the end: the values of its grid */
    for (int64_t s = 0; s < t->n; s++)
        for (int c = 0; c < blob->classes; c++)
            t->logits[s * blob->classes + c] =
                g.grid.scale * (float)(activation(t, s, blob->count - 1)[c] - g.zero);
}

/* Scratch for every thread, kept until more is needed. */
static int take_scratch(kd_blob *blob, int threads, int64_t together) {
    const size_t each = (size_t)together * blob->sample_bytes + blob->gather_bytes;
    const size_t bytes = (size_t)threads * each;
    if (bytes <= blob->scratch_bytes) return KD_OK;
    free(blob->scratch);
    blob->scratch_bytes = 0;
    blob->scratch = aligned_alloc(64, bytes);
    if (!blob->scratch) return kd_fail_memory(bytes, "running a blob");
    blob->scratch_bytes = bytes;
    return KD_OK;
}

static int64_t samples_together(const kd_blob *blob, int64_t n, int threads) {
    int64_t together = TOGETHER_BYTES / (int64_t)blob->sample_bytes;
    if (together > TOGETHER_MAX) together = TOGETHER_MAX;
    if (together > (n + threads - 1) / threads) together = (n + threads - 1) / threads;
    return together < 1 ? 1 : together;
}

int kd_blob_run(kd_blob *blob, int64_t n, const float *x, float *logits) {
    const int threads = omp_get_max_threads();
    const kd_extent in = blob->node[0].out;
    const int64_t size = in.h * in.w * in.c, together = samples_together(blob, n, threads);
    int status = take_scratch(blob, threads, together);
    if (status < 0) return status;
    const int64_t tasks = (n + together - 1) / together;
    const size_t each = (size_t)together * blob->sample_bytes + blob->gather_bytes;
#pragma omp parallel for schedule(dynamic, 1) if (tasks > 1)
    for (int64_t i = 0; i < tasks; i++) {
        unsigned char *own = blob->scratch + (size_t)omp_get_thread_num() * each;
        const int64_t first = i * together;
        const task t = {.blob = blob,
                        .n = n - first < together ? n - first : together,
                        .samples = own,
                        .gathered = own + (size_t)together * blob->sample_bytes,
                        .logits = logits + first * blob->classes};
        run_task(&t, x + first * size);
    }
    return KD_OK;
}

/* --- what a blob says of itself ----------------------------------------------------------------
 */

void kd_blob_free(kd_blob *blob) {
    if (!blob) return;
    for (int i = 0; i < blob->count; i++) {
        kd_blob_node *node = &blob->node[i];
        free(node->weight);
        free(node->bias);
        free(node->factor);
        free(node->shift);
        free(node->scale);
    }
    free(blob->node);
    free(blob->class_name);
    free(blob->scratch);
    free(blob);
}

int kd_blob_classes(const kd_blob *blob) {
    return blob->classes;
}

const char *kd_blob_class_name(const kd_blob *blob, int label) {
    KD_CONTRACT(label >= 0 && label < blob->classes, "class %d of %d", label, blob->classes);
    return blob->class_name[label];
}

kd_extent kd_blob_input(const kd_blob *blob) {
    return blob->node[0].out;
}

const kd_data_spec *kd_blob_data(const kd_blob *blob) {
    return &blob->data;
}

const kd_normaliser *kd_blob_normaliser(const kd_blob *blob) {
    return &blob->normaliser;
}

int64_t kd_blob_parameters(const kd_blob *blob) {
    return blob->parameters;
}
