/* Rotary positions (Su et al. 2021, arXiv 2104.09864): the angle of pair i at position t is t·w_i,
 * w_i = base^(−2i/D) for heads of width D, and what models do to the w_i so that they reach further
 * than they were trained for. */
#ifndef KD_LAYERS_ROTARY_H
#define KD_LAYERS_ROTARY_H

#include "autograd/ops.h"

enum { KD_ROTARY_PAIRS_MAX = 512 };

typedef enum {
    KD_ROTARY_PLAIN,
    KD_ROTARY_LINEAR, /* w/factor                                                              */
    KD_ROTARY_LLAMA3, /* w/factor where a turn takes more than original/low positions, w where
                         less than original/high, between them on a line                       */
    KD_ROTARY_YARN,   /* Peng et al. 2023, arXiv 2309.00071, equations 19 to 23: between w and
                         w/factor by the turns made in the original context, beta_fast to
                         beta_slow; cosine and sine are multiplied by `attention`              */
    KD_ROTARY_DIVIDED /* w_i/divisor[i]: a GGUF that does not say how they came about          */
} kd_rotary_kind;

typedef struct {
    kd_rotary_kind kind;
    double base;       /* θ > 1                                                         */
    double factor;     /* LINEAR, LLAMA3, YARN: > 0                                     */
    double original;   /* LLAMA3, YARN: positions of the training                       */
    double low, high;  /* LLAMA3: low < high                                            */
    double fast, slow; /* YARN: 32 and 1                                                */
    double attention;  /* YARN: 0 stands for 0.1·ln(factor) + 1 (1 where factor ≤ 1)    */
    bool whole_pairs;  /* YARN: the bounds are rounded outwards to pairs, as it is usual */
    float divisor[KD_ROTARY_PAIRS_MAX]; /* DIVIDED                                             */
} kd_rotary_spec;

/* KD_EDATA, naming `source`, unless all that its kind needs is in range. */
int kd_rotary_check(const kd_rotary_spec *spec, int pairs, const char *source);

/* out (pairs): w/w_i of the plain ones, what each is divided by. */
void kd_rotary_divisors(double *out, const kd_rotary_spec *spec, int pairs);

/* Cosines and sines of the positions from `first` on, in memory of the caller: cosine, sine
 * (positions, pairs). */
void kd_rotary_fill(kd_real *cosine, kd_real *sine, const kd_rotary_spec *spec, int64_t first,
                    int64_t positions, int pairs);

#endif
