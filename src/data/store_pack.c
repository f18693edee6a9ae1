/* What a store keeps of a teacher's answers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/order.h"
#include "base/rng.h"
#include "base/size.h"
#include "data/half.h"
#include "data/store_format.h"

/* Fewer numbers are not worth waking other threads for. */
enum { SERIAL_NUMBERS = 1 << 14 };

/* Those of two bytes last, so that each lies at a multiple of its numbers' size. */
const kd_column kd_store_packed_column[KD_STORE_PACKED] = {KD_COLUMN_INDEX,  KD_COLUMN_TAIL,
                                                           KD_COLUMN_LOGITS, KD_COLUMN_KEPT,
                                                           KD_COLUMN_HIDDEN, KD_COLUMN_DRAWN};

/* Numbers the teacher gives for a position: logits, or a hidden state. */
static int64_t given_width(const kd_store_header *h) {
    return h->kind == KD_STORE_HIDDEN ? h->width : h->classes;
}

/* What is wrong with a position's numbers; NULL when nothing is. */
static const char *fault_of(const kd_store_header *h, const float *values) {
    float low = values[0], high = values[0];
    bool finite = true;
    for (int64_t v = 0; v < given_width(h); v++) {
        finite &= isfinite(values[v]);
        low = values[v] < low ? values[v] : low;
        high = values[v] > high ? values[v] : high;
    }
    if (!finite) return "is not finite";
    if (h->dtype == KD_STORE_F32 || h->kind == KD_STORE_SAMPLED) return NULL;
    const bool harmless = h->kind != KD_STORE_HIDDEN && high >= -32768;
    return high > KD_HALF_MAX || (low < -KD_HALF_MAX && !harmless)
               ? "does not fit float16; store them as float32"
               : NULL;
}

/* n positions, of the samples id[0], id[id_step], … */
static int check_values(const kd_store_header *h, int64_t n, const uint64_t *id, int64_t id_step,
                        const float *values) {
    const int64_t width = given_width(h);
    int64_t bad = n;
#pragma omp parallel for reduction(min : bad) if (n * width > SERIAL_NUMBERS)
    for (int64_t i = 0; i < n; i++)
        if (i < bad && fault_of(h, values + i * width)) bad = i;
    if (bad == n) return KD_OK;
    return kd_fail(KD_EDATA, "a %s of the teacher for sample %llu %s",
                   h->kind == KD_STORE_HIDDEN ? "hidden number" : "logit",
                   (unsigned long long)id[bad * id_step], fault_of(h, values + bad * width));
}

static void store_numbers(const kd_store_header *h, void *column, int64_t at, const float *values,
                          int64_t n) {
    if (h->dtype == KD_STORE_F32) {
        memcpy((float *)column + at, values, (size_t)n * sizeof *values);
        return;
    }
    uint16_t *out = (uint16_t *)column + at;
    kd_half_encode(out, values, n);
    for (int64_t i = 0; i < n; i++)
        if (out[i] == 0xfc00) out[i] = 0xfbff; /* −infinity → −65504 */
}

/* Classes in falling order of their logits, the lower class first among equals. */
static inline bool ranks_before(const float *logits, int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Restores the heap `class` of n, whose root ranks last, after class[i] changed. */
static void sift(int32_t *class, int n, int i, const float *logits) {
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && ranks_before(logits, class[child], class[child + 1])) child++;
        if (ranks_before(logits, class[child], class[i])) return;
        int32_t swap = class[i];
        class[i] = class[child];
        class[child] = swap;
    }
}

/* The k classes that rank first, in order. */
static void select_top(int32_t *class, int k, const float *logits, int classes) {
    for (int i = 0; i < k; i++) class[i] = i;
    for (int i = k / 2; i-- > 0;) sift(class, k, i, logits);
    for (int32_t v = k; v < classes; v++) {
        if (!ranks_before(logits, v, class[0])) continue;
        class[0] = v;
        sift(class, k, 0, logits);
    }
    for (int n = k; n-- > 1;) {
        int32_t last = class[0];
        class[0] = class[n];
        class[n] = last;
        sift(class, n, 0, logits);
    }
}

/* log Σ_{dropped} e^{v/τ}; dropped is what ranks behind `last`, the last class kept. */
static float tail_of(const float *logits, int classes, int32_t last, double temperature) {
    double top = -INFINITY, sum = 0;
    for (int32_t v = 0; v < classes; v++)
        if (ranks_before(logits, last, v) && logits[v] > top) top = logits[v];
    for (int32_t v = 0; v < classes; v++)
        if (ranks_before(logits, last, v)) sum += exp((logits[v] - top) / temperature);
    return (float)(top / temperature + log(sum));
}

