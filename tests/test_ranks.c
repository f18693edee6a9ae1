/* Sums over micro-batches have the same bits on every number of ranks, and ranks agree on how work
 * ended. The program starts itself under mpirun: "test_ranks WORK" is what a rank does. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/hash.h"
#include "base/ranks.h"
#include "base/rng.h"
#include "data/loader.h"
#include "distill/reduction.h"
#include "under_mpi.h"

enum { LEAVES_MAX = 19 };
static const int64_t SIZES[] = {1, 7, 1000, 700 * 1000}; /* the last: several chunks, one ragged */
enum { SIZE_COUNT = sizeof SIZES / sizeof *SIZES, LARGEST = 700 * 1000 };

/* The numbers of a leaf: of very different sizes, so that the order of additions shows. */
static void fill(kd_real *out, int64_t size, int64_t n, int64_t leaf) {
    kd_rng rng = kd_rng_init((uint64_t)n, (uint64_t)leaf);
    for (int64_t i = 0; i < size; i++)
        out[i] = (kd_real)(kd_rng_uniform(&rng) - 0.5) * (kd_real)(1 << (leaf % 12));
}

/* The sum of n leaves by this job, hashed. */
static uint64_t reduced(int64_t size, int64_t n, kd_real *values) {
    kd_reduction *r;
    kd_deal deal;
    int64_t first, end;
    assert_ok(kd_deal_init(&deal, size, NULL, 0));
    assert_ok(kd_reduction_create(&r, &deal, n, 1 + n / 2));
    kd_ranks_part(kd_rank(), n, &first, &end);
    for (int again = 0; again < 2; again++) { /* an update after another */
        kd_reduction_begin(r, n);
        for (int64_t leaf = first; leaf < end; leaf++) {
            fill(values, size, n, leaf);
            for (int64_t from = size - size / 3; again && leaf + 1 == end && from > 0; from -= 4000)
                kd_reduction_ready(r, values, from); /* piece by piece, before it is whole */
            kd_reduction_add(r, values);
        }
        kd_reduction_finish(r, values);
        kd_deal_gather(&deal, values);
    }
    kd_reduction_free(r);
    kd_deal_clear(&deal);
    return kd_checksum64(values, (size_t)size * sizeof *values);
}

static uint64_t all_sums(void) {
    static kd_real values[LARGEST];
    uint64_t sums[SIZE_COUNT * LEAVES_MAX];
    int count = 0;
    for (int s = 0; s < SIZE_COUNT; s++)
        for (int64_t n = 1; n <= (s == SIZE_COUNT - 1 ? 5 : LEAVES_MAX); n++)
            sums[count++] = reduced(SIZES[s], n, values);
    return kd_checksum64(sums, (size_t)count * sizeof *sums);
}

/* The formula of reduction.h, leaf by leaf. */
static kd_real tree(const kd_real *leaf, int64_t a, int64_t b) {
    if (b == a + 1) return leaf[a];
    int64_t half = 1;
    while (2 * half < b - a) half *= 2;
    return tree(leaf, a, a + half) + tree(leaf, a + half, b);
}

static void a_sum_follows_its_tree(void **state) {
    (void)state;
    for (int64_t n = 1; n <= LEAVES_MAX; n++) {
        kd_real leaf[LEAVES_MAX], sum;
        for (int64_t i = 0; i < n; i++) fill(&leaf[i], 1, n, i);
        reduced(1, n, &sum);
        if (sum != tree(leaf, 0, n)) fail_msg("%lld leaves", (long long)n);
    }
}

static void every_number_of_ranks_gives_the_same_bits(void **state) {
    (void)state;
    need_mpi();
    char expected[32], found[4096];
    snprintf(expected, sizeof expected, "%016llx\n", (unsigned long long)all_sums());
    for (int ranks = 2; ranks <= 8; ranks += ranks < 4 ? 1 : 4) {
        int code = run_ranks(found, sizeof found, ranks, "sums");
        if (code != 0 || strcmp(found, expected) != 0)
            fail_msg("%d ranks: code %d, '%s', not '%s'", ranks, code, found, expected);
    }
}

