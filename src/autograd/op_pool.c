#include <string.h>

#include "autograd/op_common.h"
#include "autograd/ops.h"
#include "autograd/vec.h"
#include "base/order.h"
#include "base/size.h"

/* Max and average pooling go over one image at a time, so that backward may add into overlapping
 * windows without two threads meeting. */
typedef struct {
    int64_t B, C, in[2], out[2], kernel[2], stride[2], padding[2];
} pool_shape;

/* A window begins at (top, left); first … end−1 of it lies in the image. */
typedef struct {
    int64_t top, left, first[2], end[2];
} window;

static window window_at(const pool_shape *s, int64_t i, int64_t j) {
    const int64_t begin[2] = {i * s->stride[0] - s->padding[0], j * s->stride[1] - s->padding[1]};
    window w = {.top = begin[0], .left = begin[1]};
    for (int axis = 0; axis < 2; axis++) {
        const int64_t end = begin[axis] + s->kernel[axis];
        w.first[axis] = begin[axis] > 0 ? begin[axis] : 0;
        w.end[axis] = end < s->in[axis] ? end : s->in[axis];
    }
    return w;
}

static pool_shape make_shape(const char *op, const kd_tensor *x, kd_pool_spec spec) {
    char text[96];
    KD_CONTRACT(x->rank == 4, "%s: x %s", op, kd_shape_text(text, sizeof text, x));
    pool_shape s = {.B = x->shape[0], .C = x->shape[3]};
    for (int i = 0; i < 2; i++) {
        s.in[i] = x->shape[1 + i];
        s.kernel[i] = spec.kernel[i];
        s.stride[i] = spec.stride[i];
        s.padding[i] = spec.padding[i];
        /* No window may lie in the padding altogether. */
        KD_CONTRACT(s.kernel[i] >= 1 && s.stride[i] >= 1 && s.padding[i] >= 0 &&
                        2 * s.padding[i] <= s.kernel[i] &&
                        s.in[i] + 2 * s.padding[i] >= s.kernel[i],
                    "%s: x %s, kernel %lld, stride %lld, padding %lld", op,
                    kd_shape_text(text, sizeof text, x), (long long)s.kernel[i],
                    (long long)s.stride[i], (long long)s.padding[i]);
        s.out[i] = (s.in[i] + 2 * s.padding[i] - s.kernel[i]) / s.stride[i] + 1;
    }
    return s;
}

/* dx of one image: zero when nothing was written to it yet. */
static kd_real *image_grad(const pool_shape *s, kd_real *dx, kd_real beta, int64_t image) {
    const int64_t size = s->in[0] * s->in[1] * s->C;
    dx += image * size;
    if (beta == 0) memset(dx, 0, (size_t)size * sizeof *dx);
    return dx;
}

/* --- max pooling ----------------------------------------------------------------------------- */

/* y = max over the window, NaN if there is one. x (B,H,W,C) → (B,H',W',C)
 *
 *     ∂x ← ∂y at the first position of the window with the maximum
 *
 * Saved: which tap won, for every output. Reading that costs less than finding it again from x and
 * y. */
typedef struct {
    pool_shape shape;
    kd_vec_lane *winner; /* (B,H',W',C): row of the window · KW + column */
} max_pool;

KD_INLINE kd_vec_mask every_lane(int64_t tap) {
    return (kd_vec_mask){0} + (kd_vec_lane)tap;
}

/* One output position, all channels. */
static void max_forward(const max_pool *p, const kd_real *x, int64_t i, int64_t j, kd_real *y,
                        kd_vec_lane *winner) {
    const pool_shape *s = &p->shape;
    const window w = window_at(s, i, j);
    for (int64_t c = 0; c < s->C; c += KD_VEC) {
        const int64_t lanes = kd_smaller(KD_VEC, s->C - c);
        kd_vec best = kd_vec_all(-(kd_real)INFINITY);
        kd_vec_mask best_tap =
            every_lane((w.first[0] - w.top) * s->kernel[1] + w.first[1] - w.left);
        for (int64_t u = w.first[0]; u < w.end[0]; u++)
            for (int64_t v = w.first[1]; v < w.end[1]; v++) {
                const kd_vec value = kd_vec_load_part(x + (u * s->in[1] + v) * s->C + c, lanes);
                const kd_vec_mask tap = every_lane((u - w.top) * s->kernel[1] + v - w.left);
                const kd_vec_mask wins = (value > best) | (value != value);
                best = kd_vec_select(wins, value, best);
                best_tap = (tap & wins) | (best_tap & ~wins);
            }
        kd_vec_store_part(y + c, best, lanes);
        memcpy(winner + c, &best_tap, (size_t)lanes * sizeof *winner);
    }
}

