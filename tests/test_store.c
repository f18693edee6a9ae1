/* The teacher store: rows come back by id, resuming keeps whole shards, and what is wrong is
 * refused. */
#include <math.h>

#include "base/rng.h"
#include "data/half.h"
#include "data/store.h"
#include "hdf5_folder.h"
#include "store_answers.h"

enum { SEAL_BYTES = 512 }; /* in front of the HDF5 data */

static int setup(void **state) {
    (void)state;
    return make_folder("store");
}

/* --- a teacher ------------------------------------------------------------------------------ */

/* The logit of class v for sample `id` in a view: a fixed noise of standard deviation 4. */
static float teacher_logit(uint64_t id, int64_t view, int v) {
    kd_rng rng = kd_rng_init(id, (uint64_t)view * 100000 + (uint64_t)v);
    return (float)(4 * kd_rng_normal(&rng));
}

static uint64_t sample_id(int64_t i) {
    return (uint64_t)i * 7919 % 100003; /* neither sorted nor dense */
}

static kd_store_header make_header(kd_store_kind kind, kd_store_dtype dtype, int classes) {
    kd_store_header h = {.kind = kind,
                         .dtype = dtype,
                         .classes = classes,
                         .views = 1,
                         .teacher = kd_hash_bytes("teacher", 7),
                         .class_list = kd_hash_bytes("a\nb", 3),
                         .description = "a test"};
    if (kind == KD_STORE_TOPK) {
        h.k = 4;
        h.temperature_count = 2;
        h.temperature[0] = 1;
        h.temperature[1] = 4;
    }
    return h;
}

/* Appends rows [from, to), counted over the views. */
static int append_rows(kd_store_writer *w, const kd_store_header *h, int64_t samples, int64_t from,
                       int64_t to) {
    float *logits = malloc((size_t)h->classes * 64 * sizeof *logits);
    assert_non_null(logits);
    int status = KD_OK;
    while (from < to && status == KD_OK) {
        uint64_t id[64];
        int32_t label[64];
        int64_t view = from / samples, first = from % samples, n = samples - first;
        if (n > 64) n = 64;
        if (n > to - from) n = to - from;
        for (int64_t i = 0; i < n; i++) {
            id[i] = sample_id(first + i);
            label[i] = (int32_t)(id[i] % (uint64_t)h->classes);
            for (int v = 0; v < h->classes; v++)
                logits[i * h->classes + v] = teacher_logit(id[i], view, v);
        }
        status = append_answers(w, h, n, view, id, label, logits);
        from += n;
    }
    free(logits);
    return status;
}

static void make_store(const kd_store_header *h, int64_t samples) {
    kd_store_writer *w;
    int64_t done, total = h->views * samples;
    assert_ok(kd_file_remove_matching(path, (const char *const[]){"*.h5", NULL}));
    assert_ok(kd_store_writer_open(&w, path, h, total, &done));
    assert_ok(append_rows(w, h, samples, done, total));
    assert_ok(kd_store_writer_close(w));
}

/* Every row of the store, in an order of its own, is what the teacher said. */
static void assert_dense(const kd_store *s, int64_t samples) {
    const kd_store_header *h = kd_store_describe(s);
    float *logits = malloc((size_t)h->classes * 3 * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(kd_store_rows(s), samples * h->views);
    for (int64_t view = 0; view < h->views; view++)
        for (int64_t i = samples - 3; i >= 0; i -= 3) {
            uint64_t id[3] = {sample_id(i + 2), sample_id(i), sample_id(i + 1)};
            assert_ok(kd_store_read(s, 3, view + h->views, id, logits));
            for (int j = 0; j < 3 * h->classes; j++) {
                float want = teacher_logit(id[j / h->classes], view, j % h->classes);
                if (h->dtype == KD_STORE_F16) want = kd_half_to_float(kd_half_from_float(want));
                if (logits[j] != want) fail_msg("%g is not %g", logits[j], want);
            }
        }
    free(logits);
}

/* --- numbers -------------------------------------------------------------------------------- */

static void test_half_precision(void **state) {
    (void)state;
    /* Every half there is, and there and back. */
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t half[8] = {(uint16_t)bits}, back;
        float x[8], portable = kd_half_to_float((uint16_t)bits);
        kd_half_decode(x, half, 8);
        assert_memory_equal(&x[0], &portable, sizeof portable);
        back = kd_half_from_float(portable);
        /* A signalling NaN comes back quiet. */
        uint16_t want = (uint16_t)(isnan(portable) ? bits | 0x200 : bits);
        assert_int_equal(back, want);
    }
    /* Floats all over, by the instructions and by the routine. */
    for (uint64_t i = 0; i < 1 << 20; i++) {
        uint32_t bits = (uint32_t)(i * 4099 + (i & 7)), near = 0x38000000 + (uint32_t)i * 1201;
        float x[8] = {0};
        uint16_t half[8];
        memcpy(&x[0], &bits, sizeof bits);
        memcpy(&x[1], &near, sizeof near);
        kd_half_encode(half, x, 8);
        assert_int_equal(half[0], kd_half_from_float(x[0]));
        assert_int_equal(half[1], kd_half_from_float(x[1]));
    }
}

