/* Forward and input gradient: both give every position of a result the weighted sum of a window of
 * a source.
 *
 *     forward:   y[i]  = Σ_u x[i·s − p + u] · w[u]                     one line of positions
 *     gradient:  dx[i] = Σ_u dy[(i + p − u)/s] · w[u],  s | i + p − u
 *
 * The second, for the positions of one remainder r = (i + p) mod s, is again a sum over a window,
 * that of the taps u = r, r+s, r+2s …: s lines, none of which multiplies by a zero between the
 * strides. Along both axes that makes s·s phases, each one window product (conv_kernels.h).
 *
 * An image, or a tile of a large one, is copied with its padding into a scratch that stays in the
 * second-level cache; the products read windows straight out of it. */
#include <omp.h>
#include <string.h>

#include "autograd/conv_kernels.h"
#include "base/order.h"
#include "base/size.h"

/* Elements of a tile's source; and how many tiles there should be to share out. */
enum { TILE_ELEMENTS = 48 << 10, TILE_TARGET = 16, TILE_SMALLEST = 256 };

/* Positions to + to_step·t of the result, along one axis: the sum over τ < taps of the source at
 * from + from_step·t + τ times the weight at tap + tap_step·τ. */
typedef struct {
    int64_t to, to_step, from, from_step, taps, tap, tap_step;
} line;

/* One axis, cut into tiles: tile i is the result from i·tile on and reads the source from
 * low + i·advance on, `span` long. */
typedef struct {
    int64_t extent, source; /* lengths of result and source */
    int64_t tile, tiles, low, span, advance;
    int64_t lines;
    line *line;
} axis;

typedef struct {
    axis axis[2];
    int64_t B, groups, from_channels, to_channels; /* channels of all groups together */
    bool pairs;    /* of neighbouring source channels, in bfloat16, are the elements of a product */
    int64_t depth; /* elements of a pixel of one group of the source */
    int64_t w_from, w_to; /* distance between weights of successive source and result channels */
    int64_t w_group, w_tap[2];
    int64_t packed_group; /* size of one group's packed weights */
    int64_t tasks;        /* images, groups and tiles */
    bool direct;          /* no tile reaches over an edge: read the image itself */
    kd_window_product *phase;
    int32_t *offsets;
    kd_real *packed;
} plan;

/* How many positions of the line lie below `end`. */
static int64_t line_count(const line *l, int64_t end) {
    return l->to < end ? (end - l->to + l->to_step - 1) / l->to_step : 0;
}

static axis forward_axis(const kd_conv_shape *s, int which, line *lines) {
    lines[0] = (line){0, 1, -s->padding[which], s->stride[which], s->kernel[which], 0, 1};
    return (axis){.extent = s->out[which], .source = s->in[which], .lines = 1, .line = lines};
}

static axis backward_axis(const kd_conv_shape *s, int which, line *lines) {
    int64_t stride = s->stride[which], padding = s->padding[which], kernel = s->kernel[which];
    for (int64_t r = 0; r < stride; r++) {
        int64_t to = ((r - padding) % stride + stride) % stride;
        int64_t taps = r < kernel ? (kernel - r + stride - 1) / stride : 0;
        lines[r] = (line){.to = to,
                          .to_step = stride,
                          .from = (to + padding - r) / stride - (taps - 1),
                          .from_step = 1,
                          .taps = taps,
                          .tap = r + stride * (taps - 1),
                          .tap_step = -stride};
    }
    return (axis){.extent = s->in[which], .source = s->out[which], .lines = stride, .line = lines};
}

/* Every tile begins at a multiple of all to_steps, which are `lines`. */
static void cut_axis(axis *a, int64_t tile) {
    a->tile = (tile + a->lines - 1) / a->lines * a->lines;
    a->tiles = (a->extent + a->tile - 1) / a->tile;
    a->advance = a->tile * a->line[0].from_step / a->line[0].to_step;
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (int64_t i = 0; i < a->lines; i++) {
        const line *l = &a->line[i];
        int64_t count = line_count(l, kd_smaller(a->tile, a->extent));
        if (count == 0 || l->taps == 0) continue;
        low = kd_smaller(low, l->from);
        high = kd_larger(high, l->from + (count - 1) * l->from_step + l->taps);
    }
    a->low = low < high ? low : 0;
    a->span = low < high ? high - low : 0;
}

