/* What a distillation of a speech recogniser came to: one table, for the terminal, for a browser
 * and for machines. */
#ifndef KD_TASKS_SPEECH_SPEECH_REPORT_H
#define KD_TASKS_SPEECH_SPEECH_REPORT_H

#include "base/text.h"
#include "distill/budget.h"
#include "report/measured.h"
#include "report/plot.h"
#include "tasks/speech/speech_config.h"
#include "tasks/speech/speech_eval.h"
#include "tasks/speech/windows.h"

/* All is borrowed. The closest thing to a result is the last of the models. */
typedef struct {
    const kd_speech_config *config;
    const char *run_folder;          /* holds log.jsonl, the curves                     */
    const kd_labels *labels;         /* of the training list; NULL: not told of         */
    const kd_windows *windows;       /* made of them; NULL: not told of                 */
    const kd_utterances *utterances; /* that the models were measured on                */
    int64_t leaked; /* of these, how many the student also learnt from; −1: not known */
    const kd_budget *const *budget; /* (config->quantize_count) formats that were chosen; NULL where
                                       none are; or NULL                           */
    int count;
    const kd_speech_result *result; /* (count)                                          */
} kd_speech_report;

/* All of it by name, of each speaker too where the list names any; the table is the caller's to
 * clear, also after an error. */
int kd_speech_report_measured(kd_measured_table *out, const kd_speech_report *report);

/* The table as text on stdout. */
void kd_speech_report_print(const kd_speech_report *report);
/* <run>/report.json, report.html (self-contained, inline SVG) and wer.svg, each whole or absent. */
int kd_speech_report_write(const kd_speech_report *report);

/* --- between speech_report.c and speech_report_html.c -------------------------------------------
 */

/* The last result of a kind, or NULL. */
const kd_speech_result *kd_speech_report_of(const kd_speech_report *report, const char *kind);

/* Seconds of work for a second of sound; NAN without sound. */
double kd_speech_real_time(const kd_speech_result *result);

/* The ends of an interval, in percent: "11.02 … 13.60", "at least 11.02" where there is no upper
 * one, "" where there is no rate. */
void kd_speech_report_interval(char *out, int capacity, const kd_speech_rate *rate);

/* "WER" and "word error rate" or, of letters, "CER" and "character error rate". */
const char *kd_speech_report_rate(const kd_speech_report *report, bool whole);

/* The size of a model's file; a dash for one that has none. */
void kd_speech_report_size(char *out, int capacity, const kd_speech_result *result);

/* Every model's rate against the references or, `words`, the teacher's words, with its interval.
 * Not of the student before training, beside whose rate the others could not be told apart. */
void kd_speech_report_add_plot(kd_text *out, const kd_speech_report *report, bool words,
                               kd_plot_form form);

/* The page; KD_EIO when the log cannot be read. */
int kd_speech_report_add_html(kd_text *out, const kd_speech_report *report);

#endif
