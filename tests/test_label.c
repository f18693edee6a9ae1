/* Greedy decoding of several recordings, and the label stage made of it. */
#include "speech_tiny.h"

#include "distill/trainer.h"
#include "speech/decode.h"
#include "speech/greedy.h"
#include "speech/hearing.h"
#include "speech/label.h"

static const kd_label_options OPTIONS = {-1, -1};
static const double NO_MATTER = 1e9;

static kd_hash teacher_hash(void) {
    return kd_hash_bytes("teacher", 7);
}

static int run(kd_labels *out, const char *folder, const kd_utterances *u) {
    kd_whisper_file *teacher = tiny_whisper_file();
    const int status = kd_label_run(out, folder, u, teacher, teacher_hash(), &OPTIONS);
    kd_whisper_file_free(teacher);
    return status;
}

/* --- decoding ----------------------------------------------------------------------------------
 */

enum { N = KD_GREEDY_MOST, MOST = 64 };

typedef struct {
    int32_t token[MOST];
    int count;
    double average;
} kept;

static void keep(kept *out, const kd_greedy_text *from) {
    *out = (kept){.count = from->count, .average = from->average};
    assert_true(from->count <= MOST);
    memcpy(out->token, from->token, (size_t)from->count * sizeof *from->token);
}

static void assert_same(const kept *a, const kept *b) {
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->token, b->token, (size_t)a->count * sizeof *a->token);
    assert_true(a->average == b->average);
}

/* Each recording gets the bits it gets alone, from sound and from what the encoder made of it; and
 * the tokens that kd_decoder finds. */
static void company_changes_nothing(void **state) {
    (void)state;
    kd_whisper_file *file = tiny_whisper_file();
    const kd_whisper *m = file->model;
    const int64_t frames = 2 * m->spec.audio_context, size = frames * m->spec.mels;
    const int64_t heard = m->spec.audio_context * m->spec.width;
    kd_real *mel = malloc((size_t)(N * size) * sizeof *mel);
    kd_real *memory = malloc((size_t)heard * sizeof *memory);
    kd_tape *tape;
    kd_greedy *greedy;
    kd_greedy_text found[N];
    kept together[N], alone;
    int different = 0;
    for (int64_t i = 0; i < N * size; i++)
        mel[i] = (kd_real)((i * (31 + i / size) + i / 977) % 101) / 50 - 1;
    assert_ok(kd_tape_create(&tape, 0));
    assert_ok(kd_greedy_create(&greedy, m, file->tokenizer, -1, -1));
    assert_ok(kd_greedy_listen(greedy, mel, N, frames));
    assert_ok(kd_greedy_run(greedy, found));
    for (int i = 0; i < N; i++) keep(&together[i], &found[i]);
    for (int i = 0; i < N; i++) {
        assert_ok(kd_greedy_listen(greedy, mel + i * size, 1, frames));
        assert_ok(kd_greedy_run(greedy, found));
        keep(&alone, &found[0]);
        assert_same(&alone, &together[i]);
        assert_ok(kd_whisper_encode(m, tape, memory, mel + i * size, 1, frames));
        assert_ok(kd_greedy_listen_encoded(greedy, memory, 1, m->spec.audio_context));
        assert_ok(kd_greedy_run(greedy, found));
        keep(&alone, &found[0]);
        assert_same(&alone, &together[i]);
        different += alone.average != together[0].average;
    }
    assert_true(different > 0);
    const kd_decode_options options = {.language = -1, .task = -1, .beam = 1};
    kd_decoder decoder;
    assert_ok(kd_decoder_init(&decoder, m, file->tokenizer, &options));
    for (int i = 0; i < N; i++) {
        kd_decoded d;
        assert_ok(kd_decoder_listen(&decoder, mel + i * size, frames));
        assert_ok(kd_decoder_run(&decoder, &d, NULL, 0, 0));
        assert_int_equal(d.count, together[i].count);
        assert_memory_equal(d.token, together[i].token, (size_t)d.count * sizeof *d.token);
        assert_float_equal(d.average, together[i].average, 1e-4);
    }
    kd_decoder_clear(&decoder);
    kd_greedy_free(greedy);
    kd_tape_free(tape);
    kd_whisper_file_free(file);
    free(memory);
    free(mel);
}

/* --- the stage ---------------------------------------------------------------------------------
 */

static void assert_labels_equal(const kd_labels *a, const kd_labels *b) {
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        const kd_label *x = &a->item[i], *y = &b->item[i];
        assert_int_equal(x->count, y->count);
        assert_memory_equal(x->token, y->token, (size_t)x->count * sizeof *x->token);
        assert_string_equal(x->said, y->said);
        assert_true(x->average == y->average && x->seconds == y->seconds);
        assert_memory_equal(&x->wer, &y->wer, sizeof x->wer);
    }
    assert_string_equal(a->hash.hex, b->hash.hex);
}