static void max_backward(const max_pool *p, kd_real *dx, int64_t i, int64_t j, const kd_real *dy,
                         const kd_vec_lane *winner) {
    const pool_shape *s = &p->shape;
    const window w = window_at(s, i, j);
    for (int64_t c = 0; c < s->C; c += KD_VEC) {
        const int64_t lanes = kd_smaller(KD_VEC, s->C - c);
        const kd_vec_mask g = (kd_vec_mask)kd_vec_load_part(dy + c, lanes);
        kd_vec_mask best_tap = {0};
        memcpy(&best_tap, winner + c, (size_t)lanes * sizeof *winner);
        for (int64_t u = w.first[0]; u < w.end[0]; u++)
            for (int64_t v = w.first[1]; v < w.end[1]; v++) {
                const kd_vec_mask tap = every_lane((u - w.top) * s->kernel[1] + v - w.left);
                kd_real *to = dx + (u * s->in[1] + v) * s->C + c;
                const kd_vec sum = kd_vec_load_part(to, lanes) + (kd_vec)(g & (best_tap == tap));
                kd_vec_store_part(to, sum, lanes);
            }
    }
}

static void max_pool_backward(kd_tape *tape, kd_node *node) {
    const max_pool *p = node->saved;
    const pool_shape *s = &p->shape;
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, node->in[0], &beta);
    if (!dx) return;
#pragma omp parallel for if (node->in[0]->size >= KD_PARALLEL_SIZE)
    for (int64_t image = 0; image < s->B; image++) {
        kd_real *to = image_grad(s, dx, beta, image);
        int64_t at = image * s->out[0] * s->out[1] * s->C;
        for (int64_t i = 0; i < s->out[0]; i++)
            for (int64_t j = 0; j < s->out[1]; j++, at += s->C)
                max_backward(p, to, i, j, node->out->grad + at, p->winner + at);
    }
}

kd_tensor *kd_max_pool2d(kd_tape *tape, kd_tensor *x, kd_pool_spec spec) {
    max_pool *p = kd_tape_alloc(tape, sizeof *p);
    pool_shape *s = &p->shape;
    *s = make_shape("max_pool2d", x, spec);
    KD_CONTRACT(s->kernel[0] * s->kernel[1] <= INT32_MAX, "max_pool2d: a window of %lld x %lld",
                (long long)s->kernel[0], (long long)s->kernel[1]);
    kd_tensor *y = kd_tape_output(tape, 4, (int64_t[]){s->B, s->out[0], s->out[1], s->C});
    p->winner = kd_tape_alloc(tape, kd_array_bytes(y->size, sizeof *p->winner));
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t image = 0; image < s->B; image++) {
        const kd_real *from = x->value + image * s->in[0] * s->in[1] * s->C;
        int64_t at = image * s->out[0] * s->out[1] * s->C;
        for (int64_t i = 0; i < s->out[0]; i++)
            for (int64_t j = 0; j < s->out[1]; j++, at += s->C)
                max_forward(p, from, i, j, y->value + at, p->winner + at);
    }
    kd_tape_record(tape, "max_pool2d", max_pool_backward, y, p, 1, &x);
    return y;
}

/* --- average pooling ------------------------------------------------------------------------- */

/* y = Σ window / (KH·KW), padding counting as 0. x (B,H,W,C) → (B,H',W',C)
 *
 *     ∂x ← ∂y / (KH·KW) at every position of the window
 *
 * Saved: the shape. */
static void average_forward(const pool_shape *s, const kd_real *x, int64_t i, int64_t j,
                            kd_real *y) {
    const window w = window_at(s, i, j);
    const kd_real share = 1 / (kd_real)(s->kernel[0] * s->kernel[1]);
    for (int64_t c = 0; c < s->C; c += KD_VEC) {
        const int64_t lanes = kd_smaller(KD_VEC, s->C - c);
        kd_vec sum = {0};
        for (int64_t u = w.first[0]; u < w.end[0]; u++)
            for (int64_t v = w.first[1]; v < w.end[1]; v++)
                sum += kd_vec_load_part(x + (u * s->in[1] + v) * s->C + c, lanes);
        kd_vec_store_part(y + c, sum * share, lanes);
    }
}

