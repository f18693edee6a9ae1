/* Weight and bias gradient.
 *
 *     dw[o,u,v,c] = Σ_{b,i,j} dy[b,i,j,o] · x[b, i·s − p + u, j·s − p + v, c]
 *     db[o]       = Σ_{b,i,j} dy[b,i,j,o]
 *
 * One window product per strip of pixels: its rows are the (u,v,c), its sum runs over the pixels of
 * the strip, and its B is dy, repacked in panels. In pairs a pixel and its right neighbour in dy
 * meet the two of x that are `stride` apart; the last of an odd number of pixels is paired with
 * zeros. The strips are short enough for the first-level cache. The batch is cut into parts that
 * depend on the shape alone; each part sums into its own copy of dw, and the copies are added in
 * order. */
#include <omp.h>
#include <string.h>

#include "autograd/conv_kernels.h"
#include "base/order.h"
#include "base/size.h"

enum {
    PARTS = 16,
    TILE_ELEMENTS = 48 << 10, /* of x and dy each, for the second-level cache         */
    TILE_PIXELS = 256,        /* small images are taken several at a time             */
    STRIP_ELEMENTS = 10 << 10 /* of x and one panel of dy, for the first-level cache  */
};

typedef struct {
    const kd_conv_shape *s;
    int64_t group_C, group_O, filter; /* filter: KH·KW·C/groups, the rows of the product  */
    int64_t panels;                   /* of the columns of one group                       */
    int64_t images;                   /* taken at a time; 1 unless a tile is a whole image */
    int64_t tile[2], tiles[2];        /* pixels of dy in a tile                            */
    int64_t span[2];                  /* pixels of x under it                              */
    int64_t strip;                    /* rows of dy in one product                         */
    int64_t items;                    /* tiles of all images                               */
    int64_t parts, part_size;         /* elements of one copy of dw and db                 */
    int32_t *x_at, *w_at;             /* of every row of the product                       */
    int32_t *segment_at;              /* of every row of dy                                */
    bool direct;                      /* no padding: read x itself                         */
} plan;

/* Where one item begins: image, row and column of dy; and its size. */
typedef struct {
    int64_t image, i, j, images, height, width;
    kd_conv_region x, dy; /* of the first image */
} item;

static int64_t tile_size(const plan *p) {
    return kd_larger(p->span[0] * p->span[1] * p->group_C, p->tile[0] * p->tile[1] * p->group_O);
}

static void cut_tiles(plan *p) {
    const kd_conv_shape *s = p->s;
    p->tile[0] = s->out[0];
    p->tile[1] = s->out[1];
    for (;;) {
        for (int i = 0; i < 2; i++) {
            p->tiles[i] = (s->out[i] + p->tile[i] - 1) / p->tile[i];
            p->span[i] = (p->tile[i] - 1) * s->stride[i] + s->kernel[i];
        }
        int which = p->tile[0] > 1 ? 0 : 1;
        if (tile_size(p) <= TILE_ELEMENTS || p->tile[which] == 1) break;
        p->tile[which] = (p->tile[which] + 1) / 2;
    }
    int64_t pixels = p->tile[0] * p->tile[1];
    int64_t images = kd_smaller(TILE_PIXELS / pixels, TILE_ELEMENTS / tile_size(p));
    bool whole = p->tiles[0] * p->tiles[1] == 1;
    p->images = whole ? kd_larger(kd_smaller(images, s->B / PARTS), 1) : 1;
    int64_t per_row = s->stride[0] * p->span[1] * p->group_C + p->tile[1] * KD_PANEL;
    p->strip = kd_smaller(kd_larger(STRIP_ELEMENTS / per_row, 1), p->images * p->tile[0]);
    p->items = (s->B + p->images - 1) / p->images * p->tiles[0] * p->tiles[1];
    p->parts = kd_smaller(PARTS, p->items);
    p->part_size = s->groups * p->panels * p->filter * KD_PANEL + s->O;
}

