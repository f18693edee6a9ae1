/* Sums over whole tensors. Partial sums belong to tiles whose size is fixed, and are combined in
 * the tiles' order, so no bit depends on the number of threads. */
#include "autograd/op_common.h"
#include "autograd/ops.h"
#include "base/size.h"

enum { MEAN_TILE = 1 << 14, COLUMN_TILE = 256 };

static int64_t tile_count(int64_t size, int64_t tile) {
    return (size + tile - 1) / tile;
}

/* ∂x[i] ← ∂x[i] + ∂y/size */
static void mean_backward(kd_tape *tape, kd_node *node) {
    const kd_real share = *node->out->grad / (kd_real)node->in[0]->size;
    KD_ADD_GRAD(tape, node->in[0], share);
}

/* y = Σ x / size */
kd_tensor *kd_mean(kd_tape *tape, kd_tensor *x) {
    kd_tensor *y = kd_tape_output(tape, 1, (int64_t[]){1});
    const int64_t size = x->size, tiles = tile_count(size, MEAN_TILE);
    double *part = kd_tape_take(tape, kd_array_bytes(tiles, sizeof *part));
#pragma omp parallel for if (size >= KD_PARALLEL_SIZE)
    for (int64_t t = 0; t < tiles; t++) {
        int64_t begin = t * MEAN_TILE, n = size - begin < MEAN_TILE ? size - begin : MEAN_TILE;
        part[t] = kd_row_sum(x->value + begin, n);
    }
    double sum = 0;
    for (int64_t t = 0; t < tiles; t++) sum += part[t];
    kd_tape_give(tape, part);
    y->value[0] = (kd_real)(sum / (double)size);
    kd_tape_record(tape, "mean", mean_backward, y, NULL, 1, &x);
    return y;
}

/* Each tile of rows is summed in kd_real, column by column side by side (which vectorises); the
 * tiles' sums are added in double. */
void kd_add_column_sums(kd_tape *tape, kd_tensor *b, const kd_real *x, int64_t rows) {
    kd_real beta;
    kd_real *grad = kd_tape_grad_beta(tape, b, &beta);
    if (!grad) return;
    const int64_t C = b->size, tiles = tile_count(rows, COLUMN_TILE);
    kd_real *part = kd_tape_take(tape, kd_array_bytes(tiles * C, sizeof *part));
#pragma omp parallel for if (rows * C >= KD_PARALLEL_SIZE)
    for (int64_t t = 0; t < tiles; t++) {
        int64_t end = (t + 1) * COLUMN_TILE < rows ? (t + 1) * COLUMN_TILE : rows;
        kd_real *restrict sum = part + t * C;
        for (int64_t c = 0; c < C; c++) sum[c] = 0;
        for (int64_t row = t * COLUMN_TILE; row < end; row++) {
            const kd_real *restrict in = x + row * C;
#pragma omp simd
            for (int64_t c = 0; c < C; c++) sum[c] += in[c];
        }
    }
#pragma omp parallel for if (tiles * C >= KD_PARALLEL_SIZE)
    for (int64_t c = 0; c < C; c++) {
        double sum = 0;
        for (int64_t t = 0; t < tiles; t++) sum += (double)part[t * C + c];
        grad[c] = (kd_real)sum + (beta == 0 ? 0 : grad[c]);
    }
    kd_tape_give(tape, part);
}
