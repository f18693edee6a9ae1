#include "quant/grid.h"

#include "base/error.h"

kd_grid kd_grid_from_range(double min, double max, int bits, bool symmetric) {
    KD_CONTRACT(bits >= 2 && bits <= 8, "%d bits", bits);
    min = min < 0 ? min : 0;
    max = max > 0 ? max : 0;
    kd_grid grid = {0};
    double width = max - min, steps = (double)((1 << bits) - 1);
    if (symmetric) {
        grid.qmax = (1 << (bits - 1)) - 1;
        grid.qmin = -grid.qmax;
        width = -min > max ? -min : max;
        steps = (double)grid.qmax;
    } else {
        grid.qmax = (1 << bits) - 1;
    }
    grid.scale = (float)(width / steps);
    /* Also where the division underflows: 1/scale must be finite. */
    if (!(grid.scale >= 0x1p-100f)) grid.scale = (float)(1 / steps);
    if (!symmetric) {
        double zero = round(-min / (double)grid.scale);
        grid.zero = zero < grid.qmax ? (int32_t)zero : grid.qmax;
    }
    return grid;
}

int32_t kd_grid_reach(const kd_grid *grid) {
    int32_t above = grid->qmax - grid->zero, below = grid->zero - grid->qmin;
    return above > below ? above : below;
}

kd_multiplier kd_multiplier_from(double M) {
    const kd_multiplier nothing = {0}, most = {INT32_MAX, -30};
    if (!(M > 0)) return nothing;
    if (M >= 0x1p30) return most;
    int exponent;
    double fraction = frexp(M, &exponent); /* in [0.5, 1) */
    int64_t factor = llround(fraction * 0x1p31);
    if (factor == (int64_t)1 << 31) {
        factor /= 2;
        exponent++;
    }
    if (exponent < -31) return nothing;
    if (exponent > 30) return most;
    return (kd_multiplier){.factor = (int32_t)factor, .shift = -exponent};
}

kd_add_multipliers kd_add_multipliers_from(float scale_a, float scale_b, float scale_out) {
    double a = (double)scale_a, b = (double)scale_b, twice = 2 * (a > b ? a : b);
    double unit = (double)(1 << KD_ADD_HEADROOM);
    return (kd_add_multipliers){.a = kd_multiplier_from(a / twice),
                                .b = kd_multiplier_from(b / twice),
                                .out = kd_multiplier_from(twice / (unit * (double)scale_out))};
}
