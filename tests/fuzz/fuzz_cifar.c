#include <stdlib.h>

#include "data/dataset_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    int64_t count;
    if (kd_cifar_count(&count, (int64_t)length, "input") < 0) return 0;
    int32_t *label = malloc((size_t)count * sizeof *label);
    uint8_t *pixels = malloc((size_t)count * KD_CIFAR_PIXELS);
    if (label && pixels) kd_cifar_decode(label, pixels, bytes, count, "input");
    free(label);
    free(pixels);
    return 0;
}
