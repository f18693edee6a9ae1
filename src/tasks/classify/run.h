/* A run: a config carried out in its folder, stage by stage.
 *
 *   teachers → teach (soft targets into the store) → train → ptq → qat → report
 *
 * Every stage is skipped when its result is there and was made from the same things (its key), goes
 * on where it was interrupted, and refuses a result made from other things.
 */
#ifndef KD_TASKS_CLASSIFY_RUN_H
#define KD_TASKS_CLASSIFY_RUN_H

#include "distill/budget.h"
#include "distill/origin.h"
#include "tasks/classify/class_bias.h"
#include "tasks/classify/classifier.h"
#include "tasks/classify/evaluate.h"

/* Several networks that answer as one: with the mean v of their logits v_m, so that at every
 * temperature the soft targets are the geometric mean of theirs,
 *
 *   softmax(v/τ)_i ∝ Π_m softmax(v_m/τ)_i^(1/M)
 *
 * one of the two means of Hinton, Vinyals and Dean (2015). The other, the arithmetic mean, depends
 * on the temperature at which it is taken, and one store serves every temperature. */
typedef struct {
    int count;
    kd_learner *member[KD_TEACHERS_MAX];
    kd_tape *tape;
    kd_hash hash; /* of all weights, and of several how they answer */
} kd_ensemble;

/* Logits (n,V) of n samples x (n,H,W,C): a member's own, or the mean of several. */
int kd_ensemble_logits(void *ensemble, int64_t n, const float *x, float *logits);
void kd_ensemble_clear(kd_ensemble *ensemble);

typedef struct kd_run {
    const kd_config *config; /* borrowed */
    char runs[KD_PATH_MAX];  /* the folder of all runs */
    char folder[KD_PATH_MAX];
    kd_dataset *train, *validation, *test; /* validation is NULL when none is held out */
    kd_class_bias bias;                    /* labels of correct_bias; the shift is not set       */
    kd_hash taught_data;                   /* of the samples as the teacher sees them             */
    kd_hash classes;                       /* of the class names in their order                  */
    kd_precision precision;
    kd_ensemble teacher;                /* count 0 until kd_run_teachers, or without teachers */
    kd_origin teachers;                 /* what the teacher networks are made from            */
    kd_store *store;                    /* one made elsewhere, or NULL until kd_run_teach     */
    kd_hash stored;                     /* of its content                                     */
    kd_origin origin;                   /* of the job that kd_run_job described last          */
    kd_budget *budget[KD_QUANTIZE_MAX]; /* of each entry of "quantize" that has one, once chosen */
    kd_tape *tape;                      /* for evaluation */
    int lock;                           /* the folder's lock, −1 when not held */
    bool quiet, seeded_teachers, shared_store, known_teacher, as_teacher; /* as in kd_run_options */
    bool looks;                     /* at what is there, its teachers' too    */
    bool borrowed, borrowed_store;  /* the data sets, the store made elsewhere */
    const struct kd_run *pupil;     /* whose teacher this is, or NULL                     */
    char remedy[KD_PATH_MAX + 128]; /* the ways out of a refusal, "": those of any run    */
} kd_run;

typedef struct {
    const char *runs; /* the folder of all runs */
    bool fresh;       /* what earlier starts left is removed */
    /* Of a sweep. */
    bool quiet;           /* no table                                              */
    bool seeded_teachers; /* teachers trained by a config take this run's seed    */
    bool shared_store;    /* the store lies beside the runs, one for equal targets */
    bool known_teacher;   /* another run has measured it: not again                */
    bool as_teacher;      /* it is only learnt from: neither quantized nor measured */
    const kd_run *pupil;  /* by this run */
    const kd_run *like;   /* a run with data sets to share while it stays open, or NULL */
} kd_run_options;

