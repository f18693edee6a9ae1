#include "report/metric.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

kd_estimate kd_estimate_plain(double value, int64_t n) {
    return (kd_estimate){value, NAN, NAN, n};
}

kd_estimate kd_estimate_share(int64_t right, int64_t n) {
    if (n <= 0) return (kd_estimate){NAN, 0, 1, 0};
    const double z = 1.959963984540054; /* 97.5 % quantile of the normal distribution */
    const double count = (double)n, p = (double)right / count;
    const double centre = (p + z * z / (2 * count)) / (1 + z * z / count);
    const double reach =
        z / (1 + z * z / count) * sqrt(p * (1 - p) / count + z * z / (4 * count * count));
    /* The ends are exact where rounding would put them a hair off. */
    return (kd_estimate){.value = p,
                         .low = right > 0 ? centre - reach : 0,
                         .high = right < n ? centre + reach : 1,
                         .n = n};
}

bool kd_metric_is_better(const kd_metric *metric, double a, double b) {
    if (isnan(a) || isnan(b)) return !isnan(a);
    return metric->higher_is_better ? a > b : a < b;
}

int kd_metric_find(const kd_metric *metric, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (strcmp(metric[i].name, name) == 0) return i;
    return -1;
}

double kd_metric_scale(const kd_metric *metric) {
    return metric->unit == KD_UNIT_SHARE ? 100 : 1;
}

int kd_metric_digits(const kd_metric *metric) {
    static const int digits[] = {[KD_UNIT_NUMBER] = 4,
                                 [KD_UNIT_SHARE] = 2,
                                 [KD_UNIT_COUNT] = 1,
                                 [KD_UNIT_BYTES] = 0,
                                 [KD_UNIT_TIME] = 3};
    return digits[metric->unit];
}

const char *kd_metric_format(const kd_metric *metric) {
    static const char *const format[] = {[KD_UNIT_NUMBER] = "%.4f",
                                         [KD_UNIT_SHARE] = "%.2f %%",
                                         [KD_UNIT_COUNT] = "%.0f",
                                         [KD_UNIT_BYTES] = "%.0f B",
                                         [KD_UNIT_TIME] = "%.3f"};
    return format[metric->unit];
}

void kd_metric_text(char *out, size_t capacity, const kd_metric *metric, double value) {
    if (isnan(value))
        snprintf(out, capacity, "–");
    else if (metric->unit == KD_UNIT_COUNT && fabs(value) < 1e15)
        kd_format_count(out, capacity, llround(value));
    else if (metric->unit == KD_UNIT_BYTES)
        kd_format_bytes(out, (int)capacity, value);
    else if (metric->unit == KD_UNIT_SHARE)
        snprintf(out, capacity, "%.2f %%", 100 * value);
    else
        snprintf(out, capacity, metric->unit == KD_UNIT_TIME ? "%.3f" : "%.4f", value);
}

void kd_metric_interval_text(char *out, size_t capacity, const kd_metric *metric,
                             const kd_estimate *estimate) {
    const double scale = kd_metric_scale(metric);
    const int digits = metric->unit == KD_UNIT_NUMBER ? 4 : 2;
    const double low = scale * estimate->low, high = scale * estimate->high;
    if (isnan(estimate->value) || isnan(low))
        snprintf(out, capacity, "%s", "");
    else if (isfinite(high))
        snprintf(out, capacity, "%.*f … %.*f", digits, low, digits, high);
    else
        snprintf(out, capacity, "at least %.*f", digits, low);
}
