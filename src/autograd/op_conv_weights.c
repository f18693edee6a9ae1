/* Weight and bias gradient.
 *
 *     dw[o,u,v,c] = Σ_{b,i,j} dy[b,i,j,o] · x[b, i·s − p + u, j·s − p + v, c]
 *     db[o]       = Σ_{b,i,j} dy[b,i,j,o]
 *
 * One window product per strip of an image: its rows are the (u,v,c), its sum runs over the pixels
 * of the strip, and its B is dy, repacked in panels. The strips are short enough for the
 * first-level cache. The batch is cut into parts that depend on the shape alone; each part sums
 * into its own copy of dw, and the copies are added in order. */
#include <omp.h>
#include <string.h>

#include "autograd/conv_kernels.h"

enum {
    PARTS = 16,
    TILE_ELEMENTS = 48 << 10, /* of x and dy each, for the second-level cache */
    STRIP_ELEMENTS = 5 << 10  /* of x and one panel of dy, for the first      */
};

typedef struct {
    const kd_conv_shape *s;
    int64_t group_C, group_O, filter; /* filter: KH·KW·C/groups, the rows of the product */
    int64_t tile[2], tiles[2];        /* pixels of dy in a tile                          */
    int64_t span[2];                  /* pixels of x under it                            */
    int64_t strip;                    /* rows of dy in one product                       */
    int64_t parts, part_size;         /* elements of one copy of dw and db               */
    int32_t *x_at, *w_at;             /* of every row of the product                     */
    bool direct;                      /* no padding: read x itself                       */
} plan;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
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
        if (larger(p->span[0] * p->span[1] * p->group_C, p->tile[0] * p->tile[1] * p->group_O) <=
            TILE_ELEMENTS)
            break;
        int which = p->tile[0] > 1 ? 0 : 1;
        if (p->tile[which] == 1) break;
        p->tile[which] = (p->tile[which] + 1) / 2;
    }
    int64_t per_row = s->stride[0] * p->span[1] * p->group_C + p->tile[1] * KD_PANEL;
    p->strip = smaller(larger(STRIP_ELEMENTS / per_row, 1), p->tile[0]);
}

static void make_plan(kd_tape *tape, plan *p) {
    const kd_conv_shape *s = p->s;
    p->group_C = s->C / s->groups;
    p->group_O = s->O / s->groups;
    p->filter = s->kernel[0] * s->kernel[1] * p->group_C;
    cut_tiles(p);
    p->parts = smaller(PARTS, s->B * p->tiles[0] * p->tiles[1]);
    p->part_size = (p->filter + 1) * s->O;
    p->direct = s->groups == 1 && s->padding[0] == 0 && s->padding[1] == 0;
    p->x_at = kd_tape_take(tape, (size_t)(2 * p->filter) * sizeof *p->x_at);
    p->w_at = p->x_at + p->filter;
    int64_t pitch = p->direct ? s->in[1] : p->span[1];
    for (int64_t k = 0; k < p->filter; k++) {
        int64_t c = k % p->group_C, tap = k / p->group_C;
        int64_t u = tap / s->kernel[1], v = tap % s->kernel[1];
        p->x_at[k] = (int32_t)((u * pitch + v) * p->group_C + c);
        p->w_at[k] = (int32_t)(k * p->group_O);
    }
}

/* dy of one tile and group in panels [o / PANEL][pixel][PANEL]; their sums are added to db. */
static void pack_dy(const plan *p, kd_real *out, kd_conv_source dy, int64_t height, int64_t width,
                    int64_t group, kd_real *db) {
    const kd_conv_shape *s = p->s;
    for (int64_t first = 0; first < p->group_O; first += KD_PANEL) {
        kd_vec sum[2] = {{0}, {0}};
        for (int64_t i = 0; i < height; i++)
            for (int64_t j = 0; j < width; j++, out += KD_PANEL) {
                int64_t at = (i * s->out[1] + j) * s->O + group * p->group_O + first;
                for (int v = 0; v < 2; v++) {
                    int64_t left = p->group_O - first - v * KD_VEC;
                    kd_vec g = {0};
                    if (left > 0) g = kd_vec_load_part(dy.g + at + v * KD_VEC, left);
                    if (left > 0 && dy.y) {
                        kd_vec y = kd_vec_load_part(dy.y + at + v * KD_VEC, left);
                        g = (kd_vec)((kd_vec_mask)g & (y > 0));
                    }
                    kd_vec_store(out + v * KD_VEC, g);
                    sum[v] += g;
                }
            }
        for (int v = 0; v < 2; v++) {
            int64_t left = p->group_O - first - v * KD_VEC;
            kd_real *to = db + group * p->group_O + first + v * KD_VEC;
            if (left > 0) kd_vec_store_part(to, kd_vec_load_part(to, left) + sum[v], left);
        }
    }
}

