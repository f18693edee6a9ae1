/* Greedy decoding of several recordings, and the label stage made of it. */
#include "speech_tiny.h"

#include <sys/stat.h>

#include "distill/trainer.h"
#include "tasks/speech/decode.h"
#include "tasks/speech/features.h"
#include "tasks/speech/greedy.h"
#include "tasks/speech/label.h"

static const kd_label_options OPTIONS = {.language = -1, .task = -1};
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
        assert_string_equal(x->sound.hex, y->sound.hex);
    }
}

/* `count` utterances of different short sounds. */
static kd_utterances many(test_folder *folder, int count) {
    return tiny_utterances_of(folder, count, count, 1600, 7);
}

static long lines_in(test_folder *folder, const char *name) {
    char *text;
    size_t length;
    long lines = 0;
    assert_ok(kd_file_read(&text, &length, test_path(folder, name), 1 << 24));
    for (size_t i = 0; i < length; i++) lines += text[i] == '\n';
    free(text);
    return lines;
}

static ino_t inode_of(test_folder *folder, const char *name) {
    struct stat info;
    assert_int_equal(stat(test_path(folder, name), &info), 0);
    return info.st_ino;
}

/* Two shards; what is there is read and not heard again, in every bit what was heard. */
static void labels_are_made_once(void **state) {
    test_folder *folder = *state;
    char out[KD_PATH_MAX];
    kd_utterances u = many(folder, KD_LABELS_IN_SHARD + 7);
    kd_labels made, read;
    test_copy(out, sizeof out, test_path(folder, "labels"));
    assert_ok(run(&made, out, &u));
    assert_int_equal(made.count, u.count);
    assert_true(fabs(made.item[1].seconds - 1607.0 / 16000) < 1e-9);
    assert_int_equal(made.item[0].wer.words, 2);
    assert_int_equal(lines_in(folder, "labels/labels-00000.jsonl"), 1 + KD_LABELS_IN_SHARD);
    assert_int_equal(lines_in(folder, "labels/labels-00001.jsonl"), 1 + 7);
    const ino_t before[2] = {inode_of(folder, "labels/labels-00000.jsonl"),
                             inode_of(folder, "labels/labels-00001.jsonl")};
    assert_ok(run(&read, out, &u));
    assert_labels_equal(&made, &read);
    assert_true(before[0] == inode_of(folder, "labels/labels-00000.jsonl") &&
                before[1] == inode_of(folder, "labels/labels-00001.jsonl"));
    kd_labels_clear(&read);
    kd_labels_clear(&made);
    kd_utterances_free(&u);
}

/* A label belongs to a sound: rows go, come, move, and their texts are corrected, and only what is
 * new is heard. */
static void rows_come_and_go(void **state) {
    test_folder *folder = *state;
    char out[KD_PATH_MAX], copy[KD_PATH_MAX];
    kd_utterances u = many(folder, 9);
    kd_labels made, read;
    test_copy(out, sizeof out, test_path(folder, "labels"));
    assert_ok(run(&made, out, &u));
    const ino_t before = inode_of(folder, "labels/labels-00000.jsonl");
    static const int order[] = {8, 0, 1, 3, 7, 4, 0}; /* 2, 5, 6 are gone; 0 is there twice */
    static char text[] = "something else", nobody[] = "";
    kd_utterance item[7];
    for (int i = 0; i < 7; i++) item[i] = u.item[order[i]];
    item[1].text = text;
    test_copy(copy, sizeof copy, test_path(folder, "renamed.wav"));
    assert_int_equal(rename(item[2].audio, copy), 0);
    item[2].audio = copy;
    const kd_utterances moved = {.item = item, .count = 7};
    assert_ok(run(&read, out, &moved));
    assert_true(before == inode_of(folder, "labels/labels-00000.jsonl"));
    for (int i = 0; i < 7; i++) {
        assert_string_equal(read.item[i].said, made.item[order[i]].said);
        assert_true(read.item[i].average == made.item[order[i]].average);
        assert_true(read.item[i].utterance == &item[i]);
    }
    assert_string_equal(read.item[6].sound.hex, read.item[1].sound.hex);
    assert_int_equal(read.item[0].wer.words, 2);
    kd_labels_clear(&read);
    item[3] = (kd_utterance){copy, nobody, nobody, NULL, 0}; /* another sound by the same name */
    tiny_sound(copy, 5000, 77);
    item[2] = item[3];
    assert_ok(run(&read, out, &moved));
    assert_int_equal(lines_in(folder, "labels/labels-00000.jsonl"), 1 + 9 + 1);
    assert_true(fabs(read.item[2].seconds - 5000.0 / 16000) < 1e-9);
    assert_string_equal(read.item[2].said, read.item[3].said);
    kd_labels_clear(&read);
    kd_labels_clear(&made);
    kd_utterances_free(&u);
}

