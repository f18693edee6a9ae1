#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/ranks.h"
#include "base/size.h"
#include "data/half.h"
#include "data/store_format.h"

/* A shard is what a killed run may lose. */
enum { SHARD_BYTES = 1 << 26, SHARD_ROWS_MAX = 1 << 16 };

struct kd_store_writer {
    kd_shards shards;
    kd_shard_head head;            /* of the shard being filled; rows says how far      */
    int64_t shard;                 /* its number                                        */
    int64_t shard_rows;            /* rows, and in sequences positions, of a full one   */
    void *column[KD_COLUMN_COUNT]; /* its rows and positions                            */
};

/* A function of the header alone, so that the shards of a resumed store fit together. */
static int64_t shard_rows(const kd_store_header *h) {
    int64_t rows = SHARD_BYTES / (int64_t)kd_store_row_bytes(h);
    if (rows < 1) rows = 1;
    return rows < SHARD_ROWS_MAX ? rows : SHARD_ROWS_MAX;
}

static int64_t full_shard(const kd_store_writer *w) {
    int64_t left = w->head.total_rows - w->head.first_row;
    return left < w->shard_rows ? left : w->shard_rows;
}

/* --- opening -------------------------------------------------------------------------------- */

static int check_header(const kd_store_header *h, const char *path) {
    if (h->classes < 2) return kd_fail(KD_ECONFIG, "%s: a store needs 2 or more classes", path);
    if (h->views < 1 || h->views > INT32_MAX)
        return kd_fail(KD_ECONFIG, "%s: a store cannot have %lld views", path, (long long)h->views);
    if (h->kind == KD_STORE_HIDDEN && (h->width < 1 || !h->output))
        return kd_fail(KD_ECONFIG, "%s: hidden states need a width and an output matrix", path);
    if (h->kind == KD_STORE_SAMPLED && !h->sequences)
        return kd_fail(KD_ECONFIG, "%s: draws are for sequences", path);
    if (h->kind == KD_STORE_SAMPLED &&
        (h->draws < 1 || h->draws > KD_STORE_DRAWS_MAX ||
         h->draws > KD_STORE_DRAWN_MAX / h->classes || h->temperature_count != 1))
        return kd_fail(
            KD_ECONFIG,
            "%s: %d draws of %d classes at %d temperatures; must be 1 to %d draws at one, "
            "and draws times classes at most %d",
            path, h->draws, h->classes, h->temperature_count, KD_STORE_DRAWS_MAX,
            KD_STORE_DRAWN_MAX);
    if (h->kind != KD_STORE_TOPK && h->kind != KD_STORE_SAMPLED) return KD_OK;
    if (h->kind == KD_STORE_TOPK && (h->k < 1 || h->k >= h->classes))
        return kd_fail(KD_ECONFIG, "%s: k is %d, must be 1 to %d (fewer than the classes)", path,
                       h->k, h->classes - 1);
    if (h->temperature_count < 1 || h->temperature_count > KD_STORE_TEMPERATURES_MAX)
        return kd_fail(KD_ECONFIG, "%s: a top-k store needs 1 to %d temperatures", path,
                       KD_STORE_TEMPERATURES_MAX);
    for (int i = 0; i < h->temperature_count; i++)
        if (!(h->temperature[i] > 0) || !isfinite(h->temperature[i]))
            return kd_fail(KD_ECONFIG, "%s: %g is not a temperature", path, h->temperature[i]);
    return KD_OK;
}

/* What of a shard's head is not as the writer's, or NULL. */
static const char *head_difference(const kd_store_writer *w, const kd_shard_head *found) {
    const char *field = kd_store_header_difference(&w->head.header, &found->header);
    if (!field && w->head.header.origin && !found->header.origin) field = "origin";
    if (!field && found->total_rows != w->head.total_rows) field = "total_rows";
    if (!field && found->output_crc != w->head.output_crc) field = "output";
    return field;
}

/* Whether the shard of *rows stays: *fault says why not, or is NULL. A shard of another store is
 * refused, one that could not be read is an error; only a damaged one is at fault. */
static int examine_shard(const kd_store_writer *w, const char *path, const char **fault,
                         int64_t *rows) {
    kd_shard_head found;
    hid_t file;
    char *origin = NULL;
    int status = kd_h5_open(&file, path);
    *fault = status == KD_EDATA ? kd_error() : NULL;
    if (status < 0) return status == KD_EDATA ? KD_OK : status;
    status = kd_shard_head_read(file, path, &found);
    if (status == KD_OK) status = kd_shard_origin_read(file, &origin);
    found.header.origin = origin;
    const char *field = status == KD_OK ? head_difference(w, &found) : NULL;
    if (field)
        status = kd_fail(KD_EDATA, "%s: belongs to another store: its %s is not that of this run",
                         path, field);
    /* How many rows of sequences a shard holds depends on their lengths. */
    if (found.first_row != w->head.first_row) *fault = "first_row";
    if (!*fault && !found.header.sequences && found.rows != full_shard(w)) *fault = "rows";
    *rows = found.rows;
    free(origin);
    kd_h5_close(file);
    return status;
}

