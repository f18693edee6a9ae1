#include <stdlib.h>

#include "data/audio.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    float *samples;
    int64_t count;
    kd_audio_decode(&samples, &count, bytes, length, "input", 16000, 0.5);
    free(samples);
    return 0;
}
