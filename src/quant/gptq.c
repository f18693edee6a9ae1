#include "quant/gptq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/cholesky.h"
#include "autograd/gemm.h"
#include "base/error.h"
#include "base/size.h"
#include "quant/quantizer.h"

/* Columns whose errors are carried to the rest together, and rows that are rounded together. */
enum { BLOCK = 128, STRIP = 512 };

static const double MOST_DAMPING = 10; /* times what was asked for */

/* One group of rows. */
typedef struct {
    const kd_rounding *matrix;
    const kd_format_grid *grid;
    int64_t n;
    int32_t *order;        /* (n) column at each place           */
    float *importance;     /* (n)                                */
    kd_real *U;            /* (n,n) in that order                */
    kd_real *w;            /* (STRIP,n) in that order            */
    kd_real *error;        /* (STRIP,BLOCK)                      */
    float *scale, *offset; /* (STRIP,n) as columns lie       */
    uint8_t *code;         /* (STRIP,n)                      */
} work;

static void free_work(work *k) {
    free(k->order);
    free(k->importance);
    free(k->U);
    free(k->w);
    free(k->error);
    free(k->scale);
    free(k->offset);
    free(k->code);
}

static int allocate(work *k) {
    const size_t n = (size_t)k->n, strip = STRIP * n;
    k->order = malloc(n * sizeof *k->order);
    k->importance = malloc(n * sizeof *k->importance);
    k->U = malloc(n * n * sizeof *k->U);
    k->w = malloc(strip * sizeof *k->w);
    k->error = malloc(STRIP * BLOCK * sizeof *k->error);
    k->scale = malloc(strip * sizeof *k->scale);
    k->offset = malloc(strip * sizeof *k->offset);
    k->code = malloc(strip);
    const bool all =
        k->order && k->importance && k->U && k->w && k->error && k->scale && k->offset && k->code;
    return all ? KD_OK : kd_fail_memory(n * n * sizeof *k->U, "GPTQ");
}

/* --- the Hessian --------------------------------------------------------------------------------
 */

typedef struct {
    kd_real value;
    int32_t column;
} place;

/* Largest first; of equals the first. */
static int compare_places(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return x->column < y->column ? -1 : 1;
}

static int order_columns(work *k, const kd_real *H, bool by_activation) {
    place *list = malloc(kd_array_bytes(k->n, sizeof *list));
    if (!list) return kd_fail_memory((size_t)k->n * sizeof *list, "GPTQ");
    for (int64_t j = 0; j < k->n; j++) {
        list[j] = (place){H[j * k->n + j], (int32_t)j};
        k->importance[j] = (float)H[j * k->n + j];
    }
    if (by_activation) qsort(list, (size_t)k->n, sizeof *list, compare_places);
    for (int64_t j = 0; j < k->n; j++) k->order[j] = list[j].column;
    free(list);
    return KD_OK;
}

/* U of H in the order of columns, with `damping` times the mean of the diagonal added. */
static bool factor(work *k, const kd_real *H, double damping) {
    const int64_t n = k->n;
    double mean = 0;
    for (int64_t j = 0; j < n; j++) {
        const double own = (double)H[j * n + j];
        mean += (own != 0 ? own : 1) / (double)n;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const kd_real *row = H + k->order[i] * n;
        for (int64_t j = 0; j < n; j++) k->U[i * n + j] = row[k->order[j]];
        const kd_real own = k->U[i * n + i] != 0 ? k->U[i * n + i] : 1;
        k->U[i * n + i] = own + (kd_real)(damping * mean);
    }
    return kd_factor_of_inverse(k->U, n);
}

static int prepare(work *k, const kd_real *H, const kd_gptq_spec *spec) {
    int status = order_columns(k, H, spec->activation_order);
    if (status < 0) return status;
    for (double times = 1; times <= MOST_DAMPING; times *= 1.77827941)
        if (factor(k, H, spec->damping * times)) return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: the products of its inputs are not those of numbers that can be inverted, "
                   "even with a damping of %g; calibrate with more samples",
                   k->matrix->model->model.params->list[k->matrix->param]->name,
                   spec->damping * MOST_DAMPING);
}

/* --- columns ------------------------------------------------------------------------------------
 */

