#include <stdlib.h>

#include "files/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What the checks let through must be readable to the last byte. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_safetensors *file;
    if (kd_safetensors_decode(&file, bytes, length, "input") < 0) return 0;
    for (int64_t i = 0; i < kd_safetensors_count(file); i++) {
        const kd_safetensors_entry *entry = kd_safetensors_at(file, i);
        if (kd_safetensors_find(file, entry->name) != entry) abort();
        float *values = malloc((size_t)entry->count * sizeof *values);
        if (values) kd_safetensors_read(file, entry, values);
        free(values);
    }
    kd_safetensors_close(file);
    return 0;
}
