/* What a user may hand to a speech recogniser: sounds that are odd, broken or endless, and models
 * that are not what they say. Each gets a clear message and its exit code, or is simply heard. */
#include "test_data.h"

#include <signal.h>
#include <sndfile.h>
#include <sys/resource.h>

#include "run_cli.h"
#include "whisper_tiny.h"

/* Three hours; with sanitizers, which make them minutes of work, eleven windows. */
#ifdef __SANITIZE_ADDRESS__
enum { LONG_SECONDS = 11 * 30 };
#else
enum { LONG_SECONDS = 3 * 3600 };
#endif
enum { RATE = 16000 };

static kd_whisper_file *model_of(const kd_whisper_spec *spec) {
    kd_whisper_file *file = tiny_whisper_file();
    kd_whisper_free(file->model);
    file->model = tiny_whisper_of(spec, KD_WHISPER_TRAIN_NOTHING);
    return file;
}

/* A tiny model that hears 30 s. */
static void write_model(const char *path) {
    kd_whisper_spec spec = TINY_SPEC;
    spec.audio_context = 1500;
    kd_whisper_file *file = model_of(&spec);
    assert_ok(kd_whisper_bin_write(path, file, &kd_format_f32));
    kd_whisper_file_free(file);
}

/* One that says one letter whatever it hears: its last norm gives the same hidden state always, for
 * which the end is likeliest, and a letter comes second, since a text must not be empty. */
static void write_talker(const char *path) {
    kd_whisper_spec spec = TINY_SPEC;
    spec.audio_context = 1500;
    spec.audio_layers = spec.text_layers = 1;
    kd_whisper_file *file = model_of(&spec);
    kd_whisper *m = file->model;
    const int64_t end = kd_tokenizer_ids(file->tokenizer)->end;
    for (int64_t i = 0; i < TINY_WIDTH; i++) {
        m->text_norm.gamma->tensor.value[i] = 0;
        m->text_norm.beta->tensor.value[i] =
            20000 * m->tokens.table->tensor.value[end * TINY_WIDTH + i];
    }
    assert_ok(kd_whisper_bin_write(path, file, &kd_format_f32));
    kd_whisper_file_free(file);
}

/* `channels` times the same noise, or nothing but zeros. */
static void write_sound(const char *path, int rate, int channels, int count, int loud) {
    SF_INFO info = {
        .samplerate = rate, .channels = channels, .format = SF_FORMAT_WAV | SF_FORMAT_PCM_16};
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    for (int i = 0; i < count; i++) {
        short frame[8];
        for (int c = 0; c < channels; c++)
            frame[c] = (short)(loud * (i % 20011 * 7919 % 20011 - 10000));
        assert_int_equal(sf_writef_short(file, frame, 1), 1);
    }
    assert_int_equal(sf_close(file), 0);
}

typedef struct {
    char model[KD_PATH_MAX], wav[KD_PATH_MAX], other[KD_PATH_MAX];
} names;

static void make(names *n, void **state) {
    test_copy(n->model, sizeof n->model, test_path(*state, "tiny.bin"));
    test_copy(n->wav, sizeof n->wav, test_path(*state, "sound.wav"));
    test_copy(n->other, sizeof n->other, test_path(*state, "other.wav"));
    write_model(n->model);
}

/* --- sounds --------------------------------------------------------------------------------------
 */

static void zero_length_sounds_are_refused(void **state) {
    names n;
    make(&n, state);
    test_write(n.wav, "", 0);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav), 65);
    assert_says(complained, "sound.wav: is empty");
    write_sound(n.wav, RATE, 1, 0, 1);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav), 65);
    assert_says(complained, "sound.wav: ");
    assert_says(complained, "no samples");
}

static void silence_is_heard(void **state) {
    names n;
    make(&n, state);
    write_sound(n.wav, RATE, 1, 5 * RATE, 0);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--json"), 0);
    assert_says(printed, "\"avg_logprob\": ");
    assert_null(strstr(printed, "nan"));
    write_sound(n.wav, RATE, 1, 1, 0); /* a single sample of it */
    assert_int_equal(DISTILL("transcribe", n.model, n.wav), 0);
}

