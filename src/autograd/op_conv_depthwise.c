#include <omp.h>
#include <string.h>

#include "autograd/conv_kernels.h"
#include "base/order.h"
#include "base/size.h"

/* Depthwise convolution: every channel has a filter of its own, so there is no product to make of
 * it and the channels of a pixel go side by side through the registers.
 *
 *     y[b,i,j,c] = act(bias[c] + Σ_{u,v} x[b, i·s−p+u, j·s−p+v, c] · w[c,u,v])
 *     da = dy where y > 0 (all of dy without an activation)
 *     dx[b, i·s−p+u, j·s−p+v, c] ← da[b,i,j,c] · w[c,u,v]   over all i, j, u, v
 *     dw[c,u,v]                  ← Σ_{b,i,j} da[b,i,j,c] · x[b, i·s−p+u, j·s−p+v, c]
 *     dbias[c]                   ← Σ_{b,i,j} da[b,i,j,c]
 *
 * Weights and their gradient are turned to (KH,KW,C) for the loops. The gradients of the weights
 * are summed over parts of the batch that depend on the shape alone, then over the parts in order.
 */
#pragma GCC optimize("fp-contract=fast")

enum { PARTS = 16, ABREAST = 4 /* pixels whose sums are in registers */ };

/* The taps first … end−1 of the window at an output position that lie in the image, along one
 * axis. */
typedef struct {
    int64_t from, first, end; /* from: the input position of tap 0 */
} taps;

static taps taps_at(const kd_conv_shape *s, int axis, int64_t position) {
    taps t = {.from = position * s->stride[axis] - s->padding[axis]};
    t.first = t.from < 0 ? -t.from : 0;
    t.end = s->in[axis] - t.from < s->kernel[axis] ? s->in[axis] - t.from : s->kernel[axis];
    return t;
}

/* out (KH,KW,C) = w (C,KH,KW) */
static void turn_weights(const kd_conv_shape *s, kd_real *out, const kd_real *w) {
    const int64_t filter = s->kernel[0] * s->kernel[1];
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t k = 0; k < filter; k++) out[k * s->C + c] = w[c * filter + k];
}

/* `count` results (1 or ABREAST) from column j on, of the channels from c on; the window of each
 * has the taps u × v. Abreast, a weight is read once for all of them. */
KD_INLINE void forward_pixels(const kd_conv_shape *s, const kd_real *x, const kd_real *w,
                              const kd_real *bias, taps u, taps v, int64_t c, int64_t lanes,
                              bool add, const int count, kd_real *y) {
    kd_vec sum[ABREAST];
    for (int n = 0; n < count; n++) {
        sum[n] = (kd_vec){0};
        if (bias) sum[n] = kd_vec_load_part(bias + c, lanes);
        if (add) sum[n] = kd_vec_load_part(y + n * s->C + c, lanes);
    }
    for (int64_t a = u.first; a < u.end; a++)
        for (int64_t b = v.first; b < v.end; b++) {
            const kd_real *from = x + ((u.from + a) * s->in[1] + v.from + b) * s->C + c;
            const kd_vec weight = kd_vec_load_part(w + (a * s->kernel[1] + b) * s->C + c, lanes);
#pragma GCC unroll 4
            for (int n = 0; n < count; n++)
                sum[n] += kd_vec_load_part(from + n * s->stride[1] * s->C, lanes) * weight;
        }
    for (int n = 0; n < count; n++) {
        if (s->act == KD_ACT_RELU) sum[n] = kd_vec_relu(sum[n]);
        kd_vec_store_part(y + n * s->C + c, sum[n], lanes);
    }
}

/* Whether the window of this column lies in the image. */
static bool is_whole(const kd_conv_shape *s, int64_t j) {
    const taps v = taps_at(s, 1, j);
    return v.first == 0 && v.end == s->kernel[1];
}

/* Row i of y, (out[1], C); added to it with `add`. */
static void forward_row(const kd_conv_shape *s, const kd_real *x, const kd_real *w,
                        const kd_real *bias, int64_t i, bool add, kd_real *y) {
    const taps u = taps_at(s, 0, i);
    for (int64_t j = 0; j < s->out[1];) {
        const bool abreast =
            j + ABREAST <= s->out[1] && is_whole(s, j) && is_whole(s, j + ABREAST - 1);
        const taps v = taps_at(s, 1, j);
        kd_real *to = y + j * s->C;
        int64_t c = 0;
        for (; abreast && c + KD_VEC <= s->C; c += KD_VEC)
            forward_pixels(s, x, w, bias, u, v, c, KD_VEC, add, ABREAST, to);
        for (int64_t n = 0; n < (abreast ? ABREAST : 1); n++)
            for (int64_t rest = c; rest < s->C; rest += KD_VEC)
                forward_pixels(s, x, w, bias, u, taps_at(s, 1, j + n), rest,
                               kd_smaller(KD_VEC, s->C - rest), add, 1, to + n * s->C);
        j += abreast ? ABREAST : 1;
    }
}

