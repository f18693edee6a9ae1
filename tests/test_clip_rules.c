/* Which frames of a recording become the window: against trying every place. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "data/clip.h"

enum { MELS = 2, FRAMES = 24, ROUNDS = 2000 };

static double power(const float *frame) {
    double sum = 0;
    for (int m = 0; m < MELS; m++) sum += pow(10, 4 * (double)frame[m]);
    return sum;
}

/* The quiet ends taken off, then the loudest `wanted` frames in a row, the first of several. */
static void expected_word(int *first, int *count, int wanted, const float *x, int frames,
                          double trim) {
    double loudest = 0, most = -1;
    int from = frames, to = 0;
    for (int t = 0; t < frames; t++) loudest = fmax(loudest, power(x + t * MELS));
    for (int t = 0; t < frames; t++)
        if (10 * log10(loudest / power(x + t * MELS)) <= trim) {
            if (from == frames) from = t;
            to = t + 1;
        }
    *first = from;
    *count = to - from;
    if (*count <= wanted) return;
    *count = wanted;
    for (int t = from; t + wanted <= to; t++) {
        double sum = 0;
        for (int k = 0; k < wanted; k++) sum += power(x + (t + k) * MELS);
        if (sum <= most * (1 + 1e-9)) continue;
        most = sum;
        *first = t;
    }
}

static void windows_hold_the_loudest_frames(void **state) {
    (void)state;
    kd_rng rng = kd_rng_init(4, 4);
    int cut = 0, at_the_end = 0, whole = 0;
    for (int round = 0; round < ROUNDS; round++) {
        const int frames = 1 + (int)kd_rng_below(&rng, FRAMES);
        const int wanted = 1 + (int)kd_rng_below(&rng, FRAMES);
        const kd_audio_spec audio = {.mels = MELS, .trim = 20, .normalise = KD_CLIP_PLAIN};
        float in[FRAMES * MELS], out[FRAMES * MELS], kept[FRAMES * MELS];
        int first, count;
        /* Of four levels 15 dB apart, so that equals are frequent; each band its own. */
        for (int i = 0; i < frames * MELS; i++)
            in[i] = 0.375f * (float)kd_rng_below(&rng, 4) + (i % MELS ? 0.01f : 0);
        memcpy(kept, in, sizeof kept);
        expected_word(&first, &count, wanted, in, frames, audio.trim);
        kd_clip_window(out, wanted, in, frames, &audio);
        float silence = INFINITY;
        for (int i = first * MELS; i < (first + count) * MELS; i++)
            silence = fminf(silence, kept[i]);
        const int at = (wanted - count) / 2;
        for (int i = 0; i < wanted * MELS; i++) {
            const int frame = i / MELS - at;
            const float right =
                frame < 0 || frame >= count ? silence : kept[(first + frame) * MELS + i % MELS];
            if (out[i] != right)
                fail_msg("round %d: frame %d of %d is %g, not %g", round, frame, count,
                         (double)out[i], (double)right);
        }
        cut += count == wanted;
        at_the_end += first + count == frames;
        whole += count == frames;
    }
    assert_true(cut > 100 && at_the_end > 100 && whole > 100);
}

static void extents_are_what_is_not_zero(void **state) {
    (void)state;
    for (int from = 0; from < 5; from++)
        for (int to = from; to <= 5; to++)
            for (int band = 0; band < MELS; band++) {
                float x[5 * MELS] = {0};
                int64_t first, count;
                if (to > from) x[from * MELS + band] = x[(to - 1) * MELS + band] = -1;
                kd_clip_extent(&first, &count, x, 5, MELS);
                assert_int_equal(count, to - from);
                if (count) assert_int_equal(first, from);
            }
}

/* A clip of one sound that does not change is silence, not noise blown up. */
static void nothing_is_blown_up(void **state) {
    (void)state;
    const kd_audio_spec audio = {.mels = MELS, .normalise = KD_CLIP_BANDS};
    float x[4 * MELS] = {0.5f, 0.25f, 0.5f, 0.25f, 0.5f, 0.25f, 0.5f, 0.2501f};
    kd_clip_normalise(x, 4, &audio);
    for (int i = 0; i < 4 * MELS; i++) assert_true(fabs((double)x[i]) < 0.1);
    float silent[2 * MELS] = {0};
    kd_clip_normalise(silent, 2, &audio);
    for (int i = 0; i < 2 * MELS; i++) assert_true(silent[i] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows_hold_the_loudest_frames),
                                       cmocka_unit_test(extents_are_what_is_not_zero),
                                       cmocka_unit_test(nothing_is_blown_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
