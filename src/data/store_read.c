#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "data/half.h"
#include "data/store_format.h"

struct kd_store {
    char path[KD_PATH_MAX];
    kd_store_header header;
    int64_t rows, positions;
    int64_t *first; /* SEQUENCES: (rows) the first position of each row */
    float *output;  /* HIDDEN: the header's */
    char *origin;   /* the header's         */
    void *column[KD_COLUMN_COUNT];
    /* Open addressing: slot[h], slot[h+1] … until −1 hold the rows whose key hashes to h. */
    int64_t *slot;
    uint64_t mask;
};

/* --- finding a row -------------------------------------------------------------------------- */

/* The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t hash_key(uint64_t id, int64_t view) {
    uint64_t x = id + (uint64_t)(view + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The row of (view, id), or −1; *at is its slot or the free one where it belongs. */
static int64_t find_row(const kd_store *s, uint64_t id, int64_t view, uint64_t *at) {
    const uint64_t *ids = s->column[KD_COLUMN_ID];
    const int32_t *views = s->column[KD_COLUMN_VIEW];
    for (*at = hash_key(id, view) & s->mask;; *at = (*at + 1) & s->mask) {
        int64_t row = s->slot[*at];
        if (row < 0 || (ids[row] == id && views[row] == view)) return row;
    }
}

static int make_index(kd_store *s) {
    uint64_t size = 2;
    while (size < 2 * (uint64_t)s->rows) size *= 2;
    s->slot = malloc(size * sizeof *s->slot);
    if (!s->slot) return kd_fail_memory(size * sizeof *s->slot, "the index of the teacher store");
    for (uint64_t i = 0; i < size; i++) s->slot[i] = -1;
    s->mask = size - 1;
    for (int64_t row = 0; row < s->rows; row++) {
        uint64_t id = ((uint64_t *)s->column[KD_COLUMN_ID])[row], at;
        int32_t view = ((int32_t *)s->column[KD_COLUMN_VIEW])[row];
        if (find_row(s, id, view, &at) >= 0)
            return kd_fail(KD_EDATA, "%s: has two rows of sample %llu, view %d", s->path,
                           (unsigned long long)id, (int)view);
        s->slot[at] = row;
    }
    return KD_OK;
}

/* --- one shard ------------------------------------------------------------------------------ */

/* Columns that a store without views or labels leaves out. */
static bool fill_default(kd_store *s, hid_t file, kd_column c, int64_t rows) {
    bool optional = (c == KD_COLUMN_VIEW && s->header.views == 1) || c == KD_COLUMN_LABEL;
    if (!optional || kd_h5_has(file, kd_column_name(c))) return false;
    int32_t *values = (int32_t *)s->column[c] + s->rows;
    for (int64_t i = 0; i < rows; i++) values[i] = c == KD_COLUMN_LABEL ? -1 : 0;
    return true;
}

/* Appends a column's rows or positions to those of the shards before. */
static int read_column(kd_store *s, hid_t file, const char *path, kd_column c,
                       const kd_shard_head *head) {
    const char *name = kd_column_name(c);
    const int64_t before = kd_column_is_positional(c) ? s->positions : s->rows;
    int64_t shape[2];
    int rank = kd_column_shape(head, c, shape);
    size_t row_bytes = (size_t)kd_column_width(&s->header, c) * kd_column_element(&s->header, c);
    if (row_bytes == 0) return KD_OK;
    hid_t type = kd_column_type(&s->header, c);
    int status = KD_OK;
    /* Only a dataset that is really as large as the header says may cost that much memory; ids are
     * always there, and so bound the columns that may be missing. */
    if (c == KD_COLUMN_ID || kd_column_is_positional(c) || kd_h5_has(file, name))
        status = kd_h5_expect(file, name, rank, shape, type);
    if (status < 0) goto done;
    char *grown = realloc(s->column[c], (size_t)(before + shape[0]) * row_bytes);
    if (!grown) {
        status = kd_fail_memory((unsigned long long)(before + shape[0]) * row_bytes, path);
        goto done;
    }
    s->column[c] = grown;
    if (fill_default(s, file, c, shape[0])) goto done;
    char *values = grown + (size_t)before * row_bytes;
    uint32_t crc;
    status = kd_h5_read_crc(file, name, rank, shape, type, values, &crc);
    if (status == KD_OK) status = kd_store_check_crc(file, path, name, crc);
done:
    if (type >= 0) H5Tclose(type);
    return status;
}

