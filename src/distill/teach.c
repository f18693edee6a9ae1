#include "distill/teach.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/trainer.h"

static int append_rows(const kd_teaching *t, kd_store_writer *writer, int64_t done) {
    int status = KD_OK;
    kd_progress progress;
    kd_progress_begin(&progress, "teach", t->unit, 1, done, t->rows);
    while (done < t->rows && status == KD_OK) {
        int64_t n = 0;
        status = t->append(t->context, writer, done, &n);
        done += n;
        kd_progress_show(&progress, done, "");
        if (status == KD_OK && done < t->rows && kd_train_take_stop())
            status = kd_fail(KD_EAGAIN,
                             "teach: stopped on request after %lld of %lld %s; whole shards are "
                             "kept: the same command goes on from there",
                             (long long)done, (long long)t->rows, t->unit);
    }
    kd_progress_end(&progress);
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
    if (status == KD_OK) return kd_store_writer_close(writer);
    kd_store_writer_abort(writer);
    return status;
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
