#include "distill/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"

enum { SEGMENT = 16384 };

static const double PI = 3.14159265358979323846;

/* Cuts every trained parameter into segments; counts only when `out` is NULL. */
static int cut_segments(const kd_params *params, kd_segment *out) {
    int count = 0;
    for (int i = 0; i < params->count; i++) {
        const kd_param *p = params->list[i];
        if (!(p->flags & KD_PARAM_TRAINED)) continue;
        for (int64_t at = 0; at < p->tensor.size; at += SEGMENT, count++) {
            int64_t left = p->tensor.size - at;
            if (out)
                out[count] = (kd_segment){.offset = p->offset + at,
                                          .size = left < SEGMENT ? left : SEGMENT,
                                          .decayed = (p->flags & KD_PARAM_DECAYED) != 0};
        }
    }
    return count;
}

int kd_optimizer_init(kd_optimizer *optimizer, kd_params *params, const kd_train_spec *spec) {
    *optimizer = (kd_optimizer){.params = params, .spec = spec};
    optimizer->moment_count = spec->optimizer == KD_OPTIMIZER_ADAMW ? 2 : 1;
    optimizer->segment_count = cut_segments(params, NULL);
    size_t segments = (size_t)optimizer->segment_count + 1;
    optimizer->segment = malloc(segments * sizeof *optimizer->segment);
    optimizer->partial = malloc(segments * sizeof *optimizer->partial);
    bool complete = optimizer->segment && optimizer->partial;
    for (int m = 0; m < optimizer->moment_count; m++) {
        const size_t bytes = (size_t)params->trained_size * sizeof(kd_real);
        optimizer->moment[m] = kd_large_alloc(bytes);
        if (optimizer->moment[m])
            memset(optimizer->moment[m], 0, bytes);
        else
            complete = false;
    }
    if (!complete) {
        kd_optimizer_clear(optimizer);
        return kd_fail_memory((unsigned long long)params->trained_size * sizeof(kd_real),
                              "the optimizer's moments");
    }
    cut_segments(params, optimizer->segment);
    return KD_OK;
}

void kd_optimizer_clear(kd_optimizer *optimizer) {
    for (int m = 0; m < KD_OPTIMIZER_MOMENTS; m++) free(optimizer->moment[m]);
    free(optimizer->segment);
    free(optimizer->partial);
    *optimizer = (kd_optimizer){0};
}

static void square_sum(kd_optimizer *o, int s) {
    const kd_real *g = o->params->grad + o->segment[s].offset;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < o->segment[s].size; i++) sum += (double)g[i] * (double)g[i];
    o->partial[s] = sum;
}

/* ‖g‖ from the segments' sums, added in the order of the segments. */
static double gradient_norm(const kd_optimizer *o) {
    double total = 0;
    for (int s = 0; s < o->segment_count; s++) total += o->partial[s];
    return sqrt(total);
}

static void update_sgd(const kd_optimizer *o, const kd_segment *segment, kd_real rate,
                       kd_real scale) {
    kd_real *restrict w = o->params->value + segment->offset;
    const kd_real *restrict g = o->params->grad + segment->offset;
    kd_real *restrict v = o->moment[0] + segment->offset;
    const kd_real momentum = (kd_real)o->spec->momentum;
    const kd_real decay = segment->decayed ? (kd_real)o->spec->weight_decay : 0;
    const kd_real own = o->spec->nesterov ? 1 : 0, past = o->spec->nesterov ? momentum : 1;
    for (int64_t i = 0; i < segment->size; i++) {
        kd_real d = scale * g[i] + decay * w[i];
        v[i] = momentum * v[i] + d;
        w[i] -= rate * (own * d + past * v[i]);
    }
}

