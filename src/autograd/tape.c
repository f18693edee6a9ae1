#include "autograd/tape.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"

/* A block of the pool; the memory it describes follows this 64-byte header. */
typedef struct kd_pool_block {
    size_t bytes;
    struct kd_pool_block *next;
    unsigned char padding[64 - sizeof(size_t) - sizeof(void *)];
} kd_pool_block;

static const size_t ARENA_CHUNK = (size_t)16 << 20;

int kd_tape_create(kd_tape **out, uint64_t seed) {
    kd_tape *tape = calloc(1, sizeof *tape);
    if (!tape) return kd_fail_memory(sizeof *tape, "a tape");
    int status = kd_arena_create(&tape->arena, ARENA_CHUNK);
    if (status < 0) {
        free(tape);
        return status;
    }
    tape->training = tape->recording = true;
    tape->rng = kd_rng_init(seed, 0x74617065);
    *out = tape;
    return KD_OK;
}

void kd_tape_free(kd_tape *tape) {
    if (!tape) return;
    kd_tape_free(tape->inner);
    kd_arena_free(tape->arena);
    free(tape);
}

void kd_tape_reset(kd_tape *tape) {
    kd_arena_reset(tape->arena);
    tape->last = NULL;
    tape->pool = NULL;
    if (tape->inner) kd_tape_reset(tape->inner);
}

size_t kd_tape_reserved(const kd_tape *tape) {
    return kd_arena_reserved(tape->arena) + (tape->inner ? kd_tape_reserved(tape->inner) : 0);
}

/* With a message that is set: to the guard. */
static _Noreturn void escape(kd_tape *tape) {
    while (tape->outer) tape = tape->outer;
    KD_CONTRACT(tape->guarded, "%s, outside kd_tape_guard", kd_error());
    longjmp(tape->escape, 1);
}

kd_tape *kd_tape_inner(kd_tape *tape) {
    if (!tape->inner && kd_tape_create(&tape->inner, 0) < 0) escape(tape);
    kd_tape *inner = tape->inner;
    inner->outer = tape;
    inner->training = tape->training;
    inner->recording = tape->recording;
    inner->precision = tape->precision;
    inner->full_batch = tape->full_batch;
    inner->rng = tape->rng;
    inner->watch = tape->watch;
    kd_tape_reset(inner);
    return inner;
}

void *kd_tape_alloc(kd_tape *tape, size_t bytes) {
    void *memory = kd_arena_alloc(tape->arena, bytes);
    if (memory) return memory;
    kd_fail_memory(bytes, "the tape");
    escape(tape);
}

/* Puts a block into the pool, which is sorted by size. */
static void put_back(kd_tape *tape, kd_pool_block *block) {
    kd_pool_block **link = &tape->pool;
    while (*link && (*link)->bytes < block->bytes) link = &(*link)->next;
    block->next = *link;
    *link = block;
}

/* Leaves the block's first `bytes` to it and puts the rest back as a block of its own. */
static void split(kd_tape *tape, kd_pool_block *block, size_t bytes) {
    const size_t own = (bytes + sizeof *block - 1) / sizeof *block * sizeof *block;
    kd_pool_block *rest = (kd_pool_block *)((char *)(block + 1) + own);
    rest->bytes = block->bytes - own - sizeof *rest;
    block->bytes = own;
    put_back(tape, rest);
}

/* The smallest free block that fits, cut where more than half of it would be wasted; else new
 * memory. */
void *kd_tape_take(kd_tape *tape, size_t bytes) {
    kd_pool_block **link = &tape->pool;
    while (*link && (*link)->bytes < bytes) link = &(*link)->next;
    kd_pool_block *block = *link;
    if (!block) {
        block = kd_tape_alloc(tape, sizeof *block + bytes);
        block->bytes = bytes;
        return block + 1;
    }
    *link = block->next;
    if (block->bytes / 2 > bytes + 2 * sizeof *block) split(tape, block, bytes);
    return block + 1;
}

