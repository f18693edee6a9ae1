#include "quant/blob_sample.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "data/clip.h"
#include "data/dataset_source.h"
#include "data/image.h"

static int read_sound(const kd_blob *blob, const char *path, float *x) {
    const kd_extent in = kd_blob_input(blob);
    const kd_audio_spec *audio = &kd_blob_data(blob)->audio;
    const int64_t row = 0;
    char *name = strdup(path);
    if (!name) return kd_fail_memory(strlen(path) + 1, "a file's name");
    kd_source source = {.count = 1, .h = in.h, .w = in.w, .c = 1, .path = &name};
    int status = kd_source_audio_features(x, &source, audio, &row, 1);
    free(name);
    if (status < 0) return status;
    kd_normalise_features(x, x, in.h * in.w, in.c, kd_blob_normaliser(blob));
    kd_clip_normalise(x, in.h, audio);
    return KD_OK;
}

static int read_picture(const kd_blob *blob, const char *path, float *x) {
    const kd_extent in = kd_blob_input(blob);
    const size_t bytes = kd_array_bytes(in.h * in.w * in.c, 1);
    uint8_t *raw = malloc(bytes);
    if (!raw) return kd_fail_memory(bytes, "a picture");
    int status = kd_image_read(raw, path, in.h, in.w, in.c);
    if (status == KD_OK) kd_normalise_bytes(x, raw, in.h * in.w, in.c, kd_blob_normaliser(blob));
    free(raw);
    return status;
}

int kd_blob_read_file(const kd_blob *blob, const char *path, float *x) {
    return kd_blob_data(blob)->kind == KD_DATA_AUDIO ? read_sound(blob, path, x)
                                                     : read_picture(blob, path, x);
}
