/* Quantizers of classifiers, as their user runs them: rounded weights beside integers, trained and
 * not, measured as files; and what they refuse. What Whisper makes of rounded weights is in
 * test_rounded_weights.c, what integers are in test_qnet.c and test_blob.c. */
#include <math.h>
#include <omp.h>

#include "base/json.h"
#include "files/weights_gguf.h"
#include "quant/quantizer.h"
#include "tiny_run.h"

#include "asserts.h"

/* Rows of 9 fall back, rows of 288 and of the linear layer are in blocks. */
#define MODEL                                                                                      \
    " \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 32, \"kernel\": 3, \"batch_norm\": "  \
    "true}, {\"max_pool\": 2}, {\"conv\": 32, \"kernel\": 3}, {\"max_pool\": 2}]},\n"
#define TRAIN                                                                                      \
    " \"train\": {\"epochs\": 3, \"batch\": 32, \"optimizer\": \"adamw\", "                        \
    "\"learning_rate\": 0.01}"
#define QAT "\"qat\": {\"epochs\": 1, \"learning_rate\": 0.001}"

static int setup(void **state) {
    (void)state;
    if (enter_folder() != 0) return -1;
    write_config("rounded",
                 MODEL TRAIN ",\n \"quantize\": [{\"format\": \"q4_0\", " QAT "},\n"
                             "  {\"format\": \"int8\", \"name\": \"rows\"}, {\"format\": \"q5_1\", "
                             "\"rounding\": \"importance\", "
                             "\"calibration_samples\": 96},\n  {\"calibration_samples\": 64}]");
    write_config("seen",
                 MODEL TRAIN ",\n \"quantize\": [{\"format\": \"q4_1\", \"rounding\": \"gptq\", "
                             "\"calibration_samples\": 96, \"activation_order\": false},\n"
                             "  {\"format\": \"nvfp4\", \"rounding\": \"awq_gptq\", "
                             "\"calibration_samples\": 96}, {\"format\": \"mxfp4\", " QAT "}]");
    return 0;
}

static char *read_text(const char *path, size_t *length) {
    char *text;
    assert_ok(kd_file_read(&text, length, path, 1 << 24));
    return text;
}

/* Every file says what the network it was written from says, and nearly what the float one does. */
static void check_files(const char *path, int files) {
    size_t length;
    char *text = read_text(path, &length);
    kd_json *report;
    assert_ok(kd_json_parse(&report, text, length, "report.json"));
    const cJSON *model;
    int exported = 0;
    cJSON_ArrayForEach(model, kd_json_get(kd_json_root(report), "models")) {
        const char *kind = kd_json_get(model, "kind")->valuestring;
        assert_true(kd_json_get(model, "accuracy")->valuedouble > 0.8);
        if (strcmp(kind, "ptq") != 0 && strcmp(kind, "blob") != 0) continue;
        exported++;
        assert_true(kd_json_get(model, "disagreements")->valuedouble == 0);
        /* Files hold float32, which is all of a weight but in a double build. */
        assert_true(kd_json_get(model, "largest_difference")->valuedouble <=
                    (sizeof(kd_real) == 4 ? 0 : 1e-4));
    }
    assert_int_equal(exported, files);
    kd_json_free(report);
    free(text);
}

static void files_are_what_was_trained(void **state) {
    (void)state;
    assert_int_equal(DISTILL("train", "rounded.json"), 0);
    check_files("runs/rounded/report.json", 5);
    assert_int_equal(DISTILL("train", "seen.json"), 0);
    check_files("runs/seen/report.json", 4);
}

static void files_are_used_by_commands(void **state) {
    (void)state;
    static const char *const path = "runs/rounded/student.q4_0.gguf";
    assert_int_equal(DISTILL("eval", "rounded.json", path), 0);
    assert_int_equal(DISTILL("eval", "rounded.json", "student.rows.ptq.gguf"), 0);
    assert_int_equal(DISTILL("eval", "rounded.json", "student.int8.ptq.gguf"), 0);
    write_config("other",
                 " \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 32, \"kernel\": 3, "
                 "\"batch_norm\": true}, {\"avg_pool\": 2}, {\"conv\": 32, \"kernel\": 3}, "
                 "{\"max_pool\": 2}]},\n" TRAIN);
    assert_int_equal(DISTILL("eval", "other.json", path), 65); /* other pools, the same weights */
    assert_non_null(strstr(kd_error(), "another \"model\""));
    assert_int_equal(DISTILL("inspect", path), 0);
    assert_int_equal(DISTILL("verify", path), 0);
    assert_int_equal(DISTILL("run", path, "t10k-images-idx3-ubyte:3"), 65);
    assert_non_null(strstr(kd_error(), "rounded weights"));
    assert_int_equal(DISTILL("quantize", "rounded.json"), 0);
    assert_int_equal(DISTILL("export", "rounded.json"), 0);
}