/* The place of the first of n numbers that is not finite, or −1. */
static int64_t find_not_finite(const kd_store_header *h, const void *column, int64_t first,
                               int64_t n) {
    if (h->dtype == KD_STORE_F16) {
        const uint16_t *half = (const uint16_t *)column + first;
        for (int64_t i = 0; i < n; i++)
            if ((half[i] & 0x7c00) == 0x7c00) return i;
    } else {
        const float *x = (const float *)column + first;
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(x[i])) return i;
    }
    return -1;
}

static int refuse_row(const kd_store *s, const char *path, int64_t row, const char *what) {
    return kd_fail(KD_EDATA, "%s: row %lld (sample %llu): %s", path, (long long)row,
                   (unsigned long long)((uint64_t *)s->column[KD_COLUMN_ID])[s->rows + row], what);
}

/* The same for a position of the shard that is being read. */
static int refuse_position(const kd_store *s, const char *path, int64_t position,
                           const char *what) {
    int64_t row = position;
    if (s->header.sequences) {
        const int32_t *length = (const int32_t *)s->column[KD_COLUMN_LENGTH] + s->rows;
        for (row = 0; position >= length[row]; row++) position -= length[row];
    }
    return refuse_row(s, path, row, what);
}

/* Kept classes exist and are all different; `seen` has a place for each class. */
static int check_topk(const kd_store *s, const char *path, int64_t positions, int64_t *seen) {
    const int k = s->header.k, temperatures = s->header.temperature_count;
    const int32_t *index = (const int32_t *)s->column[KD_COLUMN_INDEX] + s->positions * k;
    const float *tail = (const float *)s->column[KD_COLUMN_TAIL] + s->positions * temperatures;
    for (int64_t at = 0; at < positions; at++) {
        for (int i = 0; i < k; i++) {
            int32_t class = index[at * k + i];
            if (class < 0 || class >= s->header.classes)
                return refuse_position(s, path, at, "keeps a class that does not exist");
            if (seen[class] == at + 1) return refuse_position(s, path, at, "keeps a class twice");
            seen[class] = at + 1;
        }
        for (int i = 0; i < temperatures; i++)
            if (!isfinite(tail[at * temperatures + i]))
                return refuse_position(s, path, at, "has a tail that is not finite");
    }
    return KD_OK;
}

static int check_numbers(const kd_store *s, const char *path, const kd_shard_head *head) {
    const kd_store_header *h = &s->header;
    const int32_t *view = (const int32_t *)s->column[KD_COLUMN_VIEW] + s->rows;
    for (int64_t row = 0; row < head->rows; row++)
        if (view[row] < 0 || view[row] >= h->views)
            return refuse_row(s, path, row, "is of a view that does not exist");
    const kd_column c = kd_column_values(h);
    const int64_t width = kd_column_width(h, c);
    int64_t bad = find_not_finite(h, s->column[c], s->positions * width, head->positions * width);
    if (bad >= 0)
        return refuse_position(s, path, bad / width,
                               h->kind == KD_STORE_HIDDEN ? "has a hidden number that is not finite"
                                                          : "has a logit that is not finite");
    if (h->kind != KD_STORE_TOPK) return KD_OK;
    int64_t *seen = calloc((size_t)h->classes, sizeof *seen);
    if (!seen) return kd_fail_memory((unsigned long long)h->classes * sizeof *seen, path);
    int status = check_topk(s, path, head->positions, seen);
    free(seen);
    return status;
}

/* Where each row's run begins; the runs are exactly the positions the header states. */
static int place_runs(kd_store *s, const char *path, const kd_shard_head *head) {
    const int32_t *length = (const int32_t *)s->column[KD_COLUMN_LENGTH] + s->rows;
    int64_t *grown = realloc(s->first, (size_t)(s->rows + head->rows) * sizeof *grown), left;
    if (!grown) return kd_fail_memory((size_t)(s->rows + head->rows) * sizeof *grown, path);
    s->first = grown;
    left = head->positions;
    for (int64_t row = 0; row < head->rows; row++) {
        grown[s->rows + row] = s->positions + head->positions - left;
        if (length[row] < 1 || length[row] > left)
            return refuse_row(s, path, row, "has a length that does not fit /positions");
        left -= length[row];
    }
    if (left == 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s: /length: sums to %lld positions, /positions says %lld", path,
                   (long long)(head->positions - left), (long long)head->positions);
}