static void make_plan(kd_tape *tape, plan *p) {
    const kd_conv_shape *s = p->s;
    p->group_C = s->C / s->groups;
    p->group_O = s->O / s->groups;
    p->filter = s->kernel[0] * s->kernel[1] * p->group_C;
    p->panels = (p->group_O + KD_PANEL - 1) / KD_PANEL;
    cut_tiles(p);
    p->direct = !s->rounded && s->groups == 1 && s->padding[0] == 0 && s->padding[1] == 0;
    int64_t segments = p->images * p->tile[0];
    p->x_at = kd_tape_take(tape, kd_array_bytes(2 * p->filter + segments, sizeof *p->x_at));
    p->w_at = p->x_at + p->filter;
    p->segment_at = p->w_at + p->filter;
    int64_t pitch = p->direct ? s->in[1] : p->span[1], rows = p->direct ? s->in[0] : p->span[0];
    for (int64_t k = 0; k < p->filter; k++) {
        int64_t c = k % p->group_C, tap = k / p->group_C;
        int64_t u = tap / s->kernel[1], v = tap % s->kernel[1];
        p->x_at[k] = (int32_t)((u * pitch + v) * p->group_C + c);
        p->w_at[k] = (int32_t)(k * KD_PANEL);
    }
    for (int64_t i = 0; i < segments; i++) {
        int64_t row = i / p->tile[0] * rows + i % p->tile[0] * s->stride[0];
        p->segment_at[i] = (int32_t)(row * pitch * p->group_C);
    }
}

static item item_at(const plan *p, int64_t index, int64_t group) {
    const kd_conv_shape *s = p->s;
    int64_t tiles = p->tiles[0] * p->tiles[1], tile = index % tiles;
    item t = {.image = index / tiles * p->images,
              .i = tile / p->tiles[1] * p->tile[0],
              .j = tile % p->tiles[1] * p->tile[1]};
    t.images = kd_smaller(p->images, s->B - t.image);
    t.height = kd_smaller(p->tile[0], s->out[0] - t.i);
    t.width = kd_smaller(p->tile[1], s->out[1] - t.j);
    t.dy = (kd_conv_region){t.i, t.j, t.height, t.width, group * p->group_O, p->group_O};
    t.x = (kd_conv_region){t.i * s->stride[0] - s->padding[0],
                           t.j * s->stride[1] - s->padding[1],
                           p->span[0],
                           p->span[1],
                           group * p->group_C,
                           p->group_C};
    return t;
}

/* The gradient of the lanes of one pixel, before the activation. */
static kd_vec load_dy(kd_conv_source dy, int64_t at, int64_t lanes) {
    kd_vec g = kd_vec_load_part(dy.g + at, lanes);
    if (dy.y) g = (kd_vec)((kd_vec_mask)g & (kd_vec_load_part(dy.y + at, lanes) > 0));
    return g;
}

/* A region of dy in panels [o / PANEL][pixel or pair][PANEL], `panel` elements apart; their sums
 * are added to db. */
static void pack_dy(kd_real *out, int64_t panel, kd_conv_source dy, kd_conv_image image,
                    kd_conv_region r, bool pairs, kd_real *db) {
    for (int64_t first = 0; first < r.channels; first += KD_VEC) {
        const int64_t lanes = kd_smaller(KD_VEC, r.channels - first);
        kd_real *to = out + first / KD_PANEL * panel + first % KD_PANEL;
        kd_vec sum = {0};
        for (int64_t i = 0; i < r.height; i++) {
            int64_t at = ((r.top + i) * image.W + r.left) * image.C + r.channel + first;
            for (int64_t j = 0; j < r.width; j++, at += image.C, to += KD_PANEL) {
                kd_vec g = load_dy(dy, at, lanes), next = {0};
                sum += g;
                if (pairs) {
                    if (++j < r.width) next = load_dy(dy, at += image.C, lanes);
                    sum += next;
                    g = kd_vec_pairs(g, next);
                }
                kd_vec_store(to, g);
            }
        }
        kd_real *total = db + r.channel + first;
        kd_vec_store_part(total, kd_vec_load_part(total, lanes) + sum, lanes);
    }
}

