/* Rows of an open store: what is said of each lies in memory, its numbers are read from the file.
 */
#include <string.h>

#include "base/error.h"
#include "data/half.h"
#include "data/store_inside.h"

const kd_store_header *kd_store_describe(const kd_store *s) {
    return &s->header;
}

kd_hash kd_store_hash(const kd_store *s) {
    return s->hash;
}

int64_t kd_store_rows(const kd_store *s) {
    return s->rows;
}

int64_t kd_store_positions(const kd_store *s) {
    return s->positions;
}

int64_t kd_store_drawn(const kd_store *s) {
    return s->drawn;
}

int kd_store_temperature_index(const kd_store_header *h, double temperature) {
    for (int i = 0; i < h->temperature_count; i++)
        if (kd_store_same_temperature(h->temperature[i], temperature)) return i;
    return -1;
}

/* --- rows ----------------------------------------------------------------------------------- */

static int get_row(const kd_store *s, uint64_t id, int64_t view, int64_t *row) {
    *row = kd_store_find(s, id, view);
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

/* --- numbers -------------------------------------------------------------------------------- */

/* The shard that holds a position. */
static int64_t shard_of(const kd_store *s, int64_t position) {
    int64_t low = 0, high = s->shards;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (s->shard[middle].first_position <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* A run of positions that is being read; where its numbers go, some of them NULL. */
typedef struct {
    int64_t row, first, length; /* first: counted in the shard */
    float *values;              /* (length,width): logits, kept ones, hidden states, shares */
    int32_t *index;             /* (length,k), of draws (length,draws)              */
    float *tail;                /* (length)                                         */
    int temperature;            /* of the tail                                      */
    int64_t position;           /* SAMPLED: whose draws come next …                 */
    int slot, drawn;            /* … its classes and its draws so far               */
} run;

/* Where the run's numbers lie in a column, counted in its shard. */
typedef struct {
    int64_t first, count;
} extent;

static extent extent_of(const kd_store *s, const kd_store_shard *shard, kd_column c, const run *r) {
    if (c != KD_COLUMN_DRAWN) return (extent){r->first - shard->first_position, r->length};
    return (extent){s->first_drawn[r->row] - shard->first_drawn,
                    ((const int32_t *)s->column[KD_COLUMN_COUNTS])[r->row]};
}

static int refuse_changed(const kd_store *s, const kd_store_shard *shard, const run *r) {
    return kd_fail(KD_EDATA,
                   "%s: the numbers of sample %llu are not those that were there when the "
                   "store was opened: the file was changed or replaced",
                   shard->path, (unsigned long long)((uint64_t *)s->column[KD_COLUMN_ID])[r->row]);
}

/* Entries of draws into the classes and shares of their positions; false: the file has changed. */
static bool keep_draws(run *r, const kd_store_header *h, int64_t n, const unsigned char *raw) {
    for (int64_t i = 0; i < n; i++) {
        const kd_drawn entry = kd_drawn_read(raw + 3 * i, h->classes);
        if (r->position == r->length || entry.count > h->draws - r->drawn) return false;
        const int64_t at = r->position * h->draws;
        r->index[at + r->slot] = entry.class;
        r->values[at + r->slot++] = (float)entry.count / (float)h->draws;
        r->drawn += entry.count;
        if (r->drawn < h->draws) continue;
        for (int k = r->slot; k < h->draws; k++) {
            r->index[at + k] = 0;
            r->values[at + k] = 0;
        }
        r->position++;
        r->slot = r->drawn = 0;
    }
    return true;
}

/* `n` numbers of a column from `at` on, counted in the run. */
static int keep(run *r, const kd_store *s, const kd_store_shard *shard, kd_column c, int64_t at,
                int64_t n, const void *raw) {
    const kd_store_header *h = &s->header;
    if (c == KD_COLUMN_DRAWN)
        return keep_draws(r, h, n / 3, raw) ? KD_OK : refuse_changed(s, shard, r);
    if (c == KD_COLUMN_INDEX)
        return kd_h5_rows_integers(&shard->column[c], shard->path, kd_column_name(c), at, n, raw,
                                   r->index + at);
    if (c == KD_COLUMN_TAIL)
        for (int64_t i = r->temperature; i < n; i += h->temperature_count)
            r->tail[(at + i) / h->temperature_count] = ((const float *)raw)[i];
    else if (h->dtype == KD_STORE_F16)
        kd_half_decode(r->values + at, raw, n);
    else
        memcpy(r->values + at, raw, (size_t)n * sizeof *r->values);
    return KD_OK;
}

/* Its numbers in one column: as many positions at once as make a piece, or a position in pieces. */
static int read_column(const kd_store *s, const kd_store_shard *shard, int fd, run *r, kd_column c,
                       uint32_t *sum) {
    _Alignas(8) unsigned char raw[KD_STORE_PIECE * sizeof(int64_t)];
    const kd_h5_rows *rows = &shard->column[c];
    const extent e = extent_of(s, shard, c, r);
    const int64_t width = rows->width, all = e.count * width;
    const int64_t whole = width < KD_STORE_PIECE ? KD_STORE_PIECE / width * width : KD_STORE_PIECE;
    for (int64_t at = 0, n; at < all; at += n) {
        const int64_t left = width < KD_STORE_PIECE ? all - at : width - at % width;
        n = left < whole ? left : whole;
        int status = kd_h5_rows_read(rows, fd, shard->path, e.first * width + at, n, raw);
        if (status == KD_OK) status = keep(r, s, shard, c, at, n, raw);
        if (status < 0) return status;
        const bool many = width < KD_STORE_PIECE;
        *sum =
            kd_store_add_to_sum(*sum, raw, many ? n / width : 1, many ? width : n, rows->element);
    }
    return KD_OK;
}

/* All columns of a run; what is not as it was when the store was opened is refused. */
static int read_run(const kd_store *s, const run *wanted) {
    run r = *wanted;
    const int64_t number = shard_of(s, r.first);
    const kd_store_shard *shard = &s->shard[number];
    uint32_t sum = 0;
    int fd;
    int status = kd_open_files_take(s->files, number, shard->path, &fd);
    if (status < 0) return status;
    for (kd_column c = KD_COLUMN_LOGITS; c < KD_COLUMN_COUNT && status == KD_OK; c++)
        if (kd_column_width(&s->header, c)) status = read_column(s, shard, fd, &r, c, &sum);
    kd_open_files_give_back(s->files, number);
    return status < 0 || sum == s->sum[r.row] ? status : refuse_changed(s, shard, &r);
}

void kd_store_expect(const kd_store *s, int64_t view, uint64_t id) {
    const int64_t row = kd_store_find(s, id, view % s->header.views);
    int fd;
    if (row < 0) return;
    const run r = {.row = row,
                   .first = s->header.sequences ? s->first[row] : row,
                   .length = row_length(s, row)};
    const int64_t number = shard_of(s, r.first);
    const kd_store_shard *shard = &s->shard[number];
    if (kd_open_files_take(s->files, number, shard->path, &fd) < 0) return;
    for (kd_column c = KD_COLUMN_LOGITS; c < KD_COLUMN_COUNT; c++)
        if (kd_column_width(&s->header, c)) {
            const extent e = extent_of(s, shard, c, &r);
            kd_h5_rows_expect(&shard->column[c], fd, e.first * shard->column[c].width,
                              e.count * shard->column[c].width);
        }
    kd_open_files_give_back(s->files, number);
}

int kd_store_read_run(const kd_store *s, int64_t view, uint64_t id, int64_t length, float *logits) {
    KD_CONTRACT(s->header.kind == KD_STORE_DENSE, "%s: not a dense store", s->path);
    run r = {.length = length, .values = logits};
    int status = get_run(s, view, id, length, &r.row, &r.first);
    return status < 0 ? status : read_run(s, &r);
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
    run r = {.length = length,
             .values = kept,
             .index = index,
             .tail = tail,
             .temperature = temperature_index};
    int status = get_run(s, view, id, length, &r.row, &r.first);
    return status < 0 ? status : read_run(s, &r);
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
    run r = {.length = length, .values = hidden};
    int status = get_run(s, view, id, length, &r.row, &r.first);
    return status < 0 ? status : read_run(s, &r);
}

int kd_store_read_sampled(const kd_store *s, int64_t view, uint64_t id, int64_t length,
                          int32_t *index, float *share) {
    KD_CONTRACT(s->header.kind == KD_STORE_SAMPLED, "%s: not a store of draws", s->path);
    run r = {.length = length, .values = share, .index = index};
    int status = get_run(s, view, id, length, &r.row, &r.first);
    return status < 0 ? status : read_run(s, &r);
}