static void test_dense(void **state) {
    (void)state;
    for (int dtype = 0; dtype < 2; dtype++) {
        kd_store_header h = make_header(KD_STORE_DENSE, dtype ? KD_STORE_F16 : KD_STORE_F32, 10);
        h.views = 3;
        h.augmented = true;
        kd_store *s;
        make_store(&h, 99); /* the second time over the first, which does not fit */
        assert_ok(kd_store_open(&s, path));
        assert_dense(s, 99);
        const kd_store_header *read = kd_store_describe(s);
        assert_string_equal(read->teacher.hex, h.teacher.hex);
        assert_string_equal(read->class_list.hex, h.class_list.hex);
        assert_string_equal(read->data.hex, "");
        assert_string_equal(read->description, "a test");
        assert_true(read->augmented);
        assert_int_equal(kd_store_temperature_index(kd_store_describe(s), 1), -1);
        uint64_t none = 100002;
        float logits[10];
        assert_refused(kd_store_read(s, 1, 0, &none, logits), KD_EDATA,
                       "has no row for sample 100002, view 0");
        kd_store_free(s);
    }
}

/* The tail and the kept logits against a plain computation over all classes. */
static void test_topk(void **state) {
    (void)state;
    enum { CLASSES = 37, SAMPLES = 50 };
    for (int dtype = 0; dtype < 2; dtype++) {
        kd_store_header h =
            make_header(KD_STORE_TOPK, dtype ? KD_STORE_F16 : KD_STORE_F32, CLASSES);
        make_store(&h, SAMPLES);
        kd_store *s;
        assert_ok(kd_store_open(&s, path));
        assert_int_equal(kd_store_temperature_index(kd_store_describe(s), 4), 1);
        assert_int_equal(kd_store_temperature_index(kd_store_describe(s), 2), -1);
        for (int64_t i = 0; i < SAMPLES; i++)
            for (int t = 0; t < 2; t++) {
                uint64_t id = sample_id(i);
                int32_t index[4];
                float kept[4], tail;
                assert_ok(kd_store_read_topk(s, 1, 5, &id, t, index, kept, &tail));
                double all = 0, dropped = 0;
                for (int v = 0; v < CLASSES; v++) {
                    double e = exp(teacher_logit(id, 0, v) / h.temperature[t]);
                    bool is_kept = false;
                    for (int j = 0; j < 4; j++) is_kept |= index[j] == v;
                    all += e;
                    if (!is_kept) dropped += e;
                    for (int j = 0; j < 4 && !is_kept; j++)
                        assert_true(teacher_logit(id, 0, v) <= teacher_logit(id, 0, index[j]));
                }
                assert_true(fabs(tail - log(dropped)) < 1e-6);
                for (int j = 0; j < 4; j++) {
                    float want = teacher_logit(id, 0, index[j]);
                    assert_true(fabsf(kept[j] - want) <= (dtype ? 2e-2f : 0));
                    assert_true(j == 0 || kept[j] <= kept[j - 1]);
                }
                assert_true(dropped < all);
            }
        kd_store_free(s);
    }
}

static void test_topk_of_equals(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_TOPK, KD_STORE_F16, 9);
    float logits[9] = {1, 3, 2, 3, 2, 2, 3, 1, 2};
    const int32_t want[4] = {1, 3, 6, 2};
    uint64_t id = 5;
    int64_t done;
    kd_store_writer *w;
    assert_ok(kd_store_writer_open(&w, path, &h, 1, &done));
    assert_ok(append_answers(w, &h, 1, 0, &id, &(int32_t){1}, logits));
    assert_ok(kd_store_writer_close(w));
    kd_store *s;
    int32_t index[4];
    float kept[4], tail;
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_store_read_topk(s, 1, 0, &id, 0, index, kept, &tail));
    assert_memory_equal(index, want, sizeof want);
    assert_true(fabs(tail - log(3 * exp(2) + 2 * exp(1))) < 1e-6);
    kd_store_free(s);
}

