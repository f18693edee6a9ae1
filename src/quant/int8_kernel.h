/* Products of unsigned 8-bit activations and signed 8-bit weights, exact in int32.
 *
 *     c[r][j] = Σ_k a[r][k]·w[j][k] (mod 2^32),   r < rows, j < KD_INT8_COLUMNS
 *
 * Weights are packed into panels of 16 output channels in which `group` successive k of one channel
 * lie together, the shape in which the vector units take them. No instruction that saturates in
 * between is used (vpmaddubsw would: 255·127 twice passes 2^15).
 */
#ifndef KD_QUANT_INT8_KERNEL_H
#define KD_QUANT_INT8_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

enum { KD_INT8_COLUMNS = 16, KD_INT8_ROWS = 6 };

typedef struct {
    const char *name;
    int group; /* 2 or 4: K is padded with zero weights to a multiple     */
    bool wide; /* activations are handed over as 16-bit numbers, not 8    */
    /* a: rows ≤ KD_INT8_ROWS rows of groups·group activations, `stride` of them from row to row.
     * weight: one panel, groups·16·group bytes. */
    void (*tile)(int rows, int64_t groups, const void *a, int64_t stride, const int8_t *weight,
                 int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]);
} kd_int8_kernel;

/* The fastest kernel of this processor that gave the right result on a case chosen to saturate;
 * DISTILL_ISA in the environment names the highest one allowed. */
const kd_int8_kernel *kd_int8_kernel_choose(void);

/* The kernel called so if this processor can run it, else NULL: "portable", "avx2", "avxvnni",
 * "avx512vnni". */
const kd_int8_kernel *kd_int8_kernel_find(const char *name);

/* Bytes of the packed weights of `channels` rows of K, and the packing of w (channels,K). */
int64_t kd_int8_packed_bytes(const kd_int8_kernel *kernel, int64_t channels, int64_t K);
void kd_int8_pack(const kd_int8_kernel *kernel, int8_t *out, const int8_t *w, int64_t channels,
                  int64_t K);

/* The candidates; each is NULL where it was not compiled or the processor lacks it. */
const kd_int8_kernel *kd_int8_kernel_avx2(void);
const kd_int8_kernel *kd_int8_kernel_avxvnni(void);
const kd_int8_kernel *kd_int8_kernel_avx512vnni(void);

#endif
