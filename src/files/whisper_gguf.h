/* What whisper_gguf_read.c and whisper_gguf_write.c share: the names in the file. */
#ifndef KD_FILES_WHISPER_GGUF_H
#define KD_FILES_WHISPER_GGUF_H

#include "files/whisper_file.h"

#define KD_WHISPER_GGUF_TOKENS  "tokenizer.ggml.tokens"
#define KD_WHISPER_GGUF_HEADS   "whisper.decoder.alignment_heads"
#define KD_WHISPER_GGUF_FILTERS "mel_filters"

/* How text is generated; each only where it is stated. */
#define KD_WHISPER_GGUF_SUPPRESS        "whisper.decoder.suppress_tokens"
#define KD_WHISPER_GGUF_BEGIN_SUPPRESS  "whisper.decoder.begin_suppress_tokens"
#define KD_WHISPER_GGUF_LANGUAGES       "whisper.decoder.languages"
#define KD_WHISPER_GGUF_MAX_LENGTH      "whisper.decoder.max_length"
#define KD_WHISPER_GGUF_FIRST_TIMESTAMP "whisper.decoder.max_initial_timestamp"
#define KD_WHISPER_GGUF_LANGUAGE        "whisper.decoder.language"
#define KD_WHISPER_GGUF_TASK            "whisper.decoder.task"

/* The sizes of a model; the vocabulary is the number of tokens. */
enum { KD_WHISPER_GGUF_SIZES = 9 };
static const struct {
    const char *key;
    size_t place; /* of an int in kd_whisper_spec */
} kd_whisper_gguf_size[KD_WHISPER_GGUF_SIZES] = {
    {"whisper.encoder.context_length", offsetof(kd_whisper_spec, audio_context)},
    {"whisper.encoder.embedding_length", offsetof(kd_whisper_spec, width)},
    {"whisper.encoder.block_count", offsetof(kd_whisper_spec, audio_layers)},
    {"whisper.encoder.mels_count", offsetof(kd_whisper_spec, mels)},
    {"whisper.encoder.attention.head_count", offsetof(kd_whisper_spec, audio_heads)},
    {"whisper.decoder.context_length", offsetof(kd_whisper_spec, text_context)},
    {"whisper.decoder.embedding_length", offsetof(kd_whisper_spec, width)},
    {"whisper.decoder.block_count", offsetof(kd_whisper_spec, text_layers)},
    {"whisper.decoder.attention.head_count", offsetof(kd_whisper_spec, text_heads)},
};

#endif