static void pack_topk(const kd_store_header *h, void *const *column, int64_t row,
                      const float *logits) {
    int32_t *class = (int32_t *)column[KD_COLUMN_INDEX] + row * h->k;
    float *tail = (float *)column[KD_COLUMN_TAIL] + row * h->temperature_count;
    select_top(class, h->k, logits, h->classes);
    for (int i = 0; i < h->k; i++)
        store_numbers(h, column[KD_COLUMN_KEPT], row * h->k + i, logits + class[i], 1);
    for (int i = 0; i < h->temperature_count; i++)
        tail[i] = tail_of(logits, h->classes, class[h->k - 1], h -> temperature[i]);
}

/* N classes drawn from softmax(v/τ): the first whose cumulated probability is above each of N
 * uniform numbers, which lie in order. → bytes written. */
static size_t draw(unsigned char *out, const kd_store_header *h, const double *uniform,
                   const float *logits) {
    float top = logits[0];
    double total = 0, sum = 0;
    size_t bytes = 0;
    for (int32_t v = 1; v < h->classes; v++) top = logits[v] > top ? logits[v] : top;
    for (int32_t v = 0; v < h->classes; v++) total += exp((logits[v] - top) / h->temperature[0]);
    const double most = nextafter(total, 0);
    for (int32_t v = 0, done = 0; done < h->draws; v++) {
        const int32_t first = done;
        sum += exp((logits[v] - top) / h->temperature[0]);
        while (done < h->draws && fmin(uniform[done] * total, most) < sum) done++;
        if (done == first) continue;
        kd_drawn_write(out + bytes, h->classes, (kd_drawn){v, done - first});
        bytes += 3;
    }
    return bytes;
}

/* Position `at` of sample `id`. */
static size_t pack_draws(unsigned char *out, const kd_store_header *h, uint64_t id, int64_t at,
                         const float *logits) {
    double uniform[KD_STORE_DRAWS_MAX];
    kd_rng rng = kd_rng_init(h->seed, id);
    rng.counter = (uint64_t)at * (uint64_t)h->draws;
    for (int i = 0; i < h->draws; i++) uniform[i] = kd_rng_uniform(&rng);
    qsort(uniform, (size_t)h->draws, sizeof *uniform, kd_order_doubles);
    return draw(out, h, uniform, logits);
}

/* The positions of a run, each in as much room as it may need, then one behind the other. */
static int pack_sampled(unsigned char *out, const kd_store_header *h, int64_t n, uint64_t id,
                        const float *logits) {
    const size_t most = kd_column_bytes(h, KD_COLUMN_DRAWN);
    size_t *bytes = malloc(kd_array_bytes(n, sizeof *bytes)), used = 0;
    if (!bytes) return kd_fail_memory((size_t)n * sizeof *bytes, "the draws of a sample");
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        bytes[i] = pack_draws(out + (size_t)i * most, h, id, i, logits + i * h->classes);
    for (int64_t i = 0; i < n; i++) {
        memmove(out + used, out + (size_t)i * most, bytes[i]);
        used += bytes[i];
    }
    free(bytes);
    return KD_OK;
}

size_t kd_store_packed_bytes(const kd_store_header *h, int64_t n) {
    size_t bytes = 0;
    for (int i = 0; i < KD_STORE_PACKED; i++)
        bytes += kd_column_bytes(h, kd_store_packed_column[i]);
    return (size_t)n * bytes;
}

int kd_store_pack(void *out, const kd_store_header *h, int64_t n, const uint64_t *id,
                  int64_t id_step, const float *values) {
    const int64_t width = given_width(h);
    void *column[KD_COLUMN_COUNT];
    int status = check_values(h, n, id, id_step, values);
    if (status < 0) return status;
    for (int i = 0; i < KD_STORE_PACKED; i++) {
        const kd_column c = kd_store_packed_column[i];
        column[c] = out;
        out = (char *)out + (size_t)n * kd_column_bytes(h, c);
    }
    if (h->kind == KD_STORE_SAMPLED)
        return pack_sampled(column[KD_COLUMN_DRAWN], h, n, *id, values);
    if (h->kind != KD_STORE_TOPK) {
        store_numbers(h, column[kd_column_values(h)], 0, values, n * width);
        return KD_OK;
    }
#pragma omp parallel for if (n * width > SERIAL_NUMBERS)
    for (int64_t i = 0; i < n; i++) pack_topk(h, column, i, values + i * width);
    return KD_OK;
}
