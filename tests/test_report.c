/* distill/report and distill/runlog: the numbers, the forms, what a hostile name does to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <math.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "tasks/classify/metrics.h"
#include "tasks/classify/report_parts.h"

/* cmocka's compares in float. */
#define assert_near(a, b, tolerance) assert_true(fabs((a) - (b)) <= (tolerance))

enum { CLASSES = 10, PER_CLASS = 1000 };

static const char CLASS_NAME[CLASSES][KD_CLASS_NAME_MAX] = {
    "t-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal",      "shirt",   "sneaker",  "bag",   "<b>\"boot\" & Söhne's"};

/* Correct of each thousand, as runs on Fashion-MNIST give them. */
static const int TEACHER[] = {885, 988, 901, 938, 903, 985, 802, 975, 989, 968};
static const int STUDENT[] = {866, 982, 880, 921, 881, 975, 741, 968, 983, 960};
static const int BASELINE[] = {861, 979, 862, 915, 868, 972, 728, 961, 981, 961};
static const int PTQ[] = {861, 981, 874, 922, 880, 975, 731, 967, 981, 961};
static const int BLOB[] = {868, 982, 879, 920, 884, 976, 735, 968, 983, 959};

static kd_result make_result(const char *name, const char *kind, const int *correct,
                             int64_t parameters, int64_t bytes, double ms) {
    kd_result r = {.classes = CLASSES,
                   .parameters = parameters,
                   .bytes = bytes,
                   .memory = bytes + 120000,
                   .ms_per_sample = ms,
                   .loss = 0.25,
                   .largest_difference = -1,
                   .disagreements = -1};
    snprintf(r.name, sizeof r.name, "%s", name);
    snprintf(r.kind, sizeof r.kind, "%s", kind);
    r.class_samples = calloc(CLASSES, sizeof *r.class_samples);
    r.class_correct = calloc(CLASSES, sizeof *r.class_correct);
    for (int i = 0; i < CLASSES; i++) {
        r.class_samples[i] = PER_CLASS;
        r.class_correct[i] = correct[i];
        r.samples += PER_CLASS;
        r.correct += correct[i];
    }
    return r;
}

/* A report of five models; `folder` may be "". */
static kd_report make_report(const kd_config *config, const char *folder) {
    kd_report report = {.config = config,
                        .run_folder = folder,
                        .classes = CLASSES,
                        .class_name = CLASS_NAME,
                        .count = 5};
    report.result[0] = make_result("teacher", "teacher", TEACHER, 427000, 1708000, 0.412);
    report.result[1] = make_result("student float", "student", STUDENT, 23594, 94376, 0.071);
    report.result[2] =
        make_result("student without a teacher", "baseline", BASELINE, 23594, 94376, 0.071);
    report.result[3] = make_result("student int8 (PTQ)", "ptq", PTQ, 23594, 31200, 0.019);
    report.result[4] = make_result("student int8 (QAT)", "blob", BLOB, 23594, 31200, 0.019);
    report.result[4].disagreements = 0;
    report.result[4].largest_difference = 0;
    return report;
}

static void free_report(kd_report *report) {
    for (int i = 0; i < report->count; i++) kd_result_free_counts(&report->result[i]);
}

static char folder[] = "/tmp/distill-report-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    static const char *const files[] = {"log.jsonl", "report.json", "report.html", "accuracy.svg"};
    char path[KD_PATH_MAX];
    const char *keep = getenv("DISTILL_KEEP_REPORT"); /* to look at the page */
    for (int i = 0; i < 4 && !keep; i++) {
        kd_path_join(path, folder, files[i]);
        unlink(path);
    }
    if (keep)
        fprintf(stderr, "kept %s\n", folder);
    else
        rmdir(folder);
    return 0;
}

static kd_config *make_config(void) {
    static const char text[] =
        "{\"name\": \"fashion <&> \\\"demo\\\"\", \"data\": {\"kind\": \"idx\", \"folder\": \"m\"},"
        " \"model\": {\"type\": \"mlp\", \"hidden\": [30]}, \"train\": {\"epochs\": 8},"
        " \"teacher\": {\"store\": \"</pre><script>\"}, \"quantize\": {\"qat\": {\"epochs\": 2}}}";
    kd_config *config;
    /* The name is one the config refuses: the report must not rely on that. */
    char plain[sizeof text];
    memcpy(plain, text, sizeof text);
    memcpy(strstr(plain, "fashion <&> \\\"demo\\\""), "fashion-----demo----", 20);
    if (kd_config_parse(&config, plain, strlen(plain), "c.json", 0, NULL) < 0)
        fail_msg("%s", kd_error());
    snprintf(config->name, sizeof config->name, "fashion <&> \"demo\"");
    return config;
}