/* --- what the writer refuses ---------------------------------------------------------------- */

static int append_one(const kd_store_header *h, const float *logits) {
    kd_store_writer *w;
    int64_t done;
    uint64_t id = 77;
    assert_ok(kd_store_writer_open(&w, path, h, 2, &done));
    int status = append_answers(w, h, 1, 0, &id, &(int32_t){0}, logits);
    kd_store_writer_abort(w);
    return status;
}

static void test_logits_that_do_not_fit(void **state) {
    (void)state;
    kd_store_header half = make_header(KD_STORE_DENSE, KD_STORE_F16, 3);
    kd_store_header full = make_header(KD_STORE_DENSE, KD_STORE_F32, 3);
    const float nan_row[] = {1, NAN, 2}, infinite[] = {1, -INFINITY, 2}, high[] = {1, 65505, 2};
    const float low[] = {-40000, -65505, -40000}, masked[] = {3, -1e30f, 2};
    assert_refused(append_one(&half, nan_row), KD_EDATA, "sample 77 is not finite");
    assert_refused(append_one(&full, nan_row), KD_EDATA, "sample 77 is not finite");
    assert_refused(append_one(&full, infinite), KD_EDATA, "is not finite");
    assert_refused(append_one(&half, high), KD_EDATA,
                   "does not fit float16; store them as float32");
    assert_refused(append_one(&half, low), KD_EDATA, "does not fit float16");
    assert_ok(append_one(&full, high));
    assert_ok(append_one(&full, low));
    /* A masked class stays at probability 0. */
    kd_store_writer *w;
    kd_store *s;
    int64_t done;
    float read[3];
    assert_ok(kd_store_writer_open(&w, path, &half, 1, &done));
    assert_ok(append_answers(w, &half, 1, 0, &(uint64_t){1}, &(int32_t){0}, masked));
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_store_read(s, 1, 0, &(uint64_t){1}, read));
    assert_true(read[0] == 3 && read[1] == -65504);
    kd_store_free(s);
}

static void test_impossible_headers(void **state) {
    (void)state;
    kd_store_writer *w;
    int64_t done;
    kd_store_header h = make_header(KD_STORE_TOPK, KD_STORE_F16, 4);
    assert_refused(kd_store_writer_open(&w, path, &h, 5, &done), KD_ECONFIG,
                   "k is 4, must be 1 to 3");
    h.k = 2;
    h.temperature[1] = 0;
    assert_refused(kd_store_writer_open(&w, path, &h, 5, &done), KD_ECONFIG, "not a temperature");
    h.temperature_count = 0;
    assert_refused(kd_store_writer_open(&w, path, &h, 5, &done), KD_ECONFIG, "1 to 8 temperatures");
    h = make_header(KD_STORE_DENSE, KD_STORE_F16, 1);
    assert_refused(kd_store_writer_open(&w, path, &h, 5, &done), KD_ECONFIG, "2 or more classes");
    h = make_header(KD_STORE_DENSE, KD_STORE_F16, 3);
    test_write(path, "x", 1);
    assert_int_equal(kd_store_writer_open(&w, path, &h, 5, &done), KD_EIO);
}

/* --- resuming ------------------------------------------------------------------------------- */

