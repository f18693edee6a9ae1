/* Whisper models in files: what is written is read back, and nothing broken is let through. */
#include "test_data.h"

#include "change_text.h"
#include "files/safetensors_write.h"
#include "whisper_tiny.h"

static void bins_come_back(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back;
    const char *path = test_path(*state, "tiny.bin");
    const kd_number_format *format;
    for (int i = 0; (format = kd_number_format_at(i)); i++) {
        if (!format->encode) continue; /* only read */
        if (!kd_whisper_bin_fits(&file->model->spec, format)) continue;
        assert_ok(kd_whisper_bin_write(path, file, format));
        assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING));
        assert_same_model(file, back, error_bound(format));
        kd_whisper_file_free(back);
    }
    kd_whisper_file_free(file);
}

/* Blocks of 32 do not fit a width of 48, and whisper.cpp has one format for all matrices. */
static void odd_widths_are_refused(void **state) {
    kd_whisper_file *file = tiny_whisper_file();
    kd_whisper_spec spec = TINY_SPEC;
    spec.width = 48;
    kd_whisper_free(file->model);
    assert_ok(kd_whisper_create(&file->model, &spec, KD_WHISPER_TRAIN_NOTHING));
    assert_ok(kd_whisper_layout(file->model, 1));
    const char *path = test_path(*state, "odd.bin");
    assert_refused(kd_whisper_bin_write(path, file, &kd_format_q8_0), KD_EUSAGE, "blocks of 32");
    assert_false(kd_file_exists(path));
    assert_ok(kd_whisper_bin_write(path, file, &kd_format_f16));
    kd_whisper_file_free(file);
}

static void folders_come_back(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back;
    const char *path = test_path(*state, "folder");
    const kd_whisper_head heads[] = {{2, 1}, {9, 0}}; /* there is no layer 9 */
    file->head = malloc(sizeof heads);
    assert_non_null(file->head);
    memcpy(file->head, heads, sizeof heads);
    file->head_count = 2;
    assert_ok(kd_whisper_folder_write(path, file, &kd_format_f32));
    assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING));
    assert_same_model(file, back, 0);
    assert_int_equal(back->head_count, 1);
    assert_int_equal(back->head[0].layer, 2);
    assert_int_equal(back->head[0].head, 1);
    kd_whisper_file_free(back);
    file->head_count = 0; /* unknown: the upper half, layers 1 and 2 of 3 */
    assert_ok(kd_whisper_folder_write(path, file, &kd_format_f16));
    assert_ok(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING));
    assert_same_model(file, back, error_bound(&kd_format_f16));
    assert_int_equal(back->head_count, 2 * TINY_SPEC.text_heads);
    assert_int_equal(back->head[0].layer, 1);
    assert_refused(kd_whisper_folder_write(path, file, &kd_format_q8_0), KD_EUSAGE, "f32 or f16");
    kd_whisper_file_free(back);
    kd_whisper_file_free(file);
}

static int fetch_values(void *context, int64_t index, void *values) {
    kd_param **list = context;
    values_in_files(values, list[index]);
    return KD_OK;
}

/* Parameters first … first+n−1 as a shard of their own, by their names without "model.". */
static void write_shard(const char *path, const kd_whisper *m, int first, int n) {
    kd_safetensors_entry entry[128] = {0};
    kd_named named[128];
    for (int i = 0; i < n; i++) {
        const kd_param *p = m->params->list[first + i];
        kd_names_find(&named[i], &kd_whisper_hugging, p);
        entry[i] = (kd_safetensors_entry){.name = named[i].name + 6,
                                          .dtype = "F32",
                                          .rank = named[i].rank,
                                          .count = p->tensor.size};
        memcpy(entry[i].shape, named[i].shape, sizeof named[i].shape);
    }
    assert_ok(kd_safetensors_write(path, n, entry, fetch_values, m->params->list + first));
}

static void write_index(const char *path, const char *second) {
    char text[256];
    const int length = snprintf(text, sizeof text,
                                "{\"weight_map\": {\"encoder.conv1.weight\": \"one.safetensors\", "
                                "\"decoder.layer_norm.bias\": \"%s\", \"encoder.conv1.bias\": "
                                "\"one.safetensors\"}}",
                                second);
    test_write(path, text, (size_t)length);
}

