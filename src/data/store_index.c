/* From a sample and a view to its row. */
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "data/store_inside.h"

/* The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t hash_key(uint64_t id, int64_t view) {
    uint64_t x = id + (uint64_t)(view + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The slot that holds the row of (view, id), or the free one where it belongs. */
static uint64_t find_slot(const kd_store *s, uint64_t id, int64_t view) {
    const uint64_t *ids = s->column[KD_COLUMN_ID];
    const int32_t *views = s->column[KD_COLUMN_VIEW];
    uint64_t at = hash_key(id, view) & s->mask;
    for (;; at = (at + 1) & s->mask) {
        const uint32_t row = s->slot[at];
        if (row == KD_STORE_FREE || (ids[row] == id && views[row] == view)) return at;
    }
}

int64_t kd_store_find(const kd_store *s, uint64_t id, int64_t view) {
    const uint32_t row = s->slot[find_slot(s, id, view)];
    return row == KD_STORE_FREE ? -1 : (int64_t)row;
}

int kd_store_index(kd_store *s) {
    uint64_t size = 2;
    if (s->rows >= (int64_t)KD_STORE_FREE)
        return kd_fail(KD_EDATA, "%s: %lld rows, more than the %lld that can be told apart",
                       s->path, (long long)s->rows, (long long)KD_STORE_FREE - 1);
    while (size < 2 * (uint64_t)s->rows) size *= 2;
    s->slot = malloc(kd_array_bytes((int64_t)size, sizeof *s->slot));
    if (!s->slot) return kd_fail_memory(size * sizeof *s->slot, "the index of the teacher store");
    for (uint64_t i = 0; i < size; i++) s->slot[i] = KD_STORE_FREE;
    s->mask = size - 1;
    for (int64_t row = 0; row < s->rows; row++) {
        const uint64_t id = ((uint64_t *)s->column[KD_COLUMN_ID])[row];
        const int32_t view = ((int32_t *)s->column[KD_COLUMN_VIEW])[row];
        const uint64_t at = find_slot(s, id, view);
        if (s->slot[at] != KD_STORE_FREE)
            return kd_fail(KD_EDATA, "%s: has two rows of sample %llu, view %d", s->path,
                           (unsigned long long)id, (int)view);
        s->slot[at] = (uint32_t)row;
    }
    return KD_OK;
}
