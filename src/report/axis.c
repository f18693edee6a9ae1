#include "report/axis.h"

#include <math.h>
#include <stdio.h>

kd_axis kd_axis_begin(bool log, double first, double last) {
    return (kd_axis){INFINITY, -INFINITY, first, last, log, false};
}

bool kd_axis_can_show(const kd_axis *axis, double value) {
    return isfinite(value) && (!axis->log || value > 0);
}

void kd_axis_widen(kd_axis *axis, double value) {
    if (!kd_axis_can_show(axis, value)) return;
    const double v = axis->log ? log10(value) : value;
    axis->low = fmin(axis->low, v);
    axis->high = fmax(axis->high, v);
}

void kd_axis_add_margin(kd_axis *axis, double share, const kd_plot_bounds *bounds) {
    double margin = share * (axis->high - axis->low);
    if (margin <= 0) margin = axis->log || axis->high == 0 ? 0.5 : 0.05 * fabs(axis->high);
    axis->low -= margin;
    axis->high += margin;
    if (bounds->most <= bounds->least) return;
    if (!axis->log || bounds->least > 0)
        axis->low = fmax(axis->low, axis->log ? log10(bounds->least) : bounds->least);
    axis->high = fmin(axis->high, axis->log ? log10(bounds->most) : bounds->most);
}

double kd_axis_place(const kd_axis *axis, double value) {
    const double v = axis->log ? log10(value) : value;
    return axis->first + (axis->last - axis->first) * (v - axis->low) / (axis->high - axis->low);
}

/* --- ticks ---------------------------------------------------------------------------------- */

void kd_axis_number(char *out, size_t capacity, const char *format, double value) {
    char plain[64];
    snprintf(plain, sizeof plain, format, value);
    snprintf(out, capacity, "%s%s", plain[0] == '-' ? "−" : "", plain + (plain[0] == '-'));
}

/* The smallest of 1, 2, 5 times a power of ten that makes at most `most` steps over `range`. */
static double tick_step(double range, int most) {
    const double power = pow(10, floor(log10(range / most)));
    static const double factor[] = {1, 2, 5};
    for (int i = 0; i < 3; i++)
        if (range / (factor[i] * power) <= most) return factor[i] * power;
    return 10 * power;
}

/* As many decimals as the step needs; very small and very large numbers with their power. */
static void name_tick(kd_tick *tick, double step) {
    const int decimals = (int)ceil(-log10(step) - 1e-9);
    const double size = fabs(tick->value);
    const char *sign = tick->value < 0 ? "−" : "";
    const bool with_power = decimals > 4 || size >= 1e6;
    const int power = with_power && size > 0 ? (int)floor(log10(size) + 1e-9) : 0;
    if (power != 0)
        snprintf(tick->name, sizeof tick->name, "%s%.3ge%d", sign, size / pow(10, power), power);
    else
        snprintf(tick->name, sizeof tick->name, "%s%.*f", sign,
                 decimals > 0 && !with_power ? decimals : 0, size);
}

static int linear_ticks(kd_tick *out, double low, double high, bool whole, int most) {
    const double step = fmax(tick_step(high - low, most), whole ? 1 : 0);
    const double from = ceil(low / step - 1e-9);
    int n = 0;
    for (; n < most + 2 && (from + n) * step <= high + 1e-9 * step; n++) {
        out[n].value = from + n == 0 ? 0 : (from + n) * step;
        name_tick(&out[n], step);
    }
    return n;
}

/* The multiples of powers of ten between the ends; named are the powers that `every` divides and,
 * where it is 0, 2 and 5 too. */
static int decade_ticks(kd_tick *out, const kd_axis *axis, int every) {
    int n = 0;
    for (int power = (int)floor(axis->low); power <= axis->high; power++)
        for (int digit = 1; digit <= 9; digit++) {
            const double v = power + log10(digit);
            if (v < axis->low - 1e-9 || v > axis->high + 1e-9 || n == KD_TICKS_MAX) continue;
            const bool named = every == 0 ? digit == 1 || digit == 2 || digit == 5
                                          : digit == 1 && power % every == 0;
            if (!named && every > 1) continue;
            kd_tick *tick = &out[n++];
            *tick = (kd_tick){.value = digit * pow(10, power)};
            if (named && power >= -3 && power <= 4)
                snprintf(tick->name, sizeof tick->name, "%g", tick->value);
            else if (named)
                snprintf(tick->name, sizeof tick->name, "%de%d", digit, power);
        }
    return n;
}

static int count_named(const kd_tick *tick, int count) {
    int named = 0;
    for (int i = 0; i < count; i++) named += tick[i].name[0] != '\0';
    return named;
}

/* 1, 2, 5, 10, 20 … */
static int next_step(int step) {
    int power = 1;
    while (step / power >= 10) power *= 10;
    return step == 2 * power ? 5 * power : 2 * step;
}

int kd_axis_ticks(kd_tick out[KD_TICKS_MAX], const kd_axis *axis, int most) {
    if (!axis->log) return linear_ticks(out, axis->low, axis->high, axis->whole, most);
    int count = decade_ticks(out, axis, 0);
    if (count_named(out, count) < 3) /* less than a decade */
        return linear_ticks(out, pow(10, axis->low), pow(10, axis->high), axis->whole, most);
    for (int every = 1; count_named(out, count) > most + 1; every = next_step(every))
        count = decade_ticks(out, axis, every);
    return count;
}
