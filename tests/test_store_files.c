/* A store's numbers stay in its files: rows are read where they lie, whatever the layout another
 * program chose; a file that changes is noticed; memory does not grow with the store. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <zlib.h>

#include "data/dataset.h"
#include "data/half.h"
#include "data/loader.h"
#include "data/store.h"
#include "data/store_format.h"
#include "hdf5_folder.h"
#include "store_answers.h"

static int setup(void **state) {
    (void)state;
    return make_folder("store");
}

/* --- any layout ------------------------------------------------------------------------------ */

enum { ROWS = 29, V = 12, K = 3 };

/* How a dataset of (rows,width) is stored. */
typedef struct {
    const char *name;
    int64_t chunk[2]; /* 0: contiguous */
    bool shuffle, checksum, extendible;
} layout;

static const layout LAYOUTS[] = {
    {"contiguous", {0, 0}, false, false, false},
    {"whole rows", {7, 0}, false, true, false},
    {"cut rows", {5, 5}, false, true, false},
    {"single numbers", {1, 1}, false, false, false},
    {"larger than the dataset", {40, 50}, false, true, true},
    {"shuffled", {7, 0}, true, true, false},
    {"shuffled and cut", {4, 7}, true, false, false},
};

/* A dataset with its checksum, as another program would write it. */
static void put(hid_t file, const char *name, const layout *l, int64_t width, hid_t type,
                const void *values) {
    const hsize_t size[2] = {ROWS, (hsize_t)width}, most[2] = {H5S_UNLIMITED, H5S_UNLIMITED};
    hsize_t chunk[2] = {(hsize_t)l->chunk[0], (hsize_t)(l->chunk[1] ? l->chunk[1] : width)};
    if (!l->extendible && chunk[1] > size[1]) chunk[1] = size[1];
    hid_t space = H5Screate_simple(2, size, l->extendible ? most : NULL);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    if (chunk[0]) assert_true(H5Pset_chunk(list, 2, chunk) >= 0);
    if (l->shuffle) assert_true(H5Pset_shuffle(list) >= 0);
    if (l->checksum) assert_true(H5Pset_fletcher32(list) >= 0);
    hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(set >= 0);
    assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    assert_ok(
        kd_h5_set_int(set, "crc32", crc_of(values, ROWS * width * (int64_t)H5Tget_size(type))));
    H5Dclose(set);
    H5Pclose(list);
    H5Sclose(space);
}

/* An HDF5 file without a seal; the caller adds its columns of positions and closes it. */
static hid_t begin_file(const char *kind, const char *dtype, int64_t classes, int64_t rows) {
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    assert_ok(kd_h5_set_string(file, "schema", "distill-teacher-store"));
    assert_ok(kd_h5_set_int(file, "version", 1));
    assert_ok(kd_h5_set_string(file, "kind", kind));
    assert_ok(kd_h5_set_string(file, "dtype", dtype));
    assert_ok(kd_h5_set_int(file, "classes", classes));
    assert_ok(kd_h5_set_int(file, "rows", rows));
    uint64_t *id = malloc((size_t)rows * sizeof *id);
    assert_non_null(id);
    for (int64_t i = 0; i < rows; i++) id[i] = (uint64_t)i;
    put_set(file, "id", 1, rows, 1, H5T_NATIVE_UINT64, id, rows * 8, 0);
    free(id);
    return file;
}

static float logit(int64_t row, int64_t v) {
    return (float)((row * 31 + v * 17) % 101) / 8 - 6;
}

static void test_dense_layouts(void **state) {
    (void)state;
    for (size_t n = 0; n < 2 * sizeof LAYOUTS / sizeof *LAYOUTS; n++) {
        const layout *l = &LAYOUTS[n / 2];
        const bool narrow = n % 2;
        float values[ROWS * V], read[V];
        uint16_t half[ROWS * V];
        for (int i = 0; i < ROWS * V; i++) values[i] = logit(i / V, i % V);
        kd_half_encode(half, values, ROWS * V);
        hid_t type = narrow ? kd_h5_half() : H5Tcopy(H5T_NATIVE_FLOAT);
        hid_t file = begin_file("dense", narrow ? "float16" : "float32", V, ROWS);
        put(file, "logits", l, V, type, narrow ? (void *)half : values);
        H5Tclose(type);
        H5Fclose(file);
        kd_store *s;
        if (kd_store_open(&s, path) < 0) fail_msg("%s: %s", l->name, kd_error());
        for (uint64_t i = 0; i < ROWS; i++) {
            const uint64_t id = i * 12 % ROWS;
            assert_ok(kd_store_read(s, 1, 0, &id, read));
            assert_memory_equal(read, values + id * V, sizeof read);
        }
        kd_store_free(s);
    }
}

