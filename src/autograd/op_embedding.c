#include "autograd/op_common.h"
#include "autograd/ops.h"

/* Columns of the table that one thread owns in the backward pass. */
enum { EMBEDDING_TILE = 64 };

typedef struct {
    const int32_t *id;
    int64_t n;
} embedding_record;

/* ∂table[id[i]] ← ∂table[id[i]] + ∂y[i]. An id may come twice, so the threads share columns among
 * them, not rows: every column is summed in the order of i. */
static void embedding_backward(kd_tape *tape, kd_node *node) {
    const embedding_record *record = node->saved;
    const int64_t C = kd_channels(node->out), tiles = (C + EMBEDDING_TILE - 1) / EMBEDDING_TILE;
    kd_real *grad = kd_tape_grad(tape, node->in[0]);
    if (!grad) return;
#pragma omp parallel for if (node->out->size >= KD_PARALLEL_SIZE)
    for (int64_t tile = 0; tile < tiles; tile++) {
        const int64_t begin = tile * EMBEDDING_TILE;
        const int64_t end = begin + EMBEDDING_TILE < C ? begin + EMBEDDING_TILE : C;
        for (int64_t i = 0; i < record->n; i++) {
            kd_real *restrict to = grad + record->id[i] * C;
            const kd_real *restrict from = node->out->grad + i * C;
            for (int64_t c = begin; c < end; c++) to[c] += from[c];
        }
    }
}

/* y[i] = table[id[i]] */
kd_tensor *kd_embedding(kd_tape *tape, kd_tensor *table, const int32_t *id, int64_t n) {
    char shape[96];
    KD_CONTRACT(table->rank == 2 && n >= 1, "embedding: %lld ids into a table %s", (long long)n,
                kd_shape_text(shape, sizeof shape, table));
    const int64_t V = table->shape[0], C = table->shape[1];
    kd_tensor *y = kd_tape_output(tape, 2, (int64_t[]){n, C});
    for (int64_t i = 0; i < n; i++) {
        KD_CONTRACT(id[i] >= 0 && id[i] < V, "embedding: id[%lld] = %d, table %s", (long long)i,
                    (int)id[i], kd_shape_text(shape, sizeof shape, table));
        kd_tensor_read(table, y->value + i * C, id[i], 1);
    }
    embedding_record *record = kd_tape_alloc(tape, sizeof *record);
    *record = (embedding_record){id, n};
    kd_tape_record(tape, "embedding", embedding_backward, y, record, 1, &table);
    return y;
}