static void log_path(char out[KD_PATH_MAX]) {
    kd_path_join(out, folder, "log.jsonl");
}

static double decay(double from, double to, double rate, double epoch, int k) {
    return to + (from - to) * exp(-rate * epoch) + 0.02 * sin(k * 12.9898) * sin(k * 4.1);
}

static void write_stage(kd_runlog *log, const char *stage, int epochs, int per_epoch, double best) {
    bool qat = strncmp(stage, "qat", 3) == 0;
    assert_int_equal(kd_runlog_write_note(log, "start", stage, 0, "a \"text\"\n"), KD_OK);
    for (int k = 1; k <= epochs * per_epoch; k++) {
        double epoch = (double)k / per_epoch, from = qat ? 0.4 : 2.3;
        const kd_runlog_place at = {stage, k, epoch};
        const double hard = decay(from, 0.27, 1.5, epoch, k);
        const double kl = decay(from * 1.6, 0.35, 1.2, epoch, k + 7);
        const double rate = (qat ? 0.005 : 0.1) * (1 - (double)(k - 1) / (epochs * per_epoch));
        const kd_scalar step[] = {
            {"loss", 0.3 * hard + 0.7 * kl}, {"kl", kl}, {"hard", hard}, {"lr", rate}};
        assert_int_equal(kd_runlog_write_step(log, &at, 4, step), KD_OK);
        if (k % per_epoch) continue;
        const kd_estimate eval[] = {kd_estimate_plain(best - 0.12 * exp(-0.9 * epoch) * !qat, 0),
                                    kd_estimate_plain(0.3, 0)};
        assert_int_equal(
            kd_runlog_write_eval(log, &at, KD_CLASSIFY_VALIDATION, kd_classify_validation, eval),
            KD_OK);
    }
    assert_int_equal(kd_runlog_write_note(log, "done", stage, epochs * per_epoch, ""), KD_OK);
}

/* --- the log -------------------------------------------------------------------------------- */

static void log_comes_back(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    log_path(path);
    kd_runlog_curves c;
    assert_int_equal(kd_runlog_read(&c, path), KD_OK); /* not there: empty */
    assert_int_equal(c.step_count, 0);
    assert_true(kd_runlog_read(&c, folder) < 0); /* no file */
    assert_true(kd_runlog_take_back(folder, "train", 1) < 0);
    assert_true(c.step_count == 0 && c.last_event[0] == '\0');
    kd_runlog *log;
    assert_int_equal(kd_runlog_open(&log, path, 1), KD_OK);
    write_stage(log, "train", 3, 10, 0.9);
    const kd_runlog_place at = {"train", 31, 3.1};
    const kd_scalar bad[] = {{"loss", NAN}, {"kl", INFINITY}, {"a new term", 7}, {"lr", 1e-5}};
    assert_int_equal(kd_runlog_write_step(log, &at, 4, bad), KD_OK);
    kd_runlog_close(log);
    assert_int_equal(kd_runlog_read(&c, path), KD_OK);
    assert_int_equal(c.step_count, 31);
    assert_int_equal(c.eval_count, 3);
    assert_int_equal(c.skipped, 0);
    assert_string_equal(c.step[4].stage, "train");
    assert_int_equal(c.step[4].step, 5);
    assert_near(c.step[4].epoch, 0.5, 1e-6);
    assert_near(kd_runlog_value(&c, &c.eval[2], "accuracy"), 0.9 - 0.12 * exp(-2.7), 1e-6);
    assert_true(isnan(kd_runlog_value(&c, &c.step[30], "loss")));
    assert_true(isnan(kd_runlog_value(&c, &c.step[30], "kl")));
    assert_true(kd_runlog_value(&c, &c.step[30], "lr") == 1e-5);
    assert_true(kd_runlog_value(&c, &c.step[30], "a new term") == 7);
    assert_true(isnan(kd_runlog_value(&c, &c.step[4], "a new term")));
    assert_string_equal(c.last_event, "step");
    assert_int_equal(c.last_step, 31);
    assert_true(c.peak_rss > 0 && c.last_time > 1.6e9);
    kd_runlog_free(&c);
}

