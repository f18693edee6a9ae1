#include "files/ggml.h"

#include <string.h>

#include "base/error.h"

int kd_ggml_sizes(int64_t ne[4], const kd_named *named) {
    KD_CONTRACT(named->rank <= 4, "%s: %d axes; ggml has 4", named->name, named->rank);
    for (int i = 0; i < named->rank; i++) ne[i] = named->shape[named->rank - 1 - i];
    return named->rank;
}

bool kd_ggml_sizes_fit(const kd_named *named, int rank, const int64_t *ne) {
    int64_t own[4], want[4], have[4];
    const int own_rank = kd_ggml_sizes(own, named);
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

int kd_ggml_file_type(const kd_number_format *format) {
    static const struct {
        const kd_number_format *format;
        int number;
    } list[] = {{&kd_format_f32, 0},
                {&kd_format_f16, 1},
                {&kd_format_q4_0, 2},
                {&kd_format_q8_0, 7},
                {&kd_format_q5_0, 8}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].format == format) return list[i].number;
    return -1;
}
