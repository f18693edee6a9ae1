#include "distill/sensitivity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "distill/fidelity.h"
#include "distill/loss.h"
#include "distill/trainer.h"

enum { LANES = 32 }; /* rows are dealt to, so that sums stay the same */
static const size_t REFERENCE_MAX = (size_t)256 << 20; /* bytes of the float model's answers */
static const uint64_t LABEL_SEED = 0x666973686572;

static int check_stop(void) {
    if (!kd_train_take_stop()) return KD_OK;
    return kd_fail(KD_EAGAIN, "stopped while sensitivities are measured; run again to go on");
}

/* --- by gradients ------------------------------------------------------------------------------
 */

/* A class for each row, drawn from its softmax. */
static void draw_labels(int32_t *label, const kd_tensor *z, int64_t V, int64_t sample) {
    const kd_rng stream = kd_rng_init(LABEL_SEED, (uint64_t)sample);
    const int64_t rows = z->size / V;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const kd_real *x = z->value + row * V;
        kd_rng rng = {stream.key, (uint64_t)row};
        double most = (double)x[0], sum = 0;
        for (int64_t v = 1; v < V; v++) most = fmax(most, (double)x[v]);
        for (int64_t v = 0; v < V; v++) sum += exp((double)x[v] - most);
        double left = kd_rng_uniform(&rng) * sum;
        int64_t v = 0;
        while (v < V - 1 && (left -= exp((double)x[v] - most)) >= 0) v++;
        label[row] = (int32_t)v;
    }
}

/* The gradient of Σ log p(y) over one sample's answers; how many there were. */
static int differentiate(int64_t *rows, const kd_answers *model, kd_tape *tape, int64_t i) {
    kd_tensor *z;
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tape_reset(tape);
    kd_params_begin_step(model->params);
    const int status = model->answer(&z, model->context, tape, i);
    if (status < 0) return status;
    const int64_t V = z->shape[z->rank - 1], n = z->size / V;
    int32_t *label = kd_tape_alloc(tape, kd_array_bytes(n, sizeof *label));
    draw_labels(label, z, V, i);
    z = kd_reshape(tape, z, 2, (const int64_t[]){n, V});
    const kd_loss_spec spec = {.hard_weight = 1, .temperature = 1, .normalizer = 1};
    kd_tape_backward(tape, kd_distill_loss(tape, z, label, NULL, NULL, spec, NULL));
    kd_params_finish_grads(model->params);
    *rows = n;
    return KD_OK;
}

/* fisher (trained_size): F of every trained number. */
static int gather(kd_real *fisher, const kd_answers *model, kd_tape *tape) {
    const int64_t size = model->params->trained_size;
    int64_t all = 0, rows = 0;
    kd_progress progress;
    int status = KD_OK;
    tape->recording = true;
    kd_progress_begin(&progress, "sensitivity", "samples", 1, 0, model->samples);
    for (int64_t i = 0; i < model->samples && status == KD_OK; i++) {
        status = differentiate(&rows, model, tape, i);
        const kd_real *g = model->params->grad;
        all += rows;
#pragma omp parallel for schedule(static)
        for (int64_t j = 0; j < size; j++) fisher[j] += g[j] * g[j];
        if (status == KD_OK) status = check_stop();
        if (status == KD_OK) kd_progress_show(&progress, i + 1, "");
    }
    kd_progress_end(&progress);
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < size; j++) fisher[j] /= (kd_real)(all > 0 ? all : 1);
    return status;
}

/* A lane's rows of a matrix: as numbers, as bytes, and as the numbers that these say. */
typedef struct {
    float *own, *rounded;
    unsigned char *bytes;
} lane;

static int take_lanes(lane out[LANES], int64_t longest) {
    const size_t n = (size_t)longest + 8, each = n * (2 * sizeof(float) + 8);
    unsigned char *memory = kd_large_alloc(LANES * each);
    out[0].own = NULL;
    if (!memory) return kd_fail_memory(LANES * each, "rows of weights");
    for (int i = 0; i < LANES; i++) {
        out[i].own = (float *)(void *)(memory + (size_t)i * each);
        out[i].rounded = out[i].own + n;
        out[i].bytes = (unsigned char *)(out[i].rounded + n);
    }
    return KD_OK;
}

static int64_t longest_row(const kd_budget *b, const kd_params *params) {
    int64_t longest = 1;
    for (int t = 0; t < b->count; t++) {
        const int64_t n = kd_param_rows(params->list[b->matrix[t].param]).length;
        longest = n > longest ? n : longest;
    }
    return longest;
}

static void round_row(const lane *l, const kd_number_format *format, const kd_real *w, int64_t n) {
    for (int64_t i = 0; i < n; i++) l->own[i] = (float)w[i];
    format->encode(l->bytes, l->own, NULL, n);
    format->decode(l->rounded, l->bytes, n);
}

