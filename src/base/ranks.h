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
/* Whether this rank changes what is on the disk: the first does, any does in its pieces of
 * kd_ranks_divide. */
bool kd_rank_writes(void);

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

/* Work of `count` pieces, the same number on all ranks, each with files of its own: rank r of R
 * makes the pieces r, r + R, … and writes their files. All begin with the next R together, so that
 * a failure or a stop at one of them ends all, and whole pieces stay. The smallest status, on all,
 * when all files are there. */
int kd_ranks_divide(int64_t count, int (*piece)(void *context, int64_t number), void *context);

/* The share of a rank in n things of an order: ⌊r·n/R⌋ … ⌊(r+1)·n/R⌋ − 1; maybe none. */
void kd_ranks_part(int rank, int64_t n, int64_t *first, int64_t *end);

/* Rank 0's bytes to all. */
void kd_ranks_share(void *bytes, size_t length);

/* Rank `from` gives rank 0 its bytes, which come in place of rank 0's; on other ranks, and from
 * rank 0 to itself, nothing happens. */
void kd_ranks_bring(void *bytes, size_t length, int from);

/* Every rank r gives `length[r]` bytes, its own from `own`; all get them one after the other in
 * order of rank, in `all`. `own` may lie at its place in `all`. */
void kd_ranks_gather(void *all, const void *own, const size_t *length);

/* Rank r sends the bytes send[send_at[q]] … send[send_at[q + 1] − 1] to rank q, and gets those of q
 * at receive[receive_at[q]] …; both lists have one entry more than there are ranks, and what one
 * sends is what the other expects. Less than 2 GiB on each side. */
void kd_ranks_exchange(void *receive, const size_t *receive_at, const void *send,
                       const size_t *send_at);

#endif
