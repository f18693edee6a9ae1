#include "speech/decode_rules.h"

#include <math.h>
#include <stdlib.h>

#include "autograd/vector_math.h"
#include "base/error.h"

enum { FIRST_TIMESTAMP_MOST = 50 /* 1 s */, NON_SPEECH_MOST = 1024 };

int kd_decode_rules_init(kd_decode_rules *out, const kd_tokenizer *tokenizer, bool timestamps) {
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    int32_t list[NON_SPEECH_MOST], *space;
    int64_t space_count;
    *out = (kd_decode_rules){.tokenizer = tokenizer, .timestamps = timestamps};
    out->never = calloc((size_t)ids->vocabulary, sizeof *out->never);
    if (!out->never)
        return kd_fail_memory((unsigned long long)ids->vocabulary, "the rules of decoding");
    const int count = kd_tokenizer_non_speech(tokenizer, list, NON_SPEECH_MOST);
    if (count < 0) return count;
    for (int i = 0; i < count; i++) out->never[list[i]] = true;
    for (int32_t i = ids->end + 1; i < ids->timestamp; i++) out->never[i] = true;
    for (int32_t i = ids->timestamp; i < ids->vocabulary && !timestamps; i++) out->never[i] = true;
    int status = kd_tokenizer_encode(&space, &space_count, tokenizer, " ", 1);
    if (status < 0) return status;
    out->space = space_count == 1 ? space[0] : -1;
    free(space);
    return KD_OK;
}

void kd_decode_rules_clear(kd_decode_rules *rules) {
    free(rules->never);
    *rules = (kd_decode_rules){0};
}

int kd_decode_prompt(int32_t out[4], const kd_tokenizer *tokenizer, int32_t language, int32_t task,
                     bool timestamps) {
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    int n = 0;
    out[n++] = ids->start;
    if (ids->multilingual) {
        out[n++] = language;
        out[n++] = task;
    }
    if (!timestamps) out[n++] = ids->no_timestamps;
    return n;
}

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

void kd_decode_rules_apply(const kd_decode_rules *rules, kd_real *z, const int32_t *sampled,
                           int count) {
    const kd_token_ids *ids = kd_tokenizer_ids(rules->tokenizer);
    for (int32_t i = 0; i < ids->vocabulary; i++)
        if (rules->never[i]) z[i] = -(kd_real)INFINITY;
    if (count == 0) {
        z[ids->end] = -(kd_real)INFINITY;
        if (rules->space >= 0) z[rules->space] = -(kd_real)INFINITY;
    }
    if (rules->timestamps) timestamp_rules(ids, z, sampled, count);
}