static void ranks_agree_on_the_worst(void **state) {
    (void)state;
    need_mpi();
    char found[4096];
    assert_int_equal(run_ranks(found, sizeof found, 3, "worst"), 74);
    assert_non_null(strstr(found, "rank 1 of 3 stopped"));
    assert_non_null(strstr(found, "the disk of rank 1"));
}

static void a_failure_of_one_ends_the_others(void **state) {
    (void)state;
    need_mpi();
    char found[4096];
    assert_int_equal(run_ranks(found, sizeof found, 3, "alone"), 65);
}

/* One rank stands still for ever, and another says now and then that it is at work. */
static void a_rank_that_hangs_is_named(void **state) {
    (void)state;
    need_mpi();
    char found[4096];
    setenv("DISTILL_WATCHDOG", "1.5", 1);
    assert_int_equal(run_ranks(found, sizeof found, 3, "hang"), 71);
    unsetenv("DISTILL_WATCHDOG");
    assert_non_null(strstr(found, "distill: rank 1 of 3 (host "));
    assert_non_null(strstr(found, "rank 0 waited for it, in teach after 7"));
    assert_null(strstr(found, "distill: rank 2"));
}

/* What it has of an update is exchanged without sense, so that all hear of it. */
static void a_failure_amid_an_update_ends_all(void **state) {
    (void)state;
    need_mpi();
    char found[4096];
    assert_int_equal(run_ranks(found, sizeof found, 3, "break"), 65);
    assert_non_null(strstr(found, "the sample of rank 1"));
}

static void a_loader_gives_a_rank_its_share(void **state) {
    (void)state;
    need_mpi();
    char found[4096];
    for (int ranks = 1; ranks <= 8; ranks = 2 * ranks + 1) {
        const int code = run_ranks(found, sizeof found, ranks, "loader");
        if (code != 0) fail_msg("%d ranks: code %d, '%s'", ranks, code, found);
    }
}

static void alone_nothing_is_needed(void **state) {
    (void)state;
    assert_ok(kd_ranks_join());
    assert_int_equal(kd_rank(), 0);
    assert_int_equal(kd_rank_count(), 1);
    assert_true(kd_rank_first());
    assert_int_equal(kd_ranks_worst(KD_EDATA), KD_EDATA);
    assert_false(kd_ranks_any(false));
    assert_true(kd_ranks_any(true));
    char all[4] = "abc";
    const size_t length[] = {3};
    kd_ranks_gather(all, "xyz", length);
    assert_string_equal(all, "xyz");
}

static void processes_that_think_they_are_alone_are_refused(void **state) {
    (void)state;
    setenv("SLURM_STEP_NUM_TASKS", "4", 1);
    assert_refused(kd_ranks_join(), KD_EUSAGE, "Slurm started 4 processes that do not know");
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    assert_ok(kd_ranks_join());
    unsetenv("SLURM_STEP_NUM_TASKS");
}

/* --- what a rank does ---------------------------------------------------------------------- */

static int work_sums(void) {
    uint64_t sums = all_sums();
    if (kd_rank_first()) printf("%016llx\n", (unsigned long long)sums);
    return KD_OK;
}

/* Two epochs in updates of a few batches, without putting the loader anywhere. */
static int check_share(const kd_dataset *d, int64_t update) {
    const kd_loader_spec spec = {.batch = 4, .update = update, .shuffle = true, .seed = 3};
    kd_loader *loader;
    kd_batch batch;
    int status = kd_loader_create(&loader, d, &spec);
    if (status < 0) return status;
    const int64_t batches = kd_loader_batches(loader);
    for (int64_t at = 0, n; at < 2 * batches && status == KD_OK; at += n) {
        const int64_t epoch = at / batches, left = batches - at % batches;
        int64_t first, end;
        n = left < update ? left : update;
        kd_ranks_part(kd_rank(), n, &first, &end);
        for (int64_t i = first; i < end && status == KD_OK; i++) {
            status = kd_loader_next(loader, &batch);
            if (status == KD_OK && (batch.epoch != epoch || batch.index != at % batches + i))
                status = kd_fail(KD_EDATA, "rank %d: batch %lld of epoch %lld in place of %lld",
                                 kd_rank(), (long long)batch.index, (long long)batch.epoch,
                                 (long long)(at % batches + i));
        }
    }
    kd_loader_free(loader);
    return status;
}