/* Stopping keeps what was heard, and going on gives what one go gives. */
static void stopping_changes_nothing(void **state) {
    test_folder *folder = *state;
    char parts[KD_PATH_MAX], whole[KD_PATH_MAX];
    kd_utterances u = many(folder, 2 * N + 2);
    kd_labels a, b;
    test_copy(parts, sizeof parts, test_path(folder, "parts"));
    test_copy(whole, sizeof whole, test_path(folder, "whole"));
    for (int stop = 1; stop <= 2; stop++) {
        char part[64];
        snprintf(part, sizeof part, "stopped with %d of %d recordings", stop * N, 2 * N + 2);
        kd_train_request_stop();
        assert_refused(run(&a, parts, &u), KD_EAGAIN, part);
        assert_int_equal(lines_in(folder, "parts/labels-00000.jsonl"), 1 + stop * N);
        kd_labels_clear(&a);
    }
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
    const ino_t before = inode_of(folder, "labels/labels-00000.jsonl");
    const kd_hash other = kd_hash_bytes("other", 5);
    char part[160];
    snprintf(part, sizeof part, "made with teacher = %s, now it is %s; use another name",
             teacher_hash().hex, other.hex);
    assert_refused(kd_label_run(&labels, out, &u, teacher, other, &OPTIONS), KD_EDATA, part);
    kd_labels_clear(&labels);
    teacher->model->generation.max_length = 3; /* what the model's files state decides, too */
    assert_refused(kd_label_run(&labels, out, &u, teacher, teacher_hash(), &OPTIONS), KD_EDATA,
                   "made with generation = ");
    kd_labels_clear(&labels);
    static const char *const damage[][3] = {
        {"\"said\": ", "\"Said\": ", "\"said\" should be a string"},
        {"\"sound\": \"", "\"sound\":  ", "jsonl:2:"},
        {"\"tokens\": [", "\"tokens\": {", "jsonl:2:"},
        {"\"seconds\": ", "\"seconds\":-", "\"seconds\" should be at least 0"},
        {"distill labels", "distill Labels", "should be \"distill labels\""},
        {"\"version\": 2", "\"version\": 1", "belong to the rows of a list"},
        {"\"language\": \"en\"", "\"language\": \"de\"", "made with language = de, now it is en"},
        {"\"task\": \"transcribe\"", "\"task\": \"translate \"", "task = translate , now it is"},
        {"greedy-1", "greedy-0", "made with decoding = greedy-0, now it is greedy-1"},
        {"\"tokens\": \"", "\"Tokens\": \"", "\"tokens\" should be a string"},
    };
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        change(shard, damage[i][0], damage[i][1]);
        assert_refused(run(&labels, out, &u), KD_EDATA, damage[i][2]);
        kd_labels_clear(&labels);
        change(shard, damage[i][1], damage[i][0]);
    }
    assert_true(before == inode_of(folder, "labels/labels-00000.jsonl"));
    char *text;
    size_t length;
    assert_ok(kd_file_read(&text, &length, shard, 1 << 20));
    for (size_t cut = 0; cut < length; cut += 13) {
        if (cut > 0 && text[cut - 1] == '\n') continue; /* whole lines are whole labels */
        test_write(shard, text, cut);
        assert_int_equal(run(&labels, out, &u), KD_EDATA);
        kd_labels_clear(&labels);
    }
    free(text);
    kd_whisper_file_free(teacher);
    kd_utterances_free(&u);
}