/* Halves the rows, then the columns, until the source of a tile stays in the cache and there are
 * enough tiles. Depends on the shape alone. */
static void cut_tiles(plan *p) {
    axis *rows = &p->axis[0], *columns = &p->axis[1];
    int64_t tile[2] = {rows->extent, columns->extent};
    for (;;) {
        cut_axis(rows, tile[0]);
        cut_axis(columns, tile[1]);
        int64_t elements = rows->span * columns->span * p->depth;
        p->tasks = p->B * p->groups * rows->tiles * columns->tiles;
        if (elements <= TILE_ELEMENTS &&
            (p->tasks >= TILE_TARGET || tile[0] * tile[1] < 2 * TILE_SMALLEST))
            return;
        int which = tile[0] > rows->lines ? 0 : 1;
        if (tile[which] <= p->axis[which].lines) return;
        tile[which] = (tile[which] + 1) / 2;
    }
}

/* The weights of one phase for PANEL result channels of a group: [τ₀][τ₁][element][PANEL]. */
static void pack_panel(const plan *p, kd_real *out, const kd_real *w, int64_t columns,
                       const line *l0, const line *l1) {
    const int64_t used = kd_smaller(KD_PANEL, columns), next = p->w_from;
    for (int64_t i = 0; i < l0->taps; i++)
        for (int64_t j = 0; j < l1->taps; j++) {
            const kd_real *tap = w + (l0->tap + i * l0->tap_step) * p->w_tap[0] +
                                 (l1->tap + j * l1->tap_step) * p->w_tap[1];
            for (int64_t k = 0; k < p->depth; k++, out += KD_PANEL) {
                const kd_real *from = tap + k * (p->pairs ? 2 : 1) * p->w_from;
                for (int64_t n = 0; n < used; n++, from += p->w_to)
                    out[n] = p->pairs ? kd_pair(from[0], from[next]) : *from;
                for (int64_t n = used; n < KD_PANEL; n++) out[n] = 0;
            }
        }
}

/* Where the windows of a full tile begin and where their results go. A tile cut short uses a
 * beginning of the same table: tiles are cut by columns only when they are one row high. */
static void fill_offsets(const plan *p, int32_t *segment_at, int32_t *a_at, int32_t *c_at,
                         const line *l0, const line *l1) {
    const axis *rows = &p->axis[0], *columns = &p->axis[1];
    const int64_t depth = p->depth;
    int64_t pitch = p->direct ? columns->source : columns->span;
    for (int64_t i = 0; i < l0->taps; i++) *segment_at++ = (int32_t)(i * pitch * depth);
    int64_t count0 = line_count(l0, kd_smaller(rows->tile, rows->extent));
    int64_t count1 = line_count(l1, kd_smaller(columns->tile, columns->extent));
    for (int64_t i = 0; i < count0; i++)
        for (int64_t j = 0; j < count1; j++) {
            int64_t from0 = l0->from - rows->low + i * l0->from_step;
            int64_t from1 = l1->from - columns->low + j * l1->from_step;
            int64_t to0 = l0->to + i * l0->to_step, to1 = l1->to + j * l1->to_step;
            *a_at++ = (int32_t)((from0 * pitch + from1) * depth);
            *c_at++ = (int32_t)((to0 * columns->extent + to1) * p->to_channels);
        }
}

static bool inside(const axis *a) {
    return a->low >= 0 && a->low + (a->tiles - 1) * a->advance + a->span <= a->source;
}

