#include "quant/rounded_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/size.h"
#include "files/roles.h"

enum { BOUNDARY = 64 };

/* A parameter that is not stored as it is. */
typedef struct {
    int param;
    kd_real *own, *rounded;
    unsigned char *bytes; /* as the file will hold it                          */
    int joined;           /* the first parameter with which it has a scale of the tensor */
    bool final;           /* rounded by what was seen; stays as it is          */
} entry;

typedef struct {
    kd_quantized base;
    kd_encoding *encoding; /* (parameters)                    */
    entry *entry;          /* (count)                         */
    int count;
    kd_real *slab;               /* of the rounded values           */
    unsigned char *bytes;        /* of all entries                  */
    float *scratch;              /* (KD_ROUNDING_LANES,longest row) */
    kd_input_squares *seen;      /* of KD_SEES_INPUTS, else NULL    */
    kd_input_products *products; /* of KD_SEES_PRODUCTS, else NULL */
    kd_scaling *scaling;         /* (scalings) where columns may be scaled                 */
    int scalings;
    kd_real *original; /* (slab_size) of the model, while its columns are scaled */
} rounded;

static rounded *rounded_of(kd_quantized *q) {
    return (rounded *)(void *)q;
}

static kd_param *param_of(const rounded *r, const entry *e) {
    return r->base.model.params->list[e->param];
}

int kd_rounded_create(kd_quantized **out, const kd_quantizable *model,
                      const kd_quantize_spec *spec) {
    KD_CONTRACT(model->rule && spec->format, "%s: a model without a rule of formats, or no format",
                spec->how->name);
    rounded *r = calloc(1, sizeof *r);
    if (!r) return kd_fail_memory(sizeof *r, "rounded weights");
    r->base = (kd_quantized){.how = spec->how, .spec = *spec, .model = *model};
    *out = &r->base;
    return KD_OK;
}

/* The model's own values again. */
static void unscale(rounded *r) {
    kd_params *params = r->base.model.params;
    if (!r->original) return;
    memcpy(params->value, r->original, (size_t)params->slab_size * sizeof *r->original);
    kd_params_touch(params);
    free(r->original);
}

void kd_rounded_free(kd_quantized *q) {
    rounded *r = rounded_of(q);
    free(r->encoding);
    free(r->entry);
    free(r->slab);
    free(r->bytes);
    free(r->scratch);
    kd_input_squares_free(r->seen);
    kd_input_products_free(r->products);
    unscale(r);
    free(r->scaling);
    free(r);
}

/* --- memory -----------------------------------------------------------------------------------
 */

static int64_t aligned(int64_t n) {
    const int64_t numbers = BOUNDARY / (int64_t)sizeof(kd_real);
    return (n + numbers - 1) / numbers * numbers;
}

/* What all entries take together. */
typedef struct {
    int64_t numbers, longest;
    uint64_t bytes;
} extent;

/* Which parameters are rounded. */
static extent list_entries(rounded *r) {
    const kd_params *params = r->base.model.params;
    extent all = {0};
    for (int i = 0; i < params->count; i++) {
        const kd_param *p = params->list[i];
        const int64_t row = kd_param_rows(p).length;
        const kd_number_format *format = r->encoding[i].format;
        if (!format || format == &kd_format_f32) continue;
        int joined = 0;
        while (!kd_params_joined(params, i, joined)) joined++;
        r->entry[r->count++] = (entry){.param = i, .own = p->tensor.value, .joined = joined};
        all.longest = row > all.longest ? row : all.longest;
        all.numbers += aligned(p->tensor.size);
        all.bytes += kd_encoding_bytes(&r->encoding[i], p);
    }
    return all;
}

static int take_memory(rounded *r, const extent *all) {
    const size_t bytes = kd_array_bytes(all->numbers + 1, sizeof *r->slab); /* never none */
    r->slab = kd_large_alloc(bytes);
    r->bytes = malloc(kd_array_bytes((int64_t)all->bytes + 1, 1));
    r->scratch = malloc(kd_array_bytes(KD_ROUNDING_LANES * (all->longest + 1), sizeof *r->scratch));
    if (!r->slab || !r->bytes || !r->scratch) return kd_fail_memory(bytes, "rounded weights");
    kd_real *number = r->slab;
    unsigned char *byte = r->bytes;
    for (entry *e = r->entry; e < r->entry + r->count; e++) {
        const kd_param *p = param_of(r, e);
        e->rounded = number;
        e->bytes = byte;
        number += aligned(p->tensor.size);
        byte += kd_encoding_bytes(&r->encoding[e->param], p);
    }
    return KD_OK;
}