static void test_resume(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_DENSE, KD_STORE_F16, 10);
    const int64_t total = 2 * 65536 + 1000;
    kd_store_writer *w;
    kd_store *s;
    int64_t done;
    assert_ok(kd_store_writer_open(&w, path, &h, total, &done));
    assert_int_equal(done, 0);
    float *logits = calloc(10 * 4096, sizeof *logits);
    uint64_t *id = malloc(4096 * sizeof *id);
    int32_t *label = calloc(4096, sizeof *label);
    for (int64_t row = 0; row < 100000; row += 4000) {
        for (int64_t i = 0; i < 4000; i++) id[i] = (uint64_t)(row + i);
        for (int64_t i = 0; i < 4000; i++) logits[10 * i] = (float)(row + i) / 8;
        assert_ok(append_answers(w, &h, 4000, 0, id, label, logits));
    }
    kd_store_writer_abort(w); /* as a kill would */
    test_write(shard(7), "not ours", 8);
    assert_refused(
        kd_store_open(&s, path), KD_EDATA,
        "shard-00001.h5: is missing: the store is not complete, it has 65536 of 132072 rows");
    /* The temperature does not matter to a dense store. */
    h.temperature_count = 1;
    h.temperature[0] = 9;
    assert_ok(kd_store_writer_open(&w, path, &h, total, &done));
    assert_int_equal(done, 65536);
    assert_false(kd_file_exists(shard(7)));
    for (int64_t row = done; row < total;) {
        int64_t n = total - row < 4096 ? total - row : 4096;
        for (int64_t i = 0; i < n; i++) id[i] = (uint64_t)(row + i);
        for (int64_t i = 0; i < n; i++) logits[10 * i] = (float)(row + i) / 8;
        assert_ok(append_answers(w, &h, n, 0, id, label, logits));
        row += n;
    }
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&s, path));
    assert_int_equal(kd_store_rows(s), total);
    for (int64_t row = 0; row < total; row += 997) {
        float read[10];
        assert_ok(kd_store_read(s, 1, 0, &(uint64_t){(uint64_t)row}, read));
        assert_true(read[0] == kd_half_to_float(kd_half_from_float((float)row / 8)));
        assert_true(read[1] == 0);
    }
    kd_store_free(s);
    assert_refused(kd_store_open(&s, shard(0)), KD_EDATA, "is one shard of a store");
    assert_refused(kd_store_open(&s, shard(1)), KD_EDATA, "begins with row 65536");
    assert_ok(kd_store_writer_open(&w, path, &h, total, &done));
    assert_int_equal(done, total);
    assert_ok(kd_store_writer_close(w));
    /* A damaged shard is made again, and what is behind it. */
    assert_int_equal(truncate(shard(1), 5000), 0);
    assert_ok(kd_store_writer_open(&w, path, &h, total, &done));
    assert_int_equal(done, 65536);
    kd_store_writer_abort(w);
    /* Another teacher, or other samples: refused, and everything stays. */
    h.teacher = kd_hash_bytes("another", 7);
    assert_refused(kd_store_writer_open(&w, path, &h, total, &done), KD_EDATA,
                   "shard-00000.h5: belongs to another store: its teacher is not");
    h.teacher = make_header(KD_STORE_DENSE, KD_STORE_F16, 10).teacher;
    assert_refused(kd_store_writer_open(&w, path, &h, total + 1, &done), KD_EDATA, "total_rows");
    h.origin = "{}";
    assert_refused(kd_store_writer_open(&w, path, &h, total, &done), KD_EDATA, "its origin");
    assert_true(kd_file_exists(shard(0)));
    free(logits);
    free(id);
    free(label);
}

/* --- what the reader refuses ---------------------------------------------------------------- */

static void test_joining(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_DENSE, KD_STORE_F16, 10);
    h.views = 2;
    kd_store *s;
    make_store(&h, 30);
    assert_ok(kd_store_open(&s, path));
    uint64_t id[30];
    int32_t label[30];
    for (int64_t i = 0; i < 30; i++) {
        id[i] = sample_id(29 - i);
        label[i] = (int32_t)(id[i] % 10);
    }
    assert_ok(kd_store_check(s, 30, id, label));
    label[4]++;
    assert_refused(kd_store_check(s, 30, id, label), KD_EDATA, "do not belong together");
    label[4]--;
    id[4] = 99999;
    assert_refused(kd_store_check(s, 30, id, label), KD_EDATA, "no row for sample 99999, view 0");
    kd_store_free(s);
}

/* A store in one file, with one thing wrong. */
typedef enum {
    FINE,
    DUPLICATE,
    NOT_FINITE,
    WRONG_CRC,
    FEW_LOGITS,
    FEW_CLASSES,
    WRONG_TYPE,
    NO_ID,
    BAD_VIEW,
    TOO_MANY_ROWS,
    BAD_HASH,
    FEW_NAMES,
    OTHER_LIST,
    BAD_VERSION
} fault;

