#include "tasks/language/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int32_t largest(const kd_real *logits, int32_t V) {
    int32_t best = 0;
    for (int32_t i = 1; i < V; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Falling; of equal ones the lower id comes first, so that no order of sorting changes a draw. */
static int compare(const void *a, const void *b) {
    const kd_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* p, of which all count, keeps those that top_k and top_p leave. → what they come to */
static double keep_likeliest(double *p, double all, const kd_real *logits, int32_t V,
                             const kd_sampling *how, kd_candidate *scratch) {
    for (int32_t i = 0; i < V; i++) scratch[i] = (kd_candidate){logits[i], i};
    qsort(scratch, (size_t)V, sizeof *scratch, compare);
    const int32_t n = how->top_k > 0 && how->top_k < V ? how->top_k : V;
    for (int32_t i = n; i < V; i++) {
        all -= p[scratch[i].id];
        p[scratch[i].id] = 0;
    }
    double kept = 0;
    int32_t end = 0;
    while (end < n && (end == 0 || kept < how->top_p * all)) kept += p[scratch[end++].id];
    for (int32_t i = end; i < n; i++) p[scratch[i].id] = 0;
    return kept;
}

void kd_sampling_shares(double *p, const kd_real *logits, int32_t V, const kd_sampling *how,
                        kd_candidate *scratch) {
    const int32_t best = largest(logits, V);
    if (how->temperature <= 0) {
        memset(p, 0, (size_t)V * sizeof *p);
        p[best] = 1;
        return;
    }
    double sum = 0;
    for (int32_t i = 0; i < V; i++) {
        p[i] = exp(((double)logits[i] - (double)logits[best]) / how->temperature);
        sum += p[i];
    }
    if ((how->top_k > 0 && how->top_k < V) || how->top_p < 1)
        sum = keep_likeliest(p, sum, logits, V, how, scratch);
    for (int32_t i = 0; i < V; i++) p[i] /= sum;
}

int32_t kd_sample_share(const double *p, int32_t V, double sum, kd_rng *rng) {
    double left = kd_rng_uniform(rng) * sum;
    int32_t last = 0;
    for (int32_t i = 0; i < V; i++) {
        if (p[i] <= 0) continue;
        last = i;
        left -= p[i];
        if (left < 0) break;
    }
    return last;
}
