/* Whatever reads something gives back all that it took: when it succeeds, when any one of its
 * allocations is refused, and when the file is cut or a byte of it is changed. A refused allocation
 * ends in KD_EINTERNAL and a message that says so.
 *
 * Under the address sanitizer memory does not fail; there it is the sanitizer that looks for what
 * was not given back.
 */
#include "test_data.h"

#include <omp.h>
#include <sndfile.h>

#include "asserts.h"
#include "base/rng.h"
#include "data/audio.h"
#include "data/fft.h"
#include "data/image.h"
#include "data/loader.h"
#include "data/logmel.h"
#include "data/manifest.h"
#include "data/text_normalizer.h"
#include "data/tokenizer_write.h"
#include "data/utterances.h"
#include "data/wer.h"
#include "data/whisper_mel.h"
#include "files/safetensors_write.h"
#include "given_back.h"
#include "tasks/speech/decode.h"
#include "tasks/speech/recordings.h"
#include "tasks/speech/speech_config.h"
#include "tasks/speech/student.h"
#include "whisper_tiny.h"

enum { CUTS = 12, CHANGES = 40, SMALL_VOCABULARY = 512 + 8 + 99 + 1501 };

/* --- operations ---------------------------------------------------------------------------------
 */

static int put_numbers(void *context, int64_t index, void *values) {
    (void)context;
    for (int i = 0; i < 6; i++) ((float *)values)[i] = (float)(index + i);
    return KD_OK;
}

static int write_safetensors(void) {
    const kd_safetensors_entry entry[] = {
        {.name = "a", .dtype = "F32", .rank = 2, .shape = {2, 3}, .count = 6},
        {.name = "b", .dtype = "F16", .rank = 1, .shape = {6}, .count = 6}};
    return kd_safetensors_write(in("a.safetensors"), 2, entry, put_numbers, NULL);
}

static int read_safetensors(void) {
    kd_safetensors *st;
    float values[6];
    int status = kd_safetensors_open(&st, in("a.safetensors"));
    if (status < 0) return status;
    for (int64_t i = 0; i < kd_safetensors_count(st) && status == KD_OK; i++)
        if (kd_safetensors_at(st, i)->count <= 6)
            status = kd_safetensors_read(st, kd_safetensors_at(st, i), values);
    kd_safetensors_close(st);
    return status;
}

/* Reads, uses and copies it. */
static int use_tokenizer(int status, kd_tokenizer *t) {
    static const char text[] = "One, two \xc3\xa9 three";
    kd_tokenizer *copy = NULL;
    int32_t *id = NULL, never[256];
    int64_t count = 0;
    char *back = NULL;
    if (status < 0) return status;
    status = kd_tokenizer_copy(&copy, t);
    if (status == KD_OK) status = kd_tokenizer_encode(&id, &count, copy, text, strlen(text));
    if (status == KD_OK) status = kd_tokenizer_decode(&back, NULL, t, id, count, true);
    if (status == KD_OK) {
        const int found = kd_tokenizer_suppressed(t, never, 256);
        status = found < 0 ? found : kd_tokenizer_begin_suppressed(t, never, 256);
        if (status > 0) status = KD_OK;
    }
    if (id) free(id);
    if (back) free(back);
    kd_tokenizer_free(copy);
    kd_tokenizer_free(t);
    return status;
}

static int read_ranks(void) {
    kd_tokenizer *t;
    const int status = kd_tokenizer_read_ranks(&t, in("t.tiktoken"), SMALL_VOCABULARY);
    return use_tokenizer(status, t);
}

static int read_tokenizer_folder(void) {
    kd_tokenizer *t;
    const int status = kd_tokenizer_read_folder(&t, in("hf"), SMALL_VOCABULARY);
    return use_tokenizer(status, t);
}

static int write_tokenizer_folder(void) {
    kd_tokenizer *t;
    int status = kd_tokenizer_read_ranks(&t, in("t.tiktoken"), SMALL_VOCABULARY);
    if (status == KD_OK) {
        status = kd_tokenizer_write_folder(t, in("written"));
        kd_tokenizer_free(t);
    }
    return status;
}

static int read_manifest(void) {
    kd_manifest m;
    char(*names)[KD_CLASS_NAME_MAX] = NULL;
    int count, status = kd_manifest_read(&m, in("classes.tsv"));
    if (status == KD_OK) status = kd_manifest_labels(&names, &count, &m, "classes.tsv");
    if (status == KD_OK) free(names);
    kd_manifest_free(&m);
    return status;
}

