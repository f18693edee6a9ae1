/* The teacher's stage, whatever the task: a store (data/store.h) is made or gone on with, row by
 * row, until it is whole or a stop is asked for. */
#ifndef KD_DISTILL_TEACH_H
#define KD_DISTILL_TEACH_H

#include "data/store.h"
#include "distill/origin.h"

typedef struct {
    kd_store_header header;  /* but for its origin */
    const kd_origin *origin; /* all of whose facts are known */
    int64_t rows;            /* over all views       */
    const char *unit;        /* "samples", for people */
    void *context;
    /* Rows that are answered together, from `row` on; at least 1. */
    int64_t (*batch)(const void *context, int64_t row);
    int64_t (*positions)(const void *context, int64_t row, int64_t n); /* of n rows */
    /* The teacher's answers to n rows → what the store keeps of them (kd_store_pack). A negative
     * status ends the stage. */
    int (*answer)(void *context, const kd_store_header *header, int64_t row, int64_t n,
                  void *packed);
    /* That to the writer. */
    int (*append)(void *context, kd_store_writer *writer, int64_t row, int64_t n,
                  const void *packed);
} kd_teaching;

/* Makes what is missing of the store in the folder `path` and opens it; *content is its hash. Ranks
 * answer a batch each and the first stores them in their order: the bytes are those of one. Whole
 * shards of earlier starts are kept. KD_EAGAIN after kd_train_request_stop. The caller frees *out.
 */
int kd_teach(kd_store **out, kd_hash *content, const char *path, const kd_teaching *how);

#endif
