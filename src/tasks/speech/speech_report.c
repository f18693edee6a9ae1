#include "tasks/speech/speech_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "report/plot.h"

enum { CELL_MAX = 48 };

const kd_speech_result *kd_speech_report_of(const kd_speech_report *report, const char *kind) {
    for (int i = report->count - 1; i >= 0; i--)
        if (strcmp(report->result[i].kind, kind) == 0) return &report->result[i];
    return NULL;
}

double kd_speech_real_time(const kd_speech_result *result) {
    return result->audio_seconds > 0 ? result->seconds / result->audio_seconds : NAN;
}

void kd_speech_report_size(char *out, int capacity, const kd_speech_result *result) {
    if (result->bytes > 0)
        kd_format_bytes(out, capacity, (double)result->bytes);
    else
        snprintf(out, (size_t)capacity, "–");
}

void kd_speech_report_interval(char *out, int capacity, const kd_speech_rate *rate) {
    const size_t room = (size_t)capacity;
    if (isnan(rate->rate))
        snprintf(out, room, "%s", "");
    else if (isfinite(rate->high))
        snprintf(out, room, "%.2f … %.2f", 100 * rate->low, 100 * rate->high);
    else
        snprintf(out, room, "at least %.2f", 100 * rate->low);
}

const char *kd_speech_report_rate(const kd_speech_report *report, bool whole) {
    const bool letters = report->count > 0 && report->result[0].letters;
    if (whole) return letters ? "character error rate" : "word error rate";
    return letters ? "CER" : "WER";
}

/* The gap that a model closed, where there is a gap; NAN otherwise. */
static double gap_closed(const kd_speech_report *report, const kd_speech_result *result) {
    const kd_speech_result *initial = kd_speech_report_of(report, "initial");
    const kd_speech_result *teacher = kd_speech_report_of(report, "teacher");
    if (!initial || !teacher || result == initial || result == teacher) return NAN;
    return kd_speech_gap_closed(initial, result, teacher);
}

/* --- the terminal ------------------------------------------------------------------------------
 */

/* "12.31 %" and "11.02 … 13.60", or dashes. */
static void add_rate_cells(kd_text *rows, const kd_speech_rate *rate) {
    char interval[CELL_MAX];
    kd_speech_report_interval(interval, sizeof interval, rate);
    if (isnan(rate->rate))
        kd_text_add(rows, "\t–\t–");
    else
        kd_text_add(rows, "\t%.2f %%\t%s", 100 * rate->rate, interval);
}

static void add_row(kd_text *rows, const kd_speech_report *report, const kd_speech_result *r) {
    char count[CELL_MAX], bytes[CELL_MAX];
    const double closed = gap_closed(report, r);
    kd_format_count(count, sizeof count, r->parameters);
    kd_speech_report_size(bytes, sizeof bytes, r);
    kd_text_add_plain(rows, r->name, strlen(r->name));
    add_rate_cells(rows, &r->reference);
    kd_text_add(rows, "\t%lld", (long long)r->loops);
    add_rate_cells(rows, &r->fallback);
    if (isnan(closed))
        kd_text_add(rows, "\t");
    else
        kd_text_add(rows, "\t%.1f %%", 100 * closed);
    add_rate_cells(rows, &r->teacher);
    kd_text_add(rows, "\t%s\t%s\t%.3f\n", count, bytes, kd_speech_real_time(r));
}

/* What the columns mean, and what is wrong with the recordings. */
static void add_notes(kd_text *out, const kd_speech_report *report) {
    const long long count = report->count ? (long long)report->result[0].count : 0;
    kd_text_add(out,
                "%s: %s on %lld recordings, greedy. loops: recordings whose greedy text repeats "
                "itself (zlib makes it more than 2.4 times smaller); with fallback: those, and "
                "unlikely texts, decoded again as `distill transcribe` does.\n",
                kd_speech_report_rate(report, false), kd_speech_report_rate(report, true), count);
    if (report->leaked > 0)
        kd_text_add(out,
                    "%lld of the %lld recordings are learnt from, too: the figures are too good.\n",
                    (long long)report->leaked, count);
}

void kd_speech_report_print(const kd_speech_report *report) {
    const char *rate = kd_speech_report_rate(report, false);
    kd_text rows = {0}, out = {0};
    kd_text_add(&rows,
                "model\t%s\t95 %% interval\tloops\twith fallback\t95 %% interval\tgap closed"
                "\tagainst the teacher\t95 %% interval\tparameters\tsize\treal time\n",
                rate);
    for (int i = 0; i < report->count; i++) add_row(&rows, report, &report->result[i]);
    if (kd_text_finish(&rows, "a table") == KD_OK)
        kd_text_add_table(&out, "lrrrrrrrrrrr", rows.text);
    add_notes(&out, report);
    if (kd_text_finish(&out, "the report") == KD_OK) fputs(out.text, stdout);
    free(rows.text);
    free(out.text);
}

/* --- machines ----------------------------------------------------------------------------------
 */