/* Classes as big-endian int64, which are converted when they are read. */
static void test_topk_layouts(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof LAYOUTS / sizeof *LAYOUTS; n++) {
        float kept[ROWS * K], tail[ROWS * 2], read_kept[K], read_tail;
        int64_t index[ROWS * K], big[ROWS * K];
        int32_t read_index[K];
        for (int i = 0; i < ROWS * K; i++) {
            kept[i] = logit(i / K, i % K);
            index[i] = (i / K + 3 * (i % K)) % V;
            big[i] = (int64_t)__builtin_bswap64((uint64_t)index[i]);
        }
        for (int i = 0; i < ROWS * 2; i++) tail[i] = (float)i;
        hid_t file = begin_file("topk", "float32", V, ROWS);
        assert_ok(kd_h5_set_int(file, "k", K));
        assert_ok(kd_h5_set_doubles(file, "temperatures", 2, (double[]){1, 4}));
        put(file, "index", &LAYOUTS[n], K, H5T_STD_I64BE, big);
        put(file, "kept", &LAYOUTS[n], K, H5T_NATIVE_FLOAT, kept);
        put(file, "tail", &LAYOUTS[n], 2, H5T_NATIVE_FLOAT, tail);
        H5Fclose(file);
        kd_store *s;
        if (kd_store_open(&s, path) < 0) fail_msg("%s: %s", LAYOUTS[n].name, kd_error());
        for (uint64_t id = 0; id < ROWS; id++) {
            assert_ok(kd_store_read_topk(s, 1, 0, &id, 1, read_index, read_kept, &read_tail));
            for (uint64_t i = 0; i < K; i++) assert_int_equal(read_index[i], index[id * K + i]);
            assert_memory_equal(read_kept, kept + id * K, sizeof read_kept);
            assert_true(read_tail == tail[id * 2 + 1]);
        }
        kd_store_free(s);
    }
}

/* Rows wider than what is read at once. */
static void test_wide_rows(void **state) {
    (void)state;
    enum { WIDE = 20011, FEW = 7 };
    const kd_store_header h = {.dtype = KD_STORE_F16, .classes = WIDE, .views = 1};
    float *values = malloc((size_t)FEW * WIDE * sizeof *values),
          *read = malloc(WIDE * sizeof *read);
    uint64_t id[FEW];
    int32_t label[FEW] = {0};
    kd_store_writer *w;
    kd_store *s;
    int64_t done;
    assert_true(values && read);
    for (int64_t i = 0; i < (int64_t)FEW * WIDE; i++) values[i] = logit(i / WIDE, i % WIDE);
    for (uint64_t i = 0; i < FEW; i++) id[i] = i;
    assert_ok(kd_store_writer_open(&w, path, &h, FEW, &done));
    assert_ok(append_answers(w, &h, FEW, 0, id, label, values));
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&s, path));
    for (int i = FEW - 1; i >= 0; i--) {
        assert_ok(kd_store_read(s, 1, 0, &id[i], read));
        assert_memory_equal(read, values + (int64_t)i * WIDE, WIDE * sizeof *read);
    }
    kd_store_free(s);
    free(values);
    free(read);
}

/* The hash that origins name a store by is that of whole columns, as earlier versions took it. */
static void test_hash_of_columns(void **state) {
    (void)state;
    float values[ROWS * V];
    uint64_t id[ROWS];
    int32_t view[ROWS] = {0}, label[ROWS];
    for (int i = 0; i < ROWS * V; i++) values[i] = logit(i / V, i % V);
    for (uint64_t i = 0; i < ROWS; i++) id[i] = i;
    for (int i = 0; i < ROWS; i++) label[i] = -1;
    const int64_t sizes[] = {KD_STORE_DENSE, KD_STORE_F32, V, 0, 0, 1, 0};
    const float temperature[KD_STORE_TEMPERATURES_MAX] = {0};
    const kd_hash none = kd_hash_bytes("", 0);
    const kd_hash part[] = {kd_hash_bytes(sizes, sizeof sizes),
                            kd_hash_bytes(temperature, sizeof temperature),
                            kd_hash_bytes(id, sizeof id),
                            kd_hash_bytes(view, sizeof view),
                            kd_hash_bytes(label, sizeof label),
                            none,
                            none,
                            kd_hash_bytes(values, sizeof values),
                            none,
                            none,
                            none,
                            none};
    hid_t file = begin_file("dense", "float32", V, ROWS);
    put(file, "logits", &LAYOUTS[2], V, H5T_NATIVE_FLOAT, values);
    H5Fclose(file);
    kd_store *s;
    assert_ok(kd_store_open(&s, path));
    assert_string_equal(kd_store_hash(s).hex, kd_hash_join(part, 12).hex);
    kd_store_free(s);
}

