/* Stores of draws: what was drawn comes back, its mean is the teacher's distribution, a position
 * takes three bytes for each different class, and what cannot have been drawn is refused. */
#include <math.h>

#include "base/rng.h"
#include "data/store.h"
#include "hdf5_folder.h"
#include "store_answers.h"

enum { V = 37, DRAWS = 50, SAMPLES = 30, LONGEST = 9 };

static int setup(void **state) {
    (void)state;
    return make_folder("store");
}

static int64_t length_of(uint64_t id) {
    return 1 + (int64_t)(id % LONGEST);
}

static void make_logits(uint64_t id, float *logits) {
    kd_rng rng = kd_rng_init(id, 1);
    for (int64_t i = 0; i < length_of(id) * V; i++) logits[i] = 3 * (float)kd_rng_normal(&rng);
}

static kd_store_header make_header(int draws, double temperature) {
    return (kd_store_header){.kind = KD_STORE_SAMPLED,
                             .sequences = true,
                             .classes = V,
                             .draws = draws,
                             .seed = 5,
                             .temperature_count = 1,
                             .temperature = {temperature},
                             .views = 1};
}

static kd_store *make_store(const kd_store_header *h) {
    float logits[LONGEST * V];
    const int32_t label[LONGEST] = {0};
    kd_store_writer *w;
    kd_store *s;
    int64_t done;
    assert_ok(kd_file_remove_matching(path, (const char *const[]){"*.h5", NULL}));
    assert_ok(kd_store_writer_open(&w, path, h, SAMPLES, &done));
    for (uint64_t id = 0; id < SAMPLES; id++) {
        make_logits(id, logits);
        assert_ok(append_run_answers(w, h, 0, id, length_of(id), label, logits));
    }
    assert_ok(kd_store_writer_close(w));
    assert_ok(kd_store_open(&s, path));
    return s;
}

/* p = softmax(v/τ) of a position */
static void make_shares(double *p, const float *logits, double temperature) {
    double sum = 0;
    for (int v = 0; v < V; v++) sum += p[v] = exp(logits[v] / temperature);
    for (int v = 0; v < V; v++) p[v] /= sum;
}

/* --- what goes in comes out ------------------------------------------------------------------ */

static void test_draws(void **state) {
    (void)state;
    const kd_store_header h = make_header(DRAWS, 1);
    kd_store *s = make_store(&h);
    const kd_store_header *read = kd_store_describe(s);
    assert_true(read->kind == KD_STORE_SAMPLED && read->draws == DRAWS && read->classes == V);
    assert_int_equal(kd_store_temperature_index(read, 1), 0);
    int64_t different = 0;
    for (uint64_t id = SAMPLES; id-- > 0;) {
        int32_t index[LONGEST * DRAWS];
        float share[LONGEST * DRAWS];
        kd_store_expect(s, 0, id);
        assert_ok(kd_store_read_sampled(s, 0, id, length_of(id), index, share));
        for (int64_t t = 0; t < length_of(id); t++) {
            const int32_t *class = index + t * DRAWS;
            const float *of = share + t * DRAWS;
            double sum = 0;
            int n = 0;
            for (; n < DRAWS && of[n] > 0; n++) {
                assert_true(class[n] >= 0 && class[n] < V && (n == 0 || class[n] > class[n - 1]));
                assert_true(fabs(of[n] * DRAWS - round(of[n] * DRAWS)) < 1e-5);
                sum += of[n];
            }
            assert_true(n >= 1 && fabs(sum - 1) < 1e-5);
            different += n;
            for (; n < DRAWS; n++) assert_true(class[n] == 0 && of[n] == 0);
        }
    }
    assert_int_equal(kd_store_drawn(s), different);
    assert_true(different < kd_store_positions(s) * 20); /* of peaked rows many come up again */
    assert_refused(kd_store_read_sampled(s, 0, 8, 8, NULL, NULL), KD_EDATA, "do not belong");
    kd_store_free(s);
}

