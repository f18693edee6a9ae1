#include "distill_internal.h"
#include "distill_kernels.h"

struct distill_run {
    const uint8_t *blob, *classes; /* classes: strings, checked */
    distill_node *node;
    uint8_t *room; /* activations and work */
    uint32_t class_count, count;
};
/* Of the arena, for the struct: it takes 40 bytes with 64-bit addresses and 24 with 32-bit ones. */
enum { HEAD = 40 };

/* --- opening ---------------------------------------------------------------------------------- */

/* The arena holds the context, the nodes, and room for what they make. */
static size_t arena_of(uint32_t count, uint32_t room) {
    return HEAD + (count * sizeof(distill_node) + 7) / 8 * 8 + room;
}

int distill_run_arena(size_t *bytes, const void *blob, size_t length) {
    distill_node list[DISTILL_RUN_NODES];
    distill_file f;
    distill_text graph;
    uint32_t count, room;
    int32_t status = distill_file_parse(&f, blob, length);
    if (status == DISTILL_RUN_OK) status = distill_graph_find(&f, &graph, &count);
    if (status == DISTILL_RUN_OK) status = distill_graph_read(&f, graph, count, list, &room);
    if (status == DISTILL_RUN_OK) *bytes = arena_of(count, room);
    return status;
}

/* As many names as the last node has values. */
static int32_t read_classes(const distill_file *f, distill_run *run) {
    const distill_node *last = &run->node[run->count - 1];
    uint64_t count;
    run->classes = distill_file_key(&count, f, "distill.classes", DISTILL_KEY_STRING);
    run->class_count = last->h * last->w * last->c;
    return run->classes && count == run->class_count ? DISTILL_RUN_OK : DISTILL_RUN_DAMAGED;
}

int distill_run_open(distill_run **out, const void *blob, size_t length, void *arena,
                     size_t arena_bytes) {
    typedef char head_is_large_enough[sizeof(distill_run) <= HEAD ? 1 : -1];
    distill_run *run = arena;
    distill_file f;
    distill_text graph;
    uint32_t count, room;
    int32_t status = distill_file_parse(&f, blob, length);
    (void)sizeof(head_is_large_enough);
    *out = NULL;
    if (status == DISTILL_RUN_OK) status = distill_graph_find(&f, &graph, &count);
    if (status != DISTILL_RUN_OK) return status;
    if ((uintptr_t)arena % 8 != 0 || arena_bytes < arena_of(count, 0)) return DISTILL_RUN_ARENA;
    run->blob = blob;
    run->node = (distill_node *)(void *)((uint8_t *)arena + HEAD);
    run->room = (uint8_t *)arena + arena_of(count, 0);
    run->count = count;
    status = distill_graph_read(&f, graph, count, run->node, &room);
    if (status == DISTILL_RUN_OK) status = read_classes(&f, run);
    if (status == DISTILL_RUN_OK && arena_of(count, room) > arena_bytes) status = DISTILL_RUN_ARENA;
    if (status == DISTILL_RUN_OK) *out = run;
    return status;
}

/* --- rounding: gemmlowp's, as src/quant/grid.h -------------------------------------------------
 */

/* x·factor·2^−31·2^−shift: saturating where the shift is to the left, half up, then half away from
 * zero. */
static int32_t requantize(int32_t x, int32_t factor, int32_t shift) {
    if (shift < 0) {
        const int32_t most = INT32_MAX >> -shift, least = INT32_MIN >> -shift;
        x = x > most ? INT32_MAX : x < least ? INT32_MIN : (int32_t)((uint32_t)x << -shift);
    }
    x = (int32_t)(uint32_t)(((uint64_t)((int64_t)x * factor) + (1u << 30)) >> 31);
    if (shift > 0) {
        const int32_t mask = (int32_t)((1u << shift) - 1u), threshold = (mask >> 1) + (x < 0);
        x = (x >> shift) + ((x & mask) > threshold);
    }
    return x;
}

static uint8_t stored(const distill_node *n, int32_t steps) {
    steps = steps < n->low ? n->low : steps > n->high ? n->high : steps;
    return (uint8_t)(steps + n->zero);
}

/* --- nodes ------------------------------------------------------------------------------------ */

static uint8_t *output_of(const distill_run *run, uint32_t i) {
    return run->room + run->node[i].slot;
}

static int32_t within(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : x > high ? high : x;
}

/* The stored values under a window, of the channels of `group`; outside of the image the stored
 * zero. */
