/* Models of many languages: which one is spoken is said or heard, and goes the whole way, into
 * prompts, labels, windows and rates. */
#include "speech_tiny.h"

#include "report/runlog.h"
#include "run_cli.h"
#include "tasks/speech/label.h"
#include "tasks/speech/transcribe.h"

enum { V = KD_MULTILINGUAL_VOCABULARY, RECORDINGS = 4 };

/* The bytes, and a number for each other ordinary token; `more` languages than the first such
 * models had. */
static kd_tokenizer *large_tokenizer(int more) {
    enum { ORDINARY = V - 1608 };
    static char text[ORDINARY][8];
    static kd_token_bytes token[ORDINARY];
    kd_tokenizer *out;
    for (int i = 0; i < ORDINARY; i++) {
        int length = 1;
        text[i][0] = (char)i;
        if (i > 255) length = snprintf(text[i], sizeof text[i], "%d", i);
        token[i] = (kd_token_bytes){text[i], (size_t)length};
    }
    assert_ok(kd_tokenizer_create(&out, token, ORDINARY, V + more, "large"));
    return out;
}

/* The tiny model with that vocabulary, which likes to end. */
static kd_whisper_file *large_file(int more, int audio_context) {
    kd_whisper_spec spec = TINY_SPEC;
    spec.vocabulary = V + more;
    spec.audio_context = audio_context;
    kd_whisper_file *file = tiny_whisper_file_of(&TINY_SPEC);
    kd_whisper_free(file->model);
    kd_tokenizer_free(file->tokenizer);
    file->model = tiny_whisper_of(&spec, KD_WHISPER_TRAIN_NOTHING);
    file->tokenizer = large_tokenizer(more);
    kd_whisper *m = file->model;
    const kd_real *end = m->tokens.table->tensor.value +
                         (int64_t)kd_tokenizer_ids(file->tokenizer)->end * TINY_WIDTH;
    for (int i = 0; i < TINY_WIDTH; i++) m->text_norm.beta->tensor.value[i] += 25 * end[i];
    kd_params_touch(m->params);
    return file;
}

static void a_transcript_has_its_language(void **state) {
    const char *path = test_path(*state, "sound.wav");
    kd_logmel *logmel;
    kd_whisper_sound *sound;
    kd_decoder decoder;
    kd_transcript t;
    tiny_sound(path, 30 * 16000, 1);
    kd_whisper_file *file = large_file(0, 1500);
    const kd_token_ids *ids = kd_tokenizer_ids(file->tokenizer);
    assert_true(ids->multilingual);
    assert_ok(kd_whisper_mel_create(&logmel, TINY_SPEC.mels));
    assert_ok(kd_whisper_sound_open(&sound, path, logmel));
    kd_decode_options options = {.language = -1, .task = ids->transcribe, .beam = 1};
    assert_ok(kd_decoder_init(&decoder, file->model, file->tokenizer, &options));
    assert_ok(kd_transcribe(&t, &decoder, sound, NULL, NULL));
    const int32_t heard = t.language;
    assert_true(heard >= ids->language && heard < ids->translate);
    assert_int_equal(decoder.options.language, -1); /* the next one may be in another */
    int32_t again;
    assert_ok(kd_decoder_language(&decoder, &again)); /* of the window it heard last */
    assert_int_equal(again, heard);
    kd_transcript_clear(&t);
    const int32_t given = heard == ids->language ? heard + 1 : ids->language;
    decoder.options.language = given;
    assert_ok(kd_transcribe(&t, &decoder, sound, NULL, NULL));
    assert_int_equal(t.language, given);
    assert_int_equal(decoder.options.language, given);
    kd_transcript_clear(&t);
    kd_decoder_clear(&decoder);
    kd_whisper_sound_close(sound);
    kd_logmel_free(logmel);
    kd_whisper_file_free(file);
}

