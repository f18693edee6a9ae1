/* Exported students of distill.h. */
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "distill.h"
#include "quant/blob_sample.h"

/* Samples that go through the network at once: scratch stays small whatever a caller asks for. */
enum { BATCH = 256 };

struct distill_model {
    kd_blob *blob;
    float *x; /* (BATCH, h,w,c) */
};

static int64_t sample_size(const distill_model *model) {
    const kd_extent in = kd_blob_input(model->blob);
    return in.h * in.w * in.c;
}

void distill_model_close(distill_model *model) {
    if (!model) return;
    kd_blob_free(model->blob);
    free(model->x);
    free(model);
}

int distill_model_open(distill_model **out, const char *path) {
    distill_model *m = calloc(1, sizeof *m);
    if (!m) return kd_fail_memory(sizeof *m, "a model");
    int status = kd_blob_open(&m->blob, path);
    if (status < 0) {
        free(m);
        return status;
    }
    *out = m;
    return KD_OK;
}

distill_model_info distill_model_describe(const distill_model *model) {
    const kd_extent in = kd_blob_input(model->blob);
    return (distill_model_info){.height = in.h,
                                .width = in.w,
                                .channels = in.c,
                                .classes = kd_blob_classes(model->blob),
                                .parameters = kd_blob_parameters(model->blob),
                                .is_sound = kd_blob_data(model->blob)->kind == KD_DATA_AUDIO};
}

const char *distill_model_class(const distill_model *model, int64_t label) {
    if (label < 0 || label >= kd_blob_classes(model->blob)) return NULL;
    return kd_blob_class_name(model->blob, (int)label);
}

/* Room for a batch of inputs, from the first call on. */
static int make_room(distill_model *model) {
    const size_t bytes = kd_array_bytes(BATCH * sample_size(model), sizeof *model->x);
    if (!model->x) model->x = malloc(bytes);
    return model->x ? KD_OK : kd_fail_memory(bytes, "inputs");
}

int distill_model_run(distill_model *model, int64_t n, const uint8_t *pictures, float *logits) {
    const kd_extent in = kd_blob_input(model->blob);
    const int64_t size = sample_size(model);
    if (kd_blob_data(model->blob)->kind == KD_DATA_AUDIO)
        return kd_fail(KD_EUSAGE, "the model hears sounds; distill_model_run_file reads them");
    if (n < 0) return kd_fail(KD_EUSAGE, "%lld pictures", (long long)n);
    int status = make_room(model);
    for (int64_t first = 0; first < n && status == KD_OK; first += BATCH) {
        const int64_t count = n - first < BATCH ? n - first : BATCH;
        kd_normalise_bytes(model->x, pictures + first * size, count * in.h * in.w, in.c,
                           kd_blob_normaliser(model->blob));
        status = kd_blob_run(model->blob, count, model->x,
                             logits + first * kd_blob_classes(model->blob));
    }
    return status;
}

int distill_model_run_file(distill_model *model, const char *path, float *logits) {
    int status = make_room(model);
    if (status == KD_OK) status = kd_blob_read_file(model->blob, path, model->x);
    return status < 0 ? status : kd_blob_run(model->blob, 1, model->x, logits);
}
