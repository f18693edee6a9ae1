// gemmlowp's own rounding, for test_int8.c to compare with. Debian: libgemmlowp-dev.
#include <gemmlowp/fixedpoint/fixedpoint.h>

extern "C" int32_t gemmlowp_high_mul(int32_t a, int32_t b);
extern "C" int32_t gemmlowp_rounding_shift(int32_t x, int n);
extern "C" int32_t gemmlowp_left_shift(int32_t x, int n);

int32_t gemmlowp_high_mul(int32_t a, int32_t b) {
    return gemmlowp::SaturatingRoundingDoublingHighMul(a, b);
}

int32_t gemmlowp_rounding_shift(int32_t x, int n) {
    return gemmlowp::RoundingDivideByPOT(x, n);
}

// Saturating: n times by 2.
int32_t gemmlowp_left_shift(int32_t x, int n) {
    for (; n > 0; n--) x = gemmlowp::SaturatingRoundingMultiplyByPOT<1>(x);
    return x;
}
