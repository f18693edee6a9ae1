#include "distill/fidelity.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/order.h"
#include "base/size.h"

void kd_fidelity_log_softmax(float *out, const kd_real *z, int64_t V) {
    double most = (double)z[0], sum = 0;
    for (int64_t v = 1; v < V; v++) most = (double)z[v] > most ? (double)z[v] : most;
    for (int64_t v = 0; v < V; v++) sum += exp((double)z[v] - most);
    const double shift = most + log(sum);
    for (int64_t v = 0; v < V; v++) out[v] = (float)((double)z[v] - shift);
}

static double divergence(bool *same, const float *p, const kd_real *z, int64_t V) {
    double most = (double)z[0], sum = 0, total = 0;
    int64_t top_p = 0, top_z = 0;
    for (int64_t v = 1; v < V; v++) {
        if ((double)z[v] > most) most = (double)z[v], top_z = v;
        if (p[v] > p[top_p]) top_p = v;
    }
    for (int64_t v = 0; v < V; v++) sum += exp((double)z[v] - most);
    const double shift = most + log(sum);
    for (int64_t v = 0; v < V; v++)
        total += exp((double)p[v]) * ((double)p[v] - ((double)z[v] - shift));
    *same = top_p == top_z;
    return total > 0 ? total : 0; /* rounding may leave less than nothing */
}

static int make_room(kd_fidelity *f, int64_t rows) {
    if (f->rows + rows <= f->capacity) return KD_OK;
    const int64_t capacity = 2 * (f->rows + rows);
    double *more = realloc(f->divergence, kd_array_bytes(capacity, sizeof *more));
    if (!more) return kd_fail_memory((size_t)capacity * sizeof *more, "divergences");
    f->divergence = more;
    f->capacity = capacity;
    return KD_OK;
}

int kd_fidelity_add(kd_fidelity *f, const float *p, const kd_real *z, int64_t rows, int64_t V) {
    int64_t same = 0;
    const int status = make_room(f, rows);
    if (status < 0) return status;
    double *to = f->divergence + f->rows;
#pragma omp parallel for schedule(static) reduction(+ : same)
    for (int64_t row = 0; row < rows; row++) {
        bool equal;
        to[row] = divergence(&equal, p + row * V, z + row * V, V);
        same += equal;
    }
    f->rows += rows;
    f->same += same;
    return KD_OK;
}

int kd_fidelity_add_logits(kd_fidelity *f, const float *reference, const float *logits,
                           int64_t rows, int64_t V) {
    const size_t bytes = kd_array_bytes(V, sizeof(float) + 2 * sizeof(kd_real));
    float *p = malloc(kd_array_bytes(V, sizeof *p));
    kd_real *a = malloc(kd_array_bytes(V, sizeof *a)), *b = malloc(kd_array_bytes(V, sizeof *b));
    int status = p && a && b ? KD_OK : kd_fail_memory(bytes, "divergences");
    for (int64_t row = 0; row < rows && status == KD_OK; row++) {
        for (int64_t v = 0; v < V; v++) a[v] = (kd_real)reference[row * V + v];
        for (int64_t v = 0; v < V; v++) b[v] = (kd_real)logits[row * V + v];
        kd_fidelity_log_softmax(p, a, V);
        status = kd_fidelity_add(f, p, b, 1, V);
    }
    free(p);
    free(a);
    free(b);
    return status;
}

kd_fidelity_summary kd_fidelity_summarise(kd_fidelity *f) {
    const int64_t n = f->rows;
    kd_fidelity_summary out = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, n};
    if (n == 0) return out;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += f->divergence[i];
    qsort(f->divergence, (size_t)n, sizeof *f->divergence, kd_order_doubles);
    const double *d = f->divergence;
    return (kd_fidelity_summary){sum / (double)n,
                                 d[n / 2],
                                 d[n * 9 / 10],
                                 d[n * 99 / 100],
                                 d[n * 999 / 1000],
                                 d[n - 1],
                                 (double)f->same / (double)n,
                                 n};
}

void kd_fidelity_clear(kd_fidelity *f) {
    free(f->divergence);
    *f = (kd_fidelity){0};
}

void kd_fidelity_fill(kd_estimate *out, const kd_fidelity_summary *s) {
    const double value[KD_FIDELITY_METRICS] = {s->mean, s->median, s->p90, s->p99,
                                               s->p999, s->most,   s->same};
    for (int i = 0; i < KD_FIDELITY_METRICS && s->rows > 0; i++)
        out[i] = kd_estimate_plain(value[i], s->rows);
}
