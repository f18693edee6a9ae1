#include "files/formats/format_block.h"
#include "files/formats/format_small.h"

/* NVIDIA's NVFP4 as ggml lays it out: of 64 values four bytes, the scales of 16 values each in E4M3
 * without sign, then 32 bytes, byte 8·s + j with value j of 16 in its low and value j + 8 in its
 * high half; value = scale·E2M1, times the tensor's own scale, max|w|/(6·448) or the next power of
 * two above it, which lies apart. A scale is max|x|/6 rounded, and the values are rounded with what
 * it was rounded to; where all are 0 it is 1. Weighted, it may be a step less or up to two more,
 * whichever loses least. */
enum {
    BLOCK = 64,
    SUB = 16,
    SUBS = BLOCK / SUB,
    BYTES = SUBS + BLOCK / 2,
    ONE = 0x38,
    MOST = 0x7e
};

static void put_sub(unsigned char *block, int sub, const uint8_t *code) {
    for (int j = 0; j < SUB / 2; j++)
        block[SUBS + sub * SUB / 2 + j] = (unsigned char)(code[j] | code[j + SUB / 2] << 4);
}

static double round_sub(uint8_t *code, uint8_t scale, const float *x, const float *importance) {
    const float own = kd_e4m3_to_float(scale);
    double error = 0;
    for (int j = 0; j < SUB; j++) {
        code[j] = kd_e2m1_from_float(x[j] / own);
        const float lost = x[j] - own * KD_E2M1_VALUE[code[j]];
        if (importance) error += (double)importance[j] * (double)(lost * lost);
    }
    return error;
}

static void encode_sub(unsigned char *block, int sub, const float *x, const float *importance) {
    uint8_t code[SUB], tried[SUB];
    float most = 0;
    for (int j = 0; j < SUB; j++) most = fmaxf(most, fabsf(x[j]));
    int scale = most > 0 ? kd_e4m3_from_float(most / KD_E2M1_MOST) : ONE;
    if (scale == 0) scale = 1;
    int best = scale;
    double least = round_sub(code, (uint8_t)scale, x, importance);
    for (int other = scale - 1; importance && other <= scale + 2; other++) {
        if (other < 1 || other > MOST) continue;
        const double error = round_sub(tried, (uint8_t)other, x, importance);
        if (!(error < least)) continue;
        least = error;
        best = other;
        memcpy(code, tried, sizeof code);
    }
    block[sub] = (unsigned char)best;
    put_sub(block, sub, code);
}

static void encode(unsigned char *out, const float *x, const float *importance, int64_t n) {
    for (int64_t i = 0; i < n; i += SUB)
        encode_sub(out + i / BLOCK * BYTES, (int)(i % BLOCK / SUB), x + i,
                   importance ? importance + i : NULL);
}

static void decode(float *out, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i += SUB, out += SUB) {
        const unsigned char *block = in + i / BLOCK * BYTES;
        const int sub = (int)(i % BLOCK / SUB);
        const float scale = kd_e4m3_to_float(block[sub]);
        const unsigned char *pair = block + SUBS + sub * SUB / 2;
        for (int j = 0; j < SUB / 2; j++) {
            out[j] = scale * KD_E2M1_VALUE[pair[j] & 15];
            out[j + SUB / 2] = scale * KD_E2M1_VALUE[pair[j] >> 4];
        }
    }
}

static void scales(float *scale, float *offset, const unsigned char *in, int64_t n) {
    for (int64_t i = 0; i < n; i += SUB)
        kd_format_fill(scale + i, offset + i,
                       kd_e4m3_to_float(in[i / BLOCK * BYTES + i % BLOCK / SUB]), 0, SUB);
}

static void put_codes(unsigned char *row, const uint8_t *code, int64_t n) {
    for (int64_t i = 0; i < n; i += SUB)
        put_sub(row + i / BLOCK * BYTES, (int)(i % BLOCK / SUB), code + i);
}

static const kd_format_grid GRID = {
    .codes = KD_E2M1_CODES, .level = KD_E2M1_VALUE, .scales = scales, .put = put_codes};

const kd_number_format kd_format_nvfp4 = {.name = "nvfp4",
                                          .ggml_type = 40,
                                          .file_type = -1,
                                          .gguf_file_type = 39,
                                          .block = BLOCK,
                                          .bytes = BYTES,
                                          .largest = 6 * KD_E4M3_MOST,
                                          .fallback = &kd_format_mxfp4,
                                          .encode = encode,
                                          .decode = decode,
                                          .grid = &GRID};
