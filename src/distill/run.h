/* A run: a config carried out in its folder, stage by stage.
 *
 *   teachers → teach (soft targets into the store) → train → ptq → qat → report
 *
 * Every stage is skipped when its result is there and was made from the same things (its key), goes
 * on where it was interrupted, and refuses a result made from other things.
 */
#ifndef KD_DISTILL_RUN_H
#define KD_DISTILL_RUN_H

#include "distill/class_bias.h"
#include "distill/classifier.h"
#include "distill/evaluate.h"

/* Several networks that answer as one: with the mean v of their logits v_m, so that at every
 * temperature the soft targets are the geometric mean of theirs,
 *
 *   softmax(v/τ)_i ∝ Π_m softmax(v_m/τ)_i^(1/M)
 *
 * one of the two means of Hinton, Vinyals and Dean (2015). The other, the arithmetic mean, depends on
 * the temperature at which it is taken, and one store serves every temperature. */
typedef struct {
    int count;
    kd_learner *member[KD_TEACHERS_MAX];
    kd_tape *tape;
    kd_hash hash; /* of all weights, and of several how they answer */
} kd_ensemble;

/* Logits (n,V) of n samples x (n,H,W,C): a member's own, or the mean of several. */
int kd_ensemble_logits(void *ensemble, int64_t n, const float *x, float *logits);
void kd_ensemble_clear(kd_ensemble *ensemble);

typedef struct {
    const kd_config *config; /* borrowed */
    char runs[KD_PATH_MAX];  /* the folder of all runs */
    char folder[KD_PATH_MAX];
    kd_dataset *train, *validation, *test; /* validation is NULL when none is held out */
    kd_class_bias bias;                    /* labels of correct_bias; the shift is not set       */
    kd_hash data;                          /* of the training samples and how they are presented */
    kd_hash taught_data;                   /* of the samples as the teacher sees them             */
    kd_precision precision;
    kd_ensemble teacher; /* count 0 until kd_run_teachers, or without teachers */
    kd_store *store;     /* NULL until kd_run_teach, or without soft targets   */
    kd_tape *tape;       /* for evaluation */
    int lock;            /* the folder's lock, −1 when not held */
    /* For runs of a sweep, set after opening. */
    bool seeded_teachers; /* teachers trained by a config take this run's seed    */
    bool shared_store;    /* the store lies beside the runs, one for equal targets */
    bool known_teacher;   /* another run has measured it: not again                */
} kd_run;

/* Opens the data, makes and locks the folder; with `fresh` removes what earlier starts left in it.
 * The caller closes, also after an error. */
int kd_run_open(kd_run *run, const kd_config *config, const char *runs, bool fresh);
void kd_run_close(kd_run *run);

/* Trains or loads the teacher networks. */
int kd_run_teachers(kd_run *run);
/* Makes the store, or opens the one the config names. Needs the teachers. */
int kd_run_teach(kd_run *run);

/* Trains the config's network against the store (or, `alone`, against labels only); *out holds the
 * result and is the caller's. */
int kd_run_train(kd_run *run, bool alone, kd_learner **out);

/* Writes <run>/student.<name>.ptq.gguf from `student` with calibration only, or with `qat` trains
 * on with fake-quant nodes and writes <run>/student.<name>.gguf. `how` is one of the config's.
 * Biases are corrected before the file is written. *out is the fake-quantized learner. */
int kd_run_quantize(kd_run *run, const kd_learner *student, const kd_quantize_config *how, bool qat,
                    kd_learner **out);

/* The shift that is best on the validation split for the biases the config names; *out has count 0
 * when it names none. */
int kd_run_choose_bias(kd_run *run, const kd_learner *learner, kd_run_mode mode,
                       kd_class_bias *out);

/* What tables call the blob, "student int8 (QAT)", and its path. */
void kd_run_blob_name(char out[KD_RESULT_NAME_MAX], const kd_quantize_config *how, bool qat);
int kd_run_blob_path(const kd_run *run, const kd_quantize_config *how, bool qat,
                     char out[KD_PATH_MAX]);

/* The training job of a stage, "train", "alone" or with `qat` its own, for the trainer. */
int kd_run_job(const kd_run *run, const char *stage, const kd_quantize_config *qat,
               kd_classifier_job *out);

/* The config of a teacher network as a run trains it: as it stands, or `seeded`, with `seed` in the
 * place of its own and "-s<seed>" behind its name. The caller frees. */
int kd_run_teacher_config(kd_config **out, const char *path, bool seeded, uint64_t seed);

/* All stages, then report.html, report.json and, unless `quiet`, the table on stdout. */
int kd_run_everything(kd_run *run, bool quiet);

#endif
