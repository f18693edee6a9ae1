/* A network that computes in whole numbers, as a row of quantizer.h. */
#include <stdlib.h>

#include "base/error.h"
#include "quant/quantizer.h"

typedef struct {
    kd_quantized base;
    kd_qnet *qnet;
} integers;

static int create(kd_quantized **out, const kd_quantizable *model, const kd_quantize_spec *spec) {
    integers *q = calloc(1, sizeof *q);
    if (!q) return kd_fail_memory(sizeof *q, "a quantized network");
    q->base = (kd_quantized){.how = spec->how, .spec = *spec, .model = *model};
    const int status = kd_qnet_create(&q->qnet, model->net, &spec->integers);
    if (status < 0)
        free(q);
    else
        *out = &q->base;
    return status;
}

static kd_qnet *qnet_of(const kd_quantized *q) {
    return ((const integers *)(const void *)q)->qnet;
}

static void free_integers(kd_quantized *q) {
    kd_qnet_free(qnet_of(q));
    free(q);
}

static int calibrated(kd_quantized *q) {
    return kd_qnet_calibrated(qnet_of(q));
}

static kd_tensor *forward(kd_quantized *q, kd_tape *tape, kd_tensor *x, kd_quant_mode mode,
                          kd_tensor **taps) {
    return kd_qnet_forward(qnet_of(q), tape, x, mode, taps);
}

static int write(const char *path, const kd_quantized *q, const kd_blob_info *info) {
    return kd_blob_write(path, qnet_of(q), info);
}

const kd_quantizer kd_quantizer_integers = {.name = "integers",
                                            .sees = KD_SEES_ACTIVATIONS,
                                            .makes_network = true,
                                            .create = create,
                                            .free = free_integers,
                                            .calibrated = calibrated,
                                            .forward = forward,
                                            .check = kd_blob_check_net,
                                            .write = write};