/* Cuts the tiles, packs the weights and makes the product of every phase, all but its place. */
static void make_phases(kd_tape *tape, plan *p, const kd_real *w, bool masked) {
    axis *rows = &p->axis[0], *columns = &p->axis[1];
    p->depth = p->from_channels / p->groups;
    p->pairs = p->pairs && p->depth % 2 == 0;
    if (p->pairs) p->depth /= 2;
    cut_tiles(p);
    p->direct = !p->pairs && !masked && p->groups == 1 && inside(rows) && inside(columns);
    int64_t phases = rows->lines * columns->lines;
    const int64_t depth = p->depth, width = p->to_channels / p->groups;
    int64_t panels = (width + KD_PANEL - 1) / KD_PANEL;
    int64_t taps0 = 0, taps1 = 0;
    for (int64_t i = 0; i < rows->lines; i++) taps0 += rows->line[i].taps;
    for (int64_t i = 0; i < columns->lines; i++) taps1 += columns->line[i].taps;
    p->packed_group = panels * KD_PANEL * taps0 * taps1 * depth;
    int64_t positions =
        kd_smaller(rows->tile, rows->extent) * kd_smaller(columns->tile, columns->extent);
    p->phase = kd_tape_take(tape, kd_array_bytes(phases, sizeof *p->phase));
    p->packed = kd_tape_take(tape, kd_array_bytes(p->groups * p->packed_group, sizeof *p->packed));
    int64_t entries = 2 * positions + taps0 * columns->lines;
    p->offsets = kd_tape_take(tape, kd_array_bytes(entries, sizeof *p->offsets));
    kd_real *packed = p->packed;
    int32_t *offsets = p->offsets;
    for (int64_t i = 0; i < phases; i++) {
        const line *l0 = &rows->line[i / columns->lines], *l1 = &columns->line[i % columns->lines];
        int64_t count = line_count(l0, kd_smaller(rows->tile, rows->extent)) *
                        line_count(l1, kd_smaller(columns->tile, columns->extent));
        int32_t *a_at = offsets + l0->taps, *c_at = a_at + count;
        fill_offsets(p, offsets, a_at, c_at, l0, l1);
        p->phase[i] = (kd_window_product){.b = packed,
                                          .a_at = a_at,
                                          .segment_at = offsets,
                                          .c_at = c_at,
                                          .columns = width,
                                          .segments = l0->taps,
                                          .length = l1->taps * depth,
                                          .a_step = 1,
                                          .pairs = p->pairs,
                                          .b_panel = l0->taps * l1->taps * depth * KD_PANEL};
#pragma omp parallel for if (p->groups * p->packed_group > 1 << 15)
        for (int64_t at = 0; at < p->groups * panels; at++) {
            int64_t group = at / panels, panel = at % panels, first = panel * KD_PANEL;
            pack_panel(p, packed + group * p->packed_group + panel * p->phase[i].b_panel,
                       w + group * p->w_group + first * p->w_to, width - first, l0, l1);
        }
        packed += panels * p->phase[i].b_panel;
        offsets = c_at + count;
    }
}

/* One tile of one group of one image. */
typedef struct {
    int64_t image, group, to[2]; /* to: where the tile begins in the result */
    kd_conv_region region;       /* what it reads of the source            */
} task;

static task task_at(const plan *p, int64_t i) {
    const axis *rows = &p->axis[0], *columns = &p->axis[1];
    int64_t tiles = rows->tiles * columns->tiles, tile = i % tiles;
    int64_t tile0 = tile / columns->tiles, tile1 = tile % columns->tiles;
    int64_t depth = p->from_channels / p->groups;
    task t = {.image = i / tiles / p->groups, .group = i / tiles % p->groups};
    t.to[0] = tile0 * rows->tile;
    t.to[1] = tile1 * columns->tile;
    t.region = (kd_conv_region){.top = rows->low + tile0 * rows->advance,
                                .left = columns->low + tile1 * columns->advance,
                                .height = rows->span,
                                .width = columns->span,
                                .channel = t.group * depth,
                                .channels = depth};
    return t;
}