static void update_adamw(const kd_optimizer *o, const kd_segment *segment, kd_real rate,
                         kd_real scale) {
    kd_real *restrict w = o->params->value + segment->offset;
    const kd_real *restrict g = o->params->grad + segment->offset;
    kd_real *restrict m = o->moment[0] + segment->offset;
    kd_real *restrict v = o->moment[1] + segment->offset;
    const kd_real b1 = (kd_real)o->spec->beta1, b2 = (kd_real)o->spec->beta2;
    const kd_real epsilon = (kd_real)o->spec->epsilon;
    const double t = (double)o->step;
    const kd_real correct1 = (kd_real)(1 / (1 - pow(o->spec->beta1, t)));
    const kd_real correct2 = (kd_real)(1 / (1 - pow(o->spec->beta2, t)));
    const kd_real keep = 1 - (segment->decayed ? rate * (kd_real)o->spec->weight_decay : 0);
    for (int64_t i = 0; i < segment->size; i++) {
        kd_real d = scale * g[i];
        m[i] = b1 * m[i] + (1 - b1) * d;
        v[i] = b2 * v[i] + (1 - b2) * d * d;
        w[i] = keep * w[i] - rate * (m[i] * correct1) / (kd_sqrt(v[i] * correct2) + epsilon);
    }
}

/* Scales every unit's incoming weights back to an L2 norm of at most `bound`. */
static void bound_norms(kd_params *params, double bound) {
    for (int p = 0; p < params->count; p++) {
        const kd_tensor *w = &params->list[p]->tensor;
        if (!(params->list[p]->flags & KD_PARAM_DECAYED) || w->rank < 2) continue;
        int64_t units = w->shape[0], inputs = w->size / units;
#pragma omp parallel for if (w->size > SEGMENT)
        for (int64_t u = 0; u < units; u++) {
            kd_real *row = params->value + params->list[p]->offset + u * inputs;
            double sum = 0;
            for (int64_t i = 0; i < inputs; i++) sum += (double)row[i] * (double)row[i];
            if (sum <= bound * bound) continue;
            kd_real shrink = (kd_real)(bound / sqrt(sum));
            for (int64_t i = 0; i < inputs; i++) row[i] *= shrink;
        }
    }
}

double kd_optimizer_update(kd_optimizer *optimizer, double learning_rate) {
    const kd_train_spec *spec = optimizer->spec;
    double scale = 1;
    if (spec->clip > 0) {
#pragma omp parallel for
        for (int s = 0; s < optimizer->segment_count; s++) square_sum(optimizer, s);
        scale = fmin(1, spec->clip / gradient_norm(optimizer));
    }
    optimizer->step++;
#pragma omp parallel for
    for (int s = 0; s < optimizer->segment_count; s++) {
        if (spec->clip <= 0) square_sum(optimizer, s); /* the gradient is read once */
        const kd_segment *segment = &optimizer->segment[s];
        if (spec->optimizer == KD_OPTIMIZER_ADAMW)
            update_adamw(optimizer, segment, (kd_real)learning_rate, (kd_real)scale);
        else
            update_sgd(optimizer, segment, (kd_real)learning_rate, (kd_real)scale);
    }
    if (spec->max_norm > 0) bound_norms(optimizer->params, spec->max_norm);
    kd_params_touch(optimizer->params);
    return gradient_norm(optimizer);
}

double kd_schedule_rate(const kd_train_spec *spec, int64_t step, int64_t warmup, int64_t total) {
    if (step < warmup) return spec->learning_rate * (double)(step + 1) / (double)warmup;
    int64_t span = total - warmup;
    double done = span > 0 ? (double)(step - warmup) / (double)span : 1, low = spec->final_fraction;
    switch (spec->schedule) {
    case KD_SCHEDULE_LINEAR:
        return spec->learning_rate * (low + (1 - low) * (1 - done));
    case KD_SCHEDULE_COSINE:
        return spec->learning_rate * (low + (1 - low) * 0.5 * (1 + cos(PI * done)));
    case KD_SCHEDULE_CONSTANT:
        break;
    }
    return spec->learning_rate;
}
