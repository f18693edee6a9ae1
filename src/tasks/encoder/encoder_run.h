/* The run of an encoder's config in its folder, stage by stage:
 *
 *   train   the student, its teacher beside it                          train.*.h5
 *   export  student.gguf, student/ (Hugging Face), and for each entry of "quantize"
 *           student.<name>.gguf
 *   eval    how often teacher, student and every file are right on the test samples
 *
 * A stage that is done is passed over, an interrupted one goes on, and a result made from other
 * things is refused.
 */
#ifndef KD_TASKS_ENCODER_ENCODER_RUN_H
#define KD_TASKS_ENCODER_ENCODER_RUN_H

#include "distill/task.h"
#include "files/bert_file.h"
#include "tasks/encoder/encoder_task.h"

/* The samples of one list of files; NULL or empty where the config names none. */
typedef struct {
    kd_masked *masked;
    kd_sentences sentences;
} kd_encoder_samples;

typedef struct {
    const kd_encoder_config *config; /* borrowed */
    char folder[KD_PATH_MAX];
    bool swept;    /* a run of a sweep, which prints no table and keeps tokens beside it */
    bool borrowed; /* the models are another run's                                       */
    kd_precision precision;
    kd_encoder_samples train, validation, test;
    kd_bert_file *teacher; /* NULL: there is none                                         */
    kd_bert_file *start;   /* what the student begins as; NULL: the teacher                */
    kd_hash teacher_hash, start_hash;
    const char *class_name[KD_ENCODER_CLASSES_MAX];
    kd_bert_file *student; /* NULL until then; its values are those of the stages done */
    bool trained;          /* the student has learnt what the stage "train" teaches    */
    int lock;              /* the folder's, −1 when not held                           */
} kd_encoder_run;

/* Reads the samples, the teacher and what the student begins as, compares what earlier starts left
 * with what this run would make, and only then changes anything on disk: makes and locks the
 * folder, with `fresh` removes what earlier starts left, and writes config.json. KD_ENOINPUT after
 * saying of each file that is missing where it comes from; KD_EDATA names what a result was made
 * from that this run is not (distill/origin.h). The caller closes, also after an error. */
int kd_encoder_run_open(kd_encoder_run *run, const kd_encoder_config *config, const char *runs,
                        bool fresh);
/* A run of a sweep (distill/task.h). KD_ECONFIG when it has no test texts to be compared on. */
int kd_encoder_run_open_part(kd_encoder_run *run, const kd_encoder_config *config,
                             const kd_part_options *how, kd_part_depth depth);
/* The same without a folder, for what changes nothing. */
int kd_encoder_run_look(kd_encoder_run *run, const kd_encoder_config *config);
void kd_encoder_run_close(kd_encoder_run *run);

/* What the student begins as. */
static inline const kd_bert_file *kd_encoder_run_start(const kd_encoder_run *run) {
    return run->start ? run->start : run->teacher;
}
/* A job over the run's samples. */
kd_encoder_job kd_encoder_run_job(const kd_encoder_run *run);

/* Each does what is missing of the stages before it. */
int kd_encoder_run_train(kd_encoder_run *run);
int kd_encoder_run_export(kd_encoder_run *run);
/* student.gguf or, of an entry of "quantize", student.<name>.gguf. */
int kd_encoder_run_file(const kd_encoder_run *run, const kd_encoder_quantize *how,
                        char out[KD_PATH_MAX]);
/* Prints the paths of what kd_encoder_run_export writes. */
int kd_encoder_run_print_files(const kd_encoder_run *run);

/* All stages, then report.json and the table on stdout. */
int kd_encoder_run_pipeline(kd_encoder_run *run);
/* The teacher and the model in `path`, measured on the test samples: the table on stdout. */
int kd_encoder_run_measure(kd_encoder_run *run, const char *path);

/* --- encoder_look.c: what results are made from ---------------------------------------------- */

/* Of the stage "train"; of a file; of the whole run, which is known before anything is made. The
 * caller clears. */
void kd_encoder_origin_stage(kd_origin *out, const kd_encoder_run *run);
void kd_encoder_origin_file(kd_origin *out, const kd_encoder_run *run,
                            const kd_encoder_quantize *how);
void kd_encoder_origin_whole(kd_origin *out, const kd_encoder_run *run);
/* That what lies in the folder has these origins. */
int kd_encoder_compare(const kd_encoder_run *run);

#endif
