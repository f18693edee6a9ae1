#include "base/ranks.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

static int own_rank, rank_count = 1;
static bool writes_own;
static int agreed, agreed_rank; /* the last status that all ranks know of, and whose it is */

/* Who the ranks are, for messages. */
typedef struct {
    char host[64];
    long process;
} identity;
static identity *who;

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
    return own_rank == 0 || writes_own;
}

void kd_ranks_write_own(bool on) {
    writes_own = on;
}

void kd_ranks_part(int rank, int64_t n, int64_t *first, int64_t *end) {
    *first = rank * n / rank_count;
    *end = (rank + 1) * n / rank_count;
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

/* What a rank of `status` makes of the worst. */
static int take_worst(int status, int worst, int rank) {
    agreed = worst;
    agreed_rank = rank;
    if (status < 0 || worst >= 0) return status;
    return kd_fail(worst, "rank %d of %d stopped; its message says why", rank, rank_count);
}

const char *kd_ranks_host(int rank) {
    return who ? who[rank].host : "";
}

long kd_ranks_process(int rank) {
    return who ? who[rank].process : (long)getpid();
}

#ifdef KD_HAVE_MPI

#include <mpi.h>

/* The watch over ranks that others wait for, in seconds of kd_clock. */
enum { SPIN_MICROSECONDS = 200, BEATS = 4 /* in the time a rank may be silent */ };
static double silence = 600;                 /* that ends the job; 0: none does           */
static double waiting_since, looked, beaten; /* 0 while this rank waits for nothing      */
static double *heard;                        /* of each rank, when                        */
static const char *place = "the start";      /* of this rank                              */
static int64_t place_step;

enum { WORK_TAG, BEAT_TAG };

static int *places; /* MPI's lists of lengths and places, 2 × ranks numbers */

/* Everybody's host and process. */
static int meet(void) {
    const size_t ranks = (size_t)rank_count;
    places = malloc(2 * ranks * sizeof *places);
    who = calloc(ranks, sizeof *who);
    heard = calloc(ranks, sizeof *heard);
    if (!places || !who || !heard) return kd_fail_memory(ranks * sizeof *who, "the ranks");
    identity *own = &who[own_rank];
    gethostname(own->host, sizeof own->host - 1);
    own->process = (long)getpid();
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_BYTE, who, (int)sizeof *who, MPI_BYTE, MPI_COMM_WORLD);
    return KD_OK;
}

static int read_silence(void) {
    const char *text = getenv("DISTILL_WATCHDOG");
    char *end;
    if (!text || !*text) return KD_OK;
    silence = strtod(text, &end);
    if (*end || !(silence >= 0))
        return kd_fail(KD_EUSAGE, "DISTILL_WATCHDOG=%s: must be seconds, or 0", text);
    return KD_OK;
}

/* Tells the others that this rank is there, now and then. */
static void beat(double now) {
    static char byte;
    if (silence <= 0 || now - beaten < silence / BEATS) return;
    beaten = now;
    for (int r = 0; r < rank_count; r++) {
        MPI_Request request;
        if (r == own_rank) continue;
        MPI_Isend(&byte, 1, MPI_BYTE, r, BEAT_TAG, MPI_COMM_WORLD, &request);
        MPI_Request_free(&request);
    }
}

