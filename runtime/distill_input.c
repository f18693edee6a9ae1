#include "distill_input.h"

#include <math.h>
#include <string.h>

/* --- keys of the blob --------------------------------------------------------------------------
 */

enum { KEY_U32 = 4, KEY_F32 = 6, KEY_STRING = 8, KEY_F64 = 12 };

typedef struct {
    const void *bytes;
    size_t length;
} blob_of;

/* One value of the key, or `n` of a list. */
static int read_key(const blob_of *b, const char *name, uint32_t kind, uint64_t n, size_t each,
                    void *out) {
    uint64_t count = 0;
    const uint8_t *value = distill_run_key(&count, b->bytes, b->length, name, kind);
    if (!value || count != n) return 0;
    memcpy(out, value, each * (size_t)n);
    return 1;
}

static int key_is(const blob_of *b, const char *name, const char *word) {
    uint64_t count = 0, length = 0;
    const uint8_t *value = distill_run_key(&count, b->bytes, b->length, name, KEY_STRING);
    if (!value || count != 1) return 0;
    memcpy(&length, value, sizeof length);
    return length == strlen(word) && memcmp(value + 8, word, strlen(word)) == 0;
}

/* x = (raw·unit − mean[k])/deviation[k] */
typedef struct {
    float unit, mean[DISTILL_PICTURE_CHANNELS], deviation[DISTILL_PICTURE_CHANNELS];
    int scaled; /* whether there are means */
} normaliser;

static int read_normaliser(normaliser *how, const blob_of *b, uint32_t channels) {
    uint64_t count = 0;
    uint32_t k;
    if (!read_key(b, "distill.normaliser.unit", KEY_F32, 1, 4, &how->unit)) return 0;
    how->scaled =
        distill_run_key(&count, b->bytes, b->length, "distill.normaliser.mean", KEY_F32) != NULL;
    if (!how->scaled) return 1;
    if (!read_key(b, "distill.normaliser.mean", KEY_F32, channels, 4, how->mean) ||
        !read_key(b, "distill.normaliser.deviation", KEY_F32, channels, 4, how->deviation))
        return 0;
    for (k = 0; k < channels; k++)
        if (!(how->deviation[k] > 0)) return 0;
    return 1;
}

/* Each step is rounded to float, whatever the processor could fuse or keep in longer registers. */
static float normalised(float raw, const normaliser *how, uint32_t k) {
    volatile float x = raw * how->unit;
    if (!how->scaled) return x;
    x -= how->mean[k];
    x /= how->deviation[k];
    return x;
}

static uint8_t stored(float value, const distill_run_grid *g) {
    const float low = (float)g->low, high = (float)g->high;
    volatile float rate = 1.0f / g->scale, x = value * rate;
    float steps = rintf(x);
    steps = steps < high ? steps : high;
    return (uint8_t)((int32_t)(steps > low ? steps : low) + g->zero);
}

/* --- pictures --------------------------------------------------------------------------------- */

int distill_picture_open(distill_picture *picture, const distill_run *run, const void *blob,
                         size_t length) {
    blob_of b;
    normaliser how;
    distill_run_grid grid;
    uint32_t size[3], k, byte;
    b.bytes = blob;
    b.length = length;
    distill_run_extent(run, size);
    if (size[2] > DISTILL_PICTURE_CHANNELS || key_is(&b, "distill.data.kind", "audio") ||
        !read_normaliser(&how, &b, size[2]))
        return DISTILL_RUN_INPUT;
    distill_run_input_grid(&grid, run);
    for (k = 0; k < size[2]; k++)
        for (byte = 0; byte < 256; byte++)
            picture->stored[k][byte] = stored(normalised((float)byte, &how, k), &grid);
    return DISTILL_RUN_OK;
}

void distill_picture_put(const distill_picture *picture, distill_run *run, const uint8_t *pixels) {
    uint8_t *to = distill_run_input(run);
    uint32_t size[3], place, k;
    distill_run_extent(run, size);
    for (place = 0; place < size[0] * size[1]; place++)
        for (k = 0; k < size[2]; k++) *to++ = picture->stored[k][*pixels++];
}

/* --- sounds: what the blob says -----------------------------------------------------------------
 */

typedef enum { PLAIN, RANGE, BANDS } levels;

struct distill_sound {
    uint32_t rate, window, hop, mels, bins, clip, most; /* clip, most: samples */
    uint32_t frames;                                    /* that the network sees */
    double seconds, trim, range;
    levels levels;
    normaliser how;
    uint32_t factors, factor[16]; /* of the window */
    float *hann, *root, *edge;    /* (window), (window,2) cos and −sin, (mels + 2) Hz */
    float *a, *b;                 /* (window,2) complex numbers */
    float *level;                 /* (frames of a recording, mels) */
};

