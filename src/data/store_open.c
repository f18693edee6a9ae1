/* Opening a store: everything in it is checked, shard by shard, and of the rows what training looks
 * them up by stays in memory. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/size.h"
#include "data/store_inside.h"

/* A store on its way in. */
typedef struct {
    kd_store *store;
    kd_hasher *hasher[KD_COLUMN_COUNT]; /* of the columns of positions, over all shards */
    kd_store_fits *fits;                /* or NULL */
    const void *context;                /* for it  */
} opening;

/* --- what stays in memory ------------------------------------------------------------------- */

/* An array that now has room for `count`, or NULL with a message; then it is as it was. */
static void *grow(void *array, int64_t count, size_t bytes, const char *path) {
    void *grown = realloc(array, kd_array_bytes(count, bytes));
    if (!grown) kd_fail_memory((unsigned long long)count * bytes, path);
    return grown;
}

/* Columns that a store without views or labels leaves out. */
static bool fill_default(kd_store *s, hid_t file, kd_column c, int64_t rows) {
    bool optional = (c == KD_COLUMN_VIEW && s->header.views == 1) || c == KD_COLUMN_LABEL;
    if (!optional || kd_h5_has(file, kd_column_name(c))) return false;
    int32_t *values = (int32_t *)s->column[c] + s->rows;
    for (int64_t i = 0; i < rows; i++) values[i] = c == KD_COLUMN_LABEL ? -1 : 0;
    return true;
}

/* Appends a column's rows to those of the shards before. */
static int read_column(kd_store *s, hid_t file, const char *path, kd_column c,
                       const kd_shard_head *head) {
    const char *name = kd_column_name(c);
    int64_t shape[2];
    int rank = kd_column_shape(head, c, shape);
    const size_t bytes = kd_column_element(&s->header, c);
    hid_t type = kd_column_type(&s->header, c);
    int status = KD_OK;
    uint32_t crc;
    /* Only a dataset that is really as large as the header says may cost that much memory; ids are
     * always there, and so bound the columns that may be missing. */
    if (c == KD_COLUMN_ID || kd_h5_has(file, name))
        status = kd_h5_expect(file, name, rank, shape, type);
    void *grown = status == KD_OK ? grow(s->column[c], s->rows + shape[0], bytes, path) : NULL;
    if (status == KD_OK && !grown) status = KD_EINTERNAL;
    if (status < 0) goto done;
    s->column[c] = grown;
    if (fill_default(s, file, c, shape[0])) goto done;
    char *values = (char *)s->column[c] + (size_t)s->rows * bytes;
    status = kd_h5_read_crc(file, name, rank, shape, type, values, &crc);
    if (status == KD_OK) status = kd_store_check_crc(file, path, name, crc);
done:
    if (type >= 0) H5Tclose(type);
    return status;
}

static int check_views(const kd_store *s, const char *path, const kd_shard_head *head) {
    const int32_t *view = (const int32_t *)s->column[KD_COLUMN_VIEW] + s->rows;
    for (int64_t row = 0; row < head->rows; row++)
        if (view[row] < 0 || view[row] >= s->header.views)
            return kd_store_refuse_row(s, path, row, "is of a view that does not exist");
    return KD_OK;
}

/* Where each row's run begins; the runs are exactly the positions the header states. */
static int place_runs(kd_store *s, const char *path, const kd_shard_head *head) {
    const int32_t *length = (const int32_t *)s->column[KD_COLUMN_LENGTH] + s->rows;
    int64_t left = head->positions;
    int64_t *first = grow(s->first, s->rows + head->rows, sizeof *first, path);
    if (!first) return KD_EINTERNAL;
    s->first = first;
    for (int64_t row = 0; row < head->rows; row++) {
        first[s->rows + row] = s->positions + head->positions - left;
        if (length[row] < 1 || length[row] > left)
            return kd_store_refuse_row(s, path, row, "has a length that does not fit /positions");
        left -= length[row];
    }
    if (left == 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s: /length: sums to %lld positions, /positions says %lld", path,
                   (long long)(head->positions - left), (long long)head->positions);
}

/* The same of its draws. */
static int place_draws(kd_store *s, const char *path, const kd_shard_head *head) {
    const int32_t *count = (const int32_t *)s->column[KD_COLUMN_COUNTS] + s->rows;
    int64_t left = head->drawn;
    int64_t *first = grow(s->first_drawn, s->rows + head->rows, sizeof *first, path);
    if (!first) return KD_EINTERNAL;
    s->first_drawn = first;
    for (int64_t row = 0; row < head->rows; row++) {
        first[s->rows + row] = s->drawn + head->drawn - left;
        if (count[row] < 1 || count[row] > left)
            return kd_store_refuse_row(s, path, row, "has a count that does not fit /drawn");
        left -= count[row];
    }
    if (left == 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s: /counts: sums to %lld classes, /drawn says %lld", path,
                   (long long)(head->drawn - left), (long long)head->drawn);
}

