/* A folder for runs of a speech recogniser: a tiny random teacher, sounds, two lists, a config. */
#ifndef KD_TESTS_SPEECH_FOLDER_H
#define KD_TESTS_SPEECH_FOLDER_H

#include "speech_tiny.h"

#include "asserts.h"

enum { TRAINING = 18, HELD_OUT = 6, RECORDINGS = 5 };
static const kd_real END_LIKED = 25;

/* Every test has a folder of its own with a teacher, sounds, two lists and a config. */
static inline void write_list(test_folder *folder, const char *name, int first, int count) {
    char text[4096] = "audio\ttext\tspeaker\n", *at = text + strlen(text);
    for (int i = first; i < first + count; i++)
        at += sprintf(at, "k%d.wav\tnumber %d\t%s\n", i % RECORDINGS, i, i / 6 % 2 ? "bob" : "ann");
    test_write(test_path(folder, name), text, strlen(text));
}

static inline void write_config(test_folder *folder, const char *more) {
    char text[2048];
    int n = snprintf(
        text, sizeof text,
        "{\"data\": {\"kind\": \"speech\", \"train\": [\"train.tsv\"],"
        " \"validation\": [\"held.tsv\"], \"source\": \"the cupboard\"},\n"
        " \"model\": {\"type\": \"whisper\", \"decoder_layers\": 2},\n"
        " \"teacher\": {\"weights\": \"teacher.bin\", \"source\": \"the attic\", \"wer\": 1e6},\n"
        " \"train\": {\"epochs\": 4, \"batch\": 2, \"accumulate\": 2, \"learning_rate\": 0.01}%s}",
        more);
    assert_true(n > 0 && n < (int)sizeof text);
    test_write(test_path(folder, "tiny.json"), text, (size_t)n);
}

/* A teacher that likes to end, so that its texts are short and of different lengths. */
static inline void write_teacher(test_folder *folder, kd_real change) {
    kd_whisper_file *teacher = tiny_whisper_file();
    const kd_real *end = teacher->model->tokens.table->tensor.value +
                         (int64_t)kd_tokenizer_ids(teacher->tokenizer)->end * TINY_WIDTH;
    for (int i = 0; i < TINY_WIDTH; i++)
        teacher->model->text_norm.beta->tensor.value[i] += END_LIKED * end[i];
    teacher->model->text_norm.gamma->tensor.value[0] += change;
    assert_ok(kd_whisper_bin_write(test_path(folder, "teacher.bin"), teacher, &kd_format_f32));
    kd_whisper_file_free(teacher);
}

static inline void fill_folder(test_folder *folder) {
    for (int k = 0; k < RECORDINGS; k++) {
        char name[32];
        snprintf(name, sizeof name, "k%d.wav", k);
        tiny_sound(test_path(folder, name), 2000 + 1300 * k, k);
    }
    write_list(folder, "train.tsv", 0, TRAINING);
    write_list(folder, "held.tsv", TRAINING, HELD_OUT);
    write_teacher(folder, 0);
    write_config(folder, "");
}

static inline int setup(void **state) {
    if (test_setup(state) != 0) return -1;
    fill_folder(*state);
    return 0;
}

#endif
