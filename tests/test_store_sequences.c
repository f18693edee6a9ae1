/* Stores of sequences and of hidden states: runs come back by id, the output matrix is exact, and
 * what does not belong together is refused. */
#include <math.h>

#include "base/rng.h"
#include "data/half.h"
#include "data/store.h"
#include "hdf5_folder.h"
#include "store_answers.h"

enum { V = 37, WIDTH = 5, SAMPLES = 40, LONGEST = 9 };

static float output[V * WIDTH];

static int setup(void **state) {
    (void)state;
    if (make_folder("store") != 0) return -1;
    kd_rng rng = kd_rng_init(3, 4);
    for (int i = 0; i < V * WIDTH; i++)
        output[i] = kd_half_to_float(kd_half_from_float((float)kd_rng_normal(&rng)));
    return 0;
}

/* --- a teacher of sequences ------------------------------------------------------------------ */

static uint64_t sample_id(int64_t i) {
    return (uint64_t)i * 7919 % 100003;
}

static int64_t length_of(uint64_t id) {
    return 1 + (int64_t)(id % LONGEST);
}

static void make_labels(uint64_t id, int32_t *label) {
    for (int64_t t = 0; t < length_of(id); t++) label[t] = (int32_t)((id + (uint64_t)t * 31) % V);
}

static float hidden_number(uint64_t id, int64_t view, int64_t t, int i) {
    kd_rng rng = kd_rng_init(id, (uint64_t)(view * 1000000 + t * 1000 + i));
    return (float)kd_rng_normal(&rng);
}

/* The run's hidden states (length,WIDTH) and its logits (length,V). */
static void make_run(uint64_t id, int64_t view, float *hidden, float *logits) {
    for (int64_t t = 0; t < length_of(id); t++) {
        for (int i = 0; i < WIDTH; i++) hidden[t * WIDTH + i] = hidden_number(id, view, t, i);
        for (int v = 0; v < V; v++) {
            double sum = 0;
            for (int i = 0; i < WIDTH; i++)
                sum += (double)hidden[t * WIDTH + i] * output[v * WIDTH + i];
            logits[t * V + v] = (float)sum;
        }
    }
}

static kd_store_header make_header(kd_store_kind kind, kd_store_dtype dtype) {
    kd_store_header h = {.kind = kind,
                         .dtype = dtype,
                         .sequences = true,
                         .classes = V,
                         .views = 1,
                         .teacher = kd_hash_bytes("teacher", 7),
                         .description = "a test"};
    if (kind == KD_STORE_TOPK) {
        h.k = 6;
        h.temperature_count = 2;
        h.temperature[0] = 1;
        h.temperature[1] = 2;
    }
    if (kind == KD_STORE_HIDDEN) {
        h.width = WIDTH;
        h.output = output;
    }
    return h;
}

static int append(kd_store_writer *w, const kd_store_header *h, int64_t row) {
    float hidden[LONGEST * WIDTH], logits[LONGEST * V];
    int32_t label[LONGEST];
    const int64_t view = row / SAMPLES;
    const uint64_t id = sample_id(row % SAMPLES);
    make_labels(id, label);
    make_run(id, view, hidden, logits);
    return append_run_answers(w, h, view, id, length_of(id), label,
                              h->kind == KD_STORE_HIDDEN ? hidden : logits);
}

static void make_store(const kd_store_header *h) {
    kd_store_writer *w;
    int64_t done, total = h->views * SAMPLES;
    assert_ok(kd_file_remove_matching(path, (const char *const[]){"*.h5", NULL}));
    assert_ok(kd_store_writer_open(&w, path, h, total, &done));
    for (int64_t row = done; row < total; row++) assert_ok(append(w, h, row));
    assert_ok(kd_store_writer_close(w));
}

static float as_stored(const kd_store_header *h, float x) {
    return h->dtype == KD_STORE_F16 ? kd_half_to_float(kd_half_from_float(x)) : x;
}

/* --- what goes in comes out ------------------------------------------------------------------ */