/* One line behind the header, by hand: what each of its members may be. */
static void lines_have_their_bounds(void **state) {
    test_folder *folder = *state;
#define HEX   "\"sound\": \"0123456789abcdef0123456789abcdef\""
#define HEARD "\"audio\": \"a\", \"said\": \"x\", \"seconds\": 0, \"average\": -1"
    static const struct {
        const char *line, *part; /* of the refusal; NULL: taken */
    } cases[] = {
        {HEX ", " HEARD ", \"tokens\": [0, 1863]", NULL},
        {HEX ", " HEARD ", \"tokens\": []", NULL},
        {HEX ", \"audio\": \"a\", \"skipped\": true", NULL},
        {HEX ", \"audio\": \"a\", \"unreadable\": \"why\"", NULL},
        {HEX ", " HEARD ", \"tokens\": [0, 1864]", "\"tokens\" should be ids of the vocabulary"},
        {HEX ", " HEARD ", \"tokens\": [-1]", "\"tokens\" should be ids of the vocabulary"},
        {HEX ", " HEARD ", \"tokens\": [1.5]", "\"tokens\" should be ids of the vocabulary"},
        {HEX ", " HEARD ", \"tokens\": [\"a\"]", "\"tokens\" should be ids of the vocabulary"},
        {HEX ", " HEARD ", \"tokens\": 3", "\"tokens\" should be an array"},
        {HEX ", " HEARD, "\"tokens\" should be an array"},
        {HEX ", \"said\": \"x\", \"seconds\": 1, \"average\": \"-1\", \"tokens\": []",
         "\"average\" should be a number"},
        {HEX ", \"said\": \"x\", \"average\": 0, \"tokens\": []", "\"seconds\" should be a number"},
        {HEX ", \"unreadable\": 3", "\"unreadable\" should be a string"},
        {HEX ", \"skipped\": false", "\"said\" should be a string"},
        {"\"sound\": \"0123456789abcdef0123456789abcde\", " HEARD ", \"tokens\": []",
         "\"sound\" should be 32 lower-case hexadecimal digits"},
        {"\"sound\": \"0123456789abcdef0123456789abcdef0\", " HEARD ", \"tokens\": []",
         "\"sound\" should be 32 lower-case hexadecimal digits"},
        {"\"sound\": \"0123456789abcdef0123456789ABCDEF\", " HEARD ", \"tokens\": []",
         "\"sound\" should be 32 lower-case hexadecimal digits"},
        {HEARD ", \"tokens\": []", "\"sound\" should be a string"},
    };
    char out[KD_PATH_MAX], shard[KD_PATH_MAX], text[2048], *old;
    size_t length;
    kd_utterances u = tiny_utterances(folder, 1, 1);
    kd_labels labels;
    test_copy(out, sizeof out, test_path(folder, "labels"));
    test_copy(shard, sizeof shard, test_path(folder, "labels/labels-00000.jsonl"));
    assert_ok(run(&labels, out, &u));
    kd_labels_clear(&labels);
    assert_ok(kd_file_read(&old, &length, shard, 1 << 20));
    const int header = (int)(strchr(old, '\n') - old + 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int n = snprintf(text, sizeof text, "%.*s{%s}\n", header, old, cases[i].line);
        test_write(shard, text, (size_t)n);
        const int status = run(&labels, out, &u);
        kd_labels_clear(&labels);
        if (cases[i].part ? status != KD_EDATA || !strstr(kd_error(), cases[i].part) ||
                                !strstr(kd_error(), "jsonl:2:")
                          : status != KD_OK)
            fail_msg("%s: %d, %s", cases[i].line, status, status < 0 ? kd_error() : "");
    }
    free(old);
    kd_utterances_free(&u);
}

/* Too long ones are left out, and so is what is no sound or not there: named, kept in mind, and
 * heard when it has been mended. */
static void sounds_that_cannot_be_labelled(void **state) {
    test_folder *folder = *state;
    char out[KD_PATH_MAX];
    kd_utterances u = many(folder, 4);
    kd_labels labels;
    tiny_sound(u.item[1].audio, 16001, 1);
    tiny_sound(u.item[2].audio, 0, 1);
    assert_int_equal(remove(u.item[3].audio), 0);
    test_copy(out, sizeof out, test_path(folder, "labels"));
    for (int time = 0; time < 2; time++) {
        assert_ok(run(&labels, out, &u));
        assert_int_equal(labels.skipped, 1);
        assert_int_equal(labels.unreadable, 2);
        assert_true(labels.item[1].skipped && labels.item[0].count > 0);
        assert_non_null(labels.item[2].fault);
        assert_string_equal(labels.item[3].fault, "No such file or directory");
        for (int i = 1; i < 4; i++) assert_false(kd_label_kept(&labels.item[i], NO_MATTER));
        kd_labels_clear(&labels);
        assert_int_equal(lines_in(folder, "labels/labels-00000.jsonl"), 1 + 3);
    }
    for (int i = 1; i < 4; i++) tiny_sound(u.item[i].audio, 16000, i); /* just fits */
    assert_ok(run(&labels, out, &u));
    assert_true(labels.skipped == 0 && labels.unreadable == 0 && labels.item[3].count > 0);
    assert_int_equal(lines_in(folder, "labels/labels-00000.jsonl"), 1 + 3 + 3);
    kd_labels_clear(&labels);
    kd_utterances_free(&u);
}

