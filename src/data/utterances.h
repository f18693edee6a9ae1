/* Recorded speech with what was said in it and by whom, listed in one of four ways:
 *
 *   list.tsv     cells between tabs; a header when the first line names the columns: audio or path,
 *                text or sentence, and speaker or client_id, others ignored. Without a header:
 *                audio, text and maybe speaker
 *   Common Voice a TSV whose header has client_id and path: the sounds lie in clips/ beside it
 *   list.jsonl   (or .json) one {"audio": …, "text": …, "speaker": …} a line, others ignored
 *   LibriSpeech  a folder: every line "SPEAKER-CHAPTER-NUMBER TEXT" of the *.trans.txt in it, at
 *                any depth, in the order of their bytes; SPEAKER-CHAPTER-NUMBER.flac beside it
 *
 * Sounds are relative to the folder of the list. Lists are UTF-8. No speaker is "".
 */
#ifndef KD_DATA_UTTERANCES_H
#define KD_DATA_UTTERANCES_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

typedef struct {
    char *audio; /* path; not empty */
    char *text;  /* of the reference, as the list has it; maybe empty */
    char *speaker;
} kd_utterance;

typedef struct {
    kd_utterance *item; /* (count) */
    int64_t count, capacity;
} kd_utterances;

/* Appends what the list names to *out, which starts as {0}; the caller frees, on errors too.
 * KD_ENOINPUT when there is no list; KD_EDATA with "file:line: what is wrong". Whether the sounds
 * are there is seen when they are opened, or by kd_utterances_hash. */
int kd_utterances_read(kd_utterances *out, const char *path);
void kd_utterances_free(kd_utterances *utterances);

/* The text of a list (`length` bytes, any content; changed while it is read), JSON lines or TSV as
 * the end of `path` says. */
int kd_utterances_parse(kd_utterances *out, char *text, size_t length, const char *path);

/* Names utterances first … first + count − 1 by what they hold and not by where they lie: names and
 * sizes of the sound files, texts, speakers. KD_ENOINPUT names a sound that is not there. */
int kd_utterances_hash(kd_hash *out, const kd_utterances *utterances, int64_t first, int64_t count);

#endif
