#include "tasks/speech/speech_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"
#include "base/log.h"
#include "base/size.h"
#include "report/compression.h"
#include "report/plot.h"
#include "tasks/speech/metrics.h"

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

/* --- by name -----------------------------------------------------------------------------------
 */

static kd_estimate estimate_of(const kd_speech_rate *rate, int64_t words) {
    return (kd_estimate){rate->rate, rate->low, rate->high, words};
}

/* The words of the references and the mistakes in them; NULL: of all. */
static void count_errors(const kd_speech_result *r, const bool *mine, int64_t *words,
                         int64_t *errors) {
    *words = *errors = 0;
    for (int64_t i = 0; i < r->count && r->against_reference; i++) {
        const kd_wer *w = &r->against_reference[i];
        if (mine && !mine[i]) continue;
        *words += w->words;
        *errors += w->substitutions + w->deletions + w->insertions;
    }
}

static void fill_model(kd_measured_table *table, const kd_speech_report *report,
                       const kd_speech_result *r) {
    kd_estimate *value = kd_measured_add(table, r->name, r->kind, r->stage)->value;
    int64_t words, errors;
    count_errors(r, NULL, &words, &errors);
    value[KD_HEARD_WER] = estimate_of(&r->reference, words);
    if (words > 0) value[KD_HEARD_ERRORS] = kd_estimate_plain((double)errors, words);
    value[KD_HEARD_UTTERANCES].value = (double)r->count;
    value[KD_HEARD_LOOPS].value = (double)r->loops;
    if (r->again >= 0) value[KD_HEARD_AGAIN].value = (double)r->again;
    value[KD_HEARD_FALLBACK] = estimate_of(&r->fallback, words);
    value[KD_HEARD_GAP].value = gap_closed(report, r);
    value[KD_HEARD_TEACHER] = estimate_of(&r->teacher, 0);
    value[KD_HEARD_PARAMETERS].value = (double)r->parameters;
    if (r->bytes > 0) value[KD_HEARD_BYTES].value = (double)r->bytes;
    value[KD_HEARD_AUDIO].value = r->audio_seconds;
    value[KD_HEARD_SECONDS].value = r->seconds;
    value[KD_HEARD_REAL_TIME].value = kd_speech_real_time(r);
    kd_fidelity_fill(&value[KD_HEARD_FIDELITY], &r->fidelity);
}

/* The place of each utterance's speaker in `name`; gives how many there are, 0 when any utterance
 * has none. */
static int find_speakers(const kd_utterances *utterances, int *speaker, const char **name) {
    int count = 0;
    for (int64_t i = 0; i < utterances->count; i++) {
        const char *own = utterances->item[i].speaker;
        if (!own || !*own) return 0;
        int k = 0;
        while (k < count && strcmp(name[k], own) != 0) k++;
        if (k == count) name[count++] = own;
        speaker[i] = k;
    }
    return count;
}

static int fill_speaker(kd_measured_table *table, const kd_speech_report *report, int k,
                        const bool *mine) {
    int status = KD_OK;
    for (int m = 0; m < report->count && status == KD_OK; m++) {
        const kd_speech_result *r = &report->result[m];
        kd_estimate *value = kd_measured_group(table, &table->model[m], k, 0);
        kd_speech_rate rate;
        int64_t words, errors;
        status = kd_speech_rate_of(&rate, r->against_reference, r->count, mine);
        count_errors(r, mine, &words, &errors);
        value[KD_HEARD_WER] = estimate_of(&rate, words);
        if (words > 0) value[KD_HEARD_ERRORS] = kd_estimate_plain((double)errors, words);
    }
    return status;
}

/* Every model's rate on each speaker. */
static int fill_speakers(kd_measured_table *table, const kd_speech_report *report,
                         const int *speaker) {
    const int64_t n = report->utterances->count;
    bool *mine = malloc(kd_array_bytes(n, sizeof *mine));
    if (!mine) return kd_fail_memory((size_t)n * sizeof *mine, "speakers");
    int status = KD_OK;
    for (int k = 0; k < table->group_count && status == KD_OK; k++) {
        for (int64_t i = 0; i < n; i++) mine[i] = speaker[i] == k;
        status = fill_speaker(table, report, k, mine);
    }
    free(mine);
    return status;
}