/* Every column of a shard, in an order in which each can be checked. */
static int read_columns(kd_store *s, hid_t file, const char *path, const kd_shard_head *head) {
    int status = KD_OK;
    for (kd_column c = 0; c < KD_COLUMN_COUNT && status == KD_OK; c++) {
        if (c == KD_COLUMN_LOGITS && s->header.sequences) status = place_runs(s, path, head);
        if (status == KD_OK) status = read_column(s, file, path, c, head);
    }
    return status == KD_OK ? check_numbers(s, path, head) : status;
}

static bool same_text(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Appends a shard's rows; `head` is its own, `first` that of the first shard (NULL for that one).
 */
static int read_shard(kd_store *s, const char *path, const kd_shard_head *first,
                      kd_shard_head *head) {
    hid_t file;
    char *origin = NULL;
    int status = kd_h5_open(&file, path);
    if (status == KD_OK) status = kd_shard_head_read(file, path, head);
    if (status == KD_OK) status = kd_shard_origin_read(file, &origin);
    if (status < 0) goto done;
    const char *field = first ? kd_store_header_difference(&first->header, &head->header) : NULL;
    if (first && !field && first->total_rows != head->total_rows) field = "total_rows";
    if (first && !field && first->output_crc != head->output_crc) field = "output_crc32";
    if (first && !field && !same_text(s->origin, origin)) field = "origin";
    if (field) {
        status = kd_fail(KD_EDATA, "%s: belongs to another store: its %s is not the first shard's",
                         path, field);
        goto done;
    }
    if (head->first_row != s->rows) {
        status = kd_fail(KD_EDATA, "%s: begins with row %lld, must begin with %lld", path,
                         (long long)head->first_row, (long long)s->rows);
        goto done;
    }
    if (!first) {
        s->header = head->header;
        s->header.origin = s->origin = origin;
        origin = NULL;
    }
    if (!first && s->header.kind == KD_STORE_HIDDEN) {
        status = kd_store_output_read(file, path, head, &s->output);
        s->header.output = s->output;
    }
    if (status == KD_OK) status = read_columns(s, file, path, head);
    if (status == KD_OK) {
        s->rows += head->rows;
        s->positions += head->positions;
    }
done:
    free(origin);
    kd_h5_close(file);
    return status;
}

/* --- the whole store ------------------------------------------------------------------------ */

static int read_folder(kd_store *s) {
    char path[KD_PATH_MAX];
    kd_shard_head first = {.total_rows = 1}, head;
    int64_t shard = 0;
    int status;
    for (; s->rows < first.total_rows; shard++) {
        status = kd_shard_path(path, s->path, shard);
        if (status < 0) return status;
        if (!kd_file_exists(path))
            return shard == 0 ? kd_fail(KD_ENOINPUT, "%s: is missing: no teacher store here", path)
                              : kd_fail(KD_EDATA,
                                        "%s: is missing: the store is not complete, it has %lld of "
                                        "%lld rows",
                                        path, (long long)s->rows, (long long)first.total_rows);
        status = read_shard(s, path, shard ? &first : NULL, &head);
        if (status < 0) return status;
        if (shard == 0) first = head;
    }
    status = kd_shard_path(path, s->path, shard);
    if (status == KD_OK && kd_file_exists(path))
        status =
            kd_fail(KD_EDATA, "%s: does not belong here: the %lld rows are complete without it",
                    path, (long long)s->rows);
    return status;
}

static int read_file(kd_store *s) {
    kd_shard_head head;
    int status = read_shard(s, s->path, NULL, &head);
    if (status == KD_OK && head.rows != head.total_rows)
        status = kd_fail(KD_EDATA, "%s: is one shard of a store: name its folder", s->path);
    return status;
}

int kd_store_open(kd_store **out, const char *path) {
    *out = NULL;
    kd_store *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, "the teacher store");
    struct stat info;
    int status = KD_OK;
    if (strlen(path) >= sizeof s->path)
        status = kd_fail(KD_EIO, "%s: path too long", path);
    else
        memcpy(s->path, path, strlen(path) + 1);
    if (status == KD_OK)
        status = stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? read_folder(s) : read_file(s);
    if (status == KD_OK) status = make_index(s);
    if (status < 0) {
        kd_store_free(s);
        return status;
    }
    *out = s;
    return KD_OK;
}

