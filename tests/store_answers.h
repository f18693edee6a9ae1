/* Rows of a store from a teacher's answers as they are: packed, then appended. */
#ifndef KD_TESTS_STORE_ANSWERS_H
#define KD_TESTS_STORE_ANSWERS_H

#include <stdlib.h>

#include "base/error.h"
#include "data/store.h"

static inline int append_answers(kd_store_writer *w, const kd_store_header *h, int64_t n,
                                 int64_t view, const uint64_t *id, const int32_t *label,
                                 const float *values) {
    void *packed = malloc(kd_store_packed_bytes(h, n) + 1);
    int status = packed ? KD_OK : kd_fail_memory(1, "answers");
    if (status == KD_OK) status = kd_store_pack(packed, h, n, id, 1, values);
    if (status == KD_OK) status = kd_store_writer_append(w, n, view, id, label, packed);
    free(packed);
    return status;
}

static inline int append_run_answers(kd_store_writer *w, const kd_store_header *h, int64_t view,
                                     uint64_t id, int64_t length, const int32_t *label,
                                     const float *values) {
    void *packed = malloc(kd_store_packed_bytes(h, length) + 1);
    int status = packed ? KD_OK : kd_fail_memory(1, "answers");
    if (status == KD_OK) status = kd_store_pack(packed, h, length, &id, 0, values);
    if (status == KD_OK) status = kd_store_writer_append_run(w, view, id, length, label, packed);
    free(packed);
    return status;
}

#endif
