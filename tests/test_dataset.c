/* IDX and CIFAR-10 files, splits, normalisation; the genuine MNIST and Fashion-MNIST. */
#include "test_data.h"

#include <math.h>
#include <zlib.h>

#include "data/dataset.h"
#include "data/dataset_source.h"

static const char *const IDX_NAME[4] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

/* Sample i, pixel p has the value (7i + p) mod 256; its label is i mod 10. */
static size_t make_idx(uint8_t *out, bool images, int count, int h, int w) {
    uint8_t head[16] = {0, 0, 8, images ? 3 : 1, 0, 0, 0, (uint8_t)count,
                        0, 0, 0, (uint8_t)h,     0, 0, 0, (uint8_t)w};
    size_t at = images ? 16 : 8;
    memcpy(out, head, at);
    for (int i = 0; i < count; i++) {
        if (!images) out[at++] = (uint8_t)(i % 10);
        for (int p = 0; images && p < h * w; p++) out[at++] = (uint8_t)(7 * i + p);
    }
    return at;
}

static void write_idx_set(test_folder *folder, int train, int test) {
    uint8_t bytes[16 + 255 * 12];
    for (int i = 0; i < 4; i++) {
        size_t length = make_idx(bytes, i % 2 == 0, i < 2 ? train : test, 3, 4);
        test_write(test_path(folder, IDX_NAME[i]), bytes, length);
    }
}

static kd_data_spec spec_of(kd_data_kind kind, const char *folder) {
    kd_data_spec spec = {.kind = kind};
    test_copy(spec.folder, sizeof spec.folder, folder);
    return spec;
}

static kd_dataset *open_split(const kd_data_spec *spec, kd_split split) {
    kd_dataset *d;
    if (kd_dataset_open(&d, spec, split) < 0) fail_msg("%s", kd_error());
    return d;
}

static void check_rows(const kd_dataset *d) {
    for (int64_t i = 0; i < d->count; i++) {
        int id = (int)d->id[i];
        assert_int_equal(d->label[i], id % 10);
        for (int p = 0; p < 12; p++) assert_int_equal(d->bytes[i * 12 + p], (7 * id + p) & 255);
        if (i > 0) assert_true(d->id[i] > d->id[i - 1]);
    }
}

static void test_idx(void **state) {
    test_folder *folder = *state;
    write_idx_set(folder, 50, 20);
    kd_data_spec spec = spec_of(KD_DATA_IDX, folder->path);
    kd_dataset *d = open_split(&spec, KD_SPLIT_TRAIN);
    assert_int_equal(d->count, 50);
    assert_int_equal(d->h, 3);
    assert_int_equal(d->w, 4);
    assert_int_equal(d->c, 1);
    assert_int_equal(d->classes, 10);
    assert_string_equal(d->class_name[9], "9");
    check_rows(d);
    kd_dataset_free(d);
    spec.class_name_count = 11;
    strcpy(spec.class_names[10], "extra");
    d = open_split(&spec, KD_SPLIT_TEST);
    assert_int_equal(d->count, 20);
    assert_int_equal(d->classes, 11);
    assert_string_equal(d->class_name[10], "extra");
    kd_dataset_free(d);
    spec.class_name_count = 5;
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TEST), KD_EDATA);
    assert_non_null(strstr(kd_error(), "byte 13"));
    assert_non_null(strstr(kd_error(), "label 5"));
    assert_null(d);
}

static void test_splits(void **state) {
    test_folder *folder = *state;
    write_idx_set(folder, 100, 20);
    kd_data_spec spec = spec_of(KD_DATA_IDX, folder->path);
    spec.validation = 30;
    kd_dataset *train = open_split(&spec, KD_SPLIT_TRAIN);
    kd_dataset *held = open_split(&spec, KD_SPLIT_VALIDATION);
    kd_dataset *again = open_split(&spec, KD_SPLIT_VALIDATION);
    assert_int_equal(train->count, 70);
    assert_int_equal(held->count, 30);
    check_rows(train);
    check_rows(held);
    int seen[100] = {0};
    for (int i = 0; i < 70; i++) seen[train->id[i]]++;
    for (int i = 0; i < 30; i++) seen[held->id[i]]++;
    for (int i = 0; i < 100; i++) assert_int_equal(seen[i], 1);
    assert_true(held->id[29] - held->id[0] > 30); /* not one block */
    assert_string_equal(held->hash.hex, again->hash.hex);
    assert_string_not_equal(held->hash.hex, train->hash.hex);
    kd_dataset_free(again);
    /* Excluding and limiting take from training only, and leave the held-out samples alone. */
    spec.exclude_count = 2;
    spec.exclude[0] = 3;
    spec.exclude[1] = 7;
    spec.train_limit = 40;
    kd_dataset *fewer = open_split(&spec, KD_SPLIT_TRAIN);
    assert_int_equal(fewer->count, 40);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(seen[fewer->id[i]], 1);
        assert_true(fewer->label[i] != 3 && fewer->label[i] != 7);
        for (int j = 0; j < 30; j++) assert_true(fewer->id[i] != held->id[j]);
    }
    again = open_split(&spec, KD_SPLIT_VALIDATION);
    assert_string_equal(again->hash.hex, held->hash.hex);
    kd_dataset_free(again);
    kd_dataset_free(fewer);
    kd_dataset_free(train);
    kd_dataset_free(held);
}

