/* What `distill plan` finds out about a model. */
#ifndef KD_CLI_PLAN_MODEL_H
#define KD_CLI_PLAN_MODEL_H

#include "planner/fit.h"

/* `text` is a number of parameters ("7B", "135M", "62k") of a decoder, or the path of an exported
 * student, a Whisper model or a language model. KD_EDATA for other files, KD_ENOINPUT for none. */
int kd_plan_model(kd_workload *out, const char *text);

#endif