/* Cut in the header, in the samples; changed to something else. */
static void corrupt_sounds_are_refused(void **state) {
    names n;
    char *bytes;
    size_t length;
    make(&n, state);
    write_sound(n.wav, RATE, 1, RATE, 1);
    assert_ok(kd_file_read(&bytes, &length, n.wav, 1 << 20));
    for (size_t cut = 1; cut < length; cut += cut < 44 ? 1 : length / 20) {
        test_write(n.other, bytes, cut);
        assert_int_equal(DISTILL("transcribe", n.model, n.other), 65);
        assert_says(complained, "other.wav: ");
    }
    memset(bytes, 'x', length);
    test_write(n.other, bytes, length);
    free(bytes);
    assert_int_equal(DISTILL("transcribe", n.model, n.other), 65);
    assert_says(complained, "other.wav: no sound that libsndfile can decode");
    assert_int_equal(DISTILL("transcribe", n.model, n.model), 65);
}

/* Eight equal channels are the one they are made of. */
static void eight_channels_are_heard(void **state) {
    names n;
    char mono[4096];
    make(&n, state);
    write_sound(n.wav, RATE, 1, RATE, 1);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--json"), 0);
    test_copy(mono, sizeof mono, printed);
    write_sound(n.wav, RATE, 8, RATE, 1);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--json"), 0);
    assert_string_equal(printed, mono);
}

static void sounds_of_192_kHz_are_heard(void **state) {
    names n;
    make(&n, state);
    write_talker(n.model);
    write_sound(n.wav, 192000, 1, 31 * 192000, 1);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--no-timestamps"), 0);
    assert_int_equal(strlen(printed), 4); /* two windows: two letters, two lines */
}

/* Silence as long as it likes: the header is made longer, and the file with it. */
static void lengthen(const char *path, uint32_t seconds) {
    const uint32_t bytes = seconds * RATE * 2, whole = bytes + 36;
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 4, SEEK_SET), 0);
    assert_int_equal(fwrite(&whole, sizeof whole, 1, file), 1);
    assert_int_equal(fseek(file, 40, SEEK_SET), 0);
    assert_int_equal(fwrite(&bytes, sizeof bytes, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(path, (off_t)bytes + 44), 0);
}

/* Every window of them. */
static void three_hours_are_heard(void **state) {
    names n;
    make(&n, state);
    write_talker(n.model);
    write_sound(n.wav, RATE, 1, RATE, 1);
    lengthen(n.wav, LONG_SECONDS);
    assert_int_equal(DISTILL("transcribe", n.model, n.wav, "--no-timestamps"), 0);
    int lines = 0;
    for (const char *at = printed; *at; at++) lines += *at == '\n';
    assert_int_equal(lines, LONG_SECONDS / 30);
}

/* --- models --------------------------------------------------------------------------------------
 */

/* Cut at some places, `path` is refused by whoever opens it. */
static void refuse_cuts(const char *path, const char *model) {
    char *bytes;
    size_t length;
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 24));
    for (int i = 0; i < 12; i++) {
        test_write(path, bytes, length * (size_t)i / 12);
        assert_int_equal(DISTILL("verify", model), 65);
        assert_says(complained, path);
    }
    test_write(path, bytes, length - 1);
    assert_int_equal(DISTILL("verify", model), 65);
    test_write(path, bytes, length);
    assert_int_equal(DISTILL("verify", model), 0);
    free(bytes);
}

/* The 32 bits at `at` become `value`, which must be refused with a message that says `part`. */
static void refuse_value(const char *path, const char *model, size_t at, int32_t value,
                         const char *part) {
    char *bytes;
    size_t length;
    int32_t kept;
    assert_ok(kd_file_read(&bytes, &length, path, 1 << 24));
    memcpy(&kept, bytes + at, sizeof kept);
    memcpy(bytes + at, &value, sizeof value);
    test_write(path, bytes, length);
    assert_int_equal(DISTILL("verify", model), 65);
    assert_says(complained, part);
    memcpy(bytes + at, &kept, sizeof kept);
    test_write(path, bytes, length);
    free(bytes);
}

static void truncated_bins_are_refused(void **state) {
    names n;
    make(&n, state);
    refuse_cuts(n.model, n.model);
}

/* The header: vocabulary, width, layers; the mel filters behind it. */
static void bins_with_hostile_sizes_are_refused(void **state) {
    names n;
    make(&n, state);
    refuse_value(n.model, n.model, 4, INT32_MAX, "vocabulary: 2147483647");
    refuse_value(n.model, n.model, 12, INT32_MAX, "width");
    refuse_value(n.model, n.model, 20, 256, "describes a model of more than");
    refuse_value(n.model, n.model, 20, -1, "encoder layers: -1");
    refuse_value(n.model, n.model, 52, 1 << 16, "the file ends before");
    assert_int_equal(DISTILL("verify", n.model), 0);
}

