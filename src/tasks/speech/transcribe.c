#include "tasks/speech/transcribe.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "tasks/speech/fallback.h"

static const double FRAME_SECONDS = 0.01, PROMPT_TEMPERATURE_MOST = 0.5;
enum { FRAMES_PER_TIMESTAMP = 2 };

/* A transcription under way. */
typedef struct {
    kd_transcript *out;
    kd_decoder *decoder;
    const kd_whisper_sound *sound;
    int64_t frames, seek;                     /* of the whole, and where the window begins */
    float *mel;                               /* (KD_WHISPER_FRAMES, mels) */
    kd_real *input;                           /* the same */
    int32_t *said;                            /* all tokens of the segments so far */
    int said_count, said_capacity, said_from; /* from: where the prompt may begin */
    kd_segment_listener listener;
    void *context;
} job;

void kd_transcript_clear(kd_transcript *transcript) {
    for (int i = 0; i < transcript->count; i++) {
        free(transcript->segment[i].text);
        free(transcript->segment[i].token);
    }
    free(transcript->segment);
    *transcript = (kd_transcript){.language = -1};
}

int kd_transcript_words(char **out, const kd_transcript *transcript,
                        const kd_tokenizer *tokenizer) {
    int64_t total = 0, at = 0;
    for (int i = 0; i < transcript->count; i++) total += transcript->segment[i].count;
    int32_t *token = malloc(kd_array_bytes(total + 1, sizeof *token));
    *out = NULL;
    if (!token) return kd_fail_memory(((size_t)total + 1) * sizeof *token, "a transcript");
    for (int i = 0; i < transcript->count; i++) {
        const kd_segment *s = &transcript->segment[i];
        memcpy(token + at, s->token, (size_t)s->count * sizeof *token);
        at += s->count;
    }
    const int status = kd_tokenizer_decode(out, NULL, tokenizer, token, total, false);
    free(token);
    return status;
}

/* --- one window --------------------------------------------------------------------------------
 */

static int listen(job *j) {
    const int64_t size = (int64_t)KD_WHISPER_FRAMES * j->decoder->model->spec.mels;
    int status = kd_whisper_sound_window(j->sound, j->mel, j->seek);
    if (status < 0) return status;
    for (int64_t i = 0; i < size; i++) j->input[i] = (kd_real)j->mel[i];
    return kd_decoder_listen(j->decoder, j->input, KD_WHISPER_FRAMES);
}

static const char *skip_space(const char *text) {
    return text + strspn(text, " \t\r\n");
}

/* --- segments ----------------------------------------------------------------------------------
 */

static int remember(job *j, const int32_t *token, int count) {
    if (j->said_count + count > j->said_capacity) {
        const int capacity = 2 * (j->said_count + count) + 256;
        int32_t *said = realloc(j->said, (size_t)capacity * sizeof *said);
        if (!said) return kd_fail_memory((size_t)capacity * sizeof *said, "a transcript");
        j->said = said;
        j->said_capacity = capacity;
    }
    if (count > 0) memcpy(j->said + j->said_count, token, (size_t)count * sizeof *token);
    j->said_count += count;
    return KD_OK;
}

static kd_segment *new_segment(kd_transcript *t) {
    if (t->count == t->capacity) {
        const int capacity = t->capacity ? 2 * t->capacity : 16;
        kd_segment *segment = realloc(t->segment, (size_t)capacity * sizeof *segment);
        if (!segment) {
            kd_fail_memory((size_t)capacity * sizeof *segment, "a transcript");
            return NULL;
        }
        t->segment = segment;
        t->capacity = capacity;
    }
    t->segment[t->count] = (kd_segment){0};
    return &t->segment[t->count++];
}

/* Tokens first … last−1 of the window said from `start` to `end`, in seconds from its beginning.
 * Segments without length or text are dropped. */
static int add_segment(job *j, const kd_decoded *d, double compression, int first, int last,
                       double start, double end) {
    const int32_t *token = d->token + first;
    const int count = last - first;
    char *text;
    int status = kd_tokenizer_decode(&text, NULL, j->decoder->tokenizer, token, count, false);
    if (status < 0) return status;
    if (start == end || *skip_space(text) == '\0') {
        free(text);
        return KD_OK;
    }
    kd_segment *s = new_segment(j->out);
    if (!s) {
        free(text);
        return KD_EINTERNAL;
    }
    s->text = text;
    s->window = (double)j->seek * FRAME_SECONDS;
    s->start = s->window + start;
    s->end = s->window + end;
    s->temperature = d->temperature;
    s->average = d->average;
    s->compression = compression;
    s->no_speech = d->no_speech;
    s->token = malloc((size_t)count * sizeof *s->token);
    if (!s->token) return kd_fail_memory((size_t)count * sizeof *s->token, "a transcript");
    memcpy(s->token, token, (size_t)count * sizeof *token);
    s->count = count;
    status = remember(j, token, count);
    if (status == KD_OK && j->listener) status = j->listener(j->context, s, j->seek, j->frames);
    return status;
}