static void log_survives_a_kill(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    log_path(path);
    kd_runlog *log;
    assert_int_equal(kd_runlog_open(&log, path, 1), KD_OK);
    write_stage(log, "baseline", 1, 4, 0.8);
    write_stage(log, "train", 2, 10, 0.9);
    kd_runlog_close(log);
    FILE *file = fopen(path, "a");
    fputs("{\"event\":\"step\",\"stage\":\"tr", file); /* torn */
    fclose(file);
    assert_int_equal(kd_runlog_open(&log, path, 0), KD_OK);
    assert_int_equal(kd_runlog_write_note(log, "start", "train", 12, ""), KD_OK);
    const kd_runlog_place at = {"train", 13, 1.3};
    const kd_scalar again = {"loss", 77};
    assert_int_equal(kd_runlog_write_step(log, &at, 1, &again), KD_OK);
    kd_runlog_close(log);
    kd_runlog_curves c;
    assert_int_equal(kd_runlog_read(&c, path), KD_OK);
    assert_int_equal(c.skipped, 1);
    assert_int_equal(c.step_count, 4 + 12 + 1);
    assert_int_equal(c.eval_count, 1 + 1);
    assert_int_equal(c.step[15].step, 12);
    assert_true(kd_runlog_value(&c, &c.step[16], "loss") == 77);
    kd_runlog_free(&c);
}

/* A name that is too long, one too many, and what is no number are counted, not kept. */
static void log_keeps_what_it_has_room_for(void **state) {
    (void)state;
    char path[KD_PATH_MAX], name[KD_RUNLOG_NAME_MAX + 1];
    log_path(path);
    kd_runlog_curves c;
    FILE *file = fopen(path, "w");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    fprintf(file, "{\"event\":\"step\",\"stage\":\"train\",\"step\":1,\"%s\":1,\"text\":\"t\"",
            name);
    for (int i = 0; i <= KD_RUNLOG_NAMES_MAX; i++) fprintf(file, ",\"x%d\":%d", i, i);
    fputs("}\n{\"event\":\"eval\",\"stage\":\"train\",\"step\":1,\"x3\":null,\"x4\":5}\n", file);
    fclose(file);
    assert_int_equal(kd_runlog_read(&c, path), KD_OK);
    assert_int_equal(c.skipped, 3);
    assert_int_equal(c.name_count, KD_RUNLOG_NAMES_MAX);
    assert_true(kd_runlog_value(&c, &c.step[0], "x47") == 47);
    assert_true(isnan(kd_runlog_value(&c, &c.step[0], "x48")));
    assert_true(isnan(kd_runlog_value(&c, &c.eval[0], "x3")));
    assert_true(kd_runlog_value(&c, &c.eval[0], "x4") == 5);
    kd_runlog_free(&c);
}

static void log_says_when_the_disk_is_full(void **state) {
    (void)state;
    kd_runlog *log;
    const kd_runlog_place at = {"train", 0, 0};
    const kd_estimate eval[] = {kd_estimate_plain(1, 0), kd_estimate_plain(1, 0)};
    assert_int_equal(kd_runlog_open(&log, "/dev/full", 0), KD_OK);
    assert_int_equal(
        kd_runlog_write_eval(log, &at, KD_CLASSIFY_VALIDATION, kd_classify_validation, eval),
        KD_EIO);
    assert_non_null(strstr(kd_error(), "/dev/full"));
    kd_runlog_close(log);
    assert_int_equal(kd_runlog_open(&log, "/nowhere/log", 0), KD_EIO);
}

/* --- the numbers ---------------------------------------------------------------------------- */

/* Wilson's ends are where the observed share is z standard errors away, the error being that of the
 * end: n(p̂ − p)² = z²p(1 − p). */
