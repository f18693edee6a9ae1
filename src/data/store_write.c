#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/ranks.h"
#include "data/half.h"
#include "data/store_format.h"

/* A shard is what a killed run may lose. Fewer numbers than SERIAL_NUMBERS are not worth waking
 * other threads for. */
enum { SHARD_BYTES = 1 << 26, SHARD_ROWS_MAX = 1 << 16, SERIAL_NUMBERS = 1 << 14 };

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
    if (h->kind != KD_STORE_TOPK) return KD_OK;
    if (h->k < 1 || h->k >= h->classes)
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
        size_t bytes = (size_t)kd_column_width(&w->head.header, c) *
                       kd_column_element(&w->head.header, c) * (size_t)w->shard_rows;
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
    if (header->kind != KD_STORE_TOPK) w->head.header.k = w->head.header.temperature_count = 0;
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

/* Numbers the teacher gives for a position: logits, or a hidden state. */
static int64_t given_width(const kd_store_header *h) {
    return h->kind == KD_STORE_HIDDEN ? h->width : h->classes;
}

/* What is wrong with a position's numbers; NULL when nothing is. */
static const char *fault_of(const kd_store_header *h, const float *values) {
    float low = values[0], high = values[0];
    bool finite = true;
    for (int64_t v = 0; v < given_width(h); v++) {
        finite &= isfinite(values[v]);
        low = values[v] < low ? values[v] : low;
        high = values[v] > high ? values[v] : high;
    }
    if (!finite) return "is not finite";
    if (h->dtype == KD_STORE_F32) return NULL;
    const bool harmless = h->kind != KD_STORE_HIDDEN && high >= -32768;
    return high > KD_HALF_MAX || (low < -KD_HALF_MAX && !harmless)
               ? "does not fit float16; store them as float32"
               : NULL;
}

/* n positions, of the samples id[0], id[id_step], … */
static int check_values(const kd_store_writer *w, int64_t n, const uint64_t *id, int64_t id_step,
                        const float *values) {
    const kd_store_header *h = &w->head.header;
    const int64_t width = given_width(h);
    int64_t bad = n;
#pragma omp parallel for reduction(min : bad) if (n * width > SERIAL_NUMBERS)
    for (int64_t i = 0; i < n; i++)
        if (i < bad && fault_of(h, values + i * width)) bad = i;
    if (bad == n) return KD_OK;
    return kd_fail(KD_EDATA, "%s: a %s of the teacher for sample %llu %s", w->shards.folder,
                   h->kind == KD_STORE_HIDDEN ? "hidden number" : "logit",
                   (unsigned long long)id[bad * id_step], fault_of(h, values + bad * width));
}

static void store_numbers(const kd_store_header *h, void *column, int64_t at, const float *values,
                          int64_t n) {
    if (h->dtype == KD_STORE_F32) {
        memcpy((float *)column + at, values, (size_t)n * sizeof *values);
        return;
    }
    uint16_t *out = (uint16_t *)column + at;
    kd_half_encode(out, values, n);
    for (int64_t i = 0; i < n; i++)
        if (out[i] == 0xfc00) out[i] = 0xfbff; /* −infinity → −65504 */
}

/* Classes in falling order of their logits, the lower class first among equals. */
static inline bool ranks_before(const float *logits, int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Restores the heap `class` of n, whose root ranks last, after class[i] changed. */
static void sift(int32_t *class, int n, int i, const float *logits) {
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && ranks_before(logits, class[child], class[child + 1])) child++;
        if (ranks_before(logits, class[child], class[i])) return;
        int32_t swap = class[i];
        class[i] = class[child];
        class[child] = swap;
    }
}

/* The k classes that rank first, in order. */
static void select_top(int32_t *class, int k, const float *logits, int classes) {
    for (int i = 0; i < k; i++) class[i] = i;
    for (int i = k / 2; i-- > 0;) sift(class, k, i, logits);
    for (int32_t v = k; v < classes; v++) {
        if (!ranks_before(logits, v, class[0])) continue;
        class[0] = v;
        sift(class, k, 0, logits);
    }
    for (int n = k; n-- > 1;) {
        int32_t last = class[0];
        class[0] = class[n];
        class[n] = last;
        sift(class, n, 0, logits);
    }
}

