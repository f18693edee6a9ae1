/* Running commands within the test program. Include after test_data.h. */
#ifndef KD_TESTS_RUN_CLI_H
#define KD_TESTS_RUN_CLI_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* What a command wrote; output goes to files while it runs. */
static char printed[1 << 16], complained[1 << 14];

static inline void read_back(int file, char *out, size_t capacity) {
    ssize_t n = pread(file, out, capacity - 1, 0);
    out[n > 0 ? n : 0] = '\0';
    close(file);
}

/* distill WORDS…; returns the exit code. */
static inline int distill(const char *const *words) {
    char *argv[16];
    int argc = 0;
    argv[argc++] = strdup("distill");
    for (; words[argc - 1]; argc++) argv[argc] = strdup(words[argc - 1]);
    char out[] = "/tmp/distill-test-XXXXXX", err[] = "/tmp/distill-test-XXXXXX";
    int files[2] = {mkstemp(out), mkstemp(err)}, kept[2] = {dup(1), dup(2)};
    fflush(stdout);
    fflush(stderr);
    dup2(files[0], 1);
    dup2(files[1], 2);
    char *moved[16]; /* the parser moves arguments */
    memcpy(moved, argv, sizeof moved);
    int code = kd_cli_main(argc, moved);
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 2; i++) {
        dup2(kept[i], i + 1);
        close(kept[i]);
    }
    read_back(files[0], printed, sizeof printed);
    read_back(files[1], complained, sizeof complained);
    unlink(out);
    unlink(err);
    for (int i = 0; i < argc; i++) free(argv[i]);
    return code;
}
#define DISTILL(...) distill((const char *const[]){__VA_ARGS__, NULL})

static inline void assert_says(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("\"%s\"\nlacks \"%s\"", text, part);
}

#endif
