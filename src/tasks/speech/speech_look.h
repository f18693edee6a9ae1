/* What the results of a speech run are made from (distill/origin.h), and whether those that are
 * there are this run's. For speech_run.c. */
#ifndef KD_TASKS_SPEECH_SPEECH_LOOK_H
#define KD_TASKS_SPEECH_SPEECH_LOOK_H

#include "distill/origin.h"
#include "tasks/speech/speech_run.h"

/* What decides the training stage "train" or, with `how`, its own; the store; the file of an entry
 * of "quantize" (with `ptq` rounded without training) or, without, the student's; what an encoder
 * hears in a list's windows. *out starts empty; facts that a stage before brings are unknown until
 * then. Needs the teacher's hash. */
void kd_speech_origin_stage(kd_origin *out, const kd_speech_run *run,
                            const kd_speech_quantize *how);
void kd_speech_origin_store(kd_origin *out, const kd_speech_run *run);
void kd_speech_origin_file(kd_origin *out, const kd_speech_run *run, const kd_speech_quantize *how,
                           bool ptq);
void kd_speech_origin_encoded(kd_origin *out, const kd_speech_list *list, const kd_hash *encoder,
                              kd_precision precision);

/* All that decides a run of a sweep. */
void kd_speech_origin_whole(kd_origin *out, const kd_speech_run *run);

/* Where the store lies or will lie; of a run of a sweep known once the windows are. */
int kd_speech_store_path(const kd_speech_run *run, char out[KD_PATH_MAX]);

/* Compares what lies in the folder with what this run would make: KD_EDATA names what differs. */
int kd_speech_compare(const kd_speech_run *run);
/* Whether an earlier start has made something of windows: a store, or a student on its way. */
int kd_speech_has_results(bool *out, const kd_speech_run *run);

#endif
