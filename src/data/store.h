/* The teacher store: soft targets on disk (HDF5), described in docs/teacher-store.md.
 *
 * A store is one file, or a folder of shards "shard-00000.h5" …, each whole or absent. Rows are
 * joined by (view, sample id), so that no shuffling can misalign them. A row has one position or,
 * in a store of sequences (speech, text), a run of them: one for each label token that is a target.
 */
#ifndef KD_DATA_STORE_H
#define KD_DATA_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

enum { KD_STORE_TEMPERATURES_MAX = 8, KD_STORE_DRAWS_MAX = 4096, KD_STORE_DRAWN_MAX = 1 << 24 };

/* HIDDEN: the teacher's last hidden state at each position, and once its output matrix, whose
 * product is the logits: exact at every temperature.
 * SAMPLED: classes drawn with replacement from softmax(v/τ), each with how often it came up: c/N is
 * an estimate of its probability without bias (Anshumann et al. 2025, "Sparse Logit Sampling"). */
typedef enum { KD_STORE_DENSE, KD_STORE_TOPK, KD_STORE_HIDDEN, KD_STORE_SAMPLED } kd_store_kind;
typedef enum { KD_STORE_F32, KD_STORE_F16 } kd_store_dtype;

typedef struct {
    kd_store_kind kind;
    kd_store_dtype dtype;  /* of the logits or hidden states                             */
    bool sequences;        /* a row is a run of positions                                */
    int classes;           /* V ≥ 2                                                      */
    int k;                 /* TOPK: kept logits per row, 1 … V−1; DENSE: 0               */
    int temperature_count; /* TOPK: the temperatures the tail was summed at; SAMPLED: 1, the
                              one drawn at; else 0: those rows serve every temperature  */
    double temperature[KD_STORE_TEMPERATURES_MAX];
    int width;             /* HIDDEN: of a hidden state ≥ 1; else 0                      */
    const float *output;   /* HIDDEN: (V,width), v = hidden·outputᵀ; else NULL. A writer
                              reads it until its end; that of an open store is the store's */
    int draws;             /* SAMPLED: N of a position, 1 … KD_STORE_DRAWS_MAX, and V·N at
                              most KD_STORE_DRAWN_MAX; else 0. Sequences only            */
    uint64_t seed;         /* SAMPLED: of the draws; a writer's, not stored              */
    int64_t views;         /* rows per sample ≥ 1; view v of `views` augmentations       */
    bool augmented;        /* false: the one view is the sample as it is                 */
    kd_hash teacher;       /* of the teacher's weights; "" in a foreign store that does not say */
    kd_hash class_list;    /* of the class names joined by newlines; or ""               */
    kd_hash data;          /* of the samples, and of how they were augmented; or ""      */
    char description[256]; /* for people: "resnet56 from …"                              */
    const char *origin;    /* what the store was made from, as text, or NULL: not stated. A writer
                              reads it until its end; that of an open store is the store's       */
} kd_store_header;

/* Whether two temperatures are one: stores may hold them as float32. */
bool kd_store_same_temperature(double a, double b);

/* --- writing -------------------------------------------------------------------------------- */

typedef struct kd_store_writer kd_store_writer;

/* All functions of a writer are called by all ranks; the first has it, and on the others *out is
 * NULL and what is appended does nothing.
 *
 * Opens the folder `path` for the store `header`; creates it when missing. Shards already there
 * that carry the same header are kept: *rows_done says how many rows need not be made again (whole
 * shards only). Damaged shards and what follows them are removed, with a warning; one of another
 * header is refused with KD_EDATA, and nothing is removed. `total_rows` is over all views. k and
 * temperatures of a dense header are ignored.
 * Errors: KD_ECONFIG (an impossible header), KD_EDATA, KD_EIO, KD_EINTERNAL. */
int kd_store_writer_open(kd_store_writer **out, const char *path, const kd_store_header *header,
                         int64_t total_rows, int64_t *rows_done);
/* What a store keeps of n positions, as it keeps it: its bytes, and made of full-width teacher
 * logits (n,V), of which the top-k is taken, or hidden states (n,width), of the samples id[0],
 * id[id_step], …, which are for messages. Any rank may do it. Logits that are not finite, or do not
 * fit float16 in a float16 store, are refused with KD_EDATA; in float16 a logit below −65504
 * becomes −65504 when it is a probability of 0 either way (the row's largest is ≥ −32768). */
size_t kd_store_packed_bytes(const kd_store_header *header, int64_t n);
int kd_store_pack(void *out, const kd_store_header *header, int64_t n, const uint64_t *id,
                  int64_t id_step, const float *values);
/* Appends n rows: ids, labels (−1: not known) and what is kept of them. Not for sequences. */
int kd_store_writer_append(kd_store_writer *writer, int64_t n, int64_t view, const uint64_t *id,
                           const int32_t *label, const void *packed);
/* SEQUENCES: appends one row of `length` ≥ 1 positions: the label tokens (length) that the teacher
 * was asked for, of which a checksum is stored, and what is kept of its answers there. KD_EDATA
 * when a run is too long for a shard (64 MB). */
int kd_store_writer_append_run(kd_store_writer *writer, int64_t view, uint64_t id, int64_t length,
                               const int32_t *label, const void *packed);
