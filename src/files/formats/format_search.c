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

static int between(int low, int value, int high) {
    return value < low ? low : value > high ? high : value;
}

float kd_format_mean_square(const float *x, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sum / (float)n;
}

void kd_format_weights(float *weight, const float *importance, const float *x, int n,
                       float sigma2) {
    for (int i = 0; i < n; i++) weight[i] = importance[i] * sqrtf(sigma2 + x[i] * x[i]);
}

/* --- a scale ------------------------------------------------------------------------------------
 */

/* Σ w·x·q and Σ w·q² of the steps that `inverse` gives. */
typedef struct {
    float xq, qq;
} products;

static int step_of(float x, float inverse, int most) {
    return between(-most, kd_format_nearest(inverse * x), most - 1);
}

static products sum_products(const float *x, const float *weight, int n, int most, float inverse) {
    products sum = {0, 0};
    for (int i = 0; i < n; i++) {
        const float q = (float)step_of(x[i], inverse, most);
        sum.xq += weight[i] * x[i] * q;
        sum.qq += weight[i] * q * q;
    }
    return sum;
}

float kd_format_search_scale(uint8_t *q, const float *x, const float *weight, int n, int most) {
    float extreme = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    if (fabsf(extreme) < NOTHING) {
        for (int i = 0; i < n; i++) q[i] = 0;
        return 0;
    }
    float chosen = -(float)most / extreme;
    products sum = sum_products(x, weight, n, most, chosen);
    float scale = sum.qq != 0 ? sum.xq / sum.qq : 0, gain = scale * sum.xq;
    for (int i = -9; i <= 9; i++) {
        if (i == 0) continue;
        const float inverse = -((float)most + 0.1f * (float)i) / extreme;
        sum = sum_products(x, weight, n, most, inverse);
        if (!(sum.qq > 0 && sum.xq * sum.xq > gain * sum.qq)) continue;
        chosen = inverse;
        scale = sum.xq / sum.qq;
        gain = scale * sum.xq;
    }
    for (int i = 0; i < n; i++) q[i] = (uint8_t)(step_of(x[i], chosen, most) + most);
    return scale;
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
static int improve(uint8_t *q, products *sum, const float *x, const float *weight, int n,
                   int most) {
    int changed = 0;
    for (int i = 0; i < n; i++) {
        const float w = weight[i], old = (float)q[i];
        products other = {sum->xq - w * x[i] * old, sum->qq - w * old * old};
        if (!(other.xq > 0 && other.qq > 0)) continue;
        const int step = positive_step(x[i] * other.qq / other.xq, 1, most);
        if (step == q[i]) continue;
        other.xq += w * x[i] * (float)step;
        other.qq += w * (float)step * (float)step;
        if (!(other.xq * other.xq * sum->qq > sum->xq * sum->xq * other.qq)) continue;
        q[i] = (uint8_t)step;
        *sum = other;
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
    products sum = {0, 0};
    for (int i = 0; i < n; i++) {
        const float step = (float)positive_step(x[i], chosen, most);
        q[i] = (uint8_t)step;
        sum.xq += weight[i] * x[i] * step;
        sum.qq += weight[i] * step * step;
    }
    for (int round = 0; round < ROUNDS && improve(q, &sum, x, weight, n, most); round++) continue;
    return sum.qq > 0 ? sum.xq / sum.qq : 0;
}

/* --- a scale and an offset ----------------------------------------------------------------------
 */

typedef struct {
    const float *x, *weight;
    int n, most;
    float low, high;  /* of x, low at most 0 */
    float w, wx;      /* Σ w, Σ w·x          */
    float scale, min; /* the best so far     */
    float error;
} offset_search;

/* Where the best offset has come up to the largest value, 1/s and products with it may be anything.
 */
static void try_steps(const offset_search *s, uint8_t *q, float inverse) {
    for (int i = 0; i < s->n; i++) {
        const float scaled = inverse * (s->x[i] - s->min), most = (float)s->most;
        q[i] = (uint8_t)(scaled > 0 ? kd_format_nearest(scaled < most ? scaled : most) : 0);
    }
}

static void first_steps(const offset_search *s, uint8_t *q, float inverse) {
    for (int i = 0; i < s->n; i++)
        q[i] = (uint8_t)between(0, kd_format_nearest(inverse * (s->x[i] - s->min)), s->most);
}

static float error_of(const offset_search *s, const uint8_t *q, float scale, float min) {
    float sum = 0;
    for (int i = 0; i < s->n; i++) {
        const float difference = scale * (float)q[i] + min - s->x[i];
        sum += s->weight[i] * (difference * difference);
    }
    return sum;
}

/* The best scale and offset of the steps q; false when they are all alike. */
static int solve(const offset_search *s, const uint8_t *q, float *scale, float *min) {
    float q1 = 0, q2 = 0, xq = 0;
    for (int i = 0; i < s->n; i++) {
        const float w = s->weight[i], step = (float)q[i];
        q1 += w * step;
        q2 += w * step * step;
        xq += w * step * s->x[i];
    }
    const float determinant = s->w * q2 - q1 * q1;
    if (!(determinant > 0)) return 0;
    *scale = (s->w * xq - s->wx * q1) / determinant;
    *min = (q2 * s->wx - q1 * xq) / determinant;
    if (*min > 0) {
        *min = 0;
        *scale = xq / q2;
    }
    return 1;
}

static void look_at(offset_search *s) {
    s->low = s->high = s->x[0];
    for (int i = 0; i < s->n; i++) {
        if (s->x[i] < s->low) s->low = s->x[i];
        if (s->x[i] > s->high) s->high = s->x[i];
        s->w += s->weight[i];
        s->wx += s->weight[i] * s->x[i];
    }
    if (s->low > 0) s->low = 0;
    s->min = s->low;
}

float kd_format_search_offset(uint8_t *q, float *offset, const float *x, const float *weight, int n,
                              int most, kd_format_candidates candidates) {
    offset_search s = {.x = x, .weight = weight, .n = n, .most = most};
    uint8_t tried[32];
    look_at(&s);
    *offset = s.min;
    for (int i = 0; i < n; i++) q[i] = 0;
    if (!(s.high > s.low)) return 0;
    const float inverse = (float)most / (s.high - s.low);
    s.scale = 1 / inverse;
    first_steps(&s, q, inverse);
    s.error = error_of(&s, q, s.scale, s.min);
    for (int i = 0; i <= candidates.count; i++) {
        float scale, min;
        const float steps = candidates.first + candidates.step * (float)i + (float)most;
        try_steps(&s, tried, steps / (s.high - s.min)); /* from the best offset so far */
        if (!solve(&s, tried, &scale, &min)) continue;
        const float error = error_of(&s, tried, scale, min);
        if (!(error < s.error)) continue;
        for (int k = 0; k < n; k++) q[k] = tried[k];
        s.error = error;
        s.scale = scale;
        s.min = min;
    }
    *offset = s.min;
    return s.scale;
}