/* Every element of a row of `length` with the one `apart` behind it, or zero; in its place. */
static void pair_row(kd_real *row, int64_t length, int64_t apart) {
    int64_t i = 0;
    for (; i + apart + KD_VEC <= length; i += KD_VEC)
        kd_vec_store(row + i, kd_vec_pairs(kd_vec_load(row + i), kd_vec_load(row + i + apart)));
    for (; i < length; i++) row[i] = kd_pair(row[i], i + apart < length ? row[i + apart] : 0);
}

/* The pixels of x under an item, of its n-th image. */
static void copy_x(const plan *p, kd_conv_source x, const item *t, int64_t n, kd_real *out) {
    const kd_conv_image image = {p->s->in[0], p->s->in[1], p->s->C};
    const int64_t length = p->span[1] * p->group_C;
    kd_conv_copy_region(out, kd_conv_image_at(x, image, t->image + n), image, t->x);
    for (int64_t i = 0; i < p->span[0] && p->s->rounded; i++)
        pair_row(out + i * length, length, p->s->stride[1] * p->group_C);
}

/* What the thread will read for its next item: of images that follow each other, as one tall one.
 */
static void look_ahead(const plan *p, const item *t, kd_conv_source x, kd_conv_source dy,
                       kd_ahead out[4], int64_t i, int64_t n) {
    const kd_conv_shape *s = p->s;
    const kd_conv_image x_image = {s->in[0], s->in[1], s->C};
    const kd_conv_image y_image = {s->out[0], s->out[1], s->O};
    kd_conv_image x_tall = x_image, y_tall = y_image;
    kd_conv_region x_region = t->x, y_region = t->dy;
    x_tall.H *= t->images;
    y_tall.H *= t->images;
    x_region.height += (t->images - 1) * s->in[0];
    y_region.height += (t->images - 1) * s->out[0];
    kd_conv_look_ahead(out + 2, kd_conv_image_at(x, x_image, t->image), x_tall, x_region, i, n);
    kd_conv_look_ahead(out, kd_conv_image_at(dy, y_image, t->image), y_tall, y_region, i, n);
}

/* Adds one item of one group to a part's copy of dw and db. */
static void add_item(const plan *p, kd_conv_source x, kd_conv_source dy, const item *t,
                     const item *next, int64_t group, kd_real *scratch, kd_real *part) {
    const kd_conv_shape *s = p->s;
    const kd_conv_image x_image = {s->in[0], s->in[1], s->C};
    const kd_conv_image y_image = {s->out[0], s->out[1], s->O};
    const bool pairs = s->rounded;
    const int64_t width = pairs ? (t->width + 1) / 2 : t->width; /* elements */
    int64_t x_size = p->span[0] * p->span[1] * p->group_C, pixels = t->height * width;
    int64_t panel = t->images * pixels * KD_PANEL;
    kd_real *packed = scratch + p->images * x_size;
    for (int64_t n = 0; n < t->images; n++) {
        pack_dy(packed + n * pixels * KD_PANEL, panel, kd_conv_image_at(dy, y_image, t->image + n),
                y_image, t->dy, pairs, part + p->part_size - s->O);
        if (!p->direct) copy_x(p, x, t, n, scratch + n * x_size);
    }
    const kd_real *a = scratch;
    if (p->direct)
        a = kd_conv_image_at(x, x_image, t->image).g + (t->x.top * x_image.W + t->x.left) * s->C;
    int64_t rows = t->images * t->height, strips = (rows + p->strip - 1) / p->strip;
    for (int64_t i = 0; i < p->panels * strips; i++) {
        int64_t at = i / strips, strip = i % strips, first = rows * strip / strips;
        kd_window_product product = {.a = a,
                                     .a_at = p->x_at,
                                     .segment_at = p->segment_at + first,
                                     .b = packed + at * panel + first * width * KD_PANEL,
                                     .c = part + (group * p->panels + at) * p->filter * KD_PANEL,
                                     .c_at = p->w_at,
                                     .rows = p->filter,
                                     .columns = kd_smaller(KD_PANEL, p->group_O - at * KD_PANEL),
                                     .segments = rows * (strip + 1) / strips - first,
                                     .length = width,
                                     .a_step = (pairs ? 2 : 1) * s->stride[1] * p->group_C,
                                     .add = true,
                                     .pairs = pairs};
        look_ahead(p, next, x, dy, product.ahead, i, p->panels * strips);
        kd_window_product_run(&product);
    }
}

