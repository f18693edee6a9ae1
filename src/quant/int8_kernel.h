/* Products of unsigned 8-bit activations and signed 8-bit weights, exact in int32, and their way
 * back to 8 bits.
 *
 * A row of the product is a window over activations: `segments` runs of `groups`·group successive
 * values, so that a convolution reads its input where it lies and nothing is copied for each
 * window. Weights are packed into panels of 16 output channels in which `group` successive k of one
 * channel lie together, the shape in which the vector units take them. No instruction that
 * saturates in between is used (vpmaddubsw would: 255·127 twice passes 2^15).
 */
#ifndef KD_QUANT_INT8_KERNEL_H
#define KD_QUANT_INT8_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

enum { KD_INT8_COLUMNS = 16, KD_INT8_ROWS = 8, KD_INT8_PANELS = 2 };

/* Windows of several rows. Positions count in activations: u8, or u16 for a wide kernel. A segment
 * may be read up to a whole group, where the weights are 0. */
typedef struct {
    int rows;                      /* 1 … KD_INT8_ROWS                               */
    const void *row[KD_INT8_ROWS]; /* where each row's window begins                 */
    int segments;
    const int64_t *offset; /* (segments) from the window's beginning         */
    int64_t groups;        /* in a segment                                   */
} kd_int8_windows;

/* How rows of 16 sums become stored values: clamp(requantize(sum + bias), low, high) + zero. The
 * first `channels` of row r go to out + r·row_stride. */
typedef struct {
    const int32_t *bias, *factor, *shift; /* (16), of two panels (32)                */
    int32_t low, high, zero;
    int channels;
    uint8_t *out;
    int64_t row_stride;
} kd_int8_rounding;

typedef struct {
    const char *name;
    int group; /* 2, 4 or 8                                                          */
    bool wide; /* activations are handed over as 16-bit numbers, not 8               */
    int rows;  /* windows that it is fastest with, at most KD_INT8_ROWS              */
    /* c[r][j] = Σ_k window_r[k]·w[j][k] (mod 2^32) for one panel of weights */
    void (*tile)(const kd_int8_windows *in, const int8_t *weight,
                 int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]);
    void (*store)(int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS],
                  const kd_int8_rounding *how);
    /* Both in one, the sums staying in registers, for one panel or two that lie panel_bytes apart:
     * as many as hold how->channels. NULL where there is none. */
    void (*run)(const kd_int8_windows *in, const int8_t *weight, int64_t panel_bytes,
                const kd_int8_rounding *how);
} kd_int8_kernel;

/* The fastest kernel of this processor that gave the right result on a case chosen to saturate;
 * DISTILL_ISA in the environment names the highest level allowed (base/isa.h). */
const kd_int8_kernel *kd_int8_kernel_choose(void);

/* The kernel called so if this processor can run it, else NULL: "portable", "avx2", "avxvnni",
 * "avx512vnni"; on Arm "dotprod", "i8mm". */
const kd_int8_kernel *kd_int8_kernel_find(const char *name);

/* Groups of a segment of `length` values. */
static inline int64_t kd_int8_groups(const kd_int8_kernel *kernel, int64_t length) {
    return (length + kernel->group - 1) / kernel->group;
}

/* Bytes of a panel, and of the packed weights of `channels` rows; the packing of w
 * (channels,segments,length). */
int64_t kd_int8_panel_bytes(const kd_int8_kernel *kernel, int64_t segments, int64_t length);
int64_t kd_int8_packed_bytes(const kd_int8_kernel *kernel, int64_t channels, int64_t segments,
                             int64_t length);
void kd_int8_pack(const kd_int8_kernel *kernel, int8_t *out, const int8_t *w, int64_t channels,
                  int64_t segments, int64_t length);

/* The candidates; each is NULL where it was not compiled or the processor lacks it. */
const kd_int8_kernel *kd_int8_kernel_avx2(void);
const kd_int8_kernel *kd_int8_kernel_avxvnni(void);
const kd_int8_kernel *kd_int8_kernel_avx512vnni(void);
const kd_int8_kernel *kd_int8_kernel_dotprod(void);
const kd_int8_kernel *kd_int8_kernel_i8mm(void);

/* The rounding: portable, and with AVX2 (all x86 kernels). */
void kd_int8_store_portable(int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS],
                            const kd_int8_rounding *how);
void kd_int8_store_avx2(int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS],
                        const kd_int8_rounding *how);

#endif