static void interval_is_wilsons(void **state) {
    (void)state;
    static const int64_t counts[][2] = {{9339, 10000}, {50, 100}, {1, 7}, {0, 10}, {10, 10}};
    const double z = 1.959963984540054;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        kd_result r = {.correct = counts[i][0], .samples = counts[i][1]};
        double n = (double)r.samples, share = (double)r.correct / n, end[2];
        kd_result_interval(&r, &end[0], &end[1]);
        assert_true(end[0] <= share && share <= end[1] && end[0] < end[1]);
        for (int k = 0; k < 2; k++) {
            double p = end[k];
            assert_near(n * (share - p) * (share - p), z * z * p * (1 - p), 1e-9);
        }
    }
    kd_result none = {0}, all = {.correct = 10, .samples = 10};
    double low, high;
    kd_result_interval(&all, &low, &high);
    assert_true(high == 1);
    assert_near(low, 10 / (10 + z * z), 1e-12);
    kd_result_interval(&none, &low, &high);
    assert_true(low == 0 && high == 1);
}

static void worst_class_is_found(void **state) {
    (void)state;
    int64_t samples[] = {10, 10, 0, 100}, a[] = {9, 5, 0, 60}, b[] = {10, 6, 0, 90};
    kd_result student = {.classes = 4, .class_samples = samples, .class_correct = a};
    kd_result teacher = {.classes = 4, .class_samples = samples, .class_correct = b};
    assert_int_equal(kd_result_worst_class(&student, &teacher), 3);
    assert_int_equal(kd_result_worst_class(&student, NULL), 1);
    assert_true(isnan(kd_result_class_accuracy(&student, 2)));
    int64_t none[] = {0, 0, 0, 0};
    kd_result empty = {.classes = 4, .class_samples = none, .class_correct = none};
    assert_int_equal(kd_result_worst_class(&empty, &teacher), -1);
}

static void counts_are_grouped(void **state) {
    (void)state;
    char out[32];
    static const struct {
        int64_t count;
        const char *text;
    } expect[] = {{0, "0"},
                  {999, "999"},
                  {1000, "1,000"},
                  {853018, "853,018"},
                  {1234567890, "1,234,567,890"}};
    for (int i = 0; i < 5; i++) {
        kd_format_count(out, sizeof out, expect[i].count);
        assert_string_equal(out, expect[i].text);
    }
}

/* --- the forms ------------------------------------------------------------------------------ */

static void text_is_aligned(void **state) {
    (void)state;
    kd_config *config = make_config();
    kd_report report = make_report(config, "");
    kd_text text = {0};
    kd_measured_table table;
    assert_int_equal(kd_report_measured(&table, &report), KD_OK);
    kd_measured_add_text(&text, &table);
    kd_measured_clear(&table);
    assert_int_equal(kd_text_finish(&text, "test"), KD_OK);
    if (getenv("DISTILL_KEEP_REPORT")) fputs(text.text, stderr);
    assert_non_null(strstr(text.text, " 93.34 %   92.83 … 93.81      427,000    1.7 MB "));
    assert_non_null(strstr(text.text, "shirt 74.1 % (−6.1)"));
    assert_non_null(strstr(text.text, "74.1 (259) ▼"));
    assert_non_null(strstr(text.text, "93.3 (666) "));
    /* Every column ends at the same place: the interval of each row. */
    int at = -1;
    const char *line = text.text;
    for (int row = 0; row <= 5; row++, line = strchr(line, '\n') + 1) {
        char copy[512];
        snprintf(copy, sizeof copy, "%.*s", (int)strcspn(line, "\n"), line);
        char *mark = row ? strstr(copy, " …") : NULL;
        if (!mark) continue;
        *mark = '\0';
        if (at < 0) at = kd_utf8_count(copy);
        assert_int_equal(kd_utf8_count(copy), at);
    }
    int marks = 0;
    for (const char *p = text.text; (p = strstr(p, "▼")) != NULL; p++) marks++;
    assert_int_equal(marks, 4 + 1); /* four models besides the teacher, and the legend */
    free(text.text);
    free_report(&report);
    kd_config_free(config);
}

