/* libavformat and libavcodec (FFmpeg), where they were there when this was built: what the other
 * decoders do not know, MPEG-4, Matroska, AAC, AMR, ASF …. Encoder delay and edit lists are taken
 * off by the libraries. */
#include "data/sound_decoder.h"

#ifdef KD_HAVE_FFMPEG

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Nothing that names other files, asks a network or makes pictures of text. */
static const char FORMATS[] = "mov,matroska,aac,amr,asf,wv,ape,tta,flv,avi,ac3,mpeg,mpegts";

enum { BUFFER = 1 << 15 };

/* A stream that lasts so much less than it states is cut; lengths are stated in ms, or rounded to
 * whole frames. */
static const double SLACK_SECONDS = 0.1;

typedef struct {
    kd_sound_decoder decoder;
    kd_sound_part part;
    int64_t at; /* where libavformat stands in the part */
    AVIOContext *io;
    AVFormatContext *format;
    AVCodecContext *codec;
    AVStream *stream;
    AVPacket *packet;
    AVFrame *frame;
    int taken;       /* samples of the frame given out   */
    int64_t packets; /* read of the stream               */
    double seconds;  /* decoded                          */
    bool flushing;   /* no packet is left                */
} state;

static int on_read(void *user, uint8_t *out, int n) {
    state *s = user;
    const int64_t got = kd_sound_part_read(&s->part, out, n, s->at);
    s->at += got;
    return got > 0 ? (int)got : AVERROR_EOF;
}

static int64_t on_seek(void *user, int64_t offset, int whence) {
    state *s = user;
    const int64_t length = s->part.to - s->part.from;
    whence &= ~AVSEEK_FORCE;
    if (whence == AVSEEK_SIZE) return length;
    int64_t to, base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? s->at : length;
    if (__builtin_add_overflow(base, offset, &to) || to < 0 || to > length) return -1;
    s->at = to;
    return to;
}

/* "cut short or damaged: 3.2 of 5 s can be decoded: …" */
static int damaged(const state *s, double stated, const char *why) {
    const char *name = s->part.file->name;
    char of[32] = "";
    if (stated > 0) snprintf(of, sizeof of, " of %.3f", stated);
    return kd_fail(
        KD_EDATA,
        "%s: is %s, cut short or damaged: %.3f%s s can be decoded: %s; get the file again, or "
        "keep what is there: `ffmpeg -i %s sound.flac`",
        name, s->part.what, s->seconds, of, why, name);
}

/* How long the stream says it is, where a header does; or 0. */
static double stated_seconds(const state *s) {
    if (s->stream->duration > 0 &&
        s->format->duration_estimation_method == AVFMT_DURATION_FROM_STREAM)
        return (double)s->stream->duration * av_q2d(s->stream->time_base);
    if (s->format->nb_streams == 1 && s->format->duration > 0 &&
        s->format->duration_estimation_method == AVFMT_DURATION_FROM_STREAM)
        return (double)s->format->duration / AV_TIME_BASE;
    return 0;
}

static int check_end(const state *s) {
    const double stated = stated_seconds(s);
    if (s->stream->nb_frames > s->packets) return damaged(s, stated, "packets are missing");
    return s->seconds + SLACK_SECONDS < stated ? damaged(s, stated, "it ends early") : KD_OK;
}

/* Gives the codec the next packet of the stream, or says that there is none. */
static int send_packet(state *s) {
    int result = 0;
    do {
        av_packet_unref(s->packet);
        result = av_read_frame(s->format, s->packet);
    } while (result >= 0 && s->packet->stream_index != s->stream->index);
    s->flushing = result < 0;
    if (result < 0 && result != AVERROR_EOF) return damaged(s, 0, av_err2str(result));
    if (result >= 0 && (s->packet->flags & AV_PKT_FLAG_CORRUPT))
        return damaged(s, stated_seconds(s), "a packet is damaged");
    s->packets += result >= 0;
    result = avcodec_send_packet(s->codec, s->flushing ? NULL : s->packet);
    return result < 0 ? damaged(s, stated_seconds(s), av_err2str(result)) : KD_OK;
}

/* Decodes the next frame; it has no samples at the end. */
static int decode(state *s) {
    s->taken = 0;
    for (;;) {
        const int result = avcodec_receive_frame(s->codec, s->frame);
        if (result == AVERROR_EOF) {
            s->frame->nb_samples = 0;
            return check_end(s);
        }
        int status = KD_OK;
        if (result == AVERROR(EAGAIN))
            status = s->flushing ? damaged(s, 0, "no end is found") : send_packet(s);
        else if (result < 0)
            status = damaged(s, stated_seconds(s), av_err2str(result));
        if (status < 0) return status;
        if (result < 0 || s->frame->nb_samples == 0) continue;
        s->decoder.rate = s->frame->sample_rate;
        s->seconds += (double)s->frame->nb_samples / fmax(s->frame->sample_rate, 1);
        return kd_sound_check_format(s->part.file->name, s->frame->ch_layout.nb_channels,
                                     s->frame->sample_rate);
    }
}

/* Number i of the samples that begin at `from`. */
static float sample(const uint8_t *from, int64_t i, enum AVSampleFormat format) {
    switch (format) {
    case AV_SAMPLE_FMT_U8:
        return (float)(from[i] - 128) / 0x1p7f;
    case AV_SAMPLE_FMT_S16:
        return (float)((const int16_t *)from)[i] / 0x1p15f;
    case AV_SAMPLE_FMT_S32:
        return (float)((const int32_t *)from)[i] / 0x1p31f;
    case AV_SAMPLE_FMT_S64:
        return (float)((const int64_t *)from)[i] / 0x1p63f;
    case AV_SAMPLE_FMT_FLT:
        return ((const float *)from)[i];
    case AV_SAMPLE_FMT_DBL:
        return (float)((const double *)from)[i];
    default:
        return NAN;
    }
}

