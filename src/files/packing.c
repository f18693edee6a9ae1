#include "files/packing.h"

#include <string.h>

#include "base/error.h"
#include "data/half.h"
#include "files/formats/format_parts.h"
#include "files/roles.h"

/* --- rows --------------------------------------------------------------------------------------
 */

/* Codes of four bits, of which i and i + apart share a byte in `in`, into neighbours. */
static void pair_up(unsigned char *out, const unsigned char *in, int apart) {
    for (int i = 0; i < 2 * apart; i++) {
        const int code = i < apart ? in[i] & 15 : in[i - apart] >> 4;
        out[i / 2] = (unsigned char)(i % 2 ? out[i / 2] | code << 4 : code);
    }
}

static void put_float(void *scales, int64_t i, float value) {
    memcpy((unsigned char *)scales + (size_t)i * sizeof value, &value, sizeof value);
}

static float half_at(const unsigned char *from) {
    uint16_t half;
    memcpy(&half, from, sizeof half);
    return kd_half_to_float(half);
}

static void split_nvfp4(unsigned char *codes, void *scales, const unsigned char *row, int64_t n) {
    for (int64_t i = 0; i < n / 64; i++, row += 36) {
        if (scales) memcpy((unsigned char *)scales + 4 * i, row, 4);
        for (int sub = 0; sub < 4 && codes; sub++)
            pair_up(codes + 32 * i + 8 * sub, row + 4 + 8 * sub, 8);
    }
}

static void split_mxfp4(unsigned char *codes, void *scales, const unsigned char *row, int64_t n) {
    for (int64_t i = 0; i < n / 32; i++, row += 17) {
        if (scales) ((unsigned char *)scales)[i] = row[0];
        if (codes) pair_up(codes + 16 * i, row + 1, 16);
    }
}

static void split_q4_0(unsigned char *codes, void *scales, const unsigned char *row, int64_t n) {
    for (int64_t i = 0; i < n / 32; i++, row += 18) {
        if (scales) put_float(scales, i, half_at(row));
        if (codes) pair_up(codes + 16 * i, row + 2, 16);
    }
}

static void split_q8_0(unsigned char *codes, void *scales, const unsigned char *row, int64_t n) {
    for (int64_t i = 0; i < n / 32; i++, row += 34) {
        if (scales) put_float(scales, i, half_at(row));
        for (int j = 0; j < 32 && codes; j++) codes[32 * i + j] = row[2 + j] ^ 0x80;
    }
}

/* A float, then a byte of each value. */
static void split_row(unsigned char *codes, void *scales, const unsigned char *row, int64_t n) {
    if (scales) memcpy(scales, row, sizeof(float));
    if (codes) memcpy(codes, row + sizeof(float), (size_t)n);
}

static void split_int8(unsigned char *codes, void *scales, const unsigned char *row, int64_t n) {
    split_row(codes, scales, row, n);
    for (int64_t i = 0; i < n && codes; i++) codes[i] ^= 0x80;
}

static void split_bytes(unsigned char *codes, void *scales, const unsigned char *row, int64_t n) {
    (void)scales;
    if (codes) memcpy(codes, row, (size_t)n);
}

typedef struct {
    const kd_number_format *format;
    int bits, group; /* of a code; values that share a scale, 0: a row's or the tensor's */
    bool integers;
    bool modelopt;           /* whether its readers know it                             */
    const char *scale_dtype; /* NULL: no scales but the tensor's                        */
    const kd_number_format *codes, *scales; /* as they are read */
    void (*split)(unsigned char *codes, void *scales, const unsigned char *row, int64_t n);
} packed;

static const packed PACKED[] = {
    {&kd_format_f8_e4m3, 8, 0, false, true, "F32", &kd_format_f8_e4m3_tensor, &kd_format_f32,
     split_row},
    {&kd_format_f8_e4m3_tensor, 8, 0, false, true, NULL, &kd_format_f8_e4m3_tensor, NULL,
     split_bytes},
    {&kd_format_nvfp4, 4, 16, false, true, "F8_E4M3", &kd_part_e2m1, &kd_format_f8_e4m3_tensor,
     split_nvfp4},
    {&kd_format_mxfp4, 4, 32, false, false, "U8", &kd_part_e2m1, &kd_part_e8m0, split_mxfp4},
    {&kd_format_q4_0, 4, 32, true, false, "F16", &kd_part_u4, &kd_format_f16, split_q4_0},
    {&kd_format_q8_0, 8, 32, true, false, "F16", &kd_part_u8, &kd_format_f16, split_q8_0},
    {&kd_format_int8, 8, 0, true, false, "F32", &kd_part_u8, &kd_format_f32, split_int8}};
enum { PACKED_COUNT = (int)(sizeof PACKED / sizeof *PACKED) };

static const packed *packed_of(const kd_number_format *format) {
    for (int i = 0; i < PACKED_COUNT; i++)
        if (PACKED[i].format == format) return &PACKED[i];
    return NULL;
}

void kd_packing_split(const kd_number_format *format, unsigned char *codes, void *scales,
                      const unsigned char *row, int64_t n) {
    packed_of(format)->split(codes, scales, row, n);
}