void kd_store_free(kd_store *s) {
    if (!s) return;
    for (kd_column c = 0; c < KD_COLUMN_COUNT; c++) free(s->column[c]);
    free(s->slot);
    free(s->first);
    free(s->output);
    free(s->origin);
    free(s);
}

const kd_store_header *kd_store_describe(const kd_store *s) {
    return &s->header;
}

kd_hash kd_store_hash(const kd_store *s) {
    const kd_store_header *h = &s->header;
    kd_hash part[KD_COLUMN_COUNT + 3];
    int n = 0;
    const int64_t sizes[] = {h->kind, h->dtype, h->classes, h->k, h->width, h->views, h->augmented};
    float temperature[KD_STORE_TEMPERATURES_MAX] = {0};
    for (int i = 0; i < h->temperature_count; i++) temperature[i] = (float)h->temperature[i];
    part[n++] = kd_hash_bytes(sizes, sizeof sizes);
    part[n++] = kd_hash_bytes(temperature, sizeof temperature);
    for (kd_column c = 0; c < KD_COLUMN_COUNT; c++) {
        const int64_t rows = kd_column_is_positional(c) ? s->positions : s->rows;
        part[n++] = kd_hash_bytes(s->column[c],
                                  (size_t)(rows * kd_column_width(h, c)) * kd_column_element(h, c));
    }
    if (s->output)
        part[n++] =
            kd_hash_bytes(s->output, (size_t)h->classes * (size_t)h->width * sizeof *s->output);
    return kd_hash_join(part, n);
}

int kd_store_origin(char **out, const char *path) {
    struct stat info;
    char first[KD_PATH_MAX];
    hid_t file;
    *out = NULL;
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    int status = folder ? kd_shard_path(first, path, 0) : KD_OK;
    if (status == KD_OK) status = kd_h5_open(&file, folder ? first : path);
    if (status < 0) return status;
    status = kd_shard_origin_read(file, out);
    kd_h5_close(file);
    return status;
}

int64_t kd_store_rows(const kd_store *s) {
    return s->rows;
}

int64_t kd_store_positions(const kd_store *s) {
    return s->positions;
}

int kd_store_temperature_index(const kd_store *s, double temperature) {
    for (int i = 0; i < s->header.temperature_count; i++)
        if (kd_store_same_temperature(s->header.temperature[i], temperature)) return i;
    return -1;
}

/* --- rows ----------------------------------------------------------------------------------- */

static int get_row(const kd_store *s, uint64_t id, int64_t view, int64_t *row) {
    uint64_t at;
    *row = find_row(s, id, view, &at);
    if (*row >= 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s: has no row for sample %llu, view %lld", s->path,
                   (unsigned long long)id, (long long)view);
}

int kd_store_check(const kd_store *s, int64_t n, const uint64_t *id, const int32_t *label) {
    KD_CONTRACT(!s->header.sequences, "%s: holds sequences", s->path);
    const int32_t *stored = s->column[KD_COLUMN_LABEL];
    for (int64_t i = 0; i < n; i++)
        for (int64_t view = 0; view < s->header.views; view++) {
            int64_t row;
            int status = get_row(s, id[i], view, &row);
            if (status < 0) return status;
            if (stored[row] >= 0 && stored[row] != label[i])
                return kd_fail(KD_EDATA,
                               "%s: sample %llu has label %d in the store and %d in the data: they "
                               "do not belong together",
                               s->path, (unsigned long long)id[i], (int)stored[row], (int)label[i]);
        }
    return KD_OK;
}

static int64_t row_length(const kd_store *s, int64_t row) {
    return s->header.sequences ? ((const int32_t *)s->column[KD_COLUMN_LENGTH])[row] : 1;
}

/* A row that must have `length` positions, and the first of them. */
static int get_run(const kd_store *s, int64_t view, uint64_t id, int64_t length, int64_t *row,
                   int64_t *first) {
    int status = get_row(s, id, view % s->header.views, row);
    if (status < 0) return status;
    *first = s->header.sequences ? s->first[*row] : *row;
    if (row_length(s, *row) == length) return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: sample %llu has %lld positions in the store and %lld in the data: they do "
                   "not belong together",
                   s->path, (unsigned long long)id, (long long)row_length(s, *row),
                   (long long)length);
}

