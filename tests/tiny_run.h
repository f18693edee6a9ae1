/* The program as its user runs it, in a folder of its own with a small data set as idx files. */
#ifndef KD_TESTS_TINY_RUN_H
#define KD_TESTS_TINY_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "cli/cli.h"
#include "tiny.h"

enum { TRAINING = 600, TESTING = 200 };

static char root[] = "/tmp/distill-pipeline-XXXXXX";
static char source_folder[KD_PATH_MAX]; /* the tests are started from the project's top */

static inline void write_file(const char *name, const void *bytes, size_t length) {
    char path[KD_PATH_MAX];
    assert_int_equal(kd_path_join(path, root, name), KD_OK);
    assert_int_equal(kd_file_replace(path, bytes, length), KD_OK);
}

static inline void write_config(const char *name, const char *rest) {
    char text[4096];
    int n = snprintf(
        text, sizeof text,
        "{\"name\": \"%s\", \"seed\": 2,\n"
        " \"data\": {\"kind\": \"idx\", \"folder\": \".\", \"validation\": 100,\n"
        "  \"classes\": [\"a\", \"b\", \"c\", \"d\"], \"augment\": {\"shift\": 1}},\n%s}\n",
        name, rest);
    assert_true(n > 0 && n < (int)sizeof text);
    char file[80];
    snprintf(file, sizeof file, "%s.json", name);
    write_file(file, text, (size_t)n);
}

/* Makes the folder and the data, and goes there. */
static inline int enter_folder(void) {
    if (!getcwd(source_folder, sizeof source_folder) || !mkdtemp(root)) return -1;
    kd_dataset d;
    tiny_dataset(&d, TRAINING + TESTING);
    tiny_write_idx(root, &d, 0, TRAINING, "train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    tiny_write_idx(root, &d, TRAINING, TESTING, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
    tiny_dataset_clear(&d);
    return chdir(root);
}

static inline int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

/* distill ARGUMENT…; the exit code. */
static inline int distill(int n, const char *const *arguments) {
    char *argv[16];
    argv[0] = strdup("distill");
    for (int i = 0; i < n; i++) argv[i + 1] = strdup(arguments[i]);
    argv[n + 1] = NULL;
    char *owned[16];
    memcpy(owned, argv, sizeof owned);
    int code = kd_cli_main(n + 1, argv);
    for (int i = 0; i <= n; i++) free(owned[i]);
    return code;
}
#define DISTILL(...)                                                                               \
    distill((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                         \
            (const char *[]){__VA_ARGS__})

#endif