void kd_packing_numbers(kd_stored *out, const kd_packing *packing) {
    const packed *p = packed_of(packing->format);
    out->format = p->codes;
    out->scale_format = p->scales;
}

/* --- parts -------------------------------------------------------------------------------------
 */

typedef struct {
    kd_part *list;
    int count;
} parts;

static void add(parts *p, kd_part_kind kind, const char *name, const char *dtype, int rank,
                int64_t a, int64_t b) {
    KD_CONTRACT(p->count < KD_PARTS_MAX, "%s: too many parts", name);
    p->list[p->count++] = (kd_part){kind, name, dtype, rank, {a, b}};
}

int kd_packing_parts(kd_part out[KD_PARTS_MAX], const kd_packing *packing, kd_rows_of rows) {
    const packed *p = packed_of(packing->format);
    const bool opt = packing->layout == KD_LAYOUT_MODELOPT, pairs = p->bits == 4,
               f4 = p->format == &kd_format_nvfp4;
    const int one = opt ? 0 : 1; /* rank of a single number */
    const int64_t groups = packing->group > 0 ? rows.length / packing->group : 1;
    parts list = {out, 0};
    add(&list, KD_PART_CODES, !opt && (pairs || p->integers) ? "weight_packed" : "weight",
        p->integers ? "I32"
        : pairs     ? "U8"
                    : "F8_E4M3",
        2, rows.count, p->integers ? rows.length * p->bits / 32 : rows.length * p->bits / 8);
    if (p->scale_dtype)
        add(&list, KD_PART_SCALES, "weight_scale", p->scale_dtype,
            opt && groups == 1 && !f4 ? 1 : 2, rows.count, groups);
    if (p->format->largest > 0)
        add(&list, f4 && !opt ? KD_PART_TENSOR_DIVISOR : KD_PART_TENSOR_SCALE,
            !f4   ? "weight_scale"
            : opt ? "weight_scale_2"
                  : "weight_global_scale",
            "F32", one, 1, 0);
    if (p->integers) add(&list, KD_PART_SHAPE, "weight_shape", "I64", 1, 2, 0);
    if (!p->integers && p->format != &kd_format_mxfp4)
        add(&list, f4 && !opt ? KD_PART_INPUT_DIVISOR : KD_PART_INPUT_SCALE,
            f4 && !opt ? "input_global_scale" : "input_scale", "F32", one, 1, 0);
    return list.count;
}

/* --- what is written ---------------------------------------------------------------------------
 */

static int find_layout(kd_folder_layout *out, const char *name) {
    static const char *const layouts[] = {"plain", "compressed-tensors", "modelopt"};
    for (int i = KD_LAYOUT_PLAIN; i <= KD_LAYOUT_MODELOPT; i++) {
        *out = (kd_folder_layout)i;
        if (strcmp(name, layouts[i]) == 0) return KD_OK;
    }
    return kd_fail(KD_EUSAGE, "layout %s: there are compressed-tensors, modelopt and plain", name);
}

static bool is_known(kd_folder_layout layout, const kd_number_format *format) {
    const packed *p = packed_of(format);
    return layout == KD_LAYOUT_PLAIN ? format == &kd_format_f8_e5m2
                                     : p && (layout != KD_LAYOUT_MODELOPT || p->modelopt);
}

int kd_packing_choose(kd_packing *out, const char *layout, const kd_number_format *format,
                      bool inputs) {
    static const char *const has[] = {"f8_e5m2",
                                      "f8_e4m3, f8_e4m3_tensor, nvfp4, mxfp4, q4_0, q8_0 and int8",
                                      "f8_e4m3, f8_e4m3_tensor and nvfp4"};
    *out = (kd_packing){.format = format};
    int status = find_layout(&out->layout, layout);
    if (status < 0) return status;
    if (!is_known(out->layout, format))
        return kd_fail(KD_EUSAGE, "the layout %s has no %s; it has %s", layout, format->name,
                       has[out->layout]);
    const packed *p = packed_of(format);
    const bool opt = out->layout == KD_LAYOUT_MODELOPT;
    out->group = p ? p->group : 0;
    if (inputs &&
        (!p || p->integers || format == &kd_format_mxfp4 || (opt && format == &kd_format_f8_e4m3)))
        return kd_fail(KD_EUSAGE,
                       "%s in the layout %s states no scale of inputs: nothing is to be calibrated",
                       format->name, layout);
    if (!inputs && opt && format == &kd_format_f8_e4m3_tensor)
        return kd_fail(KD_EUSAGE, "f8_e4m3_tensor in the layout modelopt states a scale of inputs: "
                                  "calibrate it, or take f8_e4m3");
    return KD_OK;
}

const kd_number_format *kd_packed_format_of(const kd_param *param,
                                            const kd_number_format *matrices) {
    const kd_role role = kd_param_role(param);
    if (param->tensor.rank == 1 || !kd_ends_with(param->name, ".weight")) return &kd_format_f32;
    if (param->tensor.rank != 2 || role == KD_ROLE_EMBEDDING || role == KD_ROLE_OUTPUT ||
        kd_number_format_bytes(matrices, kd_param_rows(param).length) == 0)
        return &kd_format_f16;
    return matrices;
}
