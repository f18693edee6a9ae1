#include "data/clip.h"

#include <math.h>
#include <string.h>

#include "base/error.h"

static const float DB_PER_UNIT = 40.0f;

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

/* Subtracts each band's mean and divides by the deviation of all. */
static void normalise_bands(float *x, int64_t frames, int mels) {
    double squares = 0;
    for (int m = 0; m < mels; m++) {
        double sum = 0;
        for (int64_t t = 0; t < frames; t++) sum += (double)x[t * mels + m];
        float mean = (float)(sum / (double)frames);
        for (int64_t t = 0; t < frames; t++) {
            float *v = x + t * mels + m;
            *v -= mean;
            squares += (double)*v * (double)*v;
        }
    }
    double deviation = sqrt(squares / (double)(frames * mels));
    float scale = (float)(1.0 / fmax(deviation, 1e-3));
    for (int64_t i = 0; i < frames * mels; i++) x[i] *= scale;
}

/* Returns what stands for silence around the clip. */
static float normalise(float *x, int64_t frames, const kd_audio_spec *audio) {
    int64_t n = frames * audio->mels;
    float loudest = x[0], scale = DB_PER_UNIT / (float)audio->range;
    for (int64_t i = 1; i < n; i++) loudest = fmaxf(loudest, x[i]);
    float least = loudest - 1.0f / scale;
    for (int64_t i = 0; i < n; i++) x[i] = fmaxf(x[i], least);
    if (audio->normalise == KD_CLIP_BANDS) normalise_bands(x, frames, audio->mels);
    if (audio->normalise == KD_CLIP_EACH)
        for (int m = 0; m < audio->mels; m++) {
            double sum = 0, squares = 0;
            for (int64_t t = 0; t < frames; t++) {
                double v = (double)x[t * audio->mels + m];
                sum += v, squares += v * v;
            }
            double mean = sum / (double)frames, var = squares / (double)frames - mean * mean;
            for (int64_t t = 0; t < frames; t++)
                x[t * audio->mels + m] =
                    (float)(((double)x[t * audio->mels + m] - mean) / sqrt(fmax(var, 1e-3)));
        }
    if (audio->normalise == KD_CLIP_RANGE)
        for (int64_t i = 0; i < n; i++) x[i] = fmaxf(0.0f, 1.0f + scale * (x[i] - loudest));
    return audio->normalise == KD_CLIP_PLAIN ? least : 0.0f;
}

void kd_clip_window(float *out, int64_t wanted, float *in, int64_t frames,
                    const kd_audio_spec *audio) {
    KD_CONTRACT(frames >= 1 && wanted >= 1, "%lld frames into %lld", (long long)frames,
                (long long)wanted);
    int64_t first = 0, count = frames < wanted ? frames : wanted;
    if (audio->trim > 0) find_word(&first, &count, wanted, in, frames, audio);
    float *word = in + first * audio->mels;
    float silence = normalise(word, count, audio);
    int64_t at = audio->trim > 0 ? (wanted - count) / 2 : 0;
    for (int64_t i = 0; i < wanted * audio->mels; i++) out[i] = silence;
    memcpy(out + at * audio->mels, word, (size_t)(count * audio->mels) * sizeof *out);
}