static void json_says_the_same(void **state) {
    (void)state;
    kd_config *config = make_config();
    kd_report report = make_report(config, folder);
    assert_int_equal(kd_report_write(&report), KD_OK);
    char path[KD_PATH_MAX];
    kd_path_join(path, folder, "report.json");
    kd_json *json;
    if (kd_json_read(&json, path, 1 << 20) < 0) fail_msg("%s", kd_error());
    const cJSON *models = kd_json_get(kd_json_root(json), "models");
    assert_int_equal(cJSON_GetArraySize(models), 5);
    const cJSON *blob = cJSON_GetArrayItem(models, 4);
    assert_string_equal(kd_json_get(blob, "name")->valuestring, "student int8 (QAT)");
    assert_string_equal(kd_json_get(blob, "kind")->valuestring, "blob");
    assert_near(kd_json_get(blob, "accuracy")->valuedouble, 0.9154, 1e-7);
    assert_int_equal(kd_json_get(blob, "bytes")->valuedouble, 31200);
    assert_int_equal(kd_json_get(blob, "disagreements")->valuedouble, 0);
    assert_null(kd_json_get(cJSON_GetArrayItem(models, 0), "disagreements"));
    const cJSON *worst = kd_json_get(blob, "worst_class");
    assert_string_equal(kd_json_get(worst, "name")->valuestring, "shirt");
    assert_near(kd_json_get(worst, "accuracy")->valuedouble, 0.735, 1e-7);
    assert_near(kd_json_get(worst, "teacher_accuracy")->valuedouble, 0.802, 1e-7);
    const cJSON *classes = kd_json_get(blob, "classes");
    assert_int_equal(cJSON_GetArraySize(classes), CLASSES);
    assert_string_equal(kd_json_get(cJSON_GetArrayItem(classes, 9), "name")->valuestring,
                        CLASS_NAME[9]);
    assert_int_equal(kd_json_get(cJSON_GetArrayItem(classes, 9), "correct")->valuedouble, 959);
    kd_json_free(json);
    free_report(&report);
    kd_config_free(config);
}

/* Every tag is closed in order; void elements and "/>" aside. Fails the test otherwise. */
static void check_tags(const char *html) {
    char open[64][16];
    int depth = 0;
    for (const char *p = html; (p = strchr(p, '<')) != NULL;) {
        const char *end = strchr(p, '>');
        assert_non_null(end);
        size_t n = strcspn(p + 1, " >/");
        if (p[1] == '/') {
            n = (size_t)(end - p) - 2;
            if (depth == 0 || strlen(open[depth - 1]) != n ||
                memcmp(open[depth - 1], p + 2, n) != 0)
                fail_msg("unexpected %.*s at %.60s", (int)(end - p + 1), p, p);
            depth--;
        } else if (p[1] != '!' && end[-1] != '/' && strncmp(p + 1, "meta", 4) != 0) {
            assert_true(depth < 64 && n < 16);
            snprintf(open[depth++], 16, "%.*s", (int)n, p + 1);
        }
        p = end + 1;
    }
    assert_int_equal(depth, 0);
}

static char *read_text(const char *name) {
    char path[KD_PATH_MAX], *text;
    size_t length;
    kd_path_join(path, folder, name);
    if (kd_file_read(&text, &length, path, 1 << 24) < 0) fail_msg("%s", kd_error());
    return text;
}

static void html_is_whole_and_escaped(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    log_path(path);
    kd_runlog *log;
    assert_int_equal(kd_runlog_open(&log, path, 1), KD_OK);
    write_stage(log, "train", 8, 60, 0.918);
    write_stage(log, "baseline", 8, 60, 0.911);
    write_stage(log, "qat.int8", 2, 60, 0.917);
    kd_runlog_close(log);
    kd_config *config = make_config();
    kd_report report = make_report(config, folder);
    assert_int_equal(kd_report_write(&report), KD_OK);
    char *picture = read_text("accuracy.svg");
    assert_int_equal(strncmp(picture, "<svg ", 5), 0);
    for (int i = 0; i < report.count; i++) assert_non_null(strstr(picture, report.result[i].name));
    assert_non_null(strstr(picture, "fashion &#60;&#38;&#62;"));
    free(picture);
    char *html = read_text("report.html");
    check_tags(html);
    assert_null(strstr(html, "<b>\"boot\""));
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "http")); /* self-contained */
    assert_null(strstr(html, "nan"));
    assert_null(strstr(html, "inf\""));
    assert_non_null(strstr(html, "&#60;b&#62;&#34;boot&#34; &#38; Söhne&#39;s"));
    assert_non_null(strstr(html, "prefers-color-scheme:dark"));
    assert_non_null(strstr(html, "Training loss"));
    assert_non_null(strstr(html, "student in QAT"));
    assert_non_null(strstr(html, "0 of 10000 predictions differ"));
    free(html);
    free_report(&report);
    kd_config_free(config);
}

