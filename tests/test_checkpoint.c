/* Checkpoints: the same bits come back, or nothing is touched. */
#include "distill/checkpoint.h"
#include "hdf5_folder.h"

static int setup(void **state) {
    (void)state;
    return make_folder("last.h5");
}

/* --- a run to be saved ---------------------------------------------------------------------- */

typedef enum { PLAIN, OTHER_SHAPE, ONE_LESS, ONE_MORE, NOT_TRAINED } variant;

static kd_params *make_params(variant v, uint64_t seed) {
    kd_params *params;
    assert_ok(kd_params_create(&params));
    const int trained = KD_PARAM_TRAINED | KD_PARAM_DECAYED;
    int64_t wide[2] = {v == OTHER_SHAPE ? 6 : 5, 7}, one[1] = {5};
    kd_params_add(params, "fc.weight", 2, wide, KD_INIT_HE_NORMAL, 7, 5, trained);
    if (v != ONE_LESS)
        kd_params_add(params, "fc.bias", 1, one, KD_INIT_HE_NORMAL, 7, 5,
                      v == NOT_TRAINED ? KD_PARAM_STATE : KD_PARAM_TRAINED);
    kd_params_add(params, "bn.mean", 1, one, KD_INIT_HE_NORMAL, 7, 5, KD_PARAM_STATE);
    if (v == ONE_MORE) kd_params_add(params, "more", 1, one, KD_INIT_ZERO, 7, 5, KD_PARAM_TRAINED);
    assert_ok(kd_params_layout(params, seed));
    return params;
}

static kd_checkpoint make_run(variant v, uint64_t seed) {
    kd_checkpoint run = {.params = make_params(v, seed), .moment_count = 2};
    for (int m = 0; m < 2; m++) {
        run.moment[m] = calloc((size_t)run.params->trained_size, sizeof(kd_real));
        assert_non_null(run.moment[m]);
        for (int i = 0; i < run.params->count; i++) {
            const kd_param *p = run.params->list[i];
            if (!(p->flags & KD_PARAM_TRAINED)) continue;
            for (int64_t j = 0; j < p->tensor.size; j++)
                run.moment[m][p->offset + j] = (kd_real)(seed + 1) / (kd_real)(3 + j + m);
        }
    }
    run.state = (kd_progress_state){.step = 12345678901,
                                    .epoch = 3,
                                    .batch = 7,
                                    .dropout = {.key = UINT64_MAX - seed, .counter = 99},
                                    .optimizer_step = 12345,
                                    .best_value = 1.0 / 3,
                                    .best_epoch = 2,
                                    .elapsed = 1e5,
                                    .best_metric = "accuracy"};
    run.key = kd_hash_bytes("key", 3);
    run.config_json = "{\"name\": \"π\"}\n";
    run.stage = "train";
    return run;
}

static void free_run(kd_checkpoint *run) {
    kd_params_free(run->params);
    for (int m = 0; m < KD_MOMENTS_MAX; m++) free(run->moment[m]);
}

static void assert_same_run(const kd_checkpoint *a, const kd_checkpoint *b) {
    size_t slab = (size_t)a->params->slab_size * sizeof(kd_real);
    size_t trained = (size_t)a->params->trained_size * sizeof(kd_real);
    assert_memory_equal(a->params->value, b->params->value, slab);
    for (int m = 0; m < a->moment_count; m++)
        assert_memory_equal(a->moment[m], b->moment[m], trained);
    assert_memory_equal(&a->state, &b->state, sizeof a->state);
}

/* Loading into `run` fails and leaves it as a fresh one of the same variant. */
static void assert_load_refused(kd_checkpoint *run, variant v, uint64_t seed, const char *part) {
    assert_refused(kd_checkpoint_load(path, run), KD_EDATA, part);
    kd_checkpoint fresh = make_run(v, seed);
    assert_same_run(run, &fresh);
    free_run(&fresh);
}

/* --- tests ---------------------------------------------------------------------------------- */

static void test_round_trip(void **state) {
    (void)state;
    kd_checkpoint saved = make_run(PLAIN, 1), loaded = make_run(PLAIN, 2);
    /* Numbers that a conversion would change: NaNs with a payload, −0, a denormal, infinity. */
    kd_real *odd = saved.params->list[0]->tensor.value;
    uint64_t bits = UINT64_C(0x7fa5123400000000) | (sizeof(kd_real) == 4 ? 0x7fa51234 : 0);
    memcpy(&odd[0], &bits, sizeof odd[0]);
    odd[1] = -(kd_real)0;
    odd[2] = (kd_real)ldexp(1, sizeof(kd_real) == 4 ? -149 : -1074);
    odd[3] = (kd_real)-INFINITY;
    memcpy(&saved.moment[1][0], &bits, sizeof(kd_real));
    int64_t version = loaded.params->version;
    assert_ok(kd_checkpoint_save(path, &saved));
    assert_ok(kd_checkpoint_load(path, &loaded));
    assert_same_run(&saved, &loaded);
    assert_true(loaded.params->version > version);
    free_run(&saved);
    free_run(&loaded);
}