static void hear_beats(double now) {
    for (int there = 1; there;) {
        MPI_Status status;
        char byte;
        MPI_Iprobe(MPI_ANY_SOURCE, BEAT_TAG, MPI_COMM_WORLD, &there, &status);
        if (!there) continue;
        MPI_Recv(&byte, 1, MPI_BYTE, status.MPI_SOURCE, BEAT_TAG, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
        heard[status.MPI_SOURCE] = now;
    }
}

static bool is_silent(int rank, double now) {
    const double last = heard[rank] > waiting_since ? heard[rank] : waiting_since;
    return rank != own_rank && now - last > silence;
}

/* Of those that see a rank hang, the lowest says so. */
static void look_for_the_silent(double now) {
    int hanging = 0, speaker = 0;
    while (hanging < rank_count && !is_silent(hanging, now)) hanging++;
    if (hanging == rank_count) return;
    while (is_silent(speaker, now)) speaker++;
    if (speaker != own_rank) return;
    fprintf(stderr,
            "distill: rank %d of %d (host %s, process %ld) hangs: nothing was heard of it for %.0f "
            "seconds, in which rank %d waited for it, in %s after %lld; the job ends, and goes on "
            "from its last checkpoint when it is started again\n",
            hanging, rank_count, who[hanging].host, who[hanging].process, silence, own_rank, place,
            (long long)place_step);
    MPI_Abort(MPI_COMM_WORLD, KD_RANKS_HUNG);
}

void kd_ranks_pause(void) {
    const struct timespec moment = {.tv_nsec = 50000};
    const double now = kd_clock();
    if (rank_count == 1) return;
    if (waiting_since <= 0) waiting_since = now;
    if ((now - waiting_since) * 1e6 < SPIN_MICROSECONDS) {
        sched_yield();
        return;
    }
    nanosleep(&moment, NULL);
    if (silence <= 0 || now - looked < silence / (4 * BEATS)) return;
    looked = now;
    beat(now);
    hear_beats(now);
    look_for_the_silent(now);
}

void kd_ranks_alive(const char *what, int64_t done) {
    place = what;
    place_step = done;
    if (rank_count > 1) beat(kd_clock());
}

_Static_assert(sizeof(MPI_Request) <= sizeof(void *), "a request fits its place");

static void keep_request(kd_ranks_pending *pending, MPI_Request request) {
    KD_CONTRACT(!pending->open, "begun twice");
    memcpy(&pending->request, &request, sizeof request);
    pending->open = true;
}

bool kd_ranks_done(kd_ranks_pending *pending) {
    if (!pending->open) return true;
    MPI_Request request;
    int done;
    memcpy(&request, &pending->request, sizeof request);
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    memcpy(&pending->request, &request, sizeof request);
    pending->open = !done;
    if (done) waiting_since = 0;
    return done;
}

/* Everything that ranks wait for they wait for here. */
static void await(MPI_Request request) {
    kd_ranks_pending pending = {0};
    keep_request(&pending, request);
    while (!kd_ranks_done(&pending)) kd_ranks_pause();
}

int kd_ranks_join(void) {
    if (launched() == 1) return check_step();
    int granted;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &granted);
    MPI_Comm_rank(MPI_COMM_WORLD, &own_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    int status = meet();
    if (status == KD_OK) status = read_silence();
    if (status < 0) return status;
    if (own_rank > 0 && !freopen("/dev/null", "w", stdout)) /* the first prints the results */
        return kd_fail(KD_EIO, "/dev/null: cannot open");
    return check_step();
}

void kd_ranks_leave(int status) {
    int started = 0;
    MPI_Initialized(&started);
    if (!started) return;
    if (status < 0 && status != agreed && rank_count > 1) MPI_Abort(MPI_COMM_WORLD, -status);
    MPI_Finalize();
    free(places);
    free(who);
    free(heard);
    places = NULL;
    who = NULL;
    heard = NULL;
    own_rank = 0;
    rank_count = 1;
}

int kd_ranks_worst(int status) {
    if (rank_count == 1) return status;
    struct {
        int status, rank;
    } own = {status, own_rank}, worst;
    MPI_Request request;
    MPI_Iallreduce(&own, &worst, 1, MPI_2INT, MPI_MINLOC, MPI_COMM_WORLD, &request);
    await(request);
    return take_worst(status, worst.status, worst.rank);
}

bool kd_ranks_any(bool here) {
    int any = here;
    MPI_Request request;
    if (rank_count == 1) return here;
    MPI_Iallreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD, &request);
    await(request);
    return any != 0;
}

enum { PIECE = 1 << 30 }; /* lengths are MPI's ints */

void kd_ranks_share(void *bytes, size_t length) {
    for (size_t at = 0; at < length && rank_count > 1; at += PIECE) {
        const size_t left = length - at;
        MPI_Request request;
        MPI_Ibcast((char *)bytes + at, (int)(left < PIECE ? left : PIECE), MPI_BYTE, 0,
                   MPI_COMM_WORLD, &request);
        await(request);
    }
}

/* MPI's lists of pieces that end where the next begins: lengths, then places. */
static int *pieces(int *list, const size_t *length, const size_t *at) {
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

void kd_ranks_gather(void *all, const void *own, const size_t *length) {
    if (rank_count == 1) {
        if (all != own) memcpy(all, own, length[0]);
        return;
    }
    const int *list = pieces(places, length, NULL);
    const bool there = own == (char *)all + list[rank_count + own_rank];
    MPI_Request request;
    MPI_Iallgatherv(there ? MPI_IN_PLACE : own, list[own_rank], MPI_BYTE, all, list,
                    list + rank_count, MPI_BYTE, MPI_COMM_WORLD, &request);
    await(request);
}

void kd_ranks_gather_parts(void *all, int64_t n, size_t bytes) {
    int *length = places, *at = places + rank_count;
    if (rank_count == 1) return;
    KD_CONTRACT((size_t)n * bytes <= INT_MAX, "%zu bytes at once", (size_t)n * bytes);
    for (int r = 0; r < rank_count; r++) {
        int64_t first, end;
        kd_ranks_part(r, n, &first, &end);
        at[r] = (int)((size_t)first * bytes);
        length[r] = (int)((size_t)(end - first) * bytes);
    }
    MPI_Request request;
    MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, all, length, at, MPI_BYTE, MPI_COMM_WORLD, &request);
    await(request);
}

void kd_ranks_exchange_begin(kd_ranks_pending *pending, void *receive, const size_t *receive_at,
                             const void *send, const size_t *send_at, int *room) {
    int *in = pieces(room, NULL, receive_at);
    int *out = pieces(room + 2 * rank_count, NULL, send_at);
    in[own_rank] = out[own_rank] = 0; /* stays where it is */
    MPI_Request request;
    MPI_Ialltoallv(send, out, out + rank_count, MPI_BYTE, receive, in, in + rank_count, MPI_BYTE,
                   MPI_COMM_WORLD, &request);
    keep_request(pending, request);
}