/* log Σ_{dropped} e^{v/τ}; dropped is what ranks behind `last`, the last class kept. */
static float tail_of(const float *logits, int classes, int32_t last, double temperature) {
    double top = -INFINITY, sum = 0;
    for (int32_t v = 0; v < classes; v++)
        if (ranks_before(logits, last, v) && logits[v] > top) top = logits[v];
    for (int32_t v = 0; v < classes; v++)
        if (ranks_before(logits, last, v)) sum += exp((logits[v] - top) / temperature);
    return (float)(top / temperature + log(sum));
}

static void store_topk(kd_store_writer *w, int64_t row, const float *logits) {
    const kd_store_header *h = &w->head.header;
    int32_t *class = (int32_t *)w->column[KD_COLUMN_INDEX] + row * h->k;
    float *tail = (float *)w->column[KD_COLUMN_TAIL] + row * h->temperature_count;
    select_top(class, h->k, logits, h->classes);
    for (int i = 0; i < h->k; i++)
        store_numbers(h, w->column[KD_COLUMN_KEPT], row * h->k + i, logits + class[i], 1);
    for (int i = 0; i < h->temperature_count; i++)
        tail[i] = tail_of(logits, h->classes, class[h->k - 1], h -> temperature[i]);
}

/* n positions behind those already there */
static void store_values(kd_store_writer *w, int64_t n, const float *values) {
    const kd_store_header *h = &w->head.header;
    const int64_t width = given_width(h), at = w->head.positions;
    if (h->kind != KD_STORE_TOPK) {
        store_numbers(h, w->column[kd_column_values(h)], at * width, values, n * width);
        return;
    }
#pragma omp parallel for if (n * width > SERIAL_NUMBERS)
    for (int64_t i = 0; i < n; i++) store_topk(w, at + i, values + i * width);
}

static int write_column(hid_t file, const kd_store_writer *w, kd_column c) {
    const kd_store_header *h = &w->head.header;
    int64_t shape[2];
    int rank = kd_column_shape(&w->head, c, shape);
    size_t bytes = (size_t)(shape[0] * shape[1]) * kd_column_element(h, c);
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
    w->head.rows = w->head.positions = 0;
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
                           const int32_t *label, const float *values) {
    if (!w) return KD_OK;
    check_append(w, n, view, false);
    int status = check_values(w, n, id, 1, values);
    while (n > 0 && status == KD_OK) {
        int64_t at = w->head.rows, room = full_shard(w) - at, take = n < room ? n : room;
        memcpy((uint64_t *)w->column[KD_COLUMN_ID] + at, id, (size_t)take * sizeof *id);
        memcpy((int32_t *)w->column[KD_COLUMN_LABEL] + at, label, (size_t)take * sizeof *label);
        for (int64_t i = 0; i < take; i++)
            ((int32_t *)w->column[KD_COLUMN_VIEW])[at + i] = (int32_t)view;
        store_values(w, take, values);
        w->head.rows += take;
        w->head.positions += take;
        if (take == room) status = commit_shard(w);
        n -= take;
        id += take;
        label += take;
        values += take * given_width(&w->head.header);
    }
    return status;
}

int kd_store_writer_append_run(kd_store_writer *w, int64_t view, uint64_t id, int64_t length,
                               const int32_t *label, const float *values) {
    if (!w) return KD_OK;
    check_append(w, 1, view, true);
    KD_CONTRACT(length >= 1, "%s: a run of %lld positions", w->shards.folder, (long long)length);
    if (length > w->shard_rows)
        return kd_fail(KD_EDATA, "%s: sample %llu has %lld positions, a shard holds %lld",
                       w->shards.folder, (unsigned long long)id, (long long)length,
                       (long long)w->shard_rows);
    int status = check_values(w, length, &id, 0, values);
    if (status == KD_OK && w->head.positions + length > w->shard_rows) status = commit_shard(w);
    if (status < 0) return status;
    const int64_t at = w->head.rows;
    ((uint64_t *)w->column[KD_COLUMN_ID])[at] = id;
    ((int32_t *)w->column[KD_COLUMN_VIEW])[at] = (int32_t)view;
    ((int32_t *)w->column[KD_COLUMN_LENGTH])[at] = (int32_t)length;
    ((uint32_t *)w->column[KD_COLUMN_TOKENS])[at] = kd_store_tokens_crc(length, label);
    store_values(w, length, values);
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

void kd_store_writer_abort(kd_store_writer *w) {
    if (!w) return;
    for (kd_column c = 0; c < KD_COLUMN_COUNT; c++) free(w->column[c]);
    free(w);
}
