/* base/file: reading, replacing, folders, names; base/shards and base/open_files; base/order. */
#include "test_data.h"

#include <dirent.h>
#include <fcntl.h>

#include "asserts.h"
#include "base/open_files.h"
#include "base/order.h"
#include "base/shards.h"

static void reading_is_whole_or_refused(void **state) {
    test_folder *folder = *state;
    char *bytes;
    size_t length;
    const char *path = test_path(folder, "it");
    test_write(path, "12345", 5);
    assert_ok(kd_file_read(&bytes, &length, path, 5));
    assert_int_equal(length, 5);
    assert_memory_equal(bytes, "12345", 6); /* and a 0 */
    free(bytes);
    assert_refused(kd_file_read(&bytes, &length, path, 4), KD_EDATA, "5 bytes, more than the 4");
    assert_true(!bytes && length == 0);
    test_write(path, "", 0);
    assert_ok(kd_file_read(&bytes, &length, path, 0));
    assert_true(length == 0 && bytes[0] == '\0');
    free(bytes);
    assert_refused(kd_file_read(&bytes, &length, folder->path, 9), KD_ENOINPUT, "regular file");
    assert_refused(kd_file_read(&bytes, &length, test_path(folder, "no"), 9), KD_ENOINPUT, "open");
    assert_refused(kd_file_read(&bytes, &length, test_path(folder, "it/x"), 9), KD_EIO, "open");
}

static void replacing_leaves_one_file(void **state) {
    test_folder *folder = *state;
    char *bytes, part[KD_PATH_MAX];
    size_t length;
    test_copy(part, sizeof part, test_path(folder, "it.part"));
    test_write(part, "left by a kill, and longer", 26);
    const char *path = test_path(folder, "it");
    assert_ok(kd_file_replace(path, "old", 3));
    assert_ok(kd_file_replace(path, "new one", 7));
    assert_ok(kd_file_read(&bytes, &length, path, 100));
    assert_true(length == 7 && memcmp(bytes, "new one", 7) == 0);
    free(bytes);
    assert_false(kd_file_exists(part));
    assert_refused(kd_file_replace(test_path(folder, "none/it"), "x", 1), KD_EIO, "none/it.part");
    /* A name that only the temporary's is too long for. */
    char longest[KD_PATH_MAX];
    memset(longest, 'x', sizeof longest - 3);
    longest[sizeof longest - 3] = '\0';
    assert_refused(kd_file_replace(longest, "x", 1), KD_EIO, "");
    path = test_path(folder, "it");
    assert_refused(kd_file_commit(part, path), KD_ENOINPUT, "it.part");
    assert_true(kd_file_exists(path));
}

/* Names without a folder lie in the one at hand. */
static void plain_names_are_replaced_too(void **state) {
    test_folder *folder = *state;
    char here[KD_PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder->path), 0);
    assert_ok(kd_file_replace("plain", "x", 1));
    assert_ok(kd_file_make_folders("a/b"));
    assert_true(kd_file_exists("plain") && kd_file_exists("a/b"));
    assert_int_equal(chdir(here), 0);
}

static void folders_are_made_with_those_above(void **state) {
    test_folder *folder = *state;
    struct stat info;
    const char *deep = test_path(folder, "a/bb/c");
    assert_ok(kd_file_make_folders(deep));
    assert_true(stat(deep, &info) == 0 && S_ISDIR(info.st_mode));
    assert_ok(kd_file_make_folders(deep));
    assert_ok(kd_file_make_folders(test_path(folder, "a/bb/c//d/")));
    assert_true(kd_file_exists(test_path(folder, "a/bb/c/d")));
    test_write(test_path(folder, "file"), "x", 1);
    assert_refused(kd_file_make_folders(test_path(folder, "file/d")), KD_EIO, "file/d");
    assert_refused(kd_file_make_folders(""), KD_EIO, "not a usable");
    char longest[KD_PATH_MAX + 1];
    memset(longest, 'x', KD_PATH_MAX);
    longest[KD_PATH_MAX] = '\0';
    assert_refused(kd_file_make_folders(longest), KD_EIO, "");
}

