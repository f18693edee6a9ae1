#include "files/encoding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "files/roles.h"

static const kd_number_format *meant_for(const kd_params *params, int i, kd_format_rule *rule,
                                         const kd_number_format *matrices) {
    const kd_number_format *meant = rule(params->list[i], matrices);
    if (!meant || !meant->mixture) return meant;
    const kd_place place = kd_param_place(params, i);
    return kd_mixture_format(meant, &place);
}

const kd_number_format *kd_encoding_format(const kd_params *params, int i, kd_format_rule *rule,
                                           const kd_number_format *matrices) {
    const kd_number_format *meant = meant_for(params, i, rule, matrices);
    return meant ? kd_number_format_fit(meant, kd_param_rows(params->list[i]).length) : NULL;
}

static double largest_of(const kd_tensor *t) {
    double most = 0;
    for (int64_t i = 0; i < t->size; i++) most = fmax(most, fabs((double)t->value[i]));
    return most;
}

static float scale_of(const kd_encoding *list, const kd_params *params, int i) {
    const kd_number_format *format = list[i].format;
    double most = 0;
    if (!format || !(format->largest > 0)) return 1;
    for (int k = 0; k < params->count; k++)
        if (list[k].format == format && kd_params_joined(params, i, k))
            most = fmax(most, largest_of(&params->list[k]->tensor));
    return kd_number_format_scale(format, most);
}

int kd_encodings_nearest(kd_encoding **out, const kd_params *params, kd_format_rule *rule,
                         const kd_number_format *matrices) {
    *out = calloc((size_t)params->count, sizeof **out);
    if (!*out) return kd_fail_memory((size_t)params->count * sizeof **out, "formats of weights");
    for (int i = 0; i < params->count; i++)
        (*out)[i].format = kd_encoding_format(params, i, rule, matrices);
    for (int i = 0; i < params->count; i++) (*out)[i].scale = scale_of(*out, params, i);
    return KD_OK;
}

uint64_t kd_encoding_bytes(const kd_encoding *how, const kd_param *param) {
    const kd_rows_of rows = kd_param_rows(param);
    return (uint64_t)rows.count * kd_number_format_bytes(how->format, rows.length);
}

int kd_encoding_put(unsigned char *out, const kd_encoding *how, const kd_param *param,
                    kd_order order, const float *values) {
    const kd_rows_of rows = kd_param_rows(param);
    if (!how->bytes)
        return kd_number_format_encode(out, how->format, values, how->importance, how->groups,
                                       rows.count, rows.length, how->scale, param->name);
    const size_t bytes =
        kd_array_bytes((int64_t)kd_number_format_bytes(how->format, rows.length), 1);
    for (int64_t row = 0; row < rows.count; row++)
        memcpy(out + (size_t)kd_param_row_place(param, order, row) * bytes,
               how->bytes + (size_t)row * bytes, bytes);
    return KD_OK;
}

void kd_encoding_tell(const char *path, const kd_params *params, const kd_encoding *how,
                      kd_format_rule *rule, const kd_number_format *matrices) {
    int count = 0, all = 0, first = 0;
    for (int i = 0; i < params->count; i++) {
        if (how && how[i].format != kd_encoding_format(params, i, rule, matrices)) return;
        if (rule(params->list[i], matrices) != matrices) continue;
        all++;
        if (kd_encoding_format(params, i, rule, matrices) == meant_for(params, i, rule, matrices))
            continue;
        if (count++ == 0) first = i;
    }
    if (count > 0)
        kd_log(
            "%s: %d of %d matrices are not %s, since their rows cannot be cut into blocks of %d; "
            "%s, of rows of %lld, is %s",
            path, count, all, matrices->name, matrices->block, params->list[first]->name,
            (long long)kd_param_rows(params->list[first]).length,
            kd_encoding_format(params, first, rule, matrices)->name);
}