static void test_save_over_an_old_one(void **state) {
    (void)state;
    kd_checkpoint first = make_run(PLAIN, 1), second = make_run(PLAIN, 2);
    kd_checkpoint loaded = make_run(PLAIN, 3);
    assert_ok(kd_checkpoint_save(path, &first));
    assert_ok(kd_checkpoint_save(path, &second));
    assert_ok(kd_checkpoint_load(path, &loaded));
    assert_same_run(&second, &loaded);
    char part[160];
    snprintf(part, sizeof part, "%s.part", path);
    assert_false(kd_file_exists(part));
    free_run(&first);
    free_run(&second);
    free_run(&loaded);
}

static void test_without_moments(void **state) {
    (void)state;
    kd_checkpoint saved = make_run(PLAIN, 1), loaded = make_run(PLAIN, 2);
    saved.moment_count = loaded.moment_count = 0;
    saved.config_json = NULL;
    assert_ok(kd_checkpoint_save(path, &saved));
    assert_ok(kd_checkpoint_load(path, &loaded));
    assert_same_run(&saved, &loaded);
    loaded.moment_count = 2;
    assert_refused(kd_checkpoint_load(path, &loaded), KD_EDATA, "has 0 moments");
    free_run(&saved);
    free_run(&loaded);
}

static void test_refuses_another_run(void **state) {
    (void)state;
    kd_checkpoint saved = make_run(PLAIN, 1), run = make_run(PLAIN, 2);
    assert_ok(kd_checkpoint_save(path, &saved));
    run.key = kd_hash_bytes("other", 5);
    char part[128];
    snprintf(part, sizeof part, "its key is %s, this run's %s", saved.key.hex, run.key.hex);
    assert_load_refused(&run, PLAIN, 2, part);
    run.key = saved.key;
    run.stage = "qat";
    assert_load_refused(&run, PLAIN, 2, "is of the stage 'train', not 'qat'");
    free_run(&run);
    static const struct {
        variant v;
        const char *part;
    } other[] = {
        {OTHER_SHAPE, "/params/fc.weight: has shape (5, 7), not (6, 7)"},
        {ONE_LESS, "/params/fc.bias: this network has no such parameter"},
        {ONE_MORE, "/params/more: is missing"},
        {NOT_TRAINED, "/moments/0/fc.bias: this network has no such parameter"},
    };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        run = make_run(other[i].v, 2);
        assert_load_refused(&run, other[i].v, 2, other[i].part);
        free_run(&run);
    }
    free_run(&saved);
}

static void test_refuses_other_files(void **state) {
    (void)state;
    kd_checkpoint run = make_run(PLAIN, 2);
    hid_t file;
    assert_refused(kd_checkpoint_load(path, &run), KD_ENOINPUT, "last.h5: cannot open");
    test_write(path, "not a checkpoint", 16);
    assert_load_refused(&run, PLAIN, 2, "not an HDF5 file");
    assert_ok(kd_h5_create(&file, path));
    assert_ok(kd_h5_set_string(file, "schema", "distill-teacher-store"));
    assert_ok(kd_h5_commit(file, path));
    assert_load_refused(&run, PLAIN, 2, "is a 'distill-teacher-store', not a checkpoint");
    assert_ok(kd_h5_create(&file, path));
    assert_ok(kd_h5_set_string(file, "schema", "distill-checkpoint"));
    assert_ok(kd_h5_set_int(file, "version", 3));
    assert_ok(kd_h5_commit(file, path));
    assert_load_refused(&run, PLAIN, 2, "of version 3; this program reads versions 1 to 2");
    assert_ok(kd_h5_create(&file, path));
    assert_ok(kd_h5_set_string(file, "schema", "distill-checkpoint"));
    assert_ok(kd_h5_set_int(file, "version", 1));
    assert_ok(kd_h5_set_string(file, "dtype", "float128"));
    assert_ok(kd_h5_commit(file, path));
    assert_load_refused(&run, PLAIN, 2, "holds float128 numbers");
    free_run(&run);
}

/* The saved file's bytes; the caller frees. */
static char *saved_bytes(size_t *length) {
    kd_checkpoint saved = make_run(PLAIN, 1);
    char *bytes;
    assert_ok(kd_checkpoint_save(path, &saved));
    assert_ok(kd_file_read(&bytes, length, path, SIZE_MAX));
    free_run(&saved);
    return bytes;
}

