/* Folders whose matrices are packed: what is written is what was computed with, bit for bit, and is
 * read back so; what such a folder may not say is refused by name, and no damage of it does more.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/file.h"
#include "base/rng.h"
#include "change_text.h"
#include "files/llama_file.h"
#include "files/roles.h"
#include "files/safetensors.h"
#include "quant/quantizer.h"

static char FOLDER[] = "/tmp/distill-test-XXXXXX", CONFIG[64], WEIGHTS[64];

static const struct {
    const char *layout;
    const kd_number_format *format;
    bool inputs;
} ALL[] = {{"compressed-tensors", &kd_format_f8_e4m3, false},
           {"compressed-tensors", &kd_format_f8_e4m3, true},
           {"compressed-tensors", &kd_format_f8_e4m3_tensor, false},
           {"compressed-tensors", &kd_format_f8_e4m3_tensor, true},
           {"compressed-tensors", &kd_format_nvfp4, false},
           {"compressed-tensors", &kd_format_nvfp4, true},
           {"compressed-tensors", &kd_format_mxfp4, false},
           {"compressed-tensors", &kd_format_q4_0, false},
           {"compressed-tensors", &kd_format_q8_0, false},
           {"compressed-tensors", &kd_format_int8, false},
           {"modelopt", &kd_format_f8_e4m3, false},
           {"modelopt", &kd_format_f8_e4m3_tensor, true},
           {"modelopt", &kd_format_nvfp4, false},
           {"modelopt", &kd_format_nvfp4, true},
           {"plain", &kd_format_f8_e5m2, false}};
enum { CASES = (int)(sizeof ALL / sizeof *ALL) };

static kd_llama_file *make_file(bool tied) {
    const kd_llama_spec spec = {.width = 64,
                                .layers = 2,
                                .heads = 2,
                                .key_heads = 1,
                                .head_width = 32,
                                .hidden = 128,
                                .vocabulary = 7,
                                .context = 8,
                                .tied = tied,
                                .epsilon = 1e-5,
                                .rotary = {.kind = KD_ROTARY_PLAIN, .base = 100}};
    kd_llama_file *file = calloc(1, sizeof *file);
    assert_non_null(file);
    file->ends.bos = -1;
    assert_ok(kd_llama_create(&file->model, &spec, KD_LLAMA_TRAIN));
    assert_ok(kd_llama_layout(file->model, 3));
    /* some matrices are larger than others, so that a scale must be shared to be one */
    for (int i = 0; i < file->model->params->count; i++) {
        kd_tensor *t = &file->model->params->list[i]->tensor;
        for (int64_t k = 0; k < t->size && t->rank > 1; k++) t->value[k] *= (kd_real)(1 << i % 5);
    }
    return file;
}

/* Writes case `c`; the file's model computes with the rounded weights until kd_quantized_free. */
static kd_quantized *write_case(kd_llama_file *file, int c) {
    kd_quantized *q;
    kd_packing packing;
    float inputs[64];
    for (int i = 0; i < 64; i++) inputs[i] = (float)(i + 1);
    const kd_quantizable model = {
        .params = file->model->params, .rule = kd_packed_format_of, .layers = file->model};
    const kd_quantize_spec spec = {.how = &kd_quantizer_nearest, .format = ALL[c].format};
    assert_ok(kd_quantized_create(&q, &model, &spec));
    assert_ok(kd_quantized_start(q));
    assert_ok(kd_quantized_round(q));
    assert_ok(kd_packing_choose(&packing, ALL[c].layout, ALL[c].format, ALL[c].inputs));
    if (ALL[c].inputs) packing.inputs = inputs;
    kd_quantized_leave(q);
    file->encoding = kd_quantized_encodings(q);
    assert_ok(kd_llama_folder_write_packed(FOLDER, file, &packing));
    file->encoding = NULL;
    assert_ok(kd_quantized_round(q));
    return q;
}

