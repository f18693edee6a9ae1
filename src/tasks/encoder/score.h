/* How often an encoder is right: about masked tokens of contexts, or the classes of sentences. */
#ifndef KD_TASKS_ENCODER_SCORE_H
#define KD_TASKS_ENCODER_SCORE_H

#include "layers/bert.h"
#include "tasks/encoder/masked.h"
#include "tasks/encoder/sentences.h"

/* Sums over the samples. */
typedef struct {
    double nats; /* −log p of what is right      */
    int64_t right, samples;
    int64_t class_right[KD_ENCODER_CLASSES_MAX]; /* of sentences, by their class */
    int64_t class_samples[KD_ENCODER_CLASSES_MAX];
} kd_encoder_score;

/* Of all contexts, masked as in epoch 0. `tape` is scratch, whose settings stay. */
int kd_encoder_score_masked(kd_encoder_score *out, const kd_bert *model, const kd_masked *contexts,
                            kd_tape *tape);
/* Of all sentences; `length` is the most tokens one has. */
int kd_encoder_score_sentences(kd_encoder_score *out, const kd_bert *model,
                               const kd_sentences *sentences, int64_t length, kd_tape *tape);

#endif