static void make_single(fault f) {
    enum { ROWS = 5, CLASSES = 3 };
    hid_t file;
    uint64_t id[ROWS] = {4, 1, f == DUPLICATE ? 4 : 3, 0, 2};
    int32_t view[ROWS] = {0, 0, 0, f == BAD_VIEW ? 1 : 0, 0};
    float logits[ROWS * CLASSES];
    for (int i = 0; i < ROWS * CLASSES; i++) logits[i] = (float)i;
    if (f == NOT_FINITE) logits[7] = -INFINITY;
    assert_ok(kd_h5_create(&file, path));
    assert_ok(kd_h5_set_string(file, "schema", "distill-teacher-store"));
    assert_ok(kd_h5_set_int(file, "version", f == BAD_VERSION ? 7 : 1));
    assert_ok(kd_h5_set_string(file, "kind", "dense"));
    assert_ok(kd_h5_set_string(file, "dtype", "float32"));
    assert_ok(kd_h5_set_int(file, "classes", f == FEW_CLASSES ? 4 : CLASSES));
    assert_ok(kd_h5_set_int(file, "rows", f == TOO_MANY_ROWS ? (int64_t)1 << 50 : ROWS));
    assert_ok(kd_h5_set_string(file, "class_names",
                               f == FEW_NAMES     ? "a\nb"
                               : f == FEW_CLASSES ? "a\nb\nc\nd"
                                                  : "a\nb\nc"));
    if (f == OTHER_LIST)
        assert_ok(kd_h5_set_string(file, "class_list", kd_hash_bytes("a\nb\nd", 5).hex));
    if (f == BAD_HASH) assert_ok(kd_h5_set_string(file, "teacher", "me"));
    const struct {
        const char *name;
        int rank;
        hid_t type;
        const void *values;
        int64_t bytes;
    } sets[] = {
        {"id", 1, H5T_NATIVE_UINT64, id, ROWS * 8},
        {"view", 1, H5T_NATIVE_INT32, view, ROWS * 4},
        {"logits", 2, f == WRONG_TYPE ? H5T_NATIVE_INT32 : H5T_NATIVE_FLOAT, logits,
         ROWS * CLASSES * 4},
    };
    for (int i = f == NO_ID; i < 3; i++) {
        int64_t rows = f == FEW_LOGITS && i == 2 ? ROWS - 1 : ROWS;
        put_set(file, sets[i].name, sets[i].rank, rows, CLASSES, sets[i].type, sets[i].values,
                sets[i].bytes, f == WRONG_CRC);
    }
    assert_ok(kd_h5_commit(file, path));
}

static void test_single_files_and_their_faults(void **state) {
    (void)state;
    static const struct {
        fault f;
        const char *part;
    } faults[] = {
        {DUPLICATE, "store: has two rows of sample 4, view 0"},
        {NOT_FINITE, "store: row 2 (sample 3): has a logit that is not finite"},
        {WRONG_CRC, "/id: damaged: wrong checksum"},
        {FEW_LOGITS, "/logits: has shape (4, 3), not (5, 3)"},
        {FEW_CLASSES, "/logits: has shape (5, 3), not (5, 4)"},
        {WRONG_TYPE, "/logits: holds int32, not float32"},
        {NO_ID, "/id: is missing"},
        {BAD_VIEW, "row 3 (sample 0): is of a view that does not exist"},
        {TOO_MANY_ROWS, "/id: has shape (5), not (1125899906842624)"},
        {BAD_HASH, "/teacher is 'me', must be 32 lower-case hexadecimal digits or empty"},
        {FEW_NAMES, "/class_names: 2 names, /classes says 3"},
        {OTHER_LIST,
         "/class_list is 9f431f80819eb9c0cf8d656457d8eba4, the names in /class_names make it"},
        {BAD_VERSION, "teacher store of version 7; this program reads versions 1 to 3"},
    };
    kd_store *s;
    float logits[3];
    make_single(FINE);
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_store_read(s, 1, 0, &(uint64_t){2}, logits));
    assert_true(logits[0] == 12 && logits[2] == 14);
    assert_string_equal(kd_store_describe(s)->class_list.hex, kd_hash_bytes("a\nb\nc", 5).hex);
    assert_ok(kd_store_check(s, 1, &(uint64_t){2}, &(int32_t){17})); /* states no labels */
    kd_store_free(s);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        make_single(faults[i].f);
        assert_refused(kd_store_open(&s, path), KD_EDATA, faults[i].part);
        assert_null(s);
    }
}

