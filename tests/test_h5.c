/* The HDF5 wrappers: what comes back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/error.h"
#include "base/file.h"
#include "data/h5.h"
#include "hdf5_leaks.h"

static char folder[64];

static const char *in_folder(const char *name) {
    static char path[2][KD_PATH_MAX];
    static int turn;
    turn = !turn;
    assert_int_equal(kd_path_join(path[turn], folder, name), KD_OK);
    return path[turn];
}

/* Writes without waiting for the disk, unlike kd_file_replace. */
static void put(const char *path, const char *bytes, size_t length) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/kd-test-h5-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* Removes the folder, and asserts that nothing of libhdf5 is left open. */
static int remove_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    return H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0 ? 0 : -1;
}

static void make_file(const char *path) {
    hid_t file, group;
    float numbers[7 * 3];
    for (int i = 0; i < 21; i++) numbers[i] = (float)i / 3;
    assert_ok(kd_h5_create(&file, path));
    assert_ok(kd_h5_set_string(file, "schema", "a test"));
    assert_ok(kd_h5_set_int(file, "large", INT64_MIN));
    assert_ok(kd_h5_set_double(file, "third", 1.0 / 3));
    assert_ok(kd_h5_set_doubles(file, "list", 3, (double[]){1, 2, 4}));
    assert_ok(kd_h5_write(file, "a/b", 2, (int64_t[]){7, 3}, H5T_NATIVE_FLOAT, H5T_NATIVE_FLOAT,
                          numbers));
    assert_ok(kd_h5_make_group(&group, file, "x/y"));
    assert_ok(kd_h5_set_string(group, "empty", ""));
    H5Gclose(group);
    assert_ok(kd_h5_commit(file, path));
}

/* Every first call of a process is followed by one that libhdf5 complains about at length. */
static void complain(int first) {
    hid_t thing;
    if (first == 0) {
        char bytes[4096] = "\x89HDF\r\n\x1a\n\2"; /* the beginning of such a file, and zeros */
        put(in_folder("bad.h5"), bytes, sizeof bytes);
        if (kd_h5_open(&thing, in_folder("bad.h5")) != KD_EDATA) _exit(1);
    } else if (first == 1) {
        if (kd_h5_create(&thing, in_folder("new.h5")) != KD_OK) _exit(1);
        if (H5Gopen2(thing, "nowhere", H5P_DEFAULT) >= 0) _exit(1);
    } else {
        thing = kd_h5_half();
        if (thing < 0 || H5Tset_size(thing, 0) >= 0) _exit(1);
    }
    _exit(0);
}

