/* A network in use: its parameters, its node list, and when it is quantized its fake-quant nodes.
 */
#ifndef KD_TASKS_CLASSIFY_LEARNER_H
#define KD_TASKS_CLASSIFY_LEARNER_H

#include "files/onnx_import.h"
#include "files/weights_gguf.h"
#include "tasks/classify/config.h"

typedef enum { KD_RUN_FLOAT, KD_RUN_OBSERVE, KD_RUN_FAKE_TRAIN, KD_RUN_FAKE_EVAL } kd_run_mode;

typedef struct {
    kd_params *params;
    kd_net *net;
    kd_quantized *quantized; /* NULL unless created with `quantize`          */
    kd_param
        *projection[KD_HINTS_MAX]; /* learned hint projections (teacher C, student C), or NULL */
    bool adapts;                   /* see kd_learner_adapt */
    kd_onnx_tables *onnx;          /* the file that the network is from, or NULL */
    kd_onnx_import *import;
    double factor[KD_IMAGE_CHANNELS_MAX], shift[KD_IMAGE_CHANNELS_MAX];
} kd_learner;

typedef struct {
    const kd_model_spec *model;
    const char *onnx; /* in place of `model`, a file that is a network, or NULL */
    kd_extent input;
    int classes;
    uint64_t seed;
    const kd_quantize_spec *quantize; /* NULL: float only                             */
    const kd_loss_config *loss;       /* NULL, or for its hints: `teacher` is needed  */
    const kd_net *teacher;            /* the net hints look into                      */
} kd_learner_spec;

/* The caller frees with kd_learner_free. Values are initialised from the seed. */
int kd_learner_create(kd_learner **out, const kd_learner_spec *spec);
/* The same without values: its tensors have shapes only, and take no memory however large they are.
 * It cannot be run. */
int kd_learner_outline(kd_learner **out, const kd_learner_spec *spec);
void kd_learner_free(kd_learner *learner);

/* The learner for quantizers. */
kd_quantizable kd_learner_quantizable(const kd_learner *learner);

/* The path of weights that bring their network with them, for a spec's `onnx`; else NULL. */
const char *kd_learner_onnx(const char *weights);

/* Reads the weights from one of our checkpoints, or by its extension from a safetensors file, a
 * GGUF of weights or the ONNX file of the spec: all of the network's and no others, but for
 * quantizers and hint projections beside them. An ONNX file that states a normaliser or classes is
 * held to them. A checkpoint and a GGUF carry their config: of a network that makes something else
 * of the same weights, or that was trained on other classes or settings of sound than `data` (its
 * head is enough), it is refused; trained with another normaliser, the learner adapts. KD_EDATA,
 * KD_ECONFIG. */
int kd_learner_load(kd_learner *learner, const char *path, const kd_dataset *data);

/* Inputs normalised as `given` are from now on brought to `own`, the numbers this network was
 * trained with: of a value x of channel k
 *
 *   x ← ((x·σ_given[k] + μ_given[k])·u_own/u_given − μ_own[k]) / σ_own[k]
 *
 * with the normalisers' units u. When both are equal nothing is touched. */
void kd_learner_adapt(kd_learner *learner, const kd_normaliser *own, const kd_normaliser *given);

/* The hash of what decides the learner's answers: its weights, and how it adapts. */
int kd_learner_hash(kd_hash *out, const kd_learner *learner);

/* The rounded weights of a quantized learner as a GGUF that kd_learner_load reads. */
int kd_learner_export(const char *path, const kd_learner *learner, const kd_weights_info *info);

/* How its weights are encoded nearest, matrices in `format`; the caller frees *out. */
int kd_learner_encodings(kd_encoding **out, const kd_learner *learner,
                         const kd_number_format *format);

/* x (B,H,W,C) → (B,V). The FAKE and OBSERVE modes need a quantized learner (contract). */
kd_tensor *kd_learner_forward(const kd_learner *learner, kd_tape *tape, kd_tensor *x,
                              kd_run_mode mode, kd_tensor **taps);

/* A tape input filled with n samples (n,h,w,c) of the net's input shape, adapted. */
kd_tensor *kd_learner_input(const kd_learner *learner, kd_tape *tape, int64_t n, const float *x);

/* Trained and folded parameters, as a person counts them (state and projections left out). */
int64_t kd_learner_parameters(const kd_learner *learner);

#endif
