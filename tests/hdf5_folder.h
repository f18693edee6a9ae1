/* What the tests of checkpoints and stores share: a folder, and in it the `path` of what is tested.
 * Afterwards libhdf5 must have nothing open. */
#ifndef KD_TESTS_HDF5_FOLDER_H
#define KD_TESTS_HDF5_FOLDER_H

#include "asserts.h"
#include "data/h5.h"
#include "hdf5_leaks.h"
#include "test_data.h"

static char folder[64], path[128];

static inline int make_folder(const char *name) {
    strcpy(folder, "/tmp/distill-hdf5-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return 0;
}

static inline int remove_folder(void **state) {
    (void)state;
    if (nftw(folder, test_remove, 16, FTW_DEPTH | FTW_PHYS) != 0) return -1;
    return H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL) == 0 ? 0 : -1;
}

/* --- stores ----------------------------------------------------------------------------------- */

/* Valid until the next call. */
static inline const char *shard(int number) {
    static char name[160];
    snprintf(name, sizeof name, "%s/shard-%05d.h5", path, number);
    return name;
}

/* zlib's, written out: another computation than the reader's. */
static inline uint32_t crc_of(const void *bytes, int64_t length) {
    uint32_t crc = 0xffffffff;
    for (int64_t j = 0; j < length; j++) {
        crc ^= ((const uint8_t *)bytes)[j];
        for (int b = 0; b < 8; b++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return crc ^ 0xffffffff;
}

/* A set of `bytes` bytes with its checksum, which is off by `wrong`. */
static inline void put_set(hid_t file, const char *name, int rank, int64_t rows, int64_t width,
                           hid_t type, const void *values, int64_t bytes, uint32_t wrong) {
    hid_t set;
    assert_ok(kd_h5_write(file, name, rank, (int64_t[]){rows, width}, type, type, values));
    assert_ok(kd_h5_open_object(&set, file, name));
    assert_ok(kd_h5_set_int(set, "crc32", crc_of(values, bytes) ^ wrong));
    H5Oclose(set);
}

/* Runs a program that may import tools/teacher_store.py, with `path` as its argument; false when
 * python3-h5py is not installed. */
static inline bool run_python(const char *program) {
    if (system("/usr/bin/python3 -c 'import h5py, numpy' 2>/dev/null") != 0) {
        printf("SKIP stores written and read by h5py: python3-h5py is not installed\n");
        return false;
    }
    char script[160], command[512];
    snprintf(script, sizeof script, "%s/script.py", folder);
    test_write(script, program, strlen(program));
    snprintf(command, sizeof command,
             "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tools /usr/bin/python3 '%s' '%s'", script, path);
    assert_int_equal(system(command), 0);
    return true;
}

#endif
