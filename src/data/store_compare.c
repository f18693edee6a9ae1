/* How far what is stored lies from what the teacher said. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "data/store.h"

/* log Σ e^{x/τ} over the classes */
static double log_sum(const float *x, int64_t n, double rate) {
    double max = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < n; i++) sum += exp((x[i] - max) * rate);
    return max * rate + log(sum);
}

/* Stored rows as logits at τ: kept classes as they are, the tail spread evenly over the others. */
static void spread(float *out, const kd_store_header *h, double temperature, const int32_t *index,
                   const float *kept, float tail) {
    const double even = temperature * (tail - log((double)(h->classes - h->k)));
    for (int v = 0; v < h->classes; v++) out[v] = (float)even;
    for (int i = 0; i < h->k; i++) out[index[i]] = kept[i];
}

/* out (length,V) ← hidden (length,width) · outputᵀ */
static void multiply(float *out, const kd_store_header *h, int64_t length, const float *hidden) {
#pragma omp parallel for
    for (int64_t v = 0; v < h->classes; v++) {
        const float *row = h->output + v * h->width;
        for (int64_t t = 0; t < length; t++) {
            double sum = 0;
            for (int64_t i = 0; i < h->width; i++) sum += (double)hidden[t * h->width + i] * row[i];
            out[t * h->classes + v] = (float)sum;
        }
    }
}

/* The logits (length,V) that the store gives back. */
static int restore(const kd_store *s, int64_t view, uint64_t id, int64_t length, double temperature,
                   float *out) {
    const kd_store_header *h = kd_store_describe(s);
    if (h->kind == KD_STORE_DENSE) return kd_store_read_run(s, view, id, length, out);
    const int64_t width = h->kind == KD_STORE_TOPK ? h->k : h->width;
    const int64_t numbers = length * width;
    float *values = malloc(kd_array_bytes(numbers, sizeof *values)),
          *tail = malloc(kd_array_bytes(length, sizeof *tail));
    int32_t *index = malloc(kd_array_bytes(numbers, sizeof *index));
    int status = KD_OK;
    if (!values || !tail || !index)
        status = kd_fail_memory(kd_array_bytes(numbers, sizeof *values), "a stored row");
    else if (h->kind == KD_STORE_TOPK)
        status = kd_store_read_topk_run(
            s, view, id, length, kd_store_temperature_index(h, temperature), index, values, tail);
    else
        status = kd_store_read_hidden(s, view, id, length, values);
    if (status == KD_OK && h->kind == KD_STORE_HIDDEN) multiply(out, h, length, values);
    for (int64_t t = 0; t < length && status == KD_OK && h->kind == KD_STORE_TOPK; t++)
        spread(out + t * h->classes, h, temperature, index + t * width, values + t * width,
               tail[t]);
    free(values);
    free(tail);
    free(index);
    return status;
}

/* KL(stored ‖ dense) of draws. */
static int draws_divergence(double *out, const kd_store *s, int64_t view, uint64_t id,
                            int64_t length, const float *logits) {
    const kd_store_header *h = kd_store_describe(s);
    const double rate = 1 / h->temperature[0];
    const int64_t numbers = length * h->draws;
    int32_t *index = malloc(kd_array_bytes(numbers, sizeof *index));
    float *share = malloc(kd_array_bytes(numbers, sizeof *share));
    int status = index && share
                     ? kd_store_read_sampled(s, view, id, length, index, share)
                     : kd_fail_memory(kd_array_bytes(numbers, sizeof *index), "a stored row");
    *out = 0;
    for (int64_t t = 0; t < length && status == KD_OK; t++) {
        const float *p = logits + t * h->classes;
        const double log_p = log_sum(p, h->classes, rate);
        for (int64_t i = t * h->draws; i < (t + 1) * h->draws; i++)
            if (share[i] > 0)
                *out += share[i] * (log(share[i]) - (p[index[i]] * rate - log_p)) / (double)length;
    }
    free(index);
    free(share);
    return status;
}

int kd_store_divergence(double *out, const kd_store *s, int64_t view, uint64_t id, int64_t length,
                        double temperature, const float *logits) {
    const int64_t V = kd_store_describe(s)->classes;
    if (kd_store_describe(s)->kind == KD_STORE_SAMPLED)
        return draws_divergence(out, s, view, id, length, logits);
    const double rate = 1 / temperature;
    const size_t bytes = kd_array_bytes(length * V, sizeof(float));
    float *stored = malloc(bytes);
    if (!stored) return kd_fail_memory(bytes, "a stored row");
    int status = restore(s, view, id, length, temperature, stored);
    *out = 0;
    for (int64_t t = 0; t < length && status == KD_OK; t++) {
        const float *p = logits + t * V, *q = stored + t * V;
        const double log_p = log_sum(p, V, rate), log_q = log_sum(q, V, rate);
        for (int64_t v = 0; v < V; v++)
            *out += exp(p[v] * rate - log_p) * ((p[v] - q[v]) * rate - (log_p - log_q)) /
                    (double)length;
    }
    free(stored);
    return status;
}
