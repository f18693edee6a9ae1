/* The run of a speech recogniser's config in its folder, stage by stage:
 *
 *   label   what the teacher hears in every recording                 labels/<list>/
 *   teach   the encoder cache and what the teacher finds likely       encoder_cache/, store/
 *   train   the student's decoder                                     train.*.h5
 *   export  student.bin, student.gguf, student/ (Hugging Face), and for each entry of "quantize",
 *           trained on with rounded weights (QAT) where it says so, student.<name>.bin and .gguf
 *   eval    word error rates of the teacher, the student and every file on the test recordings
 *
 * A stage that is done is passed over, an interrupted one goes on, and a result made from other
 * things is refused or, where the result names what it was made from, made again.
 */
#ifndef KD_TASKS_SPEECH_SPEECH_RUN_H
#define KD_TASKS_SPEECH_SPEECH_RUN_H

#include "data/store.h"
#include "distill/task.h"
#include "tasks/speech/encoder_cache.h"
#include "tasks/speech/speech_config.h"
#include "tasks/speech/student.h"

/* One list of recordings on its way: utterances → labels → windows → what the encoder hears. */
typedef struct {
    const char *name;              /* "train", "validation" */
    const kd_manifests *manifests; /* the config's          */
    kd_utterances utterances;
    kd_labels labels;
    kd_windows *windows;             /* NULL until labelled */
    kd_hash content;                 /* of a run of a sweep: sounds, texts and speakers; else "" */
    kd_encoder_cache *encoder_cache; /* by the student's encoder; NULL until then */
} kd_speech_list;

typedef struct {
    const kd_speech_config *config; /* borrowed */
    char folder[KD_PATH_MAX];
    char shared[KD_PATH_MAX]; /* of a run of a sweep: where labels, encoder outputs and stores lie,
                                 each under a key of what decides it; else "" */
    bool quiet;               /* no table on stdout */
    kd_precision precision;
    kd_speech_list train, validation, test;
    kd_whisper_file *teacher; /* NULL until something needs it */
    kd_hash teacher_hash, tokens_hash;
    kd_whisper_file *student; /* NULL until then; its values are those of the stages done */
    kd_store *store;          /* NULL until taught */
    kd_hash stored;           /* of its content    */
    kd_budget *budget[KD_SPEECH_QUANTIZE_MAX]; /* of each entry of "quantize" that has one, once
                                                  it is chosen */
    bool trained;   /* the student has learnt what the stage "train" teaches */
    int64_t leaked; /* test recordings that are training recordings, too */
    int lock;       /* the folder's, −1 when not held */
} kd_speech_run;

/* Reads the lists and the teacher, compares what earlier starts left with what this run would make,
 * and only then changes anything on disk: makes and locks the folder, with `fresh` removes what
 * earlier starts left but the encoder cache and labels of the same teacher, and writes
 * config.json. KD_ENOINPUT after saying of each file that is missing where it comes from; KD_EDATA
 * names what a result was made from that this run is not (distill/origin.h). The caller closes,
 * also after an error. */
int kd_speech_run_open(kd_speech_run *run, const kd_speech_config *config, const char *runs,
                       bool fresh);
/* A run of a sweep (distill/task.h). KD_ECONFIG when it has no test recordings to be compared on.
 */
int kd_speech_run_open_part(kd_speech_run *run, const kd_speech_config *config,
                            const kd_part_options *how, kd_part_depth depth);
/* The same for --dry-run: without a folder, which stages would need. */
int kd_speech_run_look(kd_speech_run *run, const kd_speech_config *config);
void kd_speech_run_close(kd_speech_run *run);

/* Each does what is missing of the stages before it. */
int kd_speech_run_label(kd_speech_run *run);
/* The same without hearing anything or changing the disk: KD_EDATA when a recording has no label.
 */
int kd_speech_run_label_known(kd_speech_run *run);
int kd_speech_run_teach(kd_speech_run *run);
int kd_speech_run_train(kd_speech_run *run);
int kd_speech_run_export(kd_speech_run *run);

/* Trains `copy`, a student, on with the weights that `quantized` rounds as its file will hold them.
 */
int kd_speech_run_train_rounded(kd_speech_run *run, kd_whisper *copy, const kd_speech_quantize *how,
                                kd_quantized *quantized);
/* The trained student's numbers rounded as each entry of "quantize" says, without training: files
 * student.<name>.ptq.* of an entry that trains too, else student.<name>.*. Prints their paths. */
int kd_speech_run_quantize(kd_speech_run *run);
/* Prints the paths of what kd_speech_run_export writes. */
int kd_speech_run_print_files(const kd_speech_run *run);

/* The file of the student that is measured: student.bin or, of an entry of "quantize",
 * student.<name>.bin; of int8, which that layout has not, student.<name>.gguf. */
int kd_speech_run_file(const kd_speech_run *run, const kd_speech_quantize *how,
                       char out[KD_PATH_MAX]);

/* The GGUF file of it, which is always written; with `ptq` that of kd_speech_run_quantize. */
int kd_speech_run_gguf(const kd_speech_run *run, const kd_speech_quantize *how, bool ptq,
                       char out[KD_PATH_MAX]);

/* The teacher again, after a stage that did without; an error says what its file lacks. */
int kd_speech_run_need_teacher(kd_speech_run *run);
/* The ids that a multilingual teacher is asked for; −1 with another. Needs the teacher. KD_ECONFIG
 * when it does not know the language. */
int kd_speech_run_language(const kd_speech_run *run, kd_label_options *out);

/* That every test recording can be read from its beginning to its end, and how many of them are
 * learnt from, too, which is said. KD_EDATA or KD_ENOINPUT after naming those that cannot be read;
 * a run without test recordings passes. Sets run->leaked. */
int kd_speech_run_check_test(kd_speech_run *run);

/* All stages, then report.html, report.json and, unless the run is quiet, the table on stdout. */
int kd_speech_run_pipeline(kd_speech_run *run);

/* The teacher and the model in `path`, measured on the test recordings: the table on stdout. The
 * run needs no folder. */
int kd_speech_run_measure(kd_speech_run *run, const char *path);

#endif