/* Of languages that are equally likely, the first. */
static void languages_are_compared(void **state) {
    (void)state;
    enum { FRAMES = 100 };
    static kd_real mel[FRAMES * 80];
    kd_whisper_file *file = large_file(0, TINY_SPEC.audio_context);
    const kd_token_ids *ids = kd_tokenizer_ids(file->tokenizer);
    kd_real *row = file->model->tokens.table->tensor.value + (int64_t)ids->language * TINY_WIDTH;
    const kd_decode_options options = {.language = -1, .task = ids->transcribe, .beam = 1};
    kd_decoder decoder;
    int32_t found;
    tiny_mel(mel, FRAMES * 80);
    for (int i = 1; i < ids->languages; i++)
        memcpy(row + i * TINY_WIDTH, row, TINY_WIDTH * sizeof *row);
    kd_params_touch(file->model->params);
    assert_ok(kd_decoder_init(&decoder, file->model, file->tokenizer, &options));
    assert_ok(kd_decoder_listen(&decoder, mel, FRAMES));
    assert_ok(kd_decoder_language(&decoder, &found));
    assert_int_equal(found, ids->language);
    /* Others only as far as the model states them. */
    const int32_t stated[] = {ids->language + 7, ids->language + 3};
    assert_ok(kd_token_list_set(&file->model->generation.languages, stated, 2));
    assert_ok(kd_decoder_language(&decoder, &found));
    assert_int_equal(found, stated[0]);
    kd_decoder_clear(&decoder);
    kd_whisper_file_free(file);
}

static void labels_are_of_one_language(void **state) {
    test_folder *folder = *state;
    kd_utterances u = tiny_utterances(folder, RECORDINGS, RECORDINGS);
    kd_whisper_file *teacher = large_file(0, TINY_SPEC.audio_context);
    const kd_token_ids *ids = kd_tokenizer_ids(teacher->tokenizer);
    const kd_hash hash = {"0123456789abcdef0123456789abcdef"};
    char labels_in[KD_PATH_MAX];
    kd_labels labels;
    kd_label_options options = {.language = -1, .task = ids->transcribe};
    test_copy(labels_in, sizeof labels_in, test_path(folder, "labels"));
    assert_refused(kd_label_run(&labels, labels_in, &u, teacher, hash, &options), KD_ECONFIG,
                   "say which is spoken");
    options.language = kd_tokenizer_language(teacher->tokenizer, "german");
    assert_ok(kd_label_run(&labels, labels_in, &u, teacher, hash, &options));
    assert_int_equal(labels.count, RECORDINGS);
    kd_labels_clear(&labels);
    assert_ok(kd_label_check(labels_in, teacher, hash, &options));
    options.task = ids->translate;
    assert_refused(kd_label_check(labels_in, teacher, hash, &options), KD_EDATA, "task");
    options = (kd_label_options){.language = ids->language, .task = ids->transcribe};
    assert_refused(kd_label_check(labels_in, teacher, hash, &options), KD_EDATA, "language");
    kd_whisper_file_free(teacher);
    kd_utterances_free(&u);
}

/* English as OpenAI's evaluation writes it, others less changed, those without spaces by letters.
 */
static void texts_are_compared_as_their_language_is(void **state) {
    (void)state;
    static const struct {
        const char *code, *text, *normal;
        bool letters;
    } cases[] = {{"en", "Mr. Smith's colour, twenty-one!", "mister smith is color 21", false},
                 {"de", "Mr. Smith, Grün!", "mr smith grün ", false},
                 {"zh", "Mr。 a好", "m r a 好", true},
                 {"ja", "ab", "a b", true},
                 {"th", "ab", "a b", true},
                 {"lo", "ab", "a b", true},
                 {"my", "ab", "a b", true},
                 {"ko", "ab", "ab", false}};
    kd_tokenizer *t = large_tokenizer(1);
    char *normal;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int32_t language = kd_tokenizer_language(t, cases[i].code);
        assert_true(language >= 0);
        assert_true(kd_label_counts_letters(t, language) == cases[i].letters);
        assert_string_equal(kd_label_rate_name(t, language),
                            cases[i].letters ? "character error rate" : "word error rate");
        assert_ok(kd_label_normalize(&normal, cases[i].text, t, language));
        assert_string_equal(normal, cases[i].normal);
        free(normal);
    }
    assert_true(kd_label_counts_letters(t, kd_tokenizer_language(t, "yue")));
    kd_tokenizer_free(t);
}

/* --- the whole way -----------------------------------------------------------------------------
 */