/* The window as a product of small primes. */
static int find_factors(distill_sound *s) {
    uint32_t rest = s->window, p;
    s->factors = 0;
    for (p = 2; rest > 1 && s->factors < 16; p++)
        for (; rest % p == 0 && s->factors < 16; rest /= p) s->factor[s->factors++] = p;
    return rest == 1;
}

static int read_sound(distill_sound *s, const distill_run *run, const blob_of *b, uint32_t most) {
    uint32_t size[3];
    memset(s, 0, sizeof *s);
    distill_run_extent(run, size);
    if (!key_is(b, "distill.data.kind", "audio") || size[2] != 1 ||
        !read_normaliser(&s->how, b, 1) ||
        !read_key(b, "distill.audio.sample_rate", KEY_U32, 1, 4, &s->rate) ||
        !read_key(b, "distill.audio.window", KEY_U32, 1, 4, &s->window) ||
        !read_key(b, "distill.audio.hop", KEY_U32, 1, 4, &s->hop) ||
        !read_key(b, "distill.audio.mels", KEY_U32, 1, 4, &s->mels) ||
        !read_key(b, "distill.audio.seconds", KEY_F64, 1, 8, &s->seconds) ||
        !read_key(b, "distill.audio.trim", KEY_F64, 1, 8, &s->trim) ||
        !read_key(b, "distill.audio.range", KEY_F64, 1, 8, &s->range))
        return 0;
    if (s->rate < 1000 || s->rate > 768000 || s->window < 2 || s->window > 16384 || s->hop < 1 ||
        s->hop > 16384 || s->mels != size[1] || s->mels > 512 || !(s->seconds > 0) ||
        s->seconds > 3600 || !(s->trim >= 0) || s->trim > 200 || !(s->range > 0) || s->range > 80)
        return 0;
    if (key_is(b, "distill.audio.normalise", "none"))
        s->levels = PLAIN;
    else if (key_is(b, "distill.audio.normalise", "range"))
        s->levels = RANGE;
    else if (key_is(b, "distill.audio.normalise", "bands"))
        s->levels = BANDS;
    else
        return 0;
    s->clip = (uint32_t)(s->seconds * s->rate + 0.5);
    s->most = most > s->clip ? most : s->clip;
    s->frames = s->clip / s->hop;
    s->bins = s->window / 2 + 1;
    return s->frames == size[0] && s->clip > s->window / 2 && s->most / s->hop < 1u << 20 &&
           find_factors(s);
}

/* The arena: the context, then arrays of floats. */
static size_t arena_of(const distill_sound *s) {
    const size_t floats =
        7 * (size_t)s->window + s->mels + 2 + (size_t)(s->most / s->hop) * s->mels;
    return (sizeof *s + 7) / 8 * 8 + (4 * floats + 7) / 8 * 8;
}

int distill_sound_arena(size_t *bytes, const distill_run *run, const void *blob, size_t length,
                        uint32_t count) {
    distill_sound s;
    blob_of b;
    b.bytes = blob;
    b.length = length;
    if (!read_sound(&s, run, &b, count)) return DISTILL_RUN_INPUT;
    *bytes = arena_of(&s);
    return DISTILL_RUN_OK;
}

/* Slaney's scale: linear below 1000 Hz, 27 steps to a factor of 6.4 above. */
static float mel_of(float hz) {
    return hz < 1000 ? hz * 0.015f : 15 + logf(hz / 1000) * (27 / logf(6.4f));
}

static float hz_of(float mel) {
    return mel < 15 ? mel / 0.015f : 1000 * expf((mel - 15) * (logf(6.4f) / 27));
}