int kd_speech_report_measured(kd_measured_table *out, const kd_speech_report *report) {
    const bool letters = report->count > 0 && report->result[0].letters;
    const size_t n = (size_t)report->utterances->count + 1;
    int *speaker = malloc(n * sizeof *speaker);
    const char **name = malloc(n * sizeof *name);
    *out = (kd_measured_table){0};
    int status = speaker && name ? KD_OK : kd_fail_memory(n * sizeof *name, "speakers");
    const int speakers = status == KD_OK ? find_speakers(report->utterances, speaker, name) : 0;
    if (status == KD_OK)
        status = kd_measured_create(out, report->count, KD_HEARD_METRICS,
                                    letters ? kd_speech_test_letters : kd_speech_test, speakers);
    if (status == KD_OK) {
        out->unit = letters ? "letters" : "words";
        out->group = "speaker";
        out->groups = "speakers";
        out->speed = kd_speech_test[KD_HEARD_REAL_TIME].name;
        for (int k = 0; k < speakers; k++) out->group_name[k] = name[k];
        for (int i = 0; i < report->count; i++) fill_model(out, report, &report->result[i]);
        status = fill_speakers(out, report, speaker);
    }
    free(speaker);
    free(name);
    return status;
}

/* --- the terminal and machines -----------------------------------------------------------------
 */

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
    kd_text out = {0};
    kd_measured_table table;
    if (kd_speech_report_measured(&table, report) == KD_OK) {
        kd_measured_add_text(&out, &table);
        if (kd_compression_is_shown(&table)) kd_compression_add_text(&out, &table);
    }
    add_notes(&out, report);
    if (kd_text_finish(&out, "the report") == KD_OK) fputs(out.text, stdout);
    free(out.text);
    kd_measured_clear(&table);
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

static int add_json(kd_text *out, const kd_speech_report *report) {
    kd_measured_table table;
    int status = kd_speech_report_measured(&table, report);
    kd_text_add(out, "{\n  ");
    kd_json_add_string(out, "name", report->config->name);
    kd_text_add(out, ",\n  ");
    kd_json_add_string(out, "config_hash", report->config->hash.hex);
    kd_text_add(out, ",\n  ");
    kd_json_add_string(out, "rate", kd_speech_report_rate(report, true));
    add_data(out, report);
    if (report->leaked >= 0)
        kd_json_add_integer(out, "test_recordings_learnt_from", report->leaked);
    kd_text_add(out, ",\n  ");
    if (status == KD_OK) kd_measured_add_json(out, &table);
    if (status == KD_OK)
        status = kd_compression_save(&table, report->config->name, report->run_folder);
    kd_text_add(out, "\n}\n");
    kd_measured_clear(&table);
    return status;
}

/* --- files -------------------------------------------------------------------------------------
 */

void kd_speech_report_add_plot(kd_text *out, const kd_speech_report *report, bool words,
                               kd_plot_form form) {
    kd_plot_row row[KD_SPEECH_SUBJECTS_MAX];
    double percent[KD_SPEECH_SUBJECTS_MAX];
    char axis[96];
    int n = 0;
    snprintf(axis, sizeof axis, "%s, %%", kd_speech_report_rate(report, true));
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
                         .note = "test recordings, with 95 % interval",
                         .x_format = "%.2f %%",
                         .bounds = {0, INFINITY}, /* words that were not said count too */
                         .count = n,
                         .row = row};
    if (n > 0) kd_plot_add_rows(out, &plot, form);
}

int kd_speech_report_write(const kd_speech_report *report) {
    kd_text json = {0}, plot = {0}, html = {0};
    int status = add_json(&json, report);
    if (status < 0) {
        free(json.text);
        return status;
    }
    status = kd_text_save(&json, report->run_folder, "report.json");
    if (status < 0) return status;
    kd_speech_report_add_plot(&plot, report, false, KD_PLOT_AS_FILE);
    status = kd_text_save(&plot, report->run_folder, "wer.svg");
    if (status < 0) return status;
    status = kd_speech_report_add_html(&html, report);
    if (status == KD_OK) return kd_text_save(&html, report->run_folder, "report.html");
    free(html.text);
    return status;
}
