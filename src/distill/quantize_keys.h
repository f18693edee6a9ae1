/* The keys of "quantize" that say how weights are rounded, and their rules, for the tables of every
 * task. */
#ifndef KD_DISTILL_QUANTIZE_KEYS_H
#define KD_DISTILL_QUANTIZE_KEYS_H

#include "config/reader.h"
#include "config/rows.h"
#include "quant/budget.h"

/* clang-format off */
/* What the key "rounding" is. */
#define KD_ROUNDING_DOC                                                                            \
    "to the nearest numbers; or by the inputs of calibration_samples: importance, with the "       \
    "scales that lose least where they are large; gptq, each column's error made good by the "     \
    "others, without qat; awq, columns of large inputs scaled, likewise; awq_gptq, both"

/* The rows of the kd_quantize_spec at member `spec` of the struct `s`, of the roundings that go by gptq.h. */
#define GPTQ_KEYS(s)                                                                               \
    {"damping", KD_KEY_REAL, FIELD(s, spec.gptq.damping), ABOVE_ZERO, .fallback = "0.01",          \
     .doc = "of gptq and awq_gptq: share of the mean of its Hessian's diagonal that is added to it; as far as ten times as much where it cannot be inverted without"}, \
    {"activation_order", KD_KEY_SWITCH, FIELD(s, spec.gptq.activation_order), .fallback = "true",  \
     .doc = "of gptq and awq_gptq: columns whose inputs are largest are rounded first"}
/* The row of the kd_budget_spec at member `budget` of the struct `s`. */
#define BUDGET_KEY(s)                                                                              \
    {"budget", KD_KEY_OBJECT, OPTIONAL_PART(s, budget, budget.asked, kd_budget_keys),              \
     .doc = "in place of format: each matrix gets the format that costs least for its bytes, so that all keep within a size"}
/* clang-format on */

extern const kd_config_table kd_budget_keys;

/* What "rounding" names: the nearest numbers where nothing is said, NULL where there is none. */
const kd_quantizer *kd_config_rounding(const cJSON *object);

/* Takes the defaults of keys away that the rounding of `object` has not. */
void kd_config_rounding_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
/* What is wrong with the keys of the rounding. */
void kd_config_check_rounding(kd_config_reader *reader, const cJSON *object, const char *path);

/* The format that is named, NULL when none is; of a budget one that stands in until all are chosen.
 */
const kd_number_format *kd_config_format(const kd_budget_spec *budget, const char *name);
/* What is wrong with "budget", beside which there is no "format". A network, whose files are our
 * own, may have int8. */
void kd_config_check_budget(kd_config_reader *reader, const cJSON *object, const char *path,
                            const kd_budget_spec *budget, bool network);

/* What a table calls the file of an entry: its format or, of a budget, its name. */
static inline const char *kd_quantize_title(const kd_budget_spec *budget, const char *format,
                                            const char *name) {
    return budget->asked ? name : format;
}

#endif
