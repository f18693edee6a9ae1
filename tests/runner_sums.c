/* Runs blobs with runtime/ alone, each on a few inputs made here, and prints a sum of their logits'
 * bits, for comparison between processors: plain C99 with the C library. usage: runner_sums BLOB...
 * With BLOBS defined it is a firmware for docs/example/cortex_m/start.c: the blobs are in that
 * header (tests/runner_blobs.sh), and a debugger, or qemu, prints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distill_run.h"

enum { INPUTS = 8, ARENA = 1 << 17, CLASSES = 64 };

static uint64_t arena[ARENA / 8];

/* FNV-1a of the logits' bits; 0 when the blob is not run. */
static uint64_t sum_of(const unsigned char *blob, size_t length) {
    uint64_t hash = 0xcbf29ce484222325u;
    uint32_t size[3], seed = 1, i, k;
    static float logits[CLASSES];
    const unsigned char *bytes = (const unsigned char *)logits;
    distill_run_grid grid;
    distill_run *run;
    if (distill_run_verify(blob, length) != DISTILL_RUN_OK ||
        distill_run_open(&run, blob, length, arena, sizeof arena) != DISTILL_RUN_OK ||
        distill_run_classes(run) > CLASSES)
        return 0;
    distill_run_extent(run, size);
    distill_run_input_grid(&grid, run);
    for (i = 0; i < INPUTS; i++) {
        uint8_t *to = distill_run_input(run);
        for (k = 0; k < size[0] * size[1] * size[2]; k++) {
            seed = seed * 1664525u + 1013904223u;
            to[k] = (uint8_t)(grid.low + grid.zero +
                              (int32_t)((seed >> 16) % (uint32_t)(grid.high - grid.low + 1)));
        }
        distill_run_invoke(run);
        distill_run_logits(run, logits);
        for (k = 0; k < 4 * (uint32_t)distill_run_classes(run); k++)
            hash = (hash ^ bytes[k]) * 0x100000001b3u;
    }
    return hash;
}

static void print_sum(uint64_t sum, char line[18]) {
    int i;
    for (i = 0; i < 16; i++) line[i] = "0123456789abcdef"[sum >> (60 - 4 * i) & 15];
    line[16] = '\n';
    line[17] = 0;
}

#ifdef BLOBS
#include BLOBS

/* Semihosting's SYS_WRITE0. */
static void say(const char *line) {
    register int operation __asm__("r0") = 4;
    register const char *text __asm__("r1") = line;
    __asm__ volatile("bkpt 0xab" : "+r"(operation) : "r"(text) : "memory");
}

int main(void) {
    size_t i;
    char line[18];
    for (i = 0; i < sizeof blobs / sizeof *blobs; i++) {
        print_sum(sum_of(blobs[i].bytes, blobs[i].length), line);
        say(line);
    }
    return 0;
}
#else
int main(int argc, char **argv) {
    int i;
    for (i = 1; i < argc; i++) {
        static unsigned char blob[1 << 24];
        char line[18];
        FILE *file = fopen(argv[i], "rb");
        size_t length = file ? fread(blob, 1, sizeof blob, file) : 0;
        if (file) fclose(file);
        print_sum(sum_of(blob, length), line);
        fputs(line, stdout);
    }
    return 0;
}
#endif
