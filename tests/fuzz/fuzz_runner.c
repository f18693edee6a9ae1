/* runtime/: any bytes, in a piece of the heap as long as they are, with an arena as long as the
 * runner says; what it takes, it runs. */
#include <stdlib.h>
#include <string.h>

#include "distill_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { ARENA_MAX = 1 << 16 };
static const uint64_t MACS_MAX = 1 << 20;

static void run(distill_run *r) {
    uint32_t in[3];
    size_t name = 0;
    distill_run_extent(r, in);
    const size_t size = (size_t)in[0] * in[1] * in[2];
    const int classes = distill_run_classes(r);
    if (distill_run_macs(r) > MACS_MAX || size > ARENA_MAX || classes > ARENA_MAX) return;
    float *logits = malloc((size_t)classes * sizeof *logits);
    for (size_t i = 0; i < size; i++) distill_run_input(r)[i] = (uint8_t)(i * 37);
    distill_run_invoke(r);
    if (logits) distill_run_logits(r, logits);
    free(logits);
    const char *best = distill_run_class_name(&name, r, distill_run_best(r));
    char *copy = malloc(name + 1);
    if (copy) memcpy(copy, best, name);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    size_t need = 0;
    distill_run *r;
    distill_run_verify(bytes, length);
    if (distill_run_arena(&need, bytes, length) != DISTILL_RUN_OK || need > ARENA_MAX) return 0;
    void *arena = malloc(need);
    if (arena && distill_run_open(&r, bytes, length, arena, need) == DISTILL_RUN_OK) run(r);
    free(arena);
    return 0;
}
