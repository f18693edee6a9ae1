/* distill transcribe and distill convert: what they print, and their exit codes. */
#include "test_data.h"

#include <sndfile.h>

#include "base/json.h"
#include "cli/transcript_text.h"
#include "run_cli.h"
#include "whisper_tiny.h"

/* A tiny model that hears 30 s, as a .bin. */
static void write_model(const char *path) {
    kd_whisper_spec spec = TINY_SPEC;
    spec.audio_context = 1500;
    kd_whisper_file *file = tiny_whisper_file();
    kd_whisper_free(file->model);
    file->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    assert_ok(kd_whisper_bin_write(path, file, &kd_format_f32));
    kd_whisper_file_free(file);
}

static void write_sound(const char *path, int count) {
    SF_INFO info = {.samplerate = 8000, .channels = 2, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    for (int i = 0; i < count; i++) {
        const short frame[2] = {(short)(i * 7919 % 20011 - 10000), 0};
        assert_int_equal(sf_writef_short(file, frame, 1), 1);
    }
    sf_close(file);
}

typedef struct {
    char model[KD_PATH_MAX], folder[KD_PATH_MAX], back[KD_PATH_MAX], gguf[KD_PATH_MAX];
    char wav[KD_PATH_MAX];
} names;

static void make(names *n, void **state) {
    test_copy(n->model, sizeof n->model, test_path(*state, "tiny.bin"));
    test_copy(n->folder, sizeof n->folder, test_path(*state, "tiny"));
    test_copy(n->back, sizeof n->back, test_path(*state, "back.bin"));
    test_copy(n->gguf, sizeof n->gguf, test_path(*state, "tiny.gguf"));
    test_copy(n->wav, sizeof n->wav, test_path(*state, "noise.wav"));
    write_model(n->model);
    write_sound(n->wav, 16000);
}

/* The words are random, but the same from every format that keeps the numbers. */
static void formats_say_the_same(void **state) {
    names n;
    char first[4096];
    make(&n, state);
    assert_int_equal(DISTILL("convert", n.model, n.folder), 0);
    assert_says(printed, n.folder);
    assert_int_equal(DISTILL("convert", n.folder, n.back, "--type", "f32"), 0);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--json"), 0);
    assert_says(printed, "\"segments\": [");
    assert_says(printed, "\"avg_logprob\": ");
    test_copy(first, sizeof first, printed);
    assert_int_equal(DISTILL("transcribe", n.folder, n.wav, "--json"), 0);
    assert_string_equal(printed, first);
    assert_int_equal(DISTILL("transcribe", n.back, "--json", n.wav), 0);
    assert_string_equal(printed, first);
    assert_int_equal(DISTILL("convert", n.model, n.gguf, "--type", "f32"), 0);
    assert_int_equal(DISTILL("transcribe", n.gguf, "--json", n.wav), 0);
    assert_string_equal(printed, first);
    assert_int_equal(DISTILL("convert", n.folder, n.gguf, "--type", "int8"), 0);
    assert_int_equal(DISTILL("transcribe", n.gguf, n.wav), 0);
    assert_int_equal(DISTILL("convert", n.model, n.back, "--type", "q4_0"), 0);
    assert_int_equal(DISTILL("transcribe", n.back, n.wav, n.wav, "--beam", "3"), 0);
    assert_says(printed, "noise.wav\t");
}

static void subtitles_have_times(void **state) {
    names n;
    make(&n, state);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--vtt"), 0);
    assert_memory_equal(printed, "WEBVTT\n\n", 8);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--srt"), 0);
    if (*printed) assert_says(printed, " --> 00:00:");
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, n.wav, "--srt"), 64);
    assert_says(complained, "one file at a time");
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--srt", "--json"), 64);
}

static void mistakes_are_explained(void **state) {
    names n;
    char *bytes;
    size_t length;
    make(&n, state);
    assert_int_equal(DISTILL("transcribe", "/nowhere.bin", n.wav), 66);
    assert_says(complained, "/nowhere.bin");
    assert_int_equal(DISTILL("transcribe", n.model, "/nowhere.wav"), 66);
    assert_int_equal(DISTILL("transcribe", n.model, n.model), 65);
    assert_int_equal(DISTILL("transcribe", n.wav, n.wav), 65);
    assert_says(complained, "0x67676d6c");
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--beam", "17"), 64);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--language", "de"), 64);
    assert_says(complained, "English only");
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--language", "ENGLISH"), 0);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--task", "translate"), 64);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--task", "sing"), 64);
    assert_int_equal(DISTILL("convert", n.model, n.back, "--type", "q3_1"), 64);
    assert_int_equal(DISTILL("convert", n.model, n.back, "--type", "int8"), 64);
    assert_says(complained, "a GGUF file may have");
    assert_int_equal(DISTILL("convert", n.model, n.folder, "--type", "q8_0"), 64);
    assert_false(kd_file_exists(n.folder));
    assert_ok(kd_file_read(&bytes, &length, n.model, 1 << 24));
    test_write(n.back, bytes, length - 1);
    free(bytes);
    assert_int_equal(DISTILL("transcribe", n.back, n.wav), 65);
    assert_says(complained, "the file ends at");
    write_sound(n.wav, 0);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav), 65);
}