/* ½·Σ F·Δ² of a matrix in a format. */
static double quadratic(const lane *lanes, const kd_param *p, const kd_real *fisher,
                        const kd_number_format *format) {
    const kd_rows_of rows = kd_param_rows(p);
    double sum[LANES] = {0}, total = 0;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < LANES; i++) {
        for (int64_t row = i; row < rows.count; row += LANES) {
            const int64_t at = row * rows.length;
            round_row(&lanes[i], format, p->tensor.value + at, rows.length);
            for (int64_t k = 0; k < rows.length; k++) {
                const double d = (double)lanes[i].rounded[k] - (double)p->tensor.value[at + k];
                sum[i] += (double)fisher[at + k] * d * d;
            }
        }
    }
    for (int i = 0; i < LANES; i++) total += sum[i];
    return isfinite(total) ? total / 2 : INFINITY;
}

static int fill_costs(kd_budget *b, const kd_params *params, const kd_real *fisher) {
    lane lanes[LANES];
    kd_progress progress;
    int status = take_lanes(lanes, longest_row(b, params));
    kd_progress_begin(&progress, "rounding errors", "matrices", 1, 0, b->count);
    for (int t = 0; t < b->count && status == KD_OK; t++) {
        kd_budget_matrix *m = &b->matrix[t];
        const kd_param *p = params->list[m->param];
        KD_CONTRACT(p->flags & KD_PARAM_TRAINED, "%s: has no gradient", p->name);
        for (int k = 0; k < m->count; k++)
            m->option[k].cost = quadratic(lanes, p, fisher + p->offset, m->option[k].format);
        status = check_stop();
        if (status == KD_OK) kd_progress_show(&progress, t + 1, "");
    }
    kd_progress_end(&progress);
    free(lanes[0].own);
    return status;
}

int kd_sensitivity_by_gradient(kd_budget *budget, const kd_answers *model) {
    const size_t bytes = kd_array_bytes(model->params->trained_size, sizeof(kd_real));
    kd_real *fisher = kd_large_alloc(bytes);
    kd_tape *tape = NULL;
    int status = fisher ? kd_tape_create(&tape, 0) : kd_fail_memory(bytes, "sensitivities");
    if (status == KD_OK) {
        memset(fisher, 0, bytes);
        status = gather(fisher, model, tape);
    }
    kd_tape_free(tape);
    if (status == KD_OK) status = fill_costs(budget, model->params, fisher);
    free(fisher);
    return status;
}

/* --- by measuring ------------------------------------------------------------------------------
 */

/* Every `stride`-th row of the float model's answers. */
typedef struct {
    const kd_answers *model;
    kd_tape *tape;
    int64_t stride, rows, V;
    float *reference; /* (rows,V) log softmaxes */
} comparison;

static int answer(kd_tensor **z, const comparison *c, int64_t i) {
    if (kd_tape_guard(c->tape)) return KD_EINTERNAL;
    kd_tape_reset(c->tape);
    return c->model->answer(z, c->model->context, c->tape, i);
}

/* Keeps the answers to sample i, which is the first when nothing is known yet. */
static int keep(comparison *c, int64_t i) {
    kd_tensor *z;
    int status = answer(&z, c, i);
    if (status < 0) return status;
    c->V = z->shape[z->rank - 1];
    const int64_t n = z->size / c->V;
    if (i == 0) {
        const size_t all = (size_t)(c->model->samples * z->size) * sizeof(float);
        c->stride = (int64_t)(all / REFERENCE_MAX) + 1;
    }
    const int64_t kept = (n + c->stride - 1) / c->stride;
    const size_t bytes = kd_array_bytes((c->rows + kept) * c->V, sizeof(float));
    float *more = realloc(c->reference, bytes);
    if (!more) return kd_fail_memory(bytes, "the float model's answers");
    c->reference = more;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < kept; row++)
        kd_fidelity_log_softmax(more + (c->rows + row) * c->V, z->value + row * c->stride * c->V,
                                c->V);
    c->rows += kept;
    return KD_OK;
}

static int begin(comparison *c, const kd_answers *model) {
    *c = (comparison){.model = model};
    int status = kd_tape_create(&c->tape, 0);
    if (status == KD_OK) c->tape->recording = false;
    for (int64_t i = 0; i < model->samples && status == KD_OK; i++) status = keep(c, i);
    return status;
}

static void end(comparison *c) {
    kd_tape_free(c->tape);
    free(c->reference);
}

/* The mean divergence of the model as it is now. */
static int compare(double *out, const comparison *c) {
    kd_fidelity f = {0};
    kd_tensor *z;
    int status = KD_OK;
    int64_t at = 0;
    for (int64_t i = 0; i < c->model->samples && status == KD_OK; i++) {
        status = answer(&z, c, i);
        const int64_t n = status == KD_OK ? z->size / c->V : 0;
        for (int64_t row = 0; row < n && c->stride > 1; row += c->stride) /* to the front */
            memmove(z->value + row / c->stride * c->V, z->value + row * c->V,
                    (size_t)c->V * sizeof *z->value);
        const int64_t kept = (n + c->stride - 1) / c->stride;
        if (status == KD_OK)
            status = kd_fidelity_add(&f, c->reference + at * c->V, z->value, kept, c->V);
        at += kept;
        if (status == KD_OK) status = check_stop();
    }
    *out = kd_fidelity_summarise(&f).mean;
    kd_fidelity_clear(&f);
    return status;
}