static void test_every_truncation(void **state) {
    (void)state;
    size_t length;
    char *bytes = saved_bytes(&length);
    kd_checkpoint run = make_run(PLAIN, 2);
    for (size_t cut = 0; cut < length; cut += thoroughly() ? 1 : 1 + length / 400) {
        test_write(path, bytes, cut);
        if (kd_checkpoint_load(path, &run) != KD_EDATA || !kd_error()[0])
            fail_msg("cut to %zu of %zu bytes", cut, length);
    }
    test_write(path, bytes, length / 2);
    assert_int_equal(truncate(path, (off_t)length), 0); /* the length back, as zeros */
    assert_load_refused(&run, PLAIN, 2, "damaged");
    free_run(&run);
    free(bytes);
}

/* All over the file. */
static void test_single_bit_flips(void **state) {
    (void)state;
    size_t length;
    char *bytes = saved_bytes(&length);
    kd_checkpoint run = make_run(PLAIN, 2);
    size_t step = 8 * length / (thoroughly() ? 12000 : 600) | 1;
    for (size_t bit = 0; bit < 8 * length; bit += step) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        test_write(path, bytes, length);
        if (kd_checkpoint_load(path, &run) != KD_EDATA) fail_msg("bit %zu was not noticed", bit);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    kd_checkpoint fresh = make_run(PLAIN, 2);
    assert_same_run(&run, &fresh);
    free_run(&fresh);
    test_write(path, bytes, length);
    assert_ok(kd_checkpoint_load(path, &run));
    free_run(&run);
    free(bytes);
}

/* What other programs leave when they write a checkpoint anew: the HDF5 data without their seal. */
static void cut_seal_off(const char *from) {
    char *bytes;
    size_t length;
    assert_ok(kd_file_read(&bytes, &length, from, SIZE_MAX));
    test_write(path, bytes + 512, length - 512);
    free(bytes);
}

static void test_without_a_seal(void **state) {
    (void)state;
    static const char says[] = "last.h5: has no seal";
    kd_checkpoint run = make_run(PLAIN, 2);
    char *text, stage[KD_STAGE_MAX];
    hid_t file;
    free(saved_bytes(&(size_t){0}));
    cut_seal_off(path);
    assert_ok(kd_h5_open(&file, path)); /* sound HDF5 all the same */
    assert_false(kd_h5_is_sealed(file));
    kd_h5_close(file);
    assert_load_refused(&run, PLAIN, 2, says);
    assert_refused(kd_checkpoint_check(path, &run), KD_EDATA, says);
    assert_refused(kd_checkpoint_origin(&text, path), KD_EDATA, says);
    assert_refused(kd_checkpoint_config(&text, stage, path), KD_EDATA, says);
    assert_refused(kd_checkpoint_load_params(path, run.params, NULL), KD_EDATA, says);
    kd_checkpoint fresh = make_run(PLAIN, 2);
    assert_same_run(&run, &fresh);
    free_run(&fresh);
    free_run(&run);
}

static bool is_one_more(const char *name) {
    return strcmp(name, "more") == 0;
}

static void test_load_params(void **state) {
    (void)state;
    kd_checkpoint saved = make_run(ONE_MORE, 1);
    assert_ok(kd_checkpoint_save(path, &saved));
    kd_params *plain = make_params(PLAIN, 2), *before = make_params(PLAIN, 2);
    assert_refused(kd_checkpoint_load_params(path, plain, NULL), KD_EDATA,
                   "more: this network has no such parameter");
    assert_memory_equal(plain->value, before->value, (size_t)plain->slab_size * sizeof(kd_real));
    assert_ok(kd_checkpoint_load_params(path, plain, is_one_more));
    for (int i = 0; i < plain->count; i++) {
        const kd_param *p = plain->list[i], *from = kd_params_find(saved.params, p->name);
        assert_memory_equal(p->tensor.value, from->tensor.value,
                            (size_t)p->tensor.size * sizeof(kd_real));
    }
    kd_params_free(plain);
    /* The other way one is missing. */
    kd_checkpoint less = make_run(ONE_LESS, 3);
    assert_ok(kd_checkpoint_save(path, &less));
    plain = make_params(PLAIN, 2);
    assert_refused(kd_checkpoint_load_params(path, plain, is_one_more), KD_EDATA,
                   "fc.bias: is missing");
    assert_memory_equal(plain->value, before->value, (size_t)plain->slab_size * sizeof(kd_real));
    kd_params_free(plain);
    kd_params_free(before);
    free_run(&saved);
    free_run(&less);
    /* A network that shares nothing: everything is named at once. */
    assert_ok(kd_params_create(&plain));
    kd_params_add(plain, "stem", 1, (int64_t[]){3}, KD_INIT_ZERO, 1, 1, KD_PARAM_TRAINED);
    assert_ok(kd_params_layout(plain, 0));
    assert_refused(kd_checkpoint_load_params(path, plain, NULL), KD_EDATA, "stem: is missing");
    assert_refused(kd_checkpoint_load_params(path, plain, NULL), KD_EDATA,
                   "fc.weight: this network has no such parameter");
    kd_params_free(plain);
}

