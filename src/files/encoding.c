#include "files/encoding.h"

#include <string.h>

#include "base/log.h"

const kd_number_format *kd_encoding_format(const kd_param *param, kd_format_rule *rule,
                                           const kd_number_format *matrices) {
    return kd_number_format_fit(rule(param, matrices), kd_encoding_row(param));
}

int64_t kd_encoding_row(const kd_param *param) {
    return param->tensor.size / param->tensor.shape[0];
}

uint64_t kd_encoding_bytes(const kd_encoding *how, const kd_param *param) {
    return (uint64_t)param->tensor.shape[0] *
           kd_number_format_bytes(how->format, kd_encoding_row(param));
}

int kd_encoding_put(unsigned char *out, const kd_encoding *how, const kd_param *param,
                    const float *values) {
    if (!how->bytes)
        return kd_number_format_encode(out, how->format, values, param->tensor.shape[0],
                                       kd_encoding_row(param), param->name);
    memcpy(out, how->bytes, (size_t)kd_encoding_bytes(how, param));
    return 0;
}

void kd_encoding_tell(const char *path, const kd_params *params, kd_format_rule *rule,
                      const kd_number_format *matrices) {
    const kd_param *first = NULL;
    int count = 0, all = 0;
    for (int i = 0; i < params->count; i++) {
        const kd_param *p = params->list[i];
        if (rule(p, matrices) != matrices) continue;
        all++;
        if (kd_encoding_format(p, rule, matrices) == matrices) continue;
        if (!first) first = p;
        count++;
    }
    if (count > 0)
        kd_log(
            "%s: %d of %d matrices are not %s, since their rows cannot be cut into blocks of %d; "
            "%s, of rows of %lld, is %s",
            path, count, all, matrices->name, matrices->block, first->name,
            (long long)kd_encoding_row(first), kd_encoding_format(first, rule, matrices)->name);
}