static int work_loader(void) {
    enum { COUNT = 75 }; /* 19 batches, the last of three */
    static uint8_t pixels[COUNT];
    static int32_t labels[COUNT];
    static uint64_t ids[COUNT];
    const kd_dataset d = {.count = COUNT,
                          .h = 1,
                          .w = 1,
                          .c = 1,
                          .classes = 2,
                          .bytes = pixels,
                          .label = labels,
                          .id = ids,
                          .normaliser = {.unit = 1}};
    int status = KD_OK;
    for (int64_t update = 1; update < 24 && status == KD_OK; update++)
        status = check_share(&d, update);
    return kd_ranks_worst(status);
}

static int work_worst(void) {
    if (kd_ranks_worst(KD_OK) != KD_OK) return KD_EINTERNAL;
    int status = kd_rank() == 1 ? kd_fail(KD_EIO, "the disk of rank 1") : KD_OK;
    return kd_ranks_worst(status);
}

static int work_break(void) {
    static kd_real values[LARGEST];
    kd_reduction *r;
    kd_deal deal;
    int64_t first, end;
    int status = kd_deal_init(&deal, LARGEST, NULL, 0);
    if (status == KD_OK) status = kd_reduction_create(&r, &deal, 7, 7);
    if (status < 0) return status;
    kd_reduction_begin(r, 7);
    kd_ranks_part(kd_rank(), 7, &first, &end);
    for (int64_t leaf = first; leaf < end && status == KD_OK; leaf++) {
        fill(values, LARGEST, 7, leaf);
        if (leaf + 1 == end) kd_reduction_ready(r, values, LARGEST / 2);
        if (kd_rank() == 1 && leaf > first) status = kd_fail(KD_EDATA, "the sample of rank 1");
        if (status == KD_OK) kd_reduction_add(r, values);
    }
    if (status < 0) kd_reduction_break(r);
    kd_reduction_finish(r, values);
    status = kd_ranks_worst(status);
    kd_reduction_free(r);
    kd_deal_clear(&deal);
    return status;
}

static int work_hang(void) {
    kd_ranks_alive("teach", 7);
    if (kd_rank() == 1) raise(SIGSTOP);
    for (int i = 0; i < 30 && kd_rank() == 2; i++) {
        usleep(100 * 1000);
        kd_ranks_alive("teach", 8);
    }
    return kd_ranks_worst(KD_OK);
}

static int work_alone(void) {
    if (kd_rank() == 2) return kd_fail(KD_EDATA, "only here");
    return kd_ranks_worst(KD_OK); /* waits for ever, if nobody ended it */
}

static int work(const char *what) {
    int status = kd_ranks_join();
    if (status == KD_OK)
        status = strcmp(what, "sums") == 0     ? work_sums()
                 : strcmp(what, "loader") == 0 ? work_loader()
                 : strcmp(what, "worst") == 0  ? work_worst()
                 : strcmp(what, "hang") == 0   ? work_hang()
                 : strcmp(what, "break") == 0  ? work_break()
                                               : work_alone();
    if (status < 0) fprintf(stderr, "%s\n", kd_error());
    kd_ranks_leave(status);
    return -status;
}

int main(int argc, char **argv) {
    own_program = argv[0];
    if (argc > 1) return work(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_follows_its_tree),
        cmocka_unit_test(every_number_of_ranks_gives_the_same_bits),
        cmocka_unit_test(a_rank_that_hangs_is_named),
        cmocka_unit_test(a_failure_amid_an_update_ends_all),
        cmocka_unit_test(a_loader_gives_a_rank_its_share),
        cmocka_unit_test(ranks_agree_on_the_worst),
        cmocka_unit_test(a_failure_of_one_ends_the_others),
        cmocka_unit_test(alone_nothing_is_needed),
        cmocka_unit_test(processes_that_think_they_are_alone_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
