#include "data/logmel.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "data/fft.h"

enum { WINDOW_MAX = 16384, MELS_MAX = 512 };

struct kd_logmel {
    int window, hop, mels, bins;
    kd_fft *fft;
    double *hann;   /* (window)                                        */
    float *filter;  /* (mels, bins)                                    */
    int *from, *to; /* (mels) the bins where a filter is not 0: [from, to) */
};

/* Slaney's scale (Auditory Toolbox, 1998): linear below 1000 Hz, 27 steps to a factor of 6.4 above.
 */
static const double HZ_PER_MEL = 200.0 / 3.0, KNEE_HZ = 1000.0, KNEE_MEL = 15.0;

static double log_step(void) {
    return log(6.4) / 27.0;
}

static double mel_of(double hz) {
    return hz < KNEE_HZ ? hz / HZ_PER_MEL : KNEE_MEL + log(hz / KNEE_HZ) / log_step();
}

static double hz_of(double mel) {
    return mel < KNEE_MEL ? mel * HZ_PER_MEL : KNEE_HZ * exp(log_step() * (mel - KNEE_MEL));
}

double kd_mel_centre(double m, int sample_rate, int mels) {
    return hz_of(mel_of(sample_rate / 2.0) * (m + 1) / (mels + 1));
}

double kd_mel_position(double hz, int sample_rate, int mels) {
    return mel_of(hz) / mel_of(sample_rate / 2.0) * (mels + 1) - 1;
}

/* Triangles between three neighbours of mels + 2 equally spaced points of the mel scale. */
static int make_filters(kd_logmel *l, int sample_rate) {
    double top = mel_of(sample_rate / 2.0), step = top / (l->mels + 1);
    for (int m = 0; m < l->mels; m++) {
        double left = hz_of(step * m), peak = hz_of(step * (m + 1)), right = hz_of(step * (m + 2));
        l->from[m] = l->bins;
        l->to[m] = 0;
        for (int b = 0; b < l->bins; b++) {
            double hz = (double)b * sample_rate / l->window;
            double up = (hz - left) / (peak - left), down = (right - hz) / (right - peak);
            double height = fmax(0.0, fmin(up, down));
            l->filter[m * l->bins + b] = (float)(height * 2.0 / (right - left));
            if (height <= 0.0) continue;
            if (l->from[m] > b) l->from[m] = b;
            l->to[m] = b + 1;
        }
        if (l->from[m] >= l->to[m])
            return kd_fail(KD_ECONFIG,
                           "%d mel filters are too many for a window of %d samples at %d Hz: "
                           "filter %d (%.0f to %.0f Hz) covers no bin",
                           l->mels, l->window, sample_rate, m, left, right);
    }
    return KD_OK;
}

static int allocate(kd_logmel *l) {
    size_t mels = (size_t)l->mels, window = (size_t)l->window;
    l->hann = malloc(window * sizeof *l->hann);
    l->filter = malloc(mels * (size_t)l->bins * sizeof *l->filter);
    l->from = malloc(mels * sizeof *l->from);
    l->to = malloc(mels * sizeof *l->to);
    if (!l->hann || !l->filter || !l->from || !l->to)
        return kd_fail_memory(mels * (size_t)l->bins * sizeof *l->filter, "mel filters");
    return kd_fft_create(&l->fft, l->window);
}

int kd_logmel_create(kd_logmel **out, int sample_rate, int window, int hop, int mels) {
    *out = NULL;
    if (sample_rate < 1000 || sample_rate > 768000 || window < 2 || window > WINDOW_MAX ||
        hop < 1 || hop > WINDOW_MAX || mels < 1 || mels > MELS_MAX)
        return kd_fail(KD_ECONFIG,
                       "log-mel of %d Hz, window %d, hop %d, %d mels; should be 1000 to 768000, 2 "
                       "to %d, 1 to %d, 1 to %d",
                       sample_rate, window, hop, mels, WINDOW_MAX, WINDOW_MAX, MELS_MAX);
    kd_logmel *l = calloc(1, sizeof *l);
    if (!l) return kd_fail_memory(sizeof *l, "log-mel");
    *l = (kd_logmel){.window = window, .hop = hop, .mels = mels, .bins = window / 2 + 1};
    int status = allocate(l);
    if (status == KD_OK) status = make_filters(l, sample_rate);
    if (status < 0) {
        kd_logmel_free(l);
        return status;
    }
    for (int i = 0; i < window; i++)
        l->hann[i] = 0.5 - 0.5 * cos(2.0 * 3.14159265358979323846 * i / window);
    *out = l;
    return KD_OK;
}

