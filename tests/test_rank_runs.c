/* Runs of several ranks write the files of one, byte for byte: a classifier with batch norm,
 * dropout, augmentation and learned scales, and a speech recogniser; also when a job is stopped
 * again and again and goes on with another number of ranks. "test_rank_runs STAGE CONFIG RUNS
 * [stop]" is what a rank does. */
#include <glob.h>
#include <sys/stat.h>

#include "speech_folder.h"

#include "cli/cli.h"
#include "distill/trainer.h"
#include "tiny.h"
#include "under_mpi.h"

enum { PICTURES = 230, TESTED = 40 };

static const char STUDENT[] =
    "{\"seed\": 3, \"data\": {\"kind\": \"idx\", \"folder\": \".\", \"validation\": 50,\n"
    " \"classes\": [\"a\", \"b\", \"c\", \"d\"], \"augment\": {\"shift\": 1}},\n"
    " \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 4, \"kernel\": 3},\n"
    "  {\"global_avg_pool\": true}, {\"dropout\": 0.2}]},\n"
    " \"teacher\": {\"config\": \"teacher.json\", \"views\": 2},\n"
    " \"loss\": {\"temperature\": 4, \"kl\": 0.7, \"hard\": 0.3},\n"
    " \"train\": {\"epochs\": 2, \"batch\": 16, \"accumulate\": 5, \"optimizer\": \"adamw\",\n"
    "  \"learning_rate\": 0.01, \"clip\": 1},\n"
    " \"quantize\": [{\"name\": \"lsq\", \"weight_bits\": 4, \"activation_bits\": 8,\n"
    "  \"method\": \"lsq\", \"observer\": \"ema\", \"calibration_samples\": 64,\n"
    "  \"qat\": {\"epochs\": 2, \"learning_rate\": 0.005}}]}";
static const char TEACHER[] =
    "{\"seed\": 1, \"data\": {\"kind\": \"idx\", \"folder\": \".\", \"validation\": 50,\n"
    " \"classes\": [\"a\", \"b\", \"c\", \"d\"]}, \"model\": {\"type\": \"mlp\", \"hidden\": "
    "[16]},\n"
    " \"loss\": {\"hard\": 1}, \"train\": {\"epochs\": 1, \"batch\": 16, \"accumulate\": 3,\n"
    "  \"optimizer\": \"sgd\", \"learning_rate\": 0.1}}";

static void make_pictures(test_folder *folder) {
    kd_dataset d;
    char root[KD_PATH_MAX];
    test_copy(root, sizeof root, test_path(folder, ""));
    tiny_dataset(&d, PICTURES + TESTED);
    tiny_write_idx(root, &d, 0, PICTURES, "train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    tiny_write_idx(root, &d, PICTURES, TESTED, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    tiny_dataset_clear(&d);
    test_write(test_path(folder, "student.json"), STUDENT, strlen(STUDENT));
    test_write(test_path(folder, "teacher.json"), TEACHER, strlen(TEACHER));
}

/* A stage of the config's run in a folder of runs, by so many ranks. */
static int run(test_folder *folder, const char *stage, const char *config, const char *runs,
               int ranks, const char *how) {
    static char said[1 << 16];
    char file[KD_PATH_MAX], where[KD_PATH_MAX], work[2 * KD_PATH_MAX + 32];
    test_copy(file, sizeof file, test_path(folder, config));
    test_copy(where, sizeof where, test_path(folder, runs));
    snprintf(work, sizeof work, "%s %s %s %s", stage, file, where, how);
    const int code = run_ranks(said, sizeof said, ranks, work);
    if (code != 0 && code != 75) fail_msg("%d ranks: code %d: %s", ranks, code, said);
    return code;
}

static int train(test_folder *folder, const char *config, const char *runs, int ranks,
                 const char *how) {
    return run(folder, "train", config, runs, ranks, how);
}

/* What was measured is the same, but for times. */
static void assert_same_report(test_folder *folder, const char *a, const char *b,
                               const char *name) {
    char file[KD_PATH_MAX], *text[2];
    size_t length;
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/%s/report.json", i ? b : a, name);
        assert_ok(kd_file_read(&text[i], &length, test_path(folder, file), 1 << 20));
        drop_times(text[i], "\"seconds\":");
        drop_times(text[i], "\"real_time\":");
        drop_times(text[i], "\"ms_per_sample\":");
    }
    size_t at = 0;
    while (text[0][at] && text[0][at] == text[1][at]) at++;
    const size_t from = at > 100 ? at - 100 : 0;
    if (text[0][at] != text[1][at])
        fail_msg("%s: %.200s\nis in %s: %.200s", name, text[0] + from, b, text[1] + from);
    free(text[0]);
    free(text[1]);
}