static void test_mixed_shards(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_DENSE, KD_STORE_F16, 10);
    char *bytes, name[160];
    size_t length;
    kd_store *s;
    make_store(&h, 30);
    assert_ok(kd_file_read(&bytes, &length, shard(0), SIZE_MAX));
    test_write(shard(1), bytes, length);
    free(bytes);
    assert_refused(kd_store_open(&s, path), KD_EDATA, "shard-00001.h5: does not belong here");
    snprintf(name, sizeof name, "%s", shard(1));
    assert_int_equal(rename(name, shard(0)), 0);
    assert_ok(kd_store_open(&s, path));
    kd_store_free(s);
    assert_int_equal(unlink(shard(0)), 0);
    assert_refused(kd_store_open(&s, path), KD_ENOINPUT, "no teacher store here");
    strcat(path, "-none");
    assert_refused(kd_store_open(&s, path), KD_ENOINPUT, "store-none: cannot open");
}

static void test_damage(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_TOPK, KD_STORE_F16, 10);
    char *bytes;
    size_t length;
    kd_store *s;
    make_store(&h, 30);
    assert_ok(kd_file_read(&bytes, &length, shard(0), SIZE_MAX));
    const size_t flips = thoroughly() ? 12000 : 250, step = 8 * length / flips | 1;
    for (size_t bit = 0; bit < 8 * length; bit += step) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        test_write(shard(0), bytes, length);
        if (kd_store_open(&s, path) != KD_EDATA) fail_msg("bit %zu was not noticed", bit);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < length; cut += thoroughly() ? 1 : length / 100) {
        test_write(shard(0), bytes, cut);
        if (kd_store_open(&s, path) != KD_EDATA || !kd_error()[0])
            fail_msg("cut to %zu of %zu bytes", cut, length);
    }
    test_write(shard(0), bytes, length);
    assert_ok(kd_store_open(&s, path));
    kd_store_free(s);
    free(bytes);
}

/* A store of another program has no seal: libhdf5 sees each changed bit. It is refused, or read as
 * what it was. */
static void test_damage_without_a_seal(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_DENSE, KD_STORE_F16, 10);
    char *bytes;
    size_t length;
    int harmless = 0, flips = 0;
    make_store(&h, 30);
    assert_ok(kd_file_read(&bytes, &length, shard(0), SIZE_MAX));
    const size_t step = 8 * length / (thoroughly() ? 12000 : 250) | 1;
    for (size_t bit = 8 * SEAL_BYTES; bit < 8 * length; bit += step) {
        kd_store *s;
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        test_write(shard(0), bytes + SEAL_BYTES, length - SEAL_BYTES);
        int status = kd_store_open(&s, path);
        if (status == KD_OK) {
            assert_dense(s, 30);
            kd_store_free(s);
            harmless++;
        } else if (status != KD_EDATA || !kd_error()[0])
            fail_msg("bit %zu: status %d", bit, status);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        flips++;
    }
    print_message("%d of %d flipped bits made no difference\n", harmless, flips);
    free(bytes);
}

/* --- another program's stores --------------------------------------------------------------- */

static float foreign_logit(int64_t i, int v) {
    return (float)((i * 31 + v * 17) % 101) / 8 - 6;
}

