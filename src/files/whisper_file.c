#include "files/whisper_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/whisper_mel.h"
#include "files/folder_weights.h"
#include "files/whisper_names.h"

static const float FILTER_ERROR = 1e-6f; /* the largest is 0.03 */

void kd_whisper_file_free(kd_whisper_file *file) {
    if (!file) return;
    kd_whisper_free(file->model);
    free(file->filters);
    kd_tokenizer_free(file->tokenizer);
    free(file->head);
    free(file->stored);
    free(file->kept);
    kd_file_map_close(&file->map);
    kd_folder_weights_close(file->folder);
    free(file);
}

static bool is_gguf(const char *path) {
    char start[4] = {0};
    FILE *file = fopen(path, "rb");
    const size_t n = file ? fread(start, 1, sizeof start, file) : 0;
    if (file) fclose(file);
    return n == sizeof start && memcmp(start, "GGUF", sizeof start) == 0;
}

/* The filters a file brings must be those through which sound is heard here. */
static int check_filters(const kd_whisper_file *file, const char *path) {
    kd_logmel *logmel;
    const int mels = file->model->spec.mels, bins = 201;
    int status = kd_whisper_mel_create(&logmel, mels);
    if (status < 0) return kd_fail_in(status, "%s", path);
    const float *own = kd_logmel_filters(logmel);
    if (file->bins != bins)
        status = kd_fail(KD_EDATA, "%s: mel filters of %d × %d; should be %d × %d", path, mels,
                         file->bins, mels, bins);
    for (int i = 0; i < mels * bins && status == KD_OK; i++)
        if (!(fabsf(file->filters[i] - own[i]) <= FILTER_ERROR))
            status =
                kd_fail(KD_EDATA,
                        "%s: its mel filters are not Whisper's: band %d, bin %d is %g, should be "
                        "%g; this program hears through Whisper's",
                        path, i / bins, i % bins, (double)file->filters[i], (double)own[i]);
    kd_logmel_free(logmel);
    return status;
}

int kd_whisper_file_open(kd_whisper_file **out, const char *path, kd_whisper_training training) {
    int status = (kd_file_is_folder(path) ? kd_whisper_folder_read
                  : is_gguf(path)         ? kd_whisper_gguf_read
                                          : kd_whisper_bin_read)(out, path, training);
    if (status < 0) return status;
    status = check_filters(*out, path);
    if (status < 0) {
        kd_whisper_file_free(*out);
        *out = NULL;
    }
    return status;
}

const kd_number_format *kd_whisper_format_of(const kd_param *param,
                                             const kd_number_format *matrices) {
    kd_named named;
    kd_names_find(&named, &kd_whisper_ggml, param);
    return kd_named_format(&named, matrices);
}

int kd_whisper_file_load(kd_whisper_file *file, const kd_stored *list, kd_whisper_training training,
                         const char *source) {
    kd_params *params = file->model->params;
    int status =
        training == KD_WHISPER_ONLY_READ ? kd_stored_keep(&file->kept, params, list) : KD_OK;
    if (status == KD_OK) status = kd_whisper_layout_blank(file->model);
    return status == KD_OK ? kd_stored_load(params, list, source) : status;
}

int kd_whisper_encodings(const kd_encoding **out, kd_encoding **own, const kd_whisper_file *file,
                         const kd_number_format *matrices) {
    *own = NULL;
    *out = file->encoding;
    if (file->encoding) return KD_OK;
    const int status =
        kd_encodings_nearest(own, file->model->params, kd_whisper_format_of, matrices);
    *out = *own;
    return status;
}

int kd_whisper_add_filters(kd_whisper_file *file, int mels) {
    kd_logmel *logmel;
    int status = kd_whisper_mel_create(&logmel, mels);
    if (status < 0) return status;
    file->bins = 201;
    const size_t bytes = (size_t)(mels * file->bins) * sizeof *file->filters;
    file->filters = malloc(bytes);
    if (file->filters)
        memcpy(file->filters, kd_logmel_filters(logmel), bytes);
    else
        status = kd_fail_memory(bytes, "mel filters");
    kd_logmel_free(logmel);
    return status;
}