static void assert_same(test_folder *folder, const char *a, const char *b, const char *name) {
    char file[KD_PATH_MAX], path[2][KD_PATH_MAX], *bytes[2];
    size_t length[2];
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%s/%s", i ? b : a, name);
        test_copy(path[i], sizeof path[i], test_path(folder, file));
        assert_ok(kd_file_read(&bytes[i], &length[i], path[i], 1 << 26));
    }
    if (length[0] != length[1] || memcmp(bytes[0], bytes[1], length[0]) != 0)
        fail_msg("%s and %s differ", path[0], path[1]);
    free(bytes[0]);
    free(bytes[1]);
}

/* The files of folder a that match, at least so many, are those of folder b. */
static void assert_all_same(test_folder *folder, const char *a, const char *b, const char *pattern,
                            size_t least) {
    char all[KD_PATH_MAX];
    glob_t found;
    snprintf(all, sizeof all, "%s/%s", a, pattern);
    test_copy(all, sizeof all, test_path(folder, all));
    assert_int_equal(glob(all, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= least);
    const size_t before = strlen(test_path(folder, a)) + 1;
    for (size_t i = 0; i < found.gl_pathc; i++)
        assert_same(folder, a, b, found.gl_pathv[i] + before);
    globfree(&found);
}

/* When each of the files that match was written, in nanoseconds, in the order of their names. */
static size_t times(test_folder *folder, const char *pattern, int64_t *out, size_t most) {
    glob_t found;
    struct stat info;
    if (glob(test_path(folder, pattern), 0, NULL, &found) != 0) return 0;
    const size_t count = found.gl_pathc;
    assert_true(count <= most);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(stat(found.gl_pathv[i], &info), 0);
        out[i] = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    }
    globfree(&found);
    return count;
}

/* Ranks that would make other bits of the same work are named and refused, or allowed. */
static void mixed_processors_are_refused(void **state) {
    static char said[1 << 16];
    test_folder *folder = *state;
    char config[KD_PATH_MAX], runs[KD_PATH_MAX], work[5 * KD_PATH_MAX + 64];
    need_mpi();
    make_pictures(folder);
    test_copy(config, sizeof config, test_path(folder, "teacher.json"));
    test_copy(runs, sizeof runs, test_path(folder, "mixed"));
    snprintf(work, sizeof work, "train %s %s : -np 1 -x DISTILL_ISA=portable %s train %s %s",
             config, runs, own_program, config, runs);
    assert_int_equal(run_ranks(said, sizeof said, 1, work), 64);
    assert_non_null(strstr(said, "the ranks compute in different ways"));
    assert_non_null(strstr(said, "rank 1 on "));
    assert_false(kd_file_exists(runs));
    setenv("DISTILL_MIXED", "allow", 1);
    assert_int_equal(run_ranks(said, sizeof said, 1, work), 0);
    unsetenv("DISTILL_MIXED");
    assert_non_null(strstr(said, "warning: the ranks compute in different ways"));
}

static void a_classifier_is_the_same_on_any_ranks(void **state) {
    test_folder *folder = *state;
    need_mpi();
    make_pictures(folder);
    assert_int_equal(train(folder, "student.json", "one", 1, ""), 0);
    assert_int_equal(train(folder, "student.json", "three", 3, ""), 0);
    assert_int_equal(train(folder, "student.json", "eight", 8, ""), 0);
    static const char *const runs[] = {"three", "eight"};
    for (int i = 0; i < 2; i++) {
        assert_same(folder, "one", runs[i], "student/student.lsq.gguf");
        assert_same(folder, "one", runs[i], "student/student.lsq.ptq.gguf");
        assert_same(folder, "one", runs[i], "student/store/shard-00000.h5");
        assert_same_report(folder, "one", runs[i], "student");
    }
}