/* An end that is not finite is null. */
static void add_rate(kd_text *out, const char *key, const kd_speech_rate *rate) {
    char interval[CELL_MAX];
    kd_json_add_number(out, key, rate->rate);
    snprintf(interval, sizeof interval, "%s_interval", key);
    if (isnan(rate->rate))
        kd_text_add(out, ", \"%s\": null", interval);
    else if (isfinite(rate->high))
        kd_text_add(out, ", \"%s\": [%.7g, %.7g]", interval, rate->low, rate->high);
    else
        kd_text_add(out, ", \"%s\": [%.7g, null]", interval, rate->low);
}

static void add_model(kd_text *out, const kd_speech_report *report, const kd_speech_result *r) {
    kd_text_add(out, "    {");
    kd_json_add_string(out, "name", r->name);
    kd_text_add(out, ", ");
    kd_json_add_string(out, "kind", r->kind);
    kd_text_add(out, ", ");
    kd_json_add_string(out, "rate", kd_speech_report_rate(report, true));
    kd_json_add_integer(out, "utterances", r->count);
    add_rate(out, "wer", &r->reference);
    kd_json_add_integer(out, "loops", r->loops);
    if (r->again >= 0) kd_json_add_integer(out, "decoded_again", r->again);
    add_rate(out, "wer_with_fallback", &r->fallback);
    kd_json_add_number(out, "gap_closed", gap_closed(report, r));
    add_rate(out, "wer_to_teacher", &r->teacher);
    kd_json_add_integer(out, "parameters", r->parameters);
    kd_json_add_integer(out, "bytes", r->bytes);
    kd_json_add_number(out, "audio_seconds", r->audio_seconds);
    kd_json_add_number(out, "seconds", r->seconds);
    kd_text_add(out, "}");
}

static void add_data(kd_text *out, const kd_speech_report *report) {
    const kd_labels *l = report->labels;
    const kd_windows *w = report->windows;
    if (!l || !w) return;
    kd_text_add(out, ",\n  \"data\": {\"utterances\": %lld", (long long)l->count);
    kd_json_add_integer(out, "skipped", l->skipped);
    kd_json_add_integer(out, "unreadable", l->unreadable);
    kd_json_add_integer(out, "kept", w->parts);
    kd_json_add_integer(out, "windows", w->count);
    kd_json_add_number(out, "seconds", w->seconds);
    kd_json_add_integer(out, "positions", w->positions);
    kd_text_add(out, "}");
}

static void add_json(kd_text *out, const kd_speech_report *report) {
    kd_text_add(out, "{\n  ");
    kd_json_add_string(out, "name", report->config->name);
    kd_text_add(out, ",\n  ");
    kd_json_add_string(out, "config_hash", report->config->hash.hex);
    add_data(out, report);
    if (report->leaked >= 0)
        kd_json_add_integer(out, "test_recordings_learnt_from", report->leaked);
    kd_text_add(out, ",\n  \"models\": [\n");
    for (int i = 0; i < report->count; i++) {
        add_model(out, report, &report->result[i]);
        kd_text_add(out, "%s\n", i + 1 < report->count ? "," : "");
    }
    kd_text_add(out, "  ]\n}\n");
}

/* --- files -------------------------------------------------------------------------------------
 */

void kd_speech_report_add_plot(kd_text *out, const kd_speech_report *report, bool words,
                               kd_plot_form form) {
    kd_plot_row row[KD_SPEECH_SUBJECTS_MAX];
    double percent[KD_SPEECH_SUBJECTS_MAX];
    char axis[96];
    int n = 0;
    snprintf(axis, sizeof axis, "%s on the test recordings, %%, with 95 %% interval",
             kd_speech_report_rate(report, true));
    for (int i = 0; i < report->count && n < KD_SPEECH_SUBJECTS_MAX; i++) {
        const kd_speech_result *r = &report->result[i];
        const kd_speech_rate *rate = words ? &r->teacher : &r->reference;
        if (isnan(rate->rate) || strcmp(r->kind, "initial") == 0) continue;
        percent[n] = 100 * rate->rate;
        row[n] = (kd_plot_row){.name = r->name,
                               .colour = kd_plot_model_colour(r->kind),
                               .n = 1,
                               .value = &percent[n],
                               .mean = percent[n],
                               .low = 100 * rate->low,
                               .high = 100 * rate->high};
        n++;
    }
    kd_plot_rows plot = {.title = words ? "Against the teacher's words" : "Against the references",
                         .x_name = axis,
                         .x_format = "%.2f %%",
                         .bounds = {0, INFINITY}, /* words that were not said count too */
                         .count = n,
                         .row = row};
    if (n > 0) kd_plot_add_rows(out, &plot, form);
}

int kd_speech_report_write(const kd_speech_report *report) {
    kd_text json = {0}, plot = {0}, html = {0};
    add_json(&json, report);
    int status = kd_text_save(&json, report->run_folder, "report.json");
    if (status < 0) return status;
    kd_speech_report_add_plot(&plot, report, false, KD_PLOT_AS_FILE);
    status = kd_text_save(&plot, report->run_folder, "wer.svg");
    if (status < 0) return status;
    status = kd_speech_report_add_html(&html, report);
    if (status == KD_OK) return kd_text_save(&html, report->run_folder, "report.html");
    free(html.text);
    return status;
}