/* --- one shard ------------------------------------------------------------------------------ */

static int add_shard(kd_store *s, const char *path, const kd_shard_head *head) {
    kd_store_shard *shard = grow(s->shard, s->shards + 1, sizeof *shard, path);
    if (!shard) return KD_EINTERNAL;
    s->shard = shard;
    shard[s->shards] = (kd_store_shard){.path = strdup(path),
                                        .first_position = s->positions,
                                        .positions = head->positions,
                                        .first_drawn = s->drawn,
                                        .drawn = head->drawn};
    return shard[s->shards++].path ? KD_OK : kd_fail_memory(strlen(path) + 1, path);
}

/* The sums of its rows, to which every column adds. */
static int begin_sums(kd_store *s, const char *path, const kd_shard_head *head) {
    uint32_t *sum = grow(s->sum, s->rows + head->rows, sizeof *sum, path);
    if (!sum) return KD_EINTERNAL;
    memset(sum + s->rows, 0, (size_t)head->rows * sizeof *sum);
    s->sum = sum;
    return KD_OK;
}

/* Every column of a shard, in an order in which each can be checked. */
static int read_columns(opening *o, hid_t file, const char *path, const kd_shard_head *head) {
    kd_store *s = o->store;
    int status = KD_OK;
    for (kd_column c = 0; c < KD_COLUMN_LOGITS && status == KD_OK; c++)
        if (kd_column_width(&s->header, c)) status = read_column(s, file, path, c, head);
    if (status == KD_OK) status = check_views(s, path, head);
    if (status == KD_OK && s->header.sequences) status = place_runs(s, path, head);
    if (status == KD_OK && s->header.kind == KD_STORE_SAMPLED) status = place_draws(s, path, head);
    if (status == KD_OK) status = begin_sums(s, path, head);
    if (status == KD_OK) status = add_shard(s, path, head);
    for (kd_column c = KD_COLUMN_LOGITS; c < KD_COLUMN_COUNT && status == KD_OK; c++)
        if (kd_column_width(&s->header, c))
            status = kd_store_verify_column(s, file, head, c, o->hasher[c]);
    return status;
}

static bool same_text(const char *a, const char *b) {
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Appends a shard's rows; `head` is its own, `first` that of the first shard (NULL for that one).
 */
static int read_shard(opening *o, const char *path, const kd_shard_head *first,
                      kd_shard_head *head) {
    kd_store *s = o->store;
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
        if (o->fits) status = o->fits(o->context, &s->header, s->path);
        if (status < 0) goto done;
    }
    if (!first && s->header.kind == KD_STORE_HIDDEN) {
        status = kd_store_output_read(file, path, head, &s->output);
        s->header.output = s->output;
    }
    if (status == KD_OK) status = read_columns(o, file, path, head);
    if (status == KD_OK) {
        s->rows += head->rows;
        s->positions += head->positions;
        s->drawn += head->drawn;
    }
done:
    free(origin);
    kd_h5_close(file);
    return status;
}

/* --- the whole store ------------------------------------------------------------------------ */

static int read_folder(opening *o) {
    kd_store *s = o->store;
    char path[KD_PATH_MAX];
    kd_shard_head first = {.total_rows = 1}, head;
    kd_shards shards;
    int64_t shard = 0;
    int status = kd_store_shards(&shards, s->path);
    for (; s->rows < first.total_rows; shard++) {
        status = kd_shards_path(&shards, shard, path);
        if (status < 0) return status;
        if (!kd_file_exists(path))
            return shard == 0 ? kd_fail(KD_ENOINPUT, "%s: is missing: no teacher store here", path)
                              : kd_fail(KD_EDATA,
                                        "%s: is missing: the store is not complete, it has %lld of "
                                        "%lld rows",
                                        path, (long long)s->rows, (long long)first.total_rows);
        status = read_shard(o, path, shard ? &first : NULL, &head);
        if (status < 0) return status;
        if (shard == 0) first = head;
    }
    status = kd_shards_path(&shards, shard, path);
    if (status == KD_OK && kd_file_exists(path))
        status =
            kd_fail(KD_EDATA, "%s: does not belong here: the %lld rows are complete without it",
                    path, (long long)s->rows);
    return status;
}

