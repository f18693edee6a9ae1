#include "autograd/compact.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/vec_compact.h"
#include "base/error.h"

#ifdef KD_VEC_COMPACT

static bool same(kd_vec a, kd_vec b) {
    kd_vec_mask different = a != b, any = {0};
    return memcmp(&different, &any, sizeof any) == 0;
}

/* n numbers, a multiple of KD_VEC; false when one is no half. */
static bool to_halves(uint16_t *out, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += KD_VEC) {
        const kd_vec values = kd_vec_load(x + i);
        kd_vec_store_halves(out + i, values);
        if (!same(kd_vec_load_halves(out + i), values)) return false;
    }
    return true;
}

/* Likewise as upper halves of floats. */
static bool to_brains(uint16_t *out, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        if (bits & 0xffff) return false;
        out[i] = (uint16_t)(bits >> 16);
    }
    return true;
}

/* x = d·q with integers |q| ≤ 128; false when there is one that is not. */
static bool try_scale(int8_t *out, const float *x, float d) {
    for (int j = 0; j < KD_COMPACT_BLOCK; j++) {
        const float q = rintf(x[j] / d);
        if (!(q >= -128 && q <= 127) || d * q != x[j]) return false;
        out[j] = (int8_t)q;
    }
    return true;
}

/* One block. The largest magnitude is 127, 8 or 16 steps in q8_0, q4_0 and q5_0. */
static bool to_block(int8_t *out, float *scale, const float *x) {
    static const float steps[] = {127, 8, 16};
    float largest = 0;
    for (int j = 0; j < KD_COMPACT_BLOCK; j++)
        largest = fabsf(x[j]) > largest ? fabsf(x[j]) : largest;
    for (int i = 0; i < 3; i++) {
        *scale = largest > 0 ? largest / steps[i] : 1;
        if (try_scale(out, x, *scale)) return true;
    }
    return false;
}

static bool to_blocks(int8_t *out, float *scale, const float *x, int64_t n) {
    for (int64_t i = 0; i < n / KD_COMPACT_BLOCK; i++)
        if (!to_block(out + i * KD_COMPACT_BLOCK, scale + i, x + i * KD_COMPACT_BLOCK))
            return false;
    return true;
}

/* The arrays of a form; the others are NULL. */
typedef struct {
    uint16_t *half, *brain;
    int8_t *step;
    float *scale;
} form;

static bool convert_row(const form *to, const float *x, int64_t row, int64_t n) {
    if (to->half) return to_halves(to->half + row * n, x, n);
    if (to->brain) return to_brains(to->brain + row * n, x, n);
    return to_blocks(to->step + row * n, to->scale + row * n / KD_COMPACT_BLOCK, x, n);
}

/* Rows in parallel, until one does not fit. */
static bool convert(const kd_param *p, form to) {
    const int64_t rows = p->tensor.shape[0], n = p->tensor.shape[1];
    atomic_bool good = true;
#pragma omp parallel
    {
        float *x = malloc((size_t)n * sizeof *x);
        if (!x) atomic_store_explicit(&good, false, memory_order_relaxed);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            if (!atomic_load_explicit(&good, memory_order_relaxed)) continue;
            kd_tensor_read(&p->tensor, x, row, 1);
            if (!convert_row(&to, x, row, n))
                atomic_store_explicit(&good, false, memory_order_relaxed);
        }
        free(x);
    }
    return good;
}

/* The record and its arrays are one allocation. */
int kd_compact_create(kd_compact **out, const kd_param *param) {
    const size_t size = (size_t)param->tensor.size, head = 64;
    *out = NULL;
    if (param->tensor.rank != 2 || param->tensor.shape[1] % KD_COMPACT_BLOCK) return KD_OK;
    const kd_constant *constant = param->tensor.constant;
    const bool there = constant && constant->half; /* in the file, as they are used */
    const size_t bytes = head + (there ? 0 : 2 * size);
    unsigned char *memory = malloc(bytes);
    if (!memory) return kd_fail_memory(bytes, param->name);
    kd_compact *c = (kd_compact *)(void *)memory;
    float *scale = (float *)(void *)(memory + head);
    int8_t *step = (int8_t *)(scale + size / KD_COMPACT_BLOCK);
    uint16_t *words = (uint16_t *)(void *)(memory + head);
    *c = (kd_compact){.param = param, .version = *param->version};
    if (there) {
        c->half = constant->half;
    } else if (convert(param, (form){.step = step, .scale = scale})) {
        c->step = step;
        c->scale = scale;
    } else if (convert(param, (form){.half = words})) {
        c->half = words;
    } else if (convert(param, (form){.brain = words})) {
        c->brain = words;
    } else {
        free(memory);
        return KD_OK;
    }
    *out = c;
    return KD_OK;
}

#else

int kd_compact_create(kd_compact **out, const kd_param *param) {
    (void)param;
    *out = NULL;
    return KD_OK;
}

#endif
