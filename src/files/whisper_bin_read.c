/* whisper.cpp's `.bin`, little-endian and packed:
 *
 *   u32 0x67676d6c
 *   i32 × 11     vocabulary, audio context, width, heads, layers, text context, width, heads,
 *                layers, mels, type of the matrices
 *   i32 mels, i32 bins, f32 filters
 *   i32 tokens, for each: u32 length, bytes
 *   the tensors to the end (ggml_records.h)
 *
 * The records are listed and held against the parameters of a model of this header first, and only
 * then is memory taken for the weights. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "files/ggml_records.h"
#include "files/whisper_file.h"
#include "files/whisper_names.h"

enum { MAGIC = 0x67676d6c, BINS_MAX = 1 << 16, TOKEN_BYTES = 1 << 24 };

/* --- header, filters, tokens -------------------------------------------------------------------
 */

static int read_header(kd_ggml_source *s, kd_whisper_spec *spec) {
    int32_t h[12];
    int status = kd_ggml_take(s, h, sizeof h, "the header");
    if (status < 0) return status;
    if (h[0] != MAGIC)
        return kd_fail(KD_EDATA, "%s: starts with 0x%08x; whisper.cpp's files start with 0x%08x",
                       s->name, (unsigned)h[0], (unsigned)MAGIC);
    if (h[3] != h[7])
        return kd_fail(KD_EDATA, "%s: encoder of width %d, decoder of width %d; they must agree",
                       s->name, (int)h[3], (int)h[7]);
    *spec = (kd_whisper_spec){.vocabulary = h[1],
                              .audio_context = h[2],
                              .width = h[3],
                              .audio_heads = h[4],
                              .audio_layers = h[5],
                              .text_context = h[6],
                              .text_heads = h[8],
                              .text_layers = h[9],
                              .mels = h[10]};
    status = kd_whisper_spec_check(spec, s->name);
    if (status < 0) return status;
    /* Half a byte for each weight of the matrices is less than any format needs. */
    const uint64_t C = (uint64_t)spec->width;
    const uint64_t least = C *
                           (12 * C * (uint64_t)spec->audio_layers +
                            16 * C * (uint64_t)spec->text_layers + (uint64_t)spec->vocabulary) /
                           2;
    if (least > s->length)
        return kd_fail(
            KD_EDATA, "%s: the header describes a model of more than %llu bytes; the file has %llu",
            s->name, (unsigned long long)least, (unsigned long long)s->length);
    return KD_OK;
}

static int read_filters(kd_ggml_source *s, kd_whisper_file *file, int mels) {
    int32_t size[2];
    int status = kd_ggml_take(s, size, sizeof size, "the size of the mel filters");
    if (status < 0) return status;
    if (size[0] != mels || size[1] < 1 || size[1] > BINS_MAX)
        return kd_fail(KD_EDATA, "%s: mel filters of %d × %d; should be %d × 201", s->name,
                       (int)size[0], (int)size[1], mels);
    const uint64_t bytes = (uint64_t)size[0] * (uint64_t)size[1] * sizeof *file->filters;
    if (bytes > s->length - s->at)
        return kd_fail(KD_EDATA, "%s: mel filters of %llu bytes; the file ends before", s->name,
                       (unsigned long long)bytes);
    file->bins = size[1];
    file->filters = malloc((size_t)bytes);
    if (!file->filters) return kd_fail_memory(bytes, "mel filters");
    return kd_ggml_take(s, file->filters, bytes, "the mel filters");
}

/* The list of tokens, held in one block of bytes. */
static int read_token_list(kd_ggml_source *s, kd_token_bytes *token, int count, char *bytes,
                           uint64_t room) {
    uint64_t used = 0;
    for (int i = 0; i < count; i++) {
        uint32_t length;
        int status = kd_ggml_take(s, &length, sizeof length, "the length of a token");
        if (status < 0) return status;
        if (length > room - used)
            return kd_fail(
                KD_EDATA, "%s: at byte %llu: token %d of %u bytes; all have at most %llu", s->name,
                (unsigned long long)s->at, i, (unsigned)length, (unsigned long long)room);
        status = kd_ggml_take(s, bytes + used, length, "a token");
        if (status < 0) return status;
        token[i] = (kd_token_bytes){bytes + used, length};
        used += length;
    }
    return KD_OK;
}

static int read_tokens(kd_ggml_source *s, kd_whisper_file *file, int vocabulary) {
    int32_t count;
    int status = kd_ggml_take(s, &count, sizeof count, "the number of tokens");
    if (status < 0) return status;
    if (count < 1 || count > vocabulary)
        return kd_fail(KD_EDATA, "%s: %d tokens; the vocabulary has %d", s->name, (int)count,
                       vocabulary);
    const uint64_t left = s->length - s->at, room = left < TOKEN_BYTES ? left : TOKEN_BYTES;
    kd_token_bytes *token = malloc((size_t)count * sizeof *token);
    char *bytes = malloc((size_t)room + 1);
    status = token && bytes ? read_token_list(s, token, count, bytes, room)
                            : kd_fail_memory(room, "tokens");
    if (status == KD_OK)
        status = kd_tokenizer_create(&file->tokenizer, token, count, vocabulary, s->name);
    free(token);
    free(bytes);
    return status;
}

/* --- the file ----------------------------------------------------------------------------------
 */

static int read_weights(kd_ggml_source *s, kd_whisper_file *file, kd_whisper_training training) {
    const kd_params *params = file->model->params;
    const size_t count = (size_t)params->count;
    kd_stored *list = calloc(count, sizeof *list);
    file->stored = calloc(count, sizeof *file->stored);
    int status = list && file->stored ? kd_ggml_records_list(list, s, params, &kd_whisper_ggml)
                                      : kd_fail_memory(count * sizeof *list, s->name);
    for (size_t i = 0; i < count && status == KD_OK; i++) file->stored[i] = list[i].format;
    if (status == KD_OK) status = kd_whisper_file_load(file, list, training, s->name);
    free(list);
    return status;
}

int kd_whisper_bin_decode(kd_whisper_file **out, const void *bytes, size_t length, const char *name,
                          kd_whisper_training training) {
    kd_ggml_source s = {.name = name, .bytes = bytes, .length = length};
    kd_whisper_spec spec;
    *out = NULL;
    kd_whisper_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, name);
    int status = read_header(&s, &spec);
    if (status == KD_OK) status = read_filters(&s, file, spec.mels);
    if (status == KD_OK) status = read_tokens(&s, file, spec.vocabulary);
    if (status == KD_OK) status = kd_whisper_create(&file->model, &spec, training);
    if (status == KD_OK) status = read_weights(&s, file, training);
    if (status < 0) {
        kd_whisper_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}

int kd_whisper_bin_read(kd_whisper_file **out, const char *path, kd_whisper_training training) {
    kd_file_map map;
    *out = NULL;
    int status = kd_file_map_open(&map, path);
    if (status < 0) return status;
    status = kd_whisper_bin_decode(out, map.bytes, map.length, path, training);
    if (status == KD_OK && training == KD_WHISPER_ONLY_READ)
        (*out)->map = map;
    else
        kd_file_map_close(&map);
    return status;
}
