/* The smallest Whisper model, from which mutation starts. */
#ifndef KD_TESTS_FUZZ_SMALL_WHISPER_H
#define KD_TESTS_FUZZ_SMALL_WHISPER_H

#include <stdlib.h>

#include "files/whisper_file.h"

/* Width 4, one layer each; the 256 bytes are its ordinary tokens. Freed by small_whisper_free. */
static inline void small_whisper(kd_whisper_file *out, int vocabulary, int text_context) {
    static char text[256];
    static float filter = 1;
    kd_token_bytes token[256];
    const kd_whisper_spec spec = {.mels = 1,
                                  .width = 4,
                                  .vocabulary = vocabulary,
                                  .audio_context = 1,
                                  .audio_layers = 1,
                                  .audio_heads = 1,
                                  .text_context = text_context,
                                  .text_layers = 1,
                                  .text_heads = 2};
    *out = (kd_whisper_file){.bins = 1, .filters = &filter};
    for (int i = 0; i < 256; i++) {
        text[i] = (char)i;
        token[i] = (kd_token_bytes){&text[i], 1};
    }
    if (kd_tokenizer_create(&out->tokenizer, token, 256, vocabulary, "fuzz") < 0) abort();
    if (kd_whisper_create(&out->model, &spec, KD_WHISPER_TRAIN_NOTHING) < 0) abort();
    if (kd_whisper_layout(out->model, 1) < 0) abort();
}

static inline void small_whisper_free(kd_whisper_file *file) {
    kd_whisper_free(file->model);
    kd_tokenizer_free(file->tokenizer);
}

#endif