void kd_logmel_free(kd_logmel *logmel) {
    if (!logmel) return;
    kd_fft_free(logmel->fft);
    free(logmel->hann);
    free(logmel->filter);
    free(logmel->from);
    free(logmel->to);
    free(logmel);
}

int64_t kd_logmel_frames(const kd_logmel *logmel, int64_t samples) {
    return samples / logmel->hop;
}

int64_t kd_logmel_minimum(const kd_logmel *logmel) {
    return logmel->window / 2;
}

const float *kd_logmel_filters(const kd_logmel *logmel) {
    return logmel->filter;
}

static double windowed(const kd_logmel *l, const float *samples, int64_t count, int64_t frame,
                       int j) {
    int64_t at = frame * l->hop - l->window / 2 + j;
    if (at < 0) at = -at;
    if (at >= count) at = 2 * (count - 1) - at;
    return l->hann[j] * (double)samples[at];
}

/* L of one frame from its power spectrum; returns the largest. */
static double log_filters(const kd_logmel *l, float *out, const double *power) {
    double largest = -INFINITY;
    for (int m = 0; m < l->mels; m++) {
        double sum = 0;
        const float *filter = l->filter + m * l->bins;
        for (int b = l->from[m]; b < l->to[m]; b++) sum += (double)filter[b] * power[b];
        double level = log10(fmax(sum, 1e-10));
        out[m] = (float)level;
        largest = fmax(largest, level);
    }
    return largest;
}

/* Two real frames go through one complex transform, as z = a + ib: by the symmetry of real signals
 * A[k] = (Z[k] + conj Z[n−k])/2 and iB[k] = (Z[k] − conj Z[n−k])/2. */
static void split_power(const kd_logmel *l, double *a, double *b, const kd_complex *z) {
    for (int k = 0; k < l->bins; k++) {
        kd_complex p = z[k], q = z[k == 0 ? 0 : l->window - k];
        double are = p.re + q.re, aim = p.im - q.im, bre = p.im + q.im, bim = q.re - p.re;
        a[k] = 0.25 * (are * are + aim * aim);
        b[k] = 0.25 * (bre * bre + bim * bim);
    }
}

int kd_logmel_compute(const kd_logmel *l, float *out, const float *samples, int64_t count) {
    KD_CONTRACT(count > l->window / 2, "%lld samples with a window of %d", (long long)count,
                l->window);
    size_t n = (size_t)l->window, bytes = n * 3 * sizeof(kd_complex) + 2 * n * sizeof(double);
    kd_complex *in = malloc(bytes);
    if (!in) return kd_fail_memory(bytes, "log-mel");
    kd_complex *z = in + n, *scratch = z + n;
    double *power[2] = {(double *)(scratch + n), (double *)(scratch + n) + n};
    int64_t frames = count / l->hop;
    double largest = -INFINITY;
    for (int64_t f = 0; f < frames; f += 2) {
        int pair = f + 1 < frames ? 2 : 1;
        for (int j = 0; j < l->window; j++) {
            in[j].re = windowed(l, samples, count, f, j);
            in[j].im = pair == 2 ? windowed(l, samples, count, f + 1, j) : 0.0;
        }
        kd_fft_run(l->fft, z, in, scratch);
        split_power(l, power[0], power[1], z);
        for (int i = 0; i < pair; i++)
            largest = fmax(largest, log_filters(l, out + (f + i) * l->mels, power[i]));
    }
    free(in);
    float floor_level = (float)(largest - 8.0);
    for (int64_t i = 0; i < frames * l->mels; i++)
        out[i] = (fmaxf(out[i], floor_level) + 4.0f) / 4.0f;
    return KD_OK;
}
