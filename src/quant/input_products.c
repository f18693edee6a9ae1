#include "quant/input_products.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemm.h"
#include "base/error.h"
#include "base/size.h"
#include "files/names.h"

typedef struct {
    const kd_param *param;
    kd_real *sum; /* (groups,n,n); NULL: nothing in this pass */
    double *size; /* (groups,n) Σ |x|                         */
    int groups;
    double rows;
    bool wanted;
} entry;

struct kd_input_products {
    entry *entry; /* (count) */
    int count;
    int64_t most_bytes, bytes; /* of the pass                        */
    bool full, failed, seen;   /* some is left for another pass; …   */
    kd_real *windows;          /* scratch                            */
    int64_t windows_size;
};

int kd_input_products_create(kd_input_products **out, const kd_params *params, const bool *wanted,
                             int64_t most_bytes) {
    *out = NULL;
    kd_input_products *p = calloc(1, sizeof *p);
    entry *list = calloc((size_t)params->count, sizeof *list);
    if (!p || !list) {
        free(p);
        free(list);
        return kd_fail_memory((size_t)params->count * sizeof *list, "products of inputs");
    }
    *p = (kd_input_products){.entry = list, .count = params->count, .most_bytes = most_bytes};
    for (int i = 0; i < params->count; i++)
        list[i] = (entry){.param = params->list[i], .wanted = wanted[i]};
    *out = p;
    return KD_OK;
}

void kd_input_products_free(kd_input_products *p) {
    if (!p) return;
    kd_input_products_release(p);
    free(p->entry);
    free(p->windows);
    free(p);
}

static int64_t length_of(const entry *e) {
    return kd_param_rows(e->param).length;
}

/* Rows of H that are summed together, from the first of their columns on: H is symmetric. */
enum { TILE = 256 };

/* H[g] ← H[g] + x·xᵀ above and in the tiles of the diagonal, and Σ |x|, of `rows` rows. */
static void add(entry *e, int g, const kd_real *x, int64_t rows, int64_t distance) {
    enum { COLUMNS = 64 };
    const int64_t n = length_of(e);
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < n; first += COLUMNS)
        for (int64_t row = 0; row < rows; row++)
            for (int64_t j = first; j < n && j < first + COLUMNS; j++)
                e->size[g * n + j] += fabs((double)x[row * distance + j]);
    for (int64_t at = 0; at < n; at += TILE) {
        const int64_t count = n - at < TILE ? n - at : TILE;
        kd_matrix_product p =
            kd_product_of(count, n - at, rows, kd_transposed(x + at, distance),
                          kd_plain(x + at, distance), e->sum + (g * n + at) * n + at, n);
        p.beta = 1;
        kd_gemm(&p);
    }
}

/* What is below the tiles of the diagonal, and all divided. */
static void finish_entry(entry *e) {
    const int64_t n = length_of(e);
    const kd_real factor = (kd_real)(2 / e->rows);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < e->groups * n; row++) {
        kd_real *H = e->sum + row / n * n * n;
        for (int64_t j = row % n / TILE * TILE; j < n; j++) H[row % n * n + j] *= factor;
        e->size[row] /= e->rows;
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < e->groups * n; row++) {
        kd_real *H = e->sum + row / n * n * n;
        for (int64_t j = 0; j < row % n / TILE * TILE; j++) H[row % n * n + j] = H[j * n + row % n];
    }
}

/* --- windows ------------------------------------------------------------------------------------
 */

typedef struct {
    const kd_tensor *x;
    const int *stride, *padding;
    int64_t KH, KW, own; /* own: channels of a group */
    int64_t high, wide;  /* places of windows        */
} windows;

/* The window at place `at` of all images, as a row of weights lies: (KH,KW,own) of group g. */
static void copy_window(kd_real *out, const windows *w, int64_t g, int64_t at) {
    const int64_t H = w->x->shape[1], W = w->x->shape[2], C = w->x->shape[3];
    const int64_t b = at / (w->high * w->wide), i = at / w->wide % w->high, j = at % w->wide;
    for (int64_t u = 0; u < w->KH; u++)
        for (int64_t v = 0; v < w->KW; v++, out += w->own) {
            const int64_t h = i * w->stride[0] - w->padding[0] + u;
            const int64_t c = j * w->stride[1] - w->padding[1] + v;
            const bool inside = h >= 0 && h < H && c >= 0 && c < W;
            for (int64_t k = 0; k < w->own; k++)
                out[k] = inside ? w->x->value[((b * H + h) * W + c) * C + g * w->own + k] : 0;
        }
}