static void test_params_hash(void **state) {
    (void)state;
    kd_params *a = make_params(PLAIN, 1), *b = make_params(PLAIN, 1),
              *less = make_params(ONE_LESS, 1);
    kd_hash first, second;
    assert_ok(kd_params_hash(&first, a));
    assert_ok(kd_params_hash(&second, b));
    assert_string_equal(first.hex, second.hex);
    kd_params_find(b, "bn.mean")->tensor.value[4] += 1;
    assert_ok(kd_params_hash(&second, b));
    assert_string_not_equal(first.hex, second.hex);
    assert_ok(kd_params_hash(&second, less));
    assert_string_not_equal(first.hex, second.hex);
    memcpy(kd_params_find(a, "bn.mean")->name, "bn.moan", 7);
    assert_ok(kd_params_hash(&second, a));
    assert_string_not_equal(first.hex, second.hex);
    kd_params_free(a);
    kd_params_free(b);
    kd_params_free(less);
}

/* A file of version 1, whose best value was an accuracy: make_run(PLAIN, 1), written by 0.2. */
static const char golden[] = "tests/golden/checkpoint_v1.h5";

static void test_reads_version_1(void **state) {
    (void)state;
    kd_checkpoint wanted = make_run(PLAIN, 1), loaded = make_run(PLAIN, 2);
    if (sizeof(kd_real) == sizeof(float)) {
        assert_ok(kd_checkpoint_load(golden, &loaded));
        assert_same_run(&wanted, &loaded);
    } else {
        assert_refused(kd_checkpoint_load(golden, &loaded), KD_EDATA, "holds float32 numbers");
    }
    free_run(&wanted);
    free_run(&loaded);
}

/* Its seal stands for its own checksums. */
static void test_damaged_version_1(void **state) {
    (void)state;
    kd_checkpoint run = make_run(PLAIN, 2);
    char *bytes;
    size_t length;
    assert_ok(kd_file_read(&bytes, &length, golden, SIZE_MAX));
    for (size_t bit = 0; bit < 8 * length; bit += thoroughly() ? 7 : 601) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        test_write(path, bytes, length);
        if (kd_checkpoint_load(path, &run) != KD_EDATA) fail_msg("bit %zu was not noticed", bit);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    cut_seal_off(golden);
    assert_load_refused(&run, PLAIN, 2, "last.h5: has no seal");
    free_run(&run);
    free(bytes);
}

/* Another reader, from outside of this project. */
static void test_h5py_reads_it(void **state) {
    (void)state;
    if (system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0) {
        printf("SKIP reading a checkpoint with h5py: python3-h5py is not installed\n");
        skip();
    }
    kd_checkpoint saved = make_run(PLAIN, 1);
    assert_ok(kd_checkpoint_save(path, &saved));
    char command[1024];
    const kd_param *bias = kd_params_find(saved.params, "fc.bias");
    snprintf(command, sizeof command,
             "/usr/bin/python3 -c 'import h5py\n"
             "f = h5py.File(\"%s\")\n"
             "assert f.attrs[\"step\"] == 12345678901 and f.attrs[\"best_value\"] == 1 / 3\n"
             "assert f.attrs[\"best_metric\"] == b\"accuracy\"\n"
             "assert f.attrs[\"config\"].decode() == \"{\\\"name\\\": \\\"π\\\"}\\n\"\n"
             "assert f[\"params/fc.weight\"].shape == (5, 7)\n"
             "assert float(f[\"params/fc.bias\"][2]) == %.17g\n"
             "assert sorted(f[\"moments/1\"]) == [\"fc.bias\", \"fc.weight\"]\n'",
             path, (double)bias->tensor.value[2]);
    assert_int_equal(system(command), 0);
    free_run(&saved);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, remove_folder)
        TEST(test_round_trip),          TEST(test_save_over_an_old_one),
        TEST(test_without_moments),     TEST(test_refuses_another_run),
        TEST(test_refuses_other_files), TEST(test_every_truncation),
        TEST(test_single_bit_flips),    TEST(test_without_a_seal),
        TEST(test_load_params),         TEST(test_params_hash),
        TEST(test_reads_version_1),     TEST(test_damaged_version_1),
        TEST(test_h5py_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
