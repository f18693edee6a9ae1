/* The teacher store: soft targets on disk (HDF5), described in docs/teacher-store.md.
 *
 * A store is one file, or a folder of shards "shard-00000.h5" …, each whole or absent. Rows are
 * joined by (view, sample id), so that no shuffling can misalign them.
 */
#ifndef KD_DATA_STORE_H
#define KD_DATA_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

enum { KD_STORE_TEMPERATURES_MAX = 8 };

typedef enum { KD_STORE_DENSE, KD_STORE_TOPK } kd_store_kind;
typedef enum { KD_STORE_F32, KD_STORE_F16 } kd_store_dtype;

typedef struct {
    kd_store_kind kind;
    kd_store_dtype dtype;  /* of the logits                                              */
    int classes;           /* V ≥ 2                                                      */
    int k;                 /* TOPK: kept logits per row, 1 … V−1; DENSE: 0               */
    int temperature_count; /* TOPK: the temperatures the tail was summed at; DENSE: 0,
                              since dense rows serve every temperature                  */
    double temperature[KD_STORE_TEMPERATURES_MAX];
    int64_t views;         /* rows per sample ≥ 1; view v of `views` augmentations       */
    bool augmented;        /* false: the one view is the sample as it is                 */
    kd_hash teacher;       /* of the teacher's weights; "" in a foreign store that does not say */
    kd_hash class_list;    /* of the class names joined by newlines; or ""               */
    kd_hash data;          /* of the samples, and of how they were augmented; or ""      */
    char description[256]; /* for people: "resnet56 from …"                              */
} kd_store_header;

/* --- writing -------------------------------------------------------------------------------- */

typedef struct kd_store_writer kd_store_writer;

/* Opens the folder `path` for the store `header`; creates it when missing. Shards already there
 * that carry the same header are kept: *rows_done says how many rows need not be made again (whole
 * shards only). Shards of another header, damaged ones and what follows them are removed, with a
 * warning. `total_rows` is over all views. k and temperatures of a dense header are ignored.
 * Errors: KD_ECONFIG (an impossible header), KD_EIO, KD_EINTERNAL. */
int kd_store_writer_open(kd_store_writer **out, const char *path, const kd_store_header *header,
                         int64_t total_rows, int64_t *rows_done);
/* Appends n rows: ids, labels (−1: not known) and full-width teacher logits (n,V); the writer does
 * the top-k. Logits that are not finite, or do not fit float16 in a float16 store, are refused with
 * KD_EDATA; in float16 a logit below −65504 becomes −65504 when it is a probability of 0 either
 * way (the row's largest is ≥ −32768). */
int kd_store_writer_append(kd_store_writer *writer, int64_t n, int64_t view, const uint64_t *id,
                           const int32_t *label, const float *logits);
/* Commits the last shard and frees the writer; all rows must have been appended (contract). Without
 * it, whole shards stay and the rest is lost. */
int kd_store_writer_close(kd_store_writer *writer);
/* Frees without committing. */
void kd_store_writer_abort(kd_store_writer *writer);

/* --- reading -------------------------------------------------------------------------------- */

typedef struct kd_store kd_store;

/* Reads and checks everything (schema, checksums, row counts, missing or foreign shards, duplicate
 * ids, numbers that are not finite) into memory; float16 logits stay float16. The caller frees.
 * Errors: KD_ENOINPUT, KD_EDATA, KD_EIO, KD_EINTERNAL (memory). */
int kd_store_open(kd_store **out, const char *path);
void kd_store_free(kd_store *store);
const kd_store_header *kd_store_describe(const kd_store *store);
int64_t kd_store_rows(const kd_store *store);

/* That every one of these n samples has a row in every view, made for the same label (where the
 * store states one): KD_EDATA names the first that does not. */
int kd_store_check(const kd_store *store, int64_t n, const uint64_t *id, const int32_t *label);

/* Dense logits of the n rows (view, id[i]) into logits (n,V). KD_EDATA when a row is missing.
 * `view` is taken modulo the store's views. Allocates nothing; several threads may read at once. */
int kd_store_read(const kd_store *store, int64_t n, int64_t view, const uint64_t *id,
                  float *logits);
/* The same for TOPK: index (n,k), kept (n,k), and tail (n) = log Σ_{dropped} e^{v/τ} at
 * `temperature_index`, which must be one of the header's (kd_store_temperature_index ≥ 0). Our own
 * stores have the kept logits in falling order. */
int kd_store_read_topk(const kd_store *store, int64_t n, int64_t view, const uint64_t *id,
                       int temperature_index, int32_t *index, float *kept, float *tail);
int kd_store_temperature_index(const kd_store *store, double temperature); /* or −1 */

#endif
