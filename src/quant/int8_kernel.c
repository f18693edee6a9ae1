#include "quant/int8_kernel.h"

#include <string.h>

#include "base/isa.h"
#include "base/log.h"
#include "quant/blob.h"
#include "quant/grid.h"

/* --- portable --------------------------------------------------------------------------------- */

static void portable_tile(const kd_int8_windows *in, const int8_t *weight,
                          int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS]) {
    memset(c, 0, (size_t)in->rows * sizeof *c);
    for (int s = 0; s < in->segments; s++)
        for (int64_t k = 0; k < in->groups; k++, weight += 4 * KD_INT8_COLUMNS)
            for (int r = 0; r < in->rows; r++) {
                const uint8_t *x = (const uint8_t *)in->row[r] + in->offset[s] + 4 * k;
                for (int j = 0; j < KD_INT8_COLUMNS; j++) {
                    const int8_t *w = weight + 4 * j;
                    c[r][j] = (int32_t)((uint32_t)c[r][j] + (uint32_t)(x[0] * w[0] + x[1] * w[1] +
                                                                       x[2] * w[2] + x[3] * w[3]));
                }
            }
}

void kd_int8_store_portable(int rows, int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS],
                            const kd_int8_rounding *how) {
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < how->channels; j++) {
            const int32_t steps = (int32_t)((uint32_t)sum[r][j] + (uint32_t)how->bias[j]);
            int32_t q = kd_requantize(steps, how->factor[j], how->shift[j]);
            q = q < how->low ? how->low : q > how->high ? how->high : q;
            how->out[r * how->row_stride + j] = (uint8_t)(q + how->zero);
        }
}

static const kd_int8_kernel portable = {
    "portable", 4, false, 6, portable_tile, kd_int8_store_portable, NULL};

/* --- packing ---------------------------------------------------------------------------------- */

int64_t kd_int8_panel_bytes(const kd_int8_kernel *kernel, int64_t segments, int64_t length) {
    return segments * kd_int8_groups(kernel, length) * kernel->group * KD_INT8_COLUMNS;
}

int64_t kd_int8_packed_bytes(const kd_int8_kernel *kernel, int64_t channels, int64_t segments,
                             int64_t length) {
    const int64_t panels = (channels + KD_INT8_COLUMNS - 1) / KD_INT8_COLUMNS;
    return panels * kd_int8_panel_bytes(kernel, segments, length);
}

void kd_int8_pack(const kd_int8_kernel *kernel, int8_t *out, const int8_t *w, int64_t channels,
                  int64_t segments, int64_t length) {
    const int64_t group = kernel->group, groups = kd_int8_groups(kernel, length);
    const int64_t panel_bytes = kd_int8_panel_bytes(kernel, segments, length);
    memset(out, 0, (size_t)kd_int8_packed_bytes(kernel, channels, segments, length));
    for (int64_t channel = 0; channel < channels; channel++) {
        int8_t *panel = out + channel / KD_INT8_COLUMNS * panel_bytes;
        const int64_t column = channel % KD_INT8_COLUMNS;
        for (int64_t s = 0; s < segments; s++)
            for (int64_t k = 0; k < length; k++)
                panel[((s * groups + k / group) * KD_INT8_COLUMNS + column) * group + k % group] =
                    *w++;
    }
}

/* --- choosing --------------------------------------------------------------------------------- */

enum { CHECK_K = 16 }; /* whole groups of every kernel */

static bool sums_are_right(const kd_int8_kernel *kernel, int rows, uint8_t a[][CHECK_K],
                           uint16_t wide[][CHECK_K], int8_t w[][CHECK_K]) {
    int8_t packed[KD_INT8_COLUMNS * CHECK_K];
    int32_t c[KD_INT8_ROWS][KD_INT8_COLUMNS];
    const int64_t offset[1] = {0};
    kd_int8_windows in = {.rows = rows, .segments = 1, .offset = offset};
    in.groups = kd_int8_groups(kernel, CHECK_K);
    for (int r = 0; r < rows; r++)
        in.row[r] = kernel->wide ? (const void *)wide[r] : (const void *)a[r];
    kd_int8_pack(kernel, packed, w[0], KD_INT8_COLUMNS, 1, CHECK_K);
    memset(c, 0x55, sizeof c);
    kernel->tile(&in, packed, c);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < KD_INT8_COLUMNS; j++) {
            int32_t sum = 0;
            for (int k = 0; k < CHECK_K; k++) sum += a[r][k] * w[j][k];
            if (c[r][j] != sum) return false;
        }
    return true;
}

/* Ties, both signs, clamping, and every shift. */
static bool rounds_right(const kd_int8_kernel *kernel) {
    int32_t sum[KD_INT8_ROWS][KD_INT8_COLUMNS], bias[KD_INT8_COLUMNS], factor[KD_INT8_COLUMNS];
    int32_t shift[KD_INT8_COLUMNS];
    uint8_t found[KD_INT8_ROWS][KD_INT8_COLUMNS], right[KD_INT8_ROWS][KD_INT8_COLUMNS];
    for (int base = -30; base < 32 - KD_INT8_COLUMNS; base++) {
        for (int j = 0; j < KD_INT8_COLUMNS; j++) {
            shift[j] = base + j;
            factor[j] = j % 3 ? (1 << 30) + j * 12345 : j ? 1 << 30 : 0;
            bias[j] = 1000 * (j - 8);
            const int high = shift[j] < 0 ? 3 : shift[j] > 26 ? 26 : shift[j];
            for (int r = 0; r < KD_INT8_ROWS; r++) sum[r][j] = (j % 2 ? -3 : 3) * (1 << high) + r;
        }
        kd_int8_rounding how = {bias, factor, shift, -100, 155, 100, KD_INT8_COLUMNS, NULL, 0};
        how.row_stride = KD_INT8_COLUMNS;
        how.out = found[0];
        kernel->store(KD_INT8_ROWS, sum, &how);
        how.out = right[0];
        kd_int8_store_portable(KD_INT8_ROWS, sum, &how);
        if (memcmp(found, right, sizeof found) != 0) return false;
    }
    return true;
}

