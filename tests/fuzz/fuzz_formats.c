/* Blocks of every number format: any bytes decode, any numbers encode, with any importance, and
 * what was encoded decodes. Nothing else is asked of numbers that are none. */
#include <stdlib.h>
#include <string.h>

#include "files/formats/number_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { BLOCKS = 3 };

/* The input again and again, `size` bytes of it from `from` on. */
static void repeat(void *out, size_t size, const uint8_t *bytes, size_t length, size_t from) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)out)[i] = bytes[(from + i) % length];
}

static void try_format(const kd_number_format *format, const uint8_t *bytes, size_t length) {
    const int64_t n = format->block ? (int64_t)BLOCKS * format->block : 77;
    const size_t size = (size_t)kd_number_format_bytes(format, n),
                 floats = (size_t)n * sizeof(float);
    unsigned char *block = malloc(size);
    float *x = malloc(floats), *weight = malloc(floats), *back = malloc(floats);
    if (!block || !x || !weight || !back) abort();
    repeat(block, size, bytes, length, 0);
    repeat(x, floats, bytes, length, 0);
    repeat(weight, floats, bytes, length, 3);
    format->decode(back, block, n);
    for (int way = 0; way < 2 && format->encode; way++) {
        format->encode(block, x, way ? weight : NULL, n);
        format->decode(back, block, n);
    }
    if (format->grid) format->grid->scales(x, weight, block, n);
    free(block);
    free(x);
    free(weight);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    int count = 0;
    while (kd_number_format_at(count)) count++;
    if (length >= 2) try_format(kd_number_format_at(bytes[0] % count), bytes + 1, length - 1);
    return 0;
}
