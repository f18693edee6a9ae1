#include "base/ranks.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static int own_rank, rank_count = 1;
static bool in_own_piece;       /* of kd_ranks_divide */
static int agreed, agreed_rank; /* the last status that all ranks know of, and whose it is */

/* How the other ranks are reached, as ranks.h has it; NULL when there are none. */
static const struct company {
    int (*worst)(int status);
    bool (*any)(bool here);
    void (*share)(void *bytes, size_t length);
    void (*bring)(void *bytes, size_t length, int from);
    void (*gather)(void *all, const void *own, const size_t *length);
    void (*exchange)(void *receive, const size_t *receive_at, const void *send,
                     const size_t *send_at);
} * others;

int kd_rank(void) {
    return own_rank;
}

int kd_rank_count(void) {
    return rank_count;
}

bool kd_rank_first(void) {
    return own_rank == 0;
}

bool kd_rank_writes(void) {
    return own_rank == 0 || in_own_piece;
}

static int number_in(const char *variable) {
    const char *text = getenv(variable);
    return text ? atoi(text) : 0;
}

/* How many processes the launcher started: 1 when there is none, 0 when there is one that says the
 * number to MPI only. */
static int launched(void) {
    static const char *const counts[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (getenv(counts[i])) return number_in(counts[i]);
    return getenv("PMIX_RANK") ? 0 : 1;
}

/* In a step of Slurm whose processes were not told of each other. */
static int check_step(void) {
    const int tasks = number_in("SLURM_STEP_NUM_TASKS");
    if (tasks <= 1 || rank_count > 1) return KD_OK;
    return kd_fail(KD_EUSAGE,
                   "Slurm started %d processes that do not know of each other; start them with "
                   "srun --mpi=pmix (srun --mpi=list shows what there is) or mpirun",
                   tasks);
}

#ifdef KD_HAVE_MPI

#include <mpi.h>

static int *places; /* two of MPI's lists of lengths and places, 4 × ranks numbers */

static int worst_of_all(int status) {
    struct {
        int status, rank;
    } own = {status, own_rank}, worst;
    MPI_Allreduce(&own, &worst, 1, MPI_2INT, MPI_MINLOC, MPI_COMM_WORLD);
    agreed = worst.status;
    agreed_rank = worst.rank;
    if (status < 0 || worst.status >= 0) return status;
    return kd_fail(worst.status, "rank %d of %d stopped; its message says why", worst.rank,
                   rank_count);
}

static bool any_of_all(bool here) {
    int any = here;
    MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return any != 0;
}

enum { PIECE = 1 << 30 }; /* lengths are MPI's ints */

static void share_with_all(void *bytes, size_t length) {
    for (size_t at = 0; at < length; at += PIECE) {
        const size_t left = length - at;
        MPI_Bcast((char *)bytes + at, (int)(left < PIECE ? left : PIECE), MPI_BYTE, 0,
                  MPI_COMM_WORLD);
    }
}

static void bring_to_first(void *bytes, size_t length, int from) {
    if (from == 0 || (own_rank != 0 && own_rank != from)) return;
    for (size_t at = 0; at < length; at += PIECE) {
        const size_t left = length - at;
        const int piece = (int)(left < PIECE ? left : PIECE);
        if (own_rank == from)
            MPI_Send((char *)bytes + at, piece, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
        else
            MPI_Recv((char *)bytes + at, piece, MPI_BYTE, from, 0, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
    }
}

/* MPI's lists of pieces that end where the next begins: lengths, then places. */
static const int *pieces(int *list, const size_t *length, const size_t *at) {
    size_t end = 0;
    for (int r = 0; r < rank_count; r++) {
        const size_t n = length ? length[r] : at[r + 1] - at[r];
        KD_CONTRACT(end + n <= INT_MAX, "%zu bytes at once", end + n);
        list[r] = (int)n;
        list[rank_count + r] = (int)end;
        end += n;
    }
    return list;
}

static void gather_at_all(void *all, const void *own, const size_t *length) {
    const int *list = pieces(places, length, NULL);
    const bool there = own == (char *)all + list[rank_count + own_rank];
    MPI_Allgatherv(there ? MPI_IN_PLACE : own, list[own_rank], MPI_BYTE, all, list,
                   list + rank_count, MPI_BYTE, MPI_COMM_WORLD);
}

static void exchange_all(void *receive, const size_t *receive_at, const void *send,
                         const size_t *send_at) {
    const int *in = pieces(places, NULL, receive_at);
    const int *out = pieces(places + 2 * rank_count, NULL, send_at);
    MPI_Alltoallv(send, out, out + rank_count, MPI_BYTE, receive, in, in + rank_count, MPI_BYTE,
                  MPI_COMM_WORLD);
}

static const struct company everyone = {worst_of_all,   any_of_all,    share_with_all,
                                        bring_to_first, gather_at_all, exchange_all};

int kd_ranks_join(void) {
    if (launched() == 1) return check_step();
    int granted;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &granted);
    MPI_Comm_rank(MPI_COMM_WORLD, &own_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    places = malloc(4 * (size_t)rank_count * sizeof *places);
    if (!places) return kd_fail_memory(4 * (size_t)rank_count * sizeof *places, "the ranks");
    if (rank_count > 1) others = &everyone;
    if (own_rank > 0 && !freopen("/dev/null", "w", stdout)) /* the first prints the results */
        return kd_fail(KD_EIO, "/dev/null: cannot open");
    return check_step();
}

void kd_ranks_leave(int status) {
    int started = 0;
    MPI_Initialized(&started);
    if (!started) return;
    if (status < 0 && status != agreed && others) MPI_Abort(MPI_COMM_WORLD, -status);
    MPI_Finalize();
    free(places);
    places = NULL;
    others = NULL;
    own_rank = 0;
    rank_count = 1;
}

#else

int kd_ranks_join(void) {
    const int count = launched();
    if (count == 1) return check_step();
    return kd_fail(KD_EUSAGE, "started as one of several processes, but built without MPI; install "
                              "libopenmpi-dev and run make again");
}

void kd_ranks_leave(int status) {
    (void)status;
}

#endif

int kd_ranks_worst(int status) {
    return others ? others->worst(status) : status;
}

bool kd_ranks_any(bool here) {
    return others ? others->any(here) : here;
}

void kd_ranks_share(void *bytes, size_t length) {
    if (others) others->share(bytes, length);
}

void kd_ranks_bring(void *bytes, size_t length, int from) {
    if (others) others->bring(bytes, length, from);
}

void kd_ranks_gather(void *all, const void *own, const size_t *length) {
    if (others)
        others->gather(all, own, length);
    else if (all != own)
        memcpy(all, own, length[0]);
}

void kd_ranks_exchange(void *receive, const size_t *receive_at, const void *send,
                       const size_t *send_at) {
    if (others)
        others->exchange(receive, receive_at, send, send_at);
    else
        memcpy(receive, send, send_at[1]);
}

bool kd_ranks_tells(int status) {
    return rank_count == 1 || status != agreed || own_rank == agreed_rank;
}

int kd_ranks_take_turns(int (*step)(void *context), void *context) {
    int status = kd_ranks_worst(kd_rank_first() ? step(context) : KD_OK);
    if (status < 0 || rank_count == 1) return status;
    return kd_ranks_worst(kd_rank_first() ? KD_OK : step(context));
}

int kd_ranks_divide(int64_t count, int (*piece)(void *context, int64_t number), void *context) {
    int status = KD_OK;
    for (int64_t round = 0; round < count && status == KD_OK; round += rank_count) {
        const int64_t own = round + own_rank;
        in_own_piece = true;
        if (own < count) status = piece(context, own);
        in_own_piece = false;
        status = kd_ranks_worst(status);
    }
    return status;
}
