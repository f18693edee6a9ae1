/* Inference with integers only: u8 activations, int8 weights, int32 sums. The one float operation
 * at each end is the quantization of the input and the scaling of the logits. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/blob_internal.h"

/* Samples that go through the network together, so that a linear layer's weights are read once for
 * several of them, bounded by what their activations take of the second cache. */
enum { TOGETHER_MAX = 8 * KD_INT8_ROWS, TOGETHER_BYTES = 256 << 10 };

/* One thread's work: `n` samples, each with blob->sample_bytes of activations; or, when there are
 * fewer samples than threads, this part of every node's output. */
typedef struct {
    const kd_blob *blob;
    int64_t n;
    int part, parts;
    unsigned char *samples;
    void *input;   /* of the product at work: a padded image, or n rows */
    float *logits; /* (n,classes) */
} task;

/* The task's share of `count` lines, channels or values. */
typedef struct {
    int64_t first, end;
} range;

static range share(const task *t, int64_t count) {
    return (range){count * t->part / t->parts, count * (t->part + 1) / t->parts};
}

static uint8_t *activation(const task *t, int64_t sample, int node) {
    return t->samples + (size_t)sample * t->blob->sample_bytes + t->blob->node[node].slot;
}

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
        out[j] = node->relu && value < 0 ? 0 : value;
    }
}

/* All rows times one panel: channels `first` … of group `group`. */
static void multiply_panel(const task *t, const kd_blob_node *node, int64_t group, int64_t first,
                           const rows_of *to) {
    const kd_int8_kernel *kernel = t->blob->kernel;
    const int64_t own = node->channels / node->groups, each = kernel->wide ? 2 : 1;
    const int64_t padded = kd_blob_padded_channels(node) / node->groups;
    const int64_t at = group * padded + first, left = own - first;
    const int64_t channels = left < KD_INT8_COLUMNS ? left : KD_INT8_COLUMNS;
    const int8_t *weight =
        node->weight +
        at / KD_INT8_COLUMNS * kd_int8_panel_bytes(kernel, node->segments, node->length);
    const char *input = (const char *)t->input + group * (node->from.c / node->groups) * each;
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
        in.rows = (int)(rows - row < KD_INT8_ROWS ? rows - row : KD_INT8_ROWS);
        for (int r = 0; r < in.rows; r++) {
            in.row[r] = input + (line * to->line_step + column * to->column_step) * each;
            if (++column == to->columns) column = 0, line++;
        }
        kernel->tile(&in, weight, sum);
        const int64_t place = row * to->row_stride + group * own + first;
        if (to->logits) {
            for (int r = 0; r < in.rows; r++)
                store_logits(node, to->scale_in, at, channels, sum[r],
                             to->logits + place + r * to->row_stride);
        } else {
            how.out = to->out + place;
            kernel->store(in.rows, sum, &how);
        }
    }
}

/* All rows times the panels [first, end) of every group. */
static void multiply(const task *t, const kd_blob_node *node, range panels, const rows_of *to) {
    for (int64_t group = 0; group < node->groups; group++)
        for (int64_t panel = panels.first; panel < panels.end; panel++)
            multiply_panel(t, node, group, panel * KD_INT8_COLUMNS, to);
}

static int64_t panel_count(const kd_blob_node *node) {
    return (node->channels / node->groups + KD_INT8_COLUMNS - 1) / KD_INT8_COLUMNS;
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

/* The lines of the image that the task's lines of the output read are copied, with zeros around. */
static void run_conv(const task *t, const kd_blob_node *node, const uint8_t *x, uint8_t *out) {
    const bool wide = t->blob->kernel->wide;
    const range own = share(t, node->out.h);
    const int64_t row = node->from.w * node->from.c, pitch = kd_blob_pitch(node);
    const int64_t side = node->padding[1] * node->from.c, lines = own.end - own.first;
    const int64_t top = own.first * node->stride[0] - node->padding[0];
    const int64_t bottom = top + (lines - 1) * node->stride[0] + node->kernel[0];
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
    multiply(t, node, (range){0, panel_count(node)},
             &(rows_of){.lines = lines,
                        .columns = node->out.w,
                        .line_step = node->stride[0] * pitch,
                        .column_step = node->stride[1] * node->from.c,
                        .out = out + own.first * node->out.w * node->out.c,
                        .row_stride = node->out.c});
}

/* Rows are samples. */
static void run_linear(const task *t, int index) {
    const kd_blob_node *node = &t->blob->node[index];
    const bool wide = t->blob->kernel->wide;
    void *row = t->input;
    for (int64_t s = 0; s < t->n; s++) {
        row = put(row, activation(t, s, node->in[0]), node->K, wide);
        row = put_value(row, 0, kd_blob_row_stride(node) - node->K, wide);
    }
    rows_of to = {.lines = t->n, .columns = 1, .line_step = kd_blob_row_stride(node)};
    to.row_stride = (int64_t)t->blob->sample_bytes;
    if (node->last) {
        to.logits = t->logits;
        to.scale_in = t->blob->node[node->in[0]].grid.grid.scale;
        to.row_stride = node->channels;
    } else {
        to.out = activation(t, 0, index);
    }
    multiply(t, node, share(t, panel_count(node)), &to);
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
        kd_requantize_run(sum, node->factor + begin, node->shift + begin, n);
        store_steps(&g, sum, n, out + begin);
    }
}

