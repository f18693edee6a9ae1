/* The report of a speech run, as JSON and as a page. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "base/json.h"
#include "report/runlog.h"
#include "tasks/speech/metrics.h"
#include "tasks/speech/speech_report.h"

enum { MODELS = 4, COUNT = 2 };

typedef struct {
    kd_speech_config config;
    kd_utterance utterance[COUNT];
    kd_utterances utterances;
    char *said[COUNT];
    kd_speech_result result[MODELS];
    kd_labels labels;
    kd_windows windows;
    kd_speech_report report;
} fixture;

static void begin(fixture *f, const char *folder) {
    static char audio[] = "a.wav", text[] = "REFERENCE <ONE>", speaker[] = "",
                resolved[] = "{\"a\": 1}";
    static char said[2][16] = {"said & <done>", "nothing"};
    static const kd_speech_result result[MODELS] = {
        {"teacher", "teacher", .reference = {0.10, 0.08, 0.12}, .bytes = 200, .parameters = 74000},
        {"student at first", "initial", .reference = {0.90, 0.8, 1.0}, .bytes = 0},
        {"student", "student", .reference = {0.20, 0.15, 0.25}, .bytes = 100, .loops = 3,
         .again = 5, .fallback = {0.18, 0.125, INFINITY}},
        {"student q4_0", "ptq", .reference = {NAN, NAN, NAN}, .bytes = 25}};
    *f = (fixture){.labels = {.count = 9, .skipped = 1, .unreadable = 2},
                   .windows = {.parts = 6, .count = 2, .seconds = 40.5, .positions = 77}};
    snprintf(f->config.name, sizeof f->config.name, "heard <well>");
    f->config.resolved = resolved;
    f->config.hash = kd_hash_bytes("config", 6);
    for (int i = 0; i < COUNT; i++) {
        f->utterance[i] = (kd_utterance){audio, text, speaker, NULL, 0};
        f->said[i] = said[i];
    }
    f->utterances = (kd_utterances){.item = f->utterance, .count = COUNT};
    for (int i = 0; i < MODELS; i++) {
        f->result[i] = result[i];
        f->result[i].count = COUNT;
        f->result[i].said = f->said;
        f->result[i].audio_seconds = 20;
        f->result[i].seconds = 5;
        f->result[i].teacher = (kd_speech_rate){0.01 * i, 0, 0.5};
    }
    f->report = (kd_speech_report){.config = &f->config,
                                   .run_folder = folder,
                                   .labels = &f->labels,
                                   .windows = &f->windows,
                                   .utterances = &f->utterances,
                                   .leaked = 1,
                                   .count = MODELS,
                                   .result = f->result};
}

static void write_log(test_folder *folder) {
    kd_runlog *log;
    assert_ok(kd_runlog_open(&log, test_path(folder, "log.jsonl"), 1));
    for (int i = 1; i <= 4; i++) {
        const kd_runlog_place at = {"train", i, i};
        const kd_scalar step[] = {
            {"loss", 3.0 / i}, {"kl", 2.0 / i}, {"hard", 1.0 / i}, {"lr", 1e-4}};
        const kd_estimate eval[] = {kd_estimate_plain(0.2 * i, 0), kd_estimate_plain(1, 0)};
        assert_ok(kd_runlog_write_step(log, &at, 4, step));
        assert_ok(kd_runlog_write_eval(log, &at, KD_SPEECH_VALIDATION, kd_speech_validation, eval));
    }
    kd_runlog_close(log);
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void json_says_it_all(void **state) {
    test_folder *folder = *state;
    fixture f;
    kd_json *json;
    begin(&f, folder->path);
    assert_ok(kd_speech_report_write(&f.report));
    assert_ok(kd_json_read(&json, test_path(folder, "report.json"), 1 << 20));
    const cJSON *root = kd_json_root(json), *data = kd_json_get(root, "data");
    const cJSON *models = kd_json_get(root, "models");
    assert_int_equal(cJSON_GetArraySize(models), MODELS);
    assert_string_equal(kd_json_get(root, "name")->valuestring, "heard <well>");
    assert_true(number(data, "kept") == 6 && number(data, "windows") == 2 &&
                number(data, "positions") == 77 && number(data, "skipped") == 1);
    const cJSON *teacher = cJSON_GetArrayItem(models, 0), *student = cJSON_GetArrayItem(models, 2);
    assert_true(number(student, "wer") == 0.2 && number(student, "wer_to_teacher") == 0.02);
    assert_float_equal(number(student, "gap_closed"), 0.875, 1e-6);
    assert_true(cJSON_GetArrayItem(kd_json_get(student, "wer_interval"), 1)->valuedouble == 0.25);
    assert_true(number(student, "loops") == 3 && number(student, "decoded_again") == 5);
    assert_true(number(student, "wer_with_fallback") == 0.18);
    const cJSON *open = kd_json_get(student, "wer_with_fallback_interval");
    assert_true(cJSON_GetArrayItem(open, 0)->valuedouble == 0.125);
    assert_true(cJSON_IsNull(cJSON_GetArrayItem(open, 1))); /* JSON has no infinity */
    assert_string_equal(kd_json_get(root, "rate")->valuestring, "word error rate");
    assert_true(number(data, "unreadable") == 2);
    assert_true(number(root, "test_recordings_learnt_from") == 1);
    assert_true(cJSON_IsNull(kd_json_get(teacher, "gap_closed")));
    assert_true(cJSON_IsNull(kd_json_get(cJSON_GetArrayItem(models, 3), "wer")));
    assert_true(cJSON_IsNull(kd_json_get(cJSON_GetArrayItem(models, 3), "wer_interval")));
    kd_json_free(json);
}

