#include "quant/number_format.h"

#include <string.h>

static const kd_number_format *const FORMATS[] = {&kd_format_f32,  &kd_format_f16,  &kd_format_q4_0,
                                                  &kd_format_q4_1, &kd_format_q5_0, &kd_format_q5_1,
                                                  &kd_format_q8_0};
enum { FORMAT_COUNT = (int)(sizeof FORMATS / sizeof *FORMATS) };

const kd_number_format *kd_number_format_named(const char *name) {
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(FORMATS[i]->name, name) == 0) return FORMATS[i];
    return NULL;
}

const kd_number_format *kd_number_format_typed(uint32_t ggml_type) {
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (FORMATS[i]->ggml_type == ggml_type) return FORMATS[i];
    return NULL;
}