/* Opens a run: its data, its teachers' files and the store it names are read and checked, what
 * earlier starts left (also of runs that train a teacher) is compared with what this run would
 * make, and only then is anything changed on disk: the folder is made and locked, with `fresh`
 * earlier results are removed, config.json is written. KD_EDATA names what a result was made from
 * that this run is not (origin.h). The caller closes, also after an error. */
int kd_run_open(kd_run *run, const kd_config *config, const char *runs, bool fresh);
int kd_run_open_as(kd_run *run, const kd_config *config, const kd_run_options *options);
/* The same without changing anything. An existing folder stays locked until the run is closed. */
int kd_run_look(kd_run *run, const kd_config *config, const kd_run_options *options);
/* Of that the inputs alone: nothing of the folder is looked at. */
int kd_run_inputs(kd_run *run, const kd_config *config, const kd_run_options *options);
void kd_run_close(kd_run *run);

/* What decides a stage's result ("train", "baseline", or with `qat` its own), the store's, a
 * blob's; everything that a run's results are made from, and what its teacher and the teacher's
 * answers to the test set are. *out starts empty. Facts that a stage before brings are unknown
 * until then. */
void kd_run_origin_stage(kd_origin *out, const kd_run *run, const char *stage,
                         const kd_quantize_config *qat);
void kd_run_origin_store(kd_origin *out, const kd_run *run);
void kd_run_origin_blob(kd_origin *out, const kd_run *run, const kd_quantize_config *how, bool qat);
void kd_run_origin_whole(kd_origin *out, const kd_run *run);
void kd_run_origin_teacher(kd_origin *out, const kd_run *run);

/* Trains or loads the teacher networks. */
int kd_run_teachers(kd_run *run);
/* Makes the store, or opens the one the config names. Needs the teachers. */
int kd_run_teach(kd_run *run);

/* Trains the config's network against the store (or, as `baseline`, against labels only); *out
 * holds the result and is the caller's. */
int kd_run_train(kd_run *run, bool baseline, kd_learner **out);

/* Writes <run>/student.<name>.ptq.gguf from `student` with calibration only, or with `qat` trains
 * on with fake-quant nodes and writes <run>/student.<name>.gguf. `how` is one of the config's.
 * Biases are corrected before the file is written. *out is the fake-quantized learner. */
int kd_run_quantize(kd_run *run, const kd_learner *student, const kd_quantize_config *how, bool qat,
                    kd_learner **out);

/* The fixed shuffle of `count` training samples in which calibration takes them. */
void kd_run_calibration_order(int64_t *row, int64_t count);

/* Formats for the weights of `student` where the entry has a budget: kept in run->budget, and
 * written beside the file. They are chosen once. */
int kd_run_choose_formats(kd_run *run, const kd_learner *student, const kd_quantize_config *how);

/* The shift that is best on the validation split for the biases the config names; *out has count 0
 * when it names none. */
int kd_run_choose_bias(kd_run *run, const kd_learner *learner, kd_run_mode mode,
                       kd_class_bias *out);

/* What tables call the blob, "student int8 (QAT)", and its path. */
void kd_run_blob_name(char out[KD_RESULT_NAME_MAX], const kd_quantize_config *how, bool qat);
int kd_run_blob_path(const kd_run *run, const kd_quantize_config *how, bool qat,
                     char out[KD_PATH_MAX]);

/* The training job of a stage, "train", "baseline" or with `qat` its own, for the trainer; it is
 * valid until the next. */
int kd_run_job(kd_run *run, const char *stage, const kd_quantize_config *qat,
               kd_classifier_job *out);

/* The config of a teacher network as a run trains it: as it stands, or `seeded`, with `seed` in the
 * place of its own and "-s<seed>" behind its name. The caller frees. */
int kd_run_teacher_config(kd_config **out, const char *path, bool seeded, uint64_t seed);

/* All stages, then report.html, report.json and, unless the run is quiet, the table on stdout. */
int kd_run_pipeline(kd_run *run);

#endif
