/* What the task's row of the registry (task.c) is made of, besides runs: functions of
 * distill/task.h for configs of classifiers. */
#ifndef KD_TASKS_CLASSIFY_CLASSIFY_H
#define KD_TASKS_CLASSIFY_CLASSIFY_H

#include "distill/plan.h"
#include "distill/task.h"
#include "tasks/classify/config.h"

/* The config's networks, node by node. */
int kd_classify_inspect(kd_text *out, const void *config);

/* Prints parameters, memory against the machine's (or cgroup's) limit, disk, and an ETA from a few
 * measured updates. Refuses like kd_preflight (preflight.h), and with KD_ECONFIG what cannot fit,
 * before it takes the memory. Writes nothing into the runs folder. */
int kd_classify_plan(const void *config, const kd_plan_request *request);

/* What the training stages of a config will take, its teachers' not counted, from a few measured
 * updates. Refuses like kd_preflight, and what cannot fit into memory before it takes it. */
int kd_plan_measure(kd_plan_needs *out, const kd_config *config);

/* Sweeps of classifiers (sweep.c). */
extern const kd_sweep_task kd_classify_sweep;

/* A blob, a checkpoint or a safetensors file on the test set, class by class. */
int kd_classify_measure(const void *config, const kd_measurement *what);

/* Writes a checkpoint, a blob or rounded weights as ONNX (files/onnx_file.h); `format` as in
 * task.h. But for a blob the files of the config's test data must be there, which know the samples'
 * shape. */
int kd_classify_onnx(const char *model, const char *out, const kd_number_format *format);

#endif