/* Every line of what was printed is an object of JSON; how many have the key. */
static int count_lines(const char *key, int *lines) {
    int with = 0;
    *lines = 0;
    for (char *at = printed; *at; ++*lines) {
        const size_t n = strcspn(at, "\n");
        kd_json *json;
        assert_ok(kd_json_parse(&json, at, n, "a line"));
        with += kd_json_get(kd_json_root(json), key) != NULL;
        kd_json_free(json);
        at += n + (at[n] == '\n');
    }
    return with;
}

/* The files behind one that cannot be heard are heard; it is named, and the exit code is 65. */
static void broken_files_do_not_end_the_others(void **state) {
    names n;
    char bad[KD_PATH_MAX], alone[1 << 12];
    int lines;
    make(&n, state);
    test_copy(bad, sizeof bad, test_path(*state, "bad.wav"));
    test_write(bad, "no sound", 8);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, n.wav), 0);
    test_copy(alone, sizeof alone, printed);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, bad, "/nowhere.wav", n.wav), 65);
    assert_string_equal(printed, alone);
    assert_says(complained, "bad.wav: no sound that libsndfile can decode");
    assert_says(complained, "/nowhere.wav: cannot open");
    assert_says(complained, "2 of 4 files could not be heard: ");
    assert_says(complained, "bad.wav, /nowhere.wav");
    assert_int_equal(DISTILL("transcribe", n.model, bad, n.wav, "/nowhere.wav", "--json"), 65);
    assert_int_equal(count_lines("error", &lines), 2);
    assert_int_equal(lines, 3);
    assert_int_equal(count_lines("text", &lines), 1);
    assert_int_equal(DISTILL("transcribe", n.model, bad, "--json"), 65);
    assert_int_equal(count_lines("error", &lines), 1);
    assert_int_equal(DISTILL("transcribe", n.model, bad, "--vtt"), 65);
    assert_string_equal(printed, "WEBVTT\n\n");
    assert_int_equal(DISTILL("transcribe", n.model, "/nowhere.wav"), 66);
    assert_string_equal(printed, "");
}

/* Names need not be UTF-8, nor of one line; JSON must be, and so must a row of the table. */
static void odd_names_are_written_well(void **state) {
    names n;
    int lines;
    make(&n, state);
    const char *path = test_path(*state, "caf\xE9\t1\n.wav");
    write_sound(path, 16000);
    assert_int_equal(DISTILL("transcribe", n.model, path, n.wav, "--json"), 0);
    assert_int_equal(count_lines("file", &lines), 2);
    assert_int_equal(lines, 2);
    assert_says(printed, "caf\\ufffd\\u00091\\u000a.wav\"");
    assert_int_equal(DISTILL("transcribe", n.model, path, n.wav), 0);
    assert_says(printed, "caf\xE9?1?.wav\t");
}

static void check_cue(kd_transcript_kind kind, const char *said, const char *written) {
    kd_text text = {0};
    const kd_segment segment = {.start = 1, .end = 3661.5, .text = (char *)(uintptr_t)said};
    kd_transcript_add_segment(&text, kind, 0, &segment);
    assert_ok(kd_text_finish(&text, "a cue"));
    assert_string_equal(text.text, written);
    free(text.text);
}

/* Neither an arrow nor a blank line ends a subtitle too early. */
static void cues_stay_whole(void **state) {
    (void)state;
#define SRT(words) "1\n00:00:01,000 --> 01:01:01,500\n" words "\n\n"
#define VTT(words) "00:00:01.000 --> 01:01:01.500\n" words "\n\n"
    check_cue(KD_TRANSCRIPT_SRT, " a --> b --> c", SRT("a -> b -> c"));
    check_cue(KD_TRANSCRIPT_VTT, "-->", VTT("->"));
    check_cue(KD_TRANSCRIPT_VTT, " a---->b -> c-- ", VTT("a->b -> c--"));
    check_cue(KD_TRANSCRIPT_SRT, " a\n\nb\r\n", SRT("a  b"));
    check_cue(KD_TRANSCRIPT_TEXT, "\n a --> b\x01\n", "a --> b?\n");
}