/* Two shards; what is there is read and not heard again, in every bit what was heard. */
static void labels_are_made_once(void **state) {
    test_folder *folder = *state;
    char out[KD_PATH_MAX];
    kd_utterances u = tiny_utterances(folder, KD_LABELS_IN_SHARD + 7, 9);
    kd_labels made, read;
    test_copy(out, sizeof out, test_path(folder, "labels"));
    assert_ok(run(&made, out, &u));
    assert_int_equal(made.count, u.count);
    assert_true(fabs(made.item[1].seconds - 3300.0 / 16000) < 1e-9);
    assert_int_equal(made.item[0].wer.words, 2);
    assert_int_equal(made.item[9].count, made.item[0].count); /* the same sound */
    FILE *sound = fopen(test_path(folder, "k0.wav"), "r+b");  /* no sound any more, as large */
    assert_non_null(sound);
    assert_int_equal(fwrite("no", 1, 2, sound), 2);
    fclose(sound);
    assert_ok(run(&read, out, &u));
    assert_labels_equal(&made, &read);
    kd_labels_clear(&read);
    assert_int_equal(remove(test_path(folder, "labels/labels-00001.jsonl")), 0);
    assert_refused(run(&read, out, &u), KD_EDATA, "k0.wav");
    kd_labels_clear(&made);
    kd_labels_clear(&read);
    kd_utterances_free(&u);
}

/* Stopping keeps whole shards, and going on gives what one go gives. */
static void stopping_changes_nothing(void **state) {
    test_folder *folder = *state;
    char parts[KD_PATH_MAX], whole[KD_PATH_MAX];
    kd_utterances u = tiny_utterances(folder, KD_LABELS_IN_SHARD + 7, 9), first = u;
    kd_labels a, b;
    first.count = KD_LABELS_IN_SHARD;
    test_copy(parts, sizeof parts, test_path(folder, "parts"));
    test_copy(whole, sizeof whole, test_path(folder, "whole"));
    assert_ok(run(&a, parts, &first));
    kd_labels_clear(&a);
    kd_train_request_stop();
    assert_refused(run(&a, parts, &u), KD_EAGAIN, "stopped at utterance 120 of 127");
    assert_false(kd_file_exists(test_path(folder, "parts/labels-00001.jsonl")));
    kd_labels_clear(&a);
    assert_ok(run(&a, parts, &u));
    assert_ok(run(&b, whole, &u));
    assert_labels_equal(&a, &b);
    kd_labels_clear(&a);
    kd_labels_clear(&b);
    kd_utterances_free(&u);
}

/* Writes `text` in the place of `old` of a file, as long. */
static void change(const char *path, const char *old, const char *new) {
    char *text;
    size_t length;
    assert_int_equal(strlen(old), strlen(new));
    assert_ok(kd_file_read(&text, &length, path, 1 << 20));
    char *at = strstr(text, old);
    assert_non_null(at);
    memcpy(at, new, strlen(new));
    test_write(path, text, length);
    free(text);
}

static void labels_of_something_else_are_refused(void **state) {
    test_folder *folder = *state;
    char out[KD_PATH_MAX], shard[KD_PATH_MAX];
    kd_utterances u = tiny_utterances(folder, 3, 3);
    kd_whisper_file *teacher = tiny_whisper_file();
    kd_labels labels;
    test_copy(out, sizeof out, test_path(folder, "labels"));
    test_copy(shard, sizeof shard, test_path(folder, "labels/labels-00000.jsonl"));
    assert_ok(run(&labels, out, &u));
    kd_labels_clear(&labels);
    assert_refused(kd_label_run(&labels, out, &u, teacher, kd_hash_bytes("other", 5), &OPTIONS),
                   KD_EDATA, "labels of another teacher");
    kd_labels_clear(&labels);
    u.item[1].text[0] = 'N';
    assert_refused(run(&labels, out, &u), KD_EDATA, "labels of other utterances");
    kd_labels_clear(&labels);
    u.item[1].text[0] = 'n';
    static const char *const damage[][3] = {
        {"\"k1.wav\"", "\"k2.wav\"", "jsonl:3:11: \"audio\" should be k1.wav"},
        {"\"said\": ", "\"Said\": ", "\"said\" should be a string"},
        {"\"tokens\": [", "\"tokens\": {", "jsonl:2:"},
        {"\"wer\": [2,", "\"wer\": [-,", "jsonl:2:"},
        {"\"seconds\"", "\"Seconds\"", "\"seconds\" should be a number"},
        {"distill labels", "distill Labels", "should be \"distill labels\""},
        {"\"language\": -1", "\"language\": -2", "language -2"},
    };
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        change(shard, damage[i][0], damage[i][1]);
        assert_refused(run(&labels, out, &u), KD_EDATA, damage[i][2]);
        kd_labels_clear(&labels);
        change(shard, damage[i][1], damage[i][0]);
    }
    char *text;
    size_t length;
    assert_ok(kd_file_read(&text, &length, shard, 1 << 20));
    for (size_t cut = 0; cut < length; cut += 13) {
        test_write(shard, text, cut);
        assert_int_equal(run(&labels, out, &u), KD_EDATA);
        kd_labels_clear(&labels);
    }
    free(text);
    kd_whisper_file_free(teacher);
    kd_utterances_free(&u);
}

