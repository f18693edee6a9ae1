/* The task of a Whisper student: the decoder learns its teacher's words, and how likely the teacher
 * finds every token, over windows of sound that the frozen encoder has heard already. */
#ifndef KD_SPEECH_SPEECH_TASK_H
#define KD_SPEECH_SPEECH_TASK_H

#include "data/store.h"
#include "distill/trainer.h"
#include "quant/whisper_qat.h"
#include "speech/encoded.h"

/* A micro-batch: B windows padded to T tokens, what the encoder heard in them, what the teacher
 * said. All of it outlives the backward. */
typedef struct {
    int64_t B, T;
    const int32_t *token; /* (B,T) into the decoder                                     */
    const int32_t *label; /* (B,T) the tokens that should come out                      */
    const uint8_t *valid; /* (B,T) 1 where the label is a target; elsewhere nothing is read */
    kd_soft_targets soft; /* rows (B·T) as for kd_vocab_loss                            */
    kd_tensor *memory;    /* (B,S,width) of the tape                                    */
} kd_speech_batch;

/* Decoder and kd_vocab_loss over the student's output matrix → scalar (1); adds to *parts. */
kd_tensor *kd_speech_loss(const kd_whisper *student, kd_tape *tape, const kd_speech_batch *batch,
                          const kd_loss_config *loss, double normalizer, kd_loss_parts *parts);

typedef struct {
    kd_train_job loop; /* `seed` is also that of the order */
    const kd_loss_config *loss;
    const kd_windows *train;
    const kd_store *store;        /* a row of each window of `train`                     */
    kd_encoded *heard;            /* of `train`, by the student's encoder                */
    const kd_windows *validation; /* NULL: the last weights are the result */
    kd_encoded *validation_heard;
    kd_whisper_qat *qat; /* NULL, or of the student, which then computes with rounded weights */
} kd_speech_job;

/* kd_train of the student's trained parameters; best is the highest share of validation tokens that
 * come out right when all before them are given. KD_EDATA when the store was made for other
 * windows, naming the first. */
int kd_speech_train(kd_whisper *student, const kd_speech_job *job);

#endif
