/* Three ways to a bad store, by the first byte: any bytes as the file; a sound file with some bytes
 * changed behind the seal's back (libhdf5 gets to see them); a well-formed HDF5 file whose
 * attributes and datasets are not what they should be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../store_answers.h"
#include "base/error.h"
#include "base/file.h"
#include "data/h5.h"
#include "data/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static char path[64];

/* What is left of the input; 0 when nothing is. */
static const uint8_t *rest;
static size_t left;

static unsigned next(void) {
    if (left == 0) return 0;
    left--;
    return *rest++;
}

static int64_t next_number(void) {
    uint64_t number = 0;
    for (unsigned i = next() % 9; i > 0; i--) number = number << 8 | next();
    return (int64_t)number;
}

static void write_file(const void *bytes, size_t length) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) abort();
}

/* An attribute: right, missing, another number, another string. */
static void put_int(hid_t file, const char *name, int64_t right) {
    unsigned how = next() % 16;
    if (how == 0) return;
    if (how == 1)
        kd_h5_set_string(file, name, "?");
    else
        kd_h5_set_int(file, name, how == 2 ? next_number() : right);
}

static void put_string(hid_t file, const char *name, const char *right) {
    unsigned how = next() % 16;
    char other[300] = "";
    if (how == 0) return;
    for (size_t i = 0; how == 2 && i < sizeof other - 1; i++) other[i] = (char)(next() | 1);
    if (how == 1)
        kd_h5_set_int(file, name, next_number());
    else
        kd_h5_set_string(file, name, how == 2 ? other : right);
}

/* A dataset: right, missing, of another shape or type, of other numbers. */
static void put_column(hid_t file, const char *name, int rank, int64_t rows, int64_t width,
                       hid_t type) {
    static uint8_t numbers[1 << 16];
    unsigned how = next() % 16;
    int64_t shape[2] = {rows, width};
    hid_t set, types[] = {H5T_NATIVE_INT32, H5T_NATIVE_DOUBLE, H5T_NATIVE_UINT64, H5T_NATIVE_INT8};
    if (how == 0) return;
    if (how == 1) shape[next() % 2] = 1 + next() % 16;
    if (how == 2) rank = 3 - rank;
    if (how == 3) type = types[next() % 4];
    memset(numbers, 0, sizeof numbers);
    for (int i = 0; i < 64; i++) numbers[next() * 8 % 1024] = (uint8_t)next();
    if (kd_h5_write(file, name, rank, shape, type, type, numbers) < 0) return;
    if (next() % 8 == 0 || kd_h5_open_object(&set, file, name) < 0) return;
    kd_h5_set_int(set, "crc32", next_number());
    H5Oclose(set);
}

static void write_structured(void) {
    hid_t file, half = kd_h5_half();
    static const char *const kinds[] = {"dense", "topk", "hidden", "sampled"};
    unsigned kind = next() % 4;
    bool narrow = next() & 1, sequences = next() & 1;
    int64_t rows = 1 + next() % 8, classes = 2 + next() % 8, k = 1 + next() % 3;
    int64_t positions = sequences ? rows + next() % 16 : rows, width = 1 + next() % 8;
    hid_t type = narrow ? half : H5T_NATIVE_FLOAT;
    double temperature[8] = {1, 4, (double)next_number()};
    if (kd_h5_create(&file, path) < 0) abort();
    put_string(file, "schema", "distill-teacher-store");
    put_int(file, "version", kind == 3 ? 3 : kind == 2 || sequences ? 2 : 1);
    put_string(file, "kind", kinds[kind]);
    put_string(file, "dtype", narrow ? "float16" : "float32");
    put_int(file, "classes", classes);
    put_int(file, "k", k);
    put_int(file, "width", width);
    put_int(file, "draws", k);
    put_int(file, "drawn", positions);
    put_int(file, "output_crc32", next_number());
    if (sequences) put_int(file, "sequences", 1);
    put_int(file, "positions", positions);
    put_int(file, "views", 1 + next() % 2);
    put_int(file, "augmented", next() % 2);
    put_string(file, "teacher", "");
    char names[32] = "a";
    for (int64_t i = 1; i < classes; i++) strcat(names, "\nb");
    put_string(file, "class_names", names);
    put_int(file, "rows", rows);
    put_int(file, "first_row", 0);
    put_int(file, "total_rows", rows);
    if (next() % 8) kd_h5_set_doubles(file, "temperatures", 1 + (int)(next() % 8), temperature);
    put_column(file, "id", 1, rows, 1, H5T_NATIVE_UINT64);
    put_column(file, "view", 1, rows, 1, H5T_NATIVE_INT32);
    put_column(file, "label", 1, rows, 1, H5T_NATIVE_INT32);
    put_column(file, "length", 1, rows, 1, H5T_NATIVE_INT32);
    put_column(file, "label_crc32", 1, rows, 1, H5T_NATIVE_UINT32);
    put_column(file, "logits", 2, positions, classes, type);
    put_column(file, "index", 2, positions, k, H5T_NATIVE_INT32);
    put_column(file, "kept", 2, positions, k, type);
    put_column(file, "tail", 2, positions, 2, H5T_NATIVE_FLOAT);
    put_column(file, "hidden", 2, positions, width, type);
    put_column(file, "counts", 1, rows, 1, H5T_NATIVE_INT32);
    put_column(file, "drawn", 2, positions, 3, H5T_NATIVE_UINT8);
    put_column(file, "output", 2, classes, width, next() & 1 ? half : H5T_NATIVE_FLOAT);
    if (half >= 0) H5Tclose(half);
    if (kd_h5_commit(file, path) < 0) abort();
}

