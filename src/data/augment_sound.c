/* Log-mel frames as another speaker, at another pace, over another microphone would give them. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "data/augment_inside.h"
#include "data/logmel.h"

enum { MELS_MAX = 512 };

/* Where between the source's mels each mel's value comes from: left neighbour and weight of the
 * right one. */
typedef struct {
    int left[MELS_MAX];
    float right[MELS_MAX];
} mel_map;

/* Jaitly and Hinton 2013, "Vocal tract length perturbation": f → αf up to a knee, then straight on
 * to the highest frequency, which stays where it is. Here backwards: from where a frequency came.
 */
static double unwarped(double hz, double alpha, double top) {
    double knee = 0.8 * top * fmin(alpha, 1.0) / alpha; /* of the source */
    if (hz <= alpha * knee) return hz / alpha;
    return top - (top - hz) * (top - knee) / (top - alpha * knee);
}

static void make_map(mel_map *map, const kd_dataset *d, const kd_transform *t) {
    int mels = (int)d->w;
    KD_CONTRACT(mels <= MELS_MAX, "%d mels", mels);
    double top = d->sample_rate / 2.0;
    for (int m = 0; m < mels; m++) {
        double hz = kd_mel_centre(m - (double)t->dw, d->sample_rate, mels);
        double from = kd_mel_position(unwarped(hz, t->vocal_tract, top), d->sample_rate, mels);
        from = fmin(fmax(from, 0.0), mels - 1.0);
        map->left[m] = (int)fmin(floor(from), mels - 2.0);
        if (map->left[m] < 0) map->left[m] = 0;
        map->right[m] = (float)(from - map->left[m]);
    }
}

/* The power of a white noise adds to the clip's: in decibels about the larger of both. */
static void add_noise(float *out, int64_t n, const kd_transform *t) {
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t word[4];
        kd_rng_block(t->noise_key, (uint64_t)i / 4, word);
        for (int64_t k = i; k < i + 4 && k < n; k++) {
            /* the sum of four uniform bytes: about normal */
            uint32_t w = word[k - i];
            double sum = (w & 255) + (w >> 8 & 255) + (w >> 16 & 255) + (w >> 24);
            float level = (float)(t->noise + (sum - 510) * (0.05 / 147.8));
            out[k] = fmaxf(out[k], level);
        }
    }
}

static void mask(float *out, int64_t h, int64_t w, const kd_transform *t) {
    memset(out + t->mask_at_h * w, 0, (size_t)(t->mask_h * w) * sizeof *out);
    for (int64_t y = 0; y < h; y++)
        memset(out + y * w + t->mask_at_w, 0, (size_t)t->mask_w * sizeof *out);
}

void kd_augment_apply_sound(float *out, const kd_dataset *d, int64_t index, const kd_transform *t) {
    KD_CONTRACT(d->c == 1 && d->normaliser.channels == 0 && d->sample_rate > 0, "%lld channels",
                (long long)d->c);
    int64_t h = d->h, w = d->w;
    const float *in = d->features + index * h * w;
    mel_map map;
    make_map(&map, d, t);
    double middle = 0.5 * (double)(h - 1);
    for (int64_t y = 0; y < h; y++) {
        float *frame = out + y * w;
        double from = middle + ((double)(y - t->dh) - middle) * t->tempo;
        int64_t before = (int64_t)floor(from);
        float late = (float)(from - (double)before);
        const float *a = before >= 0 && before < h ? in + before * w : NULL;
        const float *b = before + 1 >= 0 && before + 1 < h ? in + (before + 1) * w : NULL;
        for (int64_t m = 0; m < w; m++) {
            int64_t l = map.left[m], r = l + 1 < w ? l + 1 : l;
            float right = map.right[m];
            float x = a ? (1 - late) * ((1 - right) * a[l] + right * a[r]) : 0;
            if (b) x += late * ((1 - right) * b[l] + right * b[r]);
            double slope = w > 1 ? (double)m / (double)(w - 1) - 0.5 : 0;
            frame[m] = x == 0 ? 0 : x + (float)(t->tilt * slope);
        }
    }
    if (t->noise > 0) add_noise(out, h * w, t);
    mask(out, h, w, t);
}
