/* Log-mel frames as another speaker, at another pace, would give them. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "data/augment_inside.h"
#include "data/logmel.h"

enum { MELS_MAX = 512 };

/* Between which two of the source's values a value lies, and how far from the first. */
typedef struct {
    int64_t left;
    float right; /* weight of left + 1 */
} place;

/* The frequency that comes to lie at `hz`. Jaitly and Hinton 2013 ("Vocal tract length
 * perturbation (VTLP) improves speech recognition", section 3): f → αf up to a knee, from there
 * straight on to the highest frequency, which stays where it is. */
static double unwarped(double hz, double alpha, double highest) {
    const double knee = 0.8 * highest * fmin(alpha, 1.0) / alpha;
    if (hz <= alpha * knee) return hz / alpha;
    return highest - (highest - hz) * (highest - knee) / (highest - alpha * knee);
}

static void place_mels(place *out, const kd_dataset *d, const kd_transform *t) {
    const int mels = (int)d->w, rate = d->audio.sample_rate;
    for (int m = 0; m < mels; m++) {
        double hz = kd_mel_centre((double)(m - t->dw), rate, mels);
        double from = kd_mel_position(unwarped(hz, t->vocal_tract, rate / 2.0), rate, mels);
        from = fmin(fmax(from, 0.0), mels - 1.0);
        out[m].left = (int64_t)from < mels - 1 ? (int64_t)from : mels > 1 ? mels - 2 : 0;
        out[m].right = mels > 1 ? (float)(from - (double)out[m].left) : 0.0f;
    }
}

/* out[m] += weight · frame at the places. */
static void add_frame(float *out, float weight, const float *frame, const place *mel, int64_t w) {
    for (int64_t m = 0; m < w; m++) {
        const float *x = frame + mel[m].left;
        float y = mel[m].right > 0 ? x[0] + mel[m].right * (x[1] - x[0]) : x[0];
        out[m] += weight * y;
    }
}

void kd_augment_stretch(float *out, const kd_dataset *d, int64_t index, const kd_transform *t) {
    const int64_t h = d->h, w = d->w;
    KD_CONTRACT(d->c == 1 && w <= MELS_MAX, "%lld mels, %lld channels", (long long)w,
                (long long)d->c);
    const float *in = d->features + index * h * w;
    const double middle = 0.5 * (double)(h - 1);
    place mel[MELS_MAX];
    place_mels(mel, d, t);
    memset(out, 0, (size_t)(h * w) * sizeof *out);
    for (int64_t y = 0; y < h; y++) {
        double from = middle + ((double)(y - t->dh) - middle) * t->tempo, before = floor(from);
        const int64_t first = (int64_t)before;
        const float late = (float)(from - before);
        if (first >= 0 && first < h) add_frame(out + y * w, 1 - late, in + first * w, mel, w);
        if (first >= -1 && first + 1 < h)
            add_frame(out + y * w, late, in + (first + 1) * w, mel, w);
    }
}

void kd_augment_mask(float *x, const kd_dataset *d, const kd_transform *t) {
    memset(x + t->mask_at_h * d->w, 0, (size_t)(t->mask_h * d->w) * sizeof *x);
    for (int64_t y = 0; y < d->h; y++)
        memset(x + y * d->w + t->mask_at_w, 0, (size_t)t->mask_w * sizeof *x);
}