/* Products are gathered of matrices whose numbers have a grid. */
static int see_products(rounded *r) {
    const int count = r->base.model.params->count;
    bool *wanted = calloc((size_t)count, sizeof *wanted);
    if (!wanted) return kd_fail_memory((unsigned long long)count, "rounded weights");
    for (int i = 0; i < count; i++)
        wanted[i] = r->encoding[i].format && r->encoding[i].format->grid;
    const int status = kd_input_products_create(&r->products, r->base.model.params, wanted,
                                                (int64_t)KD_INPUT_PRODUCTS_MIB << 20);
    free(wanted);
    const kd_quantizable *model = &r->base.model;
    if (status < 0 || !r->base.how->scales_columns || !model->scalings) return status;
    return model->scalings(&r->scaling, &r->scalings, model->layers);
}

int kd_rounded_start(kd_quantized *q) {
    rounded *r = rounded_of(q);
    const size_t count = (size_t)q->model.params->count;
    KD_CONTRACT(q->model.params->laid_out && !r->entry, "%s: not laid out, or begun twice",
                q->how->name);
    int status = kd_encodings_nearest(&r->encoding, q->model.params, q->model.rule, q->spec.format);
    if (status < 0) return status;
    for (size_t i = 0; i < count && q->spec.formats; i++)
        r->encoding[i].format = q->spec.formats[i];
    q->spec.formats = NULL;
    r->entry = calloc(count, sizeof *r->entry);
    if (!r->entry) return kd_fail_memory(count * sizeof *r->entry, "rounded weights");
    if (q->how->sees == KD_SEES_INPUTS) status = kd_input_squares_create(&r->seen, q->model.params);
    if (q->how->sees == KD_SEES_PRODUCTS) status = see_products(r);
    if (status < 0) return status;
    const extent all = list_entries(r);
    return take_memory(r, &all);
}

/* --- rounding ---------------------------------------------------------------------------------
 */

void kd_round_rows(const kd_rounding *m, const float *importance, int groups) {
    const int64_t bytes = (int64_t)kd_number_format_bytes(m->format, m->n);
    const int64_t group = m->rows / groups;
#pragma omp parallel for schedule(static)
    for (int lane = 0; lane < KD_ROUNDING_LANES; lane++) {
        float *values = m->scratch + lane * m->n;
        for (int64_t row = lane; row < m->rows; row += KD_ROUNDING_LANES) {
            for (int64_t i = 0; i < m->n; i++) values[i] = (float)m->w[row * m->n + i];
            const float *own = importance ? importance + row / group * m->n : NULL;
            m->format->encode(m->bytes + row * bytes, values, own, m->n);
        }
    }
}

/* The numbers that the bytes say, times the tensor's scale. */
static void decode_rows(const kd_rounding *m, kd_real *out, float scale) {
    const int64_t bytes = (int64_t)kd_number_format_bytes(m->format, m->n);
#pragma omp parallel for schedule(static)
    for (int lane = 0; lane < KD_ROUNDING_LANES; lane++) {
        float *values = m->scratch + lane * m->n;
        for (int64_t row = lane; row < m->rows; row += KD_ROUNDING_LANES) {
            m->format->decode(values, m->bytes + row * bytes, m->n);
            for (int64_t i = 0; i < m->n; i++) out[row * m->n + i] = (kd_real)(values[i] * scale);
        }
    }
}

static bool makes_scores(const rounded *r, const kd_param *param) {
    for (int i = 0; i < r->scalings; i++)
        for (int k = 0; k < r->scaling[i].scores; k++)
            if (r->scaling[i].to[k] == param) return true;
    return false;
}

static double largest_of(const kd_real *value, int64_t size) {
    double most = 0;
#pragma omp parallel for schedule(static) reduction(max : most)
    for (int64_t i = 0; i < size; i++) most = fmax(most, fabs((double)value[i]));
    return most;
}

/* Where the format has a scale of the tensor, and of those joined to it: w/scale into e->rounded,
 * which is free until the end. */
static float scale_tensor(const rounded *r, const entry *e, const kd_tensor *t,
                          const kd_number_format *format) {
    double most = 0;
    if (!(format->largest > 0)) return 1;
    for (const entry *o = r->entry; o < r->entry + r->count; o++)
        if (o->joined == e->joined && r->encoding[o->param].format == format)
            most = fmax(most, largest_of(o->own, param_of(r, o)->tensor.size));
    const float scale = kd_number_format_scale(format, most);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < t->size; i++) e->rounded[i] = e->own[i] / (kd_real)scale;
    return scale;
}

