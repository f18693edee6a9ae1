#include "files/ggml.h"

#include <string.h>

#include "base/error.h"

int kd_ggml_sizes(int64_t ne[4], const kd_named *named, const kd_number_format *format) {
    KD_CONTRACT(named->rank <= 4, "%s: %d axes; ggml has 4", named->name, named->rank);
    if (named->rank > 2 && format->block != 1) {
        ne[0] = 1;
        ne[1] = named->shape[0];
        for (int i = 1; i < named->rank; i++) ne[0] *= named->shape[i];
        return 2;
    }
    for (int i = 0; i < named->rank; i++) ne[i] = named->shape[named->rank - 1 - i];
    return named->rank;
}

bool kd_ggml_sizes_fit(const kd_named *named, const kd_number_format *format, int rank,
                       const int64_t *ne) {
    int64_t own[4], want[4], have[4];
    const int own_rank = kd_ggml_sizes(own, named, format);
    int wanted = 0, had = 0;
    if (own_rank > 2) return rank == own_rank && memcmp(ne, own, (size_t)rank * sizeof *ne) == 0;
    for (int i = 0; i < own_rank; i++)
        if (own[i] != 1) want[wanted++] = own[i];
    for (int i = 0; i < rank; i++)
        if (ne[i] != 1) have[had++] = ne[i];
    return wanted == had && memcmp(want, have, (size_t)had * sizeof *have) == 0;
}

int kd_ggml_check_rows(const kd_param *param, const kd_named *named, const kd_number_format *format,
                       const char *source) {
    const int64_t n = kd_param_rows(param).length;
    if (kd_number_format_bytes(format, n) > 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s: tensor %s: rows of %lld are no multiple of %s's blocks of %d",
                   source, named->name, (long long)n, format->name, format->block);
}