static void assert_same(const kd_llama *a, const kd_llama *b, const char *what) {
    for (int i = 0; i < a->params->count; i++) {
        const kd_tensor *x = &a->params->list[i]->tensor, *y = &b->params->list[i]->tensor;
        for (int64_t k = 0; k < x->size; k++)
            if ((float)x->value[k] != (float)y->value[k])
                fail_msg("%s: %s: number %d is %.9g, not %.9g", what, a->params->list[i]->name,
                         (int)k, (double)y->value[k], (double)x->value[k]);
    }
}

/* By the quantizer's bytes, and by the writer, which takes the nearest itself; matrices that stay
 * in the file too. */
static void what_is_written_is_read(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++) {
        kd_llama_file *file = make_file(c % 2), *back;
        kd_packing packing;
        kd_quantized *q = write_case(file, c);
        assert_ok(kd_llama_file_open(&back, FOLDER, KD_LLAMA_FROZEN));
        assert_same(file->model, back->model, ALL[c].format->name);
        kd_llama_file_free(back);
        assert_ok(kd_packing_read(&packing, FOLDER));
        assert_true(packing.layout == KD_LAYOUT_PLAIN || packing.format == ALL[c].format);
        if (ALL[c].inputs) {
            kd_quantized_free(q);
            kd_llama_file_free(file);
            continue;
        }
        assert_ok(kd_packing_choose(&packing, ALL[c].layout, ALL[c].format, false));
        kd_quantized_leave(q);
        assert_ok(kd_llama_folder_write_packed(FOLDER, file, &packing));
        assert_ok(kd_quantized_round(q));
        assert_ok(kd_llama_file_open(&back, FOLDER, KD_LLAMA_FROZEN));
        assert_same(file->model, back->model, "the writer's own");
        kd_llama_file_free(back);
        kd_quantized_free(q);
        kd_llama_file_free(file);
    }
}

/* Scales of tensors are powers of two, those of queries, keys and values one, and the largest value
 * is in reach. */
static void joined_matrices_share_a_scale(void **state) {
    (void)state;
    kd_llama_file *file = make_file(true);
    const kd_params *params = file->model->params;
    kd_encoding *how;
    int shared = 0;
    assert_ok(kd_encodings_nearest(&how, params, kd_packed_format_of, &kd_format_nvfp4));
    for (int i = 0; i < params->count; i++) {
        int exponent;
        if (how[i].format != &kd_format_nvfp4) continue;
        assert_true(frexpf(how[i].scale, &exponent) == 0.5f);
        const kd_tensor *t = &params->list[i]->tensor;
        for (int64_t k = 0; k < t->size; k++)
            assert_true(fabs((double)t->value[k]) <= 2688 * (double)how[i].scale);
        for (int k = 0; k < params->count; k++) {
            if (k == i || !kd_params_joined(params, i, k)) continue;
            assert_true(how[i].scale == how[k].scale);
            shared++;
        }
    }
    assert_int_equal(shared, 2 * (3 * 2 + 2)); /* of two layers: q, k, v; gate and up */
    free(how);
    kd_llama_file_free(file);
}