static void html_lives_with_little(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    log_path(path);
    unlink(path);
    kd_config *config = make_config();
    kd_report report = make_report(config, folder);
    for (int i = 0; i < 4; i++) kd_result_free_counts(&report.result[i]);
    report.result[0] = report.result[4];
    report.count = 1; /* no teacher, no log */
    memset(report.result[0].class_samples, 0, 2 * sizeof(int64_t));
    memset(report.result[0].class_correct, 0, 2 * sizeof(int64_t));
    assert_int_equal(kd_report_write(&report), KD_OK);
    char *html = read_text("report.html");
    check_tags(html);
    assert_null(strstr(html, "nan"));
    assert_null(strstr(html, "Training loss"));
    free(html);
    free_report(&report);
    kd_config_free(config);
}

/* Which of the rows' names on the page, that begin with "class-", is this; −1: none. */
static int place_of_label(const char *html, const char *name) {
    static const char mark[] = "\">class-";
    int place = 0;
    for (const char *p = html; (p = strstr(p, mark)) != NULL; p += sizeof mark, place++)
        if (strncmp(p + 2, name, strlen(name)) == 0 && p[2 + strlen(name)] == '<') return place;
    return -1;
}

/* Of many classes the page has the 15 on which the last model lost most: against the teacher, or,
 * for a teacher alone, by itself; of equals the first. */
static void many_classes_are_chosen_from(void **state) {
    (void)state;
    enum { MANY = 40, SHOWN = 15 };
    static char names[MANY][KD_CLASS_NAME_MAX];
    int64_t samples[MANY], teacher[MANY], student[MANY];
    kd_config *config = make_config();
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "class-%02d-", i);
        samples[i] = i == 7 ? 0 : 100;
        teacher[i] = i == 7 ? 0 : 50 + i;
        student[i] = i == 7 ? 0 : 50 + i - (i * 7 % 20); /* two classes lose the same */
    }
    for (int models = 2; models > 0; models--) {
        kd_report report = {.config = config,
                            .run_folder = folder,
                            .classes = MANY,
                            .class_name = (const char(*)[KD_CLASS_NAME_MAX])names,
                            .count = models};
        for (int m = 0; m < models; m++) {
            kd_result *r = &report.result[m];
            *r = (kd_result){.classes = MANY, .samples = 3900, .disagreements = -1};
            snprintf(r->name, sizeof r->name, m ? "student" : "teacher");
            snprintf(r->kind, sizeof r->kind, m ? "student" : "teacher");
            r->class_samples = samples;
            r->class_correct = m ? student : teacher;
            for (int i = 0; i < MANY; i++) r->correct += r->class_correct[i];
        }
        assert_int_equal(kd_report_write(&report), KD_OK);
        char *html = read_text("report.html");
        check_tags(html);
        assert_non_null(strstr(html, "15 of 40 classes, those on which the last model lost most"));
        int shown = 0;
        for (int i = 0; i < MANY; i++) {
            int worse = 0; /* classes that come before this one */
            const int64_t lost = models == 2 ? teacher[i] - student[i] : -teacher[i];
            for (int k = 0; k < MANY; k++) {
                const int64_t other = models == 2 ? teacher[k] - student[k] : -teacher[k];
                worse += k != 7 && (other > lost || (other == lost && k < i));
            }
            const int place = place_of_label(html, names[i]);
            const int right = i != 7 && worse < SHOWN ? worse : -1;
            if (place != right) fail_msg("%s is at %d, not %d", names[i], place, right);
            shown += place >= 0;
        }
        assert_int_equal(shown, SHOWN);
        free(html);
    }
    kd_config_free(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_classes_are_chosen_from),
        cmocka_unit_test(log_comes_back),
        cmocka_unit_test(log_survives_a_kill),
        cmocka_unit_test(log_keeps_what_it_has_room_for),
        cmocka_unit_test(log_says_when_the_disk_is_full),
        cmocka_unit_test(interval_is_wilsons),
        cmocka_unit_test(worst_class_is_found),
        cmocka_unit_test(counts_are_grouped),
        cmocka_unit_test(text_is_aligned),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(html_lives_with_little),
        cmocka_unit_test(html_is_whole_and_escaped),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
