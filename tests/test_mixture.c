/* Files whose matrices have several formats: beside llama.cpp's own choice, which
 * golden/make_mixtures.py wrote down, for decoders; and what that means for Whisper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asserts.h"
#include "base/file.h"
#include "files/encoding.h"
#include "files/roles.h"

enum { WIDTH = 256 };

static const kd_number_format *every_matrix(const kd_param *param,
                                            const kd_number_format *matrices) {
    return param->tensor.rank > 1 ? matrices : &kd_format_f32;
}

static void add(kd_params *params, const char *name, int64_t width) {
    const int64_t shape[2] = {4, width};
    assert_non_null(kd_params_add(params, name, 2, shape, KD_INIT_ZERO, 0, 0, KD_PARAM_TRAINED));
}

static void add_block(kd_params *params, const char *stack, int layer, int64_t width) {
    static const char *const matrix[] = {"attn.query", "attn.key", "attn.value",
                                         "attn.out",   "mlp.up",   "mlp.down"};
    for (size_t k = 0; k < sizeof matrix / sizeof *matrix; k++) {
        char name[KD_NAME_MAX];
        snprintf(name, sizeof name, "%s.%d.%s.weight", stack, layer, matrix[k]);
        add(params, name, width);
    }
}

static kd_params *decoder(int layers, bool tied, int64_t width) {
    kd_params *params;
    assert_ok(kd_params_create(&params));
    add(params, "embedding.weight", width);
    for (int i = 0; i < layers; i++) add_block(params, "layers", i, width);
    if (!tied) add(params, "output.weight", width);
    return params;
}

/* Of the format that the parameter has in a file. */
static const char *format_of(const kd_params *params, const char *name,
                             const kd_number_format *format) {
    for (int i = 0; i < params->count; i++)
        if (strcmp(params->list[i]->name, name) == 0)
            return kd_encoding_format(params, i, every_matrix, format)->name;
    fail_msg("no %s", name);
    return NULL;
}

/* One line of the golden file: mixture, layers, tied or apart, role, types. */
static void compare_line(char *line) {
    static const char *const ours[][2] = {
        {"embedding", "embedding.weight"},        {"output", "output.weight"},
        {"value", "layers.%d.attn.value.weight"}, {"out", "layers.%d.attn.out.weight"},
        {"down", "layers.%d.mlp.down.weight"},    {"key", "layers.%d.attn.key.weight"},
        {"up", "layers.%d.mlp.up.weight"}};
    char *save, *mixture = strtok_r(line, " ", &save);
    const int layers = atoi(strtok_r(NULL, " ", &save));
    kd_params *params = decoder(layers, strcmp(strtok_r(NULL, " ", &save), "tied") == 0, WIDTH);
    const char *role = strtok_r(NULL, " ", &save), *type;
    const kd_number_format *format = kd_number_format_named(mixture);
    size_t k = 0;
    while (strcmp(ours[k][0], role) != 0) k++;
    assert_non_null(format);
    for (int layer = 0; (type = strtok_r(NULL, " ", &save)); layer++) {
        const char *number = strchr(ours[k][1], '%');
        char name[KD_NAME_MAX];
        if (number)
            snprintf(name, sizeof name, "%.*s%d%s", (int)(number - ours[k][1]), ours[k][1], layer,
                     number + 2);
        else
            snprintf(name, sizeof name, "%s", ours[k][1]);
        const char *found = format_of(params, name, format);
        if (strcmp(found, type) != 0)
            fail_msg("%s, %d layers: %s is %s, llama.cpp has %s", mixture, layers, name, found,
                     type);
    }
    kd_params_free(params);
}

static void types_are_those_of_llama_cpp(void **state) {
    (void)state;
    char *text, *save;
    size_t length;
    int lines = 0;
    assert_ok(kd_file_read(&text, &length, "tests/golden/mixtures.txt", 1 << 20));
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        compare_line(line);
        lines++;
    }
    assert_true(lines > 700);
    free(text);
}

/* SmolLM2's width: nothing but multiples of 256 has blocks of 256. */
static void rows_that_cannot_be_cut_fall_back(void **state) {
    (void)state;
    kd_params *params = decoder(6, true, 576);
    assert_string_equal(format_of(params, "embedding.weight", &kd_format_q4_K_M), "q8_0");
    assert_string_equal(format_of(params, "layers.2.attn.value.weight", &kd_format_q4_K_M), "q8_0");
    assert_string_equal(format_of(params, "layers.0.attn.value.weight", &kd_format_q4_K_M), "q5_0");
    assert_string_equal(format_of(params, "layers.0.attn.key.weight", &kd_format_q3_K_M), "q4_0");
    assert_string_equal(format_of(params, "layers.0.attn.value.weight", &kd_format_q3_K_M), "q5_1");
    kd_params_free(params);
    params = decoder(1, false, 48);
    assert_string_equal(format_of(params, "output.weight", &kd_format_q4_K_M), "f16");
    kd_params_free(params);
}

/* An encoder's layers do not count among a decoder's; a token embedding that is also the output
 * matrix is one. */
static void stacks_are_counted_apart(void **state) {
    (void)state;
    kd_params *params;
    assert_ok(kd_params_create(&params));
    for (int i = 0; i < 6; i++) add_block(params, "encoder.blocks", i, WIDTH);
    add(params, "decoder.token_embedding.weight", WIDTH);
    for (int i = 0; i < 2; i++) add_block(params, "decoder.blocks", i, WIDTH);
    int found = 0;
    for (int i = 0; i < params->count; i++) {
        const kd_place place = kd_param_place(params, i);
        const bool encoder = strncmp(params->list[i]->name, "encoder", 7) == 0;
        if (place.role == KD_ROLE_VALUE) {
            assert_int_equal(place.layers, encoder ? 6 : 2);
            found++;
        }
        if (strstr(params->list[i]->name, "token_embedding")) {
            assert_int_equal(place.role, KD_ROLE_OUTPUT);
            assert_int_equal(place.layers, 0);
        }
    }
    assert_int_equal(found, 8);
    assert_string_equal(format_of(params, "decoder.blocks.1.attn.value.weight", &kd_format_q4_K_M),
                        "q6_K");
    assert_string_equal(format_of(params, "encoder.blocks.1.attn.value.weight", &kd_format_q4_K_M),
                        "q4_K");
    kd_params_free(params);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(types_are_those_of_llama_cpp),
                                       cmocka_unit_test(rows_that_cannot_be_cut_fall_back),
                                       cmocka_unit_test(stacks_are_counted_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