static void test_hidden_runs(void **state) {
    (void)state;
    for (int dtype = 0; dtype < 2; dtype++) {
        kd_store_header h = make_header(KD_STORE_HIDDEN, dtype ? KD_STORE_F16 : KD_STORE_F32);
        h.views = 2;
        h.augmented = true;
        kd_store *s;
        make_store(&h); /* the second time over the first, which does not fit */
        assert_ok(kd_store_open(&s, path));
        const kd_store_header *read = kd_store_describe(s);
        assert_true(read->sequences && read->kind == KD_STORE_HIDDEN && read->width == WIDTH);
        assert_memory_equal(read->output, output, sizeof output);
        assert_int_equal(kd_store_rows(s), 2 * SAMPLES);
        int64_t positions = 0;
        for (int64_t row = 2 * SAMPLES - 1; row >= 0; row--) {
            const uint64_t id = sample_id(row % SAMPLES);
            const int64_t view = row / SAMPLES, length = length_of(id);
            float hidden[LONGEST * WIDTH];
            int32_t label[LONGEST];
            make_labels(id, label);
            assert_ok(kd_store_check_run(s, id, length, label));
            assert_int_equal(kd_store_length(s, view, id), length);
            assert_ok(kd_store_read_hidden(s, view, id, length, hidden));
            for (int64_t i = 0; i < length * WIDTH; i++)
                assert_true(hidden[i] ==
                            as_stored(&h, hidden_number(id, view, i / WIDTH, (int)(i % WIDTH))));
            positions += length;
        }
        assert_int_equal(kd_store_positions(s), positions);
        kd_store_free(s);
    }
}

/* The same logits by sequences and one row a position: the same numbers. */
static void test_topk_runs(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_TOPK, KD_STORE_F32);
    kd_store *runs, *rows;
    kd_store_writer *w;
    int64_t done, total = 0;
    make_store(&h);
    assert_ok(kd_store_open(&runs, path));
    for (int64_t i = 0; i < SAMPLES; i++) total += length_of(sample_id(i));
    assert_int_equal(kd_store_positions(runs), total);
    h.sequences = false;
    strcat(path, "-rows");
    assert_ok(kd_store_writer_open(&w, path, &h, total, &done));
    uint64_t next = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        float hidden[LONGEST * WIDTH], logits[LONGEST * V];
        make_run(sample_id(i), 0, hidden, logits);
        for (int64_t t = 0; t < length_of(sample_id(i)); t++, next++)
            assert_ok(append_answers(w, &h, 1, 0, &next, &(int32_t){-1}, logits + t * V));
    }
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&rows, path));
    next = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        const int64_t length = length_of(sample_id(i));
        int32_t index[2][LONGEST * 6];
        float kept[2][LONGEST * 6], tail[2][LONGEST];
        uint64_t id[LONGEST];
        for (int64_t t = 0; t < length; t++) id[t] = next++;
        assert_ok(
            kd_store_read_topk_run(runs, 0, sample_id(i), length, 1, index[0], kept[0], tail[0]));
        assert_ok(kd_store_read_topk(rows, length, 0, id, 1, index[1], kept[1], tail[1]));
        assert_memory_equal(index[0], index[1], (size_t)length * 6 * sizeof **index);
        assert_memory_equal(kept[0], kept[1], (size_t)length * 6 * sizeof **kept);
        assert_memory_equal(tail[0], tail[1], (size_t)length * sizeof **tail);
    }
    kd_store_free(runs);
    kd_store_free(rows);
}

/* One hidden state a sample, and a matrix that float16 cannot hold. */
static void test_hidden_rows(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_HIDDEN, KD_STORE_F32);
    h.sequences = false;
    output[3] = 0.1f;
    kd_store_writer *w;
    kd_store *s;
    int64_t done;
    const uint64_t id[2] = {8, 3};
    const float hidden[2 * WIDTH] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    float read[WIDTH];
    assert_ok(kd_store_writer_open(&w, path, &h, 2, &done));
    assert_ok(append_answers(w, &h, 2, 0, id, (int32_t[]){1, 2}, hidden));
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&s, path));
    assert_memory_equal(kd_store_describe(s)->output, output, sizeof output);
    assert_ok(kd_store_check(s, 2, id, (int32_t[]){1, 2}));
    assert_ok(kd_store_read_hidden(s, 0, 3, 1, read));
    assert_memory_equal(read, hidden + WIDTH, sizeof read);
    kd_store_free(s);
}

/* --- what storing costs ---------------------------------------------------------------------- */

static double divergence(kd_store_kind kind, kd_store_dtype dtype, double temperature) {
    kd_store_header h = make_header(kind, dtype);
    kd_store *s;
    double sum = 0, one;
    make_store(&h);
    assert_ok(kd_store_open(&s, path));
    for (int64_t i = 0; i < SAMPLES; i++) {
        float hidden[LONGEST * WIDTH], logits[LONGEST * V];
        make_run(sample_id(i), 0, hidden, logits);
        assert_ok(kd_store_divergence(&one, s, 0, sample_id(i), length_of(sample_id(i)),
                                      temperature, logits));
        assert_true(one > -1e-6);
        sum += one / SAMPLES;
    }
    kd_store_free(s);
    return sum;
}