/* Many views, for two shards: the one that is there stays, the other is made again by other ranks;
 * a stop at any rank ends all. */
static void a_store_goes_on_with_other_ranks(void **state) {
    enum { SHARDS = 2 };
    static const char shards[] = "one/student/store/shard-*.h5";
    test_folder *folder = *state;
    int64_t before[SHARDS], after[SHARDS];
    char many[sizeof STUDENT + 8], second[KD_PATH_MAX];
    need_mpi();
    make_pictures(folder);
    const char *views = strstr(STUDENT, "\"views\": 2");
    const int length = snprintf(many, sizeof many, "%.*s\"views\": 400%s", (int)(views - STUDENT),
                                STUDENT, views + strlen("\"views\": 2"));
    test_write(test_path(folder, "student.json"), many, (size_t)length);
    assert_int_equal(run(folder, "teach", "student.json", "one", 3, ""), 0);
    assert_int_equal(run(folder, "teach", "student.json", "two", 1, ""), 0);
    assert_all_same(folder, "one", "two", "student/store/*", SHARDS);
    assert_int_equal(times(folder, shards, before, SHARDS), SHARDS);
    test_copy(second, sizeof second, test_path(folder, "one/student/store/shard-00001.h5"));
    assert_int_equal(remove(second), 0);
    assert_int_equal(run(folder, "teach", "student.json", "one", 3, "stop"), 75);
    assert_false(kd_file_exists(second));
    assert_int_equal(run(folder, "teach", "student.json", "one", 2, ""), 0);
    assert_int_equal(times(folder, shards, after, SHARDS), SHARDS);
    assert_int_equal(after[0], before[0]);
    assert_all_same(folder, "one", "two", "student/store/*", SHARDS);
}

/* Each start is stopped at its first update, by its last rank. */
static void ranks_may_change_on_the_way(void **state) {
    static const int ranks[] = {4, 2, 3, 1, 3, 2};
    test_folder *folder = *state;
    need_mpi();
    make_pictures(folder);
    assert_int_equal(train(folder, "student.json", "one", 1, ""), 0);
    for (int i = 0; i < 6; i++)
        assert_int_equal(train(folder, "student.json", "stopped", ranks[i], "stop"), 75);
    assert_int_equal(train(folder, "student.json", "stopped", 2, ""), 0);
    assert_same(folder, "one", "stopped", "student/student.lsq.gguf");
}

static const char MEASURED[] =
    "{\"data\": {\"kind\": \"speech\", \"train\": [\"train.tsv\"],\n"
    "  \"validation\": [\"held.tsv\"], \"test\": [\"train.tsv\"], \"source\": \"here\"},\n"
    " \"model\": {\"type\": \"whisper\", \"decoder_layers\": 2},\n"
    " \"teacher\": {\"weights\": \"teacher.bin\", \"source\": \"the attic\", \"wer\": 1e6},\n"
    " \"train\": {\"epochs\": 4, \"batch\": 2, \"accumulate\": 2, \"learning_rate\": 0.01}}";

static void a_recogniser_is_the_same_on_any_ranks(void **state) {
    test_folder *folder = *state;
    need_mpi();
    test_write(test_path(folder, "tiny.json"), MEASURED, strlen(MEASURED));
    assert_int_equal(train(folder, "tiny.json", "one", 1, ""), 0);
    assert_int_equal(train(folder, "tiny.json", "two", 2, "stop"), 75);
    assert_int_equal(train(folder, "tiny.json", "two", 2, ""), 0);
    assert_same(folder, "one", "two", "tiny/student.bin");
    assert_same(folder, "one", "two", "tiny/store/shard-00000.h5");
    assert_same_report(folder, "one", "two", "tiny");
}

