/* The run of a language model's config in its folder, stage by stage:
 *
 *   teach   what the teacher finds likely, where it is written down     store/
 *   train   the student                                                 train.*.h5
 *   export  student.gguf, student/ (Hugging Face), and for each entry of "quantize", trained on
 * with rounded weights (QAT) where it says so, student.<name>.gguf eval    perplexities of the
 * teacher, the student and every file on the test texts
 *
 * A stage that is done is passed over, an interrupted one goes on, and a result made from other
 * things is refused.
 */
#ifndef KD_TASKS_LANGUAGE_LANGUAGE_RUN_H
#define KD_TASKS_LANGUAGE_LANGUAGE_RUN_H

#include "data/store.h"
#include "distill/task.h"
#include "files/llama_file.h"
#include "tasks/language/contexts.h"
#include "tasks/language/language_config.h"

typedef struct {
    const kd_language_config *config; /* borrowed */
    char folder[KD_PATH_MAX];
    char shared[KD_PATH_MAX]; /* of a run of a sweep: where tokens and stores lie, each under a key
                                 of what decides it; else ""                          */
    bool quiet;               /* no table on stdout                                   */
    bool borrowed;            /* teacher and texts are another run's                  */
    kd_precision precision;
    kd_contexts *train, *validation, *test; /* NULL where the config names no such texts */
    kd_llama_file *teacher;
    kd_hash teacher_hash;
    kd_llama_file *student; /* NULL until then; its values are those of the stages done */
    kd_store *store;        /* NULL until taught, or where nothing is stored            */
    kd_hash stored;         /* of its content                                           */
    kd_budget *budget[KD_LANGUAGE_QUANTIZE_MAX]; /* of each entry of "quantize" that has one, once
                                                    it is chosen                               */
    bool trained; /* the student has learnt what the stage "train" teaches    */
    int lock;     /* the folder's, −1 when not held                           */
} kd_language_run;

/* Reads the texts and the teacher, compares what earlier starts left with what this run would make,
 * and only then changes anything on disk: makes and locks the folder, with `fresh` removes what
 * earlier starts left, and writes config.json. KD_ENOINPUT after saying of each file that is
 * missing where it comes from; KD_EDATA names what a result was made from that this run is not
 * (distill/origin.h). The caller closes, also after an error. */
int kd_language_run_open(kd_language_run *run, const kd_language_config *config, const char *runs,
                         bool fresh);
/* A run of a sweep (distill/task.h). KD_ECONFIG when it has no test texts to be compared on. */
int kd_language_run_open_part(kd_language_run *run, const kd_language_config *config,
                              const kd_part_options *how, kd_part_depth depth);
/* The same without a folder, for what changes nothing. Tokens that a run under `runs` (NULL: none)
 * has kept are taken. */
int kd_language_run_look(kd_language_run *run, const kd_language_config *config, const char *runs);
void kd_language_run_close(kd_language_run *run);

/* Each does what is missing of the stages before it. */
int kd_language_run_teach(kd_language_run *run);
int kd_language_run_train(kd_language_run *run);
int kd_language_run_export(kd_language_run *run);
/* Trains `copy`, a student, on with the weights that `quantized` rounds as its file will hold them.
 */
int kd_language_run_train_rounded(kd_language_run *run, kd_llama *copy,
                                  const kd_language_quantize *how, kd_quantized *quantized);
/* The trained student's numbers rounded as each entry of "quantize" says, without training: files
 * student.<name>.ptq.gguf of an entry that trains too, else student.<name>.gguf. Prints their
 * paths. */
int kd_language_run_quantize(kd_language_run *run);
/* Prints the paths of what kd_language_run_export writes. */
int kd_language_run_print_files(const kd_language_run *run);
/* student.gguf or, of an entry of "quantize", student.<name>.gguf; with `ptq` that of
 * kd_language_run_quantize. */
int kd_language_run_file(const kd_language_run *run, const kd_language_quantize *how, bool ptq,
                         char out[KD_PATH_MAX]);

/* All stages, then report.json and the table on stdout. */
int kd_language_run_everything(kd_language_run *run);
/* The teacher and the model in `path`, measured on the test texts: the table on stdout. */
int kd_language_run_measure(kd_language_run *run, const char *path);

/* --- language_look.c: what results are made from -------------------------------------------- */

/* Of the stage "train" or, with `how`, of that of its own; of the store; of a file; of the whole
 * run, which is known before anything is made. The caller clears. */
void kd_language_origin_stage(kd_origin *out, const kd_language_run *run,
                              const kd_language_quantize *how);
void kd_language_origin_store(kd_origin *out, const kd_language_run *run);
void kd_language_origin_file(kd_origin *out, const kd_language_run *run,
                             const kd_language_quantize *how, bool ptq);
void kd_language_origin_whole(kd_origin *out, const kd_language_run *run);
/* Where the store lies. */
int kd_language_store_path(const kd_language_run *run, char out[KD_PATH_MAX]);
/* That what lies in the folder has these origins. */
int kd_language_compare(const kd_language_run *run);

#endif
