/* Cooley and Tukey: with n = p·m, the transform of n is p transforms of m (of every p-th element,
 * each starting one later), joined by
 *
 *     X[r·m + k] = Σ_{q<p} (w^{qk} X_q[k]) · w^{q·r·m},   w = exp(−2πi/n), k < m, r < p.
 *
 * The primes of n are split off one by one; a prime p costs p operations per element.
 */
#include "data/fft.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"

enum { FACTORS_MAX = 32 };

struct kd_fft {
    int n, factor_count;
    int factor[FACTORS_MAX]; /* primes, their product is n */
    struct {
        double re, im;
    } root[]; /* (n) exp(−2πi·j/n) */
};

int kd_fft_create(kd_fft **out, int n) {
    KD_CONTRACT(n >= 1, "length %d", n);
    *out = NULL;
    size_t bytes = sizeof(kd_fft) + (size_t)n * sizeof *(*out)->root;
    kd_fft *fft = malloc(bytes);
    if (!fft) return kd_fail_memory(bytes, "a Fourier transform");
    fft->n = n;
    fft->factor_count = 0;
    int rest = n;
    for (int p = 2; rest > 1; p++) {
        if (p > rest / p) p = rest; /* no divisor up to its square root: a prime */
        while (rest % p == 0) {
            fft->factor[fft->factor_count++] = p;
            rest /= p;
        }
    }
    const double turn = 2.0 * 3.14159265358979323846 / n;
    for (int j = 0; j < n; j++) {
        fft->root[j].re = cos(turn * j);
        fft->root[j].im = -sin(turn * j);
    }
    *out = fft;
    return KD_OK;
}

void kd_fft_free(kd_fft *fft) {
    free(fft);
}

static inline kd_complex turned(const kd_fft *fft, kd_complex a, int root) {
    double re = fft->root[root].re, im = fft->root[root].im;
    return (kd_complex){a.re * re - a.im * im, a.re * im + a.im * re};
}

/* Joins the p transforms of m that stand one behind the other in out (n = p·m; stride·n = fft->n).
 */
static void join(const kd_fft *fft, int p, int m, int stride, kd_complex *out,
                 kd_complex *scratch) {
    for (int k = 0; k < m; k++) {
        for (int q = 0; q < p; q++) scratch[q] = turned(fft, out[q * m + k], q * k * stride);
        for (int r = 0; r < p; r++) {
            kd_complex sum = scratch[0];
            int step = r * m * stride, turn = 0; /* turn = q·step mod fft->n */
            for (int q = 1; q < p; q++) {
                turn += step;
                if (turn >= fft->n) turn -= fft->n;
                kd_complex term = turned(fft, scratch[q], turn);
                sum.re += term.re;
                sum.im += term.im;
            }
            out[r * m + k] = sum;
        }
    }
}

/* The same for p = 2, where the inner roots are 1 and −1. */
static void join_two(const kd_fft *fft, int m, int stride, kd_complex *out) {
    for (int k = 0; k < m; k++) {
        kd_complex a = out[k], b = turned(fft, out[m + k], k * stride);
        out[k] = (kd_complex){a.re + b.re, a.im + b.im};
        out[m + k] = (kd_complex){a.re - b.re, a.im - b.im};
    }
}

/* The transform of n elements in[0], in[stride] …; stride·n = fft->n. */
static void transform(const kd_fft *fft, int level, int n, int stride, kd_complex *out,
                      const kd_complex *in, kd_complex *scratch) {
    if (n == 1) {
        out[0] = in[0];
        return;
    }
    int p = fft->factor[level], m = n / p;
    for (int q = 0; q < p; q++)
        transform(fft, level + 1, m, stride * p, out + q * m, in + q * stride, scratch);
    if (p == 2)
        join_two(fft, m, stride, out);
    else
        join(fft, p, m, stride, out, scratch);
}

void kd_fft_run(const kd_fft *fft, kd_complex *out, const kd_complex *in, kd_complex *scratch) {
    transform(fft, 0, fft->n, 1, out, in, scratch);
}