static void test_divergence(void **state) {
    (void)state;
    for (double temperature = 1; temperature <= 2; temperature++) {
        assert_true(fabs(divergence(KD_STORE_DENSE, KD_STORE_F32, temperature)) < 1e-12);
        assert_true(fabs(divergence(KD_STORE_HIDDEN, KD_STORE_F32, temperature)) < 1e-9);
        const double half = divergence(KD_STORE_HIDDEN, KD_STORE_F16, temperature);
        assert_true(half > 0 && half < 1e-6);
        const double topk = divergence(KD_STORE_TOPK, KD_STORE_F32, temperature);
        assert_true(topk > 1e-3 && topk < 0.5);
    }
}

/* --- what does not belong together ------------------------------------------------------------ */

static void test_joining(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_HIDDEN, KD_STORE_F16);
    kd_store *s;
    make_store(&h);
    assert_ok(kd_store_open(&s, path));
    const uint64_t id = sample_id(3);
    int32_t label[LONGEST + 1] = {0};
    float hidden[(LONGEST + 1) * WIDTH];
    const int64_t length = length_of(id);
    make_labels(id, label);
    assert_true(length > 1);
    assert_ok(kd_store_check_run(s, id, length, label));
    label[1]++;
    assert_refused(kd_store_check_run(s, id, length, label), KD_EDATA, "for other label tokens");
    label[1]--;
    assert_refused(kd_store_check_run(s, id, length - 1, label), KD_EDATA,
                   "positions in the store and");
    assert_refused(kd_store_read_hidden(s, 0, id, length + 1, hidden), KD_EDATA,
                   "do not belong together");
    assert_refused(kd_store_check_run(s, 100002, 1, label), KD_EDATA, "no row for sample 100002");
    kd_store_free(s);
}

static void test_refused_by_the_writer(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_HIDDEN, KD_STORE_F16);
    kd_store_writer *w;
    int64_t done;
    const float large[WIDTH] = {0, -70000};
    h.output = NULL;
    assert_refused(kd_store_writer_open(&w, path, &h, 1, &done), KD_ECONFIG, "an output matrix");
    h.output = output;
    assert_ok(kd_store_writer_open(&w, path, &h, 1, &done));
    assert_refused(append_run_answers(w, &h, 0, 77, 1, &(int32_t){0}, large), KD_EDATA,
                   "hidden number of the teacher for sample 77 does not fit float16");
    assert_refused(kd_store_writer_append_run(w, 0, 77, (int64_t)1 << 40, NULL, NULL), KD_EDATA,
                   "positions, a shard holds");
    kd_store_writer_abort(w);
}

/* --- shards ----------------------------------------------------------------------------------- */

/* Wide states, so that few runs fill a shard; killed, resumed, and with another matrix. */
static void test_resume(void **state) {
    (void)state;
    enum { WIDE = 16384, RUNS = 1000, LENGTH = 4 };
    kd_store_header h = make_header(KD_STORE_HIDDEN, KD_STORE_F16);
    float *matrix = calloc((size_t)V * WIDE, sizeof *matrix);
    float *values = calloc((size_t)LENGTH * WIDE, sizeof *values);
    assert_non_null(matrix);
    assert_non_null(values);
    matrix[7] = 0.5f;
    h.width = WIDE;
    h.output = matrix;
    const int32_t label[LENGTH] = {1, 2, 3, 4};
    kd_store_writer *w;
    kd_store *s;
    int64_t done, kept;
    assert_ok(kd_store_writer_open(&w, path, &h, RUNS, &done));
    for (int64_t i = 0; i < 700; i++) {
        values[0] = (float)i;
        assert_ok(append_run_answers(w, &h, 0, (uint64_t)i, LENGTH, label, values));
    }
    kd_store_writer_abort(w); /* as a kill would */
    assert_ok(kd_store_writer_open(&w, path, &h, RUNS, &kept));
    assert_true(kept > 400 && kept < 700);
    for (int64_t i = kept; i < RUNS; i++) {
        values[0] = (float)i;
        assert_ok(append_run_answers(w, &h, 0, (uint64_t)i, LENGTH, label, values));
    }
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&s, path));
    assert_true(kd_file_exists(shard(1)));
    for (int64_t i = 0; i < RUNS; i++) {
        assert_ok(kd_store_read_hidden(s, 0, (uint64_t)i, LENGTH, values));
        assert_true(values[0] == (float)i && values[1] == 0);
    }
    kd_store_free(s);
    matrix[7] = 0.25f;
    assert_refused(kd_store_writer_open(&w, path, &h, RUNS, &done), KD_EDATA, "its output");
    free(matrix);
    free(values);
}

