#include "tasks/speech/fallback.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/error.h"

static const double COMPRESSION_MOST = 2.4, AVERAGE_LEAST = -1, SILENCE_LEAST = 0.6;
enum { TEMPERATURES = 6 };

static int compression_of(double *out, const char *text, size_t length) {
    uLongf size = compressBound(length);
    Bytef *packed = malloc(size);
    if (!packed) return kd_fail_memory(size, "the compression of a text");
    compress(packed, &size, (const Bytef *)text, length);
    *out = (double)length / (double)size;
    free(packed);
    return KD_OK;
}

int kd_text_compression(double *out, const kd_tokenizer *tokenizer, const int32_t *token,
                        int count) {
    static const char space[] = " \t\r\n";
    char *text;
    size_t length;
    int status = kd_tokenizer_decode(&text, &length, tokenizer, token, count, false);
    if (status < 0) return status;
    const char *start = text + strspn(text, space);
    length -= (size_t)(start - text);
    while (length > 0 && strchr(space, start[length - 1])) length--;
    status = compression_of(out, start, length);
    free(text);
    return status;
}

bool kd_text_loops(double compression) {
    return compression > COMPRESSION_MOST;
}

bool kd_text_is_bad(double average, double compression) {
    return average < AVERAGE_LEAST || kd_text_loops(compression);
}

bool kd_decoded_is_silence(const kd_decoded *decoded) {
    return decoded->no_speech > SILENCE_LEAST && decoded->average <= AVERAGE_LEAST;
}

int kd_decode_with_fallback(kd_decoder *decoder, kd_decoded *out, double *compression,
                            const int32_t *prompt, int count) {
    for (int i = 0; i < TEMPERATURES; i++) {
        int status = kd_decoder_run(decoder, out, prompt, count, 0.2 * i);
        if (status == KD_OK)
            status = kd_text_compression(compression, decoder->tokenizer, out->token, out->count);
        if (status < 0) return status;
        if (out->average < AVERAGE_LEAST && out->no_speech > SILENCE_LEAST) break;
        if (!kd_text_is_bad(out->average, *compression)) break;
    }
    return KD_OK;
}