/* The messages are ours. Before the other tests, which call the library in this process. */
static void test_the_library_is_silent(void **state) {
    (void)state;
    for (int first = 0; first < 3; first++) {
        char *said;
        size_t length;
        int status;
        const char *log = in_folder("stderr");
        pid_t child = fork();
        if (child == 0) {
            if (!freopen(log, "w", stderr)) _exit(1);
            complain(first);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_ok(kd_file_read(&said, &length, in_folder("stderr"), 1 << 20));
        assert_string_equal(said, "");
        free(said);
    }
}

static void test_round_trip(void **state) {
    (void)state;
    const char *path = in_folder("a.h5");
    make_file(path);
    hid_t file, group;
    assert_ok(kd_h5_open(&file, path));
    char text[16];
    int64_t large;
    double third, list[4];
    int count;
    float numbers[21];
    assert_ok(kd_h5_get_string(file, "schema", text, sizeof text));
    assert_string_equal(text, "a test");
    assert_ok(kd_h5_get_int(file, "large", &large));
    assert_true(large == INT64_MIN);
    assert_ok(kd_h5_get_double(file, "third", &third));
    assert_true(third == 1.0 / 3);
    assert_ok(kd_h5_get_doubles(file, "list", 4, &count, list));
    assert_int_equal(count, 3);
    assert_true(list[2] == 4);
    assert_ok(kd_h5_read(file, "a/b", 2, (int64_t[]){7, 3}, H5T_NATIVE_FLOAT, numbers));
    for (int i = 0; i < 21; i++) assert_true(numbers[i] == (float)i / 3);
    assert_true(kd_h5_has(file, "x/y"));
    assert_false(kd_h5_has(file, "x/z"));
    assert_false(kd_h5_has(file, "z/y"));
    assert_ok(kd_h5_open_object(&group, file, "x/y"));
    assert_ok(kd_h5_get_string(group, "empty", text, 1));
    assert_string_equal(text, "");
    H5Oclose(group);
    assert_ok(kd_h5_count(file, "x", &large));
    assert_int_equal(large, 1);
    assert_ok(kd_h5_child(file, "x", 0, text, sizeof text));
    assert_string_equal(text, "y");
    kd_h5_close(file);
}

static void test_same_content_same_bytes(void **state) {
    (void)state;
    char *bytes[2];
    size_t length[2];
    make_file(in_folder("a.h5"));
    assert_ok(kd_file_read(&bytes[0], &length[0], in_folder("a.h5"), SIZE_MAX));
    make_file(in_folder("a.h5"));
    assert_ok(kd_file_read(&bytes[1], &length[1], in_folder("a.h5"), SIZE_MAX));
    assert_int_equal(length[0], length[1]);
    assert_memory_equal(bytes[0], bytes[1], length[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void test_half(void **state) {
    (void)state;
    hid_t file, half = kd_h5_half();
    uint16_t written[4] = {0x3c00, 0xc000, 0x0001, 0x7bff}, bits[4];
    assert_true(half >= 0);
    assert_ok(kd_h5_create(&file, in_folder("half.h5")));
    assert_ok(kd_h5_write(file, "x", 1, (int64_t[]){4}, half, half, written));
    assert_ok(kd_h5_commit(file, in_folder("half.h5")));
    assert_ok(kd_h5_open(&file, in_folder("half.h5")));
    assert_ok(kd_h5_read(file, "x", 1, (int64_t[]){4}, half, bits));
    assert_memory_equal(bits, written, sizeof bits);
    /* That the library means the same by them. */
    float numbers[4];
    hid_t set = H5Dopen2(file, "x", H5P_DEFAULT);
    assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
    H5Dclose(set);
    assert_true(numbers[0] == 1 && numbers[1] == -2 && numbers[3] == 65504);
    assert_true(numbers[2] == 1.0f / (1 << 24));
    kd_h5_close(file);
    H5Tclose(half);
}

/* Larger than one chunk, with a last chunk that is not full; rows larger than a chunk. */
static void test_many_chunks(void **state) {
    (void)state;
    enum { ROWS = 3, WIDTH = 200001 };
    double *numbers = malloc(sizeof(double[ROWS][WIDTH])),
           *read = malloc(sizeof(double[ROWS][WIDTH]));
    for (int i = 0; i < ROWS * WIDTH; i++) numbers[i] = i;
    hid_t file;
    assert_ok(kd_h5_create(&file, in_folder("big.h5")));
    assert_ok(kd_h5_write(file, "wide", 2, (int64_t[]){ROWS, WIDTH}, H5T_NATIVE_DOUBLE,
                          H5T_NATIVE_DOUBLE, numbers));
    assert_ok(kd_h5_write(file, "long", 2, (int64_t[]){WIDTH, ROWS}, H5T_NATIVE_DOUBLE,
                          H5T_NATIVE_DOUBLE, numbers));
    assert_ok(kd_h5_commit(file, in_folder("big.h5")));
    assert_ok(kd_h5_open(&file, in_folder("big.h5")));
    assert_ok(kd_h5_read(file, "wide", 2, (int64_t[]){ROWS, WIDTH}, H5T_NATIVE_DOUBLE, read));
    assert_memory_equal(read, numbers, sizeof(double[ROWS][WIDTH]));
    assert_ok(kd_h5_read(file, "long", 2, (int64_t[]){WIDTH, ROWS}, H5T_NATIVE_DOUBLE, read));
    assert_memory_equal(read, numbers, sizeof(double[ROWS][WIDTH]));
    kd_h5_close(file);
    free(numbers);
    free(read);
}

/* Whole numbers of every width, sign and byte order, at the ends of what each holds. */
static void test_integers_of_every_type(void **state) {
    (void)state;
    const struct {
        hid_t stored;
        int64_t low, high;
        const char *name;
    } types[] = {{H5T_STD_I8BE, INT8_MIN, INT8_MAX, "int8"},
                 {H5T_STD_U8LE, 0, UINT8_MAX, "uint8"},
                 {H5T_STD_I16BE, INT16_MIN, INT16_MAX, "int16 (big-endian)"},
                 {H5T_STD_U16LE, 0, UINT16_MAX, "uint16"},
                 {H5T_STD_I32BE, INT32_MIN, INT32_MAX, "int32 (big-endian)"},
                 {H5T_STD_U32LE, 0, UINT32_MAX, "uint32"},
                 {H5T_STD_I64LE, INT64_MIN, INT64_MAX, "int64"},
                 {H5T_STD_I64BE, INT64_MIN, INT64_MAX, "int64 (big-endian)"}};
    enum { TYPES = (int)(sizeof types / sizeof *types) };
    hid_t file;
    int64_t back64[2];
    int32_t back32[2];
    uint64_t unsigned64[2];
    float real[2];
    char says[64];
    assert_ok(kd_h5_create(&file, in_folder("types.h5")));
    for (int i = 0; i < TYPES; i++)
        assert_ok(kd_h5_write(file, types[i].name, 1, (int64_t[]){2}, types[i].stored,
                              H5T_NATIVE_INT64, (int64_t[]){types[i].low, types[i].high}));
    assert_ok(kd_h5_commit(file, in_folder("types.h5")));
    assert_ok(kd_h5_open(&file, in_folder("types.h5")));
    for (int i = 0; i < TYPES; i++) {
        const char *name = types[i].name;
        const bool in32 = types[i].low >= INT32_MIN && types[i].high <= INT32_MAX;
        assert_ok(kd_h5_read(file, name, 1, (int64_t[]){2}, H5T_NATIVE_INT64, back64));
        assert_true(back64[0] == types[i].low && back64[1] == types[i].high);
        assert_int_equal(kd_h5_read(file, name, 1, (int64_t[]){2}, H5T_NATIVE_INT32, back32),
                         in32 ? KD_OK : KD_EDATA);
        assert_true(!in32 || (back32[0] == types[i].low && back32[1] == types[i].high));
        assert_int_equal(kd_h5_read(file, name, 1, (int64_t[]){2}, H5T_NATIVE_UINT64, unsigned64),
                         types[i].low < 0 ? KD_EDATA : KD_OK);
        snprintf(says, sizeof says, "holds %s, not float32", name);
        assert_refused(kd_h5_read(file, name, 1, (int64_t[]){2}, H5T_NATIVE_FLOAT, real), KD_EDATA,
                       says);
    }
    kd_h5_close(file);
}

/* A configuration may be longer than the 64 KiB that older formats allow an attribute. */
static void test_long_text(void **state) {
    (void)state;
    size_t length = 300000;
    char *text = malloc(length + 1), *read;
    memset(text, 'x', length);
    text[length] = '\0';
    hid_t file;
    assert_ok(kd_h5_create(&file, in_folder("long.h5")));
    assert_ok(kd_h5_set_string(file, "config", text));
    assert_ok(kd_h5_commit(file, in_folder("long.h5")));
    assert_ok(kd_h5_open(&file, in_folder("long.h5")));
    assert_ok(kd_h5_get_text(file, "config", length, &read));
    assert_string_equal(read, text);
    free(read);
    assert_refused(kd_h5_get_text(file, "config", length - 1, &read), KD_EDATA, "longer than");
    assert_null(read);
    kd_h5_close(file);
    free(text);
}

static void test_refuses_other_shapes_and_types(void **state) {
    (void)state;
    make_file(in_folder("a.h5"));
    hid_t file;
    double numbers[64];
    int64_t integer;
    char text[4];
    assert_ok(kd_h5_open(&file, in_folder("a.h5")));
    assert_refused(kd_h5_read(file, "a/b", 2, (int64_t[]){3, 7}, H5T_NATIVE_FLOAT, numbers),
                   KD_EDATA, "/a/b: has shape (7, 3), not (3, 7)");
    assert_refused(kd_h5_read(file, "a/b", 1, (int64_t[]){21}, H5T_NATIVE_FLOAT, numbers), KD_EDATA,
                   "has shape (7, 3), not (21)");
    assert_refused(kd_h5_read(file, "a/b", 2, (int64_t[]){7, 3}, H5T_NATIVE_DOUBLE, numbers),
                   KD_EDATA, "holds float32, not float64");
    assert_refused(kd_h5_read(file, "a/b", 2, (int64_t[]){7, 3}, H5T_NATIVE_INT32, numbers),
                   KD_EDATA, "holds float32, not int32");
    assert_refused(kd_h5_read(file, "a/c", 2, (int64_t[]){7, 3}, H5T_NATIVE_FLOAT, numbers),
                   KD_EDATA, "a.h5: /a/c: is missing");
    assert_int_equal(kd_h5_read(file, "a", 1, (int64_t[]){1}, H5T_NATIVE_FLOAT, numbers), KD_EDATA);
    assert_refused(kd_h5_get_int(file, "schema", &integer), KD_EDATA, "schema: must be an integer");
    assert_refused(kd_h5_get_int(file, "third", &integer), KD_EDATA, "must be an integer");
    assert_refused(kd_h5_get_int(file, "list", &integer), KD_EDATA, "must be an integer");
    assert_refused(kd_h5_get_int(file, "none", &integer), KD_EDATA,
                   "none: the attribute is missing");
    assert_refused(kd_h5_get_double(file, "list", numbers), KD_EDATA, "has 3");
    assert_refused(kd_h5_get_string(file, "schema", text, sizeof text), KD_EDATA, "longer than 3");
    kd_h5_close(file);
}

/* Files of other programs: plain HDF5 without a seal, and what such a file can try. */
static void foreign_file(const char *path, hid_t access) {
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    assert_true(file >= 0);
    hsize_t size[2] = {4, 2}, huge[2] = {(hsize_t)1 << 40, 1 << 20}, chunk[2] = {1 << 16, 1 << 13};
    hid_t space = H5Screate_simple(2, size, NULL), vast = H5Screate_simple(2, huge, NULL);
    int numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    hid_t plain =
        H5Dcreate2(file, "plain", H5T_NATIVE_INT, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(plain, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
    H5Dclose(plain);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(list, 2, (hsize_t[]){2, 2});
    H5Dclose(H5Dcreate2(file, "sparse", H5T_NATIVE_INT, vast, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Pset_deflate(list, 6);
    H5Dclose(H5Dcreate2(file, "packed", H5T_NATIVE_INT, space, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Pclose(list);
    list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(list, 2, chunk);
    H5Dclose(H5Dcreate2(file, "chunky", H5T_NATIVE_INT, vast, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Pclose(list);
    list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(list, "/etc/passwd", 0, sizeof numbers);
    H5Dclose(H5Dcreate2(file, "outside", H5T_NATIVE_INT, space, H5P_DEFAULT, list, H5P_DEFAULT));
    H5Pclose(list);
    H5Lcreate_soft("/plain", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("/etc/other.h5", "/plain", file, "elsewhere", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(file, "/", file, "loop", H5P_DEFAULT, H5P_DEFAULT);
    H5Sclose(space);
    H5Sclose(vast);
    H5Fclose(file);
}

static void test_foreign_files(void **state) {
    (void)state;
    const char *path = in_folder("foreign.h5");
    foreign_file(path, H5P_DEFAULT);
    hid_t file;
    int numbers[8], rank;
    int64_t shape[KD_H5_RANK_MAX];
    assert_ok(kd_h5_open(&file, path));
    assert_ok(kd_h5_shape(file, "plain", &rank, shape));
    assert_int_equal(rank, 2);
    assert_ok(kd_h5_read(file, "plain", 2, shape, H5T_NATIVE_INT, numbers));
    assert_int_equal(numbers[7], 8);
    assert_ok(kd_h5_read(file, "loop/loop/plain", 2, shape, H5T_NATIVE_INT, numbers));
    assert_refused(kd_h5_shape(file, "sparse", &rank, shape), KD_EDATA,
                   "claims more numbers than the file could hold");
    assert_refused(kd_h5_shape(file, "packed", &rank, shape), KD_EDATA, "is compressed");
    assert_refused(kd_h5_shape(file, "chunky", &rank, shape), KD_EDATA, "has chunks larger");
    assert_refused(kd_h5_shape(file, "outside", &rank, shape), KD_EDATA, "in another file");
    assert_refused(kd_h5_shape(file, "soft", &rank, shape), KD_EDATA, "is missing");
    assert_refused(kd_h5_shape(file, "elsewhere", &rank, shape), KD_EDATA, "is missing");
    kd_h5_close(file);
}

/* A data set of `rank` axes of two; layouts and types are the caller's. */
static void put_set(hid_t file, const char *name, int rank, hid_t type, hid_t list) {
    hsize_t size[6] = {2, 2, 2, 2, 2, 2};
    hid_t space = rank ? H5Screate_simple(rank, size, NULL) : H5Screate(H5S_SCALAR);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(set >= 0);
    H5Dclose(set);
    H5Sclose(space);
}

static void test_unusual_sets(void **state) {
    (void)state;
    const char *path = in_folder("unusual.h5");
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t twelve = H5Tcopy(H5T_STD_I32LE), three = H5Tcopy(H5T_STD_I32LE);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), plane = H5Screate_simple(1, (hsize_t[]){2}, NULL);
    assert_true(H5Tset_precision(twelve, 12) >= 0);
    assert_true(H5Tset_precision(three, 24) >= 0 && H5Tset_size(three, 3) >= 0);
    assert_true(H5Pset_virtual(list, plane, "other.h5", "x", plane) >= 0);
    put_set(file, "scalar", 0, H5T_STD_I32LE, H5P_DEFAULT);
    put_set(file, "five", 5, H5T_STD_I32LE, H5P_DEFAULT);
    put_set(file, "six", 6, H5T_STD_I32LE, H5P_DEFAULT);
    put_set(file, "twelve", 1, twelve, H5P_DEFAULT);
    put_set(file, "three", 1, three, H5P_DEFAULT);
    put_set(file, "swapped", 1, H5T_IEEE_F32BE, H5P_DEFAULT);
    put_set(file, "virtual", 1, H5T_STD_I32LE, list);
    H5Gclose(H5Gcreate2(file, "named", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(H5Gcreate2(file, "named/abc", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(H5Gcreate2(file, "named/b", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Tclose(twelve);
    H5Tclose(three);
    H5Pclose(list);
    H5Sclose(plane);
    H5Fclose(file);
    int rank;
    int64_t shape[KD_H5_RANK_MAX], count, two = 2;
    int32_t numbers[32];
    char name[4];
    assert_ok(kd_h5_open(&file, path));
    assert_ok(kd_h5_shape(file, "five", &rank, shape));
    assert_int_equal(rank, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(shape[i], 2);
    assert_ok(kd_h5_read(file, "five", 5, shape, H5T_NATIVE_INT32, numbers));
    assert_refused(kd_h5_shape(file, "six", &rank, shape), KD_EDATA, "must have 1 to 5 axes");
    assert_refused(kd_h5_shape(file, "scalar", &rank, shape), KD_EDATA, "must have 1 to 5 axes");
    assert_refused(kd_h5_shape(file, "virtual", &rank, shape), KD_EDATA,
                   "/virtual: has a layout this program does not read");
    assert_refused(kd_h5_read(file, "twelve", 1, &two, H5T_NATIVE_INT32, numbers), KD_EDATA,
                   "/twelve: holds int32 with its bits in other places than usual");
    assert_refused(kd_h5_read(file, "three", 1, &two, H5T_NATIVE_INT32, numbers), KD_EDATA,
                   "/three: holds int24, not int32");
    assert_refused(kd_h5_read(file, "swapped", 1, &two, H5T_NATIVE_FLOAT, numbers), KD_EDATA,
                   "/swapped: holds float32 (big-endian), not float32");
    assert_ok(kd_h5_count(file, "named", &count));
    assert_int_equal(count, 2);
    assert_ok(kd_h5_child(file, "named", 0, name, sizeof name));
    assert_string_equal(name, "abc");
    assert_refused(kd_h5_child(file, "named", 0, name, 3), KD_EDATA,
                   "/named: holds a name of 3 bytes, more than 2");
    assert_ok(kd_h5_child(file, "named", 1, name, 2));
    assert_string_equal(name, "b");
    assert_int_equal(kd_h5_child(file, "named", 2, name, sizeof name), KD_EDATA);
    kd_h5_close(file);
}

/* No byte of a sealed file can be cut off, added or changed. */
static void test_seal(void **state) {
    (void)state;
    const char *path = in_folder("a.h5");
    char *bytes;
    size_t length;
    hid_t file;
    make_file(path);
    assert_ok(kd_file_read(&bytes, &length, path, SIZE_MAX));
    for (size_t cut = 0; cut < length; cut += cut < 520 ? 13 : 97) {
        put(path, bytes, cut);
        assert_int_equal(kd_h5_open(&file, path), KD_EDATA);
    }
    put(path, bytes, length - 1);
    assert_refused(kd_h5_open(&file, path), KD_EDATA, "cut short");
    bytes[length] = 'x'; /* kd_file_read leaves room for one */
    put(path, bytes, length + 1);
    assert_refused(kd_h5_open(&file, path), KD_EDATA, "damaged");
    for (size_t bit = 0; bit < 8 * length; bit += bit < 8 * 600 ? 3 : 61) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        put(path, bytes, length);
        assert_int_equal(kd_h5_open(&file, path), KD_EDATA);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    put(path, bytes, length);
    assert_ok(kd_h5_open(&file, path));
    kd_h5_close(file);
    free(bytes);
}

static void test_what_is_not_hdf5(void **state) {
    (void)state;
    hid_t file;
    assert_refused(kd_h5_open(&file, in_folder("none.h5")), KD_ENOINPUT, "none.h5: cannot open");
    assert_refused(kd_h5_open(&file, folder), KD_ENOINPUT, "not a regular file");
    put(in_folder("text"), "hello\n", 6);
    assert_refused(kd_h5_open(&file, in_folder("text")), KD_EDATA, "not an HDF5 file");
    put(in_folder("text"), "\x89HDF\r\n\x1a\nhello\n", 14);
    assert_refused(kd_h5_open(&file, in_folder("text")), KD_EDATA, "text: cannot open as HDF5");
}

static void test_unfinished_files_leave_nothing(void **state) {
    (void)state;
    hid_t file;
    put(in_folder("a.h5.part"), "left over", 9);
    assert_ok(kd_h5_create(&file, in_folder("a.h5")));
    assert_ok(kd_h5_set_int(file, "n", 1));
    kd_h5_close(file);
    assert_false(kd_file_exists(in_folder("a.h5")));
    assert_false(kd_file_exists(in_folder("a.h5.part")));
    /* A folder that went away is an error of the commit. */
    assert_ok(kd_h5_create(&file, in_folder("gone/a.h5")));
    assert_refused(kd_h5_commit(file, in_folder("gone/a.h5")), KD_EIO, "gone/a.h5.part");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
        TEST(test_the_library_is_silent),
        TEST(test_round_trip),
        TEST(test_same_content_same_bytes),
        TEST(test_half),
        TEST(test_many_chunks),
        TEST(test_integers_of_every_type),
        TEST(test_long_text),
        TEST(test_refuses_other_shapes_and_types),
        TEST(test_foreign_files),
        TEST(test_unusual_sets),
        TEST(test_seal),
        TEST(test_what_is_not_hdf5),
        TEST(test_unfinished_files_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
