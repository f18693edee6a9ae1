/* The page of a speech run: one file that opens anywhere, without scripts and without the network.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "report/compression.h"
#include "report/page.h"
#include "report/plot.h"
#include "tasks/speech/metrics.h"
#include "tasks/speech/speech_report.h"

enum { SAID_SHOWN_MAX = 40 };

/* --- facts -------------------------------------------------------------------------------------
 */

static void add_fact(kd_text *out, const char *term, const char *value, const char *more) {
    kd_text_add(out, "<div><dt>%s</dt><dd><b>%s</b>%s</dd></div>\n", term, value, more);
}

static void add_rate_fact(kd_text *out, const kd_speech_result *r,
                          const kd_speech_result *teacher) {
    char value[64], more[160] = "";
    if (isnan(r->reference.rate)) return;
    snprintf(value, sizeof value, "%.2f %%", 100 * r->reference.rate);
    if (teacher && teacher != r)
        snprintf(more, sizeof more, "the teacher's: %.2f %%", 100 * teacher->reference.rate);
    add_fact(out,
             r->letters ? "Character error rate of the student" : "Word error rate of the student",
             value, more);
}

static void add_gap_fact(kd_text *out, const kd_speech_report *report,
                         const kd_speech_result *student) {
    const kd_speech_result *initial = kd_speech_report_of(report, "initial");
    const kd_speech_result *teacher = kd_speech_report_of(report, "teacher");
    char value[64], more[160];
    if (!initial || !teacher) return;
    const double closed = kd_speech_gap_closed(initial, student, teacher);
    if (!isfinite(closed)) return;
    snprintf(value, sizeof value, "%.1f %%", 100 * closed);
    snprintf(more, sizeof more, "of the way from its first weights, %.2f %%, to the teacher",
             100 * initial->reference.rate);
    add_fact(out, "What it learnt", value, more);
}

static void add_size_facts(kd_text *out, const kd_speech_result *last,
                           const kd_speech_result *teacher) {
    char value[64], more[160] = "";
    kd_format_bytes(value, sizeof value, (double)last->bytes);
    if (teacher && teacher != last && last->bytes > 0)
        snprintf(more, sizeof more, "%.1f times smaller than the teacher",
                 (double)teacher->bytes / (double)last->bytes);
    add_fact(out, "Size of the smallest file", value, more);
}

/* Of those that are files: the student before training is none. */
static const kd_speech_result *smallest(const kd_speech_report *report) {
    const kd_speech_result *best = &report->result[0];
    for (int i = 1; i < report->count; i++) {
        const int64_t bytes = report->result[i].bytes;
        if (bytes > 0 && bytes < best->bytes) best = &report->result[i];
    }
    return best;
}

static void add_data_fact(kd_text *out, const kd_speech_report *report) {
    char value[64], more[160];
    if (!report->labels || !report->windows) return;
    kd_format_duration(value, sizeof value, report->windows->seconds);
    snprintf(more, sizeof more, "%lld of %lld recordings, whose labels are good enough",
             (long long)report->windows->parts, (long long)report->labels->count);
    const long long bad = (long long)report->labels->unreadable;
    const size_t length = strlen(more);
    if (bad > 0) snprintf(more + length, sizeof more - length, "; %lld cannot be read", bad);
    add_fact(out, "Learnt from", value, more);
}

static void add_facts(kd_text *out, const kd_speech_report *report) {
    const kd_speech_result *student = kd_speech_report_of(report, "student");
    const kd_speech_result *teacher = kd_speech_report_of(report, "teacher");
    if (report->count == 0) return;
    kd_text_add(out, "<dl class=\"facts\">\n");
    if (student) {
        add_rate_fact(out, student, teacher);
        add_gap_fact(out, report, student);
    }
    add_size_facts(out, smallest(report), teacher);
    add_data_fact(out, report);
    kd_text_add(out, "</dl>\n");
}

/* --- models ------------------------------------------------------------------------------------
 */

static void add_rate_cells(kd_text *out, const kd_speech_rate *rate) {
    char interval[64];
    kd_speech_report_interval(interval, sizeof interval, rate);
    if (isnan(rate->rate))
        kd_text_add(out, "<td>–</td><td></td>");
    else
        kd_text_add(out, "<td>%.2f %%</td><td><small>%s</small></td>", 100 * rate->rate, interval);
}

static void add_model_row(kd_text *out, const kd_speech_result *r) {
    char count[32], bytes[32];
    kd_format_count(count, sizeof count, r->parameters);
    kd_speech_report_size(bytes, sizeof bytes, r);
    kd_text_add(out, "<tr><th scope=\"row\"><i class=\"%s\"></i>", kd_plot_model_colour(r->kind));
    kd_text_add_escaped(out, r->name);
    kd_text_add(out, "</th>");
    add_rate_cells(out, &r->reference);
    kd_text_add(out, "<td>%lld</td>", (long long)r->loops);
    add_rate_cells(out, &r->fallback);
    add_rate_cells(out, &r->teacher);
    kd_text_add(out, "<td>%s</td><td>%s</td><td>%.3f</td></tr>\n", count, bytes,
                kd_speech_real_time(r));
}

