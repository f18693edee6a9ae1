/* Runs a blob over the pictures of an idx file with runtime/ alone and prints what came out, for
 * comparison between processors: plain C99 with the C library.
 * usage: runner_probe BLOB IMAGES [COUNT]     IMAGES: an idx file, not compressed
 * On the standard error: the kernel, the arena, and how many pictures a second by the median of the
 * times that distill_run_invoke took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "distill_input.h"

static unsigned char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        *length = (size_t)ftell(file);
        rewind(file);
        bytes = malloc(*length);
        if (bytes && fread(bytes, 1, *length, file) != *length) *length = 0;
    }
    if (file) fclose(file);
    if (!bytes) fprintf(stderr, "%s: cannot be read\n", path);
    return bytes;
}

/* FNV-1a of the logits' bits. */
static uint64_t add_bits(uint64_t hash, const void *bytes, size_t n) {
    const unsigned char *at = bytes;
    while (n-- > 0) hash = (hash ^ *at++) * 0x100000001b3u;
    return hash;
}

static int compare_times(const void *a, const void *b) {
    const clock_t x = *(const clock_t *)a, y = *(const clock_t *)b;
    return x < y ? -1 : x > y;
}

static int probe(const unsigned char *blob, size_t length, const unsigned char *images,
                 size_t bytes, unsigned long count) {
    uint32_t size[3];
    size_t need = 0;
    uint64_t hash = 0xcbf29ce484222325u;
    unsigned long i, classes[256] = {0};
    static float logits[256];
    static clock_t took[10000];
    distill_picture picture;
    distill_run *run;
    void *arena;
    int status = distill_run_verify(blob, length);
    if (status == DISTILL_RUN_OK) status = distill_run_arena(&need, blob, length);
    arena = malloc(need + 1);
    if (status == DISTILL_RUN_OK) status = distill_run_open(&run, blob, length, arena, need);
    if (status == DISTILL_RUN_OK) status = distill_picture_open(&picture, run, blob, length);
    if (status != DISTILL_RUN_OK || distill_run_classes(run) > 256) {
        fprintf(stderr, "%s\n", distill_run_error(status));
        return 1;
    }
    distill_run_extent(run, size);
    for (i = 0; i < count && 16 + (i + 1) * size[0] * size[1] * size[2] <= bytes; i++) {
        distill_picture_put(&picture, run, images + 16 + i * size[0] * size[1] * size[2]);
        took[i % 10000] = clock();
        distill_run_invoke(run);
        took[i % 10000] = clock() - took[i % 10000];
        distill_run_logits(run, logits);
        hash = add_bits(hash, logits, sizeof *logits * (size_t)distill_run_classes(run));
        classes[distill_run_best(run)]++;
    }
    printf("%lu pictures, logits %08lx%08lx, classes", i, (unsigned long)(hash >> 32),
           (unsigned long)(hash & 0xffffffffu));
    for (i = 0; i < (unsigned long)distill_run_classes(run); i++) printf(" %lu", classes[i]);
    printf("\n");
    qsort(took, i < 10000 ? i : 10000, sizeof *took, compare_times);
    fprintf(stderr, "kernel %s, %lu bytes of arena, %.0f samples/s\n", distill_run_kernel(),
            (unsigned long)need,
            (double)CLOCKS_PER_SEC / ((double)took[(i < 10000 ? i : 10000) / 2] + 1e-9));
    free(arena);
    return 0;
}

int main(int argc, char **argv) {
    size_t length = 0, bytes = 0;
    unsigned char *blob = argc > 2 ? read_file(argv[1], &length) : NULL;
    unsigned char *images = argc > 2 ? read_file(argv[2], &bytes) : NULL;
    int failed = !blob || !images ||
                 probe(blob, length, images, bytes, argc > 3 ? strtoul(argv[3], NULL, 10) : 10000);
    free(blob);
    free(images);
    return failed;
}
