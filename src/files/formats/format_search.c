#include "files/formats/format_search.h"

#include <math.h>
#include <string.h>

static const float NOTHING = 1e-15f; /* magnitudes below it are 0, for ggml */

/* 1.5·2²³: behind it a float has no fraction, so that adding it rounds. */
int kd_format_nearest(float x) {
    const float shifted = x + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (bits & 0x007fffff) - 0x00400000;
}

float kd_format_sum_of_squares(const float *x, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

float kd_format_mean_square(const float *x, int64_t n) {
    return kd_format_sum_of_squares(x, n) / (float)n;
}

void kd_format_weights(float *weight, const float *importance, const float *x, int n,
                       float sigma2) {
    for (int i = 0; i < n; i++) weight[i] = importance[i] * sqrtf(sigma2 + x[i] * x[i]);
}

/* --- a scale ------------------------------------------------------------------------------------
 */

/* Σ w·x·q and Σ w·q² of the steps that `inverse` gives. */
typedef struct {
    kd_octet xq, qq;
} products;

/* The value of largest magnitude, the first of several. */
static kd_octet extreme_of(const kd_octet *x, int n) {
    kd_octet extreme = {0}, largest = {0};
    for (int i = 0; i < n; i++) {
        const kd_octet magnitude = kd_octet_magnitude(x[i]);
        const kd_octet_int more = magnitude > largest;
        largest = kd_octet_pick(more, magnitude, largest);
        extreme = kd_octet_pick(more, x[i], extreme);
    }
    return extreme;
}

static products sum_products(const kd_octet *x, const kd_octet *weight, int n, int most,
                             kd_octet inverse) {
    products sum = {{0}, {0}};
    for (int i = 0; i < n; i++) {
        const kd_octet q = kd_octet_float(kd_octet_step(inverse * x[i], -most, most - 1));
        sum.xq += weight[i] * x[i] * q;
        sum.qq += weight[i] * q * q;
    }
    return sum;
}

/* s, where there are steps. */
static kd_octet best_scale(const products *sum, kd_octet_int there) {
    return kd_octet_pick(there, sum->xq / sum->qq, (kd_octet){0});
}

void kd_format_search_scale(kd_octet *scale, kd_octet_int *q, const kd_octet *x,
                            const kd_octet *weight, int n, int most) {
    const kd_octet extreme = extreme_of(x, n);
    const kd_octet_int some = kd_octet_magnitude(extreme) >= NOTHING;
    kd_octet chosen = kd_octet_all(-(float)most) / extreme;
    products sum = sum_products(x, weight, n, most, chosen);
    kd_octet found = best_scale(&sum, sum.qq != 0), gain = found * sum.xq;
    for (int i = -9; i <= 9; i++) {
        if (i == 0) continue;
        const kd_octet inverse = kd_octet_all(-((float)most + 0.1f * (float)i)) / extreme;
        sum = sum_products(x, weight, n, most, inverse);
        const kd_octet_int better = (sum.qq > 0) & (sum.xq * sum.xq > gain * sum.qq);
        chosen = kd_octet_pick(better, inverse, chosen);
        found = kd_octet_pick(better, sum.xq / sum.qq, found);
        gain = kd_octet_pick(better, found * sum.xq, gain);
    }
    for (int i = 0; i < n; i++)
        q[i] = (kd_octet_step(chosen * x[i], -most, most - 1) + most) & some;
    *scale = kd_octet_pick(some, found, (kd_octet){0});
}

/* Gives value i the step that is best beside the others; → where it changed. */
static kd_octet_int improve_step(kd_octet *q, products *sum, kd_octet x, kd_octet w, int most) {
    const kd_octet old = *q;
    products other = {sum->xq - w * x * old, sum->qq - w * old * old};
    const kd_octet step = kd_octet_float(kd_octet_step(x * other.qq / other.xq, -most, most - 1));
    const kd_octet_int possible = (other.xq > 0) & (step != old);
    other.xq += w * x * step;
    other.qq += w * step * step;
    const kd_octet_int better =
        possible & (other.qq > 0) & (other.xq * other.xq * sum->qq > sum->xq * sum->xq * other.qq);
    *q = kd_octet_pick(better, step, old);
    sum->xq = kd_octet_pick(better, other.xq, sum->xq);
    sum->qq = kd_octet_pick(better, other.qq, sum->qq);
    return better;
}

static int any(kd_octet_int mask) {
    int found = 0;
    for (int k = 0; k < KD_OCTET; k++) found |= mask[k];
    return found;
}

void kd_format_search_steps(kd_octet *scale, kd_octet_int *q, const kd_octet *x, int n, int most) {
    enum { ROUNDS = 5 };
    const kd_octet extreme = extreme_of(x, n), inverse = kd_octet_all(-(float)most) / extreme;
    const kd_octet_int some = kd_octet_magnitude(extreme) >= NOTHING;
    kd_octet step[KD_OCTET_VALUES];
    products sum = {{0}, {0}};
    for (int i = 0; i < n; i++) {
        step[i] = kd_octet_float(kd_octet_step(inverse * x[i], -most, most - 1));
        sum.xq += x[i] * x[i] * x[i] * step[i];
        sum.qq += x[i] * x[i] * step[i] * step[i];
    }
    for (int round = 0; round < ROUNDS; round++) {
        kd_octet_int changed = {0};
        for (int i = 0; i < n; i++)
            changed |= improve_step(&step[i], &sum, x[i], x[i] * x[i], most);
        if (!any(changed & some)) break;
    }
    for (int i = 0; i < n; i++)
        q[i] = (__builtin_convertvector(step[i], kd_octet_int) + most) & some;
    *scale = best_scale(&sum, (sum.qq > 0) & some);
}

/* --- levels -------------------------------------------------------------------------------------
 */

enum { LEVELS = 16 };

/* Below which numbers a level is nearer than the one above it, and how far that is; what is no
 * number is at the last one. */
typedef struct {
    float middle[LEVELS - 1];
    int last, rise[LEVELS - 1];
} ladder;

static ladder ladder_of(const int8_t *level) {
    ladder l = {.last = level[LEVELS - 1]};
    for (int k = 0; k < LEVELS - 1; k++) {
        l.middle[k] = (float)(level[k] + level[k + 1]) / 2;
        l.rise[k] = level[k + 1] - level[k];
    }
    return l;
}

/* The level next to x. */
static kd_octet level_at(const ladder *l, kd_octet x) {
    kd_octet_int value = (kd_octet_int){0} + l->last;
    for (int k = 0; k < LEVELS - 1; k++) value -= (x < l->middle[k]) & l->rise[k];
    return kd_octet_float(value);
}

static products sum_levels(const ladder *l, const kd_octet *x, const kd_octet *weight, int n,
                           kd_octet inverse) {
    products sum = {{0}, {0}};
    for (int i = 0; i < n; i++) {
        const kd_octet q = level_at(l, inverse * x[i]);
        sum.xq += weight[i] * q * x[i];
        sum.qq += weight[i] * q * q;
    }
    return sum;
}

void kd_format_search_levels(kd_octet *scale, const kd_octet *x, const kd_octet *weight, int n,
                             const int8_t *level) {
    const ladder l = ladder_of(level);
    const kd_octet extreme = extreme_of(x, n);
    const kd_octet_int some = kd_octet_magnitude(extreme) >= NOTHING;
    const kd_octet first = 1 / (-extreme / (float)level[0]);
    products sum = sum_levels(&l, x, weight, n, first);
    kd_octet found = best_scale(&sum, sum.qq > 0), gain = found * sum.xq;
    for (int i = -7; i <= 7; i++) {
        sum = sum_levels(&l, x, weight, n, kd_octet_all((float)(i + level[0])) / extreme);
        const kd_octet_int better = (sum.qq > 0) & (sum.xq * sum.xq > gain * sum.qq);
        found = kd_octet_pick(better, sum.xq / sum.qq, found);
        gain = kd_octet_pick(better, found * sum.xq, gain);
    }
    *scale = kd_octet_pick(some, found, (kd_octet){0});
}

void kd_format_levels(kd_octet_int *q, const kd_octet *x, const kd_octet *inverse, int n,
                      const int8_t *level) {
    const ladder l = ladder_of(level);
    for (int i = 0; i < n; i++) {
        const kd_octet scaled = *inverse * x[i];
        q[i] = (kd_octet_int){0} + (LEVELS - 1);
        for (int k = 0; k < LEVELS - 1; k++) q[i] += scaled < l.middle[k];
    }
}

/* --- a scale of numbers that are not negative ---------------------------------------------------
 */

static int positive_step(float x, float inverse, int most) {
    const int step = kd_format_nearest(inverse * x);
    return step < most ? step : most;
}

static float positive_error(const float *x, const float *weight, int n, int most, float inverse) {
    const float scale = 1 / inverse;
    float sum = 0;
    for (int i = 0; i < n; i++) {
        const float difference = x[i] - scale * (float)positive_step(x[i], inverse, most);
        sum += weight[i] * difference * difference;
    }
    return sum;
}

/* Gives each value the step that is best beside the others; → whether one changed. */
static int improve(uint8_t *q, float *xq, float *qq, const float *x, const float *weight, int n,
                   int most) {
    int changed = 0;
    for (int i = 0; i < n; i++) {
        const float w = weight[i], old = (float)q[i];
        float other_xq = *xq - w * x[i] * old, other_qq = *qq - w * old * old;
        if (!(other_xq > 0 && other_qq > 0)) continue;
        const int step = positive_step(x[i] * other_qq / other_xq, 1, most);
        if (step == q[i]) continue;
        other_xq += w * x[i] * (float)step;
        other_qq += w * (float)step * (float)step;
        if (!(other_xq * other_xq * *qq > *xq * *xq * other_qq)) continue;
        q[i] = (uint8_t)step;
        *xq = other_xq;
        *qq = other_qq;
        changed = 1;
    }
    return changed;
}

float kd_format_search_positive(uint8_t *q, const float *x, const float *weight, int n, int most) {
    enum { ROUNDS = 5 };
    float largest = 0;
    for (int i = 0; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    for (int i = 0; i < n; i++) q[i] = 0;
    if (largest < NOTHING) return 0;
    float chosen = (float)most / largest, least = positive_error(x, weight, n, most, chosen);
    for (int i = -4; i <= 4; i++) {
        if (i == 0) continue;
        const float inverse = (0.1f * (float)i + (float)most) / largest;
        const float error = positive_error(x, weight, n, most, inverse);
        if (!(error < least)) continue;
        least = error;
        chosen = inverse;
    }
    float xq = 0, qq = 0;
    for (int i = 0; i < n; i++) {
        const int whole = positive_step(x[i], chosen, most);
        const float step = (float)whole;
        q[i] = (uint8_t)whole; /* of a scale below 0 what ggml makes of it */
        xq += weight[i] * x[i] * step;
        qq += weight[i] * step * step;
    }
    for (int round = 0; round < ROUNDS && improve(q, &xq, &qq, x, weight, n, most); round++)
        continue;
    return qq > 0 ? xq / qq : 0;
}

/* --- a scale and an offset ----------------------------------------------------------------------
 */

typedef struct {
    const kd_octet *x, *weight;
    int n, most, absolute;
    kd_octet low, high;  /* of x, low at most 0   */
    kd_octet w, wx;      /* Σ w, Σ w·x            */
    kd_octet scale, min; /* the best so far       */
    kd_octet error;
} offset_search;

static void look_at(offset_search *s) {
    s->low = s->high = s->x[0];
    for (int i = 0; i < s->n; i++) {
        s->low = kd_octet_pick(s->x[i] < s->low, s->x[i], s->low);
        s->high = kd_octet_pick(s->x[i] > s->high, s->x[i], s->high);
        s->w += s->weight[i];
        s->wx += s->weight[i] * s->x[i];
    }
    s->low = kd_octet_pick(s->low > 0, (kd_octet){0}, s->low);
    s->min = s->low;
}

static kd_octet error_of(const offset_search *s, const kd_octet_int *q, kd_octet scale,
                         kd_octet min) {
    kd_octet sum = {0};
    for (int i = 0; i < s->n; i++) {
        const kd_octet difference = scale * kd_octet_float(q[i]) + min - s->x[i];
        sum +=
            s->weight[i] * (s->absolute ? kd_octet_magnitude(difference) : difference * difference);
    }
    return sum;
}

/* The best scale and offset of the steps of `inverse`, which become q; → where they are not all
 * alike. */
static kd_octet_int solve(const offset_search *s, kd_octet_int *q, kd_octet inverse,
                          kd_octet *scale, kd_octet *min) {
    kd_octet q1 = {0}, q2 = {0}, xq = {0};
    for (int i = 0; i < s->n; i++) {
        q[i] = kd_octet_step(inverse * (s->x[i] - s->min), 0, s->most);
        const kd_octet step = kd_octet_float(q[i]), weighted = s->weight[i] * step;
        q1 += weighted;
        q2 += weighted * step;
        xq += weighted * s->x[i];
    }
    const kd_octet determinant = s->w * q2 - q1 * q1;
    const kd_octet free_min = (q2 * s->wx - q1 * xq) / determinant;
    const kd_octet_int above = free_min > 0; /* then it is 0 */
    *scale = kd_octet_pick(above, xq / q2, (s->w * xq - s->wx * q1) / determinant);
    *min = kd_octet_pick(above, (kd_octet){0}, free_min);
    return determinant > 0;
}

void kd_format_search_offset(kd_octet *scale, kd_octet *offset, kd_octet_int *q, const kd_octet *x,
                             const kd_octet *weight, int n, int most,
                             const kd_format_candidates *candidates) {
    offset_search s = {
        .x = x, .weight = weight, .n = n, .most = most, .absolute = candidates->absolute};
    kd_octet_int tried[KD_OCTET_VALUES];
    look_at(&s);
    const kd_octet_int flat = s.high <= s.low;
    const kd_octet inverse = kd_octet_all((float)most) / (s.high - s.low);
    s.scale = 1 / inverse;
    for (int i = 0; i < n; i++) q[i] = kd_octet_step(inverse * (x[i] - s.min), 0, most) & ~flat;
    s.error = error_of(&s, q, s.scale, s.min);
    for (int i = 0; i <= candidates->count; i++) {
        kd_octet found, min;
        const float steps = candidates->first + candidates->step * (float)i + (float)most;
        const kd_octet_int solved =
            solve(&s, tried, kd_octet_all(steps) / (s.high - s.min), &found, &min);
        const kd_octet error = error_of(&s, tried, found, min);
        const kd_octet_int better = solved & (error < s.error) & ~flat;
        for (int k = 0; k < n; k++) q[k] = kd_octet_pick_int(better, tried[k], q[k]);
        s.error = kd_octet_pick(better, error, s.error);
        s.scale = kd_octet_pick(better, found, s.scale);
        s.min = kd_octet_pick(better, min, s.min);
    }
    *offset = s.min;
    *scale = kd_octet_pick(flat, (kd_octet){0}, s.scale);
}