int64_t kd_store_length(const kd_store *s, int64_t view, uint64_t id) {
    int64_t row;
    int status = get_row(s, id, view % s->header.views, &row);
    return status < 0 ? status : row_length(s, row);
}

int kd_store_check_run(const kd_store *s, uint64_t id, int64_t length, const int32_t *label) {
    KD_CONTRACT(s->header.sequences, "%s: holds no sequences", s->path);
    const uint32_t crc = kd_store_tokens_crc(length, label), *stored = s->column[KD_COLUMN_TOKENS];
    for (int64_t view = 0; view < s->header.views; view++) {
        int64_t row = 0, first;
        int status = get_run(s, view, id, length, &row, &first);
        if (status < 0) return status;
        if (stored[row] != crc)
            return kd_fail(
                KD_EDATA,
                "%s: sample %llu was stored for other label tokens than the data's: they "
                "do not belong together",
                s->path, (unsigned long long)id);
    }
    return KD_OK;
}

/* n positions of a column of the dtype */
static void load_numbers(const kd_store *s, kd_column c, int64_t first, int64_t n, float *out) {
    const int64_t width = kd_column_width(&s->header, c);
    if (s->header.dtype == KD_STORE_F16)
        kd_half_decode(out, (const uint16_t *)s->column[c] + first * width, n * width);
    else
        memcpy(out, (const float *)s->column[c] + first * width, (size_t)(n * width) * sizeof *out);
}

int kd_store_read_run(const kd_store *s, int64_t view, uint64_t id, int64_t length, float *logits) {
    KD_CONTRACT(s->header.kind == KD_STORE_DENSE, "%s: not a dense store", s->path);
    int64_t row, first;
    int status = get_run(s, view, id, length, &row, &first);
    if (status == KD_OK) load_numbers(s, KD_COLUMN_LOGITS, first, length, logits);
    return status;
}

int kd_store_read(const kd_store *s, int64_t n, int64_t view, const uint64_t *id, float *logits) {
    int status = KD_OK;
    for (int64_t i = 0; i < n && status == KD_OK; i++)
        status = kd_store_read_run(s, view, id[i], 1, logits + i * s->header.classes);
    return status;
}

int kd_store_read_topk_run(const kd_store *s, int64_t view, uint64_t id, int64_t length,
                           int temperature_index, int32_t *index, float *kept, float *tail) {
    const kd_store_header *h = &s->header;
    KD_CONTRACT(h->kind == KD_STORE_TOPK, "%s: not a top-k store", s->path);
    KD_CONTRACT(temperature_index >= 0 && temperature_index < h->temperature_count,
                "%s: temperature %d of %d", s->path, temperature_index, h->temperature_count);
    int64_t row, first;
    int status = get_run(s, view, id, length, &row, &first);
    if (status < 0) return status;
    memcpy(index, (const int32_t *)s->column[KD_COLUMN_INDEX] + first * h->k,
           (size_t)(length * h->k) * sizeof *index);
    load_numbers(s, KD_COLUMN_KEPT, first, length, kept);
    const float *tails = (const float *)s->column[KD_COLUMN_TAIL] + first * h->temperature_count;
    for (int64_t t = 0; t < length; t++)
        tail[t] = tails[t * h->temperature_count + temperature_index];
    return KD_OK;
}

int kd_store_read_topk(const kd_store *s, int64_t n, int64_t view, const uint64_t *id,
                       int temperature_index, int32_t *index, float *kept, float *tail) {
    int status = KD_OK;
    for (int64_t i = 0; i < n && status == KD_OK; i++)
        status = kd_store_read_topk_run(s, view, id[i], 1, temperature_index,
                                        index + i * s->header.k, kept + i * s->header.k, tail + i);
    return status;
}

int kd_store_read_hidden(const kd_store *s, int64_t view, uint64_t id, int64_t length,
                         float *hidden) {
    KD_CONTRACT(s->header.kind == KD_STORE_HIDDEN, "%s: not a store of hidden states", s->path);
    int64_t row, first;
    int status = get_run(s, view, id, length, &row, &first);
    if (status == KD_OK) load_numbers(s, KD_COLUMN_HIDDEN, first, length, hidden);
    return status;
}