static void average_backward(const pool_shape *s, kd_real *dx, int64_t i, int64_t j,
                             const kd_real *dy) {
    const window w = window_at(s, i, j);
    const kd_real share = 1 / (kd_real)(s->kernel[0] * s->kernel[1]);
    for (int64_t u = w.first[0]; u < w.end[0]; u++)
        for (int64_t v = w.first[1]; v < w.end[1]; v++) {
            kd_real *restrict to = dx + (u * s->in[1] + v) * s->C;
            for (int64_t c = 0; c < s->C; c++) to[c] += share * dy[c];
        }
}

static void avg_pool_backward(kd_tape *tape, kd_node *node) {
    const pool_shape *s = node->saved;
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, node->in[0], &beta);
    if (!dx) return;
#pragma omp parallel for if (node->in[0]->size >= KD_PARALLEL_SIZE)
    for (int64_t image = 0; image < s->B; image++) {
        kd_real *to = image_grad(s, dx, beta, image);
        const kd_real *dy = node->out->grad + image * s->out[0] * s->out[1] * s->C;
        for (int64_t i = 0; i < s->out[0]; i++)
            for (int64_t j = 0; j < s->out[1]; j++, dy += s->C) average_backward(s, to, i, j, dy);
    }
}

kd_tensor *kd_avg_pool2d(kd_tape *tape, kd_tensor *x, kd_pool_spec spec) {
    pool_shape *s = kd_tape_alloc(tape, sizeof *s);
    *s = make_shape("avg_pool2d", x, spec);
    kd_tensor *y = kd_tape_output(tape, 4, (int64_t[]){s->B, s->out[0], s->out[1], s->C});
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t image = 0; image < s->B; image++) {
        const kd_real *from = x->value + image * s->in[0] * s->in[1] * s->C;
        kd_real *to = y->value + image * s->out[0] * s->out[1] * s->C;
        for (int64_t i = 0; i < s->out[0]; i++)
            for (int64_t j = 0; j < s->out[1]; j++, to += s->C) average_forward(s, from, i, j, to);
    }
    kd_tape_record(tape, "avg_pool2d", avg_pool_backward, y, s, 1, &x);
    return y;
}

/* --- global average pooling ------------------------------------------------------------------ */

/* y[b,c] = Σ_p x[b,p,c] / P. x (B,…,C), P positions → (B,C)
 *
 *     ∂x[b,p,c] ← ∂y[b,c] / P
 *
 * Saved: nothing. */
static void global_avg_pool_backward(kd_tape *tape, kd_node *node) {
    kd_tensor *x = node->in[0];
    const int64_t C = kd_channels(x), positions = kd_rows(x) / x->shape[0];
    const kd_real share = 1 / (kd_real)positions;
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, x, &beta);
    if (!dx) return;
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t image = 0; image < x->shape[0]; image++)
        for (int64_t c = 0; c < C; c += KD_VEC) {
            const int64_t lanes = kd_smaller(KD_VEC, C - c);
            const kd_vec g = share * kd_vec_load_part(node->out->grad + image * C + c, lanes);
            kd_real *to = dx + image * positions * C + c;
            for (int64_t p = 0; p < positions; p++, to += C)
                kd_vec_store_part(to, beta == 0 ? g : kd_vec_load_part(to, lanes) + g, lanes);
        }
}

kd_tensor *kd_global_avg_pool(kd_tape *tape, kd_tensor *x) {
    char text[96];
    KD_CONTRACT(x->rank >= 2, "global_avg_pool: x %s", kd_shape_text(text, sizeof text, x));
    const int64_t B = x->shape[0], C = kd_channels(x), positions = kd_rows(x) / B;
    const kd_real share = 1 / (kd_real)positions;
    kd_tensor *y = kd_tape_output(tape, 2, (int64_t[]){B, C});
#pragma omp parallel for if (x->size >= KD_PARALLEL_SIZE)
    for (int64_t image = 0; image < B; image++)
        for (int64_t c = 0; c < C; c += KD_VEC) {
            const int64_t lanes = kd_smaller(KD_VEC, C - c);
            const kd_real *from = x->value + image * positions * C + c;
            kd_vec sum = {0};
            for (int64_t p = 0; p < positions; p++, from += C) sum += kd_vec_load_part(from, lanes);
            kd_vec_store_part(y->value + image * C + c, sum * share, lanes);
        }
    kd_tape_record(tape, "global_avg_pool", global_avg_pool_backward, y, NULL, 1, &x);
    return y;
}
