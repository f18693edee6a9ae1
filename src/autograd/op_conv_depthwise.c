#include <omp.h>
#include <string.h>

#include "autograd/conv_kernels.h"

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

enum { PARTS = 16 };

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

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* out (KH,KW,C) = w (C,KH,KW) */
static void turn_weights(const kd_conv_shape *s, kd_real *out, const kd_real *w) {
    const int64_t filter = s->kernel[0] * s->kernel[1];
    for (int64_t c = 0; c < s->C; c++)
        for (int64_t k = 0; k < filter; k++) out[k * s->C + c] = w[c * filter + k];
}

static void forward_row(const kd_conv_shape *s, const kd_real *x, const kd_real *w,
                        const kd_real *bias, int64_t i, kd_real *y) {
    const taps u = taps_at(s, 0, i);
    for (int64_t j = 0; j < s->out[1]; j++, y += s->C) {
        const taps v = taps_at(s, 1, j);
        for (int64_t c = 0; c < s->C; c += KD_VEC) {
            const int64_t lanes = smaller(KD_VEC, s->C - c);
            kd_vec sum = {0};
            if (bias) sum = kd_vec_load_part(bias + c, lanes);
            for (int64_t a = u.first; a < u.end; a++)
                for (int64_t b = v.first; b < v.end; b++) {
                    const int64_t pixel = (u.from + a) * s->in[1] + v.from + b;
                    sum += kd_vec_load_part(x + pixel * s->C + c, lanes) *
                           kd_vec_load_part(w + (a * s->kernel[1] + b) * s->C + c, lanes);
                }
            if (s->act == KD_ACT_RELU) sum = kd_vec_relu(sum);
            kd_vec_store_part(y + c, sum, lanes);
        }
    }
}

void kd_conv_depthwise_forward(kd_tape *tape, const kd_conv_shape *s, const kd_real *x,
                               const kd_real *w, const kd_real *bias, kd_real *y) {
    kd_real *turned =
        kd_tape_take(tape, (size_t)(s->C * s->kernel[0] * s->kernel[1]) * sizeof *turned);
    turn_weights(s, turned, w);
#pragma omp parallel for
    for (int64_t row = 0; row < s->B * s->out[0]; row++)
        forward_row(s, x + row / s->out[0] * s->in[0] * s->in[1] * s->C, turned, bias,
                    row % s->out[0], y + row * s->out[1] * s->C);
    kd_tape_give(tape, turned);
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

/* Adds one image to dw (KH,KW,C) and db (C). */
static void backward_weights(const kd_conv_shape *s, kd_real *restrict dw, kd_real *restrict db,
                             const kd_real *restrict x, const kd_real *restrict dy) {
    for (int64_t i = 0; i < s->out[0]; i++) {
        const taps u = taps_at(s, 0, i);
        for (int64_t j = 0; j < s->out[1]; j++, dy += s->C) {
            const taps v = taps_at(s, 1, j);
            for (int64_t c = 0; c < s->C; c++) db[c] += dy[c];
            for (int64_t a = u.first; a < u.end; a++)
                for (int64_t b = v.first; b < v.end; b++) {
                    kd_real *to = dw + (a * s->kernel[1] + b) * s->C;
                    const kd_real *from = x + ((u.from + a) * s->in[1] + v.from + b) * s->C;
                    for (int64_t c = 0; c < s->C; c++) to[c] += dy[c] * from[c];
                }
        }
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
    const int64_t parts = smaller(PARTS, s->B), x_size = s->in[0] * s->in[1] * s->C;
    const int64_t y_size = s->out[0] * s->out[1] * s->C, threads = omp_get_max_threads();
    kd_real *turned = kd_tape_take(tape, (size_t)(filter * s->C) * sizeof *turned);
    kd_real *sums = kd_tape_take(tape, (size_t)(parts * part_size) * sizeof *sums);
    kd_real *scratch = kd_tape_take(tape, (size_t)(y_size * threads) * sizeof *scratch);
    turn_weights(s, turned, w);
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
            if (out->beta_x == 0) memset(dx, 0, (size_t)x_size * sizeof *dx);
            backward_input(s, dx, turned, da);
        }
    }
    add_parts(s, sums, parts, out->beta_w, out->w, out->beta_b, out->b);
    kd_tape_give(tape, scratch);
    kd_tape_give(tape, sums);
    kd_tape_give(tape, turned);
}