static void copy_window(uint8_t *to, const distill_node *n, const distill_node *from,
                        const uint8_t *x, uint32_t place, uint32_t group) {
    const uint32_t own = from->c / n->groups;
    const int32_t top = (int32_t)(place / n->w * n->stride[0]) - n->padding[0];
    const int32_t left = (int32_t)(place % n->w * n->stride[1]) - n->padding[1];
    const int32_t columns = n->kernel[1], first = within(-left, 0, columns);
    const int32_t end = within((int32_t)from->w - left, first, columns);
    int32_t row, column;
    for (row = top; row < top + n->kernel[0]; row++) {
        const int outside = row < 0 || row >= (int32_t)from->h || end == first;
        const uint32_t before = (uint32_t)(outside ? columns : first) * own;
        const uint32_t behind = (uint32_t)(outside ? 0 : columns - end) * own;
        memset(to, from->zero, before);
        to += before;
        if (!outside) {
            const size_t at = (size_t)row * from->w + (size_t)(left + first);
            const uint8_t *line = x + at * from->c + group * own;
            if (n->groups == 1) {
                memcpy(to, line, (size_t)(end - first) * own);
                to += (size_t)(end - first) * own;
            } else
                for (column = first; column < end; column++, line += from->c, to += own)
                    memcpy(to, line, own);
        }
        memset(to, from->zero, behind);
        to += behind;
    }
}

/* The column of a place as steps. Bytes are copied behind the middle of its room and spread from
 * there. */
static void make_column(int16_t *column, const distill_node *n, const distill_node *from,
                        const uint8_t *x, uint32_t place, uint32_t group) {
    uint8_t *bytes = (uint8_t *)column + distill_width(n);
    if (n->kind == DISTILL_LINEAR)
        memcpy(bytes, x, n->K);
    else
        copy_window(bytes, n, from, x, place, group);
    distill_spread(column, bytes, n->K, distill_width(n), from->zero);
}

/* A channel's weights, out of halves of bytes where they lie so. */
static const int8_t *channel_weights(const distill_run *run, const distill_node *n,
                                     uint32_t channel, int8_t *spare) {
    uint32_t k;
    if (n->bits > 4) return (const int8_t *)(run->blob + n->weight + (size_t)channel * n->K);
    for (k = 0; k < n->K; k++) spare[k] = (int8_t)distill_weight(run->blob, n, channel * n->K + k);
    return spare;
}

static void store_sum(const distill_run *run, const distill_node *n, uint8_t *out, uint32_t place,
                      uint32_t channel, int32_t sum) {
    const size_t at = (size_t)place * n->c + channel;
    sum += distill_entry(run->blob, n->bias, channel);
    if (n->last)
        memcpy(out + 4 * at, &sum, sizeof sum);
    else
        out[at] = stored(n, requantize(sum, distill_entry(run->blob, n->factor, channel),
                                       distill_entry(run->blob, n->shift, channel)));
}

/* All channels of a group at `places` ≤ 2 places. */
static void multiply_group(const distill_run *run, const distill_node *n, const int16_t *column,
                           uint32_t group, uint32_t place, uint32_t places, uint8_t *out) {
    const uint32_t width = distill_width(n), own = n->c / n->groups, first = group * own;
    int8_t *spare = (int8_t *)(run->room + n->work) + (size_t)2 * width * distill_columns(n);
    uint32_t o;
    distill_product p;
    p.zero = run->node[n->in[0]].zero;
    p.a = column;
    p.b = column + (places > 1 ? width : 0);
    p.n = n->K;
    for (o = first; o < first + own; o += 2) {
        const uint32_t second = o + 1 < first + own ? o + 1 : o;
        int32_t sum[4];
        p.u = channel_weights(run, n, o, spare);
        p.v = second == o ? p.u : channel_weights(run, n, second, spare + width);
        distill_multiply(sum, &p);
        store_sum(run, n, out, place, o, sum[0]);
        if (second != o) store_sum(run, n, out, place, second, sum[1]);
        if (places > 1) store_sum(run, n, out, place + 1, o, sum[2]);
        if (places > 1 && second != o) store_sum(run, n, out, place + 1, second, sum[3]);
    }
}

static void run_layer(const distill_run *run, const distill_node *n, const uint8_t *x,
                      uint8_t *out) {
    const distill_node *from = &run->node[n->in[0]];
    const uint32_t count = n->h * n->w, width = distill_width(n);
    int16_t *column = (int16_t *)(void *)(run->room + n->work);
    uint32_t place, group;
    for (place = 0; place < count; place += 2) {
        const uint32_t places = count - place < 2 ? 1 : 2;
        for (group = 0; group < n->groups; group++) {
            make_column(column, n, from, x, place, group);
            if (places > 1) make_column(column + width, n, from, x, place + 1, group);
            multiply_group(run, n, column, group, place, places, out);
        }
    }
}

