/* Parameters in files by a table of names: a model that is not Whisper, with every order of
 * numbers, through GGUF, records and safetensors. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "files/folder_weights.h"
#include "files/ggml_records.h"
#include "files/gguf_params.h"

enum { PARAMS = 5 };

/* Our names, shapes, and what they are in the file. */
static const struct {
    const char *ours, *theirs;
    int rank;
    int64_t shape[4];
    int file_rank;
    int64_t file_shape[4]; /* slowest first */
    const char *beside_q8; /* the format beside matrices in q8_0 */
} want[PARAMS] = {
    {"block.3.up.weight", "model.blk.3.ffn_up.weight", 2, {6, 32}, 2, {6, 32}, "q8_0"},
    {"block.3.up.bias", "model.blk.3.ffn_up.bias", 1, {6}, 1, {6}, "f32"},
    {"stem.weight", "model.conv.weight", 4, {2, 3, 5, 4}, 4, {2, 4, 3, 5}, "f16"},
    {"stem.bias", "model.conv.bias", 1, {7}, 2, {7, 1}, "f32"},
    {"table", "table", 2, {3, 32}, 2, {3, 32}, "f32"},
};

static const kd_name_row ROWS[] = {
    {"block.*.up.*", "model.blk.*.ffn_up.*", KD_ORDER_OURS, KD_WRITTEN_AS_CHOSEN},
    {"block.*.*.*", "model.never", KD_ORDER_OURS, KD_WRITTEN_AS_CHOSEN}, /* the first row decides */
    {"stem.weight", "model.conv.weight", KD_ORDER_CHANNELS_FIRST, KD_WRITTEN_AS_HALVES},
    {"stem.bias", "model.conv.bias", KD_ORDER_COLUMN, KD_WRITTEN_IN_FULL},
    {"stem", "model.never", KD_ORDER_OURS, KD_WRITTEN_AS_CHOSEN}, /* whole names only */
    {"stem.bias.*", "model.never", KD_ORDER_OURS, KD_WRITTEN_AS_CHOSEN},
    {"table", NULL, KD_ORDER_OURS, KD_WRITTEN_IN_FULL},
};
static const kd_names NAMES = {ROWS, sizeof ROWS / sizeof *ROWS, "model.", NULL};

/* Number k of parameter p is p + k/256, which half precision holds. */
static kd_params *make_params(bool filled) {
    kd_params *params;
    assert_ok(kd_params_create(&params));
    for (int i = 0; i < PARAMS; i++)
        assert_non_null(kd_params_add(params, want[i].ours, want[i].rank, want[i].shape,
                                      KD_INIT_ZERO, 0, 0, KD_PARAM_STATE));
    assert_ok(kd_params_layout(params, 0));
    for (int i = 0; i < PARAMS && filled; i++) {
        kd_tensor *t = &params->list[i]->tensor;
        for (int64_t k = 0; k < t->size; k++) t->value[k] = (kd_real)(i + (double)k / 256);
    }
    return params;
}

/* That `back` has the numbers of make_params, within `bound` of a tensor's largest where the matrix
 * alone was rounded. */
static void assert_back(const kd_params *back, double bound) {
    for (int i = 0; i < PARAMS; i++) {
        const kd_tensor *t = &back->list[i]->tensor;
        const double allowed = i == 0 ? bound : 0;
        for (int64_t k = 0; k < t->size; k++)
            assert_true(fabs((double)t->value[k] - (i + (double)k / 256)) <= allowed);
    }
}

static void a_table_gives_name_shape_and_format(void **state) {
    (void)state;
    kd_params *params = make_params(false);
    for (int i = 0; i < PARAMS; i++) {
        kd_named named;
        kd_names_find(&named, &NAMES, params->list[i]);
        assert_string_equal(named.name, want[i].theirs);
        assert_int_equal(named.rank, want[i].file_rank);
        for (int k = 0; k < named.rank; k++)
            assert_int_equal(named.shape[k], want[i].file_shape[k]);
        assert_string_equal(kd_named_format(&named, &kd_format_q8_0)->name, want[i].beside_q8);
        assert_ptr_equal(kd_named_format(&named, &kd_format_f32), &kd_format_f32);
    }
    kd_params_free(params);
}

/* Number (o,h,w,i) of the convolution lies at (o,i,h,w). */
static void channels_lie_first(void **state) {
    (void)state;
    kd_params *params = make_params(true);
    float values[2 * 3 * 5 * 4];
    kd_param_get(values, params->list[2], KD_ORDER_CHANNELS_FIRST);
    for (int o = 0; o < 2; o++)
        for (int h = 0; h < 3; h++)
            for (int w = 0; w < 5; w++)
                for (int i = 0; i < 4; i++)
                    assert_true(
                        values[((o * 4 + i) * 3 + h) * 5 + w] ==
                        (float)params->list[2]->tensor.value[((o * 3 + h) * 5 + w) * 4 + i]);
    kd_params_free(params);
}

static const kd_number_format *rule(const kd_param *param, const kd_number_format *matrices) {
    kd_named named;
    kd_names_find(&named, &NAMES, param);
    return kd_named_format(&named, matrices);
}

/* The caller frees. */
static kd_encoding *encodings(const kd_params *params, const kd_number_format *matrices) {
    kd_encoding *how;
    assert_ok(kd_encodings_nearest(&how, params, rule, matrices));
    return how;
}