void kd_conv_depthwise_forward(kd_tape *tape, const kd_conv_shape *s, const kd_real *x,
                               const kd_real *w, const kd_real *bias, kd_real *y) {
    kd_real *turned =
        kd_tape_take(tape, kd_array_bytes(s->C * s->kernel[0] * s->kernel[1], sizeof *turned));
    turn_weights(s, turned, w);
#pragma omp parallel for
    for (int64_t row = 0; row < s->B * s->out[0]; row++)
        forward_row(s, x + row / s->out[0] * s->in[0] * s->in[1] * s->C, turned, bias,
                    row % s->out[0], false, y + row * s->out[1] * s->C);
    kd_tape_give(tape, turned);
}

/* The same sums, in the same order, as a convolution of dy with the filter turned around: where the
 * stride is 1 and the padding less than the filter. */
static bool turns_around(const kd_conv_shape *s) {
    return s->stride[0] == 1 && s->stride[1] == 1 && s->padding[0] < s->kernel[0] &&
           s->padding[1] < s->kernel[1];
}

static kd_conv_shape turned_around(const kd_conv_shape *s) {
    kd_conv_shape t = *s;
    t.act = KD_ACT_NONE;
    for (int i = 0; i < 2; i++) {
        t.in[i] = s->out[i];
        t.out[i] = s->in[i];
        t.padding[i] = s->kernel[i] - 1 - s->padding[i];
    }
    return t;
}

/* Of (KH,KW,C), the taps from the last to the first. */
static void reverse_taps(const kd_conv_shape *s, kd_real *w) {
    const int64_t filter = s->kernel[0] * s->kernel[1];
    for (int64_t k = 0; k < filter / 2; k++)
        for (int64_t c = 0; c < s->C; c++) {
            kd_real *a = w + k * s->C + c, *b = w + (filter - 1 - k) * s->C + c, old = *a;
            *a = *b;
            *b = old;
        }
}

/* dx of one image, which holds its old value or zeros, from dy of it. */
static void backward_input(const kd_conv_shape *s, kd_real *dx, const kd_real *w,
                           const kd_real *dy) {
    for (int64_t i = 0; i < s->out[0]; i++) {
        const taps u = taps_at(s, 0, i);
        for (int64_t j = 0; j < s->out[1]; j++, dy += s->C) {
            const taps v = taps_at(s, 1, j);
            for (int64_t a = u.first; a < u.end; a++)
                for (int64_t b = v.first; b < v.end; b++) {
                    const kd_real *restrict factor = w + (a * s->kernel[1] + b) * s->C;
                    kd_real *restrict to = dx + ((u.from + a) * s->in[1] + v.from + b) * s->C;
                    for (int64_t c = 0; c < s->C; c++) to[c] += dy[c] * factor[c];
                }
        }
    }
}

/* Adds `count` (1 or 3) taps of one row of a filter, from b on, over the columns [first, end) of dy
 * where all of them lie in the image. */
KD_INLINE void add_taps(const kd_conv_shape *s, kd_real *dw, const kd_real *x, const kd_real *dy,
                        int64_t lanes, int64_t first, int64_t end, const int count) {
    kd_vec sum[3];
    for (int n = 0; n < count; n++) sum[n] = kd_vec_load_part(dw + n * s->C, lanes);
    for (int64_t j = first; j < end; j++) {
        const kd_vec g = kd_vec_load_part(dy + j * s->C, lanes);
        const kd_real *from = x + (j * s->stride[1] - s->padding[1]) * s->C;
#pragma GCC unroll 3
        for (int n = 0; n < count; n++) sum[n] += g * kd_vec_load_part(from + n * s->C, lanes);
    }
    for (int n = 0; n < count; n++) kd_vec_store_part(dw + n * s->C, sum[n], lanes);
}

/* Columns of dy whose tap b lies in the image: [*first, *end). */
static void columns_of(const kd_conv_shape *s, int64_t b, int64_t *first, int64_t *end) {
    const int64_t before = s->padding[1] - b, last = s->in[1] - 1 + before;
    *first = before > 0 ? kd_smaller((before + s->stride[1] - 1) / s->stride[1], s->out[1]) : 0;
    *end = last < 0 ? 0 : kd_smaller(last / s->stride[1] + 1, s->out[1]);
    if (*end < *first) *end = *first;
}

/* One row of dy and one row of the filter: three taps at a time in the columns that all of them
 * have, and one at a time in those to the left and right of these. */