/* The types of the file: what is trained with is what is there. */
static void formats_are_those_of_the_map(void **state) {
    (void)state;
    size_t length;
    kd_gguf *g;
    char *bytes = read_text("runs/rounded/student.q4_0.gguf", &length);
    assert_ok(kd_gguf_parse(&g, bytes, length, "a file"));
    assert_true(kd_gguf_is_weights(g));
    int f32 = 0, f16 = 0, q4_0 = 0;
    for (uint64_t i = 0; i < g->tensor_count; i++) {
        const kd_gguf_tensor *t = &g->tensor[i];
        f32 += t->type == kd_format_f32.ggml_type;
        f16 += t->type == kd_format_f16.ggml_type;
        q4_0 += t->type == kd_format_q4_0.ggml_type;
        if (t->type == kd_format_q4_0.ggml_type) assert_true(t->rank == 2 && t->ne[0] % 32 == 0);
    }
    assert_int_equal(f16, 1);  /* 9 values to a row */
    assert_int_equal(q4_0, 2); /* 288, and the linear layer's */
    assert_int_equal(f32, (int)g->tensor_count - 3);
    kd_gguf_free(g);
    free(bytes);
}

/* The same file with another number of threads. */
static void bits_are_the_same_again(void **state) {
    (void)state;
    static const char *const path = "runs/rounded/student.q4_0.gguf";
    size_t length, again;
    char *first = read_text(path, &length);
    omp_set_num_threads(omp_get_max_threads() > 1 ? 1 : 3);
    assert_int_equal(DISTILL("export", "rounded.json", "--fresh"), 0);
    char *second = read_text(path, &again);
    assert_int_equal(length, again);
    assert_memory_equal(first, second, length);
    omp_set_num_threads(omp_get_num_procs());
    free(first);
    free(second);
}

/* A changed file: nothing but the bits that were written is taken. */
static void broken_files_are_refused(void **state) {
    (void)state;
    static const char *const path = "runs/rounded/student.q4_0.gguf";
    size_t length;
    char *bytes = read_text(path, &length);
    for (size_t cut = 0; cut < length; cut += length / 7 + 1) {
        write_file("broken.gguf", bytes, cut);
        assert_int_equal(DISTILL("eval", "rounded.json", "broken.gguf"), 65);
    }
    bytes[length - 40] ^= 4;
    write_file("broken.gguf", bytes, length);
    assert_int_equal(DISTILL("eval", "rounded.json", "broken.gguf"), 65);
    assert_int_equal(DISTILL("verify", "broken.gguf"), 65);
    free(bytes);
}

/* Keys of one quantizer beside another's, names that are taken, formats that there are not. */
static void wrong_configs_are_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "{\"format\": \"q4_0\", \"weight_bits\": 4}",
        "{\"rounding\": \"importance\"}",
        "{\"format\": \"q4_0\", \"rounding\": \"awq\", \"qat\": {\"epochs\": 1}}",
        "{\"format\": \"q4_0\", \"rounding\": \"awq\", \"damping\": 0.1}",
        "{\"format\": \"q4_0\", \"calibration_samples\": 4}",
        "{\"format\": \"q4_0\", \"observer\": \"mse\"}",
        "{\"format\": \"q3_0\"}",
        "[{\"format\": \"q4_0\"}, {\"format\": \"q4_0\"}]",
        "[{\"format\": \"int8\"}, {}]",
        "{\"format\": \"q4_0\", \"qat\": {\"epochs\": 1, \"delay_steps\": 3}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char rest[1024];
        snprintf(rest, sizeof rest, MODEL TRAIN ",\n \"quantize\": %s", wrong[i]);
        write_config("wrong", rest);
        assert_int_equal(DISTILL("train", "wrong.json"), 78);
        assert_false(kd_file_exists("runs/wrong"));
    }
}

