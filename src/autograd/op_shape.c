#include <string.h>

#include "autograd/op_common.h"
#include "autograd/ops.h"

/* Every op here, forward and backward, moves a block of numbers between two places of different
 * strides: for all indices, to[Σ index·to_stride] (+)= from[Σ index·from_stride]. */
typedef struct {
    int rank;
    int64_t shape[KD_MAX_RANK], to_stride[KD_MAX_RANK], from_stride[KD_MAX_RANK];
    int64_t to_offset, from_offset;
} block_move;

static void dense_strides(int64_t *out, int rank, const int64_t *shape) {
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        out[i] = stride;
        stride *= shape[i];
    }
}

/* The same block, moved back. */
static block_move reversed(const block_move *m) {
    block_move back = *m;
    memcpy(back.to_stride, m->from_stride, sizeof back.to_stride);
    memcpy(back.from_stride, m->to_stride, sizeof back.from_stride);
    back.to_offset = m->from_offset;
    back.from_offset = m->to_offset;
    return back;
}

/* One run along the last axis. */
static void move_row(kd_real *restrict to, int64_t to_stride, const kd_real *restrict from,
                     int64_t from_stride, int64_t n, bool adding) {
    if (to_stride == 1 && from_stride == 1) {
        if (adding)
            for (int64_t i = 0; i < n; i++) to[i] += from[i];
        else
            memcpy(to, from, (size_t)n * sizeof *to);
    } else if (adding) {
        for (int64_t i = 0; i < n; i++) to[i * to_stride] += from[i * from_stride];
    } else {
        for (int64_t i = 0; i < n; i++) to[i * to_stride] = from[i * from_stride];
    }
}

/* The same block with neighbouring axes made one where both sides allow it: longer rows. */
static block_move merged(const block_move *m) {
    block_move out = *m;
    int last = 0;
    for (int axis = 1; axis < m->rank; axis++) {
        const int64_t n = m->shape[axis], to = m->to_stride[axis], from = m->from_stride[axis];
        const bool joined = out.to_stride[last] == n * to && out.from_stride[last] == n * from;
        if (!joined) last++;
        out.shape[last] = joined ? out.shape[last] * n : n;
        out.to_stride[last] = to;
        out.from_stride[last] = from;
    }
    out.rank = last + 1;
    return out;
}

/* A row's place follows from its number, so rows can go to any thread. */
static void move_block(kd_real *to, const kd_real *from, const block_move *whole, bool adding) {
    const block_move block = merged(whole), *m = &block;
    const int last = m->rank - 1;
    const int64_t n = m->shape[last];
    int64_t rows = 1;
    for (int axis = 0; axis < last; axis++) rows *= m->shape[axis];
#pragma omp parallel for if (rows * n >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        int64_t to_at = m->to_offset, from_at = m->from_offset, rest = row;
        for (int axis = last - 1; axis >= 0; axis--) {
            const int64_t index = rest % m->shape[axis];
            rest /= m->shape[axis];
            to_at += index * m->to_stride[axis];
            from_at += index * m->from_stride[axis];
        }
        move_row(to + to_at, m->to_stride[last], from + from_at, m->from_stride[last], n, adding);
    }
}

/* Adds the block of ∂y that `forward` had filled from x to ∂x; `whole` when it covers all of x, so
 * that a first contribution can overwrite. */
static void add_block_grad(kd_tape *tape, kd_tensor *x, const kd_real *dy,
                           const block_move *forward, bool whole) {
    const block_move back = reversed(forward);
    kd_real beta = 1;
    kd_real *dx = whole ? kd_tape_grad_beta(tape, x, &beta) : kd_tape_grad(tape, x);
    if (dx) move_block(dx, dy, &back, beta != 0);
}

static void check_axis(const char *op, const kd_tensor *x, int axis) {
    char text[96];
    KD_CONTRACT(axis >= 0 && axis < x->rank, "%s: axis %d of %s", op, axis,
                kd_shape_text(text, sizeof text, x));
}

/* A block of x's shape inside `outer` (of x's rank), dense on both sides; the offset is left 0. */
static block_move inside(const kd_tensor *outer, const kd_tensor *x) {
    block_move m = {.rank = x->rank};
    memcpy(m.shape, x->shape, sizeof m.shape);
    dense_strides(m.to_stride, x->rank, outer->shape);
    dense_strides(m.from_stride, x->rank, x->shape);
    return m;
}

/* --- reshape --------------------------------------------------------------------------------- */

/* ∂x ← ∂x + ∂y */
static void reshape_backward(kd_tape *tape, kd_node *node) {
    const kd_real *restrict dy = node->out->grad;
    KD_ADD_GRAD(tape, node->in[0], dy[i]);
}

/* Tensors are never modified, so y shares x's values. */
kd_tensor *kd_reshape(kd_tape *tape, kd_tensor *x, int rank, const int64_t *shape) {
    KD_CONTRACT(rank >= 1 && rank <= KD_MAX_RANK, "reshape: rank %d", rank);
    kd_tensor *y = kd_tape_alloc(tape, sizeof *y);
    *y = (kd_tensor){.rank = rank, .size = 1, .value = x->value};
    for (int i = 0; i < rank; i++) {
        y->shape[i] = shape[i];
        y->size *= shape[i];
    }
    KD_FIT(y->size == x->size, "reshape", x, y);
    kd_tape_record(tape, "reshape", reshape_backward, y, NULL, 1, &x);
    return y;
}

