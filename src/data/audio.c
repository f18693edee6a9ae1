#include "data/audio.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "data/sound.h"

static const int64_t SAMPLES_LIMIT = (int64_t)1 << 30;

/* All samples of a stream, in memory that doubles. */
static int read_all(float **out, int64_t *count, kd_sound *sound, const char *name) {
    int64_t capacity = 1 << 14, got = 0;
    for (;;) {
        float *values = realloc(*out, kd_array_bytes(capacity, sizeof *values));
        if (!values) return kd_fail_memory((size_t)capacity * sizeof *values, name);
        *out = values;
        int status = kd_sound_read(sound, values + *count, capacity - *count, &got);
        if (status < 0) return status;
        *count += got;
        if (*count < capacity) return KD_OK;
        if (capacity >= SAMPLES_LIMIT)
            return kd_fail(KD_EDATA, "%s: more than %lld samples", name, (long long)SAMPLES_LIMIT);
        capacity *= 2;
    }
}

static int read_and_close(float **out, int64_t *count, kd_sound *sound, const char *name) {
    int status = read_all(out, count, sound, name);
    kd_sound_close(sound);
    if (status < 0) {
        free(*out);
        *out = NULL;
        *count = 0;
    }
    return status;
}

int kd_audio_decode(float **out, int64_t *count, const void *bytes, size_t length, const char *name,
                    int rate, double seconds) {
    kd_sound *sound;
    *out = NULL;
    *count = 0;
    int status = kd_sound_open_memory(&sound, bytes, length, name, rate, seconds);
    return status < 0 ? status : read_and_close(out, count, sound, name);
}

int kd_audio_read(float **out, int64_t *count, const char *path, int rate, double seconds) {
    kd_sound *sound;
    *out = NULL;
    *count = 0;
    int status = kd_sound_open(&sound, path, rate, seconds);
    return status < 0 ? status : read_and_close(out, count, sound, path);
}
