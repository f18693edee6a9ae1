#include "layers/rotary.h"

#include "base/error.h"

static const double TURN = 6.283185307179586476925; /* 2π */

int kd_rotary_check(const kd_rotary_spec *s, int pairs, const char *source) {
    const bool scaled = s->kind != KD_ROTARY_PLAIN && s->kind != KD_ROTARY_DIVIDED;
    const bool stretched = s->kind == KD_ROTARY_LLAMA3 || s->kind == KD_ROTARY_YARN;
    if (!(s->base > 1 && s->base < 1e15))
        return kd_fail(KD_EDATA, "%s: base of the rotary positions %g; it is above 1", source,
                       s->base);
    if (scaled && !(s->factor > 0 && s->factor < 1e6))
        return kd_fail(KD_EDATA, "%s: rotary positions stretched by %g; it is above 0", source,
                       s->factor);
    if (stretched && !(s->original >= 1 && s->original < 1e9))
        return kd_fail(KD_EDATA, "%s: rotary positions of an original context of %g", source,
                       s->original);
    if (s->kind == KD_ROTARY_LLAMA3 && !(s->low > 0 && s->high > s->low && s->high < 1e6))
        return kd_fail(KD_EDATA,
                       "%s: rotary positions between %g and %g turns; they are above 0 and rise",
                       source, s->low, s->high);
    if (s->kind == KD_ROTARY_YARN && !(s->slow > 0 && s->fast >= s->slow && s->fast < 1e6 &&
                                       s->attention >= 0 && s->attention < 1e3))
        return kd_fail(KD_EDATA, "%s: rotary positions between %g and %g turns, attention × %g",
                       source, s->slow, s->fast, s->attention);
    for (int i = 0; i < pairs && s->kind == KD_ROTARY_DIVIDED; i++)
        if (!(s->divisor[i] > 0 && s->divisor[i] < 1e9f))
            return kd_fail(KD_EDATA, "%s: rotary pair %d divided by %g; it is above 0", source, i,
                           (double)s->divisor[i]);
    return KD_OK;
}

/* Where `turns` turns are made in the original context: the place among the pairs. */
static double pair_of_turns(const kd_rotary_spec *s, int pairs, double turns) {
    return pairs * log(s->original / (turns * TURN)) / log(s->base);
}

/* How much of a pair's angle is divided, 0 … 1. */
static double yarn_share(const kd_rotary_spec *s, int pairs, int i) {
    double first = pair_of_turns(s, pairs, s->fast), last = pair_of_turns(s, pairs, s->slow);
    if (s->whole_pairs) first = floor(first), last = ceil(last);
    if (first < 0) first = 0;
    if (last > 2 * pairs - 1) last = 2 * pairs - 1;
    if (first == last) last += 0.001;
    const double share = (i - first) / (last - first);
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

static double llama3_share(const kd_rotary_spec *s, double w) {
    const double turns = s->original * w / TURN;
    if (turns < s->low) return 1;
    if (turns > s->high) return 0;
    return 1 - (turns - s->low) / (s->high - s->low);
}

void kd_rotary_divisors(double *out, const kd_rotary_spec *s, int pairs) {
    for (int i = 0; i < pairs; i++) {
        double share = 0; /* of the angle that is divided by the factor */
        if (s->kind == KD_ROTARY_LINEAR) share = 1;
        if (s->kind == KD_ROTARY_LLAMA3) share = llama3_share(s, pow(s->base, -(double)i / pairs));
        if (s->kind == KD_ROTARY_YARN) share = yarn_share(s, pairs, i);
        out[i] = share > 0 ? 1 / (share / s->factor + 1 - share) : 1;
        if (s->kind == KD_ROTARY_DIVIDED) out[i] = (double)s->divisor[i];
    }
}

static double attention_of(const kd_rotary_spec *s) {
    if (s->kind != KD_ROTARY_YARN) return 1;
    if (s->attention > 0) return s->attention;
    return s->factor > 1 ? 0.1 * log(s->factor) + 1 : 1;
}

void kd_rotary_fill(kd_real *cosine, kd_real *sine, const kd_rotary_spec *spec, int64_t first,
                    int64_t positions, int pairs) {
    double divisor[KD_ROTARY_PAIRS_MAX];
    const double scale = attention_of(spec);
    kd_rotary_divisors(divisor, spec, pairs);
    for (int i = 0; i < pairs; i++) {
        /* As other programs hold it: in float. */
        const double w = (double)(float)(pow(spec->base, -(double)i / pairs) / divisor[i]);
        for (int64_t t = 0; t < positions; t++) {
            const double angle = (double)(first + t) * w;
            cosine[t * pairs + i] = (kd_real)(scale * cos(angle));
            sine[t * pairs + i] = (kd_real)(scale * sin(angle));
        }
    }
}