void kd_ranks_gather_begin(kd_ranks_pending *pending, void *all, const size_t *at, int *room) {
    const int *list = pieces(room, NULL, at);
    MPI_Request request;
    MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, all, list, list + rank_count, MPI_BYTE,
                    MPI_COMM_WORLD, &request);
    keep_request(pending, request);
}

void kd_ranks_join_doubles(double *values, size_t n) {
    MPI_Request request;
    if (rank_count == 1) return;
    KD_CONTRACT(n <= INT_MAX, "%zu numbers at once", n);
    MPI_Iallreduce(MPI_IN_PLACE, values, (int)n, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD, &request);
    await(request);
}

void kd_ranks_send(kd_ranks_pending *pending, const void *bytes, size_t length, int to) {
    MPI_Request request;
    KD_CONTRACT(length <= INT_MAX, "%zu bytes at once", length);
    MPI_Isend(bytes, (int)length, MPI_BYTE, to, WORK_TAG, MPI_COMM_WORLD, &request);
    keep_request(pending, request);
}

bool kd_ranks_arrived(int from, size_t *length) {
    int there, bytes = 0;
    MPI_Status status;
    MPI_Iprobe(from, WORK_TAG, MPI_COMM_WORLD, &there, &status);
    if (there) MPI_Get_count(&status, MPI_BYTE, &bytes);
    *length = (size_t)bytes;
    if (there) waiting_since = 0;
    return there;
}

void kd_ranks_receive(void *bytes, size_t length, int from) {
    MPI_Recv(bytes, (int)length, MPI_BYTE, from, WORK_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

void kd_ranks_vote_begin(kd_ranks_vote *vote, int status) {
    *vote = (kd_ranks_vote){.own = {status, own_rank}, .worst = {status, own_rank}};
    if (rank_count == 1) return;
    MPI_Request request;
    MPI_Iallreduce(vote->own, vote->worst, 1, MPI_2INT, MPI_MINLOC, MPI_COMM_WORLD, &request);
    keep_request(&vote->pending, request);
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

int kd_ranks_worst(int status) {
    return agreed = status;
}

bool kd_ranks_any(bool here) {
    return here;
}

void kd_ranks_share(void *bytes, size_t length) {
    (void)bytes;
    (void)length;
}

void kd_ranks_gather(void *all, const void *own, const size_t *length) {
    if (all != own) memcpy(all, own, length[0]);
}

void kd_ranks_gather_parts(void *all, int64_t n, size_t bytes) {
    (void)all;
    (void)n;
    (void)bytes;
}

bool kd_ranks_done(kd_ranks_pending *pending) {
    return !pending->open;
}

void kd_ranks_pause(void) {
}

void kd_ranks_alive(const char *what, int64_t done) {
    (void)what;
    (void)done;
}

void kd_ranks_exchange_begin(kd_ranks_pending *pending, void *receive, const size_t *receive_at,
                             const void *send, const size_t *send_at, int *room) {
    (void)receive;
    (void)receive_at;
    (void)send;
    (void)send_at;
    (void)room;
    pending->open = false;
}

void kd_ranks_gather_begin(kd_ranks_pending *pending, void *all, const size_t *at, int *room) {
    (void)all;
    (void)at;
    (void)room;
    pending->open = false;
}

void kd_ranks_join_doubles(double *values, size_t n) {
    (void)values;
    (void)n;
}

void kd_ranks_send(kd_ranks_pending *pending, const void *bytes, size_t length, int to) {
    KD_CONTRACT(false, "%zu bytes at %p to rank %d of one", length, bytes, to);
    pending->open = false;
}

bool kd_ranks_arrived(int from, size_t *length) {
    (void)from;
    *length = 0;
    return false;
}

void kd_ranks_receive(void *bytes, size_t length, int from) {
    KD_CONTRACT(false, "%zu bytes at %p of rank %d of one", length, bytes, from);
}

void kd_ranks_vote_begin(kd_ranks_vote *vote, int status) {
    *vote = (kd_ranks_vote){.own = {status, 0}, .worst = {status, 0}};
}

#endif

bool kd_ranks_vote_done(kd_ranks_vote *vote, int *worst) {
    if (!kd_ranks_done(&vote->pending)) return false;
    *worst = vote->worst[0];
    if (vote->worst[0] < 0) take_worst(vote->own[0], vote->worst[0], vote->worst[1]);
    return true;
}

bool kd_ranks_tells(int status) {
    return rank_count == 1 || status != agreed || own_rank == agreed_rank;
}

int kd_ranks_take_turns(int (*step)(void *context), void *context) {
    int status = kd_ranks_worst(kd_rank_first() ? step(context) : KD_OK);
    if (status < 0 || rank_count == 1) return status;
    return kd_ranks_worst(kd_rank_first() ? KD_OK : step(context));
}
