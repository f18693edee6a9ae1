/* What was said in a recording of any length: window after window of 30 s, each beginning where the
 * text of the last one ended (Radford et al. 2022, section 4.5; OpenAI's transcribe.py).
 *
 * A window is decoded at temperature 0 first, then at 0.2 … 1 while the text is too repetitive
 * (zlib makes it more than 2.4 times smaller) or too unlikely (mean log-probability below −1). One
 * that is probably silence (above 0.6, and unlikely text) is passed over.
 */
#ifndef KD_TASKS_SPEECH_TRANSCRIBE_H
#define KD_TASKS_SPEECH_TRANSCRIBE_H

#include "data/whisper_mel.h"
#include "tasks/speech/decode.h"

typedef struct {
    double start, end; /* seconds                        */
    char *text;        /* UTF-8, mostly with a space in front */
    int32_t *token;    /* (count), timestamps included   */
    int count;
    double window; /* where its window began, seconds */
    double temperature, average, compression, no_speech;
} kd_segment;

typedef struct {
    kd_segment *segment;
    int count, capacity;
    int32_t language; /* id, given or found; −1 for English-only models */
} kd_transcript;

/* Called for each segment as soon as it is known, or with NULL when a window is done; `done` of
 * `frames` are behind. A negative result ends the transcription with that status. */
typedef int (*kd_segment_listener)(void *context, const kd_segment *segment, int64_t done,
                                   int64_t frames);

/* When the model is multilingual and the decoder's language is −1, it is found in the first window.
 * The decoder is left as it was: sampling starts from one seed for every recording, so that a text
 * depends on its sound and the model alone, not on what was heard before, its name, or threads.
 * KD_EDATA when the model does not hear windows of 30 s. The caller clears *out, on errors too.
 *
 * A recording has ⌊samples/160⌋ frames, as OpenAI counts them: what is shorter than one says
 * nothing. For a measurement with the fallback, this is all: one decoder for many recordings. */
int kd_transcribe(kd_transcript *out, kd_decoder *decoder, const kd_whisper_sound *sound,
                  kd_segment_listener listener, void *context);
void kd_transcript_clear(kd_transcript *transcript);

/* All that was said → *out, UTF-8, which the caller frees. A letter whose bytes two segments share
 * is whole here, and U+FFFD in each of them. */
int kd_transcript_words(char **out, const kd_transcript *transcript, const kd_tokenizer *tokenizer);

#endif
