#include "data/clip.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

static const float DB_PER_UNIT = 40.0f;

/* A clip of one unchanging sound is not blown up. */
static const double LEAST_DEVIATION = 1e-3;

static double frame_power(const float *frame, int mels) {
    double sum = 0;
    for (int m = 0; m < mels; m++) sum += pow(10.0, 4.0 * (double)frame[m]);
    return sum;
}

/* Frames *first … *first + *count − 1 are the recording without its quiet ends, at most `wanted` of
 * them. */
static void find_word(int64_t *first, int64_t *count, int64_t wanted, const float *in,
                      int64_t frames, const kd_audio_spec *audio) {
    double loudest = 0, sum = 0, most = -1;
    for (int64_t t = 0; t < frames; t++)
        loudest = fmax(loudest, frame_power(in + t * audio->mels, audio->mels));
    double least = loudest * pow(10.0, -audio->trim / 10.0);
    int64_t a = 0, b = frames - 1;
    while (a < b && frame_power(in + a * audio->mels, audio->mels) < least) a++;
    while (b > a && frame_power(in + b * audio->mels, audio->mels) < least) b--;
    *first = a;
    *count = b - a + 1;
    if (*count <= wanted) return;
    *count = wanted;
    for (int64_t t = a; t <= b; t++) {
        sum += frame_power(in + t * audio->mels, audio->mels);
        if (t - a < wanted - 1) continue;
        int64_t start = t - wanted + 1;
        if (sum > most * (1 + 1e-9)) {
            most = sum;
            *first = start;
        }
        sum -= frame_power(in + start * audio->mels, audio->mels);
    }
}

void kd_clip_window(float *out, int64_t wanted, float *in, int64_t frames,
                    const kd_audio_spec *audio) {
    KD_CONTRACT(frames >= 1 && wanted >= 1, "%lld frames into %lld", (long long)frames,
                (long long)wanted);
    int64_t first = 0, count = frames < wanted ? frames : wanted;
    if (audio->trim > 0) find_word(&first, &count, wanted, in, frames, audio);
    float *x = in + first * audio->mels, loudest = x[0], silence = x[0];
    const int64_t n = count * audio->mels;
    for (int64_t i = 1; i < n; i++) {
        loudest = fmaxf(loudest, x[i]);
        silence = fminf(silence, x[i]);
    }
    if (audio->normalise != KD_CLIP_PLAIN) {
        const float scale = DB_PER_UNIT / (float)audio->range;
        for (int64_t i = 0; i < n; i++) x[i] = fmaxf(0.0f, 1.0f + scale * (x[i] - loudest));
        silence = 0;
    }
    const int64_t at = audio->trim > 0 ? (wanted - count) / 2 : 0;
    for (int64_t i = 0; i < wanted * audio->mels; i++) out[i] = silence;
    memcpy(out + at * audio->mels, x, (size_t)n * sizeof *out);
}

void kd_clip_extent(int64_t *first, int64_t *count, const float *x, int64_t frames, int mels) {
    const int64_t n = frames * mels;
    int64_t a = 0, b = n - 1;
    while (a < n && x[a] == 0) a++;
    while (b > a && x[b] == 0) b--;
    *first = a / mels;
    *count = a < n ? b / mels - *first + 1 : 0;
}

void kd_clip_normalise(float *x, int64_t frames, const kd_audio_spec *audio) {
    if (audio->normalise != KD_CLIP_BANDS) return;
    const int mels = audio->mels;
    int64_t first, count;
    kd_clip_extent(&first, &count, x, frames, mels);
    if (count == 0) return;
    x += first * mels;
    double squares = 0;
    for (int m = 0; m < mels; m++) {
        double sum = 0;
        for (int64_t t = 0; t < count; t++) sum += (double)x[t * mels + m];
        const float mean = (float)(sum / (double)count);
        for (int64_t t = 0; t < count; t++) {
            x[t * mels + m] -= mean;
            squares += (double)x[t * mels + m] * (double)x[t * mels + m];
        }
    }
    const double deviation = sqrt(squares / (double)(count * mels));
    const float scale = (float)(1.0 / fmax(deviation, LEAST_DEVIATION));
    for (int64_t i = 0; i < count * mels; i++) x[i] *= scale;
}