/* The same seed draws the same, whatever else is drawn; another seed does not. */
static void test_seeds(void **state) {
    (void)state;
    unsigned char packed[3][LONGEST * DRAWS * 3];
    float logits[LONGEST * V];
    kd_store_header h = make_header(DRAWS, 1);
    make_logits(8, logits);
    memset(packed, 0, sizeof packed);
    assert_int_equal(kd_store_packed_bytes(&h, LONGEST), sizeof *packed);
    for (int i = 0; i < 3; i++) {
        h.seed = 5 + (uint64_t)(i == 2);
        assert_ok(kd_store_pack(packed[i], &h, 9, &(uint64_t){8}, 0, logits));
    }
    assert_memory_equal(packed[0], packed[1], sizeof *packed);
    assert_memory_not_equal(packed[0], packed[2], sizeof *packed);
}

/* Pearson's χ² of all draws of one distribution, which has V − 1 degrees of freedom. */
static void test_are_without_bias(void **state) {
    (void)state;
    enum { TIMES = 4000 };
    for (double temperature = 1; temperature <= 2; temperature++) {
        const kd_store_header h = make_header(DRAWS, temperature);
        float logits[LONGEST * V];
        double p[V], count[V] = {0}, chi = 0;
        unsigned char packed[DRAWS * 3];
        make_logits(0, logits);
        make_shares(p, logits, temperature);
        for (uint64_t id = 0; id < TIMES; id++) {
            assert_ok(kd_store_pack(packed, &h, 1, &id, 0, logits));
            for (int drawn = 0, at = 0; drawn < DRAWS; at += 3) {
                const int code = packed[at] | packed[at + 1] << 8 | packed[at + 2] << 16;
                count[code % V] += code / V + 1;
                drawn += code / V + 1;
            }
        }
        for (int v = 0; v < V; v++)
            chi += pow(count[v] - p[v] * TIMES * DRAWS, 2) / (p[v] * TIMES * DRAWS);
        print_message("chi square at %g: %.1f, expected %d\n", temperature, chi, V - 1);
        assert_true(chi < V - 1 + 4 * sqrt(2 * (V - 1)));
    }
}

static double divergence(int draws) {
    const kd_store_header h = make_header(draws, 1);
    kd_store *s = make_store(&h);
    double sum = 0, one;
    for (uint64_t id = 0; id < SAMPLES; id++) {
        float logits[LONGEST * V];
        make_logits(id, logits);
        assert_ok(kd_store_divergence(&one, s, 0, id, length_of(id), 1, logits));
        assert_true(one >= 0);
        sum += one / SAMPLES;
    }
    kd_store_free(s);
    return sum;
}

/* It falls as the draws grow: to about (different classes)/(2·draws). */
static void test_divergence(void **state) {
    (void)state;
    const double few = divergence(10), many = divergence(1000);
    assert_true(many < few / 5 && many > 0.001 && many < 0.02);
}

/* --- what is refused ------------------------------------------------------------------------- */

static void test_refused_by_the_writer(void **state) {
    (void)state;
    kd_store_writer *w;
    int64_t done;
    kd_store_header h = make_header(DRAWS, 1);
    h.sequences = false;
    assert_refused(kd_store_writer_open(&w, path, &h, 1, &done), KD_ECONFIG, "for sequences");
    h = make_header(0, 1);
    assert_refused(kd_store_writer_open(&w, path, &h, 1, &done), KD_ECONFIG, "0 draws");
    h = make_header(DRAWS, 1);
    h.classes = 1 << 20;
    assert_refused(kd_store_writer_open(&w, path, &h, 1, &done), KD_ECONFIG,
                   "draws times classes at most 16777216");
    h = make_header(DRAWS, 1);
    h.temperature_count = 2;
    assert_refused(kd_store_writer_open(&w, path, &h, 1, &done), KD_ECONFIG, "2 temperatures");
    h = make_header(DRAWS, 0);
    assert_refused(kd_store_writer_open(&w, path, &h, 1, &done), KD_ECONFIG, "not a temperature");
}

typedef enum {
    FINE,
    COUNTS_SHORT,
    COUNT_ZERO,
    FALLING,
    TWICE,
    TOO_MANY,
    TOO_FEW,
    ROW_LONG,
    NOT_BYTES,
    NO_COUNTS,
    TWO_TEMPERATURES,
    NO_SEQUENCES,
    HUGE_DRAWS,
    HUGE_DRAWN,
    OLD_VERSION
} fault;

