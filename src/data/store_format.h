/* The layout of a shard (docs/teacher-store.md), shared by the store_*.c only. */
#ifndef KD_DATA_STORE_FORMAT_H
#define KD_DATA_STORE_FORMAT_H

#include "base/shards.h"
#include "data/h5.h"
#include "data/store.h"

typedef struct {
    kd_store_header header;
    int64_t first_row, rows, total_rows;
    int64_t positions;   /* of this shard: as many as rows, or the sum of its runs */
    int64_t drawn;       /* SAMPLED: different classes of all its positions        */
    uint32_t output_crc; /* HIDDEN: zlib's CRC-32 of the output matrix in float32  */
} kd_shard_head;

int kd_shard_head_write(hid_t file, const kd_shard_head *head);
/* Refuses what is not a store, or states impossible sizes. */
int kd_shard_head_read(hid_t file, const char *path, kd_shard_head *out);

/* The caller frees *out, which is NULL when the file states none. */
int kd_shard_origin_read(hid_t file, char **out);

/* The first field two headers differ in, or NULL; origins are compared where both state one. */
const char *kd_store_header_difference(const kd_store_header *a, const kd_store_header *b);

/* The shards of a store in a folder. */
int kd_store_shards(kd_shards *out, const char *folder);

/* The datasets, one column each: of every row, and from LOGITS on of every position, or, DRAWN, of
 * every class that was drawn at one. */
typedef enum {
    KD_COLUMN_ID,     /* u64                                                             */
    KD_COLUMN_VIEW,   /* i32; may be missing when views = 1                              */
    KD_COLUMN_LABEL,  /* i32; may be missing; not in sequences                           */
    KD_COLUMN_LENGTH, /* SEQUENCES: i32, positions of the row                            */
    KD_COLUMN_TOKENS, /* SEQUENCES: u32, CRC-32 of the label tokens as i32               */
    KD_COLUMN_COUNTS, /* SAMPLED: i32, different classes of all positions of the row     */
    KD_COLUMN_LOGITS, /* DENSE: (V) of dtype                                             */
    KD_COLUMN_INDEX,  /* TOPK: (k) i32                                                   */
    KD_COLUMN_KEPT,   /* TOPK: (k) of dtype                                              */
    KD_COLUMN_TAIL,   /* TOPK: (temperatures) f32                                        */
    KD_COLUMN_HIDDEN, /* HIDDEN: (width) of dtype                                        */
    KD_COLUMN_DRAWN,  /* SAMPLED: (3) u8, for each different class of a position         */
    KD_COLUMN_COUNT
} kd_column;

const char *kd_column_name(kd_column c);
/* The column that holds the teacher's logits, hidden states or draws. */
kd_column kd_column_values(const kd_store_header *h);
/* The columns that kd_store_pack makes, in the order in which they lie in its bytes. */
enum { KD_STORE_PACKED = 6 };
extern const kd_column kd_store_packed_column[KD_STORE_PACKED];
/* Numbers per row or position; 0: this kind of store does not have the column. */
int64_t kd_column_width(const kd_store_header *h, kd_column c);
/* Bytes of one number. */
size_t kd_column_element(const kd_store_header *h, kd_column c);
/* Bytes that a row or position takes, at most. */
size_t kd_column_bytes(const kd_store_header *h, kd_column c);
/* The stored type, which is also the one in memory. Close with H5Tclose. */
hid_t kd_column_type(const kd_store_header *h, kd_column c);
/* The shape in this shard; returns the rank. */
int kd_column_shape(const kd_shard_head *head, kd_column c, int64_t shape[2]);
/* Bytes of a row of one position over all columns, at most. */
size_t kd_store_row_bytes(const kd_store_header *h);

/* An entry of DRAWN: a class and how often it came up, as class + V·(count − 1) in three bytes, the
 * lowest first. Those of a position rise by their classes, and end where the counts sum to N. */
typedef struct {
    int32_t class, count;
} kd_drawn;
void kd_drawn_write(unsigned char out[3], int classes, kd_drawn drawn);
kd_drawn kd_drawn_read(const unsigned char in[3], int classes);
/* Entries of n positions that lie one behind the other. */
int64_t kd_drawn_count(const kd_store_header *h, int64_t n, const unsigned char *entries);

/* The CRC-32 of label tokens. */
uint32_t kd_store_tokens_crc(int64_t length, const int32_t *label);

/* The output matrix, which lies in a store's first file: as float16 when that loses nothing. */
uint32_t kd_store_output_crc(const kd_store_header *h);
int kd_store_output_write(hid_t file, const kd_store_header *h);
/* The caller frees *out (V,width). */
int kd_store_output_read(hid_t file, const char *path, const kd_shard_head *head, float **out);
/* That a dataset's numbers, whose CRC-32 is `crc`, have the one it states. */
int kd_store_check_crc(hid_t file, const char *path, const char *name, uint32_t crc);
/* Writes a dataset and its CRC-32. */
int kd_store_write_set(hid_t file, const char *name, int rank, const int64_t *shape, hid_t type,
                       const void *values, size_t bytes);

#endif