static void through_gguf(void **state) {
    static const kd_number_format *const formats[] = {&kd_format_f32, &kd_format_q8_0,
                                                      &kd_format_int8};
    const char *path = test_path(*state, "toy.gguf");
    const float extra[2] = {1, 2};
    const kd_gguf_array first = {"first", 1, {2}, extra};
    for (int f = 0; f < 3; f++) {
        kd_params *params = make_params(true), *back = make_params(false);
        kd_gguf_writer *w;
        kd_gguf *g;
        kd_file_map map;
        kd_stored list[PARAMS] = {{0}};
        kd_encoding *how = encodings(params, formats[f]);
        assert_ok(kd_gguf_writer_create(&w, "toy"));
        assert_ok(kd_gguf_write_params(path, w, &first, params, &NAMES, how));
        free(how);
        assert_ok(kd_file_map_open(&map, path));
        assert_ok(kd_gguf_parse(&g, map.bytes, map.length, path));
        assert_ok(kd_gguf_list_params(list, g, back, &NAMES, 1, path));
        for (int i = 0; i < PARAMS; i++) assert_int_equal(list[i].scales != NULL, f == 2 && i == 0);
        assert_ok(kd_stored_load(back, list, path));
        assert_back(back, f ? 0.6 / 127 * (191.0 / 256) : 0);
        assert_refused(kd_gguf_list_params(list, g, back, &NAMES, 0, path), KD_EDATA,
                       f == 2 ? "7 tensors; a model of these sizes has 6"
                              : "6 tensors; a model of these sizes has 5");
        kd_gguf_free(g);
        kd_file_map_close(&map);
        kd_gguf_writer_free(w);
        kd_params_free(back);
        kd_params_free(params);
    }
}

static void through_records(void **state) {
    const char *path = test_path(*state, "toy.bin");
    kd_params *params = make_params(true), *back = make_params(false);
    kd_ggml_sink sink = {.file = fopen(path, "wb"), .path = path};
    kd_file_map map;
    kd_stored list[PARAMS];
    assert_non_null(sink.file);
    kd_ggml_put_int(&sink, 7);
    kd_encoding *how = encodings(params, &kd_format_q8_0);
    kd_ggml_records_write(&sink, params, &NAMES, how);
    free(how);
    assert_ok(sink.status);
    assert_int_equal(fclose(sink.file), 0);
    assert_ok(kd_file_map_open(&map, path));
    kd_ggml_source source = {path, map.bytes, map.length, sizeof(int32_t)};
    assert_ok(kd_ggml_records_list(list, &source, back, &NAMES));
    for (int i = 0; i < PARAMS; i++) assert_string_equal(list[i].format->name, want[i].beside_q8);
    assert_ok(kd_stored_load(back, list, path));
    assert_back(back, 0.6 / 127 * (191.0 / 256));
    kd_file_map_close(&map);
    kd_params_free(back);
    kd_params_free(params);
}

static void through_shards(void **state) {
    const char *folder = test_path(*state, "");
    kd_params *params = make_params(true), *back = make_params(false);
    kd_folder_weights *shards;
    kd_stored list[PARAMS];
    const kd_packing plain = {.layout = KD_LAYOUT_PLAIN};
    assert_refused(kd_folder_weights_open(&shards, folder), KD_ENOINPUT, "neither");
    assert_ok(kd_folder_weights_write(folder, params, &NAMES, &kd_format_f16));
    assert_ok(kd_folder_weights_open(&shards, folder));
    assert_true(kd_folder_weights_have(shards, "model.conv.bias"));
    assert_ok(kd_folder_weights_list(list, shards, back, &NAMES, NULL, &plain));
    assert_ok(kd_stored_load(back, list, folder));
    assert_back(back, 0);
    /* what repeats a parameter is no parameter itself */
    const kd_repeated other = {"model.conv.bias", back->list[1], "as it should be", NULL};
    assert_refused(kd_folder_weights_list(list, shards, back, &NAMES, &other, &plain), KD_EDATA,
                   "4 tensors; a model of this config.json has 5");
    kd_folder_weights_close(shards);
    kd_params_free(back);
    kd_params_free(params);
}

/* What is in a mapped file is what is on the disk; nothing, a folder and an empty file. */
static void files_are_mapped(void **state) {
    const char *path = test_path(*state, "some");
    kd_file_map map;
    assert_refused(kd_file_map_open(&map, path), KD_ENOINPUT, "some: cannot open");
    assert_int_equal(map.length, 0);
    test_write(path, "abc", 3);
    assert_ok(kd_file_map_open(&map, path));
    assert_int_equal(map.length, 3);
    assert_memory_equal(map.bytes, "abc", 3);
    kd_file_map_close(&map);
    kd_file_map_close(&map);
    test_write(path, "", 0);
    assert_ok(kd_file_map_open(&map, path));
    assert_int_equal(map.length, 0);
    kd_file_map_close(&map);
    assert_refused(kd_file_map_open(&map, test_path(*state, "")), KD_ENOINPUT, "regular file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_gives_name_shape_and_format),
        cmocka_unit_test(channels_lie_first),
        cmocka_unit_test_setup_teardown(through_gguf, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(through_records, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(through_shards, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(files_are_mapped, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