/* --- transpose ------------------------------------------------------------------------------- */

/* ∂x[index] ← ∂x[index] + ∂y[index in order] */
static void transpose_backward(kd_tape *tape, kd_node *node) {
    add_block_grad(tape, node->in[0], node->out->grad, node->saved, true);
}

kd_tensor *kd_transpose(kd_tape *tape, kd_tensor *x, const int *order) {
    int64_t stride[KD_MAX_RANK];
    block_move *m = kd_tape_alloc(tape, sizeof *m);
    *m = (block_move){.rank = x->rank};
    dense_strides(stride, x->rank, x->shape);
    unsigned seen = 0;
    for (int i = 0; i < x->rank; i++) {
        check_axis("transpose", x, order[i]);
        seen |= 1u << order[i];
        m->shape[i] = x->shape[order[i]];
        m->from_stride[i] = stride[order[i]];
    }
    KD_CONTRACT(seen == (1u << x->rank) - 1, "transpose: an axis comes twice");
    dense_strides(m->to_stride, x->rank, m->shape);
    kd_tensor *y = kd_tape_output(tape, x->rank, m->shape);
    move_block(y->value, x->value, m, false);
    kd_tape_record(tape, "transpose", transpose_backward, y, m, 1, &x);
    return y;
}

/* --- slice ----------------------------------------------------------------------------------- */

/* ∂x[start:stop:step] ← ∂x[start:stop:step] + ∂y */
static void slice_backward(kd_tape *tape, kd_node *node) {
    add_block_grad(tape, node->in[0], node->out->grad, node->saved, false);
}

kd_tensor *kd_slice(kd_tape *tape, kd_tensor *x, int axis, int64_t start, int64_t stop,
                    int64_t step) {
    char text[96];
    check_axis("slice", x, axis);
    KD_CONTRACT(start >= 0 && start < stop && stop <= x->shape[axis] && step >= 1,
                "slice: %lld:%lld:%lld along axis %d of %s", (long long)start, (long long)stop,
                (long long)step, axis, kd_shape_text(text, sizeof text, x));
    block_move *m = kd_tape_alloc(tape, sizeof *m);
    *m = (block_move){.rank = x->rank};
    memcpy(m->shape, x->shape, sizeof m->shape);
    m->shape[axis] = (stop - start + step - 1) / step;
    dense_strides(m->from_stride, x->rank, x->shape);
    dense_strides(m->to_stride, x->rank, m->shape);
    m->from_offset = start * m->from_stride[axis];
    m->from_stride[axis] *= step;
    kd_tensor *y = kd_tape_output(tape, x->rank, m->shape);
    move_block(y->value, x->value, m, false);
    kd_tape_record(tape, "slice", slice_backward, y, m, 1, &x);
    return y;
}

/* --- concat ---------------------------------------------------------------------------------- */

/* ∂a ← ∂a + first part of ∂y,  ∂b ← ∂b + second part */
static void concat_backward(kd_tape *tape, kd_node *node) {
    const block_move *m = node->saved;
    for (int i = 0; i < 2; i++) add_block_grad(tape, node->in[i], node->out->grad, &m[i], true);
}

kd_tensor *kd_concat(kd_tape *tape, kd_tensor *a, kd_tensor *b, int axis) {
    check_axis("concat", a, axis);
    KD_FIT(a->rank == b->rank, "concat", a, b);
    int64_t shape[KD_MAX_RANK];
    for (int i = 0; i < a->rank; i++) {
        KD_FIT(i == axis || a->shape[i] == b->shape[i], "concat", a, b);
        shape[i] = a->shape[i] + (i == axis ? b->shape[i] : 0);
    }
    kd_tensor *y = kd_tape_output(tape, a->rank, shape);
    block_move *m = kd_tape_alloc(tape, 2 * sizeof *m);
    m[0] = inside(y, a);
    m[1] = inside(y, b);
    m[1].to_offset = a->shape[axis] * m[1].to_stride[axis];
    move_block(y->value, a->value, &m[0], false);
    move_block(y->value, b->value, &m[1], false);
    kd_tape_record(tape, "concat", concat_backward, y, m, 2, (kd_tensor *[]){a, b});
    return y;
}

/* --- pad ------------------------------------------------------------------------------------- */

/* ∂x ← ∂x + ∂y without its border */
static void pad_backward(kd_tape *tape, kd_node *node) {
    add_block_grad(tape, node->in[0], node->out->grad, node->saved, true);
}

kd_tensor *kd_pad(kd_tape *tape, kd_tensor *x, int axis, int64_t before, int64_t after) {
    check_axis("pad", x, axis);
    KD_CONTRACT(before >= 0 && after >= 0, "pad: %lld before, %lld after", (long long)before,
                (long long)after);
    int64_t shape[KD_MAX_RANK];
    memcpy(shape, x->shape, sizeof shape);
    shape[axis] += before + after;
    kd_tensor *y = kd_tape_output(tape, x->rank, shape);
    block_move *m = kd_tape_alloc(tape, sizeof *m);
    *m = inside(y, x);
    m->to_offset = before * m->to_stride[axis];
    memset(y->value, 0, (size_t)y->size * sizeof *y->value);
    move_block(y->value, x->value, m, false);
    kd_tape_record(tape, "pad", pad_backward, y, m, 1, &x);
    return y;
}