static void assert_has(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("the page does not say '%s'", part);
}

static void page_has_table_curves_and_words(void **state) {
    test_folder *folder = *state;
    fixture f;
    char *page;
    size_t length;
    begin(&f, folder->path);
    write_log(folder);
    assert_ok(kd_speech_report_write(&f.report));
    assert_ok(kd_file_read(&page, &length, test_path(folder, "report.html"), 1 << 22));
    assert_has(page, "heard &#60;well&#62;");
    assert_has(page, "<td>20.00 %</td>");
    assert_has(page, "25 B"); /* the smallest file */
    assert_has(page, "87.5 %");
    assert_has(page, "Training loss");
    assert_has(page, "Validation: next token right");
    assert_has(page, "Against the references");
    assert_has(page, "said &#38; &#60;done&#62;");
    assert_has(page, "REFERENCE &#60;ONE&#62;");
    assert_has(page, "6 of 9 recordings");
    assert_has(page, "2 cannot be read");
    assert_has(page, "<td>3</td><td>18.00 %</td><td><small>at least 12.50</small></td>");
    assert_has(page, "1 of these recordings are learnt from, too");
    assert_has(page, "Word error rate of the student");
    assert_null(strstr(page, "inf"));
    assert_null(strstr(page, "nan"));
    assert_null(strstr(page, "<script"));
    free(page);
    assert_true(kd_file_exists(test_path(folder, "wer.svg")));
    f.report.labels = NULL; /* as `eval` of files alone has it */
    f.report.count = 1;
    f.report.result = &f.result[3];
    assert_ok(kd_speech_report_write(&f.report));
    kd_speech_report_print(&f.report);
    f.report.run_folder = "/no/such/folder";
    assert_int_equal(kd_speech_report_write(&f.report), KD_EIO);
}

/* Rates of letters are called by their name everywhere. */
/* Of many recordings, what was heard in the first forty. */
static void some_of_many_are_shown(void **state) {
    enum { MANY = 45, SHOWN = 40 };
    fixture f;
    begin(&f, ((test_folder *)*state)->path);
    static char words[MANY][24];
    char *said[MANY], *html;
    kd_utterance utterance[MANY];
    size_t length;
    for (int i = 0; i < MANY; i++) {
        snprintf(words[i], sizeof words[i], "number-%d-", i);
        said[i] = words[i];
        utterance[i] = f.utterance[0];
    }
    f.utterances = (kd_utterances){.item = utterance, .count = MANY};
    for (int i = 0; i < MODELS; i++) {
        f.result[i].count = MANY;
        f.result[i].said = said;
    }
    assert_ok(kd_speech_report_write(&f.report));
    assert_ok(kd_file_read(&html, &length, test_path(*state, "report.html"), 1 << 22));
    for (int i = 0; i < MANY; i++)
        if ((strstr(html, words[i]) != NULL) != (i < SHOWN)) fail_msg("%s", words[i]);
    free(html);
}

static void letters_by_their_name(void **state) {
    test_folder *folder = *state;
    fixture f;
    char *page;
    size_t length;
    begin(&f, folder->path);
    for (int i = 0; i < MODELS; i++) f.result[i].letters = true;
    assert_ok(kd_speech_report_write(&f.report));
    assert_ok(kd_file_read(&page, &length, test_path(folder, "report.html"), 1 << 22));
    assert_has(page, "<th scope=\"col\">CER</th>");
    assert_has(page, "CER: character error rate on the same 2 recordings");
    assert_has(page, "every letter counting the same");
    assert_has(page, "Character error rate of the student");
    assert_null(strstr(page, "word error"));
    assert_null(strstr(page, "WER"));
    free(page);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(json_says_it_all, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(some_of_many_are_shown, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(letters_by_their_name, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(page_has_table_curves_and_words, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("speech_report", tests, NULL, NULL);
}
