#include "base/flow.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/order.h"
#include "base/ranks.h"

/* A piece of this rank that others may not have yet, and what they say of the round it is of. */
typedef struct {
    kd_flow_bytes made;
    kd_ranks_pending sending;
    kd_ranks_vote vote;
} lane;

/* A round is a piece of each rank; the last one may be short. Its vote is known when `ahead` rounds
 * more have been made, by all: then it ends all after the same round. */
enum { GO_ON = 1, STOP = 0 }; /* votes besides a negative status */

typedef struct {
    const kd_flow *flow;
    int ahead;             /* the flow's, 0 alone                              */
    int64_t rounds, round; /* in all; made here                                */
    int64_t expected;      /* the next piece to be kept here                   */
    lane *lane;            /* ahead + 1                                        */
    kd_flow_bytes came;    /* a piece of another rank                          */
    int status;            /* of this rank                                     */
    bool broken;           /* a piece that failed was to be kept: none behind it is */
} run;

void *kd_flow_room(kd_flow_bytes *out, size_t length) {
    if (length > out->capacity) {
        char *grown = realloc(out->bytes, length);
        if (!grown) {
            kd_fail_memory(length, "a piece of shared work");
            return NULL;
        }
        out->bytes = grown;
        out->capacity = length;
    }
    out->length = length;
    return out->bytes;
}

static int keeper_of(const run *r, int64_t piece) {
    return r->flow->keeper ? r->flow->keeper(r->flow->context, piece) : 0;
}

static int maker_of(int64_t piece) {
    return (int)(piece % kd_rank_count());
}

static lane *lane_of(const run *r, int64_t round) {
    return &r->lane[round % (r->ahead + 1)];
}

static void keep(run *r, int64_t piece, const kd_flow_bytes *made) {
    r->broken = r->broken || made->length == 0; /* its maker failed */
    if (r->status < 0 || r->broken) return;
    kd_ranks_write_own(true);
    r->status = r->flow->keep(r->flow->context, piece, made->bytes, made->length);
    kd_ranks_write_own(false);
}

/* Moves to the next piece before `end` that is kept here and takes it, if it is there. */
static bool take_one(run *r, int64_t end) {
    size_t length;
    while (r->expected < end && keeper_of(r, r->expected) != kd_rank()) r->expected++;
    if (r->expected >= end) return false;
    const int64_t piece = r->expected, round = piece / kd_rank_count();
    const int from = maker_of(piece);
    if (from == kd_rank()) {
        if (round >= r->round) return false;
        keep(r, piece, &lane_of(r, round)->made);
    } else {
        if (!kd_ranks_arrived(from, &length)) return false;
        if (!kd_flow_room(&r->came, length)) r->status = KD_EINTERNAL;
        KD_CONTRACT(r->came.capacity >= length, "%s", kd_error());
        kd_ranks_receive(r->came.bytes, length, from);
        keep(r, piece, &r->came);
    }
    r->expected++;
    return true;
}

static void take_all(run *r) {
    while (take_one(r, r->flow->count)) continue;
}

/* Until the lane's piece has left, and been kept where that is here. */
static void empty_lane(run *r, int64_t round) {
    lane *l = lane_of(r, round);
    const int64_t piece = round * kd_rank_count() + kd_rank();
    for (;;) {
        take_all(r);
        const bool own = piece < r->flow->count && keeper_of(r, piece) == kd_rank();
        if (kd_ranks_done(&l->sending) && !(own && r->expected <= piece)) return;
        kd_ranks_pause();
    }
}

static void make(run *r) {
    lane *l = lane_of(r, r->round);
    const int64_t piece = r->round * kd_rank_count() + kd_rank();
    l->made.length = 0;
    if (piece < r->flow->count && r->status == KD_OK)
        r->status = r->flow->make(r->flow->context, piece, &l->made);
    if (r->status < 0) l->made.length = 0;
    const int to = piece < r->flow->count ? keeper_of(r, piece) : kd_rank();
    if (to != kd_rank()) kd_ranks_send(&l->sending, l->made.bytes, l->made.length, to);
    r->round++;
    if (r->flow->show)
        r->flow->show(r->flow->context, kd_smaller(r->round * kd_rank_count(), r->flow->count));
}

static int vote_of(const run *r) {
    if (r->status < 0) return r->status;
    return r->round < r->rounds && r->flow->stop && r->flow->stop() ? STOP : GO_ON;
}

/* What all said of a round. */
static int verdict(run *r, int64_t round) {
    int worst;
    while (!kd_ranks_vote_done(&lane_of(r, round)->vote, &worst)) {
        take_all(r);
        kd_ranks_pause();
    }
    return worst;
}

/* Whether all go on after the round before. Each vote is heard, in its order. */
static void make_all(run *r, int *worst) {
    const int64_t ahead = r->ahead;
    int64_t heard = 0;
    *worst = GO_ON;
    for (; r->round < r->rounds && *worst == GO_ON; take_all(r)) {
        if (r->round - heard > ahead) *worst = verdict(r, heard++);
        if (*worst != GO_ON) break;
        if (r->round > ahead) empty_lane(r, r->round - ahead - 1);
        make(r);
        kd_ranks_vote_begin(&lane_of(r, r->round - 1)->vote, vote_of(r));
    }
    for (; heard < r->round; heard++) {
        const int next = verdict(r, heard);
        if (next < *worst) *worst = next;
    }
}

/* Every piece of the rounds that were made comes to its keeper. */
static void finish(run *r) {
    const int64_t end = kd_smaller(r->round * kd_rank_count(), r->flow->count);
    for (int64_t round = kd_larger(0, r->round - r->ahead - 1); round < r->round; round++)
        empty_lane(r, round);
    for (;;) {
        while (take_one(r, end)) continue;
        if (r->expected >= end) return;
        kd_ranks_pause();
    }
}

int kd_flow_run(const kd_flow *flow, int64_t *done) {
    const int64_t ranks = kd_rank_count();
    run r = {.flow = flow, .rounds = (flow->count + ranks - 1) / ranks};
    int worst = KD_EINTERNAL;
    *done = 0;
    r.ahead = ranks > 1 ? flow->ahead : 0;
    r.lane = calloc((size_t)r.ahead + 1, sizeof *r.lane);
    int status = kd_ranks_worst(
        r.lane ? KD_OK : kd_fail_memory((size_t)flow->ahead * sizeof *r.lane, "shared work"));
    if (status == KD_OK) {
        make_all(&r, &worst);
        finish(&r);
        *done = kd_smaller(r.round * ranks, flow->count);
        status = kd_ranks_worst(r.status);
        if (status == KD_OK && worst == STOP && *done < flow->count) status = KD_EAGAIN;
    }
    for (int i = 0; i <= r.ahead && r.lane; i++) free(r.lane[i].made.bytes);
    free(r.lane);
    free(r.came.bytes);
    return status;
}