/* What cannot be read where it lies is refused with a reason. */
static void test_layouts_refused(void **state) {
    (void)state;
    const float values[ROWS * V] = {0};
    kd_store *s;
    for (int fault = 0; fault < 3; fault++) {
        static const char *const says[] = {"/logits: is compact; store it contiguous or chunked",
                                           "/logits: has filters in an order this program",
                                           "/logits: has numbers that were never stored"};
        hid_t file = begin_file("dense", "float32", V, ROWS);
        hid_t space = H5Screate_simple(2, (const hsize_t[]){ROWS, V}, NULL);
        hid_t list = H5Pcreate(H5P_DATASET_CREATE);
        if (fault == 0)
            H5Pset_layout(list, H5D_COMPACT);
        else
            H5Pset_chunk(list, 2, (const hsize_t[]){4, V});
        if (fault == 1) {
            H5Pset_fletcher32(list);
            H5Pset_shuffle(list);
        }
        hid_t set =
            H5Dcreate2(file, "logits", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, list, H5P_DEFAULT);
        if (fault < 2) H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
        assert_ok(kd_h5_set_int(set, "crc32", crc_of(values, sizeof values)));
        put_set(file, "padding", 1, ROWS * V, 1, H5T_NATIVE_FLOAT, values, sizeof values, 0);
        H5Dclose(set);
        H5Pclose(list);
        H5Sclose(space);
        H5Fclose(file);
        assert_refused(kd_store_open(&s, path), KD_EDATA, says[fault]);
    }
}

/* --- many shards ------------------------------------------------------------------------------ */

enum { SHARDS = 300, IN_SHARD = 2, OF_SHARDS = 3 }; /* more than are kept open */

static void make_shards(void) {
    assert_ok(kd_file_make_folders(path));
    for (int64_t n = 0; n < SHARDS; n++) {
        kd_shard_head head = {.header = {.dtype = KD_STORE_F32, .classes = OF_SHARDS, .views = 1},
                              .first_row = n * IN_SHARD,
                              .rows = IN_SHARD,
                              .positions = IN_SHARD,
                              .total_rows = SHARDS * IN_SHARD};
        const uint64_t id[IN_SHARD] = {(uint64_t)n * IN_SHARD, (uint64_t)n * IN_SHARD + 1};
        float values[IN_SHARD * OF_SHARDS];
        hid_t file;
        for (int i = 0; i < IN_SHARD * OF_SHARDS; i++)
            values[i] = logit(n * IN_SHARD + i / OF_SHARDS, i % OF_SHARDS);
        assert_ok(kd_h5_create(&file, shard((int)n)));
        assert_ok(kd_shard_head_write(file, &head));
        put_set(file, "id", 1, IN_SHARD, 1, H5T_NATIVE_UINT64, id, sizeof id, 0);
        put_set(file, "logits", 2, IN_SHARD, OF_SHARDS, H5T_NATIVE_FLOAT, values, sizeof values, 0);
        assert_ok(kd_h5_commit(file, shard((int)n)));
    }
}

typedef struct {
    const kd_store *store;
    uint64_t stride;
    int wrong;
} reading;

static void *read_in_strides(void *argument) {
    reading *r = argument;
    for (uint64_t i = 0; i < 4 * SHARDS * IN_SHARD; i++) {
        const uint64_t id = i * r->stride % (SHARDS * IN_SHARD);
        float read[OF_SHARDS];
        kd_store_expect(r->store, 0, id);
        r->wrong += kd_store_read(r->store, 1, 0, &id, read) < 0;
        for (int v = 0; v < OF_SHARDS; v++) r->wrong += read[v] != logit((int64_t)id, v);
    }
    return NULL;
}

