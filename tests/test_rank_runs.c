/* Runs of several ranks write the files of one, byte for byte: a classifier with batch norm,
 * dropout, augmentation and learned scales, and a speech recogniser; also when a job is stopped
 * again and again and goes on with another number of ranks. "test_rank_runs CONFIG RUNS [stop]" is
 * what a rank does. */
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

/* The config's run in a folder of runs, by so many ranks. */
static int train(test_folder *folder, const char *config, const char *runs, int ranks,
                 const char *how) {
    static char said[1 << 16];
    char file[KD_PATH_MAX], where[KD_PATH_MAX], work[2 * KD_PATH_MAX + 16];
    test_copy(file, sizeof file, test_path(folder, config));
    test_copy(where, sizeof where, test_path(folder, runs));
    snprintf(work, sizeof work, "%s %s %s", file, where, how);
    const int code = run_ranks(said, sizeof said, ranks, work);
    if (code != 0 && code != 75) fail_msg("%d ranks: code %d: %s", ranks, code, said);
    return code;
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
    }
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

static void a_recogniser_is_the_same_on_any_ranks(void **state) {
    test_folder *folder = *state;
    need_mpi();
    assert_int_equal(train(folder, "tiny.json", "one", 1, ""), 0);
    assert_int_equal(train(folder, "tiny.json", "two", 2, "stop"), 75);
    assert_int_equal(train(folder, "tiny.json", "two", 2, ""), 0);
    assert_same(folder, "one", "two", "tiny/student.bin");
    assert_same(folder, "one", "two", "tiny/store/shard-00000.h5");
}

static int work(const char *config, const char *runs, bool stop) {
    const char *words[] = {"distill", "train", config, "--runs", runs};
    char *argv[6] = {NULL};
    const char *last = getenv("OMPI_COMM_WORLD_RANK"), *count = getenv("OMPI_COMM_WORLD_SIZE");
    if (stop && last && count && atoi(last) + 1 == atoi(count)) kd_train_request_stop();
    for (int i = 0; i < 5; i++) argv[i] = strdup(words[i]);
    return kd_cli_main(5, argv);
}

int main(int argc, char **argv) {
    own_program = argv[0];
    if (argc > 2) return work(argv[1], argv[2], argc > 3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_classifier_is_the_same_on_any_ranks, setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(ranks_may_change_on_the_way, setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_recogniser_is_the_same_on_any_ranks, setup,
                                        test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
