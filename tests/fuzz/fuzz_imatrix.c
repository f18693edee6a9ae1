/* An importance matrix for a small model. */
#include <stdlib.h>
#include <string.h>

#include "files/whisper_names.h"
#include "quant/imatrix.h"
#include "small_whisper.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What the checks let through must be numbers that weights can be rounded by. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static kd_whisper_file model;
    static const kd_hash hash = {"0"};
    kd_gguf *file;
    kd_input_squares *seen;
    double sum = 0;
    if (!model.model) small_whisper(&model, 256 + 1510, 1);
    const kd_params *params = model.model->params;
    if (kd_gguf_parse(&file, bytes, length, "input") < 0) return 0;
    if (kd_imatrix_parse(&seen, file, "input", params, &kd_whisper_ggml, hash) == 0) {
        for (int i = 0; i < params->count; i++) {
            int groups;
            const float *mean = kd_input_squares_of(seen, i, &groups);
            const int64_t n = mean ? groups * kd_param_rows(params->list[i]).length : 0;
            for (int64_t k = 0; k < n; k++) {
                if (!(mean[k] >= 0)) abort();
                sum += (double)mean[k];
            }
        }
        kd_input_squares_free(seen);
    }
    kd_gguf_free(file);
    return sum == 12345.678;
}