/* Too long ones are left out, what is no sound is named. */
static void sounds_that_cannot_be_labelled(void **state) {
    test_folder *folder = *state;
    char out[KD_PATH_MAX];
    kd_utterances u = tiny_utterances(folder, 3, 3);
    kd_labels labels, read;
    tiny_sound(u.item[1].audio, 16001, 1);
    test_copy(out, sizeof out, test_path(folder, "labels"));
    assert_ok(run(&labels, out, &u));
    assert_int_equal(labels.skipped, 1);
    assert_true(labels.item[1].skipped && !labels.item[0].skipped && labels.item[2].count > 0);
    assert_false(kd_label_kept(&labels.item[1], NO_MATTER));
    assert_ok(run(&read, out, &u));
    assert_true(read.skipped == 1 && read.item[1].skipped);
    kd_labels_clear(&labels);
    kd_labels_clear(&read);
    assert_int_equal(remove(test_path(folder, "labels/labels-00000.jsonl")), 0);
    tiny_sound(u.item[1].audio, 16000, 1); /* just fits */
    assert_ok(run(&labels, out, &u));
    assert_int_equal(labels.skipped, 0);
    kd_labels_clear(&labels);
    assert_int_equal(remove(test_path(folder, "labels/labels-00000.jsonl")), 0);
    tiny_sound(u.item[2].audio, 0, 1);
    assert_refused(run(&labels, out, &u), KD_EDATA, "k2.wav");
    kd_labels_clear(&labels);
    test_write(u.item[2].audio, "", 0);
    assert_refused(run(&labels, out, &u), KD_EDATA, "k2.wav");
    kd_labels_clear(&labels);
    assert_int_equal(remove(u.item[2].audio), 0);
    assert_refused(run(&labels, out, &u), KD_ENOINPUT, "k2.wav");
    kd_labels_clear(&labels);
    kd_utterances_free(&u);
}

static void what_is_kept(void **state) {
    (void)state;
    kd_label label = {.wer = {.words = 10, .substitutions = 1}};
    assert_false(kd_label_kept(&label, 0.1));
    assert_true(kd_label_kept(&label, 0.11));
    label.wer = (kd_wer){0};
    assert_false(kd_label_kept(&label, NO_MATTER)); /* no reference */
}

/* The genuine base.en hears what Kennedy said. */
static void base_en_labels_speech(void **state) {
#if defined KD_DOUBLE || defined __SANITIZE_ADDRESS__
    (void)state;
    printf("SKIP base.en is heard in the release build alone: here it takes minutes\n");
    skip();
#else
    static char words[] = "and so my fellow americans ask not what your country can do for you, ask "
                          "what you can do for your country",
                nobody[] = "";
    test_folder *folder = *state;
    char model[KD_PATH_MAX], speech[KD_PATH_MAX];
    test_need(model, "whisper/ggml-base.en.bin");
    test_need(speech, "speech/jfk.flac");
    kd_utterance jfk = {speech, words, nobody};
    const kd_utterances u = {.item = &jfk, .count = 1};
    kd_whisper_file *teacher;
    kd_labels labels;
    assert_ok(kd_whisper_file_open(&teacher, model, KD_WHISPER_TRAIN_NOTHING));
    assert_ok(kd_label_run(&labels, folder->path, &u, teacher, teacher_hash(), &OPTIONS));
    assert_string_equal(labels.item[0].said,
                        "And so my fellow Americans ask not what your country can do for you, ask "
                        "what you can do for your country.");
    assert_int_equal(labels.item[0].wer.words, 22);
    assert_true(kd_label_kept(&labels.item[0], 0.01));
    assert_float_equal(labels.item[0].seconds, 11, 0.01);
    kd_labels_clear(&labels);
    kd_whisper_file_free(teacher);
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test_setup_teardown(labels_are_made_once, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(stopping_changes_nothing, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(labels_of_something_else_are_refused, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(sounds_that_cannot_be_labelled, test_setup, test_teardown),
        cmocka_unit_test(what_is_kept),
        cmocka_unit_test_setup_teardown(base_en_labels_speech, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("label", tests, NULL, NULL);
}
