#include "quant/quantizer.h"

#include <string.h>

#include "base/error.h"

#define ADDRESS_OF(name) &kd_quantizer_##name,
static const kd_quantizer *const QUANTIZERS[] = {KD_QUANTIZERS(ADDRESS_OF)};
enum { QUANTIZER_COUNT = (int)(sizeof QUANTIZERS / sizeof *QUANTIZERS) };

const kd_quantizer *kd_quantizer_named(const char *name) {
    for (int i = 0; i < QUANTIZER_COUNT; i++)
        if (strcmp(QUANTIZERS[i]->name, name) == 0) return QUANTIZERS[i];
    return NULL;
}

int kd_quantized_create(kd_quantized **out, const kd_quantizable *model,
                        const kd_quantize_spec *spec) {
    *out = NULL;
    if (spec->how->makes_network && !model->net)
        return kd_fail(KD_ECONFIG,
                       "\"%s\" quantizes networks that are lists of nodes; of this model "
                       "the weights can be rounded: say \"format\"",
                       spec->how->name);
    return spec->how->create(out, model, spec);
}

void kd_quantized_free(kd_quantized *q) {
    if (!q) return;
    kd_quantized_leave(q);
    q->how->free(q);
}

int kd_quantized_start(kd_quantized *q) {
    return q->how->start ? q->how->start(q) : KD_OK;
}

int kd_quantized_calibrated(kd_quantized *q) {
    return q->how->calibrated ? q->how->calibrated(q) : KD_OK;
}

void kd_quantized_watch(kd_quantized *q, kd_tape *tape) {
    if (q->how->watch) q->how->watch(q, tape);
}

void kd_quantized_unwatch(kd_tape *tape) {
    tape->watch = (kd_tape_watch){NULL, NULL};
}

void kd_quantized_show(kd_quantized *q, kd_input_squares *seen) {
    KD_CONTRACT(q->how->show && q->how->sees == KD_SEES_INPUTS, "%s goes by no squares of inputs",
                q->how->name);
    q->how->show(q, seen);
}

int kd_quantized_round(kd_quantized *q) {
    return q->how->round ? q->how->round(q) : KD_OK;
}

void kd_quantized_leave(kd_quantized *q) {
    if (q->how->leave) q->how->leave(q);
}

kd_tensor *kd_quantized_forward(kd_quantized *q, kd_tape *tape, kd_tensor *x, kd_quant_mode mode,
                                kd_tensor **taps) {
    if (q->how->forward) return q->how->forward(q, tape, x, mode, taps);
    if (mode == KD_QUANT_OBSERVE) kd_quantized_watch(q, tape);
    kd_tensor *y = kd_net_forward(q->model.net, tape, x, taps);
    kd_quantized_unwatch(tape);
    return y;
}

const kd_encoding *kd_quantized_encodings(const kd_quantized *q) {
    return q->how->encodings ? q->how->encodings(q) : NULL;
}