/* --- faults ----------------------------------------------------------------------------------- */

typedef enum {
    FINE,
    LENGTHS_SHORT,
    LENGTH_ZERO,
    LENGTH_HUGE,
    NO_LENGTHS,
    NO_TOKENS,
    NO_OUTPUT,
    OTHER_OUTPUT,
    OUTPUT_SHAPE,
    FEW_HIDDEN,
    NOT_FINITE,
    HUGE_POSITIONS,
    OLD_VERSION
} fault;

/* Three runs of 2, 1 and 3 positions in one file. */
static void make_single(fault f) {
    const uint64_t id[3] = {4, 1, 3};
    const uint32_t tokens[3] = {0, 0, 0};
    int32_t length[3] = {2, 1, 3};
    float hidden[6 * WIDTH], matrix[V * WIDTH];
    for (int i = 0; i < 6 * WIDTH; i++) hidden[i] = (float)i;
    if (f == LENGTHS_SHORT) length[2] = 2;
    if (f == LENGTH_ZERO) length[1] = 0;
    if (f == LENGTH_HUGE) length[1] = INT32_MAX;
    if (f == NOT_FINITE) hidden[2 * WIDTH] = NAN;
    memcpy(matrix, output, sizeof matrix);
    hid_t file;
    assert_ok(kd_h5_create(&file, path));
    assert_ok(kd_h5_set_string(file, "schema", "distill-teacher-store"));
    assert_ok(kd_h5_set_int(file, "version", f == OLD_VERSION ? 1 : 2));
    assert_ok(kd_h5_set_string(file, "kind", "hidden"));
    assert_ok(kd_h5_set_string(file, "dtype", "float32"));
    assert_ok(kd_h5_set_int(file, "classes", V));
    assert_ok(kd_h5_set_int(file, "width", WIDTH));
    assert_ok(kd_h5_set_int(file, "output_crc32", crc_of(matrix, sizeof matrix)));
    assert_ok(kd_h5_set_int(file, "sequences", 1));
    assert_ok(kd_h5_set_int(file, "rows", 3));
    assert_ok(kd_h5_set_int(file, "positions", f == HUGE_POSITIONS ? (int64_t)1 << 47 : 6));
    if (f == OTHER_OUTPUT) matrix[5] += 1;
    put_set(file, "id", 1, 3, 1, H5T_NATIVE_UINT64, id, sizeof id, 0);
    if (f != NO_LENGTHS)
        put_set(file, "length", 1, 3, 1, H5T_NATIVE_INT32, length, sizeof length, 0);
    if (f != NO_TOKENS)
        put_set(file, "label_crc32", 1, 3, 1, H5T_NATIVE_UINT32, tokens, sizeof tokens, 0);
    if (f != NO_OUTPUT)
        put_set(file, "output", 2, f == OUTPUT_SHAPE ? V - 1 : V, WIDTH, H5T_NATIVE_FLOAT, matrix,
                f == OUTPUT_SHAPE ? (V - 1) * WIDTH * 4 : V * WIDTH * 4, 0);
    const int64_t positions = f == FEW_HIDDEN ? 5 : 6;
    put_set(file, "hidden", 2, positions, WIDTH, H5T_NATIVE_FLOAT, hidden, positions * WIDTH * 4,
            0);
    assert_ok(kd_h5_commit(file, path));
}

static void test_single_files_and_their_faults(void **state) {
    (void)state;
    static const struct {
        fault f;
        const char *part;
    } faults[] = {
        {LENGTHS_SHORT, "/length: sums to 5 positions, /positions says 6"},
        {LENGTH_ZERO, "row 1 (sample 1): has a length that does not fit /positions"},
        {LENGTH_HUGE, "row 1 (sample 1): has a length that does not fit /positions"},
        {NO_LENGTHS, "/length: is missing"},
        {NO_TOKENS, "/label_crc32: is missing"},
        {NO_OUTPUT, "/output: is missing"},
        {OTHER_OUTPUT, "/output: is not the matrix that /output_crc32 names"},
        {OUTPUT_SHAPE, "/output: has shape (36, 5), not (37, 5)"},
        {FEW_HIDDEN, "/hidden: has shape (5, 5), not (6, 5)"},
        {NOT_FINITE, "row 1 (sample 1): has a hidden number that is not finite"},
        {HUGE_POSITIONS, "/length: sums to 6 positions, /positions says 140737488355328"},
        {OLD_VERSION, "/kind is 'hidden', must be 'dense' or 'topk'"},
    };
    kd_store *s;
    float hidden[3 * WIDTH];
    make_single(FINE);
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_store_read_hidden(s, 0, 3, 3, hidden));
    assert_true(hidden[0] == 3 * WIDTH && hidden[3 * WIDTH - 1] == 6 * WIDTH - 1);
    kd_store_free(s);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        make_single(faults[i].f);
        assert_refused(kd_store_open(&s, path), KD_EDATA, faults[i].part);
        assert_null(s);
    }
}

