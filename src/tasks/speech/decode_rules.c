#include "tasks/speech/decode_rules.h"

#include <math.h>
#include <stdlib.h>

#include "autograd/vector_math.h"
#include "base/error.h"
#include "files/whisper_suppressed.h"

int kd_decode_rules_init(kd_decode_rules *out, const kd_tokenizer *tokenizer,
                         const kd_whisper_generation *generation, bool timestamps) {
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    const size_t V = (size_t)ids->vocabulary;
    *out = (kd_decode_rules){.tokenizer = tokenizer,
                             .timestamps = timestamps,
                             .first_timestamp_most = generation->max_initial_timestamp};
    out->never = calloc(2 * V, sizeof *out->never);
    if (!out->never) return kd_fail_memory(2 * V, "the rules of decoding");
    out->not_first = out->never + V;
    int status = kd_whisper_mark_suppressed(out->never, out->not_first, generation, tokenizer);
    for (int32_t i = ids->language; i < ids->translate; i++) out->never[i] = true;
    out->never[ids->no_timestamps] = true;
    for (int32_t i = ids->timestamp; i < ids->added && !timestamps; i++) out->never[i] = true;
    return status;
}

void kd_decode_rules_clear(kd_decode_rules *rules) {
    free(rules->never);
    *rules = (kd_decode_rules){0};
}

int kd_decode_length_most(const kd_whisper_generation *generation, int text_context) {
    const int half = text_context / 2, stated = generation->max_length;
    return stated > 0 && stated < half ? stated : half;
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

/* Text: everything but timestamps, or up to `end` alone. */
static void forbid_text(const kd_token_ids *ids, kd_real *z, int64_t end) {
    forbid(z, 0, end);
    forbid(z, ids->added, ids->vocabulary);
}

static void timestamp_rules(const kd_decode_rules *rules, kd_real *z, const int32_t *sampled,
                            int count) {
    const kd_token_ids *ids = kd_tokenizer_ids(rules->tokenizer);
    const int64_t first = ids->timestamp, behind = ids->added, most = rules->first_timestamp_most;
    const bool last = count >= 1 && kd_token_is_timestamp(ids, sampled[count - 1]);
    const bool pair = count < 2 || kd_token_is_timestamp(ids, sampled[count - 2]);
    if (last && pair) forbid(z, first, behind);
    if (last && !pair) forbid_text(ids, z, ids->end);
    int newest = count - 1;
    while (newest >= 0 && !kd_token_is_timestamp(ids, sampled[newest])) newest--;
    if (newest >= 0) forbid(z, first, sampled[newest] + (last && !pair ? 0 : 1));
    if (count == 0) {
        forbid_text(ids, z, first);
        if (first + most + 1 < behind) forbid(z, first + most + 1, behind);
    }
    const double text =
        fmax((double)largest(z, first), (double)largest(z + behind, ids->vocabulary - behind));
    if (kd_log_sum_exp(z + first, behind - first) > text) forbid_text(ids, z, first);
}

void kd_decode_rules_apply(const kd_decode_rules *rules, kd_real *z, const int32_t *sampled,
                           int count) {
    const kd_token_ids *ids = kd_tokenizer_ids(rules->tokenizer);
    const int32_t V = ids->vocabulary;
    for (int32_t i = 0; i < V; i++)
        if (rules->never[i] || (count == 0 && rules->not_first[i])) z[i] = -(kd_real)INFINITY;
    if (rules->timestamps) timestamp_rules(rules, z, sampled, count);
    if (largest(z, V) == -(kd_real)INFINITY) z[ids->end] = 0;
}
