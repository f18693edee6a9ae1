/* Mixed precision by a budget, for every task: sensitivities are measured (sensitivity.h), formats
 * chosen (quant/budget.h), and both are said: in a table on stderr, as JSON and a drawing beside
 * the exported file, and in its metadata. */
#ifndef KD_DISTILL_BUDGET_H
#define KD_DISTILL_BUDGET_H

#include "distill/sensitivity.h"
#include "report/plot.h"

/* The choice for `model`, whose answers to calibration samples are `answers`; `name` is the file's,
 * for messages. Of model->params the values are as before, the gradients not. The caller frees *out
 * with kd_budget_free. Errors as kd_sensitivity_by_gradient and kd_budget_choose; a budget that is
 * too small is refused before anything is measured. */
int kd_budget_make(kd_budget **out, const kd_budget_spec *spec, const kd_quantizable *model,
                   const kd_answers *answers, const char *name);

/* `spec` as the quantizer takes it: with the formats of the choice, which outlives it. */
kd_quantize_spec kd_budget_quantize(const kd_quantize_spec *spec, const kd_budget *budget);

/* What stands in the file under "distill.budget", one line of JSON: limit, bytes, the predicted
 * cost, and how many matrices have which format. */
void kd_budget_add_metadata(kd_text *out, const kd_budget *budget);

/* The matrices whose rounding costs most for what it saves, the first first: (KL in the smallest
 * format − KL in the largest) / bytes saved. */
void kd_budget_add_table(kd_text *out, const kd_budget *budget, int most);
void kd_budget_add_plot(kd_text *out, const kd_budget *budget, const char *title,
                        kd_plot_form form);

/* <folder>/budget.<name>.json, all matrices with all their options, and budget.<name>.svg. */
int kd_budget_save(const kd_budget *budget, const char *folder, const char *name);

#endif
