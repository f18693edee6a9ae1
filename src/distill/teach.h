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
    /* Appends the rows from `row` on, as many as suit it, to the writer; *n says how many. A
     * negative status ends the stage. */
    int (*append)(void *context, kd_store_writer *writer, int64_t row, int64_t *n);
} kd_teaching;

/* Makes what is missing of the store in the folder `path` and opens it; *content is its hash. Whole
 * shards of earlier starts are kept. KD_EAGAIN after kd_train_request_stop. The caller frees *out.
 */
int kd_teach(kd_store **out, kd_hash *content, const char *path, const kd_teaching *teaching);

#endif
