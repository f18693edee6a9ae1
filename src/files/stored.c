#include "files/stored.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "layers/weights.h"

/* int8 with its scales apart: a row is put together as number_format.h has it, in pieces. */
static void decode_apart(float *out, const kd_stored *stored, int64_t row, int64_t n) {
    unsigned char piece[sizeof(float) + 512];
    const int64_t most = (int64_t)(sizeof piece - sizeof(float));
    memcpy(piece, stored->scale + (size_t)row * sizeof(float), sizeof(float));
    for (int64_t done = 0; done < n; done += most) {
        const int64_t count = n - done < most ? n - done : most;
        memcpy(piece + sizeof(float), stored->bytes + row * n + done, (size_t)count);
        stored->format->decode(out + done, piece, count);
    }
}

void kd_stored_row(float *out, const kd_stored *stored, int64_t row, int64_t n) {
    if (stored->scale)
        decode_apart(out, stored, row, n);
    else
        stored->format->decode(
            out, stored->bytes + (uint64_t)row * kd_number_format_bytes(stored->format, n), n);
}

int kd_stored_load(kd_params *params, const kd_stored *list, const char *source) {
    int64_t longest = 1;
    for (int i = 0; i < params->count; i++) {
        const int64_t n = kd_param_rows(params->list[i]).length;
        longest = n > longest ? n : longest;
    }
    float *values = malloc((size_t)longest * sizeof *values);
    if (!values) return kd_fail_memory((size_t)longest * sizeof *values, "a row of weights");
    for (int i = 0; i < params->count; i++) {
        kd_param *p = params->list[i];
        const kd_rows_of rows = kd_param_rows(p);
        for (int64_t row = 0; row < rows.count; row++) {
            kd_stored_row(values, &list[i], row, rows.length);
            kd_param_set_row(p, list[i].order, row, values);
        }
    }
    free(values);
    kd_params_touch(params);
    return kd_params_check(params, source);
}
