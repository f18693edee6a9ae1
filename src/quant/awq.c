#include "quant/awq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemm.h"
#include "base/error.h"
#include "base/size.h"
#include "files/names.h"
#include "quant/rounded_weights.h"

enum { RATIOS = 20, BOUNDS = 10, STRIP = 512 };

static const double LEAST_SCALE = 1e-4;

/* --- scales of columns --------------------------------------------------------------------------
 */

/* One place, and the scales that are tried. */
typedef struct {
    const kd_scaling *place;
    int index[KD_SCALING_MOST];                      /* of place->to among the parameters */
    const kd_number_format *format[KD_SCALING_MOST]; /* NULL: is not rounded on a grid    */
    int64_t channels, n;
    const kd_real *H;    /* (n,n) of what the first takes    */
    const double *size;  /* (n) mean |x| of it               */
    double *s, *best;    /* (channels)                       */
    float *row;          /* (STRIP,2,n)                      */
    kd_real *error, *Hx; /* (STRIP,n) each                   */
    double *sum;         /* (STRIP)                          */
} search;

static void free_search(search *k) {
    free(k->s);
    free(k->best);
    free(k->row);
    free(k->error);
    free(k->Hx);
    free(k->sum);
}

static int allocate(search *k) {
    const size_t n = (size_t)k->n, strip = STRIP * n;
    k->s = malloc(kd_array_bytes(k->channels, sizeof *k->s));
    k->best = malloc(kd_array_bytes(k->channels, sizeof *k->best));
    k->row = malloc(2 * strip * sizeof *k->row);
    k->error = malloc(strip * sizeof *k->error);
    k->Hx = malloc(strip * sizeof *k->Hx);
    k->sum = malloc(STRIP * sizeof *k->sum);
    const bool all = k->s && k->best && k->row && k->error && k->Hx && k->sum;
    return all ? KD_OK : kd_fail_memory(strip * sizeof *k->row, "AWQ");
}

/* x̄^(ratio/20) of each channel, brought to the middle; all 1 where no input ever was but 0. */
static void make_scales(const search *k, int ratio) {
    double most = LEAST_SCALE, least = INFINITY;
    for (int64_t c = 0; c < k->channels; c++) {
        double mean = 0;
        for (int64_t j = c; j < k->n; j += k->channels) mean += k->size[j];
        mean /= (double)(k->n / k->channels);
        k->s[c] = fmax(pow(mean, (double)ratio / RATIOS), LEAST_SCALE);
        most = fmax(most, k->s[c]);
        least = fmin(least, k->s[c]);
    }
    for (int64_t c = 0; c < k->channels; c++) k->s[c] /= sqrt(most * least);
}

/* Q(w·s)/s − w of a row. */
static void row_error(const search *k, const kd_number_format *format, const kd_real *w, int64_t at,
                      float whole) {
    float *scaled = k->row + 2 * at * k->n, *back = scaled + k->n;
    unsigned char *bytes = (unsigned char *)(k->error + at * k->n); /* until the error is there */
    for (int64_t j = 0; j < k->n; j++)
        scaled[j] = (float)((double)w[j] * k->s[j % k->channels]) / whole;
    format->encode(bytes, scaled, NULL, k->n);
    format->decode(back, bytes, k->n);
    for (int64_t j = 0; j < k->n; j++)
        k->error[at * k->n + j] =
            (kd_real)((double)(back[j] * whole) / k->s[j % k->channels] - (double)w[j]);
}

/* The tensor's own scale, where the format has one. */
static float whole_scale(const search *k, const kd_tensor *w, const kd_number_format *format) {
    double most = 0;
    if (!(format->largest > 0)) return 1;
#pragma omp parallel for schedule(static) reduction(max : most)
    for (int64_t i = 0; i < w->size; i++)
        most = fmax(most, fabs((double)w->value[i]) * k->s[i % k->n % k->channels]);
    return kd_number_format_scale(format, most);
}

/* Σ error·H·errorᵀ of the rows of one matrix. */
static double matrix_error(const search *k, const kd_param *param, const kd_number_format *format) {
    const int64_t rows = kd_param_rows(param).count, n = k->n;
    const float whole = whole_scale(k, &param->tensor, format);
    double total = 0;
    for (int64_t first = 0; first < rows; first += STRIP) {
        const int64_t count = rows - first < STRIP ? rows - first : STRIP;
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < count; row++)
            row_error(k, format, param->tensor.value + (first + row) * n, row, whole);
        const kd_matrix_product p =
            kd_product_of(count, n, n, kd_plain(k->error, n), kd_plain(k->H, n), k->Hx, n);
        kd_gemm(&p);
#pragma omp parallel for schedule(static)
        for (int64_t row = 0; row < count; row++) {
            k->sum[row] = 0;
            for (int64_t j = 0; j < n; j++)
                k->sum[row] += (double)k->error[row * n + j] * (double)k->Hx[row * n + j];
        }
        for (int64_t row = 0; row < count; row++) total += k->sum[row];
    }
    return total;
}

static void find_scales(const search *k) {
    double least = INFINITY;
    for (int ratio = 0; ratio < RATIOS; ratio++) {
        double error = 0;
        make_scales(k, ratio);
        for (int i = 0; i < k->place->count; i++)
            if (k->format[i]) error += matrix_error(k, k->place->to[i], k->format[i]);
        if (!(error < least)) continue;
        least = error;
        memcpy(k->best, k->s, (size_t)k->channels * sizeof *k->best);
    }
}

/* --- where --------------------------------------------------------------------------------------
 */

static int index_of(const kd_params *params, const kd_param *param) {
    for (int i = 0; i < params->count; i++)
        if (params->list[i] == param) return i;
    return -1;
}

