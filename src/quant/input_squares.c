#include "quant/input_squares.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "files/names.h"

typedef struct {
    const kd_param *param;
    double *sum; /* (groups, length); NULL: nothing yet */
    float *mean; /* the same, once finished             */
    int groups;
    double rows;
    double largest; /* magnitude of an input */
} entry;

struct kd_input_squares {
    entry *entry; /* (count) */
    int count;
    bool failed;
};

int kd_input_squares_create(kd_input_squares **out, const kd_params *params) {
    *out = NULL;
    kd_input_squares *s = calloc(1, sizeof *s);
    entry *list = calloc((size_t)params->count, sizeof *list);
    if (!s || !list) {
        free(s);
        free(list);
        return kd_fail_memory((size_t)params->count * sizeof *list, "squares of inputs");
    }
    *s = (kd_input_squares){.entry = list, .count = params->count};
    for (int i = 0; i < params->count; i++) list[i].param = params->list[i];
    *out = s;
    return KD_OK;
}

void kd_input_squares_free(kd_input_squares *s) {
    if (!s) return;
    for (int i = 0; i < s->count; i++) {
        free(s->entry[i].sum);
        free(s->entry[i].mean);
    }
    free(s->entry);
    free(s);
}

/* A matrix: columns in parallel, rows in order. */
static void add_rows(entry *e, const kd_tensor *x, int64_t n) {
    enum { COLUMNS = 64 };
    const int64_t rows = x->size / n;
    e->rows += (double)rows;
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < n; first += COLUMNS)
        for (int64_t row = 0; row < rows; row++)
            for (int64_t j = first; j < n && j < first + COLUMNS; j++)
                e->sum[j] += (double)x->value[row * n + j] * (double)x->value[row * n + j];
}

/* One value of a window in all windows of all images: `at` (u,v) of the kernel, channel by channel.
 */
static void add_place(const entry *e, const kd_tensor *x, const int64_t *at, const int *stride,
                      const int *padding) {
    const kd_tensor *w = &e->param->tensor;
    const int64_t H = x->shape[1], W = x->shape[2], C = x->shape[3], own = w->shape[3];
    const int64_t KH = w->shape[1], KW = w->shape[2], length = KH * KW * own;
    const int64_t rows = (H + 2 * padding[0] - KH) / stride[0] + 1;
    const int64_t columns = (W + 2 * padding[1] - KW) / stride[1] + 1;
    for (int64_t b = 0; b < x->shape[0]; b++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++) {
                const int64_t h = i * stride[0] - padding[0] + at[0];
                const int64_t v = j * stride[1] - padding[1] + at[1];
                if (h < 0 || h >= H || v < 0 || v >= W) continue;
                const kd_real *pixel = x->value + ((b * H + h) * W + v) * C;
                for (int64_t c = 0; c < C; c++)
                    e->sum[c / own * length + (at[0] * KW + at[1]) * own + c % own] +=
                        (double)pixel[c] * (double)pixel[c];
            }
}

static void add_windows(entry *e, const kd_tensor *x, const int *stride, const int *padding) {
    const int64_t KH = e->param->tensor.shape[1], KW = e->param->tensor.shape[2];
    e->rows += (double)(x->shape[0] * ((x->shape[1] + 2 * padding[0] - KH) / stride[0] + 1) *
                        ((x->shape[2] + 2 * padding[1] - KW) / stride[1] + 1));
#pragma omp parallel for schedule(static)
    for (int64_t place = 0; place < KH * KW; place++)
        add_place(e, x, (const int64_t[]){place / KW, place % KW}, stride, padding);
}

static double largest_of(const kd_tensor *x) {
    double most = 0;
#pragma omp parallel for schedule(static) reduction(max : most)
    for (int64_t i = 0; i < x->size; i++) most = fmax(most, fabs((double)x->value[i]));
    return most;
}

static void tell(void *context, const kd_tensor *weight, const kd_tensor *x, const int *stride,
                 const int *padding, int groups) {
    kd_input_squares *s = context;
    int i = 0;
    while (i < s->count && s->entry[i].param != weight->param) i++;
    if (i == s->count) return;
    entry *e = &s->entry[i];
    const int64_t n = kd_param_rows(e->param).length;
    e->groups = groups;
    if (!e->sum) e->sum = calloc(kd_array_bytes(groups * n, 1), sizeof *e->sum);
    if (!e->sum) {
        s->failed = true;
        return;
    }
    e->largest = fmax(e->largest, largest_of(x));
    if (stride)
        add_windows(e, x, stride, padding);
    else
        add_rows(e, x, n);
}

void kd_input_squares_watch(kd_input_squares *s, kd_tape *tape) {
    tape->watch = s ? (kd_tape_watch){tell, s} : (kd_tape_watch){NULL, NULL};
}

int kd_input_squares_finish(kd_input_squares *s) {
    int seen = 0;
    for (int i = 0; i < s->count && !s->failed; i++) {
        entry *e = &s->entry[i];
        if (!e->sum) continue;
        const int64_t size = e->groups * kd_param_rows(e->param).length;
        if (!e->mean) e->mean = malloc(kd_array_bytes(size, sizeof *e->mean));
        s->failed = !e->mean;
        for (int64_t k = 0; k < size && e->mean; k++) e->mean[k] = (float)(e->sum[k] / e->rows);
        seen++;
    }
    if (s->failed) return kd_fail_memory(sizeof(float), "squares of inputs");
    return seen ? KD_OK
                : kd_fail(KD_EDATA, "no input of any matrix was seen; calibrate with at least one "
                                    "batch");
}

float kd_input_squares_largest(const kd_input_squares *s, int param) {
    return (float)s->entry[param].largest;
}

bool kd_input_squares_sum(kd_squares_sum *out, const kd_input_squares *s, int param) {
    const entry *e = &s->entry[param];
    *out = (kd_squares_sum){e->sum, e->rows, e->groups, kd_param_rows(e->param).length};
    return e->sum != NULL;
}

int kd_input_squares_set(kd_input_squares *s, int param, int groups, const float *sums,
                         const float *counts) {
    entry *e = &s->entry[param];
    const int64_t length = kd_param_rows(e->param).length, size = groups * length;
    free(e->mean);
    e->groups = groups;
    e->mean = malloc(kd_array_bytes(size, sizeof *e->mean));
    if (!e->mean) return kd_fail_memory((size_t)size * sizeof *e->mean, "squares of inputs");
    for (int64_t i = 0; i < size; i++)
        e->mean[i] = counts[i / length] > 0 ? sums[i] / counts[i / length] : 1;
    return KD_OK;
}

const float *kd_input_squares_of(const kd_input_squares *s, int param, int *groups) {
    *groups = s->entry[param].groups;
    return s->entry[param].mean;
}
