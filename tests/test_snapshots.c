/* Pages, tables and drawings, letter by letter as they were when somebody looked at them last:
 * golden/pages/. After a change that is meant, KD_WRITE_SNAPSHOTS=1 build/release/test_snapshots
 * writes them anew; look at them, and at the difference. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "base/text.h"
#include "distill/sweep_parts.h"
#include "report/plot.h"
#include "tasks/classify/metrics.h"
#include "tasks/classify/report_parts.h"
#include "tasks/registry.h"
#include "tasks/speech/speech_report.h"

#define PAGES "tests/golden/pages"

static void compare(const char *name, const char *text) {
    char path[KD_PATH_MAX], *kept;
    size_t length;
    snprintf(path, sizeof path, "%s/%s", PAGES, name);
    if (getenv("KD_WRITE_SNAPSHOTS")) {
        assert_ok(kd_file_make_folders(PAGES));
        assert_ok(kd_file_replace(path, text, strlen(text)));
        return;
    }
    assert_ok(kd_file_read(&kept, &length, path, 1 << 24));
    size_t same = 0;
    while (same < length && text[same] == kept[same]) same++;
    if (same < length || text[same])
        fail_msg("%s differs from byte %zu on: '%.60s', was '%.60s'", path, same, text + same,
                 kept + same);
    free(kept);
}

static void compare_text(const char *name, kd_text *text) {
    assert_ok(kd_text_finish(text, name));
    compare(name, text->text);
    free(text->text);
    *text = (kd_text){0};
}

static void compare_file(const char *name, const char *path) {
    char *text;
    size_t length;
    assert_ok(kd_file_read(&text, &length, path, 1 << 24));
    compare(name, text);
    free(text);
}

/* --- plots ------------------------------------------------------------------------------------ */

static void plots_are_drawn_as_before(void **state) {
    (void)state;
    static const double x[] = {1, 2, 4, 8, 16}, y[] = {0.5, 0.25, NAN, 1e-3, 3},
                        from[] = {0.4, NAN, NAN, 8e-4, 2.5}, to[] = {0.7, NAN, NAN, 1.2e-3, 3.5},
                        below[] = {-3, 0, 2.5, 1, -1};
    static const double ticks[] = {1, 4, 16};
    static const char *const names[] = {"one", "four & more", "16"};
    kd_plot plot = {.title = "Loss <a>",
                    .x_name = "τ",
                    .y_name = "nats",
                    .legend = "by",
                    .y_format = "%.3f",
                    .line_count = 3,
                    .line = {{"first", "student", 5, x, y, from, to},
                             {.name = "second", .n = 5, .x = x, .y = below, .dashed = true},
                             {.n = 4, .x = x, .y = y, .no_marks = true}}};
    kd_text out = {0};
    kd_plot_add_lines(&out, &plot, KD_PLOT_AS_FILE);
    plot.log_x = true;
    plot.tick_count = 3;
    plot.tick = ticks;
    plot.tick_name = names;
    kd_plot_add_lines(&out, &plot, KD_PLOT_ON_PAGE);
    plot.log_y = true;
    plot.legend = NULL;
    plot.line_count = 1;
    kd_plot_add_lines(&out, &plot, KD_PLOT_ON_PAGE);
    compare_text("lines.svg", &out);
    static const double a[] = {91.2, 91.9, 90.7}, b[] = {88.5};
    const kd_plot_row rows[] = {{"baseline", "baseline", "tell & show", 3, a, 91.27, 89.77, 92.77},
                                {"<taught>", NULL, NULL, 1, b, 88.5, NAN, NAN},
                                {NULL, "blob", NULL, 1, b, 87.5, NAN, NAN}};
    const kd_plot_key keys[] = {{"a < b", "baseline"}};
    kd_plot_rows side = {.title = "Accuracy",
                         .x_name = "test accuracy, %",
                         .x_format = "%.2f %%",
                         .bounds = {0, 100},
                         .key_count = 1,
                         .key = keys,
                         .count = 3,
                         .row = rows};
    kd_plot_add_rows(&out, &side, KD_PLOT_AS_FILE);
    kd_plot_add_rows(&out, &side, KD_PLOT_ON_PAGE);
    compare_text("rows.svg", &out);
}

/* --- a run's report --------------------------------------------------------------------------- */