/* Whether the place can be scaled in this pass; fills the search. */
static bool look_at(search *k, const kd_params *params, const kd_scaling *place,
                    kd_input_products *products, const bool *rounded, kd_awq_format *format,
                    const void *context) {
    bool some = false;
    int groups;
    *k = (search){.place = place};
    for (int i = 0; i < 2; i++)
        if (place->from[i] && rounded[index_of(params, place->from[i])]) return false;
    for (int i = 0; i < place->count; i++) {
        k->index[i] = index_of(params, place->to[i]);
        if (rounded[k->index[i]]) return false;
        const kd_number_format *own = format(context, k->index[i]);
        k->format[i] = own && own->grid ? own : NULL;
        some = some || k->format[i];
    }
    k->channels = place->from[0]->tensor.shape[0];
    k->n = kd_param_rows(place->to[0]).length;
    k->H = kd_input_products_of(products, k->index[0], &groups);
    k->size = kd_input_products_size(products, k->index[0]);
    return some && k->H && groups == 1 && k->n > 1 && k->n % k->channels == 0;
}

static void divide_rows(kd_param *param, const double *s, int64_t channels) {
    const int64_t n = param->tensor.size / channels;
    for (int64_t i = 0; i < param->tensor.size; i++)
        param->tensor.value[i] = (kd_real)((double)param->tensor.value[i] / s[i / n]);
}

static void multiply_columns(kd_param *param, const double *s, int64_t channels) {
    const int64_t n = kd_param_rows(param).length;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < param->tensor.size / n; row++)
        for (int64_t j = 0; j < n; j++) {
            kd_real *w = &param->tensor.value[row * n + j];
            *w = (kd_real)((double)*w * s[j % channels]);
        }
}

static void apply(const search *k, kd_input_products *products) {
    for (int i = 0; i < 2; i++)
        if (k->place->from[i]) divide_rows(k->place->from[i], k->best, k->channels);
    for (int i = 0; i < k->place->count; i++) {
        multiply_columns(k->place->to[i], k->best, k->channels);
        kd_input_products_divide(products, k->index[i], k->best, k->channels);
    }
}

int kd_awq_scale(const kd_params *params, const kd_scaling *scaling, int count,
                 kd_input_products *products, const bool *rounded, kd_awq_format *format,
                 const void *context) {
    int status = KD_OK;
    for (int i = 0; i < count && status == KD_OK; i++) {
        search k;
        if (!look_at(&k, params, &scaling[i], products, rounded, format, context)) continue;
        status = allocate(&k);
        if (status == KD_OK) {
            find_scales(&k);
            apply(&k, products);
        }
        free_search(&k);
    }
    return status;
}

/* --- bounds of blocks ---------------------------------------------------------------------------
 */

/* One block of a row: what it may hold of w (n ≤ 256), and the part of H that is its own. */
typedef struct {
    const kd_number_format *format;
    const kd_real *H;
    int64_t distance; /* between rows of H */
    int n;
} block;

enum { BLOCK_MOST = 256, BLOCK_BYTES_MOST = 512 };

static double block_error(const block *b, const float *w, const unsigned char *bytes) {
    float error[BLOCK_MOST];
    double total = 0;
    b->format->decode(error, bytes, b->n);
    for (int i = 0; i < b->n; i++) error[i] -= w[i];
    for (int i = 0; i < b->n; i++) {
        const kd_real *H = b->H + i * b->distance;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < b->n; j++) sum += (float)H[j] * error[j];
        total += (double)error[i] * (double)sum;
    }
    return total;
}

static void round_block(const block *b, unsigned char *out, const float *w, bool clips) {
    unsigned char bytes[BLOCK_BYTES_MOST];
    float cut[BLOCK_MOST], importance[BLOCK_MOST], most = 0;
    double least = INFINITY;
    for (int i = 0; i < b->n; i++) {
        most = fmaxf(most, fabsf(w[i]));
        importance[i] = (float)b->H[i * b->distance + i];
    }
    for (int step = 0; step < 2 * (clips ? BOUNDS : 1); step++) {
        const float bound = most * (1 - (float)(step / 2) / (2 * BOUNDS));
        for (int i = 0; i < b->n; i++) cut[i] = fminf(fmaxf(w[i], -bound), bound);
        b->format->encode(bytes, cut, step % 2 ? importance : NULL, b->n);
        const double error = block_error(b, w, bytes);
        if (!(error < least) && step > 0) continue;
        least = error;
        memcpy(out, bytes, (size_t)b->format->bytes);
    }
}

static void round_row(const kd_rounding *m, const kd_real *H, int64_t row, float *values,
                      bool clips) {
    const kd_number_format *f = m->format;
    unsigned char *out = m->bytes + row * (int64_t)kd_number_format_bytes(f, m->n);
    for (int64_t j = 0; j < m->n; j++) values[j] = (float)m->w[row * m->n + j];
    for (int64_t j = 0; j < m->n; j += f->block, out += f->bytes) {
        const block b = {f, H + j * m->n + j, m->n, f->block};
        round_block(&b, out, values + j, clips);
    }
}

void kd_awq_round(const kd_rounding *m, bool clips) {
    const int64_t group = m->rows / m->groups;
    KD_CONTRACT(m->format->block > 1 && m->format->block <= BLOCK_MOST &&
                    m->format->bytes <= BLOCK_BYTES_MOST,
                "AWQ in %s", m->format->name);
#pragma omp parallel for schedule(static)
    for (int lane = 0; lane < KD_ROUNDING_LANES; lane++)
        for (int64_t row = lane; row < m->rows; row += KD_ROUNDING_LANES)
            round_row(m, m->products + row / group * m->n * m->n, row, m->scratch + lane * m->n,
                      clips);
}