static void removing_takes_what_matches(void **state) {
    test_folder *folder = *state;
    static const char *const names[] = {"a.h5", "b.h5.part", ".c.h5", "log.jsonl", "log.jsonl.old"};
    for (int i = 0; i < 5; i++) test_write(test_path(folder, names[i]), "x", 1);
    assert_ok(kd_file_remove_matching(folder->path, (const char *const[]){NULL}));
    assert_true(kd_file_exists(test_path(folder, "a.h5")));
    assert_ok(
        kd_file_remove_matching(folder->path, (const char *const[]){"*.h5", "log.jsonl", NULL}));
    static const bool stays[] = {false, true, true, false, true};
    for (int i = 0; i < 5; i++)
        assert_int_equal(kd_file_exists(test_path(folder, names[i])), stays[i]);
    assert_ok(kd_file_remove_matching(test_path(folder, "none"), (const char *const[]){"*", NULL}));
    assert_refused(
        kd_file_remove_matching(test_path(folder, ".c.h5"), (const char *const[]){"*", NULL}),
        KD_EIO, "cannot read");
    test_make_folder(folder, "sub"); /* not a file */
    assert_refused(kd_file_remove_matching(folder->path, (const char *const[]){"sub", NULL}),
                   KD_EIO, "sub: cannot remove");
}

static void names_are_joined_if_they_fit(void **state) {
    (void)state;
    char out[KD_PATH_MAX], folder[KD_PATH_MAX];
    assert_ok(kd_path_join(out, "a", "b"));
    assert_string_equal(out, "a/b");
    assert_ok(kd_path_join(out, "a/", "b"));
    assert_string_equal(out, "a/b");
    assert_ok(kd_path_join(out, "/", "b"));
    assert_string_equal(out, "/b");
    memset(folder, 'x', sizeof folder);
    folder[KD_PATH_MAX - 3] = '\0'; /* with '/', 'b' and the 0 it just fits */
    assert_ok(kd_path_join(out, folder, "b"));
    assert_int_equal(strlen(out), KD_PATH_MAX - 1);
    assert_refused(kd_path_join(out, folder, "bc"), KD_EIO, "");
}

static void room_is_told_or_zero(void **state) {
    test_folder *folder = *state;
    assert_true(kd_file_free_bytes(folder->path) > 0);
    assert_true(kd_file_free_bytes(test_path(folder, "not/yet")) > 0); /* that of "." */
}

static void reading_a_part(void **state) {
    test_folder *folder = *state;
    char bytes[8] = "........";
    const char *path = test_path(folder, "it");
    test_write(path, "0123456789", 10);
    const int fd = open(path, O_RDONLY);
    assert_ok(kd_file_read_at(fd, "it", bytes, 3, 7));
    assert_memory_equal(bytes, "789.....", 8);
    assert_ok(kd_file_read_at(fd, "it", bytes, 0, 50));
    assert_refused(kd_file_read_at(fd, "it", bytes, 4, 7), KD_EIO,
                   "it: became shorter while it was read: it ends before byte 11");
    close(fd);
    assert_refused(kd_file_read_at(-1, "it", bytes, 1, 0), KD_EIO, "it: cannot read");
}

static void shards_are_listed_written_and_removed(void **state) {
    test_folder *folder = *state;
    static const char *const others[] = {"piece-0001.x",
                                         "piece-00001.xy",
                                         "piece-00001.x.old",
                                         "xpiece-00001.x",
                                         "piece-a0001.x",
                                         "piece-00001x",
                                         "piece-000000000000000000001.x"};
    static const int64_t numbers[] = {100000, 3, 0, 12};
    kd_shards shards;
    int64_t *number, count;
    char path[KD_PATH_MAX];
    assert_ok(kd_shards_init(&shards, test_path(folder, "deep/cache"), "piece", ".x"));
    assert_ok(kd_shards_list(&shards, &number, &count));
    assert_true(count == 0 && !number);
    assert_ok(kd_shards_remove_from(&shards, 0));
    for (int i = 0; i < 4; i++) assert_ok(kd_shards_write(&shards, numbers[i], "abc", 3));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_ok(kd_path_join(path, shards.folder, others[i]));
        test_write(path, "", 0);
    }
    assert_ok(kd_path_join(path, shards.folder, "piece-00003.x.part"));
    test_write(path, "", 0);
    assert_ok(kd_shards_list(&shards, &number, &count));
    assert_int_equal(count, 4);
    assert_true(number[0] == 0 && number[1] == 3 && number[2] == 12 && number[3] == 100000);
    free(number);
    assert_ok(kd_shards_path(&shards, 12, path));
    assert_string_equal(strrchr(path, '/'), "/piece-00012.x");
    assert_ok(kd_shards_remove_from(&shards, 12));
    assert_ok(kd_shards_list(&shards, &number, &count));
    assert_true(count == 2 && number[1] == 3);
    free(number);
    assert_ok(kd_path_join(path, shards.folder, "piece-00003.x.part"));
    assert_false(kd_file_exists(path));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_ok(kd_path_join(path, shards.folder, others[i]));
        assert_true(kd_file_exists(path));
    }
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    assert_ok(kd_shards_init(&shards, path, "piece", ".x"));
    assert_int_equal(kd_shards_write(&shards, 0, "", 0), KD_EIO);
}

