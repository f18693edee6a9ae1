/* The layout of a shard (docs/teacher-store.md), shared by store_write.c and store_read.c only. */
#ifndef KD_DATA_STORE_FORMAT_H
#define KD_DATA_STORE_FORMAT_H

#include "base/file.h"
#include "data/h5.h"
#include "data/store.h"

typedef struct {
    kd_store_header header;
    int64_t first_row, rows, total_rows;
} kd_shard_head;

int kd_shard_head_write(hid_t file, const kd_shard_head *head);
/* Refuses what is not a store, or states impossible sizes. */
int kd_shard_head_read(hid_t file, const char *path, kd_shard_head *out);

/* The first field two headers differ in, or NULL. */
const char *kd_store_header_difference(const kd_store_header *a, const kd_store_header *b);

/* "<folder>/shard-00012.h5" */
int kd_shard_path(char out[KD_PATH_MAX], const char *folder, int64_t index);

/* The datasets, one column of every row each. */
typedef enum {
    KD_COLUMN_ID,     /* u64                                                             */
    KD_COLUMN_VIEW,   /* i32; may be missing when views = 1                              */
    KD_COLUMN_LABEL,  /* i32; may be missing                                             */
    KD_COLUMN_LOGITS, /* DENSE: (V) of dtype                                             */
    KD_COLUMN_INDEX,  /* TOPK: (k) i32                                                   */
    KD_COLUMN_KEPT,   /* TOPK: (k) of dtype                                              */
    KD_COLUMN_TAIL,   /* TOPK: (temperatures) f32                                        */
    KD_COLUMN_COUNT
} kd_column;

const char *kd_column_name(kd_column c);
/* Numbers per row; 0: this kind of store does not have the column. */
int64_t kd_column_width(const kd_store_header *h, kd_column c);
/* Bytes of one number. */
size_t kd_column_element(const kd_store_header *h, kd_column c);
/* The stored type, which is also the one in memory. Close with H5Tclose. */
hid_t kd_column_type(const kd_store_header *h, kd_column c);
/* The shape of `rows` rows; returns the rank. */
int kd_column_shape(const kd_store_header *h, kd_column c, int64_t rows, int64_t shape[2]);
/* Bytes of one row over all columns. */
size_t kd_store_row_bytes(const kd_store_header *h);

#endif
