/* libFLAC: FLAC, by itself and in Ogg. libsndfile does not say when it gives up in the middle. */
#include <FLAC/stream_decoder.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "data/sound_decoder.h"

typedef struct {
    kd_sound_decoder decoder;
    kd_sound_part part;
    int64_t at; /* where libFLAC stands in the part */
    FLAC__StreamDecoder *flac;
    int64_t stated, decoded; /* samples; stated is 0 when the writer did not know */
    float *block;            /* mono, of the frame decoded last                   */
    int64_t capacity, from, to;
    int64_t frames_end; /* where the frame decoded last ends, in the part; 0: unknown */
    int status;         /* of what a callback found                   */
    const char *error;  /* of libFLAC, NULL: none                     */
} state;

static FLAC__StreamDecoderReadStatus on_read(const FLAC__StreamDecoder *flac, FLAC__byte *out,
                                             size_t *bytes, void *user) {
    state *s = user;
    (void)flac;
    *bytes = (size_t)kd_sound_part_read(&s->part, out, (int64_t)*bytes, s->at);
    s->at += (int64_t)*bytes;
    return *bytes > 0 ? FLAC__STREAM_DECODER_READ_STATUS_CONTINUE
                      : FLAC__STREAM_DECODER_READ_STATUS_END_OF_STREAM;
}

static FLAC__StreamDecoderTellStatus on_tell(const FLAC__StreamDecoder *flac, FLAC__uint64 *out,
                                             void *user) {
    (void)flac;
    *out = (FLAC__uint64)((const state *)user)->at;
    return FLAC__STREAM_DECODER_TELL_STATUS_OK;
}

static FLAC__StreamDecoderWriteStatus on_frame(const FLAC__StreamDecoder *flac,
                                               const FLAC__Frame *frame,
                                               const FLAC__int32 *const samples[], void *user) {
    state *s = user;
    (void)flac;
    const int64_t n = frame->header.blocksize;
    const unsigned channels = frame->header.channels;
    const float scale = 1.0f / (float)(UINT64_C(1) << (frame->header.bits_per_sample - 1));
    s->status = kd_sound_check_format(s->part.file->name, channels, frame->header.sample_rate);
    if (s->status == KD_OK && n > s->capacity) {
        free(s->block);
        s->block = malloc(kd_array_bytes(n, sizeof *s->block));
        s->capacity = s->block ? n : 0;
        if (!s->block) s->status = kd_fail_memory((size_t)n * sizeof *s->block, s->part.file->name);
    }
    if (s->status < 0) return FLAC__STREAM_DECODER_WRITE_STATUS_ABORT;
    for (int64_t i = 0; i < n; i++) s->block[i] = (float)samples[0][i] * scale;
    for (unsigned c = 1; c < channels; c++)
        for (int64_t i = 0; i < n; i++) s->block[i] += (float)samples[c][i] * scale;
    for (int64_t i = 0; i < n && channels > 1; i++) s->block[i] /= (float)channels;
    s->decoder.rate = (int)frame->header.sample_rate;
    s->from = 0;
    s->to = n;
    return FLAC__STREAM_DECODER_WRITE_STATUS_CONTINUE;
}

static void on_metadata(const FLAC__StreamDecoder *flac, const FLAC__StreamMetadata *block,
                        void *user) {
    state *s = user;
    (void)flac;
    if (block->type != FLAC__METADATA_TYPE_STREAMINFO) return;
    s->stated = (int64_t)block->data.stream_info.total_samples;
    s->decoder.rate = (int)block->data.stream_info.sample_rate;
}

static void on_error(const FLAC__StreamDecoder *flac, FLAC__StreamDecoderErrorStatus status,
                     void *user) {
    state *s = user;
    (void)flac;
    if (!s->error) s->error = FLAC__StreamDecoderErrorStatusString[status];
}

/* At the end of the bytes: was that all? Without a stated number, they end with a frame. */
static int check_end(const state *s) {
    if (s->decoded < s->stated) return kd_sound_damaged(&s->part, s->decoded, s->stated, NULL);
    if (s->stated == 0 && s->frames_end > 0 && s->frames_end < s->part.to - s->part.from)
        return kd_sound_damaged(&s->part, s->decoded, 0, "its last frame is not whole");
    return KD_OK;
}

/* Decodes the next frame into the block; it stays empty at the end. An error behind the last sample
 * that is stated is in what stands behind the sound. */
static int decode(state *s) {
    s->from = s->to = 0;
    while (s->to == 0) {
        if (FLAC__stream_decoder_get_state(s->flac) == FLAC__STREAM_DECODER_END_OF_STREAM)
            return check_end(s);
        const bool going = FLAC__stream_decoder_process_single(s->flac);
        if (s->status < 0) return s->status;
        if (going && !s->error) continue;
        s->to = 0;
        if (s->stated > 0 && s->decoded >= s->stated) return KD_OK;
        return kd_sound_damaged(&s->part, s->decoded, s->stated,
                                s->error ? s->error : "libFLAC gives up");
    }
    FLAC__uint64 end;
    if (FLAC__stream_decoder_get_decode_position(s->flac, &end)) s->frames_end = (int64_t)end;
    s->decoded += s->to;
    return KD_OK;
}

static int64_t read_some(kd_sound_decoder *decoder, float *out, int64_t n) {
    state *s = (state *)decoder;
    if (s->from == s->to) {
        int status = decode(s);
        if (status < 0) return status;
    }
    if (n > s->to - s->from) n = s->to - s->from;
    for (int64_t i = 0; i < n; i++) out[i] = s->block[s->from + i];
    s->from += n;
    return n;
}

static void close_file(kd_sound_decoder *decoder) {
    state *s = (state *)decoder;
    if (s->flac) FLAC__stream_decoder_delete(s->flac);
    free(s->block);
    free(s);
}

static int open_file(state *s, bool ogg) {
    const char *name = s->part.file->name;
    s->flac = FLAC__stream_decoder_new();
    if (!s->flac) return kd_fail_memory(sizeof *s->flac, name);
    FLAC__StreamDecoderInitStatus status =
        ogg ? FLAC__stream_decoder_init_ogg_stream(s->flac, on_read, NULL, NULL, NULL, NULL,
                                                   on_frame, on_metadata, on_error, s)
            : FLAC__stream_decoder_init_stream(s->flac, on_read, NULL, on_tell, NULL, NULL,
                                               on_frame, on_metadata, on_error, s);
    if (status != FLAC__STREAM_DECODER_INIT_STATUS_OK)
        return kd_fail(KD_EINTERNAL, "%s: libFLAC: %s", name,
                       FLAC__StreamDecoderInitStatusString[status]);
    if (!FLAC__stream_decoder_process_until_end_of_metadata(s->flac) || s->error ||
        s->decoder.rate == 0)
        return kd_fail(KD_EDATA, "%s: no sound that libFLAC can decode: %s", name,
                       s->error ? s->error : "its header is damaged or cut short");
    return kd_sound_check_format(name, 1, s->decoder.rate);
}

static int open_flac(kd_sound_decoder **out, const kd_sound_part *part, bool ogg) {
    state *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, part->file->name);
    s->decoder = (kd_sound_decoder){.read = read_some, .close = close_file};
    s->part = *part;
    int status = open_file(s, ogg);
    if (status == KD_OK)
        *out = &s->decoder;
    else
        close_file(&s->decoder);
    return status;
}

int kd_flac_open(kd_sound_decoder **out, const kd_sound_part *part) {
    return open_flac(out, part, false);
}

int kd_ogg_flac_open(kd_sound_decoder **out, const kd_sound_part *part) {
    return open_flac(out, part, true);
}