/* Gradients of blocks that run again on the way back leave while others are computed, too. */
static void recomputing_ranks_learn_the_same(void **state) {
    test_folder *folder = *state;
    char again[sizeof MEASURED + 32];
    need_mpi();
    test_write(test_path(folder, "tiny.json"), MEASURED, strlen(MEASURED));
    assert_int_equal(train(folder, "tiny.json", "one", 1, ""), 0);
    const int length = snprintf(again, sizeof again, "%.*s, \"recompute\": true}}",
                                (int)strlen(MEASURED) - 2, MEASURED);
    test_write(test_path(folder, "tiny.json"), again, (size_t)length);
    assert_int_equal(train(folder, "tiny.json", "two", 2, ""), 0);
    assert_same(folder, "one", "two", "tiny/student.bin");
}

/* One window for each recording. */
static const char APART[] =
    "{\"data\": {\"kind\": \"speech\", \"train\": [\"list.tsv\"], \"concatenate\": \"none\",\n"
    "  \"validation\": [\"held.tsv\"], \"source\": \"here\", \"encoder_cache\": \"on\"},\n"
    " \"model\": {\"type\": \"whisper\", \"decoder_layers\": 2},\n"
    " \"teacher\": {\"weights\": \"teacher.bin\", \"source\": \"the attic\", \"wer\": 1e6},\n"
    " \"train\": {\"epochs\": 1, \"batch\": 2}}";

/* Each start but the last is stopped by its last rank: the first with most of the labels, the
 * others with one whole shard more of the encoder's outputs. */
static void what_was_heard_is_made_once(void **state) {
    enum { STARTS = 4, WINDOWS = 64, SHARDS = 4, SOUNDS = 60 };
    static const int ranks[STARTS] = {3, 3, 2, 4};
    static const size_t whole[STARTS] = {0, 1, 2, SHARDS};
    test_folder *folder = *state;
    int64_t before[SHARDS], after[SHARDS];
    size_t known = 0;
    need_mpi();
    kd_utterances train_list = tiny_utterances_of(folder, WINDOWS, SOUNDS, 2000, 300);
    kd_utterances_free(&train_list);
    test_write(test_path(folder, "tiny.json"), APART, strlen(APART));
    assert_int_equal(run(folder, "teach", "tiny.json", "one", 1, ""), 0);
    for (int i = 0; i < STARTS; i++) {
        static const char files[] = "many/tiny/encoder_cache/train-*/encoded-*.bin";
        const bool last = i + 1 == STARTS;
        const int code = run(folder, "teach", "tiny.json", "many", ranks[i], last ? "" : "stop");
        assert_int_equal(code, last ? 0 : 75);
        assert_int_equal(times(folder, files, after, SHARDS), whole[i]);
        if (known > 0) assert_memory_equal(after, before, known * sizeof *before);
        memcpy(before, after, sizeof before);
        known = whole[i];
    }
    assert_all_same(folder, "one", "many", "tiny/encoder_cache/*/*", SHARDS + 2);
    assert_all_same(folder, "one", "many", "tiny/store/*", 1);
    assert_all_same(folder, "one", "many", "tiny/labels/*/*", 2);
}

static int work(const char *stage, const char *config, const char *runs, bool stop) {
    const char *words[] = {"distill", stage, config, "--runs", runs};
    char *argv[6] = {NULL};
    const char *last = getenv("OMPI_COMM_WORLD_RANK"), *count = getenv("OMPI_COMM_WORLD_SIZE");
    if (stop && last && count && atoi(last) + 1 == atoi(count)) kd_train_request_stop();
    for (int i = 0; i < 5; i++) argv[i] = strdup(words[i]);
    return kd_cli_main(5, argv);
}

int main(int argc, char **argv) {
    own_program = argv[0];
    if (argc > 3) return work(argv[1], argv[2], argv[3], argc > 4);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mixed_processors_are_refused, setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_classifier_is_the_same_on_any_ranks, setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(a_store_goes_on_with_other_ranks, setup, test_teardown),
        cmocka_unit_test_setup_teardown(ranks_may_change_on_the_way, setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_recogniser_is_the_same_on_any_ranks, setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(recomputing_ranks_learn_the_same, setup, test_teardown),
        cmocka_unit_test_setup_teardown(what_was_heard_is_made_once, setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