void kd_tape_give(kd_tape *tape, void *memory) {
    put_back(tape, (kd_pool_block *)memory - 1);
}

static kd_tensor *tensor_create(kd_tape *tape, int rank, const int64_t *shape) {
    KD_CONTRACT(rank >= 1 && rank <= KD_MAX_RANK, "rank %d", rank);
    kd_tensor *x = kd_tape_alloc(tape, sizeof *x);
    *x = (kd_tensor){.rank = rank, .size = 1};
    for (int i = 0; i < rank; i++) {
        KD_CONTRACT(shape[i] >= 1, "axis %d has size %lld", i, (long long)shape[i]);
        x->shape[i] = shape[i];
        x->size *= shape[i];
    }
    x->value = kd_tape_alloc(tape, kd_array_bytes(x->size, sizeof(kd_real)));
    return x;
}

kd_tensor *kd_tape_input(kd_tape *tape, int rank, const int64_t *shape) {
    return tensor_create(tape, rank, shape);
}

kd_tensor *kd_tape_output(kd_tape *tape, int rank, const int64_t *shape) {
    return tensor_create(tape, rank, shape);
}

bool kd_tape_record(kd_tape *tape, const char *op, void (*backward)(kd_tape *, kd_node *),
                    kd_tensor *out, void *saved, int n, kd_tensor *const *in) {
    KD_CONTRACT(n <= KD_MAX_INPUTS, "%s: %d inputs", op, n);
    bool needed = false;
    for (int i = 0; i < n; i++) needed = needed || (in[i] && in[i]->needs_grad);
    if (!tape->recording || !needed) return false;
    for (int i = 0; i < n; i++)
        KD_CONTRACT(!in[i] || !in[i]->constant, "%s: there is no way back through a constant", op);
    kd_tape_push(tape, op, backward, out, saved, n, in);
    return true;
}

void kd_tape_push(kd_tape *tape, const char *op, void (*backward)(kd_tape *, kd_node *),
                  kd_tensor *out, void *saved, int n, kd_tensor *const *in) {
    kd_node *node = kd_tape_alloc(tape, sizeof *node);
    *node = (kd_node){.backward = backward, .op = op, .out = out, .saved = saved};
    for (int i = 0; i < n; i++) node->in[i] = in[i];
    node->previous = tape->last;
    tape->last = node;
    out->needs_grad = true;
}

void kd_tape_grad_room(kd_tape *tape, kd_tensor *x) {
    if (x->needs_grad && !x->grad)
        x->grad = kd_tape_take(tape, kd_array_bytes(x->size, sizeof(kd_real)));
}

kd_real *kd_tape_grad_beta(kd_tape *tape, kd_tensor *x, kd_real *beta) {
    *beta = 0;
    if (!x || !x->needs_grad) return NULL;
    kd_tape_grad_room(tape, x);
    *beta = x->grad_written;
    x->grad_written = true;
    return x->grad;
}

kd_real *kd_tape_grad(kd_tape *tape, kd_tensor *x) {
    kd_real beta;
    kd_real *grad = kd_tape_grad_beta(tape, x, &beta);
    if (grad && beta == 0) memset(grad, 0, (size_t)x->size * sizeof *grad);
    return grad;
}

void kd_tape_backward(kd_tape *tape, kd_tensor *loss) {
    KD_CONTRACT(loss->size == 1, "the loss has %lld elements", (long long)loss->size);
    if (!loss->needs_grad) return;
    *kd_tape_grad(tape, loss) = 1;
    kd_tape_run_back(tape);
}

void kd_tape_run_back(kd_tape *tape) {
    for (kd_node *node = tape->last; node; node = node->previous) {
        kd_tensor *out = node->out;
        if (out->grad && out->grad_written) { /* something downstream used it */
            node->backward(tape, node);
            kd_tape_give(tape, out->grad);
            out->grad = NULL;
            out->grad_written = false;
        }
        if (tape->after.tell) tape->after.tell(tape->after.context, node);
    }
}