static int count_open_files(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void test_many_shards_and_threads(void **state) {
    (void)state;
    kd_store *s;
    pthread_t thread[3];
    reading r[3];
    const int before = count_open_files();
    make_shards();
    assert_ok(kd_store_open(&s, path));
    for (int i = 0; i < 3; i++) {
        r[i] = (reading){s, (const uint64_t[]){1, 257, 599}[i], 0};
        assert_int_equal(pthread_create(&thread[i], NULL, read_in_strides, &r[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(r[i].wrong, 0);
    }
    assert_true(count_open_files() - before <= 128);
    kd_store_free(s);
    assert_int_equal(count_open_files(), before);
}

/* --- a file that changes ---------------------------------------------------------------------- */

/* A store of 400 rows of 37 logits, open. */
static kd_store *open_small(kd_store_kind kind) {
    enum { SAMPLES = 400, CLASSES = 37 };
    kd_store_header h = {.kind = kind, .dtype = KD_STORE_F32, .classes = CLASSES, .views = 1};
    if (kind == KD_STORE_TOPK) {
        h.k = 5;
        h.temperature_count = 1;
        h.temperature[0] = 1;
    }
    kd_store_writer *w;
    kd_store *s;
    int64_t done;
    unlink(shard(0));
    assert_ok(kd_store_writer_open(&w, path, &h, SAMPLES, &done));
    for (uint64_t id = 0; id < SAMPLES; id++) {
        float values[CLASSES];
        for (int v = 0; v < CLASSES; v++) values[v] = logit((int64_t)id, v) + (float)id;
        assert_ok(append_answers(w, &h, 1, 0, &id, &(int32_t){0}, values));
    }
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&s, path));
    return s;
}

static int read_row(const kd_store *s, uint64_t id) {
    float values[37], tail;
    int32_t index[37];
    return kd_store_describe(s)->kind == KD_STORE_DENSE
               ? kd_store_read(s, 1, 0, &id, values)
               : kd_store_read_topk(s, 1, 0, &id, 0, index, values, &tail);
}

/* Every byte of the file, changed in turn: each byte of a number is one row's, and noticed there.
 */
static void test_changed_bytes(void **state) {
    (void)state;
    for (kd_store_kind kind = KD_STORE_DENSE; kind <= KD_STORE_TOPK; kind++) {
        kd_store *s = open_small(kind);
        char *bytes;
        size_t length;
        int noticed = 0;
        assert_ok(kd_file_read(&bytes, &length, shard(0), SIZE_MAX));
        const int fd = open(shard(0), O_WRONLY);
        assert_true(fd >= 0);
        for (size_t at = 0; at < length; at += 61) {
            const char changed = (char)(bytes[at] ^ 1 << at % 8);
            int refused = 0;
            assert_int_equal(pwrite(fd, &changed, 1, (off_t)at), 1);
            for (uint64_t id = 0; id < 400; id++) {
                const int status = read_row(s, id);
                if (status == KD_OK) continue;
                assert_refused(status, KD_EDATA, "was changed or replaced");
                refused++;
            }
            assert_true(refused <= 1);
            noticed += refused;
            assert_int_equal(pwrite(fd, bytes + at, 1, (off_t)at), 1);
        }
        close(fd);
        const size_t numbers = 400 * (kind == KD_STORE_DENSE ? 37 * 4 : 5 * 8 + 4);
        assert_true(abs(noticed - (int)(numbers / 61)) <= 4);
        kd_store_free(s);
        free(bytes);
    }
}

static void test_shrinking_file(void **state) {
    (void)state;
    kd_store *s = open_small(KD_STORE_DENSE);
    for (uint64_t id = 0; id < 400; id++) assert_ok(read_row(s, id));
    assert_int_equal(truncate(shard(0), 4096), 0);
    int ended = 0;
    for (uint64_t id = 0; id < 400; id++) {
        const int status = read_row(s, id);
        if (status == KD_OK) continue;
        assert_refused(status, KD_EIO, "shard-00000.h5: became shorter while it was read");
        ended++;
    }
    assert_true(ended > 370);
    kd_store_free(s);
}

/* Replaced by rename, as distill replaces files: what is open goes on to be read. */
static void test_replaced_file(void **state) {
    (void)state;
    kd_store *s = open_small(KD_STORE_DENSE);
    assert_int_equal(unlink(shard(0)), 0);
    for (uint64_t id = 0; id < 400; id++) assert_ok(read_row(s, id));
    kd_store_free(s);
}

/* --- batches ---------------------------------------------------------------------------------- */

static kd_dataset *make_dataset(int64_t count) {
    kd_dataset *d = calloc(1, sizeof *d);
    assert_non_null(d);
    *d = (kd_dataset){.count = count, .h = 1, .w = 1, .c = 1, .classes = 2};
    d->features = calloc((size_t)count, sizeof *d->features);
    d->label = calloc((size_t)count, sizeof *d->label);
    d->id = calloc((size_t)count, sizeof *d->id);
    assert_true(d->features && d->label && d->id);
    for (int64_t i = 0; i < count; i++) d->id[i] = (uint64_t)i;
    return d;
}

static void test_batches_with_soft_targets(void **state) {
    (void)state;
    for (kd_store_kind kind = KD_STORE_DENSE; kind <= KD_STORE_TOPK; kind++) {
        kd_store *s = open_small(kind);
        kd_dataset *d = make_dataset(400);
        const kd_loader_spec spec = {.batch = 48, .shuffle = true, .seed = 3, .store = s};
        kd_loader *loader;
        kd_batch batch;
        const int64_t width = kind == KD_STORE_DENSE ? 37 : 5;
        assert_ok(kd_loader_create(&loader, d, &spec));
        for (int step = 0; step < 20; step++) {
            assert_ok(kd_loader_next(loader, &batch));
            for (int64_t i = 0; i < batch.n; i++) {
                float values[37], tail;
                int32_t index[5];
                if (kind == KD_STORE_DENSE) {
                    assert_ok(kd_store_read(s, 1, 0, &batch.id[i], values));
                } else {
                    assert_ok(kd_store_read_topk(s, 1, 0, &batch.id[i], 0, index, values, &tail));
                    assert_memory_equal(batch.soft_index + i * 5, index, sizeof index);
                    assert_true(batch.tail[i] == tail);
                }
                assert_memory_equal(batch.soft + i * width, values, (size_t)width * sizeof *values);
            }
        }
        /* What the loader's thread could not read, its caller is told. */
        assert_int_equal(truncate(shard(0), 600), 0);
        int status = KD_OK;
        for (int step = 0; step < 6 && status == KD_OK; step++)
            status = kd_loader_next(loader, &batch);
        assert_refused(status, KD_EIO, "became shorter while it was read");
        kd_loader_free(loader);
        kd_dataset_free(d);
        kd_store_free(s);
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

enum { MANY = 1200, LARGE_V = 65536 };

/* Rows of 256 KB, none of whose bytes was ever written: a file of holes. */
static void make_hollow(int64_t rows) {
    const hsize_t size[2] = {(hsize_t)rows, LARGE_V};
    static const unsigned char zero[LARGE_V * 4];
    unsigned long crc = crc32_z(0, NULL, 0);
    hid_t file = begin_file("dense", "float32", LARGE_V, rows);
    hid_t space = H5Screate_simple(2, size, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_alloc_time(list, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(list, H5D_FILL_TIME_NEVER);
    hid_t set = H5Dcreate2(file, "logits", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(set >= 0);
    for (int64_t i = 0; i < rows; i++) crc = crc32_z(crc, zero, sizeof zero);
    assert_ok(kd_h5_set_int(set, "crc32", (int64_t)crc));
    H5Dclose(set);
    H5Pclose(list);
    H5Sclose(space);
    H5Fclose(file);
}

static long peak_kilobytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* Opens the store and draws an epoch of batches from it: how much the process has grown. */
static int growth_in_megabytes(int64_t rows) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        kd_store *s;
        kd_loader *loader;
        kd_batch batch;
        kd_dataset *d = make_dataset(rows);
        const long before = peak_kilobytes();
        if (kd_store_open(&s, path) < 0) _exit(255);
        const kd_loader_spec spec = {.batch = 4, .shuffle = true, .seed = 1, .store = s};
        if (kd_loader_create(&loader, d, &spec) < 0) _exit(255);
        for (int64_t i = 0; i < kd_loader_batches(loader); i++)
            if (kd_loader_next(loader, &batch) < 0) _exit(255);
        _exit((int)((peak_kilobytes() - before + 1023) / 1024));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 255);
    return WEXITSTATUS(status);
}

static void test_memory(void **state) {
    (void)state;
    make_hollow(12);
    const int few = growth_in_megabytes(12);
    make_hollow(MANY);
    const int many = growth_in_megabytes(MANY);
    print_message("a store of %d MB: %d MB; of %d MB: %d MB\n", 12 / 4, few, MANY / 4, many);
    assert_true(many < 16 && many <= few + 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, remove_folder)
        TEST(test_dense_layouts),   TEST(test_topk_layouts),
        TEST(test_wide_rows),       TEST(test_hash_of_columns),
        TEST(test_layouts_refused), TEST(test_many_shards_and_threads),
        TEST(test_changed_bytes),   TEST(test_shrinking_file),
        TEST(test_replaced_file),   TEST(test_batches_with_soft_targets),
        TEST(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