/* The bytes of a sound store without its seal. */
static const char *sound_file(size_t *length) {
    static char *all_bytes[2];
    static size_t all_sizes[2];
    const bool runs = next() & 1;
    char *bytes = all_bytes[runs];
    size_t size = all_sizes[runs];
    if (!bytes) {
        char folder[80], shard[128];
        snprintf(folder, sizeof folder, "%s.d", path);
        snprintf(shard, sizeof shard, "%s/shard-00000.h5", folder);
        const float numbers[12] = {1, 2, 3};
        kd_store_header h = {.classes = 3, .views = 1};
        if (runs)
            h = (kd_store_header){.kind = KD_STORE_HIDDEN,
                                  .sequences = true,
                                  .classes = 3,
                                  .width = 4,
                                  .output = numbers,
                                  .views = 1};
        kd_store_writer *w;
        int64_t done;
        uint64_t id[2] = {1, 2};
        if (kd_store_writer_open(&w, folder, &h, runs ? 1 : 2, &done) < 0 ||
            (runs ? append_run_answers(w, &h, 0, 1, 2, (int32_t[]){0, 1}, numbers)
                  : append_answers(w, &h, 2, 0, id, (int32_t[]){0, 1}, numbers)) < 0 ||
            kd_store_writer_close(w) < 0 || kd_file_read(&bytes, &size, shard, SIZE_MAX) < 0)
            abort();
        unlink(shard);
        rmdir(folder);
        all_bytes[runs] = bytes;
        all_sizes[runs] = size;
    }
    *length = size - 512;
    return bytes + 512;
}

static void write_changed(void) {
    size_t length;
    const char *sound = sound_file(&length);
    char *changed = malloc(length);
    if (!changed) abort();
    memcpy(changed, sound, length);
    while (left > 0) {
        size_t at = next();
        at = (at << 8 | next()) % length;
        changed[at] = (char)next();
    }
    write_file(changed, length);
    free(changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    snprintf(path, sizeof path, "/dev/shm/kd-fuzz-store-%d", (int)getpid());
    rest = bytes;
    left = length;
    switch (next() % 3) {
    case 0:
        write_file(rest, left);
        break;
    case 1:
        write_changed();
        break;
    default:
        write_structured();
    }
    kd_store *store;
    if (kd_store_open(&store, path) == KD_OK) {
        const kd_store_header *h = kd_store_describe(store);
        float numbers[1024], tail[16];
        int32_t index[1024];
        for (uint64_t id = 0; id < 3; id++) {
            const int64_t length = kd_store_length(store, 0, id);
            if (length < 0 || length > 16 || h->classes > 64 || h->width > 64) continue;
            if (h->kind == KD_STORE_DENSE)
                kd_store_read_run(store, 0, id, length, numbers);
            else if (h->kind == KD_STORE_TOPK)
                kd_store_read_topk_run(store, 0, id, length, 0, index, numbers, tail);
            else
                kd_store_read_hidden(store, 0, id, length, numbers);
            if (h->sequences) kd_store_check_run(store, id, length, (int32_t[16]){0});
        }
        kd_store_free(store);
    } else if (store || !kd_error()[0])
        abort();
    unlink(path);
    return 0;
}