static const char LOG[] =
    "{\"event\":\"start\",\"time\":1700000000,\"stage\":\"train\",\"step\":0,\"peak_rss\":50000000,"
    "\"text\":\"\"}\n"
    "{\"event\":\"step\",\"time\":1700000001,\"stage\":\"train\",\"step\":1,\"epoch\":0.5,"
    "\"loss\":2.25,\"kl\":1.5,\"hard\":0.75,\"lr\":0.05}\n"
    "{\"event\":\"step\",\"time\":1700000002,\"stage\":\"train\",\"step\":2,\"epoch\":1,"
    "\"loss\":1.25,\"kl\":0.9,\"hard\":0.35,\"lr\":0.1}\n"
    "{\"event\":\"eval\",\"time\":1700000003,\"stage\":\"train\",\"step\":2,\"epoch\":1,"
    "\"accuracy\":0.75,\"loss\":0.8}\n"
    "{\"event\":\"step\",\"time\":1700000004,\"stage\":\"train\",\"step\":4,\"epoch\":2,"
    "\"loss\":0.5,\"kl\":0.4,\"hard\":0.1,\"lr\":0.02}\n"
    "{\"event\":\"eval\",\"time\":1700000005,\"stage\":\"train\",\"step\":4,\"epoch\":2,"
    "\"accuracy\":0.875,\"loss\":0.6}\n"
    "{\"event\":\"step\",\"time\":1700000006,\"stage\":\"qat.int8\",\"step\":2,\"epoch\":1,"
    "\"loss\":0.45,\"kl\":0.3,\"hard\":0.15,\"lr\":0.001}\n"
    "{\"event\":\"eval\",\"time\":1700000007,\"stage\":\"qat.int8\",\"step\":2,\"epoch\":1,"
    "\"accuracy\":0.86,\"loss\":0.61}\n"
    "{\"event\":\"done\",\"time\":1700000008,\"stage\":\"qat.int8\",\"step\":2,"
    "\"peak_rss\":61234567,\"text\":\"\"}\n";

enum { CLASSES = 3 };
static const char CLASS_NAME[CLASSES][KD_CLASS_NAME_MAX] = {"cat", "dog & <fox>", "emu"};

/* 50, 30 and 20 samples. */
static kd_result make_result(const char *name, const char *kind, int64_t a, int64_t b, int64_t c) {
    static int64_t samples[] = {50, 30, 20};
    kd_result r = {.classes = CLASSES,
                   .class_samples = samples,
                   .class_correct = malloc(3 * sizeof(int64_t)),
                   .samples = 100,
                   .correct = a + b + c,
                   .loss = 0.01 * (double)(120 - a - b - c),
                   .parameters = 1000 * (a + 1),
                   .bytes = 4000 * (b + 1),
                   .memory = 9000 * (c + 1),
                   .ms_per_sample = 0.01 * (double)a,
                   .largest_difference = -1,
                   .disagreements = -1};
    assert_non_null(r.class_correct);
    memcpy(r.class_correct, (int64_t[]){a, b, c}, 3 * sizeof a);
    snprintf(r.name, sizeof r.name, "%s", name);
    snprintf(r.kind, sizeof r.kind, "%s", kind);
    return r;
}

static void reports_are_written_as_before(void **state) {
    test_folder *folder = *state;
    char resolved[] = "{\"a\": \"<b>\"}\n";
    kd_config *config = calloc(1, sizeof *config);
    assert_non_null(config);
    snprintf(config->name, sizeof config->name, "a run");
    config->resolved = resolved;
    config->hash = kd_hash_bytes("config", 6);
    kd_report report = {.config = config,
                        .run_folder = folder->path,
                        .classes = CLASSES,
                        .class_name = CLASS_NAME,
                        .count = 5};
    report.result[0] = make_result("teacher", "teacher", 49, 28, 17);
    report.result[1] = make_result("student float", "student", 47, 27, 12);
    report.result[2] = make_result("student without a teacher", "baseline", 41, 29, 10);
    report.result[3] = make_result("student int8 (PTQ)", "ptq", 46, 26, 11);
    report.result[4] = make_result("student int8 (QAT)", "blob", 47, 27, 11);
    report.result[4].disagreements = 2;
    report.result[4].largest_difference = 0.0625;
    test_write(test_path(folder, "log.jsonl"), LOG, strlen(LOG));
    assert_ok(kd_report_write(&report));
    compare_file("report.html", test_path(folder, "report.html"));
    compare_file("report.json", test_path(folder, "report.json"));
    compare_file("accuracy.svg", test_path(folder, "accuracy.svg"));
    kd_text text = {0};
    kd_measured_table table;
    assert_ok(kd_report_measured(&table, &report));
    kd_measured_add_text(&text, &table);
    kd_measured_clear(&table);
    compare_text("report.txt", &text);
    for (int i = 0; i < report.count; i++) free(report.result[i].class_correct);
    free(config);
}

/* --- a sweep's -------------------------------------------------------------------------------- */

static const char SWEEP[] =
    "{\"name\": \"many\", \"base\": \"base.json\", \"seeds\": [1, 2, 3],"
    " \"variants\": [{\"name\": \"baseline\", \"set\": {\"teacher\": null, \"loss\": null}},"
    " {\"name\": \"distilled\"}],"
    " \"grid\": {\"loss.temperature\": [1, 4], \"loss.kl\": [0.5, 0.9]}}";
