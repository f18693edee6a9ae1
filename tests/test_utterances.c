/* Lists of recorded speech in their four forms. */
#include "test_data.h"

#include "asserts.h"
#include "data/utterances.h"

static int parse(kd_utterances *out, const char *text, size_t length, const char *path) {
    char *copy = malloc(length + 1);
    assert_non_null(copy);
    if (length > 0) memcpy(copy, text, length);
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

/* What editors, spreadsheets and scripts leave in a TSV changes nothing. */
static void tables_as_the_world_writes_them(void **state) {
    (void)state;
    static const struct {
        const char *text, *audio, *said, *speaker;
    } good[] = {
        {"\xEF\xBB\xBFspeaker\taudio\ttext\nann\ta.wav\tone\n", "l/a.wav", "one", "ann"},
        {"\xEF\xBB\xBF"
         "a.wav\tone\tann\n",
         "l/a.wav", "one", "ann"},
        {"\xEF\xBB\xBF"
         "client_id\tpath\tsentence\nann\ta.mp3\tone",
         "l/clips/a.mp3", "one", "ann"},
        {"client_id\tpath\tsentence\nann\tclips/a.mp3\tone\n", "l/clips/a.mp3", "one", "ann"},
        {"client_id\tpath\tsentence\nann\t/cv/a.mp3\tone\n", "/cv/a.mp3", "one", "ann"},
        {"\n\r\n \t\nText\tSPEAKER\tPath\t\none\tann\ta.wav\r\n\t\t\n", "l/a.wav", "one", "ann"},
        {"Client_ID\tPATH\tSentence\nann\ta.mp3\tone\t\t\r\n", "l/clips/a.mp3", "one", "ann"},
        {"audio\ttext\tspeaker_id\na.wav\tone\t ann \n", "l/a.wav", "one", "ann"},
        {"a.wav\tone\t\t\n", "l/a.wav", "one", ""},
        {"a.wav\t", "l/a.wav", "", ""},
        {"text.wav\ttext\n", "l/text.wav", "text", ""},
        {"path\tsentence\na.wav\t\"\"\"Oh!\"\" she said.\"\n", "l/a.wav", "\"Oh!\" she said.", ""},
        {"path\tsentence\na.wav\t\"No\" or \"yes\"\n", "l/a.wav", "\"No\" or \"yes\"", ""},
        {"path\tsentence\na.wav\t\"Oh\n", "l/a.wav", "\"Oh", ""},
        {"path\tsentence\na.wav\t\"\"\"\"\n", "l/a.wav", "\"", ""},
        {"\"path\"\t\"sentence\"\n\"a.wav\"\t\"\"\n", "l/a.wav", "", ""},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        kd_utterances u = {0};
        char place[64];
        read_text(&u, "l/list.tsv", good[i].text);
        assert_int_equal(u.count, 1);
        assert_utterance(&u, 0, good[i].audio, good[i].said, good[i].speaker);
        kd_utterance_place(place, sizeof place, &u.item[0]);
        assert_int_equal(strncmp(place, "l/list.tsv:", 11), 0);
        kd_utterances_free(&u);
    }
}

/* An utterance knows the line that names it, and outlives the next list. */
static void places(void **state) {
    (void)state;
    kd_utterances u = {0};
    char place[64];
    read_text(&u, "a.tsv", "path\ttext\n\na.wav\tone\n");
    read_text(&u, "b.jsonl", "{\"audio\": \"b.wav\", \"text\": \"two\"}");
    assert_string_equal(kd_utterance_place(place, sizeof place, &u.item[0]), "a.tsv:3: ");
    assert_string_equal(kd_utterance_place(place, sizeof place, &u.item[1]), "b.jsonl:1: ");
    const kd_utterance nowhere = {0};
    assert_string_equal(kd_utterance_place(place, sizeof place, &nowhere), "");
    kd_utterances_free(&u);
}

static void json_lines(void **state) {
    (void)state;
    kd_utterances u = {0};
    read_text(&u, "l/list.jsonl",
              "{\"audio\": \"a.wav\", \"text\": \"one\\ttwo\", \"speaker\": \"7\"}\n\n"
              "{\"text\": \"\", \"duration\": 3, \"audio\": \"b.wav\"}\n");
    read_text(&u, "l/list.JSONL",
              "\xEF\xBB\xBF{\"speaker\": 84, \"path\": \"c.wav\", \"sentence\": \"three\"}\r\n"
              "{\"Client_ID\": \" ann\", \"Audio\": \"/d.wav\", \"Text\": \"four\"}\n"
              "{\"speaker\": null, \"audio\": \"e.wav\", \"text\": \"five\"}\n"
              "{\"speaker_id\": 9007199254740992, \"audio\": \"f.wav\", \"text\": \"six\"}");
    assert_int_equal(u.count, 6);
    assert_utterance(&u, 2, "l/c.wav", "three", "84");
    assert_utterance(&u, 3, "/d.wav", "four", "ann");
    assert_utterance(&u, 4, "l/e.wav", "five", "");
    assert_utterance(&u, 5, "l/f.wav", "six", "9007199254740992");
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
    /* Converted sounds, an id without a text, a byte order mark, CRLF, no last end. */
    static const char other[] = "\xEF\xBB\xBF"
                                "84-2-0000 GO\r\n\n84-2-0001\n84-2-0002\tTAB";
    test_copy(list, sizeof list, test_path(folder, "84/2/84-2.trans.txt"));
    test_write(list, other, strlen(other));
    static const char *const sound[] = {"84/2/84-2-0000.wav", "84/2/84-2-0000.mp3",
                                        "84/2/84-2-0001.opus"};
    for (int i = 0; i < 3; i++) test_write(test_path(folder, sound[i]), "sound", 5);
    assert_ok(kd_utterances_read(&u, list)); /* by itself */
    assert_int_equal(u.count, 3);
    for (int i = 0; i < 3; i++) {
        static const char *const file[] = {"84/2/84-2-0000.wav", "84/2/84-2-0001.opus",
                                           "84/2/84-2-0002.flac"};
        static const char *const said[] = {"GO", "", "TAB"};
        test_copy(expected, sizeof expected, test_path(folder, file[i]));
        assert_utterance(&u, i, expected, said[i], "84");
    }
    kd_utterances_free(&u);
    test_write(list, "84/2-0000 X\n", 12);
    assert_refused(kd_utterances_read(&u, folder->path), KD_EDATA, "84-2.trans.txt:1: '84/2-0000'");
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
        {"l.tsv", "a.wav\tx\rb.wav\ty\r", "l.tsv:1: a carriage return inside a line"},
        {"l.tsv",
         "\xFF\xFE"
         "a",
         "l.tsv: this is UTF-16"},
        {"l.tsv", "\xFE\xFF", "l.tsv: this is UTF-16"},
        {"l.jsonl", "\xFF\xFE{", "l.jsonl: this is UTF-16"},
        {"l.tsv", "file\tspeaker\ttext\n", "l.tsv:1: a header without a column 'audio'"},
        {"l.tsv", "audio\ttext\tspeaker\tCLIENT_ID\n", "l.tsv:1: two columns could be the speaker"},
        {"l.tsv", "audio\ttext\tspeaker\na.wav\tx\n", "l.tsv:2: 2 cells, the header has 3"},
        {"l.tsv", "\ttext\n", "l.tsv:1: no sound file"},
        {"l.tsv", "a.wav\t\xff\n", "l.tsv:1: this is not UTF-8"},
        {"l.tsv", "audio\tspeaker\n", "l.tsv:1: the header has no column 'text'"},
        {"l.tsv", "audio\tpath\ttext\n", "l.tsv:1: two columns could be the audio"},
        {"l.tsv", "audio\ttext\na.wav\tx\ty\n", "l.tsv:2: 3 cells, the header has 2"},
        {"l.jsonl", "{\"audio\": \"a\", \"text\": \"b\"}\n{\"audio\": \"a\"}\n",
         "l.jsonl:2:1: there is no \"text\""},
        {"l.jsonl", "{\"audio\": 7, \"text\": \"b\"}\n", "l.jsonl:1:11: \"audio\" should be"},
        {"l.jsonl", "{\"audio\": \"a\", \"text\": \"b\", \"speaker\": 1.5}\n",
         "\"speaker\" should be a string or a whole number"},
        {"l.jsonl", "{\"audio\": \"a\", \"text\": \"b\", \"speaker\": 1, \"client_id\": \"x\"}\n",
         "l.jsonl:1:43: two members could be the speaker"},
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
    wide[0] = 'a';
    wide[100] = '\n';
    assert_refused(parse(&u, wide, 101, "l.tsv"), KD_EDATA, "l.tsv:1: more than 64 cells");
    kd_utterances_free(&u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_named_columns),
        cmocka_unit_test(common_voice),
        cmocka_unit_test(tables_as_the_world_writes_them),
        cmocka_unit_test(places),
        cmocka_unit_test(json_lines),
        cmocka_unit_test_setup_teardown(libri_speech, test_setup, test_teardown),
        cmocka_unit_test(bad_lists),
    };
    return cmocka_run_group_tests_name("utterances", tests, NULL, NULL);
}
