/* Decoders: a part of a file → mono samples; private to src/data. */
#ifndef KD_DATA_SOUND_DECODER_H
#define KD_DATA_SOUND_DECODER_H

#include "data/sound_part.h"

struct kd_sound_decoder {
    int rate; /* Hz, of what was read last; of what comes first, after opening */
    /* Up to n samples, the mean of the channels, all of one rate; 0 at the end. KD_EDATA when the
     * part holds less than it states, or what is no sound. */
    int64_t (*read)(kd_sound_decoder *decoder, float *out, int64_t n);
    void (*close)(kd_sound_decoder *decoder);
};

int kd_sndfile_open(kd_sound_decoder **out, const kd_sound_part *part);  /* libsndfile */
int kd_flac_open(kd_sound_decoder **out, const kd_sound_part *part);     /* libFLAC    */
int kd_ogg_flac_open(kd_sound_decoder **out, const kd_sound_part *part); /* the same   */
int kd_mpeg_open(kd_sound_decoder **out, const kd_sound_part *part);     /* libmpg123  */

int kd_av_open(kd_sound_decoder **out, const kd_sound_part *part); /* FFmpeg's, when built with */

/* Refuses what no microphone has: rates and numbers of channels out of range. */
enum { KD_SOUND_CHANNELS_MAX = 64, KD_SOUND_RATE_MIN = 1000, KD_SOUND_RATE_MAX = 768000 };
int kd_sound_check_format(const char *name, int64_t channels, int64_t rate);

/* Some files carry 16-bit integers as floats; beyond is no sound. */
#define KD_SOUND_LOUDEST 65536.0f

/* "cut short or damaged", when fewer samples can be decoded than are stated; `why` may be NULL. */
int kd_sound_damaged(const kd_sound_part *part, int64_t decoded, int64_t stated, const char *why);

#endif