static void shards_are_put_together(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back;
    char folder[KD_PATH_MAX], path[KD_PATH_MAX];
    test_copy(folder, sizeof folder, test_path(*state, "shards"));
    assert_ok(kd_whisper_folder_write(folder, file, &kd_format_f32));
    kd_path_join(path, folder, "model.safetensors");
    assert_int_equal(unlink(path), 0);
    assert_refused(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING), KD_ENOINPUT,
                   "neither");
    const int count = file->model->params->count, half = count / 2;
    kd_path_join(path, folder, "one.safetensors");
    write_shard(path, file->model, 0, half);
    kd_path_join(path, folder, "two.safetensors");
    write_shard(path, file->model, half, count - half);
    kd_path_join(path, folder, "model.safetensors.index.json");
    write_index(path, "two.safetensors");
    assert_ok(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING));
    assert_same_model(file, back, 0);
    kd_whisper_file_free(back);
    write_index(path, "../two.safetensors");
    assert_refused(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                   "'../two.safetensors'");
    write_index(path, "three.safetensors");
    assert_refused(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING), KD_ENOINPUT,
                   "three.safetensors");
    write_index(path, "one.safetensors"); /* which has the encoder alone */
    assert_refused(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                   "weight_map: there is no tensor decoder.layer_norm.bias in one.safetensors");
    kd_whisper_file_free(file);
}

/* Each change to one of the folder's files (from, to, part of the message) is refused. */
static void refuse_changes(const char *folder, const char *name, const char *const (*cases)[3],
                           size_t count) {
    char path[KD_PATH_MAX];
    kd_whisper_file *back;
    kd_path_join(path, folder, name);
    for (size_t i = 0; i < count; i++) {
        change_text(path, cases[i][0], cases[i][1]);
        assert_refused(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                       cases[i][2]);
        change_text(path, cases[i][1], cases[i][0]);
    }
    assert_ok(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING));
    kd_whisper_file_free(back);
}

static void wrong_configs_are_refused(void **state) {
    static const char *const cases[][3] = {
        {"\"whisper\"", "\"whimper\"", "model_type"},
        {"\"d_model\": 32", "\"d_model\": 3.2", "whole number"},
        {"\"d_model\": 32", "\"d_model\": 64", "4 times the width"},
        {"\"vocab_size\": 1864", "\"vocab_size\": 999999999", "vocabulary"},
        {"\"encoder_layers\": 2", "\"encoder_layers\": 1", "tensors"},
        {"\"encoder_layers\": 2", "\"encoder_layers\": 3", "is missing"},
        {"\"num_mel_bins\": 80", "\"num_mel_bins\": 40", "feature_size"},
        {"\"max_source_positions\": 50", "\"max_source_positions\": 40", "another shape"},
        {"\"activation_function\": \"gelu\"", "\"activation_function\": \"relu\"", "gelu"},
        {"\"is_encoder_decoder\": true", "\"is_encoder_decoder\": false", "should be true"},
        {"\"scale_embedding\": false", "\"scale_embedding\": true", "should be false"},
        {"\"use_cache\": true", "\"quantization_config\": {\"load_in_8bit\": true}", "packed"},
        {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "tie_word"}};
    kd_whisper_file *file = tiny_whisper_file();
    const char *folder = test_path(*state, "wrong");
    assert_ok(kd_whisper_folder_write(folder, file, &kd_format_f16));
    refuse_changes(folder, "config.json", cases, sizeof cases / sizeof *cases);
    kd_whisper_file_free(file);
}

/* The features the model was taught on, in either of the files that may state them. */
static void other_features_are_refused(void **state) {
    static const char said[] = "as the model hears";
    static const char *const cases[][3] = {
        {"\"feature_size\": 80", "\"feature_size\": 128", said},
        {"\"sampling_rate\": 16000", "\"sampling_rate\": 8000", said},
        {"\"hop_length\": 160", "\"hop_length\": 320", said},
        {"\"n_fft\": 400", "\"n_fft\": 512", said},
        {"\"chunk_length\": 1", "\"chunk_length\": 30", said},
        {"\"padding_value\": 0.0", "\"padding_value\": 1.0", said}};
    kd_whisper_file *file = tiny_whisper_file(), *back;
    char folder[KD_PATH_MAX], path[KD_PATH_MAX];
    test_copy(folder, sizeof folder, test_path(*state, "features"));
    assert_ok(kd_whisper_folder_write(folder, file, &kd_format_f16));
    refuse_changes(folder, "preprocessor_config.json", cases, sizeof cases / sizeof *cases);
    kd_path_join(path, folder, "preprocessor_config.json");
    assert_int_equal(unlink(path), 0); /* transformers' newer file */
    static const char text[] = "{\"feature_extractor\": {\"hop_length\": 80}}";
    kd_path_join(path, folder, "processor_config.json");
    test_write(path, text, sizeof text - 1);
    assert_refused(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                   "\"hop_length\" should be 160");
    assert_int_equal(unlink(path), 0);
    kd_path_join(path, folder, "adapter_config.json");
    test_write(path, "{}", 2);
    assert_refused(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                   "merge it into the weights");
    kd_whisper_file_free(file);
}

