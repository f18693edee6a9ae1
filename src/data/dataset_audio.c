#include "base/error.h"
#include "data/dataset_source.h"

int kd_source_audio(kd_source *out, const kd_data_spec *spec, bool train) {
    (void)out, (void)spec, (void)train;
    return kd_fail(KD_ECONFIG, "sound data sets are not read yet");
}

int kd_source_audio_features(float *out, const kd_source *source, const kd_audio_spec *audio,
                             const int64_t *row, int64_t n) {
    (void)out, (void)source, (void)audio, (void)row, (void)n;
    return kd_fail(KD_ECONFIG, "sound data sets are not read yet");
}
