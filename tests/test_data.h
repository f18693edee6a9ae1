/* What the tests of src/data/ share: temporary folders, small files, data that may be missing. */
#ifndef TEST_DATA_H
#define TEST_DATA_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"

typedef struct {
    char path[64];
    char joined[KD_PATH_MAX];
} test_folder;

static inline int test_setup(void **state) {
    test_folder *folder = calloc(1, sizeof *folder);
    if (!folder) return -1;
    strcpy(folder->path, "/tmp/distill-test-XXXXXX");
    *state = folder;
    return mkdtemp(folder->path) ? 0 : -1;
}

static inline int test_remove(const char *path, const struct stat *info, int kind,
                              struct FTW *place) {
    (void)info, (void)kind, (void)place;
    return remove(path);
}

static inline int test_teardown(void **state) {
    test_folder *folder = *state;
    int result = nftw(folder->path, test_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(folder);
    return result;
}

/* A name in the folder; valid until the next call. */
static inline const char *test_path(test_folder *folder, const char *name) {
    assert_int_equal(kd_path_join(folder->joined, folder->path, name), KD_OK);
    return folder->joined;
}

static inline void test_make_folder(test_folder *folder, const char *name) {
    assert_int_equal(mkdir(test_path(folder, name), 0755), 0);
}

static inline void test_write(const char *path, const void *bytes, size_t length) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static inline void test_copy(char *out, size_t capacity, const char *text) {
    assert_true(strlen(text) < capacity);
    memcpy(out, text, strlen(text) + 1);
}

/* The path of a file of the data folder; skips the test when it is not there. */
static inline void test_need(char out[KD_PATH_MAX], const char *name) {
    const char *folder = getenv("DISTILL_DATA");
    assert_int_equal(kd_path_join(out, folder ? folder : "../shared/data", name), KD_OK);
    if (kd_file_exists(out)) return;
    printf("SKIP %s is not there\n", out);
    skip();
}

#endif
