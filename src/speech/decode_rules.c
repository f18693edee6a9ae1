#include <math.h>

#include "autograd/vector_math.h"
#include "speech/decode.h"

enum { FIRST_TIMESTAMP_MOST = 50 }; /* 1 s */

static void forbid(kd_real *z, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) z[i] = -(kd_real)INFINITY;
}

static kd_real largest(const kd_real *z, int64_t n) {
    kd_real max = -(kd_real)INFINITY;
#pragma omp simd reduction(max : max)
    for (int64_t i = 0; i < n; i++) max = z[i] > max ? z[i] : max;
    return max;
}

double kd_log_sum_exp(const kd_real *z, int64_t n) {
    const kd_real max = largest(z, n);
    double sum = 0;
    if (max == -(kd_real)INFINITY) return -INFINITY;
    for (int64_t begin = 0; begin < n; begin += 512) {
        const int64_t end = begin + 512 < n ? begin + 512 : n;
        kd_real part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t i = begin; i < end; i++) part += kd_vexp(z[i] - max);
        sum += (double)part;
    }
    return (double)max + log(sum);
}

static void timestamp_rules(const kd_token_ids *ids, kd_real *z, const int32_t *sampled,
                            int count) {
    const int64_t first = ids->timestamp, V = ids->vocabulary;
    z[ids->no_timestamps] = -(kd_real)INFINITY;
    const bool last = count >= 1 && sampled[count - 1] >= first;
    const bool pair = count < 2 || sampled[count - 2] >= first;
    if (last && pair) forbid(z, first, V);
    if (last && !pair) forbid(z, 0, ids->end);
    int newest = count - 1;
    while (newest >= 0 && sampled[newest] < first) newest--;
    if (newest >= 0) forbid(z, first, sampled[newest] + (last && !pair ? 0 : 1));
    if (count == 0) {
        forbid(z, 0, first);
        if (first + FIRST_TIMESTAMP_MOST + 1 < V) forbid(z, first + FIRST_TIMESTAMP_MOST + 1, V);
    }
    if (kd_log_sum_exp(z + first, V - first) > (double)largest(z, first)) forbid(z, 0, first);
}

void kd_decode_rules(const kd_decoder *decoder, kd_real *z, const int32_t *sampled, int count) {
    const kd_token_ids *ids = kd_tokenizer_ids(decoder->tokenizer);
    for (int32_t i = 0; i < ids->vocabulary; i++)
        if (decoder->never[i]) z[i] = -(kd_real)INFINITY;
    if (count == 0) {
        z[ids->end] = -(kd_real)INFINITY;
        if (decoder->space >= 0) z[decoder->space] = -(kd_real)INFINITY;
    }
    if (decoder->options.timestamps) timestamp_rules(ids, z, sampled, count);
}