static void run_task(const plan *p, int64_t i, kd_conv_source from, kd_real *scratch,
                     const kd_window_product *ending) {
    const axis *rows = &p->axis[0], *columns = &p->axis[1];
    const task t = task_at(p, i), next = task_at(p, i + 1 < p->tasks ? i + 1 : i);
    const kd_conv_image image = {rows->source, columns->source, p->from_channels};
    const kd_conv_source source = kd_conv_image_at(from, image, t.image);
    const kd_conv_source later = kd_conv_image_at(from, image, next.image);
    const kd_real *a = scratch;
    if (p->direct)
        a = source.g + (t.region.top * image.W + t.region.left) * image.C;
    else
        (p->pairs ? kd_conv_copy_region_pairs : kd_conv_copy_region)(scratch, source, image,
                                                                     t.region);
    int64_t height = kd_smaller(rows->tile, rows->extent - t.to[0]);
    int64_t width = kd_smaller(columns->tile, columns->extent - t.to[1]);
    int64_t place = (t.image * rows->extent + t.to[0]) * columns->extent + t.to[1];
    int64_t channel = t.group * (p->to_channels / p->groups);
    int64_t phases = rows->lines * columns->lines;
    for (int64_t phase = 0; phase < phases; phase++) {
        kd_window_product product = p->phase[phase];
        product.rows = line_count(&rows->line[phase / columns->lines], height) *
                       line_count(&columns->line[phase % columns->lines], width);
        product.a = a;
        product.b += t.group * p->packed_group;
        product.c = ending->c + place * p->to_channels + channel;
        product.bias = ending->bias ? ending->bias + channel : NULL;
        product.add = ending->add;
        product.relu = ending->relu;
        kd_conv_look_ahead(product.ahead, later, image, next.region, phase, phases);
        kd_window_product_run(&product);
    }
}

/* `ending` says where the result goes and what happens to it there: c, bias, add, relu. */
static void run(kd_tape *tape, plan *p, kd_conv_source from, const kd_real *w,
                const kd_window_product *ending) {
    make_phases(tape, p, w, from.y != NULL);
    int64_t span = p->axis[0].span * p->axis[1].span * p->depth;
    int64_t threads = omp_get_max_threads();
    /* A thread takes neighbouring tasks, so that it has looked ahead to the right one. */
    int64_t run_length = kd_smaller(kd_larger(p->tasks / (4 * threads), 1), 4);
    kd_real *scratch = kd_tape_take(tape, kd_array_bytes(span * threads, sizeof *scratch));
#pragma omp parallel for schedule(dynamic, run_length)
    for (int64_t i = 0; i < p->tasks; i++)
        run_task(p, i, from, scratch + omp_get_thread_num() * span, ending);
    kd_tape_give(tape, scratch);
    kd_tape_give(tape, p->offsets);
    kd_tape_give(tape, p->packed);
    kd_tape_give(tape, p->phase);
}

void kd_conv_forward(kd_tape *tape, const kd_conv_shape *s, const kd_real *x, const kd_real *w,
                     const kd_real *bias, kd_real *y) {
    int64_t group_C = s->C / s->groups, group_O = s->O / s->groups;
    int64_t filter = s->kernel[0] * s->kernel[1] * group_C;
    line lines[2];
    plan p = {.axis = {forward_axis(s, 0, &lines[0]), forward_axis(s, 1, &lines[1])},
              .B = s->B,
              .groups = s->groups,
              .pairs = s->rounded,
              .from_channels = s->C,
              .to_channels = s->O,
              .w_from = 1,
              .w_to = filter,
              .w_group = group_O * filter,
              .w_tap = {s->kernel[1] * group_C, group_C}};
    run(tape, &p, (kd_conv_source){x, NULL}, w,
        &(kd_window_product){.c = y, .bias = bias, .relu = s->act == KD_ACT_RELU});
}

void kd_conv_backward_input(kd_tape *tape, const kd_conv_shape *s, const kd_real *w,
                            kd_conv_source dy, const kd_conv_gradients *out) {
    int64_t group_C = s->C / s->groups, group_O = s->O / s->groups;
    int64_t filter = s->kernel[0] * s->kernel[1] * group_C;
    line *lines = kd_tape_take(tape, kd_array_bytes(s->stride[0] + s->stride[1], sizeof *lines));
    plan p = {.axis = {backward_axis(s, 0, lines), backward_axis(s, 1, lines + s->stride[0])},
              .B = s->B,
              .groups = s->groups,
              .pairs = s->rounded,
              .from_channels = s->O,
              .to_channels = s->C,
              .w_from = filter,
              .w_to = 1,
              .w_group = group_O * filter,
              .w_tap = {s->kernel[1] * group_C, group_C}};
    run(tape, &p, dy, w, &(kd_window_product){.c = out->x, .add = out->beta_x != 0});
    kd_tape_give(tape, lines);
}
