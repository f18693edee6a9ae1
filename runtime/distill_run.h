/* Runs a student that `distill export` wrote, in integers alone: what a firmware or an app takes
 * into its own tree. C99 and its string functions, nothing else: no heap, no files, no global
 * state, and no floating point but in distill_run_logits.
 *
 *     static uint64_t arena[MODEL_ARENA / 8];            the size that `distill export --c-array`
 * wrote distill_run *run; distill_run_open(&run, model, sizeof model, arena, sizeof arena);
 *     fill(distill_run_input(run));                      see distill_input.h
 *     distill_run_invoke(run);
 *     int class = distill_run_best(run);
 *
 * The blob may lie in flash and is read where it lies, at any alignment; it must stay there as long
 * as the context is used. Everything in it is checked against its length before use, so a damaged
 * or hostile file is refused and cannot make the runner read or write outside of blob and arena. A
 * context is used by one thread at a time; different contexts know nothing of each other.
 *
 * Format: docs/blob.md. The results have the bits of the network that was trained. From a config to
 * a firmware: docs/deploy.md.
 */
#ifndef DISTILL_RUN_H
#define DISTILL_RUN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most nodes of a network; ResNet-56 has 86. */
#ifndef DISTILL_RUN_NODES
#define DISTILL_RUN_NODES 256
#endif

enum {
    DISTILL_RUN_OK = 0,
    DISTILL_RUN_DAMAGED = -1, /* not a whole GGUF file of version 3, or its keys are not a blob's */
    DISTILL_RUN_GRAPH = -2,   /* the graph says what cannot be, or what this runner does not know */
    DISTILL_RUN_TENSOR = -3,  /* a tensor is missing, of another size, or holds forbidden values  */
    DISTILL_RUN_TOO_LARGE =
        -4,                 /* more nodes than DISTILL_RUN_NODES, or more memory than addresses */
    DISTILL_RUN_ARENA = -5, /* the arena is too small, or not at a multiple of 8               */
    DISTILL_RUN_CHECKSUM = -6, /* the bytes are not those that were written                       */
    DISTILL_RUN_INPUT = -7 /* preprocessing: not a file of this kind, or not one for this model */
};

/* A sentence for people. */
const char *distill_run_error(int status);

typedef struct distill_run distill_run;

/* *bytes: the arena that distill_run_open needs, a multiple of 8. Takes about 25 kB of stack, which
 * an app has; a firmware uses the number that `distill export --c-array` wrote beside the array. */
int distill_run_arena(size_t *bytes, const void *blob, size_t length);

/* Checks the blob and lays out the network in the arena, which *out is part of; there is nothing to
 * close. The arena lies at a multiple of 8. *out is NULL after an error. */
int distill_run_open(distill_run **out, const void *blob, size_t length, void *arena,
                     size_t arena_bytes);

/* Height, width and channels of a sample. */
void distill_run_extent(const distill_run *run, uint32_t size[3]);

/* Where the next sample's h·w·c values go, row by row, channels innermost: u8 = q − qmin on the
 * network's first grid. distill_run_invoke uses the room for other things, so that each sample is
 * written anew. */
uint8_t *distill_run_input(distill_run *run);

/* The grid of the input: stored = clamp(rint(x·(1/scale)), low, high) + zero. */
typedef struct {
    float scale;
    int32_t low, high, zero;
} distill_run_grid;
void distill_run_input_grid(distill_run_grid *grid, const distill_run *run);

/* The network. Every loop of it is bounded by the sizes that distill_run_open checked. */
void distill_run_invoke(distill_run *run);

int distill_run_classes(const distill_run *run);
/* Not 0-terminated: *length bytes in the blob. NULL when there is no such class. */
const char *distill_run_class_name(size_t *length, const distill_run *run, int label);

/* The class with the largest logit, the first of equals, found without floating point. */
int distill_run_best(const distill_run *run);

/* logits (classes), with the bits that the program gives. Uses double. */
void distill_run_logits(const distill_run *run, float *logits);

/* Which products were compiled in: "portable", "smlad", "dotprod", "i8mm" or "avx2". */
const char *distill_run_kernel(void);

/* Multiply-adds of one sample. */
uint64_t distill_run_macs(const distill_run *run);

/* The key `name` of the file, whose kind (a number of GGUF's, of the elements when it is a list)
 * must be `kind`. *count is 1 when it is no list. The value's first byte, or NULL. */
const uint8_t *distill_run_key(uint64_t *count, const void *blob, size_t length, const char *name,
                               uint32_t kind);

/* The file's checksum against its bytes (distill_checksum.c). Any flipped bit is noticed. */
int distill_run_verify(const void *blob, size_t length);

#ifdef __cplusplus
}
#endif

#endif
