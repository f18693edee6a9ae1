#include "autograd/op_common.h"
#include "autograd/ops.h"

/* Every head of every row of x turned into `out`; `sign` −1 turns back. With `adding`, out ← out +
 * that. */
static void turn(kd_real *out, const kd_real *x, const kd_tensor *shape, const kd_rotary_table *r,
                 kd_real sign, bool adding) {
    const int64_t T = shape->shape[1], C = shape->shape[2], rows = shape->shape[0] * T;
    const int64_t n = r->pairs;
#pragma omp parallel for if (shape->size >= KD_PARALLEL_SIZE)
    for (int64_t row = 0; row < rows; row++) {
        const int64_t angle = row % T * n;
        const kd_real *restrict cosine = r->cosine + angle, *restrict sine = r->sine + angle;
        for (int64_t c = row * C; c < (row + 1) * C; c += 2 * n) {
            const kd_real *restrict in = x + c;
            kd_real *restrict to = out + c;
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                const kd_real a = in[i] * cosine[i] - in[n + i] * (sign * sine[i]);
                const kd_real b = in[n + i] * cosine[i] + in[i] * (sign * sine[i]);
                to[i] = adding ? to[i] + a : a;
                to[n + i] = adding ? to[n + i] + b : b;
            }
        }
    }
}

/* ∂x ← ∂x + ∂y, turned back: a rotation's transpose is its inverse. (A table may scale: the
 * transpose does so too.) */
static void rotary_backward(kd_tape *tape, kd_node *node) {
    kd_real beta;
    kd_real *dx = kd_tape_grad_beta(tape, node->in[0], &beta);
    if (dx) turn(dx, node->out->grad, node->out, node->saved, -1, beta != 0);
}

kd_tensor *kd_rotary(kd_tape *tape, kd_tensor *x, const kd_rotary_table *table) {
    char shape[96];
    KD_CONTRACT(x->rank == 3 && x->shape[2] % (2 * table->pairs) == 0,
                "rotary: heads of %lld channels, %s", (long long)(2 * table->pairs),
                kd_shape_text(shape, sizeof shape, x));
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    kd_rotary_table *record = kd_tape_alloc(tape, sizeof *record);
    *record = *table;
    turn(y->value, x->value, x, record, 1, false);
    kd_tape_record(tape, "rotary", rotary_backward, y, record, 1, &x);
    return y;
}
