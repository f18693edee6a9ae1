/* Lists of recorded speech in their four forms. */
#include "test_data.h"

#include "asserts.h"
#include "data/utterances.h"

static int parse(kd_utterances *out, const char *text, size_t length, const char *path) {
    char *copy = malloc(length + 1);
    assert_non_null(copy);
    memcpy(copy, text, length);
    copy[length] = '\0';
    const int status = kd_utterances_parse(out, copy, length, path);
    free(copy);
    return status;
}

static void assert_utterance(const kd_utterances *u, int64_t i, const char *audio, const char *text,
                             const char *speaker) {
    assert_true(i < u->count);
    assert_string_equal(u->item[i].audio, audio);
    assert_string_equal(u->item[i].text, text);
    assert_string_equal(u->item[i].speaker, speaker);
}

/* Appends `text` to u as the list `path`. */
static void read_text(kd_utterances *u, const char *path, const char *text) {
    assert_ok(parse(u, text, strlen(text), path));
}

static void plain_and_named_columns(void **state) {
    (void)state;
    kd_utterances u = {0};
    read_text(&u, "far/list.tsv", "a.wav\tone two\r\n\n/b.wav\t\tann\n");
    read_text(&u, "list.tsv", "speaker\tlength\taudio\ttext\nbob\t3\tc.wav\tthr\xc3\xa9\n");
    read_text(&u, "far/list.tsv", "path\tsentence\nd.wav\tfour\n");
    assert_int_equal(u.count, 4);
    assert_utterance(&u, 0, "far/a.wav", "one two", "");
    assert_utterance(&u, 1, "/b.wav", "", "ann");
    assert_utterance(&u, 2, "c.wav", "thr\xc3\xa9", "bob");
    assert_utterance(&u, 3, "far/d.wav", "four", "");
    kd_utterances_free(&u);
}

static void common_voice(void **state) {
    (void)state;
    kd_utterances u = {0};
    read_text(&u, "cv/test.tsv",
              "client_id\tpath\tsentence\tup_votes\nf00\tx.mp3\t\"Oh!\" she said.\t2\n");
    assert_utterance(&u, 0, "cv/clips/x.mp3", "\"Oh!\" she said.", "f00");
    kd_utterances_free(&u);
}

static void json_lines(void **state) {
    (void)state;
    kd_utterances u = {0};
    read_text(&u, "l/list.jsonl",
              "{\"audio\": \"a.wav\", \"text\": \"one\\ttwo\", \"speaker\": \"7\"}\n\n"
              "{\"text\": \"\", \"duration\": 3, \"audio\": \"b.wav\"}\n");
    assert_int_equal(u.count, 2);
    assert_utterance(&u, 0, "l/a.wav", "one\ttwo", "7");
    assert_utterance(&u, 1, "l/b.wav", "", "");
    kd_utterances_free(&u);
}

static void libri_speech(void **state) {
    test_folder *folder = *state;
    char expected[KD_PATH_MAX], list[KD_PATH_MAX];
    test_make_folder(folder, "84");
    test_make_folder(folder, "84/2");
    test_make_folder(folder, "84/10");
    static const char two[] = "84-2-0000 GO DO YOU\n84-2-0001 HEAR\n", ten[] = "84-10-0000 YES\n";
    test_write(test_path(folder, "84/2/84-2.trans.txt"), two, strlen(two));
    test_write(test_path(folder, "84/10/84-10.trans.txt"), ten, strlen(ten));
    test_write(test_path(folder, "84/2/notes.txt"), "no", 2);
    kd_utterances u = {0};
    assert_ok(kd_utterances_read(&u, folder->path));
    assert_int_equal(u.count, 3);
    test_copy(expected, sizeof expected, test_path(folder, "84/10/84-10-0000.flac"));
    assert_utterance(&u, 0, expected, "YES", "84");
    test_copy(expected, sizeof expected, test_path(folder, "84/2/84-2-0001.flac"));
    assert_utterance(&u, 2, expected, "HEAR", "84");
    kd_utterances_free(&u);
    test_copy(list, sizeof list, test_path(folder, "84/2/84-2.trans.txt"));
    test_write(list, "84-2-0000\n", 10);
    assert_refused(kd_utterances_read(&u, folder->path), KD_EDATA, "84-2.trans.txt:1: '84-2-0000'");
    kd_utterances_free(&u);
    assert_int_equal(remove(list), 0);
    assert_int_equal(remove(test_path(folder, "84/10/84-10.trans.txt")), 0);
    assert_refused(kd_utterances_read(&u, folder->path), KD_EDATA, "names no utterances");
    assert_refused(kd_utterances_read(&u, "no/such.tsv"), KD_ENOINPUT, "no/such.tsv");
    kd_utterances_free(&u);
}

