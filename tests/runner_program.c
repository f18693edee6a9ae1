/* What runner_probe prints, computed by the program's own inference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/file.h"
#include "quant/blob.h"

static uint64_t add_bits(uint64_t hash, const void *bytes, size_t n) {
    const unsigned char *at = bytes;
    while (n-- > 0) hash = (hash ^ *at++) * 0x100000001b3u;
    return hash;
}

static int probe(kd_blob *blob, const uint8_t *images, size_t bytes, int64_t count) {
    const kd_extent in = kd_blob_input(blob);
    const int64_t size = in.h * in.w * in.c, there = ((int64_t)bytes - 16) / size;
    const int classes = kd_blob_classes(blob);
    const int64_t n = count < there ? count : there;
    float *x = malloc((size_t)(n * size) * sizeof *x);
    float *logits = malloc((size_t)(n * classes) * sizeof *logits);
    unsigned long *seen = calloc((size_t)classes, sizeof *seen);
    if (!x || !logits || !seen) return KD_EINTERNAL;
    kd_normalise_bytes(x, images + 16, n * in.h * in.w, in.c, kd_blob_normaliser(blob));
    int status = kd_blob_run(blob, n, x, logits);
    for (int64_t i = 0; i < n; i++) {
        int best = 0;
        for (int k = 1; k < classes; k++)
            if (logits[i * classes + k] > logits[i * classes + best]) best = k;
        seen[best]++;
    }
    const uint64_t hash =
        add_bits(0xcbf29ce484222325u, logits, sizeof *logits * (size_t)(n * classes));
    printf("%ld pictures, logits %016lx, classes", (long)n, (unsigned long)hash);
    for (int k = 0; k < classes; k++) printf(" %lu", seen[k]);
    printf("\n");
    free(x);
    free(logits);
    free(seen);
    return status;
}

int main(int argc, char **argv) {
    char *images = NULL;
    size_t bytes = 0;
    kd_blob *blob = NULL;
    if (argc < 3) return 64;
    int status = kd_blob_open(&blob, argv[1]);
    if (status == KD_OK) status = kd_file_read(&images, &bytes, argv[2], (size_t)1 << 31);
    if (status == KD_OK && bytes > 16)
        status = probe(blob, (const uint8_t *)images, bytes, argc > 3 ? atol(argv[3]) : 10000);
    if (status < 0) fprintf(stderr, "%s\n", kd_error());
    kd_blob_free(blob);
    free(images);
    return status == KD_OK ? 0 : 1;
}
