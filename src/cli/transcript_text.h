/* How transcripts are written down. */
#ifndef KD_CLI_TRANSCRIPT_TEXT_H
#define KD_CLI_TRANSCRIPT_TEXT_H

#include "base/text.h"
#include "tasks/speech/transcribe.h"

typedef enum {
    KD_TRANSCRIPT_TEXT,
    KD_TRANSCRIPT_SRT,
    KD_TRANSCRIPT_VTT,
    KD_TRANSCRIPT_JSON
} kd_transcript_kind;

/* What stands in front of all segments (WebVTT: its signature), or "". */
const char *kd_transcript_opening(kd_transcript_kind kind);

/* One segment, number `index` from 0: a line of text, or a subtitle with its times. Not for JSON.
 */
void kd_transcript_add_segment(kd_text *out, kd_transcript_kind kind, int index,
                               const kd_segment *segment);

/* One line: the file's name, a tab, all that was said. */
int kd_transcript_add_row(kd_text *out, const char *file, const kd_transcript *transcript,
                          const kd_tokenizer *tokenizer);

/* One line: {"file", "language", "text", "segments": [{"id", "start", "end", "text", …}]}. The
 * names are those of OpenAI's own JSON. A language that was never looked for is null. */
int kd_transcript_add_json(kd_text *out, const char *file, const kd_transcript *transcript,
                           const kd_tokenizer *tokenizer);
/* The line of a file that could not be heard: {"file", "error"}. */
void kd_transcript_add_failure(kd_text *out, const char *file, const char *message);

#endif