static uint8_t pool_channel(const distill_run *run, const distill_node *n, const distill_node *from,
                            const uint8_t *x, const int32_t window[4]) {
    int32_t row, column, sum = 0;
    uint8_t largest = 0;
    for (row = window[0]; row < window[1]; row++)
        for (column = window[2]; column < window[3]; column++) {
            const uint8_t value = x[((size_t)row * from->w + (size_t)column) * from->c];
            sum += value - from->zero;
            largest = value > largest ? value : largest;
        }
    if (n->kind == DISTILL_MAX_POOL) return largest;
    return stored(n, requantize(sum, distill_entry(run->blob, n->factor, 0),
                                distill_entry(run->blob, n->shift, 0)));
}

/* Windows, cut off where the image ends. */
static void run_pool(const distill_run *run, const distill_node *n, const uint8_t *x,
                     uint8_t *out) {
    const distill_node *from = &run->node[n->in[0]];
    const int32_t size[2] = {(int32_t)from->h, (int32_t)from->w};
    uint32_t place, c;
    int axis;
    for (place = 0; place < n->h * n->w; place++) {
        const uint32_t at[2] = {place / n->w, place % n->w};
        int32_t window[4];
        for (axis = 0; axis < 2; axis++) {
            const int32_t begin = (int32_t)(at[axis] * n->stride[axis]) - n->padding[axis];
            const int32_t end =
                n->kind == DISTILL_GLOBAL_AVG_POOL ? size[axis] : begin + n->kernel[axis];
            window[2 * axis] = begin < 0 ? 0 : begin;
            window[2 * axis + 1] = end > size[axis] ? size[axis] : end;
        }
        for (c = 0; c < n->c; c++) *out++ = pool_channel(run, n, from, x + c, window);
    }
}

/* Both addends on a common scale with 20 bits to spare, then on the output's. */
static void run_add(const distill_run *run, const distill_node *n, const uint8_t *x, uint8_t *out) {
    const uint8_t *y = output_of(run, (uint32_t)n->in[1]);
    const int32_t zero_x = run->node[n->in[0]].zero, zero_y = run->node[n->in[1]].zero;
    int32_t factor[3], shift[3];
    uint32_t i;
    for (i = 0; i < 3; i++) {
        factor[i] = distill_entry(run->blob, n->factor, i);
        shift[i] = distill_entry(run->blob, n->shift, i);
    }
    for (i = 0; i < n->h * n->w * n->c; i++) {
        const int32_t a = requantize((x[i] - zero_x) * (1 << 20), factor[0], shift[0]);
        const int32_t b = requantize((y[i] - zero_y) * (1 << 20), factor[1], shift[1]);
        out[i] = stored(n, requantize(a + b, factor[2], shift[2]));
    }
}

static void run_activation(const distill_run *run, const distill_node *n, const uint8_t *x,
                           uint8_t *out) {
    const uint8_t *table = run->blob + n->weight;
    uint32_t i;
    for (i = 0; i < n->h * n->w * n->c; i++) out[i] = table[x[i]] ^ 0x80;
}

/* Every step-th place, zeros in front of and behind its channels. */
static void run_shortcut(const distill_run *run, const distill_node *n, const uint8_t *x,
                         uint8_t *out) {
    const distill_node *from = &run->node[n->in[0]];
    uint32_t i, j;
    for (i = 0; i < n->h; i++)
        for (j = 0; j < n->w; j++, out += n->c) {
            const size_t place = (size_t)i * n->stride[0] * from->w + (size_t)j * n->stride[1];
            memset(out, n->zero, n->c);
            memcpy(out + n->before, x + place * from->c, from->c);
        }
}

void distill_run_invoke(distill_run *run) {
    uint32_t i;
    for (i = 1; i < run->count; i++) {
        const distill_node *n = &run->node[i];
        const uint8_t *x = output_of(run, (uint32_t)n->in[0]);
        uint8_t *out = output_of(run, i);
        switch (n->kind) {
        case DISTILL_CONV:
        case DISTILL_LINEAR:
            run_layer(run, n, x, out);
            break;
        case DISTILL_ADD:
            run_add(run, n, x, out);
            break;
        case DISTILL_ACTIVATION:
            run_activation(run, n, x, out);
            break;
        case DISTILL_SHORTCUT:
            run_shortcut(run, n, x, out);
            break;
        default:
            run_pool(run, n, x, out);
            break;
        }
    }
}

/* --- what goes in and comes out --------------------------------------------------------------- */

void distill_run_extent(const distill_run *run, uint32_t size[3]) {
    size[0] = run->node[0].h;
    size[1] = run->node[0].w;
    size[2] = run->node[0].c;
}

uint8_t *distill_run_input(distill_run *run) {
    return output_of(run, 0);
}

