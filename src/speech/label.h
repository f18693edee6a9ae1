/* The label stage: what the teacher hears in every utterance, with how far that is from what the
 * list says was spoken (Distil-Whisper, Gandhi et al. 2023, arXiv 2311.00430, section 3.2).
 *
 * Decoding is greedy, without timestamps, previous text or fallback. The word error rate is kept
 * with each label and the threshold applied by whoever uses them, so that it can change without
 * hearing anything again.
 *
 * Labels lie in shards of KD_LABELS_IN_SHARD utterances, `labels-00000.jsonl` …, JSON lines. The
 * first says what the shard was made from:
 *
 *   {"kind": "distill labels", "version": 1, "utterances": HASH, "teacher": HASH,
 *    "language": ID, "task": ID}                                     (ids −1: English-only teacher)
 *
 * and each other one is an utterance, in the order of the list:
 *
 *   {"audio": NAME, "seconds": 3.2, "said": "…", "tokens": [ … ], "average": −0.1,
 *    "wer": [words, substitutions, deletions, insertions]}
 *   {"audio": NAME, "skipped": true}                      longer than the teacher hears at once
 */
#ifndef KD_SPEECH_LABEL_H
#define KD_SPEECH_LABEL_H

#include <stdbool.h>

#include "base/hash.h"
#include "data/utterances.h"
#include "data/wer.h"
#include "quant/whisper_file.h"

enum { KD_LABELS_IN_SHARD = 120 };

typedef struct {
    const kd_utterance *utterance; /* borrowed from the list                              */
    bool skipped;                  /* longer than a window: the rest is 0                 */
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
    int64_t count, skipped;
    kd_hash hash; /* names all of it: sounds, references, teacher, labels */
} kd_labels;

typedef struct {
    int32_t language, task; /* ids, for multilingual teachers; others ignore them */
} kd_label_options;

/* Hears what no shard under `folder` (made when missing) holds yet, with progress on stderr.
 * Utterances must outlive *out, which the caller clears, on errors too.
 *
 * KD_EDATA naming the shard when it belongs to other utterances, another teacher or other options,
 * or is damaged; KD_ENOINPUT or KD_EDATA naming the sound that is missing or no sound; KD_ECONFIG
 * when a multilingual teacher gets no language; KD_EAGAIN after kd_train_request_stop: whole shards
 * are kept. */
int kd_label_run(kd_labels *out, const char *folder, const kd_utterances *utterances,
                 const kd_whisper_file *teacher, kd_hash teacher_hash,
                 const kd_label_options *options);
void kd_labels_clear(kd_labels *labels);

/* Whether a label is good enough to learn from: the list has a text, and the word error rate is
 * below `wer_below` (0.1, say). */
bool kd_label_kept(const kd_label *label, double wer_below);

/* A text as it is compared with another: English or any language's normal form
 * (data/text_normalizer.h). The caller frees *out. */
int kd_label_normalize(char **out, const char *text, const kd_tokenizer *tokenizer,
                       int32_t language);

#endif