static void test_impossible_specs(void **state) {
    test_folder *folder = *state;
    write_idx_set(folder, 20, 20);
    kd_data_spec good = spec_of(KD_DATA_IDX, folder->path), spec;
    kd_dataset *d;
    assert_int_equal(kd_dataset_open(&d, &good, KD_SPLIT_VALIDATION), KD_ECONFIG);
    spec = good, spec.validation = 20;
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_ECONFIG);
    spec = good, spec.validation = -1;
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_ECONFIG);
    spec = good, spec.train_limit = 21;
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_ECONFIG);
    spec = good, spec.exclude_count = 1, spec.exclude[0] = 10;
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_ECONFIG);
    spec = good, spec.mean_count = 3;
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_ECONFIG);
    spec = good, spec.mean_count = 1; /* deviation 0 */
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_ECONFIG);
    assert_null(d);
}

static void test_missing_files(void **state) {
    test_folder *folder = *state;
    kd_dataset *d;
    kd_data_spec spec = spec_of(KD_DATA_IDX, "/usr/share/datasets/fashion-mnist/nowhere");
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_ENOINPUT);
    assert_non_null(strstr(kd_error(), "apt-get install dataset-fashion-mnist"));
    spec = spec_of(KD_DATA_CIFAR10, folder->path);
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TEST), KD_ENOINPUT);
    assert_non_null(strstr(kd_error(), "cifar-10-binary.tar.gz"));
}

/* Decodes a block of exactly `length` bytes, so that the sanitizer sees a step beyond. */
static int decode_idx(const uint8_t *bytes, size_t length) {
    kd_idx idx;
    uint8_t *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    int status = kd_idx_decode(&idx, 3, copy, length, "cut");
    free(idx.values);
    free(copy);
    return status;
}

static size_t gzip(uint8_t *out, size_t capacity, const uint8_t *in, size_t length) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)length;
    z.next_out = out;
    z.avail_out = (uInt)capacity;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t packed = capacity - z.avail_out;
    deflateEnd(&z);
    return packed;
}

