#include <stdlib.h>

#include "data/dataset_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    for (int rank = 1; rank <= KD_IDX_RANK_MAX; rank += 2) {
        kd_idx idx;
        kd_idx_decode(&idx, rank, bytes, length, "input");
        free(idx.values);
    }
    return 0;
}