/* Moves behind the whole shards that are already there. */
static int find_whole_shards(kd_store_writer *w) {
    char path[KD_PATH_MAX];
    const char *fault;
    int64_t rows = 0;
    for (; w->head.first_row < w->head.total_rows; w->shard++) {
        int status = kd_shards_path(&w->shards, w->shard, path);
        if (status < 0) return status;
        if (!kd_file_exists(path)) return KD_OK;
        status = examine_shard(w, path, &fault, &rows);
        if (status < 0) return status;
        if (fault) {
            kd_warn("%s: made again, and all that follow it: it does not fit (%s)", path, fault);
            return KD_OK;
        }
        w->head.first_row += rows;
    }
    return KD_OK;
}

static int make_columns(kd_store_writer *w) {
    for (kd_column c = 0; c < KD_COLUMN_COUNT; c++) {
        size_t bytes = kd_column_bytes(&w->head.header, c) * (size_t)w->shard_rows;
        if (bytes == 0) continue;
        w->column[c] = malloc(bytes);
        if (!w->column[c]) return kd_fail_memory(bytes, "a shard of the teacher store");
    }
    return KD_OK;
}

static int open_writer(kd_store_writer **out, const char *path, const kd_store_header *header,
                       int64_t total_rows, int64_t *rows_done) {
    int status = check_header(header, path);
    if (status < 0) return status;
    kd_store_writer *w = calloc(1, sizeof *w);
    if (!w) return kd_fail_memory(sizeof *w, "the teacher store");
    w->head = (kd_shard_head){.header = *header, .total_rows = total_rows};
    if (header->kind != KD_STORE_TOPK) w->head.header.k = 0;
    if (header->kind != KD_STORE_SAMPLED) w->head.header.draws = 0;
    if (header->kind != KD_STORE_TOPK && header->kind != KD_STORE_SAMPLED)
        w->head.header.temperature_count = 0;
    if (header->kind == KD_STORE_HIDDEN)
        w->head.output_crc = kd_store_output_crc(header);
    else
        w->head.header.width = 0;
    w->shard_rows = shard_rows(&w->head.header);
    status = kd_store_shards(&w->shards, path);
    if (status == KD_OK) status = kd_file_make_folders(path);
    if (status == KD_OK) status = find_whole_shards(w);
    if (status == KD_OK) status = kd_shards_remove_from(&w->shards, w->shard);
    if (status == KD_OK) status = make_columns(w);
    if (status < 0) {
        kd_store_writer_abort(w);
        return status;
    }
    *rows_done = w->head.first_row;
    *out = w;
    return KD_OK;
}

int kd_store_writer_open(kd_store_writer **out, const char *path, const kd_store_header *header,
                         int64_t total_rows, int64_t *rows_done) {
    KD_CONTRACT(total_rows >= 1, "%lld rows", (long long)total_rows);
    *out = NULL;
    *rows_done = 0;
    const int status = kd_ranks_worst(
        kd_rank_first() ? open_writer(out, path, header, total_rows, rows_done) : KD_OK);
    kd_ranks_share(rows_done, sizeof *rows_done);
    return status;
}

/* --- appending ------------------------------------------------------------------------------ */

/* n of `of` packed positions, from `from` on, behind those already there. Draws lie one position
 * behind the other, and come a run at a time. */
static void store_packed(kd_store_writer *w, int64_t n, const void *packed, int64_t from,
                         int64_t of) {
    const kd_store_header *h = &w->head.header;
    if (h->kind == KD_STORE_SAMPLED) {
        const int64_t drawn = kd_drawn_count(h, n, packed);
        memcpy((char *)w->column[KD_COLUMN_DRAWN] + 3 * w->head.drawn, packed, (size_t)drawn * 3);
        ((int32_t *)w->column[KD_COLUMN_COUNTS])[w->head.rows] = (int32_t)drawn;
        w->head.drawn += drawn;
        return;
    }
    for (int i = 0; i < KD_STORE_PACKED; i++) {
        const kd_column column = kd_store_packed_column[i];
        const size_t bytes = kd_column_bytes(h, column);
        if (bytes > 0)
            memcpy((char *)w->column[column] + (size_t)w->head.positions * bytes,
                   (const char *)packed + (size_t)from * bytes, (size_t)n * bytes);
        packed = (const char *)packed + (size_t)of * bytes;
    }
}

static int write_column(hid_t file, const kd_store_writer *w, kd_column c) {
    const kd_store_header *h = &w->head.header;
    int64_t shape[2];
    int rank = kd_column_shape(&w->head, c, shape);
    size_t bytes = kd_array_bytes((int64_t)(shape[0] * shape[1]), kd_column_element(h, c));
    hid_t type = kd_column_type(h, c);
    int status =
        kd_store_write_set(file, kd_column_name(c), rank, shape, type, w->column[c], bytes);
    if (type >= 0) H5Tclose(type);
    return status;
}