/* out (size): the matrix as its format has it. */
static void round_matrix(kd_real *out, const lane *lanes, const kd_param *p, const kd_real *own,
                         const kd_number_format *format) {
    const kd_rows_of rows = kd_param_rows(p);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < LANES; i++) {
        for (int64_t row = i; row < rows.count; row += LANES) {
            const int64_t at = row * rows.length;
            round_row(&lanes[i], format, own + at, rows.length);
            for (int64_t k = 0; k < rows.length; k++) out[at + k] = (kd_real)lanes[i].rounded[k];
        }
    }
}

/* One matrix alone, by what is in `buffer` meanwhile. */
static int measure_matrix(kd_budget_matrix *m, const comparison *c, const lane *lanes,
                          kd_real *buffer) {
    kd_params *params = c->model->params;
    kd_param *p = params->list[m->param];
    kd_real *own = p->tensor.value;
    round_matrix(buffer, lanes, p, own, m->option[m->chosen].format);
    p->tensor.value = buffer;
    kd_params_touch(params);
    const int status = compare(&m->measured, c);
    p->tensor.value = own;
    kd_params_touch(params);
    return status;
}

static void scale_costs(kd_budget_matrix *m) {
    m->gradient = m->option[m->chosen].cost;
    if (!(m->gradient > 0) || !isfinite(m->gradient)) return;
    for (int k = 0; k < m->count; k++) m->option[k].cost *= m->measured / m->gradient;
}

static int64_t largest(const kd_budget *b) {
    int64_t most = 1;
    for (int t = 0; t < b->count; t++)
        most = b->matrix[t].values > most ? b->matrix[t].values : most;
    return most;
}

int kd_sensitivity_by_measuring(kd_budget *b, const kd_answers *model) {
    const size_t bytes = kd_array_bytes(largest(b), sizeof(kd_real));
    kd_real *buffer = kd_large_alloc(bytes);
    lane lanes[LANES] = {{0}};
    comparison c;
    kd_progress progress;
    int status = begin(&c, model);
    if (status == KD_OK && !buffer) status = kd_fail_memory(bytes, "a rounded matrix");
    if (status == KD_OK) status = take_lanes(lanes, longest_row(b, model->params));
    kd_progress_begin(&progress, "measure", "matrices", 1, 0, b->count);
    for (int t = 0; t < b->count && status == KD_OK; t++) {
        status = measure_matrix(&b->matrix[t], &c, lanes, buffer);
        if (status == KD_OK) scale_costs(&b->matrix[t]);
        if (status == KD_OK) kd_progress_show(&progress, t + 1, "");
    }
    kd_progress_end(&progress);
    free(lanes[0].own);
    free(buffer);
    end(&c);
    return status;
}

/* Every matrix in the place of its own values, which `kept` has meanwhile. */
static int compare_rounded(kd_budget *b, const comparison *c, const lane *lanes, kd_real *kept) {
    kd_params *params = c->model->params;
    for (int t = 0; t < b->count; t++) {
        kd_param *p = params->list[b->matrix[t].param];
        memcpy(kept, p->tensor.value, (size_t)p->tensor.size * sizeof *kept);
        round_matrix(p->tensor.value, lanes, p, kept, b->format[b->matrix[t].param]);
        kept += p->tensor.size;
    }
    kd_params_touch(params);
    const int status = compare(&b->together, c);
    for (int t = b->count - 1; t >= 0; t--) {
        kd_param *p = params->list[b->matrix[t].param];
        kept -= p->tensor.size;
        memcpy(p->tensor.value, kept, (size_t)p->tensor.size * sizeof *kept);
    }
    kd_params_touch(params);
    return status;
}

int kd_sensitivity_together(kd_budget *b, const kd_answers *model) {
    int64_t all = 1;
    for (int t = 0; t < b->count; t++) all += b->matrix[t].values;
    kd_real *kept = kd_large_alloc(kd_array_bytes(all, sizeof *kept));
    lane lanes[LANES] = {{0}};
    comparison c;
    int status = begin(&c, model);
    if (status == KD_OK && !kept)
        status = kd_fail_memory((size_t)all * sizeof *kept, "the float weights");
    if (status == KD_OK) status = take_lanes(lanes, longest_row(b, model->params));
    if (status == KD_OK) status = compare_rounded(b, &c, lanes, kept);
    free(lanes[0].own);
    free(kept);
    end(&c);
    return status;
}
