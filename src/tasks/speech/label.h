/* The label stage: what the teacher hears in every recording (Distil-Whisper, Gandhi et al. 2023,
 * arXiv 2311.00430, section 3.2).
 *
 * Decoding is greedy, without timestamps, previous text or fallback. A label belongs to the content
 * of a sound file and to whoever listened. The list's text is no part of it: how far the two are
 * apart is counted whenever labels are read, and the threshold is applied by whoever uses them. So
 * rows can be added, removed, moved and corrected, and nothing is heard again.
 *
 * Labels lie in shards of KD_LABELS_IN_SHARD recordings, `labels-00000.jsonl` …, JSON lines, in the
 * order in which they were heard. The first says how:
 *
 *   {"kind": "distill labels", "version": 2, "teacher": HASH, "tokens": HASH, "language": "en",
 *    "task": "transcribe", "generation": HASH, "decoding": "greedy-1"}
 *
 * and each other one is a recording, named by its content and, for people, by a file of a list:
 *
 *   {"sound": HASH, "audio": NAME, "seconds": 3.2, "said": "…", "tokens": [ … ], "average": −0.1}
 *   {"sound": HASH, "audio": NAME, "skipped": true}       longer than the teacher hears at once
 *   {"sound": HASH, "audio": NAME, "unreadable": WHY}     no sound, or a damaged one
 */
#ifndef KD_TASKS_SPEECH_LABEL_H
#define KD_TASKS_SPEECH_LABEL_H

#include <stdbool.h>

#include "base/hash.h"
#include "data/utterances.h"
#include "data/wer.h"
#include "files/whisper_file.h"

enum { KD_LABELS_IN_SHARD = 120 };

typedef struct {
    const kd_utterance *utterance; /* borrowed from the list                              */
    kd_hash sound;                 /* of the file's content; "" when it is not there      */
    bool skipped;                  /* longer than a window: the rest is 0                 */
    char *fault;                   /* why it cannot be read, the rest is 0; or NULL       */
    double seconds;                /* of sound                                            */
    char *said;                    /* the teacher's text, as it writes; maybe empty       */
    int32_t *token;                /* (count) its tokens, without prompt and end          */
    int count;
    double average; /* mean log-probability of the tokens and the end              */
    kd_wer wer;     /* of the teacher's text against the list's, both normalised;   */
                    /* `words` 0 when the list has none                            */
} kd_label;

typedef struct {
    kd_label *item; /* (count), in the order of the utterances */
    int64_t count, skipped, unreadable;
} kd_labels;

typedef struct {
    int32_t language, task; /* ids, for multilingual teachers; others ignore them */
    kd_precision precision; /* of the encoder's products; labels heard in another one are others' */
    bool known_only;        /* nothing is heard: KD_EDATA when a recording has no label yet */
} kd_label_options;

/* Hears what no shard under `folder` (made when needed) holds yet, with progress on stderr.
 * Utterances must outlive *out, which the caller clears, on errors too. Recordings that are missing
 * or no sound are left out and named, with list and line, unless they are three or more and more
 * than one in ten.
 *
 * Errors: KD_EDATA naming the shard and what differs when it was made by another teacher or in
 * another way, or the line that is damaged; KD_EDATA or KD_ENOINPUT when too many recordings cannot
 * be read; KD_ECONFIG when a multilingual teacher gets no language; KD_EAGAIN after
 * kd_train_request_stop. What was heard is kept whenever the stage ends; when the process is
 * killed, all but the last ten seconds of it. */
int kd_label_run(kd_labels *out, const char *folder, const kd_utterances *utterances,
                 const kd_whisper_file *teacher, kd_hash teacher_hash,
                 const kd_label_options *options);
/* That the labels under `folder`, if there are any, are those of this teacher and way: the KD_EDATA
 * of kd_label_run before anything is heard. */
int kd_label_check(const char *folder, const kd_whisper_file *teacher, kd_hash teacher_hash,
                   const kd_label_options *options);
void kd_labels_clear(kd_labels *labels);

/* Whether a label is good enough to learn from: the list has a text, and the error rate is below
 * `wer_below` (0.1, say). */
bool kd_label_kept(const kd_label *label, double wer_below);

/* Whether texts of this language are compared letter by letter, as Whisper's evaluation does with
 * those written without spaces: Chinese, Cantonese, Japanese, Thai, Lao and Burmese. The rates are
 * then character error rates. */
bool kd_label_counts_letters(const kd_tokenizer *tokenizer, int32_t language);
/* "word error rate" or "character error rate". */
const char *kd_label_rate_name(const kd_tokenizer *tokenizer, int32_t language);

/* A text as it is compared with another: the normal form of its language
 * (data/text_normalizer.h). The caller frees *out. */
int kd_label_normalize(char **out, const char *text, const kd_tokenizer *tokenizer,
                       int32_t language);

#endif
