/* Work of many pieces that the ranks share without waiting for each other: rank r of R makes the
 * pieces r, r + R, … and sends what it made to the rank that keeps it. A rank may be a few pieces
 * ahead of the others, so pieces of different length cost no waiting each. */
#ifndef KD_BASE_FLOW_H
#define KD_BASE_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was made of a piece. */
typedef struct {
    char *bytes;
    size_t length, capacity;
} kd_flow_bytes;

/* Makes the length `length` → the bytes, or NULL with a message. */
void *kd_flow_room(kd_flow_bytes *out, size_t length);

typedef struct {
    int64_t count; /* of pieces, the same on all ranks                             */
    int ahead;     /* pieces ≥ 1 that a rank may be ahead of another: as many lie in memory */
    void *context;
    /* Makes a piece, which has at least a byte. */
    int (*make)(void *context, int64_t piece, kd_flow_bytes *out);
    /* The rank that keeps a piece, the same on all; NULL: the first. */
    int (*keeper)(const void *context, int64_t piece);
    /* Keeps it, as its only writer (kd_ranks_write_own); pieces come in their order. */
    int (*keep)(void *context, int64_t piece, const void *bytes, size_t length);
    /* Whether a stop was asked for on this rank; asked again and again. */
    bool (*stop)(void);
    /* Told on the way that `done` pieces are made, about; NULL: nobody. */
    void (*show)(void *context, int64_t done);
} kd_flow;

/* Called by all ranks. *done is how many pieces were made, and each of them was kept unless one
 * failed. The smallest status, on all; KD_EAGAIN without a message when it was stopped: on all
 * after the same piece. Alone, each piece is kept at once. */
int kd_flow_run(const kd_flow *flow, int64_t *done);

#endif
