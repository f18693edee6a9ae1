/* Discrete Fourier transforms of any length (mixed radix; fast when all prime factors are small).
 */
#ifndef KD_DATA_FFT_H
#define KD_DATA_FFT_H

/* Four numbers, each of a transform of its own: four transforms go at the price of one. */
enum { KD_FFT_LANES = 4 };
typedef double kd_lanes __attribute__((vector_size(32), aligned(8)));

typedef struct {
    kd_lanes re, im;
} kd_complex;

typedef struct kd_fft kd_fft;

/* n ≥ 1. The caller frees. */
int kd_fft_create(kd_fft **out, int n);
void kd_fft_free(kd_fft *fft);

/* In every lane out[k] = Σ_j in[j]·exp(−2πi·jk/n). `out` and `in` (n) must not overlap; `scratch`
 * has room for n. Several threads may use one kd_fft. */
void kd_fft_run(const kd_fft *fft, kd_complex *out, const kd_complex *in, kd_complex *scratch);

#endif