static void write_run(test_folder *folder) {
    static const char config[] =
        "{\"data\": {\"kind\": \"speech\", \"train\": [\"list.tsv\"], \"validation\": [],"
        " \"test\": [\"list.tsv\"]},\n"
        " \"model\": {\"type\": \"whisper\", \"decoder_layers\": 1},\n"
        " \"teacher\": {\"weights\": \"teacher.bin\", \"wer\": 1e6},\n"
        " \"train\": {\"epochs\": 1, \"batch\": 4, \"learning_rate\": 0.001}}";
    kd_utterances u = tiny_utterances(folder, RECORDINGS, RECORDINGS);
    kd_whisper_file *teacher = large_file(0, TINY_SPEC.audio_context);
    kd_utterances_free(&u);
    assert_ok(kd_whisper_bin_write(test_path(folder, "teacher.bin"), teacher, &kd_format_f16));
    kd_whisper_file_free(teacher);
    test_write(test_path(folder, "tiny.json"), config, sizeof config - 1);
}

/* Behind a prompt of several tokens every row of a batch has its own targets: a student that
 * is its teacher has nothing to learn from them. */
static void rows_have_their_own_targets(void **state) {
    test_folder *folder = *state;
    char config[KD_PATH_MAX], runs[KD_PATH_MAX];
    kd_runlog_curves curves;
    write_run(folder);
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(runs, sizeof runs, test_path(folder, "runs"));
    if (DISTILL("train", config, "--runs", runs, "--set", "data.language=zh", "--set",
                "data.concatenate=none", "--set", "model={\"type\": \"whisper\"}", "--set",
                "teacher.targets={\"kind\": \"hidden\", \"dtype\": \"float32\"}") != 0)
        fail_msg("%s", complained);
    assert_ok(kd_runlog_read(&curves, test_path(folder, "runs/tiny/log.jsonl")));
    assert_true(curves.step_count > 0);
    const double kl = kd_runlog_value(&curves, &curves.step[0], "kl");
    if (!(fabs(kl) < 1e-7)) fail_msg("KL is %g", kl);
    kd_runlog_free(&curves);
}

static void a_student_keeps_its_language(void **state) {
    test_folder *folder = *state;
    char config[KD_PATH_MAX], runs[KD_PATH_MAX], model[KD_PATH_MAX], *first;
    size_t length;
    write_run(folder);
    test_copy(config, sizeof config, test_path(folder, "tiny.json"));
    test_copy(runs, sizeof runs, test_path(folder, "runs"));
    assert_int_equal(DISTILL("label", config, "--runs", runs, "--set", "data.language=klingon"),
                     -KD_ECONFIG);
    assert_says(complained, "data.language: the teacher knows no language \"klingon\"");
    if (DISTILL("train", config, "--runs", runs, "--set", "data.language=Chinese") != 0)
        fail_msg("%s", complained);
    assert_says(printed, "character error rate");
    assert_ok(kd_file_read(
        &first, &length, test_path(folder, "runs/tiny/labels/train/labels-00000.jsonl"), 1 << 20));
    assert_says(first, "\"language\": \"zh\"");
    assert_says(first, "\"task\": \"transcribe\"");
    free(first);
    /* Models whose tokens mean something else, or that hear otherwise, are not measured beside it.
     */
    kd_whisper_file *other = large_file(1, TINY_SPEC.audio_context);
    test_copy(model, sizeof model, test_path(folder, "other.bin"));
    assert_ok(kd_whisper_bin_write(model, other, &kd_format_f16));
    kd_whisper_file_free(other);
    assert_int_equal(DISTILL("eval", config, model, "--set", "data.language=zh"), -KD_EDATA);
    assert_says(complained, "has 51866 tokens, the teacher 51865");
    other = large_file(0, TINY_SPEC.audio_context + 10);
    assert_ok(kd_whisper_bin_write(model, other, &kd_format_f16));
    kd_whisper_file_free(other);
    assert_int_equal(DISTILL("eval", config, model, "--set", "data.language=zh"), -KD_EDATA);
    assert_says(complained, "hears 60 positions of 80 mels, the teacher 50 of 80");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_transcript_has_its_language), TEST(languages_are_compared),
        TEST(labels_are_of_one_language),    TEST(texts_are_compared_as_their_language_is),
        TEST(a_student_keeps_its_language),  TEST(rows_have_their_own_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