/* The bytes of neighbours, and the stated inputs, as packing.h has them. */
static void tensors_are_named_and_shaped(void **state) {
    (void)state;
    static const struct {
        int c;
        const char *name, *dtype;
        int rank;
        int64_t count;
    } want[] = {{1, "model.layers.0.self_attn.q_proj.weight_scale", "F32", 2, 64},
                {1, "model.layers.0.self_attn.q_proj.weight", "F8_E4M3", 2, 4096},
                {5, "model.layers.0.mlp.down_proj.weight_packed", "U8", 2, 64 * 64},
                {5, "model.layers.0.mlp.down_proj.weight_scale", "F8_E4M3", 2, 64 * 8},
                {5, "model.layers.0.mlp.down_proj.weight_global_scale", "F32", 1, 1},
                {6, "model.layers.0.mlp.down_proj.weight_scale", "U8", 2, 64 * 4},
                {7, "model.layers.0.mlp.down_proj.weight_packed", "I32", 2, 64 * 16},
                {7, "model.layers.0.mlp.down_proj.weight_shape", "I64", 1, 2},
                {10, "model.layers.1.mlp.up_proj.weight_scale", "F32", 1, 128},
                {11, "model.layers.1.mlp.up_proj.weight_scale", "F32", 0, 1},
                {13, "model.layers.1.mlp.up_proj.weight_scale_2", "F32", 0, 1},
                {13, "model.layers.1.mlp.up_proj.weight", "U8", 2, 128 * 32},
                {14, "model.layers.1.mlp.up_proj.weight", "F8_E5M2", 2, 128 * 64},
                {14, "model.embed_tokens.weight", "F16", 2, 7 * 64}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        kd_llama_file *file = make_file(true);
        kd_safetensors *st;
        kd_quantized_free(write_case(file, want[i].c));
        assert_ok(kd_safetensors_open(&st, WEIGHTS));
        const kd_safetensors_entry *e = kd_safetensors_find(st, want[i].name);
        if (!e) fail_msg("there is no %s", want[i].name);
        assert_string_equal(e->dtype, want[i].dtype);
        assert_int_equal(e->rank, want[i].rank);
        assert_int_equal(e->count, want[i].count);
        kd_safetensors_close(st);
        kd_llama_file_free(file);
    }
}

static float single(const kd_safetensors *st, const char *name) {
    float value;
    const kd_safetensors_entry *e = kd_safetensors_find(st, name);
    assert_non_null(e);
    assert_ok(kd_safetensors_read(st, e, &value));
    return value;
}

static void scales_multiply_or_divide(void **state) {
    (void)state;
    float scale[2], input[2];
    static const int c[2] = {5, 13};
    static const char *const name[2][2] = {{"weight_global_scale", "input_global_scale"},
                                           {"weight_scale_2", "input_scale"}};
    for (int i = 0; i < 2; i++) {
        char path[96];
        kd_llama_file *file = make_file(true);
        kd_safetensors *st;
        kd_quantized_free(write_case(file, c[i]));
        assert_ok(kd_safetensors_open(&st, WEIGHTS));
        snprintf(path, sizeof path, "model.layers.0.self_attn.o_proj.%s", name[i][0]);
        scale[i] = single(st, path);
        snprintf(path, sizeof path, "model.layers.0.self_attn.o_proj.%s", name[i][1]);
        input[i] = single(st, path);
        kd_safetensors_close(st);
        kd_llama_file_free(file);
    }
    assert_true(scale[0] * scale[1] == 1);
    assert_true(fabsf(input[0] * input[1] - 1) < 1e-6f);
    assert_true(fabsf(input[0] * roundf(2688 / input[0]) - 2688) <
                1e-2f); /* of a whole largest input */
}

static void expect_refused(int c, const char *file, const char *from, const char *to,
                           const char *message) {
    kd_llama_file *written = make_file(true), *back = NULL;
    kd_quantized_free(write_case(written, c));
    kd_llama_file_free(written);
    change_text(file, from, to);
    assert_refused(kd_llama_file_open(&back, FOLDER, KD_LLAMA_FROZEN), KD_EDATA, message);
    assert_null(back);
}