int distill_sound_open(distill_sound **out, const distill_run *run, const void *blob, size_t length,
                       uint32_t count, void *arena, size_t arena_bytes) {
    distill_sound *s = arena;
    const float turn = 6.28318530717958647692f;
    blob_of b;
    uint32_t i;
    *out = NULL;
    b.bytes = blob;
    b.length = length;
    if ((uintptr_t)arena % 8 != 0 || arena_bytes < sizeof *s) return DISTILL_RUN_ARENA;
    if (!read_sound(s, run, &b, count)) return DISTILL_RUN_INPUT;
    if (arena_bytes < arena_of(s)) return DISTILL_RUN_ARENA;
    s->hann = (float *)(void *)((uint8_t *)arena + (sizeof *s + 7) / 8 * 8);
    s->root = s->hann + s->window;
    s->a = s->root + 2 * s->window;
    s->b = s->a + 2 * s->window;
    s->edge = s->b + 2 * s->window;
    s->level = s->edge + s->mels + 2;
    for (i = 0; i < s->window; i++) {
        const float angle = turn * (float)i / (float)s->window;
        s->root[2 * i] = cosf(angle);
        s->root[2 * i + 1] = -sinf(angle);
        s->hann[i] = 0.5f - 0.5f * s->root[2 * i];
    }
    for (i = 0; i < s->mels + 2; i++)
        s->edge[i] = hz_of(mel_of((float)s->rate / 2) * (float)i / (float)(s->mels + 1));
    *out = s;
    return DISTILL_RUN_OK;
}

uint32_t distill_sound_rate(const distill_sound *s) {
    return s->rate;
}

/* --- sounds: levels of the mel bands ------------------------------------------------------------
 */

/* Stockham's transform: each factor p of n makes p·m values of m·p, stride s; from a to b and back.
 * Returns where the result is. */
static float *transform(const distill_sound *w) {
    const uint32_t n = w->window;
    uint32_t s = 1, f, k, q, r, t;
    float *x = w->a, *y = w->b;
    for (f = 0; f < w->factors; s *= w->factor[f++]) {
        const uint32_t p = w->factor[f], m = n / s / p;
        float *done = x;
        for (k = 0; k < m; k++)
            for (q = 0; q < s; q++)
                for (t = 0; t < p; t++) {
                    const float *turn = w->root + 2 * ((uint64_t)k * t * s % n);
                    float re = 0, im = 0;
                    for (r = 0; r < p; r++) {
                        const float *from = x + 2 * (q + s * (k + m * r));
                        const float *root = w->root + 2 * (r * t % p * (n / p));
                        re += from[0] * root[0] - from[1] * root[1];
                        im += from[0] * root[1] + from[1] * root[0];
                    }
                    y[2 * (q + s * (p * k + t))] = re * turn[0] - im * turn[1];
                    y[2 * (q + s * (p * k + t)) + 1] = re * turn[1] + im * turn[0];
                }
        x = y;
        y = done;
    }
    return x;
}

/* Sample i of `padded` ones, of which `count` are there and the others 0; mirrored beyond the ends.
 */
static float sample_at(const int16_t *samples, uint32_t count, uint32_t padded, int32_t i) {
    if (i < 0) i = -i;
    if (i >= (int32_t)padded) i = 2 * (int32_t)padded - 2 - i;
    return i >= 0 && i < (int32_t)count ? (float)samples[i] / 32768.0f : 0;
}

/* The band's triangle over the powers. */
static float band_power(const distill_sound *s, const float *spectrum, uint32_t band) {
    const float left = s->edge[band], peak = s->edge[band + 1], right = s->edge[band + 2];
    const float step = (float)s->rate / (float)s->window;
    float sum = 0;
    uint32_t k = (uint32_t)(left / step);
    for (; k < s->bins && (float)k * step < right; k++) {
        const float hz = (float)k * step, up = (hz - left) / (peak - left);
        const float down = (right - hz) / (right - peak), height = up < down ? up : down;
        const float re = spectrum[2 * k], im = spectrum[2 * k + 1];
        if (height > 0) sum += height * (re * re + im * im);
    }
    return sum * 2 / (right - left);
}

/* The levels of all frames, 40 dB to 1; returns how many frames there are. */
static uint32_t make_levels(distill_sound *s, const int16_t *samples, uint32_t count) {
    const uint32_t padded = count > s->clip ? count : s->clip, frames = padded / s->hop;
    float top = -10;
    uint32_t f, i;
    for (f = 0; f < frames; f++) {
        const int32_t begin = (int32_t)(f * s->hop) - (int32_t)(s->window / 2);
        const float *spectrum;
        for (i = 0; i < s->window; i++) {
            s->a[2 * i] = s->hann[i] * sample_at(samples, count, padded, begin + (int32_t)i);
            s->a[2 * i + 1] = 0;
        }
        spectrum = transform(s);
        for (i = 0; i < s->mels; i++) {
            const float power = band_power(s, spectrum, i);
            const float level = power > 1e-10f ? log10f(power) : -10;
            s->level[f * s->mels + i] = level;
            top = level > top ? level : top;
        }
    }
    for (i = 0; i < frames * s->mels; i++) {
        const float level = s->level[i] > top - 8 ? s->level[i] : top - 8;
        s->level[i] = (level + 4) / 4;
    }
    return frames;
}