static void run_depthwise(const kd_blob_node *node, const uint8_t *x, int32_t zero, range lines,
                          uint8_t *out) {
    for (int64_t i = lines.first; i < lines.end; i++)
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
        for (int64_t c = 0; c < n; c++)
            sum[c] = kd_requantize(sum[c], node->factor[0], node->shift[0]);
        store_steps(&g, sum, n, out + begin);
    }
}

static void run_pool(const kd_blob_node *node, const uint8_t *x, int32_t zero, range lines,
                     uint8_t *out) {
    for (int64_t i = lines.first; i < lines.end; i++)
        for (int64_t j = 0; j < node->out.w; j++, out += node->out.c) {
            if (node->kind == KD_NODE_MAX_POOL)
                max_place(node, x, window_at(node, i, j), out);
            else
                mean_place(node, x, zero, window_at(node, i, j), out);
        }
}

static void run_add(const kd_blob *blob, const kd_blob_node *node, const uint8_t *a,
                    const uint8_t *b, range values, uint8_t *out) {
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

static void run_shortcut(const kd_blob_node *node, const uint8_t *x, range lines, uint8_t *out) {
    const size_t C = (size_t)node->from.c,
                 after = (size_t)node->out.c - C - (size_t)node->pad_before;
    const int zero = node->grid.zero;
    for (int64_t i = lines.first; i < lines.end; i++)
        for (int64_t j = 0; j < node->out.w; j++) {
            const int64_t row = i * node->stride[0], column = j * node->stride[1];
            memset(out, zero, (size_t)node->pad_before);
            out += node->pad_before;
            memcpy(out, x + (row * node->from.w + column) * node->from.c, C);
            memset(out + C, zero, after);
            out += C + after;
        }
}

static void run_input(const kd_blob_node *node, const float *restrict x, range values,
                      uint8_t *restrict out) {
    const kd_grid grid = node->grid.grid;
    const int32_t zero = node->grid.zero;
#pragma omp simd
    for (int64_t i = values.first; i < values.end; i++)
        out[i] = (uint8_t)(kd_grid_steps(&grid, x[i]) + zero);
}

/* --- all nodes -------------------------------------------------------------------------------- */

static void run_node(const task *t, int index, int64_t sample) {
    const kd_blob_node *node = &t->blob->node[index];
    const uint8_t *x = activation(t, sample, node->in[0]);
    const int32_t zero = t->blob->node[node->in[0]].grid.zero;
    const range lines = share(t, node->out.h);
    uint8_t *whole = activation(t, sample, index);
    uint8_t *out = whole + lines.first * node->out.w * node->out.c;
    switch (node->kind) {
    case KD_NODE_CONV:
        if (kd_blob_is_depthwise(node))
            run_depthwise(node, x, zero, lines, out);
        else
            run_conv(t, node, x, whole);
        break;
    case KD_NODE_MAX_POOL:
    case KD_NODE_AVG_POOL:
    case KD_NODE_GLOBAL_AVG_POOL:
        run_pool(node, x, zero, lines, out);
        break;
    case KD_NODE_ADD:
        run_add(t->blob, node, x, activation(t, sample, node->in[1]),
                share(t, node->out.h * node->out.w * node->out.c), whole);
        break;
    case KD_NODE_SHORTCUT:
        run_shortcut(node, x, lines, out);
        break;
    case KD_NODE_LINEAR: /* all samples at once */
    case KD_NODE_INPUT:
    case KD_NODE_DROPOUT:
    case KD_NODE_KIND_COUNT:
        break;
    }
}

/* Logits when there is no LINEAR at the end: the values of the last grid. */
static void store_values(const task *t) {
    const int last = t->blob->count - 1, classes = t->blob->classes;
    const kd_blob_grid g = t->blob->node[last].grid;
    for (int64_t s = 0; s < t->n; s++)
        for (int c = 0; c < classes; c++)
            t->logits[s * classes + c] = g.grid.scale * (float)(activation(t, s, last)[c] - g.zero);
}

/* Waits until all parts of a shared task have come here. */
static void meet(const task *t) {
    if (t->parts > 1) {
#pragma omp barrier
    }
}

/* When the whole team shares the task, a node begins where all have finished the one before. */
static void run_task(const task *t, const float *x) {
    const kd_blob *blob = t->blob;
    const int64_t size = blob->node[0].out.h * blob->node[0].out.w * blob->node[0].out.c;
    for (int64_t s = 0; s < t->n; s++)
        run_input(&blob->node[0], x + s * size, share(t, size), activation(t, s, 0));
    for (int i = 1; i < blob->count; i++) {
        meet(t);
        if (blob->node[i].kind == KD_NODE_LINEAR)
            run_linear(t, i);
        else
            for (int64_t s = 0; s < t->n; s++) run_node(t, i, s);
    }
    meet(t);
    if (!blob->node[blob->count - 1].last && t->part == 0) store_values(t);
}

/* What one thread needs for `together` samples: their activations, and a product's input. */
static size_t thread_bytes(const kd_blob *blob, int64_t together) {
    const size_t n = (size_t)together, rows = (n * blob->row_bytes + 63) / 64 * 64;
    return n * blob->sample_bytes + (rows > blob->image_bytes ? rows : blob->image_bytes);
}

/* Scratch for every thread, kept until more is needed. */
static int take_scratch(kd_blob *blob, int threads, size_t each) {
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

static void run_one(task t, int64_t first, int64_t together, int64_t n, const float *x,
                    float *logits) {
    const kd_extent in = t.blob->node[0].out;
    t.n = n - first < together ? n - first : together;
    t.logits = logits + first * t.blob->classes;
    run_task(&t, x + first * in.h * in.w * in.c);
}

/* Scales near the end of a float's range can make answers that are no numbers. */
static int check_logits(const kd_blob *blob, int64_t n, const float *logits) {
    for (int64_t i = 0; i < n * blob->classes; i++)
        if (!isfinite(logits[i]))
            return kd_fail(KD_EDATA,
                           "the logit of class %lld is %g: the model's scales are too large",
                           (long long)(i % blob->classes), (double)logits[i]);
    return KD_OK;
}

int kd_blob_run(kd_blob *blob, int64_t n, const float *x, float *logits) {
    const int threads = omp_get_max_threads();
    const int64_t together = samples_together(blob, n, threads);
    const size_t each = thread_bytes(blob, together);
    int status = take_scratch(blob, threads, each);
    if (status < 0) return status;
    const int64_t tasks = (n + together - 1) / together;
    const bool shared = tasks < threads; /* each task is the whole team's */
#pragma omp parallel if (tasks > 1 || threads > 1)
    {
        const int thread = omp_get_thread_num(), parts = shared ? omp_get_num_threads() : 1;
        task t = {.blob = blob, .part = shared ? thread : 0, .parts = parts};
        t.samples = blob->scratch + (shared ? 0 : (size_t)thread * each);
        t.input = blob->scratch + (size_t)thread * each + (size_t)together * blob->sample_bytes;
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < (shared ? 0 : tasks); i++)
            run_one(t, i * together, together, n, x, logits);
        for (int64_t i = 0; i < (shared ? tasks : 0); i++)
            run_one(t, i * together, together, n, x, logits);
    }
    return check_logits(blob, n, logits);
}

/* --- what a blob says of itself ----------------------------------------------------------------
 */

void kd_blob_free(kd_blob *blob) {
    if (!blob) return;
    for (int i = 0; i < blob->count; i++) {
        kd_blob_node *node = &blob->node[i];
        free(node->weight);
        free(node->offset);
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

char (*kd_blob_class_names(const kd_blob *blob))[KD_CLASS_NAME_MAX] {
    return blob->class_name;
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
