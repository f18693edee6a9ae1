/* How a network is trained and what is minimised: the sections "train" and "loss" of a config. */
#ifndef KD_DISTILL_TRAIN_SPEC_H
#define KD_DISTILL_TRAIN_SPEC_H

#include "autograd/param.h"
#include "distill/divergence.h"

enum { KD_HINTS_MAX = 4, KD_HINT_LAYERS_MAX = 128 };

typedef enum { KD_OPTIMIZER_SGD, KD_OPTIMIZER_ADAMW } kd_optimizer_kind;
typedef enum { KD_SCHEDULE_CONSTANT, KD_SCHEDULE_LINEAR, KD_SCHEDULE_COSINE } kd_schedule_kind;

/* How a network is trained: "train", and "qat" with its own numbers. */
typedef struct {
    int64_t epochs, batch;
    int64_t accumulate; /* micro-batches per update, default 1                     */
    kd_optimizer_kind optimizer;
    double learning_rate, momentum, weight_decay; /* SGD: momentum (default 0.9), decay coupled
                                                     (L2); AdamW: decay decoupled */
    bool nesterov;
    double beta1, beta2, epsilon; /* AdamW                                                   */
    kd_schedule_kind schedule;
    double warmup_epochs;
    double final_fraction;     /* of the learning rate at the end (linear, cosine); default 0 */
    double clip;               /* global gradient norm; 0: no clipping                    */
    double max_norm;           /* bound on the L2 norm of each unit's incoming weights; 0: none */
    int64_t evaluate_every;    /* epochs between evaluations on the validation split      */
    bool recompute;            /* of blocks only the inputs are kept (segment.h)          */
    double checkpoint_seconds; /* at most this long between "last" checkpoints, default 60 */
} kd_train_spec;

typedef enum { KD_HINT_MSE, KD_HINT_COSINE } kd_hint_kind;

/* A loss on a hidden layer: student node against teacher node, with a learned linear projection on
 * the student's side when their widths differ. Needs a teacher that runs beside (not a foreign
 * store). */
typedef struct {
    kd_hint_kind kind;
    char student[KD_NAME_MAX], teacher[KD_NAME_MAX]; /* node names; see `distill inspect`     */
    double weight;
} kd_hint_spec;

typedef enum { KD_LAYERS_MSE, KD_LAYERS_COSINE, KD_LAYERS_ATTENTION } kd_layer_hint_kind;

/* A loss between layers of a student written as code and its teacher's, the mean over them. */
typedef struct {
    kd_layer_hint_kind kind;
    int layer_count; /* 0: all of the student's                                      */
    int layer[KD_HINT_LAYERS_MAX];
    int teacher_count; /* 0: those that the student's began as; else one for each     */
    int teacher[KD_HINT_LAYERS_MAX];
    double weight;
} kd_layer_hint;

typedef struct {
    double temperature, kl, hard, label_smoothing;
    kd_divergence_kind divergence;
    double skew, decoupled; /* NAN and 0 where they are not said */
    bool standardize;
    int hint_count; /* of a network's nodes  */
    kd_hint_spec hint[KD_HINTS_MAX];
    int layer_hint_count; /* of a decoder's layers */
    kd_layer_hint layer_hint[KD_HINTS_MAX];
} kd_loss_config;

#endif
