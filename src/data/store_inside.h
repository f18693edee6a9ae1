/* An open store, shared by store_open.c, store_index.c, store_verify.c and store_read.c only.
 *
 * What a store has for each row lies in memory: its id, view, label or length and tokens, a sum of
 * its numbers, and a place in the index. The numbers themselves stay in the files: they are read
 * through once, when the store is opened, and then row by row as they are needed.
 */
#ifndef KD_DATA_STORE_INSIDE_H
#define KD_DATA_STORE_INSIDE_H

#include "base/open_files.h"
#include "data/h5_rows.h"
#include "data/store_format.h"

enum { KD_STORE_PIECE = 8192 }; /* numbers of a position that are read and summed at once */

/* A file of the store and its rows. */
typedef struct {
    char *path;
    int64_t first_position, positions;
    int64_t first_drawn, drawn;
    kd_h5_rows column[KD_COLUMN_COUNT]; /* those of positions */
} kd_store_shard;

struct kd_store {
    char path[KD_PATH_MAX];
    kd_store_header header;
    kd_hash hash;
    int64_t rows, positions, drawn;
    float *output; /* HIDDEN: the header's */
    char *origin;  /* the header's         */
    kd_store_shard *shard;
    int64_t shards;
    kd_open_files *files;           /* by shard                                         */
    void *column[KD_COLUMN_LOGITS]; /* (rows) of each that rows have                    */
    int64_t *first;                 /* SEQUENCES: (rows) the first position of each row */
    int64_t *first_drawn;           /* SAMPLED: (rows) the first draw of each row       */
    uint32_t *sum;                  /* (rows) of its numbers as they are stored         */
    /* Open addressing: slot[h], slot[h+1] … until KD_STORE_FREE hold the rows whose key hashes to
     * h. */
    uint32_t *slot;
    uint64_t mask;
};

#define KD_STORE_FREE UINT32_MAX /* and a store has fewer rows */

/* The index of all rows; refuses two of one sample and view. */
int kd_store_index(kd_store *store);
/* The row of a sample's view, or −1. */
int64_t kd_store_find(const kd_store *store, uint64_t id, int64_t view);

/* A row's sum after more of its numbers, `positions` · `width` of `element` bytes; begins with 0. A
 * position wider than KD_STORE_PIECE may come in pieces of that many. */
uint32_t kd_store_add_to_sum(uint32_t sum, const void *raw, int64_t positions, int64_t width,
                             size_t element);

/* Finds a column of positions of the last shard in its file, and reads it through: its checksum,
 * every number, the rows' sums, its part of the store's hash. `head` is the shard's, whose rows are
 * store->rows … . */
int kd_store_verify_column(kd_store *store, hid_t file, const kd_shard_head *head, kd_column c,
                           kd_hasher *hasher);
/* Of a row of the shard that is being opened, which begins with row store->rows. */
int kd_store_refuse_row(const kd_store *store, const char *path, int64_t row, const char *what);

#endif
