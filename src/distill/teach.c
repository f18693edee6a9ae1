#include "distill/teach.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/flow.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/trainer.h"

/* Batches that a rank may be ahead of another. */
enum { AHEAD = 8 };

/* A store on its way: batch b is of the rows start[b] … start[b + 1] − 1. */
typedef struct {
    const kd_teaching *how;
    const kd_store_header *header;
    kd_store_writer *writer;
    int64_t *start, batches;
    kd_progress progress;
} teaching;

static int find_batches(teaching *t, int64_t done) {
    const kd_teaching *how = t->how;
    int64_t capacity = 0;
    for (int64_t row = done;; t->batches++) {
        if (t->batches == capacity) {
            capacity = capacity ? 2 * capacity : 256;
            int64_t *grown = realloc(t->start, kd_array_bytes(capacity, sizeof *grown));
            if (!grown) return kd_fail_memory((size_t)capacity * sizeof *grown, "teach");
            t->start = grown;
        }
        t->start[t->batches] = row;
        if (row == how->rows) return KD_OK;
        row += kd_smaller(how->batch(how->context, row), how->rows - row);
    }
}

static int make_batch(void *context, int64_t b, kd_flow_bytes *out) {
    const teaching *t = context;
    const kd_teaching *how = t->how;
    const int64_t row = t->start[b], n = t->start[b + 1] - row;
    const int64_t positions = how->positions(how->context, row, n);
    void *packed = kd_flow_room(out, kd_store_packed_bytes(t->header, positions));
    return packed ? how->answer(how->context, t->header, row, n, packed) : KD_EINTERNAL;
}

static int keep_batch(void *context, int64_t b, const void *packed, size_t length) {
    const teaching *t = context;
    const int64_t row = t->start[b];
    (void)length;
    return t->how->append(t->how->context, t->writer, row, t->start[b + 1] - row, packed);
}

static void show_batches(void *context, int64_t batches) {
    teaching *t = context;
    kd_progress_show(&t->progress, t->start[batches], "");
}

/* What is missing of the store, from row `done` on. */
static int make_rows(teaching *t, int64_t done) {
    const kd_teaching *how = t->how;
    const kd_flow flow = {.count = t->batches,
                          .ahead = AHEAD,
                          .context = t,
                          .make = make_batch,
                          .keep = keep_batch,
                          .stop = kd_train_stop_asked,
                          .show = show_batches};
    int64_t batches;
    kd_progress_begin(&t->progress, "teach", how->unit, 1, done, how->rows);
    int status = kd_flow_run(&flow, &batches);
    kd_progress_end(&t->progress);
    if (status != KD_EAGAIN) return status;
    kd_train_take_stop();
    return kd_fail(KD_EAGAIN,
                   "teach: stopped on request after %lld of %lld %s; whole shards are kept: the "
                   "same command goes on from there",
                   (long long)t->start[batches], (long long)how->rows, how->unit);
}

static int fill_store(teaching *t, const char *path, int64_t done) {
    if (done == t->how->rows) {
        kd_log("teach: the store is complete (%lld %s)", (long long)done, t->how->unit);
        return KD_OK;
    }
    kd_log("teach: soft targets of %lld %s into %s%s", (long long)(t->how->rows - done),
           t->how->unit, path, done ? " (going on)" : "");
    int status = kd_ranks_worst(find_batches(t, done));
    return status < 0 ? status : make_rows(t, done);
}

static int make_store(const kd_teaching *how, const kd_store_header *header, const char *path) {
    teaching t = {.how = how, .header = header};
    int64_t done;
    int status = kd_store_writer_open(&t.writer, path, header, how->rows, &done);
    if (status < 0) return status;
    status = fill_store(&t, path, done);
    free(t.start);
    if (status == KD_OK)
        status = kd_store_writer_close(t.writer);
    else
        kd_store_writer_abort(t.writer);
    status = kd_ranks_worst(status);
    return status < 0 ? status : kd_store_await(path);
}

int kd_teach(kd_store **out, kd_hash *content, const char *path, const kd_teaching *how) {
    char *text;
    kd_store_header header = how->header;
    *out = NULL;
    int status = kd_origin_text(&text, how->origin);
    if (status < 0) return status;
    header.origin = text;
    status = make_store(how, &header, path);
    free(text);
    if (status == KD_OK) status = kd_store_open(out, path);
    if (status == KD_OK) *content = kd_store_hash(*out);
    return status;
}