/* --- sounds: the part that the network sees (src/data/clip.h) ------------------------------------
 */

static float frame_power(const distill_sound *s, uint32_t frame) {
    float sum = 0;
    uint32_t i;
    for (i = 0; i < s->mels; i++) sum += powf(10, 4 * s->level[frame * s->mels + i]);
    return sum;
}

/* Without the quiet ends; of more frames than the network sees the stretch with the most power. */
static void find_word(const distill_sound *s, uint32_t frames, uint32_t *first, uint32_t *count) {
    float loudest = 0, least, most = -1;
    uint32_t t, begin, end = frames - 1;
    for (t = 0; t < frames; t++) {
        const float power = frame_power(s, t);
        loudest = power > loudest ? power : loudest;
    }
    least = loudest * powf(10, (float)(-s->trim / 10));
    for (begin = 0; begin < end && frame_power(s, begin) < least;) begin++;
    while (end > begin && frame_power(s, end) < least) end--;
    *first = begin;
    *count = end - begin + 1;
    if (*count <= s->frames) return;
    *count = s->frames;
    for (; begin + s->frames <= end + 1; begin++) {
        float sum = 0;
        for (t = 0; t < s->frames; t++) sum += frame_power(s, begin + t);
        if (sum > most * (1 + 1e-6f)) {
            most = sum;
            *first = begin;
        }
    }
}

/* Levels of the frames from `first` on → the window at the beginning of s->level. */
static void make_window(distill_sound *s, uint32_t first, uint32_t count) {
    const uint32_t n = count * s->mels, all = s->frames * s->mels;
    const uint32_t at = s->trim > 0 ? (s->frames - count) / 2 * s->mels : 0;
    const float scale = 40 / (float)s->range;
    float *x = s->level + at, loudest, silence;
    uint32_t i;
    memmove(x, s->level + first * s->mels, n * sizeof *x);
    loudest = silence = x[0];
    for (i = 1; i < n; i++) {
        loudest = x[i] > loudest ? x[i] : loudest;
        silence = x[i] < silence ? x[i] : silence;
    }
    if (s->levels != PLAIN) {
        silence = 0;
        for (i = 0; i < n; i++) {
            const float level = 1 + scale * (x[i] - loudest);
            x[i] = level > 0 ? level : 0;
        }
    }
    for (i = 0; i < at; i++) s->level[i] = silence;
    for (i = at + n; i < all; i++) s->level[i] = silence;
}

/* Each band's mean and the deviation of all taken out, over the frames that are not all 0. */
static void normalise_bands(distill_sound *s) {
    const uint32_t mels = s->mels, n = s->frames * mels;
    uint32_t a = 0, b = n, count, m, t;
    float squares = 0, scale, *x;
    while (a < n && s->level[a] == 0) a++;
    if (a == n) return;
    while (s->level[b - 1] == 0) b--;
    x = s->level + a / mels * mels;
    count = (b - 1) / mels - a / mels + 1;
    for (m = 0; m < mels; m++) {
        float mean = 0;
        for (t = 0; t < count; t++) mean += x[t * mels + m];
        mean /= (float)count;
        for (t = 0; t < count; t++) {
            x[t * mels + m] -= mean;
            squares += x[t * mels + m] * x[t * mels + m];
        }
    }
    scale = sqrtf(squares / (float)(count * mels));
    scale = 1 / (scale > 1e-3f ? scale : 1e-3f);
    for (t = 0; t < count * mels; t++) x[t] *= scale;
}

void distill_sound_put(distill_sound *s, distill_run *run, const int16_t *samples, uint32_t count) {
    uint8_t *to = distill_run_input(run);
    uint32_t first = 0, frames, wanted = s->frames, i;
    distill_run_grid grid;
    if (count > s->most) count = s->most;
    if (!(s->trim > 0) && count > s->clip) count = s->clip;
    frames = make_levels(s, samples, count);
    if (s->trim > 0)
        find_word(s, frames, &first, &wanted);
    else if (frames < wanted)
        wanted = frames;
    make_window(s, first, wanted);
    for (i = 0; i < s->frames * s->mels; i++) s->level[i] = normalised(s->level[i], &s->how, 0);
    if (s->levels == BANDS) normalise_bands(s);
    distill_run_input_grid(&grid, run);
    for (i = 0; i < s->frames * s->mels; i++) to[i] = stored(s->level[i], &grid);
}
