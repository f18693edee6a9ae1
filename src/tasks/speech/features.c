#include "tasks/speech/features.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "data/sound.h"

int kd_features_init(kd_features *out, const kd_whisper_spec *spec) {
    *out = (kd_features){.mels = spec->mels, .frames = 2 * (int64_t)spec->audio_context};
    out->samples = out->frames * KD_WHISPER_HOP;
    out->values = out->frames * spec->mels;
    return kd_whisper_mel_create(&out->mel, spec->mels);
}

void kd_features_clear(kd_features *features) {
    kd_logmel_free(features->mel);
    *features = (kd_features){0};
}

int kd_features_read(float *out, int64_t most, int64_t *count, const char *path) {
    kd_sound *sound;
    float beyond;
    int64_t more = 0;
    int status = kd_sound_open(&sound, path, KD_WHISPER_RATE, 0);
    if (status < 0) return status;
    status = kd_sound_read(sound, out, most, count);
    if (status == KD_OK && *count == most) status = kd_sound_read(sound, &beyond, 1, &more);
    if (more > 0) *count = -1;
    kd_sound_close(sound);
    return status;
}

int kd_features_mel(const kd_features *features, kd_real *out, float *samples, int64_t count) {
    const size_t bytes = kd_array_bytes(features->values, sizeof(float));
    KD_CONTRACT(count >= 0 && count <= features->samples, "%lld samples", (long long)count);
    memset(samples + count, 0, (size_t)(features->samples - count) * sizeof *samples);
    float *mel = malloc(bytes);
    if (!mel) return kd_fail_memory(bytes, "a window of sound");
    int status = kd_logmel_compute(features->mel, mel, samples, features->samples);
    for (int64_t i = 0; i < features->values && status == KD_OK; i++) out[i] = (kd_real)mel[i];
    free(mel);
    return status;
}

static int file_features(const kd_features *features, kd_real *mel, int64_t *count,
                         const char *path) {
    const size_t bytes = kd_array_bytes(features->samples, sizeof(float));
    float *samples = malloc(bytes);
    if (!samples) return kd_fail_memory(bytes, "a window of sound");
    int status = kd_features_read(samples, features->samples, count, path);
    if (status == KD_OK && *count >= 0) status = kd_features_mel(features, mel, samples, *count);
    free(samples);
    return status;
}

bool kd_features_is_fault(int status) {
    return status == KD_EDATA || status == KD_ENOINPUT || status == KD_EIO;
}

int kd_features_files(const kd_features *features, kd_real *mel, int64_t *samples, char **fault,
                      const char *const *path, int n) {
    bool failed = false;
#pragma omp parallel for schedule(dynamic, 1) reduction(|| : failed)
    for (int i = 0; i < n; i++) {
        const int found = file_features(features, mel + i * features->values, &samples[i], path[i]);
        fault[i] = kd_features_is_fault(found) ? strdup(kd_error()) : NULL;
        if (found < 0) samples[i] = 0;
        failed = failed || (found < 0 && !fault[i]);
    }
    const size_t bytes = kd_array_bytes(features->samples + features->values, sizeof(float));
    return failed ? kd_fail_memory(bytes, "windows of sound") : KD_OK;
}