/* Runs of 2 and 1 positions, four draws each: classes 3, 3, 3, 9; 5, 6, 7, 7; 1 four times. */
static void make_single(fault f) {
    const int32_t length[2] = {2, 1};
    int32_t counts[2] = {5, 1};
    struct {
        int class, count;
    } drawn[6] = {{3, 3}, {9, 1}, {5, 1}, {6, 1}, {7, 2}, {1, 4}};
    unsigned char bytes[6 * 3];
    if (f == COUNTS_SHORT) counts[1] = 0, counts[0] = 5;
    if (f == COUNT_ZERO) counts[0] = 0;
    if (f == FALLING) drawn[1].class = 2;
    if (f == TWICE) drawn[3].class = 5;
    if (f == TOO_MANY) drawn[1].count = 2;
    if (f == TOO_FEW) drawn[4].count = 1;
    if (f == ROW_LONG) counts[0] = 4, counts[1] = 2;
    for (int i = 0; i < 6; i++)
        for (int b = 0; b < 3; b++)
            bytes[3 * i + b] =
                (unsigned char)((drawn[i].class + V * (drawn[i].count - 1)) >> 8 * b);
    hid_t file;
    assert_ok(kd_h5_create(&file, path));
    assert_ok(kd_h5_set_string(file, "schema", "distill-teacher-store"));
    assert_ok(kd_h5_set_int(file, "version", f == OLD_VERSION ? 2 : 3));
    assert_ok(kd_h5_set_string(file, "kind", "sampled"));
    assert_ok(kd_h5_set_string(file, "dtype", "float16"));
    assert_ok(kd_h5_set_int(file, "classes", V));
    assert_ok(kd_h5_set_int(file, "draws", f == HUGE_DRAWS ? 1 << 20 : 4));
    assert_ok(
        kd_h5_set_doubles(file, "temperatures", 1 + (f == TWO_TEMPERATURES), (double[]){1, 2}));
    if (f != NO_SEQUENCES) assert_ok(kd_h5_set_int(file, "sequences", 1));
    assert_ok(kd_h5_set_int(file, "rows", 2));
    assert_ok(kd_h5_set_int(file, "positions", 3));
    assert_ok(kd_h5_set_int(file, "drawn", f == HUGE_DRAWN ? (int64_t)1 << 40 : 6));
    put_set(file, "id", 1, 2, 1, H5T_NATIVE_UINT64, (uint64_t[]){4, 1}, 16, 0);
    put_set(file, "length", 1, 2, 1, H5T_NATIVE_INT32, length, sizeof length, 0);
    put_set(file, "label_crc32", 1, 2, 1, H5T_NATIVE_UINT32, (uint32_t[]){0, 0}, 8, 0);
    if (f != NO_COUNTS)
        put_set(file, "counts", 1, 2, 1, H5T_NATIVE_INT32, counts, sizeof counts, 0);
    put_set(file, "drawn", 2, 6, 3, f == NOT_BYTES ? H5T_NATIVE_INT8 : H5T_NATIVE_UINT8, bytes,
            sizeof bytes, 0);
    assert_ok(kd_h5_commit(file, path));
}

static void test_single_files_and_their_faults(void **state) {
    (void)state;
    static const struct {
        fault f;
        const char *part;
    } faults[] = {
        {COUNTS_SHORT, "row 1 (sample 1): has a count that does not fit /drawn"},
        {COUNT_ZERO, "row 0 (sample 4): has a count that does not fit /drawn"},
        {FALLING, "row 0 (sample 4): has drawn classes that do not rise"},
        {TWICE, "row 0 (sample 4): has drawn classes that do not rise"},
        {TOO_MANY, "row 0 (sample 4): has more draws than /draws"},
        {TOO_FEW, "row 0 (sample 4): has fewer draws than positions"},
        {ROW_LONG, "row 0 (sample 4): has fewer draws than positions"},
        {NOT_BYTES, "/drawn: must be uint8"},
        {NO_COUNTS, "/counts: is missing"},
        {TWO_TEMPERATURES, "draws are made at one"},
        {NO_SEQUENCES, "draws are for sequences"},
        {HUGE_DRAWS, "/draws is 1048576, must be 1 to 4096"},
        {HUGE_DRAWN, "/counts: sums to 6 classes, /drawn says 1099511627776"},
        {OLD_VERSION, "/kind is 'sampled', must be 'dense', 'topk' or 'hidden'"},
    };
    kd_store *s;
    int32_t index[8];
    float share[8];
    make_single(FINE);
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_store_read_sampled(s, 0, 4, 2, index, share));
    assert_memory_equal(index, ((int32_t[]){3, 9, 0, 0, 5, 6, 7, 0}), sizeof index);
    assert_memory_equal(share, ((float[]){0.75f, 0.25f, 0, 0, 0.25f, 0.25f, 0.5f, 0}),
                        sizeof share);
    kd_store_free(s);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        make_single(faults[i].f);
        assert_refused(kd_store_open(&s, path), KD_EDATA, faults[i].part);
        assert_null(s);
    }
}