/* Three and more than one in ten: no accident. What was heard until then is kept. */
static void too_many_that_cannot_be_read(void **state) {
    test_folder *folder = *state;
    char out[KD_PATH_MAX];
    kd_utterances u = many(folder, 31);
    kd_labels labels;
    test_copy(out, sizeof out, test_path(folder, "labels"));
    for (int i = 27; i < 31; i++) test_write(u.item[i].audio, "this is no sound", (size_t)(i - 20));
    assert_refused(run(&labels, out, &u), KD_EDATA, "4 of 31 recordings cannot be read; more than");
    kd_labels_clear(&labels);
    assert_int_equal(lines_in(folder, "labels/labels-00000.jsonl"), 1 + 31);
    tiny_sound(u.item[27].audio, 3000, 99);
    assert_ok(run(&labels, out, &u)); /* three of 31 */
    assert_int_equal(labels.unreadable, 3);
    kd_labels_clear(&labels);
    for (int i = 0; i < 31; i++) remove(u.item[i].audio);
    test_copy(out, sizeof out, test_path(folder, "untouched"));
    assert_refused(run(&labels, out, &u), KD_ENOINPUT, "31 of 31 recordings cannot be read");
    assert_false(kd_file_exists(out));
    kd_labels_clear(&labels);
    kd_utterances_free(&u);
}

/* Languages that write no spaces are compared by letters; which they are is Whisper's choice. */
static void letters_or_words(void **state) {
    (void)state;
    enum { ORDINARY = 50257 };
    static char bytes[ORDINARY][3];
    static kd_token_bytes token[ORDINARY];
    kd_tokenizer *t, *english = tiny_tokenizer(TINY_VOCABULARY);
    for (int i = 0; i < ORDINARY; i++) {
        const int pair = i - 256;
        if (i < 256)
            bytes[i][0] = (char)i;
        else
            memcpy(bytes[i], (char[]){(char)(pair / 256), (char)(pair % 256), 'x'}, 3);
        token[i] = (kd_token_bytes){bytes[i], i < 256 ? 1 : 3};
    }
    assert_ok(kd_tokenizer_create(&t, token, ORDINARY, 51866, "many"));
    static const char *const code[] = {"zh", "yue", "ja", "th", "lo", "my", "en", "ko", "de", "km"};
    for (int i = 0; i < 10; i++) {
        const int32_t language = kd_tokenizer_language(t, code[i]);
        assert_true(kd_label_counts_letters(t, language) == (i < 6));
        assert_string_equal(kd_label_rate_name(t, language),
                            i < 6 ? "character error rate" : "word error rate");
    }
    char *text;
    assert_ok(kd_label_normalize(&text, "你好，世", t, kd_tokenizer_language(t, "zh")));
    assert_string_equal(text, "你 好 世");
    free(text);
    assert_ok(kd_label_normalize(&text, "Das ist's.", t, kd_tokenizer_language(t, "de")));
    assert_string_equal(text, "das ist s ");
    free(text);
    assert_false(kd_label_counts_letters(english, -1));
    assert_ok(kd_label_normalize(&text, "It's", english, -1));
    assert_string_equal(text, "it is");
    free(text);
    kd_tokenizer_free(english);
    kd_tokenizer_free(t);
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
    static char words[] =
        "and so my fellow americans ask not what your country can do for you, ask "
        "what you can do for your country",
                nobody[] = "";
    test_folder *folder = *state;
    char model[KD_PATH_MAX], speech[KD_PATH_MAX];
    test_need(model, "whisper/ggml-base.en.bin");
    test_need(speech, "speech/jfk.flac");
    kd_utterance jfk = {speech, words, nobody, NULL, 0};
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
        cmocka_unit_test_setup_teardown(rows_come_and_go, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(stopping_changes_nothing, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(labels_of_something_else_are_refused, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(lines_have_their_bounds, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(sounds_that_cannot_be_labelled, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(too_many_that_cannot_be_read, test_setup, test_teardown),
        cmocka_unit_test(letters_or_words),
        cmocka_unit_test(what_is_kept),
        cmocka_unit_test_setup_teardown(base_en_labels_speech, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("label", tests, NULL, NULL);
}