static bool reserve(kd_input_products *p, int64_t size) {
    if (size <= p->windows_size) return true;
    free(p->windows);
    p->windows = malloc(kd_array_bytes(size, sizeof *p->windows));
    p->windows_size = p->windows ? size : 0;
    p->failed = p->failed || !p->windows;
    return p->windows != NULL;
}

static void add_windows(kd_input_products *p, entry *e, const windows *w) {
    enum { TOGETHER = 4096 };
    const int64_t n = length_of(e), count = w->x->shape[0] * w->high * w->wide;
    e->rows += (double)count;
    if (!reserve(p, TOGETHER * n)) return;
    for (int g = 0; g < e->groups; g++)
        for (int64_t first = 0; first < count; first += TOGETHER) {
            const int64_t rows = count - first < TOGETHER ? count - first : TOGETHER;
#pragma omp parallel for schedule(static)
            for (int64_t row = 0; row < rows; row++)
                copy_window(p->windows + row * n, w, g, first + row);
            add(e, g, p->windows, rows, n);
        }
}

/* --- what passes --------------------------------------------------------------------------------
 */

/* Its place in this pass; false when there is none. */
static bool begin(kd_input_products *p, entry *e, int groups) {
    const int64_t n = length_of(e), bytes = groups * n * n * (int64_t)sizeof(kd_real);
    p->full = p->full || (p->bytes > 0 && p->bytes + bytes > p->most_bytes);
    if (p->full) return false;
    e->sum = calloc(kd_array_bytes(groups * n * n, 1), sizeof *e->sum);
    e->size = calloc(kd_array_bytes(groups * n, 1), sizeof *e->size);
    e->groups = groups;
    p->bytes += bytes;
    p->failed = p->failed || !e->sum || !e->size;
    return e->sum && e->size;
}

static void tell(void *context, const kd_tensor *weight, const kd_tensor *x, const int *stride,
                 const int *padding, int groups) {
    kd_input_products *p = context;
    int i = 0;
    while (i < p->count && p->entry[i].param != weight->param) i++;
    if (i == p->count || !p->entry[i].wanted) return;
    entry *e = &p->entry[i];
    if (p->failed || (!e->sum && !begin(p, e, groups))) return;
    if (!stride) {
        const int64_t n = length_of(e);
        e->rows += (double)(x->size / n);
        add(e, 0, x->value, x->size / n, n);
        return;
    }
    windows w = {.x = x,
                 .stride = stride,
                 .padding = padding,
                 .KH = weight->shape[1],
                 .KW = weight->shape[2],
                 .own = weight->shape[3]};
    w.high = (x->shape[1] + 2 * padding[0] - w.KH) / stride[0] + 1;
    w.wide = (x->shape[2] + 2 * padding[1] - w.KW) / stride[1] + 1;
    add_windows(p, e, &w);
}

void kd_input_products_watch(kd_input_products *p, kd_tape *tape) {
    tape->watch = p ? (kd_tape_watch){tell, p} : (kd_tape_watch){NULL, NULL};
}

int kd_input_products_finish(kd_input_products *p, bool *again) {
    *again = p->full;
    if (p->failed) return kd_fail_memory((unsigned long long)p->bytes, "products of inputs");
    for (int i = 0; i < p->count; i++) {
        if (!p->entry[i].sum) continue;
        p->seen = true;
        finish_entry(&p->entry[i]);
    }
    return p->seen ? KD_OK
                   : kd_fail(KD_EDATA, "no input of any matrix was seen; calibrate with at least "
                                       "one batch");
}

kd_real *kd_input_products_of(kd_input_products *p, int param, int *groups) {
    *groups = p->entry[param].groups;
    return p->entry[param].sum;
}

const double *kd_input_products_size(const kd_input_products *p, int param) {
    return p->entry[param].size;
}

void kd_input_products_divide(kd_input_products *p, int param, const double *s, int64_t count) {
    entry *e = &p->entry[param];
    const int64_t n = length_of(e);
    if (!e->sum) return;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < e->groups * n; row++) {
        const double own = s[row % n % count];
        e->size[row] /= own;
        for (int64_t j = 0; j < n; j++)
            e->sum[row * n + j] = (kd_real)((double)e->sum[row * n + j] / (own * s[j % count]));
    }
}

void kd_input_products_release(kd_input_products *p) {
    for (int i = 0; i < p->count; i++) {
        entry *e = &p->entry[i];
        if (e->sum) e->wanted = false;
        free(e->sum);
        free(e->size);
        e->sum = NULL;
        e->size = NULL;
        e->rows = 0;
    }
    p->bytes = 0;
    p->full = false;
}