/* Changed behind an open store's back: refused when it is read, and nothing is read beyond. */
static void test_changed_meanwhile(void **state) {
    (void)state;
    kd_store *s;
    int32_t index[8];
    float share[8];
    char *bytes;
    size_t length;
    make_single(FINE);
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_file_read(&bytes, &length, path, SIZE_MAX));
    const unsigned char drawn[6] = {3 + 2 * V, 0, 0, 9, 0, 0};
    char *at = memmem(bytes, length, drawn, sizeof drawn);
    assert_non_null(at);
    at[1] = (char)0xff;
    test_write(path, bytes, length);
    assert_refused(kd_store_read_sampled(s, 0, 4, 2, index, share), KD_EDATA, "was changed");
    at[1] = 0;
    at[0] = 3; /* once */
    test_write(path, bytes, length);
    assert_refused(kd_store_read_sampled(s, 0, 4, 2, index, share), KD_EDATA, "was changed");
    free(bytes);
    kd_store_free(s);
}

static void test_damage(void **state) {
    (void)state;
    const kd_store_header h = make_header(DRAWS, 1);
    char *bytes;
    size_t length;
    kd_store *s = make_store(&h);
    kd_store_free(s);
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
    if (!run_python("import sys, numpy as np\n"
                    "from teacher_store import write_store\n"
                    "logits = np.random.default_rng(1).normal(size=(8, 37)) * 3\n"
                    "write_store(sys.argv[1], [9, 2, 7, 4], np.arange(8), logits, kind='sampled',\n"
                    "            draws=200, temperatures=[2], lengths=[2, 1, 3, 2], seed=4,\n"
                    "            shard_rows=3)\n"))
        skip();
    kd_store *s;
    int32_t index[3 * 200];
    float share[3 * 200], sum = 0;
    assert_ok(kd_store_open(&s, path));
    assert_ok(kd_store_check_run(s, 7, 3, (int32_t[]){3, 4, 5}));
    assert_ok(kd_store_read_sampled(s, 0, 7, 3, index, share));
    for (int i = 0; i < 3 * 200; i++) sum += share[i];
    assert_true(fabsf(sum - 3) < 1e-4f);
    kd_store_free(s);
}

static void test_python_reads_ours(void **state) {
    (void)state;
    const kd_store_header h = make_header(DRAWS, 1);
    kd_store *s = make_store(&h);
    int32_t index[LONGEST * DRAWS];
    float share[LONGEST * DRAWS];
    char program[1024];
    assert_ok(kd_store_read_sampled(s, 0, 8, LONGEST, index, share));
    snprintf(
        program, sizeof program,
        "import sys, numpy as np\n"
        "from teacher_store import read_store, drawn_classes\n"
        "head, c = read_store(sys.argv[1])\n"
        "position, classes, counts = drawn_classes(c['drawn'], head['classes'], head['draws'])\n"
        "first = c['length'][:8].sum()\n"
        "mine = position == first\n"
        "assert classes[mine][0] == %d and counts[mine][0] == %d, classes[mine]\n"
        "assert position[-1] + 1 == c['length'].sum()\n",
        (int)index[0], (int)lrintf(share[0] * DRAWS));
    kd_store_free(s);
    if (!run_python(program)) skip();
}

int main(void) {
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_draws),
        WITH_FOLDER(test_seeds),
        WITH_FOLDER(test_are_without_bias),
        WITH_FOLDER(test_divergence),
        WITH_FOLDER(test_refused_by_the_writer),
        WITH_FOLDER(test_single_files_and_their_faults),
        WITH_FOLDER(test_changed_meanwhile),
        WITH_FOLDER(test_damage),
        WITH_FOLDER(test_stores_from_python),
        WITH_FOLDER(test_python_reads_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
