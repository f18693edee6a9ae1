/* Speech recognition of distill.h. */
#include <stdlib.h>

#include "base/error.h"
#include "data/whisper_mel.h"
#include "distill.h"
#include "files/whisper_file.h"
#include "tasks/speech/transcribe.h"

struct distill_speech {
    kd_whisper_file *file;
    kd_decoder decoder;
    kd_logmel *logmel;
    kd_transcript transcript; /* of the last call */
    distill_segment *segment;
};

void distill_speech_close(distill_speech *speech) {
    if (!speech) return;
    free(speech->segment);
    kd_transcript_clear(&speech->transcript);
    kd_decoder_clear(&speech->decoder);
    kd_logmel_free(speech->logmel);
    kd_whisper_file_free(speech->file);
    free(speech);
}

int distill_speech_open(distill_speech **out, const char *path) {
    distill_speech *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, "a recogniser");
    int status = kd_whisper_file_open(&s->file, path, KD_WHISPER_ONLY_READ);
    if (status == KD_OK) {
        const kd_decode_options options = {.language = -1,
                                           .task = kd_tokenizer_ids(s->file->tokenizer)->transcribe,
                                           .timestamps = true,
                                           .beam = 1};
        status = kd_decoder_init(&s->decoder, s->file->model, s->file->tokenizer, &options);
    }
    if (status == KD_OK) status = kd_whisper_mel_create(&s->logmel, s->file->model->spec.mels);
    if (status < 0) {
        distill_speech_close(s);
        return status;
    }
    *out = s;
    return KD_OK;
}

static int choose_language(distill_speech *s, const char *language) {
    s->decoder.options.language = -1;
    if (!language) return KD_OK;
    const bool several = kd_tokenizer_ids(s->file->tokenizer)->multilingual;
    const int32_t id = kd_tokenizer_language(s->file->tokenizer, language);
    if (id < 0 || (!several && id != kd_tokenizer_language(s->file->tokenizer, "en")))
        return kd_fail(KD_EUSAGE, "the model does not know the language \"%s\"", language);
    if (several) s->decoder.options.language = id;
    return KD_OK;
}

/* The transcript's segments as the caller sees them. */
static int list_segments(distill_speech *s) {
    const size_t n = (size_t)s->transcript.count;
    free(s->segment);
    s->segment = malloc((n + 1) * sizeof *s->segment);
    if (!s->segment) return kd_fail_memory(n * sizeof *s->segment, "segments");
    for (size_t i = 0; i < n; i++) {
        const kd_segment *from = &s->transcript.segment[i];
        s->segment[i] = (distill_segment){from->start, from->end, from->text};
    }
    return KD_OK;
}

int distill_speech_transcribe(distill_speech *speech, const char *path, const char *language,
                              const distill_segment **segments, int64_t *count) {
    kd_whisper_sound *sound = NULL;
    kd_transcript_clear(&speech->transcript);
    speech->transcript = (kd_transcript){.language = -1};
    int status = choose_language(speech, language);
    if (status == KD_OK) status = kd_whisper_sound_open(&sound, path, speech->logmel);
    if (status < 0) return status;
    status = kd_transcribe(&speech->transcript, &speech->decoder, sound, NULL, NULL);
    kd_whisper_sound_close(sound);
    if (status == KD_OK) status = list_segments(speech);
    if (status < 0) return kd_fail_in(status, "%s", path);
    *segments = speech->segment;
    *count = speech->transcript.count;
    return KD_OK;
}