static void test_damage(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_HIDDEN, KD_STORE_F16);
    char *bytes;
    size_t length;
    kd_store *s;
    make_store(&h);
    assert_ok(kd_file_read(&bytes, &length, shard(0), SIZE_MAX));
    for (size_t bit = 0; bit < 8 * length; bit += 8 * length / 250 | 1) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        test_write(shard(0), bytes, length);
        if (kd_store_open(&s, path) != KD_EDATA) fail_msg("bit %zu was not noticed", bit);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    free(bytes);
}

/* --- another program's stores ------------------------------------------------------------------
 */

static void test_stores_from_python(void **state) {
    (void)state;
    if (!run_python(
            "import sys, numpy as np\n"
            "from teacher_store import write_store\n"
            "lengths = np.array([2, 1, 3, 2])\n"
            "hidden = np.arange(8 * 5).reshape(8, 5) / 4\n"
            "output = np.arange(37 * 5).reshape(37, 5) / 8\n"
            "write_store(sys.argv[1], [9, 2, 7, 4], np.arange(8), hidden, kind='hidden',\n"
            "            output=output, lengths=lengths, shard_rows=3, teacher='0f' * 16)\n"
            "write_store(sys.argv[1] + '.h5', [9, 2, 7, 4], np.arange(8), hidden @ output.T,\n"
            "            kind='topk', k=3, temperatures=[2], lengths=lengths)\n"))
        skip();
    kd_store *s;
    float hidden[3 * WIDTH], kept[9], tail[3];
    int32_t index[9];
    assert_ok(kd_store_open(&s, path));
    assert_int_equal(kd_store_positions(s), 8);
    assert_ok(kd_store_check_run(s, 7, 3, (int32_t[]){3, 4, 5}));
    assert_refused(kd_store_check_run(s, 7, 3, (int32_t[]){3, 4, 6}), KD_EDATA, "label tokens");
    assert_ok(kd_store_check_run(s, 4, 2, (int32_t[]){6, 7}));
    assert_ok(kd_store_read_hidden(s, 0, 7, 3, hidden));
    for (int i = 0; i < 3 * WIDTH; i++) assert_true(hidden[i] == (float)(15 + i) / 4);
    for (int i = 0; i < V * WIDTH; i++)
        assert_true(kd_store_describe(s)->output[i] == (float)i / 8);
    kd_store_free(s);
    strcat(path, ".h5");
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_store_check_run(s, 9, 2, (int32_t[]){0, 1}));
    assert_ok(kd_store_read_topk_run(s, 0, 7, 3, 0, index, kept, tail));
    assert_true(index[0] == V - 1 && index[1] == V - 2 && kept[0] > kept[1]);
    kd_store_free(s);
}

static void test_python_reads_ours(void **state) {
    (void)state;
    kd_store_header h = make_header(KD_STORE_HIDDEN, KD_STORE_F16);
    make_store(&h);
    if (!run_python(
            "import sys, zlib, numpy as np\n"
            "from teacher_store import read_store\n"
            "head, c = read_store(sys.argv[1])\n"
            "assert head['kind'] == 'hidden' and head['version'] == 2\n"
            "assert head['sequences'] == 1 and head['positions'] == len(c['hidden'])\n"
            "assert c['output'].shape == (37, 5) and c['output'].dtype == np.float16\n"
            "assert zlib.crc32(c['output'].astype('<f4').tobytes()) == head['output_crc32']\n"
            "assert c['length'].tolist() == [1 + i * 7919 % 100003 % 9 for i in range(40)]\n"
            "id = int(c['id'][3]); n = int(c['length'][3])\n"
            "tokens = np.array([(id + t * 31) % 37 for t in range(n)], '<i4')\n"
            "assert zlib.crc32(tokens.tobytes()) == c['label_crc32'][3]\n"))
        skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, remove_folder)
        TEST(test_hidden_runs),
        TEST(test_topk_runs),
        TEST(test_hidden_rows),
        TEST(test_divergence),
        TEST(test_joining),
        TEST(test_refused_by_the_writer),
        TEST(test_resume),
        TEST(test_single_files_and_their_faults),
        TEST(test_damage),
        TEST(test_stores_from_python),
        TEST(test_python_reads_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