/* Cuts the window's tokens where two timestamps meet. *advance is how many frames are settled: up
 * to the last such place, or all of the window when the text goes through to its end. */
static int add_segments(job *j, const kd_decoded *d, double compression, int64_t size,
                        int64_t *advance) {
    const kd_token_ids *ids = kd_tokenizer_ids(j->decoder->tokenizer);
    const int32_t first = ids->timestamp;
    const int32_t *token = d->token;
    const int n = d->count;
    const bool closed = n >= 2 && kd_token_is_timestamp(ids, token[n - 1]) &&
                        !kd_token_is_timestamp(ids, token[n - 2]);
    int status = KD_OK, begin = 0;
    *advance = size;
    for (int i = 1; i <= n && status == KD_OK; i++) {
        const bool meet = i < n && kd_token_is_timestamp(ids, token[i]) &&
                          kd_token_is_timestamp(ids, token[i - 1]);
        if (!meet && !(i == n && closed && begin > 0)) continue;
        status =
            add_segment(j, d, compression, begin, i, (token[begin] - first) * KD_TIMESTAMP_SECONDS,
                        (token[i - 1] - first) * KD_TIMESTAMP_SECONDS);
        begin = i;
    }
    if (begin > 0) {
        if (!closed) *advance = (token[begin - 1] - first) * (int64_t)FRAMES_PER_TIMESTAMP;
        return status;
    }
    double end = (double)size * FRAME_SECONDS;
    for (int i = n - 1; i >= 0; i--)
        if (kd_token_is_timestamp(ids, token[i])) {
            if (token[i] > first) end = (token[i] - first) * KD_TIMESTAMP_SECONDS;
            break;
        }
    return add_segment(j, d, compression, 0, n, 0, end);
}

static int do_window(job *j) {
    const int64_t left = j->frames - j->seek;
    const int64_t size = left < KD_WHISPER_FRAMES ? left : KD_WHISPER_FRAMES;
    kd_decode_options *options = &j->decoder->options;
    kd_decoded d;
    double compression = 0;
    int64_t advance = size;
    int status = listen(j);
    if (status == KD_OK && kd_tokenizer_ids(j->decoder->tokenizer)->multilingual &&
        options->language < 0)
        status = kd_decoder_language(j->decoder, &options->language);
    if (status == KD_OK)
        status = kd_decode_with_fallback(j->decoder, &d, &compression,
                                         j->said ? j->said + j->said_from : NULL,
                                         j->said_count - j->said_from);
    if (status < 0) return status;
    if (!kd_decoded_is_silence(&d)) {
        status = add_segments(j, &d, compression, size, &advance);
        if (d.temperature > PROMPT_TEMPERATURE_MOST) j->said_from = j->said_count;
    }
    /* Two timestamps can meet at 0.00: nothing would be settled for ever. */
    j->seek += advance > 0 ? advance : size;
    return status;
}

int kd_transcribe(kd_transcript *out, kd_decoder *decoder, const kd_whisper_sound *sound,
                  kd_segment_listener listener, void *context) {
    const kd_whisper_spec *spec = &decoder->model->spec;
    const int64_t samples = kd_whisper_sound_samples(sound);
    const int32_t given = decoder->options.language;
    job j = {.out = out,
             .decoder = decoder,
             .sound = sound,
             .frames = samples / KD_WHISPER_HOP,
             .listener = listener,
             .context = context};
    *out = (kd_transcript){.language = -1};
    if (2 * spec->audio_context != KD_WHISPER_FRAMES)
        return kd_fail(KD_EDATA, "the model hears %d frames at once; Whisper's 30 s are %d",
                       2 * spec->audio_context, (int)KD_WHISPER_FRAMES);
    const size_t size = (size_t)KD_WHISPER_FRAMES * (size_t)spec->mels;
    j.mel = malloc(size * sizeof *j.mel);
    j.input = malloc(size * sizeof *j.input);
    int status = j.mel && j.input ? KD_OK : kd_fail_memory(size * sizeof *j.input, "a window");
    kd_decoder_begin(decoder);
    while (j.seek < j.frames && status == KD_OK) {
        status = do_window(&j);
        if (status == KD_OK && listener)
            status = listener(context, NULL, j.seek < j.frames ? j.seek : j.frames, j.frames);
    }
    out->language =
        kd_tokenizer_ids(decoder->tokenizer)->multilingual ? decoder->options.language : -1;
    decoder->options.language = given;
    free(j.mel);
    free(j.input);
    free(j.said);
    return status;
}
