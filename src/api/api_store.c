/* The teacher store of distill.h. */
#include "base/error.h"
#include "base/size.h"
#include "data/store.h"
#include "distill.h"

#include <stdlib.h>

struct distill_store {
    kd_store *store;
};

int distill_store_open(distill_store **out, const char *path) {
    distill_store *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, "a store");
    int status = kd_store_open(&s->store, path);
    if (status < 0) {
        free(s);
        return status;
    }
    *out = s;
    return KD_OK;
}

void distill_store_close(distill_store *store) {
    if (!store) return;
    kd_store_free(store->store);
    free(store);
}

distill_store_info distill_store_describe(const distill_store *store) {
    static const distill_store_kind kinds[] = {[KD_STORE_DENSE] = DISTILL_STORE_DENSE,
                                               [KD_STORE_TOPK] = DISTILL_STORE_TOPK,
                                               [KD_STORE_HIDDEN] = DISTILL_STORE_HIDDEN,
                                               [KD_STORE_SAMPLED] = DISTILL_STORE_SAMPLED};
    const kd_store_header *h = kd_store_describe(store->store);
    return (distill_store_info){.kind = kinds[h->kind],
                                .rows = kd_store_rows(store->store),
                                .positions = kd_store_positions(store->store),
                                .views = h->views,
                                .classes = h->classes,
                                .k = h->kind == KD_STORE_SAMPLED ? h->draws : h->k,
                                .teacher = h->teacher.hex,
                                .data = h->data.hex,
                                .description = h->description};
}

int64_t distill_store_length(const distill_store *store, int64_t view, uint64_t id) {
    const int64_t views = kd_store_describe(store->store)->views;
    if (view < 0 || view >= views)
        return kd_fail(KD_EUSAGE, "view %lld; the store has %lld, from 0", (long long)view,
                       (long long)views);
    return kd_store_length(store->store, view, id);
}

/* That the row is there and has this length. */
static int check_row(const distill_store *store, int64_t view, uint64_t id, int64_t length) {
    const int64_t found = distill_store_length(store, view, id);
    if (found < 0) return (int)found;
    if (found == length) return KD_OK;
    return kd_fail(KD_EUSAGE, "sample %llu has %lld positions, not %lld", (unsigned long long)id,
                   (long long)found, (long long)length);
}

/* v = hidden·outputᵀ */
static int logits_of_hidden(const distill_store *store, int64_t view, uint64_t id, int64_t length,
                            float *logits) {
    const kd_store_header *h = kd_store_describe(store->store);
    const int64_t width = h->width, numbers = length * width;
    float *hidden = malloc(kd_array_bytes(numbers, sizeof *hidden));
    if (!hidden) return kd_fail_memory((size_t)numbers * sizeof *hidden, "hidden states");
    int status = kd_store_read_hidden(store->store, view, id, length, hidden);
    for (int64_t t = 0; t < length && status == KD_OK; t++) {
#pragma omp parallel for
        for (int64_t c = 0; c < h->classes; c++) {
            const float *from = hidden + t * width, *row = h->output + c * width;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < width; i++) sum += from[i] * row[i];
            logits[t * h->classes + c] = sum;
        }
    }
    free(hidden);
    return status;
}

int distill_store_logits(const distill_store *store, int64_t view, uint64_t id, int64_t length,
                         float *logits) {
    int status = check_row(store, view, id, length);
    if (status < 0) return status;
    switch (kd_store_describe(store->store)->kind) {
    case KD_STORE_DENSE:
        return kd_store_read_run(store->store, view, id, length, logits);
    case KD_STORE_HIDDEN:
        return logits_of_hidden(store, view, id, length, logits);
    case KD_STORE_TOPK:
        return kd_fail(KD_EUSAGE,
                       "the store keeps the largest logits only; distill_store_topk reads them");
    case KD_STORE_SAMPLED:
        break;
    }
    return kd_fail(KD_EUSAGE, "the store keeps draws only; distill_store_sampled reads them");
}

int distill_store_sampled(const distill_store *store, int64_t view, uint64_t id, int64_t length,
                          int32_t *index, float *share) {
    if (kd_store_describe(store->store)->kind != KD_STORE_SAMPLED)
        return kd_fail(KD_EUSAGE, "the store is not one of draws; distill_store_logits reads it");
    int status = check_row(store, view, id, length);
    return status < 0 ? status
                      : kd_store_read_sampled(store->store, view, id, length, index, share);
}

int distill_store_topk(const distill_store *store, int64_t view, uint64_t id, int64_t length,
                       double temperature, int32_t *index, float *logits, float *tail) {
    const kd_store_header *h = kd_store_describe(store->store);
    if (h->kind != KD_STORE_TOPK)
        return kd_fail(KD_EUSAGE,
                       "the store is not one of the largest logits; distill_store_logits "
                       "reads it");
    const int at = kd_store_temperature_index(h, temperature);
    if (at < 0)
        return kd_fail(KD_EUSAGE, "temperature %g: the store's tails were not summed at it",
                       temperature);
    int status = check_row(store, view, id, length);
    return status < 0
               ? status
               : kd_store_read_topk_run(store->store, view, id, length, at, index, logits, tail);
}
