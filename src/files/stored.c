#include "files/stored.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "layers/weights.h"

static void scale_groups(float *out, const kd_stored *stored, int64_t row, int64_t n) {
    const int64_t groups = n / stored->group;
    const unsigned char *at = stored->scales + row * groups * stored->scale_format->bytes;
    for (int64_t i = 0; i < groups; i++, at += stored->scale_format->bytes) {
        float scale, *own = out + i * stored->group;
        stored->scale_format->decode(&scale, at, 1);
        for (int64_t j = 0; j < stored->group; j++) own[j] *= scale;
    }
}

void kd_stored_row(float *out, const kd_stored *stored, int64_t row, int64_t n) {
    stored->format->decode(
        out, stored->bytes + (uint64_t)row * kd_number_format_bytes(stored->format, n), n);
    if (stored->scale_format) scale_groups(out, stored, row, n);
    for (int64_t i = 0; i < n && stored->tensor_scale != 0; i++) out[i] *= stored->tensor_scale;
}

#ifdef KD_DOUBLE
int kd_stored_keep(void **out, kd_params *params, const kd_stored *list) {
    (void)params, (void)list;
    *out = NULL;
    return KD_OK;
}
#else
typedef struct {
    kd_constant constant; /* first: a pointer to it is one to the whole */
    kd_constant_steps steps;
    kd_stored stored;
    const kd_param *param;
    int64_t length; /* of a row */
} kept;

static void read_rows(const kd_constant *constant, kd_real *out, int64_t first, int64_t count) {
    const kept *k = (const kept *)(const void *)constant;
    for (int64_t i = 0; i < count; i++)
        kd_stored_row(out + i * k->length, &k->stored,
                      kd_param_row_place(k->param, k->stored.order, first + i), k->length);
}

static void read_steps(const kd_constant *constant, kd_row_steps *out, int64_t row) {
    const kept *k = (const kept *)(const void *)constant;
    const kd_number_format *format = k->stored.format;
    const int64_t place = kd_param_row_place(k->param, k->stored.order, row);
    format->steps->get(
        out, k->stored.bytes + (uint64_t)place * kd_number_format_bytes(format, k->length),
        k->length);
}

int kd_stored_keep(void **out, kd_params *params, const kd_stored *list) {
    kept *all = calloc((size_t)params->count, sizeof *all);
    *out = all;
    if (!all) return kd_fail_memory((size_t)params->count * sizeof *all, "weights in their file");
    for (int i = 0; i < params->count; i++) {
        kd_param *p = params->list[i];
        if (!p->by_rows || (list[i].order != KD_ORDER_OURS && list[i].order != KD_ORDER_PAIRS))
            continue;
        const kd_rows_of rows = kd_param_rows(p);
        const int64_t bytes =
            rows.count * (int64_t)kd_number_format_bytes(list[i].format, rows.length);
        all[i] = (kept){.constant = {.read = read_rows, .bytes = bytes},
                        .stored = list[i],
                        .param = p,
                        .length = rows.length};
        if (list[i].format == &kd_format_f16 && list[i].order == KD_ORDER_OURS)
            all[i].constant.half = (const uint16_t *)(const void *)list[i].bytes;
        if (list[i].format->steps) {
            all[i].steps = (kd_constant_steps){list[i].format->steps->kind, read_steps};
            all[i].constant.steps = &all[i].steps;
        }
        p->tensor.constant = &all[i].constant;
    }
    return KD_OK;
}
#endif

int kd_stored_load(kd_params *params, const kd_stored *list, const char *source) {
    int64_t longest = 1;
    for (int i = 0; i < params->count; i++) {
        const int64_t n = kd_param_rows(params->list[i]).length;
        longest = n > longest ? n : longest;
    }
    float *values = malloc(kd_array_bytes(longest, sizeof *values));
    if (!values) return kd_fail_memory((size_t)longest * sizeof *values, "a row of weights");
    for (int i = 0; i < params->count; i++) {
        kd_param *p = params->list[i];
        const kd_rows_of rows = kd_param_rows(p);
        if (p->tensor.constant) continue;
        for (int64_t row = 0; row < rows.count; row++) {
            kd_stored_row(values, &list[i], kd_param_row_place(p, list[i].order, row), rows.length);
            kd_param_set_row(p, list[i].order, row, values);
        }
    }
    free(values);
    kd_params_touch(params);
    return kd_params_check(params, source);
}
