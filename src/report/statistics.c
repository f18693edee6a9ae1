#include "report/statistics.h"

#include <math.h>
#include <stdbool.h>

/* P(|t| ≤ x): the finite sums of Abramowitz and Stegun, 26.7.3 (odd) and 26.7.4 (even), with
 * θ = atan(x/√ν). */
static double within(double x, int freedom) {
    double angle = atan(x / sqrt(freedom)), cosine = cos(angle), square = cosine * cosine;
    bool odd = freedom % 2 != 0;
    double term = odd ? cosine : 1, sum = freedom > 1 ? term : 0;
    for (int k = odd ? 3 : 2; k <= freedom - 2; k += 2) {
        term *= square * (k - 1) / k;
        sum += term;
    }
    return odd ? 2 / M_PI * (angle + sin(angle) * sum) : sin(angle) * sum;
}

double kd_student_quantile(int freedom) {
    double low = 0, high = 13; /* t(0.975, 1) = 12.706 */
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        *(within(middle, freedom) < 0.95 ? &low : &high) = middle;
    }
    return high;
}

kd_statistics kd_statistics_of(int n, const double *value) {
    kd_statistics s = {0, NAN, NAN, NAN, NAN, NAN};
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        if (!isfinite(value[i])) continue;
        s.n++;
        sum += value[i];
    }
    if (s.n == 0) return s;
    s.mean = sum / s.n;
    if (s.n == 1) return s;
    for (int i = 0; i < n; i++)
        if (isfinite(value[i])) squares += (value[i] - s.mean) * (value[i] - s.mean);
    s.deviation = sqrt(squares / (s.n - 1));
    s.reach = kd_student_quantile(s.n - 1) * s.deviation / sqrt(s.n);
    s.low = s.mean - s.reach;
    s.high = s.mean + s.reach;
    return s;
}

kd_statistics kd_statistics_within(int n, const double *value, double least, double most) {
    kd_statistics s = kd_statistics_of(n, value);
    if (s.low < least) s.low = least;
    if (s.high > most) s.high = most;
    return s;
}

static const double NORMAL = 1.959963984540054; /* 97.5 % quantile of the normal distribution */

void kd_paired_interval(int64_t n, int64_t only_a, int64_t only_b, double *low, double *high) {
    const double all = (double)n + 2, a = (double)only_a + 0.5, b = (double)only_b + 0.5;
    const double difference = (a - b) / all;
    const double reach = NORMAL * sqrt(a + b - (a - b) * (a - b) / all) / all;
    *low = fmax(-1, difference - reach);
    *high = fmin(1, difference + reach);
}
