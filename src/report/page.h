/* A page of a report in HTML: one file, no scripts, and the plots of a run's log. */
#ifndef KD_REPORT_PAGE_H
#define KD_REPORT_PAGE_H

#include <stdbool.h>

#include "base/hash.h"
#include "base/text.h"
#include "report/runlog.h"

/* A page around its content: begin_page, more CSS if need be, begin_body, the content, and of a run
 * its settings under the title and end_page with the resolved config. */
void kd_report_begin_page(kd_text *out, const char *name);
void kd_report_begin_body(kd_text *out, const char *name);
void kd_report_add_settings(kd_text *out, uint64_t seed, const char *precision,
                            const kd_hash *config);
void kd_report_end_page(kd_text *out, const char *resolved);

/* Text as HTML content or attribute: & < > " ' escaped. */
void kd_text_add_escaped(kd_text *out, const char *text);

/* The plots of a run's log (curves.c): the loss that was minimised with its terms, as far as the
 * log has them (none: only the loss), what chose the best weights, learning rate. `qat`: the stage
 * drawn behind the float training, "" for none. */
typedef struct {
    const char *qat;
    int term_count;
    const kd_metric *term;
    const kd_metric *validation;
} kd_report_curves;
void kd_report_add_curves(kd_text *out, const kd_runlog_curves *log, const kd_report_curves *how);
/* Whether the log has steps of a stage. */
bool kd_report_has_stage(const kd_runlog_curves *log, const char *stage);

#endif