static void test_stores_from_python(void **state) {
    (void)state;
    enum { ROWS = 20, CLASSES = 12 };
    if (!run_python("import sys, numpy as np\n"
                    "from teacher_store import write_store\n"
                    "i, v = np.arange(20)[:, None], np.arange(12)\n"
                    "ids, logits = np.arange(20) * 3, ((i * 31 + v * 17) % 101) / 8 - 6\n"
                    "names = [f'class {n}' for n in v]\n"
                    "write_store(sys.argv[1] + '.h5', ids, None, logits, class_names=names)\n"
                    "write_store(sys.argv[1], ids, ids % 12, logits, kind='topk', k=4,\n"
                    "            temperatures=[1, 4], shard_rows=7, teacher='0f' * 16,\n"
                    "            description='π')\n"))
        skip();
    kd_store *s;
    char single[160], names[256] = "";
    uint64_t id[ROWS];
    int32_t label[ROWS];
    float logits[ROWS * CLASSES];
    for (int v = 0; v < CLASSES; v++)
        snprintf(names + strlen(names), 32, v ? "\nclass %d" : "class %d", v);
    for (int i = 0; i < ROWS; i++) {
        id[i] = (uint64_t)(3 * i);
        label[i] = 3 * i % CLASSES;
        for (int v = 0; v < CLASSES; v++) logits[i * CLASSES + v] = foreign_logit(i, v);
    }
    snprintf(single, sizeof single, "%s.h5", path);
    assert_ok(kd_store_open(&s, single));
    assert_string_equal(kd_store_describe(s)->class_list.hex,
                        kd_hash_bytes(names, strlen(names)).hex);
    float read[CLASSES];
    for (int i = 0; i < ROWS; i++) {
        assert_ok(kd_store_read(s, 1, 0, &id[i], read));
        assert_memory_equal(read, logits + i * CLASSES, sizeof read);
    }
    kd_store_free(s);
    /* The same top-k as ours. */
    kd_store *ours;
    kd_store_writer *w;
    int64_t done;
    assert_ok(kd_store_open(&s, path));
    assert_int_equal(kd_store_rows(s), ROWS);
    assert_string_equal(kd_store_describe(s)->description, "π");
    assert_string_equal(kd_store_describe(s)->teacher.hex, "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
    assert_ok(kd_store_check(s, ROWS, id, label));
    strcat(path, "-ours");
    assert_ok(kd_store_writer_open(&w, path, kd_store_describe(s), ROWS, &done));
    assert_ok(append_answers(w, kd_store_describe(s), ROWS, 0, id, label, logits));
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&ours, path));
    for (int i = 0; i < 2 * ROWS; i++) {
        int32_t index[2][4];
        float kept[2][4], tail[2];
        assert_ok(kd_store_read_topk(s, 1, 0, &id[i / 2], i % 2, index[0], kept[0], &tail[0]));
        assert_ok(kd_store_read_topk(ours, 1, 0, &id[i / 2], i % 2, index[1], kept[1], &tail[1]));
        assert_memory_equal(index[0], index[1], sizeof index[0]);
        assert_memory_equal(kept[0], kept[1], sizeof kept[0]);
        assert_true(fabsf(tail[0] - tail[1]) < 1e-6f);
    }
    kd_store_free(s);
    kd_store_free(ours);
}

/* What could not be read again, or would be read as something else, is not written. */
static void test_python_refuses(void **state) {
    (void)state;
    if (!run_python(
            "import os, sys, pathlib, numpy as np\n"
            "import teacher_store\n"
            "from teacher_store import write_store, StoreError\n"
            "assert teacher_store.LIBVER[1] == 'v110'  # newer HDF5 writes what 1.10 cannot read\n"
            "path = pathlib.Path(sys.argv[1])\n"
            "ids, logits = np.arange(9), np.arange(36.).reshape(9, 4)\n"
            "labels, nan = ids % 4, logits.copy()\n"
            "nan[3, 1] = np.nan\n"
            "topk = dict(kind='topk', temperatures=[1])\n"
            "names = ['a', 'b', 'c', 'd']\n"
            "for why, i, l, x, more in [\n"
            "        ('one-hot', ids, np.eye(4)[labels], logits, {}),\n"
            "        ('found float64', ids, labels + 0.5, logits, {}),\n"
            "        ('found bool', ids, labels > 1, logits, {}),\n"
            "        ('none of the 4', ids, ids, logits, {}),\n"
            "        ('found -1', ids - 1, labels, logits, {}),\n"
            "        ('sample 2, view 0', [2] * 9, labels, logits, {}),\n"
            "        ('sample 3 is not finite', ids, labels, nan, {}),\n"
            "        ('not finite in float32', ids, labels, logits * 1e300, {}),\n"
            "        ('store them as float32', ids, labels, logits * 1e4, dict(shard_rows=2)),\n"
            "        ('lower-case', ids, labels, logits, dict(teacher='0F' * 16)),\n"
            "        ('lower-case', ids, labels, logits, dict(data='resnet')),\n"
            "        ('(found 4)', ids, labels, logits, dict(k=4, **topk)),\n"
            "        ('found None', ids, labels, logits, topk),\n"
            "        ('k must be whole', ids, labels, logits, dict(k=1.5, **topk)),\n"
            "        ('above 0', ids, labels, logits, dict(kind='topk', k=1, temperatures=[0])),\n"
            "        ('for kind topk', ids, labels, logits, dict(k=2)),\n"
            "        ('3 class names', ids, labels, logits, dict(class_names=names[1:])),\n"
            "        ('two classes', ids, labels, logits, dict(class_names=['a'] * 4)),\n"
            "        ('control', ids, labels, logits, dict(class_names=['a\\nb'] + names[1:])),\n"
            "        ('255 bytes', ids, labels, logits, dict(description='é' * 128)),\n"
            "        ('a view is not', ids, labels, logits, dict(view=ids))]:\n"
            "    try:\n"
            "        write_store(path, i, l, x, **more)\n"
            "    except StoreError as error:\n"
            "        assert why in str(error), (why, error)\n"
            "    else:\n"
            "        raise AssertionError(why)\n"
            "    assert not path.exists() or not os.listdir(path), why\n"
            "write_store(path, ids.astype('>i2'), labels.astype('u1'), logits)\n"
            "try:\n"
            "    write_store(path, ids, labels, logits)\n"
            "except StoreError as error:\n"
            "    assert 'remove it first' in str(error)\n"))
        skip();
    kd_store *s;
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_store_check(s, 1, &(uint64_t){7}, &(int32_t){3}));
    kd_store_free(s);
}

