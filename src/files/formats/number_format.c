#include "files/formats/number_format.h"

#include <string.h>

#define ADDRESS_OF(name) &kd_format_##name,
static const kd_number_format *const FORMATS[] = {KD_NUMBER_FORMATS(ADDRESS_OF)};
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

/* ggml's other types, of which files are read as far as their sizes go. */
static const struct {
    uint32_t type, block, bytes;
} STORED_ONLY[] = {
    {9, 32, 36},    {10, 256, 84},  {11, 256, 110}, {12, 256, 144}, /* q8_1, q2_K, q3_K, q4_K */
    {13, 256, 176}, {14, 256, 210}, {24, 1, 1},     {25, 1, 2},     /* q5_K, q6_K, i8, i16     */
    {26, 1, 4},     {27, 1, 8},                                     /* i32, i64                */
    {39, 32, 17},   {40, 64, 36},                                   /* mxfp4, nvfp4            */
};

static uint64_t bytes_of(uint64_t block, uint64_t bytes, uint64_t row, uint64_t count) {
    const uint64_t blocks = count / block;
    return row % block || blocks > UINT64_MAX / bytes ? 0 : blocks * bytes;
}

uint64_t kd_ggml_type_bytes(uint32_t ggml_type, uint64_t row, uint64_t count) {
    const kd_number_format *format = kd_number_format_typed(ggml_type);
    if (format) return bytes_of((uint64_t)format->block, (uint64_t)format->bytes, row, count);
    for (size_t i = 0; i < sizeof STORED_ONLY / sizeof *STORED_ONLY; i++)
        if (STORED_ONLY[i].type == ggml_type)
            return bytes_of(STORED_ONLY[i].block, STORED_ONLY[i].bytes, row, count);
    return 0;
}