static int read_utterances(void) {
    kd_utterances u = {0};
    const int status = kd_utterances_read(&u, in("list.tsv"));
    kd_utterances_free(&u);
    return status;
}

static int look_at_recordings(void) {
    kd_utterances u = {0};
    kd_recordings found = {0};
    int64_t place[4];
    int status = kd_utterances_read(&u, in("list.tsv"));
    if (status == KD_OK) status = kd_recordings_look(&found, &u);
    if (status == KD_OK) status = kd_recordings_decode(&found);
    if (status == KD_OK && found.count <= 4) status = kd_recordings_match(place, &found, &found);
    if (status == KD_OK && found.count <= 4) status = kd_recordings_find(place, &found, &u);
    kd_recordings_clear(&found);
    kd_utterances_free(&u);
    return status;
}

/* Opens the training split and takes a batch of it. */
static int load(const kd_data_spec *spec) {
    kd_dataset *d;
    kd_loader *loader = NULL;
    kd_batch batch;
    int status = kd_dataset_open(&d, spec, KD_SPLIT_TRAIN);
    if (status < 0) return status;
    status = kd_loader_create(
        &loader, d, &(kd_loader_spec){.batch = 2, .shuffle = true, .augment = {.flip = true}});
    if (status == KD_OK) {
        assert_ok(kd_loader_next(loader, &batch));
        kd_loader_free(loader);
    }
    kd_dataset_free(d);
    return status;
}

static int load_idx(void) {
    kd_data_spec spec = {.kind = KD_DATA_IDX, .validation = 3, .train_limit = 5};
    test_copy(spec.folder, sizeof spec.folder, folder->path);
    return load(&spec);
}

static int load_sounds(void) {
    kd_data_spec spec = {.kind = KD_DATA_AUDIO,
                         .audio = {.sample_rate = 16000,
                                   .window = 400,
                                   .hop = 160,
                                   .mels = 8,
                                   .seconds = 0.1,
                                   .range = 80}};
    test_copy(spec.train_manifest, sizeof spec.train_manifest, in("classes.tsv"));
    return load(&spec);
}

static int read_picture(const char *name) {
    uint8_t out[5 * 7 * 3];
    return kd_image_read(out, in(name), 5, 7, 3);
}

static int read_ppm(void) {
    return read_picture("a.ppm");
}

static int read_sound(const char *name, int rate) {
    float *samples;
    int64_t count;
    const int status = kd_audio_read(&samples, &count, in(name), rate, 10);
    if (status == KD_OK) free(samples);
    return status;
}

static int read_wav(void) {
    return read_sound("a.wav", 16000);
}
static int read_slower_wav(void) {
    return read_sound("a.wav", 8000);
}
static int read_flac(void) {
    return read_sound("a.flac", 16000);
}

static int hear(void) {
    kd_logmel *mel;
    kd_whisper_sound *sound = NULL;
    static float out[80 * KD_WHISPER_FRAMES];
    int status = kd_whisper_mel_create(&mel, 80);
    if (status < 0) return status;
    status = kd_whisper_sound_open(&sound, in("a.wav"), mel);
    if (status == KD_OK) {
        status = kd_whisper_sound_window(sound, out, 0);
        kd_whisper_sound_close(sound);
    }
    kd_logmel_free(mel);
    return status;
}

static int normalise(void) {
    static int (*const how[])(char **, const char *) = {kd_normalize_english, kd_normalize_basic,
                                                        kd_normalize_letters};
    for (int i = 0; i < 3; i++) {
        char *text;
        const int status =
            how[i](&text, "Twenty-one colours, it's [noise] \xc3\x89t\xc3\xa9 1,000");
        if (status < 0) return status;
        free(text);
    }
    return KD_OK;
}

static int count_words(void) {
    kd_wer wer[3];
    double low, high;
    for (int i = 0; i < 3; i++) {
        const int status = kd_wer_count(&wer[i], "a b c d", i ? "a c d e" : "a b");
        if (status < 0) return status;
    }
    return kd_wer_interval(&low, &high, wer, 3, 0.95, 50, 1);
}

static int transform(void) {
    kd_fft *fft;
    kd_complex x[45] = {0}, y[45], scratch[2 * 45];
    const int status = kd_fft_create(&fft, 45);
    if (status < 0) return status;
    kd_fft_run(fft, y, x, scratch);
    kd_fft_free(fft);
    return KD_OK;
}

