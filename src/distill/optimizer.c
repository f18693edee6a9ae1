#include "distill/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/ranks.h"
#include "base/size.h"

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
                                          .moment = -1,
                                          .decayed = (p->flags & KD_PARAM_DECAYED) != 0};
        }
    }
    return count;
}

static int make_segments(kd_optimizer *o) {
    o->segment_count = cut_segments(o->params, NULL);
    const size_t segments = (size_t)o->segment_count + 1;
    o->segment = malloc(segments * sizeof *o->segment);
    o->partial = malloc(segments * sizeof *o->partial);
    if (!o->segment || !o->partial)
        return kd_fail_memory(segments * sizeof *o->segment, "the optimizer");
    cut_segments(o->params, o->segment);
    return KD_OK;
}

/* Blocks end where segments do. */
static int make_deal(kd_optimizer *o) {
    const size_t bytes = (size_t)(o->segment_count + 1) * sizeof(int64_t);
    int64_t *cut = malloc(bytes);
    if (!cut) return kd_fail_memory(bytes, "the optimizer");
    for (int s = 0; s < o->segment_count; s++) cut[s] = o->segment[s].offset;
    int status = kd_deal_init(&o->deal, o->params->trained_size, cut, o->segment_count);
    free(cut);
    return status;
}

/* Where the moments of this rank's blocks lie. */
static void place_moments(kd_optimizer *o) {
    for (int64_t block = kd_rank(), s = 0; block < o->deal.count; block += kd_rank_count()) {
        const int64_t start = o->deal.start[block], end = o->deal.start[block + 1];
        while (s < o->segment_count && o->segment[s].offset < start) s++;
        for (; s < o->segment_count && o->segment[s].offset < end; s++)
            o->segment[s].moment = o->kept + o->segment[s].offset - start;
        o->kept += end - start;
    }
}

static int make_moments(kd_optimizer *o) {
    const size_t bytes = kd_array_bytes(o->kept, sizeof(kd_real));
    for (int m = 0; m < o->moment_count; m++) {
        o->moment[m] = kd_large_alloc(bytes + 1);
        if (!o->moment[m]) return kd_fail_memory(bytes, "the optimizer's moments");
        memset(o->moment[m], 0, bytes);
    }
    return KD_OK;
}

int kd_optimizer_init(kd_optimizer *optimizer, kd_params *params, const kd_train_spec *spec) {
    *optimizer = (kd_optimizer){.params = params, .spec = spec};
    optimizer->moment_count = spec->optimizer == KD_OPTIMIZER_ADAMW ? 2 : 1;
    int status = make_segments(optimizer);
    if (status == KD_OK) status = make_deal(optimizer);
    if (status == KD_OK) {
        place_moments(optimizer);
        status = make_moments(optimizer);
    }
    if (status < 0) kd_optimizer_clear(optimizer);
    return status;
}

void kd_optimizer_clear(kd_optimizer *optimizer) {
    for (int m = 0; m < KD_OPTIMIZER_MOMENTS; m++) free(optimizer->moment[m]);
    free(optimizer->segment);
    free(optimizer->partial);
    kd_deal_clear(&optimizer->deal);
    *optimizer = (kd_optimizer){0};
}

static void send_block(const kd_real *from, int64_t n, int to) {
    kd_ranks_pending pending = {0};
    kd_ranks_send(&pending, from, (size_t)n * sizeof *from, to);
    while (!kd_ranks_done(&pending)) kd_ranks_pause();
}

static void receive_block(kd_real *to, int64_t n, int from) {
    size_t length;
    while (!kd_ranks_arrived(from, &length)) kd_ranks_pause();
    KD_CONTRACT(length == (size_t)n * sizeof *to, "%zu bytes of rank %d", length, from);
    kd_ranks_receive(to, length, from);
}

/* What of a slab is this rank's block, in `own`. */
static kd_real *next_block(kd_real **own, int64_t n) {
    kd_real *block = *own;
    *own += n;
    return block;
}

void kd_optimizer_collect(const kd_optimizer *o, int m, kd_real *whole) {
    kd_real *own = o->moment[m];
    for (int64_t b = 0; b < o->deal.count; b++) {
        const int owner = (int)(b % kd_rank_count());
        const int64_t at = o->deal.start[b], n = o->deal.start[b + 1] - at;
        if (owner == kd_rank() && whole)
            memcpy(whole + at, next_block(&own, n), (size_t)n * sizeof *own);
        else if (owner == kd_rank())
            send_block(next_block(&own, n), n, 0);
        else if (whole)
            receive_block(whole + at, n, owner);
    }
}

void kd_optimizer_spread(kd_optimizer *o, int m, const kd_real *whole) {
    kd_real *own = o->moment[m];
    for (int64_t b = 0; b < o->deal.count; b++) {
        const int owner = (int)(b % kd_rank_count());
        const int64_t at = o->deal.start[b], n = o->deal.start[b + 1] - at;
        if (owner == kd_rank() && whole)
            memcpy(next_block(&own, n), whole + at, (size_t)n * sizeof *own);
        else if (owner == kd_rank())
            receive_block(next_block(&own, n), n, 0);
        else if (whole)
            send_block(whole + at, n, owner);
    }
}

static void square_sum(kd_optimizer *o, int s) {
    const kd_real *g = o->params->grad + o->segment[s].offset;
    double sum = 0;
    o->partial[s] = 0;
    if (o->segment[s].moment < 0) return;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < o->segment[s].size; i++) sum += (double)g[i] * (double)g[i];
    o->partial[s] = sum;
}

/* ‖g‖ from the segments' sums, added in the order of the segments. */
static double gradient_norm(const kd_optimizer *o) {
    double total = 0;
    kd_ranks_join_doubles(o->partial, (size_t)o->segment_count);
    for (int s = 0; s < o->segment_count; s++) total += o->partial[s];
    return sqrt(total);
}

static void update_sgd(const kd_optimizer *o, const kd_segment *segment, kd_real rate,
                       kd_real scale) {
    kd_real *restrict w = o->params->value + segment->offset;
    const kd_real *restrict g = o->params->grad + segment->offset;
    kd_real *restrict v = o->moment[0] + segment->moment;
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
    kd_real *restrict m = o->moment[0] + segment->moment;
    kd_real *restrict v = o->moment[1] + segment->moment;
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
    double scale = 1, norm = 0;
    if (spec->clip > 0) {
#pragma omp parallel for
        for (int s = 0; s < optimizer->segment_count; s++) square_sum(optimizer, s);
        norm = gradient_norm(optimizer);
        scale = fmin(1, spec->clip / norm);
    }
    optimizer->step++;
#pragma omp parallel for
    for (int s = 0; s < optimizer->segment_count; s++) {
        if (spec->clip <= 0) square_sum(optimizer, s); /* the gradient is read once */
        const kd_segment *segment = &optimizer->segment[s];
        if (segment->moment < 0) continue;
        if (spec->optimizer == KD_OPTIMIZER_ADAMW)
            update_adamw(optimizer, segment, (kd_real)learning_rate, (kd_real)scale);
        else
            update_sgd(optimizer, segment, (kd_real)learning_rate, (kd_real)scale);
    }
    if (spec->clip <= 0) norm = gradient_norm(optimizer);
    kd_deal_gather(&optimizer->deal, optimizer->params->value);
    if (spec->max_norm > 0) bound_norms(optimizer->params, spec->max_norm);
    kd_params_touch(optimizer->params);
    return norm;
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
