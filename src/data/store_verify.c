/* The numbers of a store, read through once when it is opened, in blocks. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/error.h"
#include "base/size.h"
#include "data/store_inside.h"

enum { BLOCK_BYTES = 1 << 20 };

/* A column of the last shard, on its way through a block. */
typedef struct {
    kd_store *store;
    const kd_store_shard *shard;
    const kd_h5_rows *rows;
    kd_column c;
    kd_hasher *hasher;
    int64_t width;
    int64_t count;         /* positions of the shard; of DRAWN, classes                */
    const int32_t *length; /* of the rows, in those; NULL: 1                           */
    int64_t at, n;         /* the block's positions, counted in the shard                    */
    void *raw;             /* (n,width) as they are stored                                   */
    int32_t *index;        /* INDEX: (n,width) as int32                                      */
    int64_t *seen;         /* INDEX: (classes) the last position, from 1 on, that kept it    */
    uint32_t crc;          /* so far                                                         */
    kd_drawn drawn;        /* DRAWN: the position's last class, and its draws so far …       */
    int64_t whole;         /* … and how many positions of the row are whole                  */
    int64_t row;           /* of the shard: whose positions come next …                      */
    int64_t left;          /* … and how many of them                                         */
    int64_t bad;           /* the first position that cannot be used, or −1 …                */
    const char *why;       /* … and what it has                                              */
} passage;

int kd_store_refuse_row(const kd_store *s, const char *path, int64_t row, const char *what) {
    return kd_fail(KD_EDATA, "%s: row %lld (sample %llu): %s", path, (long long)row,
                   (unsigned long long)((uint64_t *)s->column[KD_COLUMN_ID])[s->rows + row], what);
}

static int refuse_position(const passage *p) {
    int64_t row = p->bad, left = p->bad;
    if (p->length)
        for (row = 0; left >= p->length[row]; row++) left -= p->length[row];
    return kd_store_refuse_row(p->store, p->shard->path, row, p->why);
}

/* The first number of n that is not finite, or −1. */
static int64_t find_not_finite(const void *raw, size_t element, int64_t n) {
    if (element == 2) {
        const uint16_t *half = raw;
        for (int64_t i = 0; i < n; i++)
            if ((half[i] & 0x7c00) == 0x7c00) return i;
    } else {
        const float *x = raw;
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(x[i])) return i;
    }
    return -1;
}

static void check_reals(passage *p) {
    static const char *const has[KD_COLUMN_COUNT] = {
        [KD_COLUMN_LOGITS] = "has a logit that is not finite",
        [KD_COLUMN_KEPT] = "has a logit that is not finite",
        [KD_COLUMN_TAIL] = "has a tail that is not finite",
        [KD_COLUMN_HIDDEN] = "has a hidden number that is not finite"};
    const int64_t at = find_not_finite(p->raw, p->rows->element, p->n * p->width);
    if (at < 0) return;
    p->bad = p->at + at / p->width;
    p->why = has[p->c];
}

/* Kept classes exist and are all different. */
static void check_index(passage *p) {
    for (int64_t i = 0; i < p->n * p->width; i++) {
        const int32_t class = p->index[i];
        const int64_t position = p->at + i / p->width;
        const bool exists = class >= 0 && class < p->store->header.classes;
        if (exists && p->seen[class] != position + 1) {
            p->seen[class] = position + 1;
            continue;
        }
        p->bad = position;
        p->why = exists ? "keeps a class twice" : "keeps a class that does not exist";
        return;
    }
}

/* Why entry i of the block, `left` more of whose row follow, cannot be: classes of a position exist
 * and rise, their counts sum to /draws, and the row has as many positions as /length says. */
static const char *fault_of_drawn(passage *p, const kd_drawn *entry, int64_t row, int64_t left) {
    const kd_store *s = p->store;
    const int32_t positions = ((const int32_t *)s->column[KD_COLUMN_LENGTH])[s->rows + row];
    if (entry->class <= p->drawn.class) return "has drawn classes that do not rise";
    if (entry->count > s->header.draws - p->drawn.count) return "has more draws than /draws";
    p->drawn = (kd_drawn){entry->class, p->drawn.count + entry->count};
    if (p->drawn.count == s->header.draws) {
        p->drawn = (kd_drawn){-1, 0};
        p->whole++;
    }
    if (left > 0) return p->whole < positions ? NULL : "has more draws than positions";
    if (p->whole != positions || p->drawn.count != 0) return "has fewer draws than positions";
    p->whole = 0;
    return NULL;
}

static void check_drawn(passage *p) {
    int64_t row = p->row, left = p->left;
    for (int64_t i = 0; i < p->n && p->bad < 0; i++) {
        const kd_drawn entry =
            kd_drawn_read((const unsigned char *)p->raw + 3 * i, p->store->header.classes);
        if (left == 0) left = p->length[row];
        p->why = fault_of_drawn(p, &entry, row, --left);
        if (p->why) p->bad = p->at + i;
        row += left == 0;
    }
}