static int read_file(opening *o) {
    kd_store *s = o->store;
    kd_shard_head head;
    int status = read_shard(o, s->path, NULL, &head);
    if (status == KD_OK && head.rows != head.total_rows)
        status = kd_fail(KD_EDATA, "%s: is one shard of a store: name its folder", s->path);
    return status;
}

/* Over all columns, however they are cut into shards. */
static kd_hash hash_of(const opening *o) {
    const kd_store *s = o->store;
    const kd_store_header *h = &s->header;
    kd_hash part[KD_COLUMN_COUNT + 4];
    int n = 0;
    const int64_t sizes[] = {h->kind, h->dtype, h->classes, h->k, h->width, h->views, h->augmented};
    float temperature[KD_STORE_TEMPERATURES_MAX] = {0};
    for (int i = 0; i < h->temperature_count; i++) temperature[i] = (float)h->temperature[i];
    part[n++] = kd_hash_bytes(sizes, sizeof sizes);
    part[n++] = kd_hash_bytes(temperature, sizeof temperature);
    if (h->draws) part[n++] = kd_hash_bytes(&h->draws, sizeof h->draws);
    for (kd_column c = 0; c < KD_COLUMN_LOGITS; c++)
        if (h->draws || c != KD_COLUMN_COUNTS)
            part[n++] = kd_hash_bytes(s->column[c], (size_t)(s->rows * kd_column_width(h, c)) *
                                                        kd_column_element(h, c));
    for (kd_column c = KD_COLUMN_LOGITS; c < KD_COLUMN_COUNT; c++)
        if (h->draws || c != KD_COLUMN_DRAWN) part[n++] = kd_hasher_value(o->hasher[c]);
    if (s->output)
        part[n++] =
            kd_hash_bytes(s->output, (size_t)h->classes * (size_t)h->width * sizeof *s->output);
    return kd_hash_join(part, n);
}

static int read_store(opening *o) {
    kd_store *s = o->store;
    int status = kd_open_files_create(&s->files);
    for (kd_column c = KD_COLUMN_LOGITS; c < KD_COLUMN_COUNT && status == KD_OK; c++)
        status = kd_hasher_create(&o->hasher[c]);
    if (status == KD_OK) status = kd_file_is_folder(s->path) ? read_folder(o) : read_file(o);
    if (status == KD_OK) status = kd_store_index(s);
    if (status == KD_OK) s->hash = hash_of(o);
    for (kd_column c = 0; c < KD_COLUMN_COUNT; c++) kd_hasher_free(o->hasher[c]);
    return status;
}

int kd_store_open(kd_store **out, const char *path) {
    return kd_store_open_fitting(out, path, NULL, NULL);
}

int kd_store_open_fitting(kd_store **out, const char *path, kd_store_fits *fits,
                          const void *context) {
    *out = NULL;
    kd_store *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, "the teacher store");
    opening o = {.store = s, .fits = fits, .context = context};
    int status = KD_OK;
    if (strlen(path) >= sizeof s->path)
        status = kd_fail(KD_EIO, "%s: path too long", path);
    else
        memcpy(s->path, path, strlen(path) + 1);
    if (status == KD_OK) status = read_store(&o);
    if (status < 0) {
        kd_store_free(s);
        return status;
    }
    *out = s;
    return KD_OK;
}

void kd_store_free(kd_store *s) {
    if (!s) return;
    kd_open_files_free(s->files);
    for (int64_t i = 0; i < s->shards; i++) {
        for (kd_column c = 0; c < KD_COLUMN_COUNT; c++) kd_h5_rows_clear(&s->shard[i].column[c]);
        free(s->shard[i].path);
    }
    for (kd_column c = 0; c < KD_COLUMN_LOGITS; c++) free(s->column[c]);
    free(s->shard);
    free(s->slot);
    free(s->first);
    free(s->first_drawn);
    free(s->sum);
    free(s->output);
    free(s->origin);
    free(s);
}

int kd_store_origin(char **out, const char *path) {
    char first[KD_PATH_MAX];
    hid_t file;
    *out = NULL;
    kd_shards shards;
    const bool folder = kd_file_is_folder(path);
    int status = kd_store_shards(&shards, path);
    if (status == KD_OK && folder) status = kd_shards_path(&shards, 0, first);
    if (status == KD_OK) status = kd_h5_open(&file, folder ? first : path);
    if (status < 0) return status;
    status = kd_shard_origin_read(file, out);
    kd_h5_close(file);
    return status;
}
