/* Products with matrices that stay in the small whole numbers of their file.
 *
 * A weight is d·s·(code − zero) + m·o: a code of 4, 5, 6 or 8 bits; d and, in some formats, m are
 * halves of a block; s and o are 1, or small whole numbers of sub-blocks where a block has 256
 * values. Activations x of the same 32 columns become a·q with q = x/a rounded to nearest (ties to
 * even), |q| ≤ 127 and a = max|x|/127. Then, for every block,
 *
 *   Σ w·x ≈ (d·s)·a·Σ (code − zero)·q + (m·o)·a·Σ q
 *
 * whose sums over a block are exact in int32, and whose blocks are added in order, each by one
 * fused multiply-add in float32. So every kernel gives the same bits, at any number of rows and
 * threads. What differs from the product in real numbers is the rounding of the activations alone:
 * at most a/2 = max|x|/254 of each.
 */
#ifndef KD_AUTOGRAD_PACKED_H
#define KD_AUTOGRAD_PACKED_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/steps.h"
#include "autograd/tape.h"

enum { KD_PACKED_PANEL = 16 /* rows */ };

/* --- matrices ----------------------------------------------------------------------------------
 */

/* W (rows,columns) in panels of 16 rows; what is missing of the last is zero. Of every 32 columns
 * in order lie the codes of four successive columns of a row side by side, row behind row:
 *   8 bits       512 bytes
 *   4 bits       256, columns 0 … 15 in the low halves, 16 … 31 in the high ones
 *   5, 6 bits    the same of the low four bits; then the fifth ones, bit by bit, 64 bytes, or the
 *                upper two, 128 bytes: of columns 0, 4, 8, 12 + i in one byte, of 16 … 31 behind */
typedef struct {
    int64_t rows, columns;
    int which; /* of KD_STEPS_KINDS */
    const struct kd_packed_kernel *kernel;
    unsigned char *codes, *scales;
    int64_t codes_bytes, scales_bytes; /* of a panel */
} kd_packed;

/* Bytes of both arrays of such a matrix; 0 where it cannot be packed: `columns` is no multiple of
 * its blocks, or the kind is none of KD_STEPS_KINDS. */
int64_t kd_packed_bytes(const kd_steps_kind *kind, int64_t rows, int64_t columns);

/* Packs rows of the constant into `memory` (kd_packed_bytes, aligned to 64), which it keeps.
 * Threaded. KD_EINTERNAL when memory is out. */
int kd_packed_fill(kd_packed *out, void *memory, const struct kd_constant *constant, int64_t rows,
                   int64_t columns);

/* C (rows,W.rows) ← A (rows,W.columns) · Wᵀ */
typedef struct {
    const kd_packed *W;
    kd_real *C;
} kd_packed_product;

/* Products of one A with `count` matrices of the same number of columns. Threaded, in one parallel
 * region; the tape lends memory. */
void kd_packed_multiply(kd_tape *tape, const kd_real *A, int64_t lda, int64_t rows,
                        const kd_packed_product *product, int count);

/* "avx512vnni": whose kernels multiply. */
const char *kd_packed_kernel_name(void);

#endif
