#include "quant/number_format.h"

#include <string.h>

static const kd_number_format *const FORMATS[] = {&kd_format_f32,  &kd_format_f16,  &kd_format_q4_0,
                                                  &kd_format_q4_1, &kd_format_q5_0, &kd_format_q5_1,
                                                  &kd_format_q8_0, &kd_format_int8};
enum { FORMAT_COUNT = (int)(sizeof FORMATS / sizeof *FORMATS) };

uint64_t kd_number_format_bytes(const kd_number_format *format, int64_t n) {
    if (format->block == 0) return sizeof(float) + (uint64_t)n;
    return n % format->block ? 0 : (uint64_t)(n / format->block) * (uint64_t)format->bytes;
}

const kd_number_format *kd_number_format_named(const char *name) {
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(FORMATS[i]->name, name) == 0) return FORMATS[i];
    return NULL;
}

const kd_number_format *kd_number_format_typed(uint32_t ggml_type) {
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (FORMATS[i]->ggml_type == ggml_type && ggml_type != KD_NO_GGML_TYPE) return FORMATS[i];
    return NULL;
}