/* In the header of the weights, names of equal length take another's place. */
static void change_header(const char *from, const char *to) {
    char *bytes;
    size_t length;
    assert_int_equal(strlen(from), strlen(to));
    assert_ok(kd_file_read(&bytes, &length, WEIGHTS, 1 << 24));
    char *at = memmem(bytes, length, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    assert_ok(kd_file_replace(WEIGHTS, bytes, length));
    free(bytes);
}

static void what_is_not_known_is_refused(void **state) {
    (void)state;
    enum { NVFP4 = 4, FP8 = 0, OPT = 12, Q4 = 7 };
    static const struct {
        int c;
        const char *from, *to, *message;
    } config[] = {
        {NVFP4, "\"compressed-tensors\"", "\"bitsandbytes\"", "packed in another way"},
        {NVFP4, "\"nvfp4-pack-quantized\"", "\"marlin-24\"", "\"format\" should be"},
        {NVFP4, "\"symmetric\": true", "\"symmetric\": false", "zero-points are not read"},
        {NVFP4, "\"group_size\": 16", "\"group_size\": 24", "\"weights\" should be"},
        {NVFP4, "\"num_bits\": 4", "\"num_bits\": 6", "\"weights\" should be"},
        {NVFP4, "\"group_0\": {", "\"group_1\": {}, \"group_0\": {", "one group of layers"},
        {FP8, "\"channel\"", "\"block\"", "\"weights\" should be"},
        {FP8, "\"channel\"", "\"tensor\"", "weight_scale should be one number"},
        {Q4, "\"group_size\": 32", "\"group_size\": 64", "weight_scale should be"},
        {Q4, "\"group_size\": 32", "\"group_size\": 48", "packed rows of the shape"},
        {OPT, "\"W4A16_NVFP4\"", "\"MXFP8\"", "\"quant_algo\" should be"},
        {OPT, "\"W4A16_NVFP4\"", "\"FP8\"", "another shape"},
        {10, "\"FP8_PER_CHANNEL_PER_TOKEN\"", "\"NVFP4\"", "none is"},
        {OPT, "\"group_size\": 16", "\"group_size\": 32", "\"group_size\" should be 16"},
        {NVFP4, "\"hidden_size\": 64", "\"hidden_size\": 128", "shape"},
    };
    for (size_t i = 0; i < sizeof config / sizeof *config; i++)
        expect_refused(config[i].c, CONFIG, config[i].from, config[i].to, config[i].message);
}

static void what_is_missing_is_refused(void **state) {
    (void)state;
    static const struct {
        int c;
        const char *from, *to, *message;
    } header[] = {
        {4, "layers.0.mlp.up_proj.weight_scale\"", "layers.0.mlp.up_proj.weight_other\"",
         "weight_scale should be there"},
        {4, "layers.0.mlp.up_proj.weight_global_scale\"",
         "layers.0.mlp.up_proj.weight_global_other\"", "weight_global_scale should be there"},
        {4, "layers.0.mlp.up_proj.weight_packed\"", "layers.0.mlp.up_proj.weight_plain_\"",
         "is missing"},
        {1, "layers.0.mlp.up_proj.input_scale\"", "layers.0.mlp.up_proj.input_other\"",
         "tensors; a model"},
        {7, "layers.0.mlp.up_proj.weight_shape\"", "layers.0.mlp.up_proj.weight_other\"",
         "weight_shape should be there"},
        {7, "\"dtype\":\"I64\"", "\"dtype\":\"F64\"", "weight_shape should be"},
    };
    kd_llama_file *back;
    for (size_t i = 0; i < sizeof header / sizeof *header; i++) {
        kd_llama_file *written = make_file(true);
        kd_quantized_free(write_case(written, header[i].c));
        kd_llama_file_free(written);
        change_header(header[i].from, header[i].to);
        assert_refused(kd_llama_file_open(&back, FOLDER, KD_LLAMA_FROZEN), KD_EDATA,
                       header[i].message);
    }
}

/* Every bit flipped somewhere, and files cut short: refused, or a model of finite numbers. */
static void damage_does_no_more(void **state) {
    (void)state;
    const int rounds = thoroughly() ? 2000 : 20;
    kd_rng rng = kd_rng_init(5, 1);
    for (int c = 0; c < CASES; c += 3) {
        kd_llama_file *written = make_file(true), *back;
        char *bytes;
        size_t length;
        kd_quantized_free(write_case(written, c));
        kd_llama_file_free(written);
        assert_ok(kd_file_read(&bytes, &length, WEIGHTS, 1 << 24));
        for (int round = 0; round < rounds; round++) {
            const size_t within = round % 2       ? length
                                  : length < 6000 ? length
                                                  : 6000; /* in the header, too */
            const size_t at = (size_t)(kd_rng_uniform(&rng) * (double)within);
            bytes[at] ^= (char)(1 << round % 8);
            assert_ok(kd_file_replace(WEIGHTS, bytes, round % 5 ? length : at));
            const int status = kd_llama_file_open(&back, FOLDER, KD_LLAMA_FROZEN);
            if (status == KD_OK) kd_llama_file_free(back);
            assert_true(status == KD_OK || status == KD_EDATA);
            bytes[at] ^= (char)(1 << round % 8);
        }
        free(bytes);
    }
}

static void layouts_have_what_their_readers_know(void **state) {
    (void)state;
    kd_packing p;
    assert_refused(kd_packing_choose(&p, "exl2", &kd_format_nvfp4, false), KD_EUSAGE,
                   "there are compressed-tensors");
    assert_refused(kd_packing_choose(&p, "modelopt", &kd_format_mxfp4, false), KD_EUSAGE,
                   "modelopt has no mxfp4");
    assert_refused(kd_packing_choose(&p, "compressed-tensors", &kd_format_f8_e5m2, false),
                   KD_EUSAGE, "has no f8_e5m2");
    assert_refused(kd_packing_choose(&p, "plain", &kd_format_nvfp4, false), KD_EUSAGE,
                   "it has f8_e5m2");
    assert_refused(kd_packing_choose(&p, "modelopt", &kd_format_f8_e4m3_tensor, false), KD_EUSAGE,
                   "calibrate it");
    assert_refused(kd_packing_choose(&p, "compressed-tensors", &kd_format_mxfp4, true), KD_EUSAGE,
                   "nothing is to be calibrated");
}

/* llama.cpp looks for scales of tensors beside the layers' matrices only. */
static void gguf_has_scales_beside_layers_alone(void **state) {
    (void)state;
    static const char path[] = "build/test_packing.gguf";
    kd_llama_file *file = make_file(true), *back;
    kd_gguf *gguf;
    kd_file_map map;
    assert_ok(kd_llama_gguf_write(path, file, &kd_format_nvfp4));
    assert_ok(kd_file_map_open(&map, path));
    assert_ok(kd_gguf_parse(&gguf, map.bytes, map.length, path));
    assert_int_equal(kd_gguf_find_tensor(gguf, "token_embd.weight")->type,
                     kd_format_q8_0.ggml_type);
    assert_null(kd_gguf_find_tensor(gguf, "token_embd.scale"));
    assert_int_equal(kd_gguf_find_tensor(gguf, "blk.0.ffn_up.weight")->type,
                     kd_format_nvfp4.ggml_type);
    assert_int_equal(kd_gguf_find_tensor(gguf, "blk.0.ffn_up.scale")->count, 1);
    kd_gguf_free(gguf);
    kd_file_map_close(&map);
    assert_ok(kd_llama_file_open(&back, path, KD_LLAMA_FROZEN));
    kd_llama_file_free(back);
    assert_refused(kd_llama_gguf_write(path, file, &kd_format_f8_e4m3), KD_EUSAGE,
                   "GGUF has no f8_e4m3");
    kd_llama_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_is_read),
                                       cmocka_unit_test(joined_matrices_share_a_scale),
                                       cmocka_unit_test(tensors_are_named_and_shaped),
                                       cmocka_unit_test(scales_multiply_or_divide),
                                       cmocka_unit_test(what_is_not_known_is_refused),
                                       cmocka_unit_test(what_is_missing_is_refused),
                                       cmocka_unit_test(damage_does_no_more),
                                       cmocka_unit_test(layouts_have_what_their_readers_know),
                                       cmocka_unit_test(gguf_has_scales_beside_layers_alone)};
    if (!mkdtemp(FOLDER)) return 1;
    snprintf(CONFIG, sizeof CONFIG, "%s/config.json", FOLDER);
    snprintf(WEIGHTS, sizeof WEIGHTS, "%s/model.safetensors", FOLDER);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", FOLDER);
    return system(command) == 0 ? failed : 1;
}
