/* How well models hear: error rates against what the list says was spoken, and against the
 * teacher's own words; of words, or of letters where the language has no spaces
 * (kd_label_counts_letters).
 *
 * Decoding is greedy and without timestamps, several recordings at once. A recording whose text is
 * bad (speech/fallback.h: one that loops, mostly) is then decoded once more with the fallback that
 * kd_transcribe has, sampling from the same seed for each; so there are two rates against the
 * references. Recordings longer than a window go through kd_transcribe, with the fallback in both.
 */
#ifndef KD_TASKS_SPEECH_SPEECH_EVAL_H
#define KD_TASKS_SPEECH_SPEECH_EVAL_H

#include "distill/fidelity.h"
#include "report/measured.h"
#include "tasks/speech/label.h"

enum { KD_SPEECH_NAME_MAX = 64, KD_SPEECH_SUBJECTS_MAX = 32 };

/* A model to be measured. */
typedef struct {
    const char *name;  /* "teacher", "student", "student q8_0 (QAT)"                          */
    const char *kind;  /* "teacher" | "initial" (the student before it learnt) | "student"
                          | "ptq" | "blob"                                                   */
    const char *stage; /* of the run, whose best weights it has; "" for none                     */
    const kd_whisper_file *file;
    int64_t bytes; /* of its file */
} kd_speech_subject;

/* Of all words of all utterances, with the 95 % interval of a bootstrap over utterances; NAN where
 * there are no words to compare with. An end of the interval is INFINITY where so few recordings
 * have words that there is none. */
typedef struct {
    double rate, low, high;
} kd_speech_rate;

typedef struct {
    char name[KD_SPEECH_NAME_MAX], kind[16];
    char stage[KD_MEASURED_STAGE_MAX]; /* whose best weights these are; "" of none      */
    int64_t count;                     /* utterances                                            */
    bool letters;                      /* the rates are of letters, not of words                */
    char **said;                       /* (count) as the model writes                           */
    bool *bad;                         /* (count) whose greedy text is to be decoded again      */
    char **said_again;                 /* (count) the text it then has; NULL where not bad      */
    int64_t loops;                     /* how many greedy texts repeat themselves               */
    int64_t again;                     /* how many were decoded again; −1: that was left out    */
    kd_wer *against_reference;         /* (count), both texts normalised                        */
    kd_wer *against_teacher;           /* (count)                                               */
    kd_wer *with_fallback;             /* (count) against the reference                         */
    kd_fidelity_summary fidelity;      /* to the float student, on windows that are held out    */
    kd_speech_rate reference, teacher, fallback; /* fallback: NAN when it was left out  */
    int64_t parameters, bytes;
    double audio_seconds; /* of sound                                                   */
    double seconds;       /* greedy decoding took, without reading files and log-mels   */
} kd_speech_result;

/* Measures `count` models in one pass over the sounds, which are read once, but for those to be
 * decoded again; models whose encoders have the same weights share its outputs, and each is charged
 * for them. The student before it learnt is not decoded again: nearly all that it says is bad. The
 * teacher's words are those of `teacher`, or, where it is NULL, of the first of these models; it
 * must have heard the same utterances (contract). All models hear windows of one length in one
 * number of mels.
 *
 * KD_ENOINPUT, KD_EDATA name a sound that is missing or no sound; KD_EAGAIN after
 * kd_train_request_stop. The caller clears all of out (count), on errors too. */
int kd_speech_evaluate(kd_speech_result *out, const kd_speech_subject *subject, int count,
                       const kd_utterances *utterances, const kd_speech_result *teacher,
                       const kd_label_options *options);
void kd_speech_result_clear(kd_speech_result *result);

/* The rate of the utterances for which `mine` (count; NULL: all) is true, by counts of them.
 * KD_EINTERNAL without memory. */
int kd_speech_rate_of(kd_speech_rate *out, const kd_wer *wer, int64_t count, const bool *mine);

/* How much of the way from `initial` to the teacher the student went, by rates against the
 * references: 1 at the teacher's. NAN when the two do not differ. */
double kd_speech_gap_closed(const kd_speech_result *initial, const kd_speech_result *student,
                            const kd_speech_result *teacher);

#endif