static void folders_are_listed_by_bytes(void **state) {
    test_folder *folder = *state;
    static const char *const names[] = {"b", "a", "B", ".hidden", "a.b", "\xc3\xa4"};
    static const char *const sorted[] = {"B", "a", "a.b", "b", "\xc3\xa4"};
    struct dirent **entry = NULL;
    int count;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        test_write(test_path(folder, names[i]), "", 0);
    assert_true(kd_file_is_folder(folder->path));
    assert_false(kd_file_is_folder(test_path(folder, "a")));
    assert_false(kd_file_is_folder(test_path(folder, "none")));
    assert_ok(kd_file_list_folder(&entry, &count, folder->path));
    assert_int_equal(count, sizeof sorted / sizeof *sorted);
    for (int i = 0; i < count; i++) {
        assert_string_equal(entry[i]->d_name, sorted[i]);
        free(entry[i]);
    }
    free(entry);
    assert_refused(kd_file_list_folder(&entry, &count, test_path(folder, "none")), KD_EIO,
                   "none: cannot list");
}

static void numbers_are_ordered(void **state) {
    (void)state;
    double odd[] = {3, -1, 2}, even[] = {4, 1, 3, -2};
    int64_t n[] = {INT64_MAX, 5, INT64_MIN, 0};
    assert_true(kd_median(odd, 3) == 2 && odd[0] == -1 && odd[2] == 3);
    assert_true(kd_median(even, 4) == 3); /* of two the larger */
    assert_true(kd_median(NULL, 0) == 0);
    qsort(n, 4, sizeof *n, kd_order_integers);
    assert_true(n[0] == INT64_MIN && n[1] == 0 && n[2] == 5 && n[3] == INT64_MAX);
    assert_true(kd_smaller(INT64_MIN, 1) == INT64_MIN && kd_smaller(2, 1) == 1);
    assert_true(kd_larger(INT64_MIN, 1) == 1 && kd_larger(2, 1) == 2);
}

/* More files than are kept open: each is opened again when it is its turn. */
static void files_are_opened_as_they_are_needed(void **state) {
    test_folder *folder = *state;
    enum { FILES = 2 * KD_OPEN_FILES };
    kd_open_files *files;
    char path[KD_PATH_MAX];
    int fd;
    assert_ok(kd_open_files_create(&files));
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < FILES; i++) {
            char byte, name[16];
            snprintf(name, sizeof name, "f%d", i);
            test_copy(path, sizeof path, test_path(folder, name));
            if (round == 0) test_write(path, &(char){(char)i}, 1);
            assert_ok(kd_open_files_take(files, i, path, &fd));
            assert_ok(kd_file_read_at(fd, path, &byte, 1, 0));
            kd_open_files_give_back(files, i);
            assert_int_equal(byte, (char)i);
        }
    for (int i = 0; i < 3; i++)
        assert_refused(kd_open_files_take(files, 1, test_path(folder, "none"), &fd), KD_EIO,
                       "none: cannot open");
    /* What is open stays so, whatever becomes of its name. */
    assert_int_equal(unlink(path), 0);
    assert_ok(kd_open_files_take(files, FILES - 1, path, &fd));
    kd_open_files_give_back(files, FILES - 1);
    kd_open_files_free(files);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {TEST(reading_is_whole_or_refused),
                                       TEST(replacing_leaves_one_file),
                                       TEST(plain_names_are_replaced_too),
                                       TEST(folders_are_made_with_those_above),
                                       TEST(removing_takes_what_matches),
                                       TEST(names_are_joined_if_they_fit),
                                       TEST(room_is_told_or_zero),
                                       TEST(reading_a_part),
                                       TEST(shards_are_listed_written_and_removed),
                                       TEST(folders_are_listed_by_bytes),
                                       TEST(numbers_are_ordered),
                                       TEST(files_are_opened_as_they_are_needed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