/* Every refusal says where. */
static void bad_lists(void **state) {
    (void)state;
    static const struct {
        const char *path, *text, *part;
    } bad[] = {
        {"l.tsv", "a.wav\n", "l.tsv:1: 1 cells"},
        {"l.tsv", "a.wav\tx\ty\tz\n", "l.tsv:1: 4 cells"},
        {"l.tsv", "a.wav\tx\nb.wav\tend", "l.tsv:2: the last line does not end"},
        {"l.tsv", "\ttext\n", "l.tsv:1: no sound file"},
        {"l.tsv", "a.wav\t\xff\n", "l.tsv:1: this is not UTF-8"},
        {"l.tsv", "audio\tspeaker\n", "l.tsv:1: the header has no column 'text'"},
        {"l.tsv", "audio\tpath\ttext\n", "l.tsv:1: two columns could be the audio"},
        {"l.tsv", "audio\ttext\na.wav\tx\ty\n", "l.tsv:2: 3 cells, the header has 2"},
        {"l.jsonl", "{\"audio\": \"a\", \"text\": \"b\"}\n{\"audio\": \"a\"}\n",
         "l.jsonl:2:1: there is no \"text\""},
        {"l.jsonl", "{\"audio\": 7, \"text\": \"b\"}\n", "l.jsonl:1:11: \"audio\" should be"},
        {"l.jsonl", "\n{\"audio\": \"a\", \"text\": }\n", "l.jsonl:2:24: "},
        {"l.jsonl", "[]\n", "l.jsonl:1: not an object"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_utterances u = {0};
        assert_refused(parse(&u, bad[i].text, strlen(bad[i].text), bad[i].path), KD_EDATA,
                       bad[i].part);
        kd_utterances_free(&u);
    }
    kd_utterances u = {0};
    assert_refused(parse(&u, "a\t\0b\n", 5, "l.tsv"), KD_EDATA, "l.tsv:1: a zero byte");
    char wide[200] = {0};
    memset(wide, '\t', 100);
    wide[100] = '\n';
    assert_refused(parse(&u, wide, 101, "l.tsv"), KD_EDATA, "l.tsv:1: more than 64 cells");
    kd_utterances_free(&u);
}

/* The hash sees texts, speakers, names and sizes, not folders. */
static void hash_of_content(void **state) {
    test_folder *folder = *state;
    static const char list[] = "a.wav\tone\tx\nb.wav\ttwo\tx\n";
    kd_utterances u[2] = {{0}, {0}};
    kd_hash hash[2];
    for (int i = 0; i < 2; i++) {
        char name[32];
        const char *in = i ? "there" : "here";
        test_make_folder(folder, in);
        for (int k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "%s/%c.wav", in, 'a' + k);
            test_write(test_path(folder, name), "sound", 5);
        }
        snprintf(name, sizeof name, "%s/list.tsv", in);
        test_write(test_path(folder, name), list, strlen(list));
        assert_ok(kd_utterances_read(&u[i], test_path(folder, name)));
        assert_ok(kd_utterances_hash(&hash[i], &u[i], 0, 2));
    }
    assert_string_equal(hash[0].hex, hash[1].hex);
    assert_ok(kd_utterances_hash(&hash[1], &u[1], 0, 1));
    assert_string_not_equal(hash[0].hex, hash[1].hex);
    test_write(test_path(folder, "there/b.wav"), "sounds", 6);
    assert_ok(kd_utterances_hash(&hash[1], &u[1], 0, 2));
    assert_string_not_equal(hash[0].hex, hash[1].hex);
    assert_int_equal(remove(test_path(folder, "there/b.wav")), 0);
    assert_refused(kd_utterances_hash(&hash[1], &u[1], 0, 2), KD_ENOINPUT, "there/b.wav");
    for (int i = 0; i < 2; i++) kd_utterances_free(&u[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_named_columns),
        cmocka_unit_test(common_voice),
        cmocka_unit_test(json_lines),
        cmocka_unit_test_setup_teardown(libri_speech, test_setup, test_teardown),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test_setup_teardown(hash_of_content, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("utterances", tests, NULL, NULL);
}