/* As a program that knows nothing of our types writes ids and labels. */
static void test_integers_of_any_type(void **state) {
    (void)state;
    if (!run_python("import sys, zlib, h5py, numpy as np\n"
                    "types = ['<i8', '>i8', '<u8', '>u4', '<i2', 'u1', 'i1']\n"
                    "for n, t in enumerate(types + ['large', 'negative']):\n"
                    "    ids = np.arange(9).astype(t if n < 7 else '<i8')\n"
                    "    if t == 'negative': ids[3] = -4\n"
                    "    labels = ids % 4 + (2 ** 40 if t == 'large' else 0)\n"
                    "    logits = np.arange(36.).reshape(9, 4).astype('<f4')\n"
                    "    with h5py.File(f'{sys.argv[1]}-{n}', 'w') as f:\n"
                    "        f.attrs.update(schema='distill-teacher-store', version=1,\n"
                    "                       kind='dense', dtype='float32', classes=4, rows=9)\n"
                    "        for name, v in ('id', ids), ('label', labels), ('logits', logits):\n"
                    "            d = f.create_dataset(name, data=v)\n"
                    "            d.attrs['crc32'] = zlib.crc32(v.tobytes())\n"))
        skip();
    kd_store *s;
    char one[160];
    for (int n = 0; n < 7; n++) {
        snprintf(one, sizeof one, "%s-%d", path, n);
        assert_ok(kd_store_open(&s, one));
        assert_ok(kd_store_check(s, 2, (uint64_t[]){8, 3}, (int32_t[]){0, 3}));
        kd_store_free(s);
    }
    snprintf(one, sizeof one, "%s-7", path);
    assert_refused(kd_store_open(&s, one), KD_EDATA,
                   "/label: number 0 is 1099511627776, which int32 does not hold");
    snprintf(one, sizeof one, "%s-8", path);
    assert_refused(kd_store_open(&s, one), KD_EDATA,
                   "/id: number 3 is -4, which uint64 does not hold");
}

static void test_python_reads_ours(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_TOPK, KD_STORE_F16, 12);
    h.views = 2;
    make_store(&h, 30);
    if (!run_python("import sys, numpy as np\n"
                    "from teacher_store import read_store\n"
                    "head, columns = read_store(sys.argv[1])\n"
                    "assert head['kind'] == 'topk' and head['dtype'] == 'float16'\n"
                    "assert list(head['temperatures']) == [1, 4] and head['views'] == 2\n"
                    "assert head['description'] == 'a test' and head['data'] == ''\n"
                    "assert columns['id'][31] == 7919 and columns['view'][31] == 1\n"
                    "assert columns['label'][31] == 7919 % 12\n"
                    "assert columns['kept'].dtype == np.float16\n"
                    "assert columns['kept'].shape == (60, 4) == columns['index'].shape\n"
                    "assert (np.diff(columns['kept'].astype(float)) <= 0).all()\n"
                    "assert columns['tail'].shape == (60, 2)\n"))
        skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, remove_folder)
        TEST(test_half_precision),
        TEST(test_dense),
        TEST(test_topk),
        TEST(test_topk_of_equals),
        TEST(test_logits_that_do_not_fit),
        TEST(test_impossible_headers),
        TEST(test_resume),
        TEST(test_joining),
        TEST(test_single_files_and_their_faults),
        TEST(test_mixed_shards),
        TEST(test_damage),
        TEST(test_damage_without_a_seal),
        TEST(test_stores_from_python),
        TEST(test_python_refuses),
        TEST(test_integers_of_any_type),
        TEST(test_python_reads_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
