#include "distill/soft_runs.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"

static kd_store_kind kind_of(const kd_soft_runs *r) {
    return kd_store_describe(r->store)->kind;
}

/* Numbers of a position. */
static int64_t width_of(const kd_soft_runs *r) {
    const kd_store_header *header = kd_store_describe(r->store);
    switch (header->kind) {
    case KD_STORE_HIDDEN:
        return header->width;
    case KD_STORE_SAMPLED:
        return header->draws;
    default:
        return header->k;
    }
}

/* The teacher's output matrix as the loss wants it: the store's own, but in the double build. */
static int take_output(kd_soft_runs *r) {
    const kd_store_header *h = kd_store_describe(r->store);
    if (h->kind != KD_STORE_HIDDEN) return KD_OK;
    r->output = (const void *)h->output;
    if (sizeof(kd_real) == sizeof(float)) return KD_OK;
    const size_t size = (size_t)h->classes * (size_t)h->width;
    r->converted = malloc(size * sizeof *r->converted);
    if (!r->converted) return kd_fail_memory(size * sizeof *r->converted, "an output matrix");
    for (size_t i = 0; i < size; i++) r->converted[i] = (kd_real)h->output[i];
    r->output = r->converted;
    return KD_OK;
}

int kd_soft_runs_create(kd_soft_runs *out, const kd_store *store, double temperature, int64_t rows,
                        int64_t longest) {
    *out = (kd_soft_runs){.store = store,
                          .temperature =
                              kd_store_temperature_index(kd_store_describe(store), temperature)};
    const int64_t width = width_of(out);
    const bool topk = kind_of(out) == KD_STORE_TOPK, named = kind_of(out) != KD_STORE_HIDDEN;
    out->stored = malloc(kd_array_bytes(longest * width, sizeof *out->stored));
    out->soft = malloc(kd_array_bytes(rows * width, sizeof *out->soft));
    if (topk) out->tail = malloc(kd_array_bytes(longest, sizeof *out->tail));
    if (topk) out->soft_tail = malloc(kd_array_bytes(rows, sizeof *out->soft_tail));
    if (named) out->index = malloc(kd_array_bytes(rows * width, sizeof *out->index));
    if (!out->stored || !out->soft || (named && !out->index) ||
        (topk && !(out->tail && out->soft_tail)))
        return kd_fail_memory(kd_array_bytes(rows * width, sizeof *out->soft),
                              "batches of soft targets");
    return take_output(out);
}

void kd_soft_runs_clear(kd_soft_runs *runs) {
    free(runs->stored);
    free(runs->tail);
    free(runs->soft);
    free(runs->soft_tail);
    free(runs->index);
    free(runs->converted);
    *runs = (kd_soft_runs){0};
}

static int read_run(kd_soft_runs *r, uint64_t id, int64_t n, int32_t *index) {
    switch (kind_of(r)) {
    case KD_STORE_HIDDEN:
        return kd_store_read_hidden(r->store, 0, id, n, r->stored);
    case KD_STORE_SAMPLED:
        return kd_store_read_sampled(r->store, 0, id, n, index, r->stored);
    default:
        return kd_store_read_topk_run(r->store, 0, id, n, r->temperature, index, r->stored,
                                      r->tail);
    }
}

int kd_soft_runs_read(kd_soft_runs *r, uint64_t id, int64_t n, int64_t row) {
    const int64_t width = width_of(r);
    int status = read_run(r, id, n, r->index ? r->index + row * width : NULL);
    if (status < 0) return status;
    for (int64_t i = 0; i < n * width; i++) r->soft[row * width + i] = (kd_real)r->stored[i];
    for (int64_t i = 0; i < n && r->tail; i++) r->soft_tail[row + i] = (kd_real)r->tail[i];
    return KD_OK;
}

kd_soft_targets kd_soft_runs_targets(const kd_soft_runs *r) {
    const int64_t width = width_of(r);
    if (kind_of(r) == KD_STORE_HIDDEN)
        return (kd_soft_targets){.hidden = r->soft, .output = r->output, .width = width};
    if (kind_of(r) == KD_STORE_SAMPLED)
        return (kd_soft_targets){.k = (int)width, .index = r->index, .share = r->soft};
    return (kd_soft_targets){
        .k = (int)width, .index = r->index, .kept = r->soft, .tail = r->soft_tail};
}