static void add_filter_row(const kd_conv_shape *s, kd_real *dw, const kd_real *x, const kd_real *dy,
                           int64_t lanes) {
    for (int64_t b = 0; b < s->kernel[1];) {
        const int64_t count = b + 3 <= s->kernel[1] ? 3 : 1;
        int64_t first[3], end[3], left = 0, right = s->out[1];
        for (int64_t n = 0; n < count; n++) {
            columns_of(s, b + n, &first[n], &end[n]);
            left = first[n] > left ? first[n] : left;
            right = kd_smaller(right, end[n]);
        }
        right = right < left ? left : right;
        for (int64_t n = 0; n < count; n++)
            add_taps(s, dw + (b + n) * s->C, x + (b + n) * s->C, dy, lanes, first[n],
                     kd_smaller(left, end[n]), 1);
        if (count == 3)
            add_taps(s, dw + b * s->C, x + b * s->C, dy, lanes, left, right, 3);
        else
            add_taps(s, dw + b * s->C, x + b * s->C, dy, lanes, left, right, 1);
        for (int64_t n = 0; n < count; n++)
            add_taps(s, dw + (b + n) * s->C, x + (b + n) * s->C, dy, lanes,
                     right > first[n] ? right : first[n], end[n], 1);
        b += count;
    }
}

/* Adds one image to dw (KH,KW,C) and db (C). */
static void backward_weights(const kd_conv_shape *s, kd_real *dw, kd_real *restrict db,
                             const kd_real *x, const kd_real *restrict dy) {
    for (int64_t i = 0; i < s->out[0]; i++, dy += s->out[1] * s->C) {
        const taps u = taps_at(s, 0, i);
        for (int64_t j = 0; j < s->out[1]; j++)
            for (int64_t c = 0; c < s->C; c++) db[c] += dy[j * s->C + c];
        for (int64_t a = u.first; a < u.end; a++)
            for (int64_t c = 0; c < s->C; c += KD_VEC)
                add_filter_row(s, dw + a * s->kernel[1] * s->C + c,
                               x + (u.from + a) * s->in[1] * s->C + c, dy + c,
                               kd_smaller(KD_VEC, s->C - c));
    }
}

/* dw (C,KH,KW) and db (C), with beta, from the sums of the parts, (KH·KW + 1, C) each. */
static void add_parts(const kd_conv_shape *s, const kd_real *sums, int64_t parts, kd_real beta_w,
                      kd_real *dw, kd_real beta_b, kd_real *db) {
    const int64_t filter = s->kernel[0] * s->kernel[1];
    for (int64_t k = 0; k <= filter; k++)
        for (int64_t c = 0; c < s->C; c++) {
            kd_real sum = 0;
            for (int64_t part = 0; part < parts; part++)
                sum += sums[(part * (filter + 1) + k) * s->C + c];
            if (k < filter && dw) dw[c * filter + k] = beta_w != 0 ? dw[c * filter + k] + sum : sum;
            if (k == filter && db) db[c] = beta_b != 0 ? db[c] + sum : sum;
        }
}

void kd_conv_depthwise_backward(kd_tape *tape, const kd_conv_shape *s, const kd_real *x,
                                const kd_real *w, kd_conv_source dy, const kd_conv_gradients *out) {
    const kd_conv_image x_image = {s->in[0], s->in[1], s->C};
    const kd_conv_image y_image = {s->out[0], s->out[1], s->C};
    const int64_t filter = s->kernel[0] * s->kernel[1], part_size = (filter + 1) * s->C;
    const int64_t parts = kd_smaller(PARTS, s->B), x_size = s->in[0] * s->in[1] * s->C;
    const int64_t y_size = s->out[0] * s->out[1] * s->C, threads = omp_get_max_threads();
    kd_real *turned = kd_tape_take(tape, kd_array_bytes(filter * s->C, sizeof *turned));
    kd_real *sums = kd_tape_take(tape, kd_array_bytes(parts * part_size, sizeof *sums));
    kd_real *scratch = kd_tape_take(tape, kd_array_bytes(y_size * threads, sizeof *scratch));
    turn_weights(s, turned, w);
    const bool reversed = turns_around(s);
    const kd_conv_shape around = turned_around(s);
    if (reversed) reverse_taps(s, turned);
    memset(sums, 0, (size_t)(parts * part_size) * sizeof *sums);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t part = 0; part < parts; part++) {
        kd_real *da = scratch + omp_get_thread_num() * y_size, *sum = sums + part * part_size;
        for (int64_t b = s->B * part / parts; b < s->B * (part + 1) / parts; b++) {
            kd_conv_copy_region(da, kd_conv_image_at(dy, y_image, b), y_image,
                                (kd_conv_region){0, 0, y_image.H, y_image.W, 0, s->C});
            const kd_conv_source image = kd_conv_image_at((kd_conv_source){x, NULL}, x_image, b);
            if (out->w || out->b) backward_weights(s, sum, sum + filter * s->C, image.g, da);
            if (!out->x) continue;
            kd_real *dx = out->x + b * x_size;
            for (int64_t i = 0; reversed && i < s->in[0]; i++)
                forward_row(&around, da, turned, NULL, i, out->beta_x != 0,
                            dx + i * s->in[1] * s->C);
            if (reversed) continue;
            if (out->beta_x == 0) memset(dx, 0, (size_t)x_size * sizeof *dx);
            backward_input(s, dx, turned, da);
        }
    }
    add_parts(s, sums, parts, out->beta_w, out->w, out->beta_b, out->b);
    kd_tape_give(tape, scratch);
    kd_tape_give(tape, sums);
    kd_tape_give(tape, turned);
}