/* kernel->run against the portable way, of one panel and of two, and of a part of each. */
static bool runs_right(const kd_int8_kernel *kernel, uint8_t a[][CHECK_K], int8_t w[][CHECK_K]) {
    enum { CHANNELS = KD_INT8_PANELS * KD_INT8_COLUMNS };
    int8_t packed[KD_INT8_PANELS][KD_INT8_COLUMNS * CHECK_K];
    int32_t bias[CHANNELS], factor[CHANNELS], shift[CHANNELS], sum[KD_INT8_ROWS][KD_INT8_COLUMNS];
    uint8_t found[KD_INT8_ROWS][CHANNELS], right[KD_INT8_ROWS][CHANNELS];
    const int64_t offset[1] = {0};
    kd_int8_windows in = {.segments = 1, .offset = offset};
    in.groups = kd_int8_groups(kernel, CHECK_K);
    for (int r = 0; r < KD_INT8_ROWS; r++) in.row[r] = a[r];
    for (int p = 0; p < KD_INT8_PANELS; p++)
        kd_int8_pack(kernel, packed[p], w[0], KD_INT8_COLUMNS, 1, CHECK_K);
    for (int c = 0; c < CHANNELS; c++) {
        bias[c] = 5000 * (c - 9);
        factor[c] = (1 << 30) + 54321 * c;
        shift[c] = c % 16;
    }
    for (int channels = 1; channels <= CHANNELS; channels++) {
        kd_int8_rounding how = {bias, factor, shift, -90, 150, 90, channels, found[0], CHANNELS};
        in.rows = 1 + channels % kernel->rows;
        memset(found, 0, sizeof found);
        memset(right, 0, sizeof right);
        kernel->run(&in, packed[0], sizeof packed[0], &how);
        for (int at = 0; at < channels; at += KD_INT8_COLUMNS) {
            const int left = channels - at;
            how = (kd_int8_rounding){bias + at, factor + at, shift + at,    -90,     150,
                                     90,        left,        right[0] + at, CHANNELS};
            if (left > KD_INT8_COLUMNS) how.channels = KD_INT8_COLUMNS;
            portable_tile(&in, packed[at / KD_INT8_COLUMNS], sum);
            kd_int8_store_portable(in.rows, sum, &how);
        }
        if (memcmp(found, right, sizeof found) != 0) return false;
    }
    return true;
}

/* The largest products there are, next to each other: sums that pass 2^15 and alternate in sign. */
static bool is_right(const kd_int8_kernel *kernel) {
    uint8_t a[KD_INT8_ROWS][CHECK_K];
    uint16_t wide[KD_INT8_ROWS][CHECK_K];
    int8_t w[KD_INT8_COLUMNS][CHECK_K];
    for (int k = 0; k < CHECK_K; k++) {
        for (int r = 0; r < KD_INT8_ROWS; r++)
            wide[r][k] = a[r][k] = (uint8_t)(r == 0 ? 255 : 255 - 4 * r * k);
        for (int j = 0; j < KD_INT8_COLUMNS; j++)
            w[j][k] = (int8_t)(j == 0 ? 127 : j == 1 ? -128 : k % 2 ? 127 - j : -128 + j * k);
    }
    for (int rows = 1; rows <= kernel->rows; rows++)
        if (!sums_are_right(kernel, rows, a, wide, w)) return false;
    return rounds_right(kernel) && (!kernel->run || runs_right(kernel, a, w));
}

static const kd_int8_kernel *portable_kernel(void) {
    return &portable;
}

/* From slow to fast, and the level each belongs to. */
static const struct {
    kd_isa isa;
    const kd_int8_kernel *(*get)(void);
} candidate[] = {
    {KD_ISA_PORTABLE, portable_kernel},       {KD_ISA_AVX2, kd_int8_kernel_avx2},
    {KD_ISA_AVXVNNI, kd_int8_kernel_avxvnni}, {KD_ISA_AVX512VNNI, kd_int8_kernel_avx512vnni},
    {KD_ISA_DOTPROD, kd_int8_kernel_dotprod}, {KD_ISA_I8MM, kd_int8_kernel_i8mm},
};
enum { CANDIDATES = sizeof candidate / sizeof *candidate };

const kd_int8_kernel *kd_int8_kernel_find(const char *name) {
    for (int i = 0; i < CANDIDATES; i++) {
        const kd_int8_kernel *kernel = candidate[i].get();
        if (kernel && strcmp(kernel->name, name) == 0) return kernel;
    }
    return NULL;
}

const kd_int8_kernel *kd_int8_kernel_choose(void) {
    for (int i = CANDIDATES - 1; i > 0; i--) {
        const kd_int8_kernel *kernel = candidate[i].get();
        if (!kernel || !kd_isa_may_use(candidate[i].isa)) continue;
        if (is_right(kernel)) return kernel;
        kd_warn("the %s kernel gives wrong results on this processor and is not used",
                kernel->name);
    }
    return &portable;
}

const char *kd_int8_kernel_name(void) {
    return kd_int8_kernel_choose()->name;
}