/* The rows so far become a shard; the next one begins. */
static int commit_shard(kd_store_writer *w) {
    char path[KD_PATH_MAX];
    hid_t file;
    int status = kd_shards_path(&w->shards, w->shard, path);
    if (status == KD_OK) status = kd_h5_create(&file, path);
    if (status < 0) return status;
    status = kd_shard_head_write(file, &w->head);
    for (kd_column c = 0; c < KD_COLUMN_COUNT && status == KD_OK; c++)
        if (w->column[c]) status = write_column(file, w, c);
    if (status == KD_OK && w->shard == 0 && w->head.header.kind == KD_STORE_HIDDEN)
        status = kd_store_output_write(file, &w->head.header);
    if (status < 0)
        kd_h5_close(file);
    else
        status = kd_h5_commit(file, path);
    if (status < 0) return status;
    w->shard++;
    w->head.first_row += w->head.rows;
    w->head.rows = w->head.positions = w->head.drawn = 0;
    return KD_OK;
}

static void check_append(const kd_store_writer *w, int64_t n, int64_t view, bool sequences) {
    KD_CONTRACT(w->head.header.sequences == sequences, "%s: rows and sequences mixed",
                w->shards.folder);
    KD_CONTRACT(view >= 0 && view < w->head.header.views, "view %lld of %lld", (long long)view,
                (long long)w->head.header.views);
    KD_CONTRACT(n <= w->head.total_rows - w->head.first_row - w->head.rows,
                "more rows than the %lld announced", (long long)w->head.total_rows);
}

int kd_store_writer_append(kd_store_writer *w, int64_t n, int64_t view, const uint64_t *id,
                           const int32_t *label, const void *packed) {
    if (!w) return KD_OK;
    check_append(w, n, view, false);
    int status = KD_OK;
    for (int64_t done = 0; done < n && status == KD_OK;) {
        int64_t at = w->head.rows, room = full_shard(w) - at;
        const int64_t take = n - done < room ? n - done : room;
        memcpy((uint64_t *)w->column[KD_COLUMN_ID] + at, id + done, (size_t)take * sizeof *id);
        memcpy((int32_t *)w->column[KD_COLUMN_LABEL] + at, label + done,
               (size_t)take * sizeof *label);
        for (int64_t i = 0; i < take; i++)
            ((int32_t *)w->column[KD_COLUMN_VIEW])[at + i] = (int32_t)view;
        store_packed(w, take, packed, done, n);
        w->head.rows += take;
        w->head.positions += take;
        if (take == room) status = commit_shard(w);
        done += take;
    }
    return status;
}

int kd_store_writer_append_run(kd_store_writer *w, int64_t view, uint64_t id, int64_t length,
                               const int32_t *label, const void *packed) {
    if (!w) return KD_OK;
    check_append(w, 1, view, true);
    KD_CONTRACT(length >= 1, "%s: a run of %lld positions", w->shards.folder, (long long)length);
    if (length > w->shard_rows)
        return kd_fail(KD_EDATA, "%s: sample %llu has %lld positions, a shard holds %lld",
                       w->shards.folder, (unsigned long long)id, (long long)length,
                       (long long)w->shard_rows);
    int status = w->head.positions + length > w->shard_rows ? commit_shard(w) : KD_OK;
    if (status < 0) return status;
    const int64_t at = w->head.rows;
    ((uint64_t *)w->column[KD_COLUMN_ID])[at] = id;
    ((int32_t *)w->column[KD_COLUMN_VIEW])[at] = (int32_t)view;
    ((int32_t *)w->column[KD_COLUMN_LENGTH])[at] = (int32_t)length;
    ((uint32_t *)w->column[KD_COLUMN_TOKENS])[at] = kd_store_tokens_crc(length, label);
    store_packed(w, length, packed, 0, length);
    w->head.rows++;
    w->head.positions += length;
    return w->head.first_row + w->head.rows == w->head.total_rows ? commit_shard(w) : KD_OK;
}

/* --- ending --------------------------------------------------------------------------------- */

int kd_store_writer_close(kd_store_writer *w) {
    /* A full shard is committed at once, so a complete store has none left over. */
    KD_CONTRACT(!w || w->head.first_row == w->head.total_rows, "%lld of %lld rows appended",
                (long long)(w->head.first_row + w->head.rows), (long long)w->head.total_rows);
    kd_store_writer_abort(w);
    return KD_OK;
}

int kd_store_await(const char *path) {
    kd_shards shards;
    int64_t *number = NULL, count = 0;
    int status = kd_store_shards(&shards, path);
    if (status == KD_OK && kd_rank_first()) status = kd_shards_list(&shards, &number, &count);
    status = kd_ranks_worst(status);
    kd_ranks_share(&count, sizeof count);
    if (status == KD_OK && !number) number = malloc(kd_array_bytes(count + 1, sizeof *number));
    if (status == KD_OK && !number) status = kd_fail_memory((size_t)count, path);
    for (int64_t i = 0; i < count && status == KD_OK; i++) number[i] = i;
    status = kd_ranks_worst(status);
    if (status == KD_OK) status = kd_shards_await(&shards, number, count);
    free(number);
    return status;
}

void kd_store_writer_abort(kd_store_writer *w) {
    if (!w) return;
    for (kd_column c = 0; c < KD_COLUMN_COUNT; c++) free(w->column[c]);
    free(w);
}