/* dw (O, filter) = beta·dw + Σ over the parts, each (groups, panels, filter, PANEL). */
static void add_parts(const plan *p, kd_real *parts, kd_real beta, kd_real *dw) {
    int64_t rows = p->s->groups * p->panels * p->filter;
#pragma omp parallel for if (rows * KD_PANEL > 4096)
    for (int64_t row = 0; row < rows; row++) {
        kd_real *sum = parts + row * KD_PANEL;
        for (int64_t part = 1; part < p->parts; part++)
            for (int64_t o = 0; o < KD_PANEL; o++) sum[o] += sum[part * p->part_size + o];
        int64_t k = row % p->filter, panel = row / p->filter % p->panels;
        int64_t o = panel * KD_PANEL, group = row / p->filter / p->panels;
        kd_real *to = dw + (group * p->group_O + o) * p->filter + k;
        for (int64_t n = 0; n < kd_smaller(KD_PANEL, p->group_O - o); n++, to += p->filter)
            *to = beta != 0 ? *to + sum[n] : sum[n];
    }
}

static void add_bias_parts(const plan *p, const kd_real *parts, kd_real beta, kd_real *db) {
    const kd_real *sums = parts + p->part_size - p->s->O;
    for (int64_t o = 0; o < p->s->O; o++) {
        kd_real sum = 0;
        for (int64_t part = 0; part < p->parts; part++) sum += sums[part * p->part_size + o];
        db[o] = beta != 0 ? db[o] + sum : sum;
    }
}

void kd_conv_backward_weights(kd_tape *tape, const kd_conv_shape *s, const kd_real *x,
                              kd_conv_source dy, const kd_conv_gradients *out) {
    plan p = {.s = s};
    make_plan(tape, &p);
    int64_t size = p.images * (p.span[0] * p.span[1] * p.group_C +
                               p.tile[0] * p.tile[1] * p.panels * KD_PANEL);
    int64_t threads = omp_get_max_threads();
    kd_real *scratch = kd_tape_take(tape, kd_array_bytes(size * threads, sizeof *scratch));
    kd_real *parts = kd_tape_take(tape, kd_array_bytes(p.parts * p.part_size, sizeof *parts));
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < p.parts; i++) {
        kd_real *mine = scratch + omp_get_thread_num() * size, *part = parts + i * p.part_size;
        int64_t begin = p.items * i / p.parts, end = p.items * (i + 1) / p.parts;
        memset(part, 0, (size_t)p.part_size * sizeof *part);
        for (int64_t index = begin; index < end; index++)
            for (int64_t group = 0; group < s->groups; group++) {
                const item t = item_at(&p, index, group);
                const item next = item_at(&p, kd_smaller(index + 1, p.items - 1), group);
                add_item(&p, (kd_conv_source){x, NULL}, dy, &t, &next, group, mine, part);
            }
    }
    if (out->w) add_parts(&p, parts, out->beta_w, out->w);
    if (out->b) add_bias_parts(&p, parts, out->beta_b, out->b);
    kd_tape_give(tape, parts);
    kd_tape_give(tape, scratch);
    kd_tape_give(tape, p.x_at);
}