static float level_of(const kd_format_grid *grid, int code) {
    return grid->level ? grid->level[code] : grid->first + (float)code;
}

/* The code whose number is next to x. */
static uint8_t nearest(const kd_format_grid *grid, float x, float scale, float offset) {
    const float wanted = scale != 0 ? (x - offset) / scale : 0;
    int best = 0;
    if (!grid->level) {
        const float step = rintf(wanted - grid->first);
        return (uint8_t)(step > 0
                             ? step < (float)(grid->codes - 1) ? step : (float)(grid->codes - 1)
                             : 0);
    }
    for (int code = 1; code < grid->codes; code++)
        if (fabsf(grid->level[code] - wanted) < fabsf(grid->level[best] - wanted)) best = code;
    return (uint8_t)best;
}

/* The columns at places first … end of one row; what they cannot hold is left in `error`. */
static void round_columns(const work *k, int64_t row, int64_t first, int64_t end) {
    const int64_t n = k->n;
    kd_real *restrict w = k->w + row * n;
    for (int64_t j = first; j < end; j++) {
        const int64_t at = row * n + k->order[j];
        const float scale = k->scale[at], offset = k->offset[at];
        const uint8_t code = nearest(k->grid, (float)w[j], scale, offset);
        const kd_real *restrict u = k->U + j * n;
        const kd_real error = (w[j] - (kd_real)(scale * level_of(k->grid, code) + offset)) / u[j];
        k->code[at] = code;
        k->error[row * BLOCK + j - first] = error;
#pragma omp simd
        for (int64_t next = j + 1; next < end; next++) w[next] -= error * u[next];
    }
}

/* Scales, and weights in the order of columns. */
static void begin_row(const work *k, int64_t from, int64_t row) {
    const kd_rounding *m = k->matrix;
    const int64_t n = k->n, bytes = (int64_t)kd_number_format_bytes(m->format, n);
    float *own = k->scale + row * n; /* until the scales are there */
    for (int64_t j = 0; j < n; j++)
        own[j] = k->importance[j] != 0 ? (float)m->w[(from + row) * n + j] : 0;
    for (int64_t j = 0; j < n; j++) k->w[row * n + j] = (kd_real)own[k->order[j]];
    m->format->encode(m->bytes + (from + row) * bytes, own, k->importance, n);
    k->grid->scales(k->scale + row * n, k->offset + row * n, m->bytes + (from + row) * bytes, n);
}

/* w[:, end:] ← w[:, end:] − error·U[first:end, end:] */
static void make_good(const work *k, int64_t rows, int64_t first, int64_t end) {
    const int64_t n = k->n;
    kd_matrix_product p = kd_product_of(rows, n - end, end - first, kd_plain(k->error, BLOCK),
                                        kd_plain(k->U + first * n + end, n), k->w + end, n);
    p.alpha = -1;
    p.beta = 1;
    kd_gemm(&p);
}

static void round_strip(const work *k, int64_t from, int64_t rows) {
    const kd_rounding *m = k->matrix;
    const int64_t n = k->n, bytes = (int64_t)kd_number_format_bytes(m->format, n);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) begin_row(k, from, row);
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t end = first + BLOCK < n ? first + BLOCK : n;
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < rows; row++) round_columns(k, row, first, end);
        if (end < n) make_good(k, rows, first, end);
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++)
        k->grid->put(m->bytes + (from + row) * bytes, k->code + row * n, n);
}

int kd_gptq_round(const kd_rounding *m, const kd_real *H, int groups, const kd_gptq_spec *spec) {
    KD_CONTRACT(m->format->grid && m->rows % groups == 0, "GPTQ in %s, %lld rows of %d groups",
                m->format->name, (long long)m->rows, groups);
    work k = {.matrix = m, .grid = m->format->grid, .n = m->n};
    const int64_t group = m->rows / groups;
    int status = allocate(&k);
    for (int g = 0; g < groups && status == KD_OK; g++) {
        status = prepare(&k, H + g * m->n * m->n, spec);
        for (int64_t row = 0; row < group && status == KD_OK; row += STRIP)
            round_strip(&k, g * group + row, group - row < STRIP ? group - row : STRIP);
    }
    free_work(&k);
    return status;
}
