/* A run of a language model by several ranks writes the files of one and measures the same.
 * "test_rank_language CONFIG RUNS" is what a rank does. */
#include "language_folder.h"

#include "cli/cli.h"
#include "under_mpi.h"

static void read_file(char **out, size_t *length, test_folder *folder, const char *runs,
                      const char *name) {
    char path[KD_PATH_MAX];
    snprintf(path, sizeof path, "%s/tiny/%s", runs, name);
    assert_ok(kd_file_read(out, length, test_path(folder, path), 1 << 24));
}

static void train(test_folder *folder, int ranks, const char *runs) {
    static char said[1 << 16];
    char config[KD_PATH_MAX], where[KD_PATH_MAX], work[2 * KD_PATH_MAX + 8];
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(where, sizeof where, test_path(folder, runs));
    snprintf(work, sizeof work, "%s %s", config, where);
    const int code = run_ranks(said, sizeof said, ranks, work);
    if (code != 0) fail_msg("%d ranks: code %d: %s", ranks, code, said);
}

static void a_language_model_is_the_same_on_any_ranks(void **state) {
    static const char *const files[] = {"student.gguf", "student.q8_0.gguf", "report.json"};
    static const int ranks[] = {2, 3};
    test_folder *folder = *state;
    need_mpi();
    write_config(folder, ", \"layers\": 2", "\"kind\": \"hidden\"",
                 ", \"quantize\": [{\"format\": \"q8_0\"}]");
    train(folder, 1, "one");
    for (int i = 0; i < 2; i++) {
        train(folder, ranks[i], i ? "three" : "two");
        for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
            char *one, *many;
            size_t length[2];
            read_file(&one, &length[0], folder, "one", files[f]);
            read_file(&many, &length[1], folder, i ? "three" : "two", files[f]);
            if (f == 2) { /* times alone may differ */
                drop_times(one, "\"tokens_per_second\":");
                drop_times(many, "\"tokens_per_second\":");
                length[0] = strlen(one), length[1] = strlen(many);
            }
            if (length[0] != length[1] || memcmp(one, many, length[0]) != 0)
                fail_msg("%s differs by %d ranks", files[f], ranks[i]);
            free(one);
            free(many);
        }
    }
}

static int work(const char *config, const char *runs) {
    const char *words[] = {"distill", "train", config, "--runs", runs};
    char *argv[6] = {NULL};
    for (int i = 0; i < 5; i++) argv[i] = strdup(words[i]);
    return kd_cli_main(5, argv);
}

int main(int argc, char **argv) {
    own_program = argv[0];
    if (argc > 2) return work(argv[1], argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_language_model_is_the_same_on_any_ranks, setup,
                                        test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
