#include "data/logmel.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
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

int kd_logmel_mels(const kd_logmel *logmel) {
    return logmel->mels;
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

enum { BATCH = 2 * KD_FFT_LANES }; /* frames that go through one transform */

/* What one thread needs for a batch. */
typedef struct {
    kd_complex *in, *out, *scratch; /* (window)                                    */
    kd_lanes *power[2];             /* (bins) of the even and of the odd frames    */
} workspace;

static bool workspace_create(workspace *w, const kd_logmel *l) {
    size_t n = (size_t)l->window;
    w->in = malloc(n * (3 * sizeof(kd_complex) + 2 * sizeof(kd_lanes)));
    if (!w->in) return false;
    w->out = w->in + n;
    w->scratch = w->out + n;
    w->power[0] = (kd_lanes *)(w->scratch + n);
    w->power[1] = w->power[0] + n;
    return true;
}

/* Two real frames go through one complex transform, as z = a + ib: by the symmetry of real signals
 * A[k] = (Z[k] + conj Z[n−k])/2 and iB[k] = (Z[k] − conj Z[n−k])/2. */
static void split_power(const kd_logmel *l, workspace *w) {
    for (int k = 0; k < l->bins; k++) {
        kd_complex p = w->out[k], q = w->out[k == 0 ? 0 : l->window - k];
        kd_lanes are = p.re + q.re, aim = p.im - q.im, bre = p.im + q.im, bim = q.re - p.re;
        w->power[0][k] = 0.25 * (are * are + aim * aim);
        w->power[1][k] = 0.25 * (bre * bre + bim * bim);
    }
}

/* Frames 0 … count−1 ≤ BATCH of a batch, windowed; the others stay silent. */
static void load_frames(const kd_logmel *l, workspace *w, const float *samples, int count) {
    for (int f = 0; f < BATCH; f++) {
        const float *frame = samples + f * l->hop;
        for (int j = 0; j < l->window; j++) {
            double x = f < count ? l->hann[j] * (double)frame[j] : 0.0;
            if (f % 2 == 0)
                w->in[j].re[f / 2] = x;
            else
                w->in[j].im[f / 2] = x;
        }
    }
}

/* The levels of a batch's frames from its power spectra; returns the largest. */
static double log_filters(const kd_logmel *l, float *out, const workspace *w, int count) {
    double largest = -INFINITY;
    for (int m = 0; m < l->mels; m++) {
        const float *filter = l->filter + m * l->bins;
        for (int odd = 0; odd < 2; odd++) {
            kd_lanes sum = {0};
            for (int b = l->from[m]; b < l->to[m]; b++) sum += (double)filter[b] * w->power[odd][b];
            for (int f = odd; f < count; f += 2) {
                double level = log10(fmax(sum[f / 2], 1e-10));
                out[f * l->mels + m] = (float)level;
                largest = fmax(largest, level);
            }
        }
    }
    return largest;
}

int kd_logmel_levels(const kd_logmel *l, float *out, double *largest, const float *samples,
                     int64_t frames) {
    double top = -INFINITY;
    bool failed = false;
#pragma omp parallel reduction(max : top) reduction(|| : failed)
    {
        workspace w;
        failed = !workspace_create(&w, l);
#pragma omp for schedule(static)
        for (int64_t f = 0; f < frames; f += BATCH) {
            if (failed) continue;
            int count = frames - f < BATCH ? (int)(frames - f) : BATCH;
            load_frames(l, &w, samples + f * l->hop, count);
            kd_fft_run(l->fft, w.out, w.in, w.scratch);
            split_power(l, &w);
            top = fmax(top, log_filters(l, out + f * l->mels, &w, count));
        }
        free(w.in);
    }
    if (failed) return kd_fail_memory((size_t)l->window * 3 * sizeof(kd_complex), "log-mel");
    *largest = top;
    return KD_OK;
}

void kd_logmel_normalize(float *levels, int64_t n, double largest) {
    float floor_level = (float)(largest - 8.0);
    for (int64_t i = 0; i < n; i++) levels[i] = (fmaxf(levels[i], floor_level) + 4.0f) / 4.0f;
}

int kd_logmel_compute(const kd_logmel *l, float *out, const float *samples, int64_t count) {
    KD_CONTRACT(count > l->window / 2, "%lld samples with a window of %d", (long long)count,
                l->window);
    int64_t before = l->window / 2, frames = count / l->hop;
    size_t bytes = kd_array_bytes(count + l->window, sizeof(float));
    float *mirrored = malloc(bytes);
    if (!mirrored) return kd_fail_memory(bytes, "log-mel");
    memcpy(mirrored + before, samples, (size_t)count * sizeof *samples);
    for (int64_t i = 1; i <= before; i++) mirrored[before - i] = samples[i];
    for (int64_t i = 0; i < l->window - before; i++)
        mirrored[before + count + i] = samples[i < count - 1 ? count - 2 - i : 0];
    double largest = 0;
    int status = kd_logmel_levels(l, out, &largest, mirrored, frames);
    free(mirrored);
    if (status == KD_OK) kd_logmel_normalize(out, frames * l->mels, largest);
    return status;
}