/* The same JSON for what was said with a letter split between two segments. */
static void whole_texts_are_whole(void **state) {
    (void)state;
    kd_tokenizer *tokenizer = tiny_tokenizer(TINY_VOCABULARY);
    int32_t token[2][2] = {{'x', 0xC3}, {0xA9, 'y'}};
    kd_segment segment[2] = {{.token = token[0], .count = 2, .text = "x\xEF\xBF\xBD"},
                             {.token = token[1], .count = 2, .text = "\xEF\xBF\xBDy"}};
    const kd_transcript t = {.segment = segment, .count = 2, .language = -1};
    kd_text text = {0}, row = {0};
    assert_ok(kd_transcript_add_json(&text, "f", &t, tokenizer));
    assert_says(text.text, "\"text\": \"xéy\", \"segments\"");
    assert_says(text.text, "\"text\": \"x\xEF\xBF\xBD\"");
    assert_says(text.text, "\"language\": \"en\"");
    assert_ok(kd_transcript_add_row(&row, "f", &t, tokenizer));
    assert_string_equal(row.text, "f\txéy\n");
    free(text.text);
    free(row.text);
    kd_tokenizer_free(tokenizer);
}

static void models_are_inspected(void **state) {
    names n;
    make(&n, state);
    assert_int_equal(DISTILL("convert", n.model, n.folder), 0);
    assert_int_equal(DISTILL("convert", n.model, n.gguf, "--type", "int8"), 0);
    assert_int_equal(DISTILL("inspect", n.model), 0);
    assert_says(printed, "a .bin of whisper.cpp");
    assert_says(printed, "encoder        2      32       2      1500");
    assert_says(printed, "decoder        3      32       4        32");
    assert_says(printed, "1,864 tokens, English only");
    assert_says(printed, "decoder.blocks.2.mlp.2.weight");
    assert_says(printed, "32×128");
    assert_int_equal(DISTILL("inspect", n.folder), 0);
    assert_says(printed, "a Hugging Face folder");
    assert_says(printed, "80 mel bands, windows of 30 s");
    assert_says(printed, "8 attention heads follow the words");
    char features[KD_PATH_MAX]; /* newer folders have no such file */
    assert_ok(kd_path_join(features, n.folder, "preprocessor_config.json"));
    assert_int_equal(unlink(features), 0);
    assert_int_equal(DISTILL("inspect", n.folder), 0);
    assert_int_equal(DISTILL("inspect", n.gguf), 0);
    assert_says(printed, "whisper.decoder.block_count            3");
    assert_says(printed, "decoder        3      32       4        32");
    assert_says(printed, "decoder.blocks.2.mlp.2.weight.scale");
}

static void models_are_verified(void **state) {
    names n;
    char *bytes;
    size_t length;
    make(&n, state);
    assert_int_equal(DISTILL("convert", n.model, n.folder), 0);
    assert_int_equal(DISTILL("convert", n.model, n.gguf), 0);
    assert_int_equal(DISTILL("verify", n.model, n.folder, n.gguf), 0);
    assert_says(printed, "tiny.bin: Whisper, its structure is sound and every weight finite");
    assert_says(printed, "tiny: Whisper, its structure is sound");
    assert_says(printed, "tiny.gguf: Whisper, its checksum is right");
    assert_ok(kd_file_read(&bytes, &length, n.gguf, 1 << 24));
    bytes[length / 2] ^= 4;
    test_write(n.gguf, bytes, length);
    free(bytes);
    assert_int_equal(DISTILL("verify", n.gguf), 65);
    assert_says(complained, "checksum");
    assert_ok(kd_file_read(&bytes, &length, n.model, 1 << 24));
    memcpy(bytes + length - 4, &(float){NAN}, 4);
    test_write(n.model, bytes, length);
    free(bytes);
    assert_int_equal(DISTILL("verify", n.model), 65);
    assert_says(complained, "decoder.ln.bias[31] is ");
    assert_int_equal(DISTILL("verify", ((test_folder *)*state)->path), 65);
    assert_says(complained, "Whisper model");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(formats_say_the_same, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(subtitles_have_times, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(mistakes_are_explained, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(broken_files_do_not_end_the_others, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(odd_names_are_written_well, test_setup, test_teardown),
        cmocka_unit_test(cues_stay_whole),
        cmocka_unit_test(whole_texts_are_whole),
        cmocka_unit_test_setup_teardown(models_are_inspected, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(models_are_verified, test_setup, test_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