static int64_t read_some(kd_sound_decoder *decoder, float *out, int64_t n) {
    state *s = (state *)decoder;
    const AVFrame *f = s->frame;
    if (s->taken == f->nb_samples) {
        int status = decode(s);
        if (status < 0) return status;
    }
    const int channels = f->ch_layout.nb_channels;
    const bool planar = av_sample_fmt_is_planar(f->format) != 0;
    const enum AVSampleFormat format = av_get_packed_sample_fmt(f->format);
    if (n > f->nb_samples - s->taken) n = f->nb_samples - s->taken;
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        for (int c = 0; c < channels; c++)
            sum += planar ? sample(f->extended_data[c], s->taken + i, format)
                          : sample(f->extended_data[0], (s->taken + i) * channels + c, format);
        out[i] = sum / (float)channels;
        if (!(fabsf(out[i]) <= KD_SOUND_LOUDEST))
            return damaged(s, 0, "it gives numbers that are no sound");
    }
    s->taken += (int)n;
    return n;
}

static void close_file(kd_sound_decoder *decoder) {
    state *s = (state *)decoder;
    avcodec_free_context(&s->codec);
    avformat_close_input(&s->format);
    if (s->io) av_freep(&s->io->buffer);
    avio_context_free(&s->io);
    av_packet_free(&s->packet);
    av_frame_free(&s->frame);
    free(s);
}

static int refuse(const state *s, int error, const char *why) {
    const char *name = s->part.file->name;
    return kd_fail(
        KD_EDATA,
        "%s: is %s, with no sound that FFmpeg's libraries can decode: %s; try `ffmpeg -i "
        "%s sound.flac`",
        name, s->part.what, why ? why : av_err2str(error), name);
}

static int open_format(state *s) {
    uint8_t *buffer = av_malloc(BUFFER);
    s->io = buffer ? avio_alloc_context(buffer, BUFFER, 0, s, on_read, NULL, on_seek) : NULL;
    s->format = avformat_alloc_context();
    s->packet = av_packet_alloc();
    s->frame = av_frame_alloc();
    if (!s->io) av_free(buffer);
    if (!s->io || !s->format || !s->packet || !s->frame)
        return kd_fail_memory(BUFFER, s->part.file->name);
    s->format->pb = s->io;
    s->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    s->format->format_whitelist = av_strdup(FORMATS);
    s->format->protocol_whitelist = av_strdup("");
    int result = avformat_open_input(&s->format, "", NULL, NULL);
    if (result >= 0) result = avformat_find_stream_info(s->format, NULL);
    return result < 0 ? refuse(s, result, NULL) : KD_OK;
}

/* The one stream of sound; pictures are passed over. */
static int choose_stream(state *s) {
    for (unsigned i = 0; i < s->format->nb_streams; i++) {
        AVStream *stream = s->format->streams[i];
        if (stream->codecpar->codec_type != AVMEDIA_TYPE_AUDIO)
            stream->discard = AVDISCARD_ALL;
        else if (s->stream)
            return kd_fail(KD_EDATA,
                           "%s: several streams of sound; choose one: `ffmpeg -i %s -map 0:a:0 "
                           "sound.flac`",
                           s->part.file->name, s->part.file->name);
        else
            s->stream = stream;
    }
    return s->stream ? KD_OK : refuse(s, 0, "it has no stream of sound");
}

static int open_codec(state *s) {
    const AVCodec *codec = avcodec_find_decoder(s->stream->codecpar->codec_id);
    if (!codec) return refuse(s, 0, avcodec_get_name(s->stream->codecpar->codec_id));
    s->codec = avcodec_alloc_context3(codec);
    if (!s->codec) return kd_fail_memory(sizeof *s->codec, s->part.file->name);
    int result = avcodec_parameters_to_context(s->codec, s->stream->codecpar);
    s->codec->pkt_timebase = s->stream->time_base; /* delay and padding are stated in it */
    s->codec->thread_count = 1;
    if (result >= 0) result = avcodec_open2(s->codec, codec, NULL);
    return result < 0 ? refuse(s, result, NULL) : KD_OK;
}

int kd_av_open(kd_sound_decoder **out, const kd_sound_part *part) {
    state *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, part->file->name);
    s->decoder = (kd_sound_decoder){.read = read_some, .close = close_file};
    s->part = *part;
    av_log_set_level(AV_LOG_QUIET);
    int status = open_format(s);
    if (status == KD_OK) status = choose_stream(s);
    if (status == KD_OK) status = open_codec(s);
    if (status == KD_OK) status = decode(s); /* now the rate is known */
    if (status == KD_OK && s->frame->nb_samples == 0) status = refuse(s, 0, "no samples");
    if (status == KD_OK)
        *out = &s->decoder;
    else
        close_file(&s->decoder);
    return status;
}

#else

#include "base/error.h"

int kd_av_open(kd_sound_decoder **out, const kd_sound_part *part) {
    const char *name = part->file->name;
    (void)out;
    return kd_fail(
        KD_EDATA,
        "%s: is %s, which this program reads when it is built where libavformat-dev and "
        "libavcodec-dev are installed; `ffmpeg -i %s sound.flac` makes a file of it that "
        "any can read",
        name, part->what, name);
}

#endif