static int round_entry(rounded *r, entry *e) {
    kd_tensor *t = &param_of(r, e)->tensor;
    const kd_rows_of rows = kd_param_rows(param_of(r, e));
    kd_rounding matrix = {.model = &r->base,
                          .param = e->param,
                          .seen = r->seen,
                          .format = r->encoding[e->param].format,
                          .rows = rows.count,
                          .n = rows.length,
                          .w = e->own,
                          .bytes = e->bytes,
                          .scratch = r->scratch,
                          .scores = makes_scores(r, param_of(r, e))};
    if (r->products) matrix.products = kd_input_products_of(r->products, e->param, &matrix.groups);
    const float scale = scale_tensor(r, e, t, matrix.format);
    if (matrix.format->largest > 0) matrix.w = e->rounded;
    const int status = r->base.how->round_matrix(&matrix);
    if (status < 0) return status;
    decode_rows(&matrix, e->rounded, scale);
    r->encoding[e->param].scale = scale;
    t->value = e->rounded;
    if (matrix.format->block != 1) r->encoding[e->param].bytes = e->bytes;
    e->final = matrix.products != NULL;
    return KD_OK;
}

int kd_rounded_round(kd_quantized *q) {
    rounded *r = rounded_of(q);
    int status = KD_OK;
    for (entry *e = r->entry; e < r->entry + r->count && status == KD_OK; e++) {
        if (e->final)
            param_of(r, e)->tensor.value = e->rounded;
        else
            status = round_entry(r, e);
    }
    kd_params_touch(q->model.params);
    return status;
}

void kd_rounded_leave(kd_quantized *q) {
    rounded *r = rounded_of(q);
    for (entry *e = r->entry; e && e < r->entry + r->count; e++)
        param_of(r, e)->tensor.value = e->own;
    kd_params_touch(q->model.params);
}

/* --- what it sees -----------------------------------------------------------------------------
 */

void kd_rounded_watch(kd_quantized *q, kd_tape *tape) {
    rounded *r = rounded_of(q);
    if (r->seen) kd_input_squares_watch(r->seen, tape);
    if (r->products) kd_input_products_watch(r->products, tape);
}

static const kd_number_format *format_of(const void *context, int param) {
    return ((const rounded *)context)->encoding[param].format;
}

static int scale_columns(rounded *r) {
    const kd_quantizable *model = &r->base.model;
    const size_t bytes = kd_array_bytes(model->params->slab_size, sizeof *r->original);
    bool *final = calloc((size_t)model->params->count, sizeof *final);
    if (!r->original) {
        r->original = kd_large_alloc(bytes);
        if (r->original) memcpy(r->original, model->params->value, bytes);
    }
    int status = final && r->original ? KD_OK : kd_fail_memory(bytes, "rounded weights");
    for (const entry *e = r->entry; e < r->entry + r->count && status == KD_OK; e++)
        final[e->param] = e->final;
    if (status == KD_OK)
        status =
            kd_awq_scale(model->params, r->scaling, r->scalings, r->products, final, format_of, r);
    free(final);
    return status;
}

/* Rounds what was gathered in this pass, so that the next one sees what follows from it. */
static int round_seen(rounded *r) {
    bool again;
    int groups, status = kd_input_products_finish(r->products, &again);
    kd_rounded_leave(&r->base);
    if (status == KD_OK && r->base.how->scales_columns) status = scale_columns(r);
    for (entry *e = r->entry; e < r->entry + r->count && status == KD_OK; e++) {
        if (e->final) param_of(r, e)->tensor.value = e->rounded;
        if (kd_input_products_of(r->products, e->param, &groups)) status = round_entry(r, e);
    }
    kd_input_products_release(r->products);
    kd_params_touch(r->base.model.params);
    return status == KD_OK && again ? KD_CALIBRATE_AGAIN : status;
}

void kd_rounded_show(kd_quantized *q, kd_input_squares *seen) {
    rounded *r = rounded_of(q);
    kd_input_squares_free(r->seen);
    r->seen = seen;
}

int kd_rounded_calibrated(kd_quantized *q) {
    rounded *r = rounded_of(q);
    if (r->products) return round_seen(r);
    return r->seen ? kd_input_squares_finish(r->seen) : KD_OK;
}

const kd_encoding *kd_rounded_encodings(const kd_quantized *q) {
    return ((const rounded *)(const void *)q)->encoding;
}