static void truncated_safetensors_are_refused(void **state) {
    names n;
    char weights[KD_PATH_MAX];
    make(&n, state);
    const char *folder = test_path(*state, "folder");
    test_copy(n.other, sizeof n.other, folder);
    assert_int_equal(DISTILL("convert", n.model, n.other), 0);
    assert_ok(kd_path_join(weights, n.other, "model.safetensors"));
    refuse_cuts(weights, n.other);
}

/* The first 8 bytes are the length of the header. */
static void safetensors_with_hostile_sizes_are_refused(void **state) {
    names n;
    char weights[KD_PATH_MAX];
    make(&n, state);
    test_copy(n.other, sizeof n.other, test_path(*state, "folder"));
    assert_int_equal(DISTILL("convert", n.model, n.other), 0);
    assert_ok(kd_path_join(weights, n.other, "model.safetensors"));
    refuse_value(weights, n.other, 0, INT32_MAX, "header");
    refuse_value(weights, n.other, 4, INT32_MAX, "header");
    refuse_value(weights, n.other, 0, 0, "header");
    assert_int_equal(DISTILL("verify", n.other), 0);
}

static void tokenizers_of_other_models_are_refused(void **state) {
    names n;
    char path[KD_PATH_MAX], *vocabulary, *own;
    size_t length, own_length;
    make(&n, state);
    test_copy(n.other, sizeof n.other, test_path(*state, "folder"));
    assert_int_equal(DISTILL("convert", n.model, n.other), 0);
    assert_ok(kd_path_join(path, n.other, "vocab.json"));
    assert_ok(kd_file_read(&own, &own_length, path, 1 << 20));
    assert_ok(kd_file_read(&vocabulary, &length, "tests/golden/tokenizer_hf/vocab.json", 1 << 20));
    test_write(path, vocabulary, length);
    assert_int_equal(DISTILL("transcribe", n.other, n.wav), 65);
    assert_says(complained, "vocab.json");
    test_write(path, own, own_length);
    assert_ok(kd_path_join(path, n.other, "added_tokens.json"));
    test_write(path, "{\"<|startoftranscript|>\": 50258}", 32);
    assert_int_equal(DISTILL("transcribe", n.other, n.wav), 65);
    assert_says(complained, "'<|startoftranscript|>' has the id 50258, should be 257");
    free(vocabulary);
    free(own);
}

/* No file may grow beyond `bytes`, as on a full disk; 0: any size again. */
static void limit_files(size_t bytes) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes > 0 ? bytes : limit.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Wherever the disk is full: exit code 74, the temporary gone, the old file as it was. */
static void full_disks_leave_the_old_file(void **state) {
    static const char *const outs[] = {"out.bin", "out.gguf", "out"};
    names n;
    make(&n, state);
    for (int i = 0; i < 3; i++) {
        char out[KD_PATH_MAX], file[KD_PATH_MAX], part[KD_PATH_MAX + 8], *bytes, *after;
        size_t length, after_length;
        test_copy(out, sizeof out, test_path(*state, outs[i]));
        assert_int_equal(DISTILL("convert", n.model, out), 0);
        if (i == 2)
            assert_ok(kd_path_join(file, out, "model.safetensors"));
        else
            test_copy(file, sizeof file, out);
        snprintf(part, sizeof part, "%s.part", file);
        assert_ok(kd_file_read(&bytes, &length, file, 1 << 24));
        for (size_t most = length - 1; most > 0; most = most > length / 8 ? most - length / 8 : 0) {
            limit_files(most);
            const int code = DISTILL("convert", n.model, out, "--type", "f32");
            limit_files(0);
            assert_int_equal(code, 74);
            assert_says(complained, outs[i]);
            assert_false(kd_file_exists(part));
            assert_ok(kd_file_read(&after, &after_length, file, 1 << 24));
            assert_int_equal(after_length, length);
            assert_memory_equal(after, bytes, length);
            free(after);
        }
        free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(zero_length_sounds_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(silence_is_heard, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(corrupt_sounds_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(eight_channels_are_heard, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(sounds_of_192_kHz_are_heard, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(three_hours_are_heard, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(truncated_bins_are_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(bins_with_hostile_sizes_are_refused, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(truncated_safetensors_are_refused, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(safetensors_with_hostile_sizes_are_refused, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(tokenizers_of_other_models_are_refused, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(full_disks_leave_the_old_file, test_setup, test_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
