/* The processes that work on one job together, its ranks: started by mpirun or srun, or one alone.
 *
 * Everything here is called by all ranks of a job in the same order, on the thread that called
 * kd_ranks_join. Alone, each does at once what it says for one rank. ranks.c is the only file that
 * sees MPI; when a rank dies, MPI ends the others.
 */
#ifndef KD_BASE_RANKS_H
#define KD_BASE_RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Takes part in the job this process was started for; without mpirun or srun it is alone, and no
 * MPI is started. KD_EUSAGE when it is one of several that would each think they are alone: built
 * without MPI, or started by an srun whose processes do not know of each other. */
int kd_ranks_join(void);

/* Ends this process's part with the status of its work, OK or not; the exit code is the caller's.
 * A failure that the other ranks have not heard of (kd_ranks_worst) ends them at once. */
void kd_ranks_leave(int status);

int kd_rank(void);        /* 0 … kd_rank_count() − 1                         */
int kd_rank_count(void);  /* 1 when alone                                    */
bool kd_rank_first(void); /* rank 0, which writes the files and the messages */
/* Whether this rank changes what is on the disk: the first does; another only between
 * kd_ranks_write_own(true) and (false), while it writes files that are no other rank's. */
bool kd_rank_writes(void);
void kd_ranks_write_own(bool on);

/* The smallest status of all ranks, so that all go on or none. A rank that was well itself gets a
 * message that names the one that was not. */
int kd_ranks_worst(int status);
/* Whether this rank is to tell of the failure with which it ends: its own, unless all know of it
 * and another was the first to meet it. */
bool kd_ranks_tells(int status);

bool kd_ranks_any(bool here); /* whether it holds on any rank */

/* A step whose result lies on the disk: the first rank takes it, then the others, who find it done
 * and only read. The smallest status, on all. */
int kd_ranks_take_turns(int (*step)(void *context), void *context);

/* The share of a rank in n things of an order: ⌊r·n/R⌋ … ⌊(r+1)·n/R⌋ − 1; maybe none. */
void kd_ranks_part(int rank, int64_t n, int64_t *first, int64_t *end);

/* Says that this rank is at work: in `what` ("train"), at step `done` of it. Called in every long
 * loop (kd_progress_show does), since of ranks that others wait for, one that has said nothing for
 * ten minutes, or DISTILL_WATCHDOG seconds (0: never), is named as hanging and ends the job with
 * the exit code KD_RANKS_HUNG: started again, it goes on from the last checkpoint. */
enum { KD_RANKS_HUNG = 71 };
void kd_ranks_alive(const char *what, int64_t done);

/* The host that a rank is on, and its process. */
const char *kd_ranks_host(int rank);
long kd_ranks_process(int rank);

/* Rank 0's bytes to all. */
void kd_ranks_share(void *bytes, size_t length);

/* Every rank r gives `length[r]` bytes, its own from `own`; all get them one after the other in
 * order of rank, in `all`. `own` may lie at its place in `all`. */
void kd_ranks_gather(void *all, const void *own, const size_t *length);
/* Of n things of `bytes` each, every rank has made its share (kd_ranks_part) in `all`; all get all.
 */
void kd_ranks_gather_parts(void *all, int64_t n, size_t bytes);

/* --- while others compute: begun here, and done some time later ------------------------------ */

/* Something under way; start with {0}, which is nothing. It moves on whenever this rank asks
 * whether something is done. */
typedef struct {
    void *request;
    bool open;
} kd_ranks_pending;

/* Whether it is done. */
bool kd_ranks_done(kd_ranks_pending *pending);
/* Lets others compute a moment, for one that waits until something is done; watches them. */
void kd_ranks_pause(void);

/* Sends fewer than 2 GiB to another rank, which must stay until it is done. */
void kd_ranks_send(kd_ranks_pending *pending, const void *bytes, size_t length, int to);
/* Whether a message of rank `from` has come, and its length; of several, the one sent first. */
bool kd_ranks_arrived(int from, size_t *length);
void kd_ranks_receive(void *bytes, size_t length, int from); /* that message */

/* Rank r sends the bytes send[send_at[q]] … send[send_at[q + 1] − 1] to every other rank q, and
 * gets those of q at receive[receive_at[q]] …; both lists have one entry more than there are ranks,
 * and what one sends is what the other expects. Less than 2 GiB on each side. Lists and bytes must
 * stay until it is done; `places` is room for four numbers for each rank. */
void kd_ranks_exchange_begin(kd_ranks_pending *pending, void *receive, const size_t *receive_at,
                             const void *send, const size_t *send_at, int *places);
/* Rank r's bytes at[r] … at[r + 1] − 1 of `all` from it to all; two numbers for each rank. */
void kd_ranks_gather_begin(kd_ranks_pending *pending, void *all, const size_t *at, int *places);
/* Sums of n numbers, of which each is 0 on all ranks but one. */
void kd_ranks_join_doubles(double *values, size_t n);

/* kd_ranks_worst with an end of its own: `status` is a negative one, or a number that is none. When
 * it is done, *worst is the smallest of all ranks; a negative one has a message then, unless it is
 * this rank's. */
typedef struct {
    kd_ranks_pending pending;
    int own[2], worst[2]; /* status, rank */
} kd_ranks_vote;
void kd_ranks_vote_begin(kd_ranks_vote *vote, int status);
bool kd_ranks_vote_done(kd_ranks_vote *vote, int *worst);

#endif
