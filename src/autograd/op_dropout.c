#include "autograd/op_common.h"
#include "autograd/ops.h"
#include "base/size.h"

/* Element i takes word i mod 4 of the generator's block (first + i/4): a function of the element,
 * not of the thread that asks. The tape's counter moves on by the blocks used. */

typedef struct {
    kd_real scale; /* 1/(1−p) */
    uint8_t *kept; /* (size) of 0/1 */
} dropout_record;

/* ∂x ← ∂x + ∂y ∘ mask/(1−p). Saved: the mask, one byte an element; drawing it again would cost more
 * than reading it. */
static void dropout_backward(kd_tape *tape, kd_node *node) {
    const dropout_record *record = node->saved;
    const kd_real *restrict dy = node->out->grad;
    const uint8_t *restrict kept = record->kept;
    const kd_real scale = record->scale;
    KD_ADD_GRAD(tape, node->in[0], (kd_real)kept[i] * scale * dy[i]);
}

/* y = x ∘ mask/(1−p), mask ~ Bernoulli(1−p) */
kd_tensor *kd_dropout(kd_tape *tape, kd_tensor *x, kd_real p) {
    KD_CONTRACT(p >= 0 && p < 1, "dropout: probability %g is not in [0, 1)", (double)p);
    if (!tape->training || p == 0) return x;
    kd_tensor *y = kd_tape_output(tape, x->rank, x->shape);
    dropout_record *record = kd_tape_alloc(tape, sizeof *record);
    *record = (dropout_record){1 / (1 - p), kd_tape_alloc(tape, kd_array_bytes(x->size, 1))};
    const uint64_t key = tape->rng.key, first = tape->rng.counter;
    const uint32_t threshold = (uint32_t)((double)p * 0x1p32); /* a smaller word is dropped */
    const int64_t size = x->size, blocks = (size + 3) / 4;
    /* In locals: a store to `kept` could otherwise be one to any of them. */
    const kd_real factor[2] = {0, record->scale}, *restrict in = x->value;
    kd_real *restrict out = y->value;
    uint8_t *restrict kept = record->kept;
#pragma omp parallel for if (size >= KD_PARALLEL_SIZE / 8)
    for (int64_t b = 0; b < blocks; b++) {
        uint32_t word[4];
        kd_rng_block(key, first + (uint64_t)b, word);
        const int64_t n = size - 4 * b < 4 ? size - 4 * b : 4;
        for (int64_t j = 0; j < n; j++) {
            kept[4 * b + j] = word[j] >= threshold;
            out[4 * b + j] = factor[kept[4 * b + j]] * in[4 * b + j];
        }
    }
    tape->rng.counter += (uint64_t)blocks;
    kd_tape_record(tape, "dropout", dropout_backward, y, record, 1, &x);
    return y;
}
