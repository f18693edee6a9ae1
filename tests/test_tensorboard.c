/* Event files, byte for byte where TensorBoard's own writer fixes them. */
#include "test_data.h"

#include <dirent.h>
#include <math.h>
#include <time.h>

#include "asserts.h"
#include "report/tensorboard.h"

/* The one event file of a folder. */
static uint8_t *read_events(test_folder *folder, const char *name, size_t *length) {
    char path[KD_PATH_MAX], sub[KD_PATH_MAX];
    char *bytes = NULL;
    test_copy(sub, sizeof sub, test_path(folder, name));
    DIR *listing = opendir(sub);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing));) {
        if (entry->d_name[0] == '.') continue;
        assert_int_equal(strncmp(entry->d_name, "events.out.tfevents.", 20), 0);
        assert_null(bytes);
        assert_ok(kd_path_join(path, sub, entry->d_name));
        assert_ok(kd_file_read(&bytes, length, path, 1 << 20));
    }
    closedir(listing);
    assert_non_null(bytes);
    return (uint8_t *)bytes;
}

static uint64_t little(const uint8_t *at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* The checksum bit by bit, by the definition of CRC-32C. */
static uint32_t masked(const uint8_t *bytes, size_t n) {
    uint32_t crc = 0xffffffffU;
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            const uint32_t low = (crc ^ (uint32_t)(bytes[i] >> bit)) & 1;
            crc = (crc >> 1) ^ (low ? 0x82f63b78U : 0);
        }
    crc = ~crc;
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

/* The record at *at without its time; moves behind it. */
static size_t next_record(const uint8_t *file, size_t length, size_t *at, const uint8_t **event) {
    assert_true(*at + 16 <= length);
    const size_t n = (size_t)little(file + *at, 8);
    assert_int_equal(little(file + *at + 8, 4), masked(file + *at, 8));
    assert_true(*at + 16 + n <= length);
    *event = file + *at + 12;
    assert_int_equal(little(*event + n, 4), masked(*event, n));
    assert_int_equal((*event)[0], 0x09); /* field 1, 64 bits: the time */
    double seconds;
    memcpy(&seconds, *event + 1, sizeof seconds);
    assert_true(fabs(seconds - (double)time(NULL)) < 60);
    *event += 9;
    *at += 16 + n;
    return n - 9;
}

static void test_bytes(void **state) {
    test_folder *folder = *state;
    kd_tensorboard *board;
    char sub[KD_PATH_MAX];
    test_copy(sub, sizeof sub, test_path(folder, "train"));
    assert_ok(kd_tensorboard_open(&board, sub, 0));
    const kd_scalar both[] = {{"loss", 1.5}, {"broken", NAN}, {"kl", -2}};
    assert_ok(kd_tensorboard_add(board, 300, 3, both));
    assert_ok(kd_tensorboard_add(board, 301, 1, both + 1)); /* nothing to write */
    kd_tensorboard_close(board);

    static const uint8_t version[] = "\x10\x00\x1a\x0d"
                                     "brain.Event:2";
    static const uint8_t start[] = {0x10, 0x00, 0x3a, 0x02, 0x08, 0x01};
    static const uint8_t scalars[] = {0x10, 0xac, 0x02,                  /* step 300 */
                                      0x2a, 0x18,                        /* summary  */
                                      0x0a, 0x0b,                        /* value    */
                                      0x0a, 4,    'l',  'o',  's',  's', /* tag      */
                                      0x15, 0x00, 0x00, 0xc0, 0x3f,      /* 1.5      */
                                      0x0a, 0x09, 0x0a, 2,    'k',  'l', /* tag      */
                                      0x15, 0x00, 0x00, 0x00, 0xc0};     /* −2       */
    size_t length, at = 0;
    const uint8_t *event;
    uint8_t *file = read_events(folder, "train", &length);
    assert_int_equal(next_record(file, length, &at, &event), sizeof version - 1);
    assert_memory_equal(event, version, sizeof version - 1);
    assert_int_equal(next_record(file, length, &at, &event), sizeof start);
    assert_memory_equal(event, start, sizeof start);
    assert_int_equal(next_record(file, length, &at, &event), sizeof scalars);
    assert_memory_equal(event, scalars, sizeof scalars);
    assert_int_equal(at, length);
    free(file);
}

static void test_no_folder(void **state) {
    test_folder *folder = *state;
    kd_tensorboard *board;
    test_write(test_path(folder, "file"), "x", 1);
    char below[KD_PATH_MAX];
    test_copy(below, sizeof below, test_path(folder, "file/train"));
    assert_int_equal(kd_tensorboard_open(&board, below, 0), KD_EIO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_no_folder, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
