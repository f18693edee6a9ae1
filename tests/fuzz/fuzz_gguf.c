#include <stdlib.h>
#include <string.h>

#include "quant/blob_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Every value and every tensor must be readable to its last byte. */
static uint64_t read_everything(const kd_gguf *file) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < file->key_count; i++) {
        const kd_gguf_key *key = &file->key[i];
        const unsigned char *at = key->value;
        for (uint64_t k = 0; key->element == KD_GGUF_STRING && k < key->count; k++) {
            const kd_gguf_string text = kd_gguf_next_string(&at);
            for (uint64_t c = 0; c < text.length; c++) sum += (unsigned char)text.text[c];
        }
    }
    for (uint64_t i = 0; i < file->tensor_count; i++)
        for (uint64_t k = 0; k < file->tensor[i].bytes; k++) sum += file->tensor[i].data[k];
    return sum;
}

/* What the checks let through must run, if it is small. */
static void run(kd_blob *blob) {
    const kd_extent in = kd_blob_input(blob);
    if (blob->sample_bytes > 1 << 14 || blob->image_bytes > 1 << 20) return;
    float *x = calloc((size_t)(in.h * in.w * in.c), sizeof *x);
    float *logits = calloc((size_t)kd_blob_classes(blob), sizeof *logits);
    if (x && logits) kd_blob_run(blob, 1, x, logits);
    free(x);
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_gguf *file;
    kd_blob *blob;
    if (kd_gguf_parse(&file, bytes, length, "input") < 0) return 0;
    if (read_everything(file) == UINT64_MAX) abort(); /* never; keeps the reads */
    /* With the checksum made right, or no input would ever pass it. */
    const unsigned char *place = kd_gguf_checksum_place(file);
    uint8_t *copy = malloc(length ? length : 1);
    if (place && copy) {
        const uint64_t sum = kd_gguf_checksum(file);
        memcpy(copy, bytes, length);
        memcpy(copy + (place - bytes), &sum, sizeof sum);
        if (kd_blob_parse(&blob, copy, length, "input") == 0) {
            run(blob);
            kd_blob_free(blob);
        }
    }
    free(copy);
    kd_gguf_free(file);
    return 0;
}