static int read_config(void) {
    static const char *const sets[] = {"name=other"};
    kd_speech_config *config;
    const int status = kd_speech_config_load(&config, in("speech.json"), 1, sets);
    if (status == KD_OK) kd_speech_config_free(config);
    return status;
}

/* Of a model that is there. */
static kd_whisper_file *whisper;

static int decode(void) {
    kd_decoder d = {0};
    const kd_decode_options options = {.language = -1, .beam = 2, .timestamps = true};
    static kd_real mel[80 * 100];
    kd_decoded out;
    int status = kd_decoder_init(&d, whisper->model, whisper->tokenizer, &options);
    if (status == KD_OK) status = kd_decoder_listen(&d, mel, 100);
    if (status == KD_OK) status = kd_decoder_run(&d, &out, NULL, 0, 0);
    kd_decoder_clear(&d);
    return status;
}

static int make_student(void) {
    kd_whisper_file *student;
    const int status = kd_student_create(&student, whisper, 1, 2, KD_WHISPER_TRAIN_NOTHING);
    if (status == KD_OK) kd_whisper_file_free(student);
    return status;
}

static const operation OPERATIONS[] = {
    {"write safetensors", write_safetensors, NULL, 0},
    {"read safetensors", read_safetensors, "a.safetensors", 0},
    {"ranks", read_ranks, "t.tiktoken", 0},
    {"vocab.json", read_tokenizer_folder, "hf/vocab.json", 0},
    {"merges.txt", read_tokenizer_folder, "hf/merges.txt", 0},
    {"added_tokens.json", read_tokenizer_folder, "hf/added_tokens.json", 0},
    {"write tokenizer", write_tokenizer_folder, NULL, 0},
    {"manifest", read_manifest, "classes.tsv", 0},
    {"utterances", read_utterances, "list.tsv", 0},
    {"recordings", look_at_recordings, "list.tsv", 0},
    {"idx images", load_idx, "train-images-idx3-ubyte", 1},
    {"idx labels", load_idx, "train-labels-idx1-ubyte", 1},
    {"sounds", load_sounds, "classes.tsv", 0},
    {"ppm", read_ppm, "a.ppm", 0},
    {"wav", read_wav, "a.wav", 0},
    {"another rate", read_slower_wav, "a.wav", 0},
    {"flac", read_flac, "a.flac", 0},
    {"whisper's sound", hear, NULL, 0},
    {"normaliser", normalise, NULL, 0},
    {"words", count_words, NULL, 0},
    {"fft", transform, NULL, 0},
    {"speech config", read_config, "speech.json", 0},
    {"decoder", decode, NULL, 100},
    {"student", make_student, NULL, 0}};
enum { COUNT = sizeof OPERATIONS / sizeof *OPERATIONS };

/* --- their files --------------------------------------------------------------------------------
 */

static void copy_file(const char *from, const char *name) {
    char *bytes;
    size_t length;
    assert_ok(kd_file_read(&bytes, &length, from, 1 << 24));
    test_write(in(name), bytes, length);
    free(bytes);
}

static void write_sound(const char *name, int format) {
    SF_INFO info = {.samplerate = 16000, .channels = 1, .format = format};
    SNDFILE *file = sf_open(in(name), SFM_WRITE, &info);
    assert_non_null(file);
    short sample[4000];
    for (int i = 0; i < 4000; i++) sample[i] = (short)(i * 7919 % 20011 - 10000);
    assert_int_equal(sf_writef_short(file, sample, 4000), 4000);
    sf_close(file);
}

static void write_text(const char *name, const char *text) {
    test_write(in(name), text, strlen(text));
}

static const char CONFIG[] = "{\"data\": {\"kind\": \"speech\", \"train\": [\"list.tsv\"], "
                             "\"validation\": [\"list.tsv\"]},\n"
                             " \"model\": {\"type\": \"whisper\", \"decoder_layers\": 1}, "
                             "\"teacher\": {\"weights\": \"t.bin\"},\n"
                             " \"train\": {\"epochs\": 2, \"batch\": 4, \"learning_rate\": 1e-4},\n"
                             " \"quantize\": [{\"format\": \"q8_0\"}]}\n";