static void test_idx_damage(void **state) {
    (void)state;
    uint8_t plain[16 + 240 + 1], packed[600];
    size_t length = make_idx(plain, true, 20, 3, 4);
    plain[length] = 0;
    assert_int_equal(decode_idx(plain, length), KD_OK);
    for (size_t n = 0; n < length; n++) assert_int_equal(decode_idx(plain, n), KD_EDATA);
    assert_int_equal(decode_idx(plain, length + 1), KD_EDATA);
    for (int bit = 0; bit < 16 * 8; bit++) { /* every bit of the header matters */
        plain[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(decode_idx(plain, length), KD_EDATA);
        plain[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    size_t size = gzip(packed, sizeof packed - 1, plain, length);
    packed[size] = 1;
    assert_int_equal(decode_idx(packed, size), KD_OK);
    for (size_t n = 0; n < size; n++) assert_int_equal(decode_idx(packed, n), KD_EDATA);
    assert_int_equal(decode_idx(packed, size + 1), KD_EDATA);
    assert_non_null(strstr(kd_error(), "1 bytes behind the end of the gzip stream"));
    /* Behind gzip's header a checksum guards every bit but those that pad deflate's last byte. */
    int unnoticed = 0;
    for (size_t bit = 10 * 8; bit < size * 8; bit++) {
        packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (decode_idx(packed, size) == KD_OK) {
            assert_int_equal(bit / 8, size - 9);
            unnoticed++;
        }
        packed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(unnoticed < 8);
    /* The packed file holds one byte more, or one less, than its header says. */
    size = gzip(packed, sizeof packed, plain, length + 1);
    assert_int_equal(decode_idx(packed, size), KD_EDATA);
    assert_non_null(strstr(kd_error(), "has more"));
    size = gzip(packed, sizeof packed, plain, length - 1);
    assert_int_equal(decode_idx(packed, size), KD_EDATA);
    assert_non_null(strstr(kd_error(), "has less"));
    /* Sizes whose product would overflow, or take all memory. */
    memset(plain + 4, 0xff, 12);
    assert_int_equal(decode_idx(plain, length), KD_EDATA);
    size = gzip(packed, sizeof packed, plain, length);
    assert_int_equal(decode_idx(packed, size), KD_EDATA);
    memcpy(plain + 4, "\0\0\377\377\0\0\0\377\0\0\0\377", 12);
    size = gzip(packed, sizeof packed, plain, length);
    assert_int_equal(decode_idx(packed, size), KD_EDATA);
    assert_non_null(strstr(kd_error(), "too short"));
}

/* As `cat` and parallel packers make it: each member a part, wherever it was cut; zeros behind. */
static void test_idx_gzip_members(void **state) {
    (void)state;
    uint8_t plain[16 + 240], packed[1200];
    const size_t length = make_idx(plain, true, 20, 3, 4);
    for (size_t cut = 0; cut <= length; cut++) {
        size_t size = gzip(packed, sizeof packed, plain, cut);
        size += gzip(packed + size, sizeof packed - size, plain + cut, length - cut);
        size += gzip(packed + size, sizeof packed - size, plain, 0);
        kd_idx idx;
        if (kd_idx_decode(&idx, 3, packed, size, "parts") < 0) fail_msg("%s", kd_error());
        assert_memory_equal(idx.values, plain + 16, length - 16);
        free(idx.values);
        memset(packed + size, 0, 30);
        assert_int_equal(decode_idx(packed, size + 30), KD_OK);
        packed[size + 29] = 'x';
        assert_int_equal(decode_idx(packed, size + 30), KD_EDATA);
        assert_int_equal(decode_idx(packed, size - 1), KD_EDATA);
    }
    size_t size = gzip(packed, sizeof packed, plain, length);
    size += gzip(packed + size, sizeof packed - size, plain, 1);
    assert_int_equal(decode_idx(packed, size), KD_EDATA);
    assert_non_null(strstr(kd_error(), "has more"));
}

static void test_idx_counts_differ(void **state) {
    test_folder *folder = *state;
    uint8_t bytes[64];
    write_idx_set(folder, 20, 20);
    size_t length = make_idx(bytes, false, 19, 0, 0);
    test_write(test_path(folder, IDX_NAME[1]), bytes, length);
    kd_data_spec spec = spec_of(KD_DATA_IDX, folder->path);
    kd_dataset *d;
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_EDATA);
    assert_non_null(strstr(kd_error(), "19 labels for 20 images"));
}

static void test_cifar(void **state) {
    test_folder *folder = *state;
    static uint8_t bytes[3 * KD_CIFAR_RECORD];
    for (int f = 0; f < 6; f++) {
        char name[32];
        for (int r = 0; r < 3; r++) {
            uint8_t *record = bytes + r * KD_CIFAR_RECORD;
            record[0] = (uint8_t)(f + r);
            for (int c = 0; c < 3; c++)
                for (int p = 0; p < 1024; p++)
                    record[1 + c * 1024 + p] = (uint8_t)(p + 50 * c + 10 * f + r);
        }
        snprintf(name, sizeof name, f < 5 ? "data_batch_%d.bin" : "test_batch.bin", f + 1);
        test_write(test_path(folder, name), bytes, sizeof bytes);
    }
    kd_data_spec spec = spec_of(KD_DATA_CIFAR10, folder->path);
    kd_dataset *d = open_split(&spec, KD_SPLIT_TRAIN);
    assert_int_equal(d->count, 15);
    assert_int_equal(d->h * 10000 + d->w * 100 + d->c, 323203);
    assert_string_equal(d->class_name[2], "bird");
    for (int i = 0; i < 15; i++) {
        assert_int_equal(d->label[i], i / 3 + i % 3);
        assert_int_equal(d->id[i], i);
        for (int v = 0; v < 3072; v++)
            assert_int_equal(d->bytes[i * 3072 + v],
                             (v / 3 + 50 * (v % 3) + 10 * (i / 3) + i % 3) & 255);
    }
    kd_dataset_free(d);
    d = open_split(&spec, KD_SPLIT_TEST);
    assert_int_equal(d->count, 3);
    assert_int_equal(d->label[2], 7);
    kd_dataset_free(d);
    bytes[KD_CIFAR_RECORD] = 10;
    test_write(test_path(folder, "data_batch_4.bin"), bytes, sizeof bytes);
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_EDATA);
    assert_non_null(strstr(kd_error(), "data_batch_4.bin: at byte 3073: label 10"));
    test_write(test_path(folder, "data_batch_4.bin"), bytes, sizeof bytes - 1);
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_EDATA);
    assert_non_null(strstr(kd_error(), "at byte 6146"));
    test_write(test_path(folder, "data_batch_4.bin"), "", 0);
    assert_int_equal(kd_dataset_open(&d, &spec, KD_SPLIT_TRAIN), KD_EDATA);
}

static void test_normalise(void **state) {
    (void)state;
    kd_normaliser how = {.unit = 1.0f / 255.0f,
                         .channels = 3,
                         .mean = {0.1f, 0.2f, 0.3f},
                         .deviation = {0.5f, 0.25f, 2.0f}};
    uint8_t raw[256 * 3];
    float out[256 * 3], table[KD_IMAGE_CHANNELS_MAX][256];
    for (int i = 0; i < 256 * 3; i++) raw[i] = (uint8_t)(i / 3);
    kd_normalise_bytes(out, raw, 256, 3, &how);
    kd_normalise_table(table, &how);
    for (int i = 0; i < 256 * 3; i++) {
        int k = i % 3;
        double right = (raw[i] / 255.0 - (double)how.mean[k]) / (double)how.deviation[k];
        assert_true(fabsf(out[i] - (float)right) < 1e-6f);
        assert_memory_equal(&out[i], &table[k][raw[i]], sizeof *out);
    }
    float feature[2] = {1.5f, -2.0f}, x[2];
    how = (kd_normaliser){.unit = 1.0f};
    kd_normalise_features(x, feature, 2, 1, &how);
    assert_memory_equal(x, feature, sizeof x);
}

/* Counts, histogram and a checksum of the pixels that anyone can make from the files. */
static void check_genuine(const char *path, const int *train_labels) {
    kd_data_spec spec = spec_of(KD_DATA_IDX, path);
    spec.validation = 5000;
    kd_dataset *train = open_split(&spec, KD_SPLIT_TRAIN);
    kd_dataset *held = open_split(&spec, KD_SPLIT_VALIDATION);
    kd_dataset *test = open_split(&spec, KD_SPLIT_TEST);
    assert_int_equal(train->count, 55000);
    assert_int_equal(held->count, 5000);
    assert_int_equal(test->count, 10000);
    assert_int_equal(train->h * 100 + train->w, 2828);
    int histogram[10] = {0};
    for (int i = 0; i < 55000; i++) histogram[train->label[i]]++;
    for (int i = 0; i < 5000; i++) histogram[held->label[i]]++;
    assert_memory_equal(histogram, train_labels, sizeof histogram);
    float x[784];
    double sum = 0;
    for (int i = 0; i < 100; i++) {
        kd_dataset_sample(test, i, x);
        for (int p = 0; p < 784; p++) sum += (double)x[p];
    }
    assert_true(sum > 100 * 784 * 0.08 && sum < 100 * 784 * 0.4);
    kd_dataset_free(train);
    kd_dataset_free(held);
    kd_dataset_free(test);
}

static void test_mnist(void **state) {
    (void)state;
    static const int labels[10] = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
    char path[KD_PATH_MAX];
    test_need(path, "mnist");
    check_genuine(path, labels);
}

static void test_fashion_mnist(void **state) {
    (void)state;
    static const int labels[10] = {6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000};
    const char *path = "/usr/share/datasets/fashion-mnist";
    if (!kd_file_exists(path)) {
        printf("SKIP %s is not there: apt-get install dataset-fashion-mnist\n", path);
        skip();
    }
    check_genuine(path, labels);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_idx, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_splits, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_impossible_specs, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_missing_files, test_setup, test_teardown),
        cmocka_unit_test(test_idx_damage),
        cmocka_unit_test(test_idx_gzip_members),
        cmocka_unit_test_setup_teardown(test_idx_counts_differ, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(test_cifar, test_setup, test_teardown),
        cmocka_unit_test(test_normalise),
        cmocka_unit_test(test_mnist),
        cmocka_unit_test(test_fashion_mnist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