/* Commits the last shard and frees the writer; all rows must have been appended (contract). Without
 * it, whole shards stay and the rest is lost. */
int kd_store_writer_close(kd_store_writer *writer);
/* Frees without committing. */
void kd_store_writer_abort(kd_store_writer *writer);
/* That all ranks see a complete store's shards (kd_file_await); called by all. */
int kd_store_await(const char *path);

/* --- reading -------------------------------------------------------------------------------- */

typedef struct kd_store kd_store;

/* Reads and checks everything (schema, checksums, row counts, missing or foreign shards, duplicate
 * ids, numbers that are not finite), in blocks of a megabyte or of a position. The numbers stay in
 * the files: in memory there are 28 to 36 bytes for each row (sequences: 40 to 60), 8 for each
 * chunk of a dataset, and a matrix of hidden states' teacher. The caller frees. Errors:
 * KD_ENOINPUT, KD_EDATA, KD_EIO, KD_EINTERNAL (memory). */
int kd_store_open(kd_store **out, const char *path);
/* The same, but `fits` is asked with the header of the first file before any number is read: what
 * it refuses with a negative status costs no more than that. */
typedef int kd_store_fits(const void *context, const kd_store_header *header, const char *path);
int kd_store_open_fitting(kd_store **out, const char *path, kd_store_fits *fits,
                          const void *context);
void kd_store_free(kd_store *store);
const kd_store_header *kd_store_describe(const kd_store *store);
/* Of all its numbers, ids, labels and temperatures, however they are cut into shards: stores of the
 * same hash teach the same. */
kd_hash kd_store_hash(const kd_store *store);
/* The origin that the first file of a store states; *out is NULL when it states none. KD_ENOINPUT
 * when there is no store. The caller frees. */
int kd_store_origin(char **out, const char *path);
int64_t kd_store_rows(const kd_store *store);
int64_t kd_store_positions(const kd_store *store); /* over all rows */

/* That every one of these n samples has a row in every view, made for the same label (where the
 * store states one): KD_EDATA names the first that does not. Not for sequences. */
int kd_store_check(const kd_store *store, int64_t n, const uint64_t *id, const int32_t *label);
/* SEQUENCES: that the sample has a row in every view, of this length and made for these label
 * tokens (length). Call it for every sample before training. */
int kd_store_check_run(const kd_store *store, uint64_t id, int64_t length, const int32_t *label);

/* Dense logits of the n rows (view, id[i]) into logits (n,V). KD_EDATA when a row is missing, or is
 * not what it was when the store was opened; KD_EIO when its file cannot be read or has become
 * shorter. `view` is taken modulo the store's views. Allocates nothing; several threads may read at
 * once. */
int kd_store_read(const kd_store *store, int64_t n, int64_t view, const uint64_t *id,
                  float *logits);
/* The same for TOPK: index (n,k), kept (n,k), and tail (n) = log Σ_{dropped} e^{v/τ} at
 * `temperature_index`, which must be one of the header's (kd_store_temperature_index ≥ 0). Our own
 * stores have the kept logits in falling order. */
int kd_store_read_topk(const kd_store *store, int64_t n, int64_t view, const uint64_t *id,
                       int temperature_index, int32_t *index, float *kept, float *tail);
int kd_store_temperature_index(const kd_store_header *header, double temperature); /* or −1 */

/* One row, position by position, whatever the store's layout (without sequences its length is 1):
 * its logits (length,V), its top-k (length,k) and tails (length), its hidden states (length,width).
 * KD_EDATA when the row is missing or has another length. A batch (B,T,C) is filled sample by
 * sample, each run at the place of its first target. */
int kd_store_read_run(const kd_store *store, int64_t view, uint64_t id, int64_t length,
                      float *logits);
int kd_store_read_topk_run(const kd_store *store, int64_t view, uint64_t id, int64_t length,
                           int temperature_index, int32_t *index, float *kept, float *tail);
int kd_store_read_hidden(const kd_store *store, int64_t view, uint64_t id, int64_t length,
                         float *hidden);
/* SAMPLED: index (length,N), the classes drawn at each position in rising order, and share
 * (length,N), how often each came up, over N; behind the last, class 0 with share 0. */
int kd_store_read_sampled(const kd_store *store, int64_t view, uint64_t id, int64_t length,
                          int32_t *index, float *share);
/* SAMPLED: different classes over all positions of the store. */
int64_t kd_store_drawn(const kd_store *store);
/* Lets the system fetch a row that will be read soon; returns at once, and changes no result. */
void kd_store_expect(const kd_store *store, int64_t view, uint64_t id);
/* How many positions the row has; KD_EDATA when it is missing. */
int64_t kd_store_length(const kd_store *store, int64_t view, uint64_t id);

/* What storing cost: the mean over the row's positions of KL(dense ‖ stored) in nats, at
 * `temperature` and without τ², where `logits` (length,V) are the teacher's own. Top-k rows (which
 * must have this temperature) are read as kept classes exact, the tail's mass spread evenly over
 * the others. SAMPLED: KL(stored ‖ dense), the other one being infinite, at the store's
 * temperature. KD_EDATA as above, KD_EINTERNAL (memory). */
int kd_store_divergence(double *out, const kd_store *store, int64_t view, uint64_t id,
                        int64_t length, double temperature, const float *logits);

#endif