static void add_models(kd_text *out, const kd_speech_report *report) {
    kd_text_add(out,
                "<h2 id=\"models\">Models</h2>\n<div class=\"scroll\" tabindex=\"0\" "
                "role=\"region\" aria-labelledby=\"models\"><table><thead><tr>"
                "<th scope=\"col\">Model</th><th scope=\"col\">%s</th>"
                "<th scope=\"col\">95 %% interval</th><th scope=\"col\">Loops</th>"
                "<th scope=\"col\">With fallback</th><th scope=\"col\">95 %% interval</th>"
                "<th scope=\"col\">Against the teacher's words</th>"
                "<th scope=\"col\">95 %% interval</th><th scope=\"col\">Parameters</th>"
                "<th scope=\"col\">Size</th><th scope=\"col\">Real time</th></tr></thead>"
                "<tbody>\n",
                kd_speech_report_rate(report, false));
    for (int i = 0; i < report->count; i++) add_model_row(out, &report->result[i]);
    kd_text_add(out, "</tbody></table></div>\n");
    if (report->count == 0) return;
    kd_text_add(
        out,
        "<p class=\"soft\">%s: %s on the same %lld recordings, %.0f s of sound, texts normalised, "
        "every %s counting the same; greedy decoding. Loops: recordings whose greedy text repeats "
        "itself, so that zlib makes it more than 2.4 times smaller. With fallback: these, and "
        "those "
        "of unlikely text, decoded again at higher temperatures, as <code>distill "
        "transcribe</code> "
        "does. The interval is a bootstrap's over recordings. Real time: seconds of greedy work "
        "for "
        "a second of sound, most of which is a window of 30 s for each recording.</p>\n",
        kd_speech_report_rate(report, false), kd_speech_report_rate(report, true),
        (long long)report->result[0].count, report->result[0].audio_seconds,
        report->result[0].letters ? "letter" : "word");
    if (report->leaked > 0)
        kd_text_add(out,
                    "<p><b>%lld of these recordings are learnt from, too: the figures are too "
                    "good.</b></p>\n",
                    (long long)report->leaked);
    kd_text_add(out, "<div class=\"charts\">\n");
    kd_speech_report_add_plot(out, report, false, KD_PLOT_ON_PAGE);
    kd_speech_report_add_plot(out, report, true, KD_PLOT_ON_PAGE);
    kd_text_add(out, "</div>\n");
}

/* --- compression -------------------------------------------------------------------------------
 */

static void add_compression(kd_text *out, const kd_speech_report *report) {
    kd_measured_table table;
    if (kd_speech_report_measured(&table, report) < 0)
        out->failed = true;
    else if (kd_compression_is_shown(&table))
        kd_compression_add_html(out, &table);
    kd_measured_clear(&table);
    for (int i = 0; report->budget && i < report->config->quantize_count; i++) {
        if (!report->budget[i]) continue;
        kd_text_add(out, "<div class=\"charts\">\n");
        kd_budget_add_plot(out, report->budget[i], report->config->quantize[i].name,
                           KD_PLOT_ON_PAGE);
        kd_text_add(out, "</div>\n");
    }
}

/* --- training ----------------------------------------------------------------------------------
 */

/* Of several ways to quantize, the first that was trained; "" without. */
static const char *qat_stage(const kd_speech_config *config, const kd_runlog_curves *log) {
    for (int i = 0; i < config->quantize_count; i++)
        if (kd_report_has_stage(log, config->quantize[i].stage)) return config->quantize[i].stage;
    return "";
}

static int add_training(kd_text *out, const kd_speech_report *report) {
    char path[KD_PATH_MAX];
    kd_runlog_curves log;
    int status = kd_path_join(path, report->run_folder, "log.jsonl");
    if (status == KD_OK) status = kd_runlog_read(&log, path);
    if (status < 0) return status;
    if (log.step_count > 1) {
        kd_text_add(out, "<h2>Training</h2>\n<div class=\"charts level\">\n");
        const kd_report_curves how = {.qat = qat_stage(report->config, &log),
                                      .term = kd_speech_terms,
                                      .term_count = KD_SPEECH_TERMS,
                                      .validation = &kd_speech_validation[KD_SPEECH_ACCURACY]};
        kd_report_add_curves(out, &log, &how);
        kd_text_add(out, "</div>\n");
    }
    kd_runlog_free(&log);
    return KD_OK;
}

/* --- words -------------------------------------------------------------------------------------
 */

static void add_said_row(kd_text *out, const char *who, const char *text) {
    kd_text_add(out, "<tr><th scope=\"row\">");
    kd_text_add_escaped(out, who);
    kd_text_add(out, "</th><td>");
    kd_text_add_escaped(out, text);
    kd_text_add(out, "</td></tr>\n");
}

/* What the list, the teacher, and the student before and after have of the first recordings. */
static void add_said(kd_text *out, const kd_speech_report *report) {
    static const char *const kind[] = {"teacher", "initial", "student"};
    const int64_t count = report->utterances->count;
    if (report->count == 0) return;
    kd_text_add(out, "<details><summary>What was heard</summary>\n<table class=\"said\">\n");
    for (int64_t i = 0; i < count && i < SAID_SHOWN_MAX; i++) {
        add_said_row(out, "said", report->utterances->item[i].text);
        for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
            const kd_speech_result *r = kd_speech_report_of(report, kind[k]);
            if (r) add_said_row(out, r->name, r->said[i]);
        }
        kd_text_add(out, "<tr><td colspan=\"2\"></td></tr>\n");
    }
    kd_text_add(out, "</table></details>\n");
}

/* --- the page ----------------------------------------------------------------------------------
 */

int kd_speech_report_add_html(kd_text *out, const kd_speech_report *report) {
    const kd_speech_config *config = report->config;
    kd_report_begin_page(out, config->name);
    kd_text_add(out, ".said td{text-align:left;white-space:normal}\n");
    kd_report_begin_body(out, config->name);
    kd_report_add_settings(out, config->seed, config->precision, &config->hash);
    add_facts(out, report);
    add_models(out, report);
    add_compression(out, report);
    int status = add_training(out, report);
    add_said(out, report);
    kd_report_end_page(out, report->config->resolved);
    return status;
}