/* The parameters, and behind them an output matrix: the embedding, or something else. */
typedef struct {
    const kd_whisper *model;
    bool other;
} with_output;

static int fetch_output(void *context, int64_t index, void *values) {
    const with_output *from = context;
    const kd_params *params = from->model->params;
    if (index < params->count) {
        values_in_files(values, params->list[index]);
    } else {
        values_in_files(values, from->model->tokens.table);
        if (from->other) ((float *)values)[7] += 1;
    }
    return KD_OK;
}

static void write_output(const char *folder, const kd_whisper *m, bool other) {
    kd_safetensors_entry entry[128] = {0};
    kd_named named[128];
    char path[KD_PATH_MAX];
    const int n = m->params->count;
    for (int i = 0; i <= n; i++) {
        const kd_param *p = i < n ? m->params->list[i] : m->tokens.table;
        kd_names_find(&named[i], &kd_whisper_hugging, p);
        entry[i] = (kd_safetensors_entry){.name = i < n ? named[i].name : "proj_out.weight",
                                          .dtype = i % 2 ? "F32" : "F16", /* a mix */
                                          .rank = named[i].rank,
                                          .count = p->tensor.size};
        memcpy(entry[i].shape, named[i].shape, sizeof named[i].shape);
    }
    entry[n].dtype = "F32";
    for (int i = 0; i < n; i++) /* alike, as the output matrix must be */
        if (m->params->list[i] == m->tokens.table) entry[i].dtype = "F32";
    kd_path_join(path, folder, "model.safetensors");
    with_output from = {m, other};
    assert_ok(kd_safetensors_write(path, n + 1, entry, fetch_output, &from));
}

/* The output matrix is the embedding: where a folder has one, it must be the same numbers. */
static void other_output_matrices_are_refused(void **state) {
    kd_whisper_file *file = tiny_whisper_file(), *back;
    char folder[KD_PATH_MAX], path[KD_PATH_MAX];
    test_copy(folder, sizeof folder, test_path(*state, "output"));
    assert_ok(kd_whisper_folder_write(folder, file, &kd_format_f32));
    kd_path_join(path, folder, "config.json");
    for (int tied = 1; tied >= 0; tied--) {
        write_output(folder, file->model, false);
        assert_ok(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING));
        assert_same_model(file, back, error_bound(&kd_format_f16));
        kd_whisper_file_free(back);
        write_output(folder, file->model, true);
        assert_refused(kd_whisper_file_open(&back, folder, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                       "proj_out.weight is not the token embedding");
        change_text(path, tied ? "embeddings\": true" : "embeddings\": false",
                    tied ? "embeddings\": false" : "embeddings\": true");
    }
    kd_whisper_file_free(file);
}

/* Whatever the layout: a weight that is not finite, and mel filters that are not Whisper's. */
static void bad_numbers_are_refused(void **state) {
    static const char *const names[] = {"bad.bin", "bad.gguf", "bad"};
    kd_whisper_file *file = tiny_whisper_file(), *back;
    for (int i = 0; i < 3; i++) {
        const char *path = test_path(*state, names[i]);
        int (*write)(const char *, const kd_whisper_file *, const kd_number_format *) =
            i == 0   ? kd_whisper_bin_write
            : i == 1 ? kd_whisper_gguf_write
                     : kd_whisper_folder_write;
        kd_real *place = &file->model->text_norm.beta->tensor.value[3], kept = *place;
        for (int k = 0; k < 2; k++) {
            *place = k ? (kd_real)INFINITY : (kd_real)NAN;
            assert_ok(write(path, file, &kd_format_f32));
            assert_refused(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                           k ? "decoder.ln.bias[3] is inf" : "decoder.ln.bias[3] is nan");
            assert_null(back);
        }
        *place = kept;
        if (i == 2) continue; /* a folder has no filters */
        file->filters[205] += 1e-3f;
        assert_ok(write(path, file, &kd_format_f32));
        assert_refused(kd_whisper_file_open(&back, path, KD_WHISPER_TRAIN_NOTHING), KD_EDATA,
                       "mel filters are not Whisper's: band 1, bin 4");
        file->filters[205] -= 1e-3f;
    }
    kd_whisper_file_free(file);
}

/* The tiny model as a file in memory. */
static char *tiny_bytes(void **state, size_t *length) {
    return tiny_whisper_bytes(kd_whisper_bin_write, test_path(*state, "bytes.bin"), &kd_format_q8_0,
                              length);
}

static void cut_files_are_refused(void **state) {
    size_t length;
    char *bytes = tiny_bytes(state, &length);
    assert_cuts_refused(kd_whisper_bin_decode, bytes, length);
    free(bytes);
}