/* Σ x² of windows and rows, beside plain loops. */
static void squares_of_inputs_are_summed(void **state) {
    (void)state;
    enum { B = 2, H = 5, W = 4, C = 4, O = 6, K = 3 };
    const kd_conv_spec how = {.stride = {2, 1}, .padding = {1, 0}, .groups = 2};
    kd_params *params;
    kd_tape *tape;
    kd_input_squares *squares;
    assert_ok(kd_params_create(&params));
    kd_param *conv = kd_params_add(params, "conv", 4, (int64_t[]){O, K, K, C / 2}, KD_INIT_ONE, 1,
                                   1, KD_PARAM_TRAINED);
    kd_param *rows =
        kd_params_add(params, "rows", 2, (int64_t[]){3, C}, KD_INIT_ONE, 1, 1, KD_PARAM_TRAINED);
    assert_ok(kd_params_layout(params, 1));
    assert_ok(kd_tape_create(&tape, 1));
    assert_ok(kd_input_squares_create(&squares, params));
    assert_int_equal(kd_input_squares_finish(squares), KD_EDATA);
    kd_tensor *x = kd_tape_input(tape, 4, (int64_t[]){B, H, W, C});
    for (int64_t i = 0; i < x->size; i++) x->value[i] = (kd_real)(i % 7) - 2;
    kd_conv2d(tape, x, &conv->tensor, NULL, how, KD_ACT_NONE); /* nobody looks */
    kd_input_squares_watch(squares, tape);
    kd_conv2d(tape, x, &conv->tensor, NULL, how, KD_ACT_NONE);
    kd_linear(tape, kd_reshape(tape, x, 2, (int64_t[]){B * H * W, C}), &rows->tensor, NULL,
              KD_ACT_NONE);
    kd_input_squares_watch(NULL, tape);
    assert_ok(kd_input_squares_finish(squares));
    int groups;
    const float *found = kd_input_squares_of(squares, 0, &groups);
    assert_int_equal(groups, 2);
    for (int g = 0; g < 2; g++)
        for (int u = 0; u < K; u++)
            for (int v = 0; v < K; v++)
                for (int c = 0; c < C / 2; c++) {
                    double sum = 0;
                    for (int b = 0; b < B; b++)
                        for (int i = 0; i < 3; i++)
                            for (int j = 0; j < 2; j++) {
                                const int h = 2 * i - 1 + u, w = j + v;
                                if (h < 0 || h >= H) continue;
                                sum += pow(
                                    (double)x->value[((b * H + h) * W + w) * C + g * C / 2 + c], 2);
                            }
                    assert_true(found[((g * K + u) * K + v) * (C / 2) + c] ==
                                (float)(sum / (B * 3 * 2)));
                }
    found = kd_input_squares_of(squares, 1, &groups);
    assert_int_equal(groups, 1);
    for (int c = 0; c < C; c++) {
        double sum = 0;
        for (int i = 0; i < B * H * W; i++) sum += pow((double)x->value[i * C + c], 2);
        assert_true(found[c] == (float)(sum / (B * H * W)));
    }
    kd_input_squares_free(squares);
    kd_tape_free(tape);
    kd_params_free(params);
}

/* A row is one of two kinds, and whole. */
static void every_quantizer_is_whole(void **state) {
    (void)state;
#define ADDRESS_OF(name) &kd_quantizer_##name,
    static const kd_quantizer *const every[] = {KD_QUANTIZERS(ADDRESS_OF)};
    for (size_t i = 0; i < sizeof every / sizeof *every; i++) {
        const kd_quantizer *q = every[i];
        const bool network = q->makes_network;
        assert_true(q->name && q->create && q->free);
        assert_true((q->forward != NULL) == network && (q->write != NULL) == network);
        assert_true((q->round_matrix == NULL) == network && (q->encodings == NULL) == network);
        assert_true((q->round == NULL) == network && (q->leave == NULL) == network);
    }
}

/* A model written as code has no nodes to be put on grids. */
static void networks_are_asked_for(void **state) {
    (void)state;
    kd_params *params;
    kd_quantized *q;
    assert_ok(kd_params_create(&params));
    const kd_quantizable model = {.params = params};
    const kd_quantize_spec spec = {.how = &kd_quantizer_integers};
    assert_refused(kd_quantized_create(&q, &model, &spec), KD_ECONFIG, "lists of nodes");
    assert_null(q);
    kd_params_free(params);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_are_what_was_trained),
                                       cmocka_unit_test(files_are_used_by_commands),
                                       cmocka_unit_test(formats_are_those_of_the_map),
                                       cmocka_unit_test(bits_are_the_same_again),
                                       cmocka_unit_test(broken_files_are_refused),
                                       cmocka_unit_test(wrong_configs_are_refused),
                                       cmocka_unit_test(squares_of_inputs_are_summed),
                                       cmocka_unit_test(every_quantizer_is_whole),
                                       cmocka_unit_test(networks_are_asked_for)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