uint32_t kd_store_add_to_sum(uint32_t sum, const void *raw, int64_t positions, int64_t width,
                             size_t element) {
    for (int64_t t = 0; t < positions; t++)
        for (int64_t from = 0; from < width; from += KD_STORE_PIECE) {
            const int64_t n = width - from < KD_STORE_PIECE ? width - from : KD_STORE_PIECE;
            const char *piece = (const char *)raw + (size_t)(t * width + from) * element;
            const uint64_t mixed = kd_checksum64(piece, (size_t)n * element) ^ sum;
            sum = (uint32_t)(mixed * UINT64_C(0x9e3779b97f4a7c15) >> 32);
        }
    return sum;
}

/* The block's positions to the sums of their rows. */
static void add_to_sums(passage *p) {
    const size_t bytes = kd_array_bytes(p->width, p->rows->element);
    uint32_t *sum = p->store->sum + p->store->rows;
    for (int64_t done = 0; done < p->n;) {
        if (p->left == 0) p->left = p->length ? p->length[p->row] : 1;
        const int64_t n = p->left < p->n - done ? p->left : p->n - done;
        sum[p->row] = kd_store_add_to_sum(sum[p->row], (char *)p->raw + (size_t)done * bytes, n,
                                          p->width, p->rows->element);
        done += n;
        p->left -= n;
        p->row += p->left == 0;
    }
}

static int pass_block(passage *p, int fd) {
    const int64_t first = p->at * p->width, n = p->n * p->width;
    const bool index = p->c == KD_COLUMN_INDEX;
    int status = kd_h5_rows_read(p->rows, fd, p->shard->path, first, n, p->raw);
    if (status < 0) return status;
    p->crc = (uint32_t)crc32_z(p->crc, p->raw, (size_t)n * p->rows->element);
    if (index)
        status = kd_h5_rows_integers(p->rows, p->shard->path, kd_column_name(p->c), first, n,
                                     p->raw, p->index);
    if (status < 0) return status;
    if (p->bad < 0 && index) check_index(p);
    if (p->bad < 0 && p->c == KD_COLUMN_DRAWN) check_drawn(p);
    if (p->bad < 0 && !index && p->c != KD_COLUMN_DRAWN) check_reals(p);
    add_to_sums(p);
    kd_hasher_add(p->hasher, index ? (void *)p->index : p->raw,
                  (size_t)n * kd_column_element(&p->store->header, p->c));
    return KD_OK;
}

static int pass_all(passage *p, hid_t file) {
    const int64_t shard = p->store->shards - 1;
    const int64_t position = p->width * (int64_t)p->rows->element;
    const int64_t most = position < BLOCK_BYTES ? BLOCK_BYTES / position : 1;
    const size_t numbers = (size_t)(most * p->width);
    const size_t classes = (size_t)p->store->header.classes;
    int fd, status = KD_OK;
    p->raw = malloc(numbers * p->rows->element);
    if (p->c == KD_COLUMN_INDEX) {
        p->index = malloc(numbers * sizeof *p->index);
        p->seen = calloc(classes, sizeof *p->seen);
    }
    if (!p->raw || (p->c == KD_COLUMN_INDEX && (!p->index || !p->seen)))
        return kd_fail_memory(numbers * p->rows->element + classes * sizeof *p->seen,
                              p->shard->path);
    status = kd_open_files_take(p->store->files, shard, p->shard->path, &fd);
    if (status < 0) return status;
    for (; p->at < p->count && status == KD_OK; p->at += p->n) {
        const int64_t left = p->count - p->at;
        p->n = left < most ? left : most;
        status = pass_block(p, fd);
    }
    kd_open_files_give_back(p->store->files, shard);
    if (status == KD_OK)
        status = kd_store_check_crc(file, p->shard->path, kd_column_name(p->c), p->crc);
    return status == KD_OK && p->bad >= 0 ? refuse_position(p) : status;
}

int kd_store_verify_column(kd_store *s, hid_t file, const kd_shard_head *head, kd_column c,
                           kd_hasher *hasher) {
    kd_store_shard *shard = &s->shard[s->shards - 1];
    const bool drawn = c == KD_COLUMN_DRAWN;
    const int32_t *length = s->column[drawn ? KD_COLUMN_COUNTS : KD_COLUMN_LENGTH];
    passage p = {.store = s,
                 .shard = shard,
                 .rows = &shard->column[c],
                 .c = c,
                 .hasher = hasher,
                 .width = kd_column_width(&s->header, c),
                 .count = drawn ? shard->drawn : shard->positions,
                 .length = length ? length + s->rows : NULL,
                 .drawn = {-1, 0},
                 .bad = -1};
    int64_t shape[2];
    kd_column_shape(head, c, shape);
    hid_t type = kd_column_type(&s->header, c);
    int status = kd_h5_rows_find(&shard->column[c], file, kd_column_name(c), shape, type);
    if (type >= 0) H5Tclose(type);
    if (status == KD_OK && drawn && (p.rows->element != 1 || p.rows->has_sign))
        status = kd_fail(KD_EDATA, "%s: /%s: must be uint8", shard->path, kd_column_name(c));
    if (status == KD_OK) status = pass_all(&p, file);
    free(p.raw);
    free(p.index);
    free(p.seen);
    return status;
}