static void hostile_sizes_are_refused(void **state) {
    enum { FILTERS = 48, TOKENS = 56 + 4 * 80 * 201 };
    static const struct {
        size_t at;
        int32_t value;
        const char *message;
    } cases[] = {{0, 0x67676d6d, "0x67676d6c"},
                 {4, -1, "vocabulary"},
                 {4, 1 << 20, "describes a model"},
                 {4, TINY_VOCABULARY + 200, "languages"},
                 {12, INT32_MAX, "width"},
                 {12, 64, "must agree"},
                 {16, 0, "encoder heads"},
                 {20, 200, "describes a model"},
                 {20, 3, "blocks.2.attn.query.weight is missing"},
                 {20, 1, "belongs to no part"},
                 {40, 40, "mel filters of 80"},
                 {FILTERS + 4, 60000, "file ends before"},
                 {FILTERS + 4, -1, "should be 80"},
                 {TOKENS, INT32_MAX, "the vocabulary has"},
                 {TOKENS, -5, "the vocabulary has"},
                 {TOKENS + 4, -1, "token 0"}};
    size_t length;
    char *bytes = tiny_bytes(state, &length);
    kd_whisper_file *back;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t kept;
        memcpy(&kept, bytes + cases[i].at, sizeof kept);
        memcpy(bytes + cases[i].at, &cases[i].value, sizeof kept);
        assert_refused(kd_whisper_bin_decode(&back, bytes, length, "x", KD_WHISPER_TRAIN_NOTHING),
                       KD_EDATA, cases[i].message);
        memcpy(bytes + cases[i].at, &kept, sizeof kept);
    }
    free(bytes);
}

/* Changes to the header of the record of `name`: at −12 from its sizes stand rank, name, type. */
static void wrong_records_are_refused(void **state) {
    size_t length;
    char *bytes = tiny_bytes(state, &length);
    kd_whisper_file *back;
    static const struct {
        int from_name;
        int32_t value;
        const char *message;
    } cases[] = {{-20, 7, "7 dimensions"},
                 {-20, 0, "0 dimensions"},
                 {-16, 200, "name of 200"},
                 {-16, -1, "name of -1"},
                 {-12, 99, "ggml type 99"},
                 {-8, 16, "wrong shape"},
                 {-4, INT32_MAX, "wrong shape"},
                 {-12, 0, ""},
                 {-12, 2, ""}};
    char *name = memmem(bytes, length, "decoder.blocks.1.mlp.2.weight", 29);
    assert_non_null(name);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t kept;
        memcpy(&kept, name + cases[i].from_name, sizeof kept);
        memcpy(name + cases[i].from_name, &cases[i].value, sizeof kept);
        assert_refused(kd_whisper_bin_decode(&back, bytes, length, "x", KD_WHISPER_TRAIN_NOTHING),
                       KD_EDATA, cases[i].message);
        memcpy(name + cases[i].from_name, &kept, sizeof kept);
    }
    name[15] = '2'; /* decoder.blocks.2 is there twice then */
    assert_int_equal(kd_whisper_bin_decode(&back, bytes, length, "x", KD_WHISPER_TRAIN_NOTHING),
                     KD_EDATA);
    name[15] = '9';
    assert_refused(kd_whisper_bin_decode(&back, bytes, length, "x", KD_WHISPER_TRAIN_NOTHING),
                   KD_EDATA, "blocks.9");
    free(bytes);
}

/* The genuine base.en comes back as it was, byte for byte but for the order of its tensors. */
static void base_en_comes_back(void **state) {
    char path[KD_PATH_MAX];
    test_need(path, "whisper/ggml-base.en.bin");
    kd_whisper_file *file, *back;
    assert_ok(kd_whisper_file_open(&file, path, KD_WHISPER_TRAIN_NOTHING));
    assert_int_equal(file->model->params->count, 245);
    assert_int_equal(file->model->spec.width, 512);
    struct stat before, after;
    const char *copy = test_path(*state, "base.en.bin");
    assert_ok(kd_whisper_bin_write(copy, file, &kd_format_f16));
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(stat(copy, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_ok(kd_whisper_file_open(&back, copy, KD_WHISPER_TRAIN_NOTHING));
    assert_same_model(file, back, 0);
    kd_whisper_file_free(back);
    kd_whisper_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bins_come_back, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(odd_widths_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(folders_come_back, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(shards_are_put_together, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(wrong_configs_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(other_features_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(other_output_matrices_are_refused, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(bad_numbers_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(cut_files_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(hostile_sizes_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(wrong_records_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(base_en_comes_back, test_setup, test_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