/* Adds one tile of one group of one image to a part's copy of dw and db. */
static void add_tile(const plan *p, const kd_real *x, kd_conv_source dy, int64_t tile,
                     int64_t group, kd_real *x_scratch, kd_real *dy_scratch, kd_real *part) {
    const kd_conv_shape *s = p->s;
    int64_t i = tile / p->tiles[1] * p->tile[0], j = tile % p->tiles[1] * p->tile[1];
    int64_t height = smaller(p->tile[0], s->out[0] - i), width = smaller(p->tile[1], s->out[1] - j);
    int64_t place = (i * s->out[1] + j) * s->O;
    dy.g += place;
    if (dy.y) dy.y += place;
    pack_dy(p, dy_scratch, dy, height, width, group, part + p->filter * s->O);
    int64_t top = i * s->stride[0] - s->padding[0], left = j * s->stride[1] - s->padding[1];
    const kd_real *a = x_scratch;
    int64_t pitch = p->direct ? s->in[1] : p->span[1];
    if (p->direct)
        a = x + (top * s->in[1] + left) * s->C;
    else
        kd_conv_copy_region(
            x_scratch, (kd_conv_source){x, NULL}, s->in[0], s->in[1], s->C,
            (kd_conv_region){top, left, p->span[0], p->span[1], group * p->group_C, p->group_C});
    for (int64_t row = 0; row < height; row += p->strip)
        kd_window_product_run(&(kd_window_product){.a = a + row * s->stride[0] * pitch * p->group_C,
                                                   .a_at = p->x_at,
                                                   .b = dy_scratch + row * width * KD_PANEL,
                                                   .c = part + group * p->filter * p->group_O,
                                                   .c_at = p->w_at,
                                                   .rows = p->filter,
                                                   .columns = p->group_O,
                                                   .segments = smaller(p->strip, height - row),
                                                   .length = width,
                                                   .a_pitch = s->stride[0] * pitch * p->group_C,
                                                   .a_step = s->stride[1] * p->group_C,
                                                   .b_panel = height * width * KD_PANEL,
                                                   .add = true});
}

/* dw (O, filter) = beta·dw + Σ over the parts, each (groups, filter, O/groups); likewise db. */
static void add_parts(const plan *p, kd_real *parts, kd_real beta_w, kd_real *dw, kd_real beta_b,
                      kd_real *db) {
    int64_t rows = p->s->groups * p->filter;
#pragma omp parallel for if (rows * p->group_O > 4096)
    for (int64_t row = 0; row <= rows; row++) {
        int64_t count = row < rows ? p->group_O : p->s->O;
        kd_real *sum = parts + row * p->group_O;
        for (int64_t part = 1; part < p->parts; part++)
            for (int64_t o = 0; o < count; o++) sum[o] += sum[part * p->part_size + o];
        kd_real *to = row < rows ? dw : db, beta = row < rows ? beta_w : beta_b;
        if (!to) continue;
        int64_t step = row < rows ? p->filter : 1;
        if (row < rows) to += row / p->filter * p->group_O * p->filter + row % p->filter;
        for (int64_t o = 0; o < count; o++)
            to[o * step] = beta != 0 ? to[o * step] + sum[o] : sum[o];
    }
}

void kd_conv_backward_weights(kd_tape *tape, const kd_conv_shape *s, const kd_real *x,
                              kd_conv_source dy, kd_real beta_w, kd_real *dw, kd_real beta_b,
                              kd_real *db) {
    plan p = {.s = s};
    make_plan(tape, &p);
    int64_t x_size = p.span[0] * p.span[1] * p.group_C;
    int64_t panels = (p.group_O + KD_PANEL - 1) / KD_PANEL;
    int64_t dy_size = p.tile[0] * p.tile[1] * panels * KD_PANEL;
    size_t threads = (size_t)omp_get_max_threads();
    kd_real *scratch = kd_tape_take(tape, (size_t)(x_size + dy_size) * threads * sizeof *scratch);
    kd_real *parts = kd_tape_take(tape, (size_t)(p.parts * p.part_size) * sizeof *parts);
    int64_t tiles = p.tiles[0] * p.tiles[1], items = s->B * tiles;
    int64_t x_image = s->in[0] * s->in[1] * s->C, y_image = s->out[0] * s->out[1] * s->O;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < p.parts; i++) {
        kd_real *mine = scratch + omp_get_thread_num() * (x_size + dy_size);
        kd_real *part = parts + i * p.part_size;
        memset(part, 0, (size_t)p.part_size * sizeof *part);
        for (int64_t item = items * i / p.parts; item < items * (i + 1) / p.parts; item++) {
            int64_t image = item / tiles;
            kd_conv_source dy_here = {dy.g + image * y_image, dy.y ? dy.y + image * y_image : NULL};
            for (int64_t group = 0; group < s->groups; group++)
                add_tile(&p, x + image * x_image, dy_here, item % tiles, group, mine, mine + x_size,
                         part);
        }
    }
    add_parts(&p, parts, beta_w, dw, beta_b, db);
    kd_tape_give(tape, parts);
    kd_tape_give(tape, scratch);
    kd_tape_give(tape, p.x_at);
}