static const char BASE[] =
    "{\"name\": \"base\", \"data\": {\"kind\": \"idx\", \"folder\": \".\", \"validation\": 10},"
    " \"model\": {\"type\": \"mlp\", \"hidden\": [4]}, \"train\": {\"epochs\": 1},"
    " \"teacher\": {\"store\": \"somewhere\"}, \"loss\": {\"kl\": 0.5, \"hard\": 0.5}}";

static void sweeps_are_written_as_before(void **state) {
    test_folder *folder = *state;
    kd_sweep *sweep;
    kd_sweep_results results;
    test_write(test_path(folder, "base.json"), BASE, strlen(BASE));
    test_write(test_path(folder, "many.json"), SWEEP, strlen(SWEEP));
    assert_ok(kd_sweep_load(&sweep, test_path(folder, "many.json"), kd_task_of_config));
    snprintf(sweep->base, sizeof sweep->base, "base.json"); /* not where this test lies */
    assert_ok(kd_sweep_results_create(&results, sweep));
    for (int v = 0; v < sweep->variant_count; v++)
        for (int s = 0; s < sweep->seed_count; s++) {
            kd_sweep_run *run = kd_sweep_run_at(&results, v, s);
            if (v == 3 && s == 2) continue; /* one is missing */
            run->done = true;
            run->seconds = 10 * v + s;
            run->model_count = v == 1 ? 2 : 1;
            for (int m = 0; m < run->model_count; m++) {
                const double correct = 150 + 7 * v + 3 * s * (v % 2) - m;
                run->model[m] = (kd_sweep_model){.validation = 0.7 + 0.01 * v + 0.005 * s};
                run->model[m].value[KD_TEST_ACCURACY] = correct / 200;
                run->model[m].value[KD_TEST_ERRORS] = 200 - correct;
                snprintf(run->model[m].name, sizeof run->model[m].name, "%s",
                         m ? "student int8 (QAT)" : "student float");
                snprintf(run->model[m].kind, sizeof run->model[m].kind, "%s",
                         m ? "blob" : "student");
            }
        }
    kd_text text = {0};
    kd_sweep_add_text(&text, &results);
    compare_text("sweep.txt", &text);
    kd_sweep_add_html(&text, &results);
    compare_text("sweep.html", &text);
    for (int i = 0; i < 3; i++)
        kd_sweep_add_plot(&text, &results, (kd_sweep_plot)i, KD_PLOT_AS_FILE);
    compare_text("sweep.svg", &text);
    kd_sweep_results_free(&results);
    kd_sweep_free(sweep);
}

/* --- a speech run's --------------------------------------------------------------------------- */

static void speech_reports_are_written_as_before(void **state) {
    test_folder *folder = *state;
    char audio[] = "a.wav", text[] = "SAID <ONE>", nobody[] = "", resolved[] = "{\"a\": 1}";
    char one[] = "said & <one>", *said[] = {one};
    kd_utterance utterance = {.audio = audio, .text = text, .speaker = nobody};
    kd_utterances utterances = {.item = &utterance, .count = 1};
    kd_labels labels = {.count = 9, .skipped = 1};
    kd_windows windows = {.parts = 6, .count = 2, .seconds = 40.5, .positions = 77};
    kd_speech_config config = {.resolved = resolved, .hash = kd_hash_bytes("config", 6)};
    snprintf(config.name, sizeof config.name, "a speech run");
    kd_speech_result result[] = {
        {"teacher", "teacher", .reference = {0.10, 0.08, 0.12}, .bytes = 200000,
         .parameters = 74000},
        {"student at first", "initial", .reference = {0.90, 0.8, 1.0}, .parameters = 50000},
        {"student", "student", .reference = {0.20, 0.15, 0.25}, .bytes = 100000},
        {"student q4_0", "ptq", .reference = {NAN, NAN, NAN}, .bytes = 25000}};
    for (int i = 0; i < 4; i++) {
        result[i].count = 1;
        result[i].said = said;
        result[i].audio_seconds = 20;
        result[i].seconds = 5 + i;
        result[i].teacher = (kd_speech_rate){0.01 * i, 0, 0.5};
    }
    const kd_speech_report report = {.config = &config,
                                     .run_folder = folder->path,
                                     .labels = &labels,
                                     .windows = &windows,
                                     .utterances = &utterances,
                                     .count = 4,
                                     .result = result};
    test_write(test_path(folder, "log.jsonl"), LOG, strlen(LOG));
    assert_ok(kd_speech_report_write(&report));
    compare_file("speech.html", test_path(folder, "report.html"));
    compare_file("speech.json", test_path(folder, "report.json"));
    compare_file("wer.svg", test_path(folder, "wer.svg"));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(plots_are_drawn_as_before), TEST(reports_are_written_as_before),
        TEST(sweeps_are_written_as_before), TEST(speech_reports_are_written_as_before)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
