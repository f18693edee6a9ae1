/* Sound files in memory, for tests that change a byte, a size or an end of them. */
#ifndef KD_TESTS_SOUND_BYTES_H
#define KD_TESTS_SOUND_BYTES_H

#include "test_data.h"

#include <math.h>
#include <sndfile.h>

#include "asserts.h"
#include "data/audio.h"

typedef struct {
    char *bytes;
    size_t n;
} file_bytes;

/* Takes the bytes of `path`. The caller frees. */
static inline file_bytes take(const char *path) {
    file_bytes b;
    assert_ok(kd_file_read(&b.bytes, &b.n, path, 1 << 24));
    return b;
}

/* `frames` of one channel: quiet for the first half, then loud noise over a tone, so that frames of
 * variable rate differ. */
static inline file_bytes encode(test_folder *folder, int format, int rate, int frames) {
    SF_INFO info = {.samplerate = rate, .channels = 1, .format = format};
    const char *path = test_path(folder, "encoded");
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    if (!file) return (file_bytes){0};
    int mode = SF_BITRATE_MODE_VARIABLE;
    if ((format & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG)
        sf_command(file, SFC_SET_BITRATE_MODE, &mode, sizeof mode);
    uint32_t noise = 1;
    for (int i = 0; i < frames; i++) {
        noise = noise * 1664525u + 1013904223u;
        const float hiss = (float)(noise >> 16) / 32768.0f - 1.0f;
        float v = (float)(0.3 * sin(0.1 * i)) + (i < frames / 2 ? 0.0f : 0.4f * hiss);
        assert_int_equal(sf_writef_float(file, &v, 1), 1);
    }
    assert_int_equal(sf_close(file), 0);
    return take(path);
}

/* a, then n bytes behind it; a is freed. */
static inline file_bytes append(file_bytes a, const void *b, size_t n) {
    char *longer = realloc(a.bytes, a.n + n);
    assert_non_null(longer);
    memcpy(longer + a.n, b, n);
    return (file_bytes){longer, a.n + n};
}

static inline file_bytes copy(file_bytes a) {
    return append((file_bytes){0}, a.bytes, a.n);
}

/* a, then b; both stay. */
static inline file_bytes join(file_bytes a, file_bytes b) {
    return append(copy(a), b.bytes, b.n);
}

/* Where `mark` stands first, from byte `from` on. */
static inline size_t find(file_bytes b, size_t from, const char *mark, size_t n) {
    const char *at = memmem(b.bytes + from, b.n - from, mark, n);
    assert_non_null(at);
    return (size_t)(at - b.bytes);
}

/* Sets `n` bytes at `at` to `value`. */
static inline void set(file_bytes b, size_t at, int n, bool big, uint64_t value) {
    for (int i = 0; i < n; i++)
        b.bytes[at + (size_t)(big ? n - 1 - i : i)] = (char)(value >> 8 * i);
}

/* Decodes a block of exactly the file's size, so that the sanitizer sees a step beyond; the caller
 * frees *out. */
static inline int decode(float **out, int64_t *count, file_bytes b, int rate) {
    file_bytes exact = copy(b);
    int status = kd_audio_decode(out, count, exact.bytes, exact.n, "a file", rate, 0);
    free(exact.bytes);
    return status;
}

static inline int64_t count_of(file_bytes b, int rate) {
    float *samples;
    int64_t count;
    if (decode(&samples, &count, b, rate) < 0) fail_msg("%s", kd_error());
    free(samples);
    return count;
}

static inline void assert_refused_bytes(file_bytes b, int rate, const char *why) {
    float *samples;
    int64_t count;
    if (decode(&samples, &count, b, rate) != KD_EDATA)
        fail_msg("%lld samples, should be refused: %s", (long long)count, why);
    if (!strstr(kd_error(), why)) fail_msg("'%s' does not say '%s'", kd_error(), why);
    assert_null(samples);
}

/* Both decode to the same samples, at their own rate. */
static inline void assert_same_sound(file_bytes a, file_bytes b, int rate) {
    float *x = NULL, *y = NULL;
    int64_t n = 0, m = 0;
    if (decode(&x, &n, a, rate) < 0 || decode(&y, &m, b, rate) < 0) fail_msg("%s", kd_error());
    assert_int_equal(n, m);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
}

#endif
