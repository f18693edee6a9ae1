/* How well models hear: word error rates against what the list says was spoken, and against the
 * teacher's own words. Decoding is greedy and without timestamps, several recordings at once;
 * recordings longer than a window go through kd_transcribe. */
#ifndef KD_SPEECH_SPEECH_EVAL_H
#define KD_SPEECH_SPEECH_EVAL_H

#include "speech/label.h"

enum { KD_SPEECH_NAME_MAX = 64, KD_SPEECH_SUBJECTS_MAX = 16 };

/* A model to be measured. */
typedef struct {
    const char *name; /* "teacher", "student", "student q8_0 (QAT)"                          */
    const char *kind; /* "teacher" | "initial" (the student before it learnt) | "student"
                         | "ptq" | "blob"                                                   */
    const kd_whisper_file *file;
    int64_t bytes; /* of its file */
} kd_speech_subject;

/* Of all words of all utterances, with the 95 % interval of a bootstrap over utterances; NAN where
 * there are no words to compare with. */
typedef struct {
    double rate, low, high;
} kd_speech_rate;

typedef struct {
    char name[KD_SPEECH_NAME_MAX], kind[16];
    int64_t count;             /* utterances                                            */
    char **said;               /* (count) as the model writes                           */
    kd_wer *against_reference; /* (count), both texts normalised                        */
    kd_wer *against_teacher;   /* (count)                                               */
    kd_speech_rate reference, teacher;
    int64_t parameters, bytes;
    double audio_seconds; /* of sound                                                   */
    double seconds;       /* it took, without reading files and their log-mel           */
} kd_speech_result;

/* Measures `count` models in one pass over the sounds, which are read once; models whose encoders
 * have the same weights share its outputs, and each is charged for them. The teacher's words are
 * those of `teacher`, or, where it is NULL, of the first of these models; it must have heard the
 * same utterances (contract). All models hear windows of one length in one number of mels.
 *
 * KD_ENOINPUT, KD_EDATA name a sound that is missing or no sound; KD_EAGAIN after
 * kd_train_request_stop. The caller clears all of out (count), on errors too. */
int kd_speech_evaluate(kd_speech_result *out, const kd_speech_subject *subject, int count,
                       const kd_utterances *utterances, const kd_speech_result *teacher,
                       const kd_label_options *options);
void kd_speech_result_clear(kd_speech_result *result);

/* How much of the way from `initial` to the teacher the student went, by rates against the
 * references: 1 at the teacher's. NAN when the two do not differ. */
double kd_speech_gap_closed(const kd_speech_result *initial, const kd_speech_result *student,
                            const kd_speech_result *teacher);

#endif
