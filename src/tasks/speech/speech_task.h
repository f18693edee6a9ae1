/* The task of a Whisper student: the decoder learns its teacher's words, and how likely the teacher
 * finds every token, over windows of sound that the frozen encoder has heard already. */
#ifndef KD_TASKS_SPEECH_SPEECH_TASK_H
#define KD_TASKS_SPEECH_SPEECH_TASK_H

#include "data/store.h"
#include "distill/trainer.h"
#include "quant/quantizer.h"
#include "tasks/speech/encoder_cache.h"

typedef struct {
    kd_train_job loop; /* `seed` is also that of the order */
    const kd_loss_config *loss;
    const kd_windows *train;
    const kd_store *store;           /* a row of each window of `train`                     */
    kd_encoder_cache *encoder_cache; /* of `train`, by the student's encoder                */
    const kd_windows *validation;    /* NULL: the last weights are the result */
    kd_encoder_cache *validation_cache;
    kd_quantized *quantized; /* NULL, or the student, which then computes with rounded weights */
} kd_speech_job;

/* kd_train of the student's trained parameters. Best is the highest share of validation tokens that
 * come out right when all before them are given. The tape's memory grows until the longest batch
 * has been. KD_EDATA when the store was made for other windows, naming the first. */
int kd_speech_train(kd_whisper *student, const kd_speech_job *job);

#endif
