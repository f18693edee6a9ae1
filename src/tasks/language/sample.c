#include "tasks/language/sample.h"

#include <math.h>
#include <stdlib.h>

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

int32_t kd_sample(const kd_real *logits, int32_t V, const kd_sampling *how, kd_rng *rng,
                  kd_candidate *scratch) {
    if (how->temperature <= 0) return largest(logits, V);
    for (int32_t i = 0; i < V; i++) scratch[i] = (kd_candidate){logits[i], i};
    qsort(scratch, (size_t)V, sizeof *scratch, compare);
    const int32_t n = how->top_k > 0 && how->top_k < V ? how->top_k : V;
    const double top = (double)scratch[0].logit;
    double all = 0, kept = 0;
    for (int32_t i = 0; i < n; i++) all += exp(((double)scratch[i].logit - top) / how->temperature);
    int32_t last = 0;
    for (; last < n; last++) {
        kept += exp(((double)scratch[last].logit - top) / how->temperature);
        if (kept >= how->top_p * all) break;
    }
    double left = kd_rng_uniform(rng) * kept;
    for (int32_t i = 0; i < last; i++) {
        left -= exp(((double)scratch[i].logit - top) / how->temperature);
        if (left < 0) return scratch[i].id;
    }
    return scratch[last < n ? last : n - 1].id;
}