static int prepare(void **state) {
    static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 3, 0, 0, 0, 4};
    static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 12};
    static const char head[] = "P6\n7 5\n255\n";
    unsigned char bytes[16 + 12 * 12] = {0};
    if (test_setup(state) != 0) return -1;
    folder = *state;
    memcpy(bytes, images, sizeof images);
    test_write(in("train-images-idx3-ubyte"), bytes, sizeof bytes);
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, labels, sizeof labels);
    test_write(in("train-labels-idx1-ubyte"), bytes, 8 + 12);
    memset(bytes, 9, sizeof bytes);
    memcpy(bytes, head, sizeof head - 1);
    test_write(in("a.ppm"), bytes, sizeof head - 1 + 5 * 7 * 3);
    write_sound("a.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16);
    write_sound("a.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16);
    copy_file("tests/golden/tokenizer.tiktoken", "t.tiktoken");
    test_make_folder(folder, "hf");
    test_make_folder(folder, "written");
    copy_file("tests/golden/tokenizer_hf/vocab.json", "hf/vocab.json");
    copy_file("tests/golden/tokenizer_hf/merges.txt", "hf/merges.txt");
    copy_file("tests/golden/tokenizer_hf/added_tokens.json", "hf/added_tokens.json");
    write_text("classes.tsv", "a.wav\tyes\na.flac\tno\na.wav\t3\n");
    write_text("list.tsv", "audio\ttext\tspeaker\na.wav\tone two\tann\na.flac\tthree\tbob\n");
    write_text("speech.json", CONFIG);
    whisper = tiny_whisper_file();
    return 0;
}

static int tidy_up(void **state) {
    kd_whisper_file_free(whisper);
    return test_teardown(state);
}

/* --- what is checked ----------------------------------------------------------------------------
 */

static void every_allocation_may_be_refused(void **state) {
    (void)state;
    refuse_every_allocation(OPERATIONS, COUNT);
}

/* Those of cJSON, too, which puts together what a config leaves out. */
static void a_config_needs_all_its_memory(void **state) {
    (void)state;
    const operation op = {"speech config", read_config, NULL, 0};
    int status;
    assert_ok(read_config());
    for (long n = 1; refuse(&op, KD_FAULT_ANY_MEMORY, n, &status); n++)
        if (status >= 0) fail_msg("allocation %ld: %d, %s", n, status, kd_error());
    assert_ok(status);
}

static void attempt_with(const operation *op, const char *bytes, size_t length) {
    int status;
    test_write(in(op->file), bytes, length);
    op->attempt(); /* a library may keep something the first time */
    refuse(op, KD_FAULT_MEMORY, 0, &status);
    assert_true(status <= KD_OK && status > -100);
    if (status < 0) assert_true(strlen(kd_error()) > 0);
}

static void damage(const operation *op) {
    char *bytes;
    size_t length;
    kd_rng rng = kd_rng_init(3, (uint64_t)(op - OPERATIONS));
    assert_ok(kd_file_read(&bytes, &length, in(op->file), 1 << 24));
    for (size_t i = 0; i < CUTS; i++) attempt_with(op, bytes, i * length / CUTS);
    for (size_t i = 0; i < CHANGES; i++) {
        const size_t range = i % 2 && length > 100 ? 100 : length; /* heads matter most */
        const size_t at = (size_t)kd_rng_below(&rng, range);
        const char kept = bytes[at];
        bytes[at] = i % 4 < 2 ? (char)kd_rng_below(&rng, 256) : "\n\t\"{0,9 "[i / 4 % 8];
        attempt_with(op, bytes, length);
        bytes[at] = kept;
    }
    test_write(in(op->file), bytes, length);
    free(bytes);
    assert_ok(op->attempt());
}

static void damaged_files_leave_nothing(void **state) {
    (void)state;
    /* Lists whose columns are damaged are warned of, at length. */
    fflush(stderr);
    const int kept = dup(STDERR_FILENO);
    assert_non_null(freopen("/dev/null", "w", stderr));
    for (int i = 0; i < COUNT; i++)
        if (OPERATIONS[i].file) damage(&OPERATIONS[i]);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
}

int main(void) {
    omp_set_num_threads(1); /* a team of threads takes and gives back when it likes */
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_be_refused),
                                       cmocka_unit_test(a_config_needs_all_its_memory),
                                       cmocka_unit_test(damaged_files_leave_nothing)};
    return cmocka_run_group_tests(tests, prepare, tidy_up);
}
