#include "files/formats/number_format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "files/formats/format_small.h"

#define ADDRESS_OF(name) &kd_format_##name,
static const kd_number_format *const FORMATS[] = {KD_NUMBER_FORMATS(ADDRESS_OF)};
enum { FORMAT_COUNT = (int)(sizeof FORMATS / sizeof *FORMATS) };

static const kd_number_format *const MIXTURES[] = {KD_MIXTURES(ADDRESS_OF)};
enum { MIXTURE_COUNT = (int)(sizeof MIXTURES / sizeof *MIXTURES) };

#define NAME_FITS(name)                                                                            \
    _Static_assert(sizeof #name <= KD_FORMAT_NAME_MAX, "the name of a format is too long");
KD_NUMBER_FORMATS(NAME_FITS)
KD_MIXTURES(NAME_FITS)
_Static_assert((KD_FORMAT_NAME_MAX + 1) * (FORMAT_COUNT + MIXTURE_COUNT) <= KD_FORMAT_LIST_MAX,
               "the list of formats is too long");

uint64_t kd_number_format_bytes(const kd_number_format *format, int64_t n) {
    if (format->block == 0) return sizeof(float) + (uint64_t)n;
    return n % format->block ? 0 : (uint64_t)(n / format->block) * (uint64_t)format->bytes;
}

const kd_number_format *kd_number_format_fit(const kd_number_format *format, int64_t n) {
    while (format->fallback && kd_number_format_bytes(format, n) == 0) format = format->fallback;
    return format;
}

float kd_number_format_scale(const kd_number_format *format, double most) {
    return format->largest > 0 ? kd_power_above((float)(most / (double)format->largest)) : 1;
}

/* Whether all are numbers of at most 2¹⁴: no scale of theirs, nor offset, passes what half
 * precision holds, however it was chosen. Compared as integers, which order magnitudes as numbers
 * are ordered. */
static bool are_small(const float *x, int64_t n) {
    static const uint32_t bound = 0x46800000;
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    return largest <= bound;
}

/* Formats of single values keep what is no number as it is. */
static bool comes_back(const kd_number_format *format, const float *x, const float *back,
                       int64_t n) {
    bool good = true;
    for (int64_t i = 0; i < n; i++)
        good = good && (isfinite(x[i]) ? isfinite(back[i]) : format->block == 1);
    return good;
}

/* Rows are shared among so many lanes, each with its own scratch. */
enum { WORKERS = 32 };

/* Names the largest value, or the first that is none. */
static int refuse_row(const kd_number_format *format, const float *x, int64_t n, const char *name,
                      int64_t row) {
    int64_t worst = 0;
    for (int64_t i = 1; i < n; i++)
        if (!isnan(x[worst]) && !(fabsf(x[i]) <= fabsf(x[worst]))) worst = i;
    return kd_fail(KD_EDATA, "%s: value %lld of row %lld is %g, which %s cannot hold", name,
                   (long long)worst, (long long)row, (double)x[worst], format->name);
}

int kd_number_format_encode(unsigned char *out, const kd_number_format *format, const float *x,
                            const float *importance, int groups, int64_t rows, int64_t n,
                            float scale, const char *name) {
    const uint64_t bytes = kd_number_format_bytes(format, n);
    KD_CONTRACT(format->encode && bytes > 0, "%s: rows of %lld in %s", name, (long long)n,
                format->name);
    const size_t scratch = 2 * (size_t)(WORKERS * n) * sizeof(float);
    float *back = malloc(scratch);
    const int64_t group = importance ? rows / groups : 1;
    int64_t bad = rows;
    if (!back) return kd_fail_memory(scratch, name);
#pragma omp parallel for schedule(static) reduction(min : bad)
    for (int worker = 0; worker < WORKERS; worker++) {
        float *own = back + 2 * worker * n, *scaled = own + n;
        for (int64_t row = worker; row < rows && bad > row; row += WORKERS) {
            const float *cost = importance ? importance + row / group * n : NULL;
            for (int64_t i = 0; i < n; i++) scaled[i] = x[row * n + i] / scale;
            format->encode(out + (uint64_t)row * bytes, scaled, cost, n);
            if (are_small(x + row * n, n)) continue;
            format->decode(own, out + (uint64_t)row * bytes, n);
            if (!comes_back(format, x + row * n, own, n)) bad = row;
        }
    }
    free(back);
    return bad >= rows ? KD_OK : refuse_row(format, x + bad * n, n, name, bad);
}

const kd_number_format *kd_number_format_at(int i) {
    return i < FORMAT_COUNT ? FORMATS[i] : NULL;
}

/* The i-th of the formats and the mixtures behind them. */
static const kd_number_format *format_at(int i) {
    return i < FORMAT_COUNT ? FORMATS[i] : MIXTURES[i - FORMAT_COUNT];
}

static char *list(char out[KD_FORMAT_LIST_MAX], bool written) {
    int used = 0;
    out[0] = '\0';
    for (int i = 0; i < FORMAT_COUNT + MIXTURE_COUNT; i++) {
        const kd_number_format *f = format_at(i);
        if (written ? kd_number_format_written(f) : !f->mixture && f->ggml_type != KD_NO_GGML_TYPE)
            used += snprintf(out + used, (size_t)(KD_FORMAT_LIST_MAX - used), "%s%s",
                             used ? ", " : "", f->name);
    }
    return out;
}

char *kd_number_format_list_written(char out[KD_FORMAT_LIST_MAX]) {
    return list(out, true);
}

char *kd_number_format_list_ggml(char out[KD_FORMAT_LIST_MAX]) {
    return list(out, false);
}

const kd_number_format *kd_number_format_named(const char *name) {
    for (int i = 0; i < FORMAT_COUNT + MIXTURE_COUNT; i++)
        if (strcmp(format_at(i)->name, name) == 0) return format_at(i);
    return NULL;
}

const kd_number_format *kd_number_format_typed(uint32_t ggml_type) {
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (FORMATS[i]->ggml_type == ggml_type && ggml_type != KD_NO_GGML_TYPE) return FORMATS[i];
    return NULL;
}

/* ggml's other types, of which files are read as far as their sizes go. A format of FORMATS goes
 * before the row of its type here. */
typedef struct {
    uint32_t type, block, bytes;
    const char *name;
} stored_only;

static const stored_only STORED_ONLY[] = {
    {9, 32, 36, "q8_1"}, {24, 1, 1, "i8"}, {25, 1, 2, "i16"}, {26, 1, 4, "i32"}, {27, 1, 8, "i64"},
};

static const stored_only *find_stored(uint32_t ggml_type) {
    for (size_t i = 0; i < sizeof STORED_ONLY / sizeof *STORED_ONLY; i++)
        if (STORED_ONLY[i].type == ggml_type) return &STORED_ONLY[i];
    return NULL;
}

static uint64_t bytes_of(uint64_t block, uint64_t bytes, uint64_t row, uint64_t count) {
    const uint64_t blocks = count / block;
    return row % block || blocks > UINT64_MAX / bytes ? 0 : blocks * bytes;
}

uint64_t kd_ggml_type_bytes(uint32_t ggml_type, uint64_t row, uint64_t count) {
    const kd_number_format *format = kd_number_format_typed(ggml_type);
    const stored_only *stored = find_stored(ggml_type);
    if (format) return bytes_of((uint64_t)format->block, (uint64_t)format->bytes, row, count);
    return stored ? bytes_of(stored->block, stored->bytes, row, count) : 0;
}

const char *kd_ggml_type_name(uint32_t ggml_type) {
    const kd_number_format *format = kd_number_format_typed(ggml_type);
    const stored_only *stored = find_stored(ggml_type);
    return format ? format->name : stored ? stored->name : "?";
}
