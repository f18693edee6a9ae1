/* A folder for runs of a language model: a tiny random teacher whose tokens are single bytes, two
 * texts, a config. */
#ifndef KD_TESTS_LANGUAGE_FOLDER_H
#define KD_TESTS_LANGUAGE_FOLDER_H

#include "test_data.h"

#include "asserts.h"
#include "data/token_letters.h"
#include "files/llama_file.h"
#include "tasks/language/language_run.h"

enum { TINY_TOKENS = 257, TINY_END = 256, TINY_CONTEXT = 16, TINY_LAYERS = 3, TINY_WIDTH = 12 };

/* Bytes in GPT-2's letters, no merges, and an end. */
static inline void write_tokenizer(test_folder *folder, const char *name) {
    kd_text text = {0};
    kd_text_add(&text,
                "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": %d, \"content\": \"<end>\", "
                "\"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                "\"normalized\": false, \"special\": true}],\n"
                "\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true},\n"
                "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", "
                "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true},\n"
                "\"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, "
                "\"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false, "
                "\"vocab\": {",
                TINY_END);
    for (int byte = 0; byte < 256; byte++) {
        const char raw = (char)byte;
        char letters[4] = {0}, quoted[32];
        kd_letters_spell(letters, &raw, 1);
        kd_json_quote(quoted, sizeof quoted, letters);
        kd_text_add(&text, "%s%s: %d", byte ? ", " : "", quoted, byte);
    }
    kd_text_add(&text, "}, \"merges\": []}}\n");
    assert_ok(kd_text_finish(&text, "a tokenizer"));
    assert_ok(kd_file_make_folders(test_path(folder, name)));
    char path[64];
    snprintf(path, sizeof path, "%s/tokenizer.json", name);
    test_write(test_path(folder, path), text.text, text.length);
    free(text.text);
}

static inline kd_llama_spec tiny_spec(void) {
    return (kd_llama_spec){.width = TINY_WIDTH,
                           .layers = TINY_LAYERS,
                           .heads = 2,
                           .key_heads = 1,
                           .head_width = 6,
                           .hidden = 32,
                           .vocabulary = TINY_TOKENS,
                           .context = 2 * TINY_CONTEXT,
                           .tied = true,
                           .epsilon = 1e-5,
                           .rotary = {.base = 100}};
}

/* Larger than what training begins with, so that it has opinions. */
static inline void write_teacher(test_folder *folder, uint64_t seed) {
    const kd_llama_spec spec = tiny_spec();
    kd_llama_file file = {.ends = {.bos = -1, .stop = {TINY_END}, .stop_count = 1}};
    assert_ok(kd_llama_create(&file.model, &spec, KD_LLAMA_TRAIN));
    assert_ok(kd_llama_layout(file.model, seed));
    for (int i = 0; i < file.model->params->count; i++) {
        kd_tensor *t = &file.model->params->list[i]->tensor;
        for (int64_t k = 0; k < t->size && t->rank == 2; k++) t->value[k] *= 15;
    }
    assert_ok(kd_llama_folder_write(test_path(folder, "teacher"), &file, &kd_format_f32));
    kd_llama_free(file.model);
}

static inline void write_texts(test_folder *folder) {
    static const char words[] = "the cat sat on the mat and the dog sat on the cat. ";
    kd_text train = {0}, held = {0};
    for (int i = 0; i < 8; i++) kd_text_add(&train, "%d %s", i, words);
    for (int i = 0; i < 3; i++) kd_text_add(&held, "%s%d ", words, i);
    test_write(test_path(folder, "a.txt"), train.text, train.length);
    test_write(test_path(folder, "b.txt"), train.text + 5, 90);
    test_write(test_path(folder, "held.txt"), held.text, held.length);
    free(train.text);
    free(held.text);
}

static inline void write_config(test_folder *folder, const char *model, const char *targets,
                                const char *more) {
    char text[2048];
    int n = snprintf(
        text, sizeof text,
        "{\"data\": {\"kind\": \"text\", \"train\": [\"a.txt\", \"b.txt\"],"
        " \"validation\": [\"held.txt\"], \"test\": [\"held.txt\"], \"context\": %d,"
        " \"source\": \"the cupboard\"},\n"
        " \"model\": {\"type\": \"llama\"%s},\n"
        " \"teacher\": {\"weights\": \"teacher\", \"source\": \"the attic\", \"targets\": {%s}},\n"
        " \"loss\": {\"hard\": 0.5, \"temperature\": 2},\n"
        " \"train\": {\"epochs\": 2, \"batch\": 3, \"accumulate\": 2, \"learning_rate\": 0.01}%s}",
        (int)TINY_CONTEXT, model, targets, more);
    assert_true(n > 0 && n < (int)sizeof text);
    test_write(test_path(folder, "tiny.json"), text, (size_t)n);
}

static inline int setup(void **state) {
    if (test_setup(state) != 0) return -1;
    write_tokenizer(*state, "teacher");
    write_teacher(*state, 3);
    write_texts(*state);
    write_config(*state, ", \"layers\": 2", "", "");
    return 0;
}

#endif
