/* Recorded speech with what was said in it and by whom, listed in one of four ways:
 *
 *   list.tsv     cells between tabs; a header when the first line names the columns: audio or path,
 *                text or sentence, and speaker, speaker_id or client_id, in any case of the
 * letters, others ignored. Without a header: audio, text and maybe speaker. A cell may stand in
 * quotes as csv writers put them Common Voice a TSV whose header has client_id and path: the sounds
 * lie in clips/ beside it list.jsonl   (or .json) one {"audio": …, "text": …, "speaker": …} a line,
 * by the same names; a speaker may be a whole number LibriSpeech  a folder: every line
 * "SPEAKER-CHAPTER-NUMBER TEXT" of the *.trans.txt in it, at any depth, in the order of their
 * bytes; SPEAKER-CHAPTER-NUMBER.flac beside it, or .wav, .opus, .ogg, .mp3, whichever of these is
 * there first. One such file by itself is a list, too
 *
 * Sounds are relative to the folder of the list. Lists are UTF-8, with or without a byte order
 * mark; lines end with LF or CRLF, the last maybe not; empty ones do not count. No speaker is "".
 */
#ifndef KD_DATA_UTTERANCES_H
#define KD_DATA_UTTERANCES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *audio; /* path; not empty */
    char *text;  /* of the reference, as the list has it; maybe empty */
    char *speaker;
    const char *list; /* the file that names it, of the kd_utterances; NULL: none does */
    int64_t line;
} kd_utterance;

typedef struct {
    kd_utterance *item; /* (count) */
    int64_t count, capacity;
    char **list; /* (lists) */
    int lists;
} kd_utterances;

/* Appends what the list names to *out, which starts as {0}; the caller frees, on errors too.
 * KD_ENOINPUT when there is no list; KD_EDATA with "file:line: what is wrong". Whether the sounds
 * are there is seen when they are opened (speech/recordings.h). */
int kd_utterances_read(kd_utterances *out, const char *path);
void kd_utterances_free(kd_utterances *utterances);

/* The text of a list (`length` bytes, any content, and one more that may be written; changed while
 * it is read), in the form that the end of `path` says. */
int kd_utterances_parse(kd_utterances *out, char *text, size_t length, const char *path);

/* Writes "list:line: ", where an utterance stands, or "" into `out`, and returns it. */
const char *kd_utterance_place(char *out, size_t capacity, const kd_utterance *utterance);

#endif