void distill_run_input_grid(distill_run_grid *grid, const distill_run *run) {
    grid->scale = run->node[0].scale;
    grid->low = run->node[0].low;
    grid->high = run->node[0].high;
    grid->zero = run->node[0].zero;
}

int distill_run_classes(const distill_run *run) {
    return (int)run->class_count;
}

const char *distill_run_class_name(size_t *length, const distill_run *run, int label) {
    distill_cursor c;
    uint64_t n = 0;
    const char *name = NULL;
    if (label < 0 || (uint32_t)label >= run->class_count) return NULL;
    c.at = run->classes;
    c.left = SIZE_MAX; /* distill_run_open has seen their ends */
    c.bad = 0;
    for (; label >= 0; label--) name = distill_take_string(&c, &n);
    *length = (size_t)n;
    return name;
}

/* sum·scale as sign, 64-bit magnitude and exponent, which are compared exactly. */
static int is_larger(int32_t a, uint32_t scale_a, int32_t b, uint32_t scale_b) {
    uint64_t m[2];
    int32_t sum[2], exponent[2], i;
    uint32_t scale[2];
    if ((a > 0) != (b > 0) || a == 0 || b == 0) return a > 0 ? b <= 0 : a == 0 && b < 0;
    sum[0] = a, sum[1] = b;
    scale[0] = scale_a, scale[1] = scale_b;
    for (i = 0; i < 2; i++) {
        const uint32_t magnitude = sum[i] < 0 ? 0u - (uint32_t)sum[i] : (uint32_t)sum[i];
        const uint32_t e = scale[i] >> 23;
        m[i] = (uint64_t)magnitude * ((scale[i] & 0x7fffff) | (e > 0 ? 0x800000u : 0));
        for (exponent[i] = (int32_t)(e > 0 ? e : 1); m[i] >> 63 == 0; m[i] <<= 1) exponent[i]--;
    }
    if (exponent[0] == exponent[1] && m[0] == m[1]) return 0;
    i = exponent[0] != exponent[1] ? exponent[0] > exponent[1] : m[0] > m[1];
    return a > 0 ? i : !i;
}

int distill_run_best(const distill_run *run) {
    const distill_node *last = &run->node[run->count - 1];
    const uint8_t *out = output_of(run, run->count - 1);
    uint32_t i, best = 0;
    for (i = 1; i < run->class_count; i++) {
        if (!last->last) {
            if (out[i] > out[best]) best = i;
        } else {
            int32_t a = (int32_t)distill_word(out + 4 * i),
                    b = (int32_t)distill_word(out + 4 * best);
            if (last->relu) a = a > 0 ? a : 0, b = b > 0 ? b : 0;
            if (is_larger(a, (uint32_t)distill_entry(run->blob, last->weight_scale, i), b,
                          (uint32_t)distill_entry(run->blob, last->weight_scale, best)))
                best = i;
        }
    }
    return (int)best;
}

void distill_run_logits(const distill_run *run, float *logits) {
    const distill_node *last = &run->node[run->count - 1];
    const uint8_t *out = output_of(run, run->count - 1);
    uint32_t i;
    for (i = 0; i < run->class_count; i++) {
        if (!last->last) {
            logits[i] = last->scale * (float)(out[i] - last->zero);
        } else {
            const uint32_t bits = (uint32_t)distill_entry(run->blob, last->weight_scale, i);
            float scale;
            memcpy(&scale, &bits, sizeof scale);
            logits[i] = (float)((double)(int32_t)distill_word(out + 4 * i) *
                                ((double)run->node[last->in[0]].scale * (double)scale));
            if (last->relu && logits[i] < 0) logits[i] = 0;
        }
    }
}

const char *distill_run_kernel(void) {
    return distill_kernel;
}

uint64_t distill_run_macs(const distill_run *run) {
    uint64_t macs = 0;
    uint32_t i;
    for (i = 1; i < run->count; i++) {
        const distill_node *n = &run->node[i];
        if (n->kind == DISTILL_CONV || n->kind == DISTILL_LINEAR)
            macs += (uint64_t)n->h * n->w * n->c * n->K;
    }
    return macs;
}

const char *distill_run_error(int status) {
    static const char *const text_of[] = {
        "all is well",
        "not a whole GGUF file of version 3 with the keys of a model that distill exported",
        "the graph says what cannot be, or what this runner does not know",
        "a tensor is missing, left over, of another size, or holds forbidden values",
        "more nodes or more memory than this runner can have",
        "the arena is too small or does not lie at a multiple of 8",
        "the checksum differs: the bytes are not those that were written",
        "the preprocessing is not of this kind or not for this model"};
    return status <= 0 && status >= -7 ? text_of[-status] : "no such status";
}
