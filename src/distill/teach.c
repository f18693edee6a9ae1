#include "distill/teach.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "distill/trainer.h"

/* Where the batches of a round begin, one for each rank; the last ones of all may be empty. */
static void begin_round(const kd_teaching *t, int64_t *start) {
    for (int r = 0; r < kd_rank_count(); r++) {
        const int64_t at = start[r], left = t->rows - at;
        const int64_t n = left > 0 ? t->batch(t->context, at) : 0;
        start[r + 1] = at + kd_smaller(n, left);
    }
}

/* What the ranks answered, one after the other. */
static int store_round(const kd_teaching *t, kd_store_writer *writer, const int64_t *start) {
    int status = KD_OK;
    for (int r = 0; r < kd_rank_count(); r++) {
        const int64_t row = start[r], n = start[r + 1] - row;
        if (n == 0) break;
        const int64_t numbers = t->numbers(t->context, row, n);
        kd_ranks_bring(t->answers, (size_t)numbers * sizeof *t->answers, r);
        if (status == KD_OK) status = t->append(t->context, writer, row, n);
    }
    return status;
}

static int teach_round(const kd_teaching *t, kd_store_writer *writer, int64_t *start) {
    const int64_t row = start[kd_rank()], n = start[kd_rank() + 1] - row;
    int status = kd_ranks_worst(n > 0 ? t->answer(t->context, row, n) : KD_OK);
    if (status == KD_OK) status = store_round(t, writer, start);
    const int64_t done = start[kd_rank_count()];
    if (status == KD_OK && done < t->rows && kd_train_take_stop())
        status = kd_fail(KD_EAGAIN,
                         "teach: stopped on request after %lld of %lld %s; whole shards are "
                         "kept: the same command goes on from there",
                         (long long)done, (long long)t->rows, t->unit);
    return kd_ranks_worst(status);
}

static int append_rows(const kd_teaching *t, kd_store_writer *writer, int64_t done) {
    int64_t *start = malloc(((size_t)kd_rank_count() + 1) * sizeof *start);
    int status = start ? KD_OK : kd_fail_memory((size_t)kd_rank_count() * sizeof *start, "teach");
    kd_progress progress;
    kd_progress_begin(&progress, "teach", t->unit, 1, done, t->rows);
    while (done < t->rows && status == KD_OK) {
        start[0] = done;
        begin_round(t, start);
        done = start[kd_rank_count()];
        status = teach_round(t, writer, start);
        kd_progress_show(&progress, done, "");
    }
    kd_progress_end(&progress);
    free(start);
    return status;
}

static int make_store(const kd_teaching *t, const kd_store_header *header, const char *path) {
    kd_store_writer *writer;
    int64_t done;
    int status = kd_store_writer_open(&writer, path, header, t->rows, &done);
    if (status < 0) return status;
    if (done == t->rows) {
        kd_log("teach: the store is complete (%lld %s)", (long long)done, t->unit);
    } else {
        kd_log("teach: soft targets of %lld %s into %s%s", (long long)(t->rows - done), t->unit,
               path, done ? " (going on)" : "");
        status = append_rows(t, writer, done);
    }
    if (status == KD_OK)
        status = kd_store_writer_close(writer);
    else
        kd_store_writer_abort(writer);
    return kd_ranks_worst(status); /* and all shards are there */
}

int kd_teach(kd_store **out, kd_hash *content, const char *path, const kd_teaching *teaching) {
    char *text;
    kd_store_header header = teaching->header;
    *out = NULL;
    int status = kd_origin_text(&text, teaching->origin);
    if (status < 0) return status;
    header.origin = text;
    status = make_store(teaching, &header, path);
    free(text);
    if (status == KD_OK) status = kd_store_open(out, path);
    if (status == KD_OK) *content = kd_store_hash(*out);
    return status;
}
