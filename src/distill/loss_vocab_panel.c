/* The two passes of the loss over a vocabulary, for one panel of rows; see loss_vocab.c. */
#include <float.h>
#include <omp.h>
#include <string.h>

#include "autograd/gemm.h"
#include "autograd/vector_math.h"
#include "base/order.h"
#include "distill/loss_vocab.h"

static int64_t tile_classes(const kd_vocab *c, int64_t t) {
    return kd_smaller(KD_VOCAB_TILE, c->V - t * KD_VOCAB_TILE);
}

static bool wants_gradient(const kd_vocab *c) {
    return c->wants_dE || c->wants_dh || c->dbias;
}

static bool worth_threads(const kd_vocab *c) {
    return c->rows * c->V * c->C >= 8 * KD_PARALLEL_SIZE;
}

static bool keeps_tiles(const kd_vocab *c) {
    return wants_gradient(c) || kd_vocab_is_measured(c);
}

size_t kd_vocab_stored_tiles(const kd_vocab *c) {
    return keeps_tiles(c) ? (size_t)c->tiles : (size_t)omp_get_max_threads();
}

static kd_real *tile_memory(const kd_vocab *c, kd_real *panel, int64_t t) {
    return panel + (keeps_tiles(c) ? t : omp_get_thread_num()) * c->most * KD_VOCAB_TILE;
}

static kd_real hard_scale(const kd_vocab *c) {
    return (kd_real)((double)c->spec.hard_weight / c->spec.normalizer);
}

static double soft_slope(const kd_vocab *c) {
    return (double)c->spec.kl_weight / c->spec.normalizer * (double)c->spec.temperature;
}

/* --- pass 1 ---------------------------------------------------------------------------------- */

/* Σ e^{(x − max)·rate}; n ≤ KD_VOCAB_TILE */
static double sum_exp(const kd_real *restrict x, int64_t n, kd_real max, kd_real rate) {
    kd_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += kd_vexp((x[i] - max) * rate);
    return (double)sum;
}

static void teacher_sums(const kd_real *restrict z, const kd_real *restrict v, int64_t n,
                         kd_real rate, kd_vocab_sums *out) {
    const kd_real max_z = out->max_z, max_v = out->max_v = kd_row_max(v, n);
    kd_real sum = 0, cross = 0;
#pragma omp simd reduction(+ : sum, cross)
    for (int64_t i = 0; i < n; i++) {
        const kd_real above = v[i] - max_v, p = kd_vexp(above * rate);
        sum += p;
        cross += p * (above - (z[i] - max_z));
    }
    out->teacher = (double)sum;
    out->cross = (double)cross;
}

/* Takes the kept classes out of the tile: into kept_logits, −∞ in their places. Drawn ones stay. */
static void take_out_kept(const kd_vocab *c, int64_t t, kd_real *z) {
    const int k = c->soft->k;
    for (int64_t i = c->kept_first[t]; i < c->kept_first[t + 1]; i++) {
        const kd_vocab_kept *kept = &c->kept[i];
        const int64_t class = c->soft->index[c->row[kept->r] * k + kept->j];
        kd_real *place = z + kept->r * tile_classes(c, t) + class - t * KD_VOCAB_TILE;
        c->kept_logits[kept->r * k + kept->j] = *place;
        if (kd_vocab_is_topk(c)) *place = -(kd_real)INFINITY;
    }
}

static void multiply(const kd_vocab *c, kd_matrix_product p) {
    p.precision = c->precision;
    kd_gemm_serial(&p);
}

/* z += bias of the tile's classes */
static void add_bias(kd_real *restrict z, const kd_real *restrict bias, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r++)
#pragma omp simd
        for (int64_t i = 0; i < n; i++) z[r * n + i] += bias[i];
}

static int64_t place_of(const kd_real *x, int64_t n, kd_real value) {
    int64_t i = 0;
    while (i < n - 1 && x[i] < value) i++;
    return i;
}

static void first_pass(const kd_vocab *c, int64_t t) {
    const int64_t n = tile_classes(c, t), begin = t * KD_VOCAB_TILE;
    const kd_real rate = 1 / c->spec.temperature;
    kd_real *z = tile_memory(c, c->z, t), *v = c->v ? tile_memory(c, c->v, t) : NULL;
    kd_vocab_sums *sums = c->sums + t * c->most;
    multiply(c, kd_product_of(c->rows, n, c->C, kd_plain(c->h, c->C),
                              kd_transposed(c->E + begin * c->C, c->C), z, n));
    if (v)
        multiply(c, kd_product_of(c->rows, n, c->width, kd_plain(c->hidden, c->width),
                                  kd_transposed(c->teacher_output + begin * c->width, c->width), v,
                                  n));
    if (c->bias) add_bias(z, c->bias + begin, c->rows, n);
    if (v && c->soft->bias) add_bias(v, c->soft->bias + begin, c->rows, n);
    for (int64_t r = 0; r < c->rows && c->label; r++) {
        const int64_t own = c->label[c->row[r]] - begin;
        if (own >= 0 && own < n) c->state[r].own = z[r * n + own];
        sums[r].plain = c->spec.label_smoothing > 0 ? kd_row_sum(z + r * n, n) : 0;
    }
    if (kd_vocab_named(c)) take_out_kept(c, t, z);
    for (int64_t r = 0; r < c->rows; r++) {
        const kd_real *row = z + r * n, max = kd_row_max(row, n);
        sums[r].max_z = max > -FLT_MAX ? max : -FLT_MAX; /* a tile whose classes are all kept */
        sums[r].hard = c->label ? sum_exp(row, n, sums[r].max_z, 1) : 0;
        sums[r].soft = c->soft ? sum_exp(row, n, sums[r].max_z, rate) : 0;
        if (v) teacher_sums(row, v + r * n, n, rate, &sums[r]);
        if (v && !wants_gradient(c)) sums[r].chosen = row[place_of(v + r * n, n, sums[r].max_v)];
    }
}

/* --- per row --------------------------------------------------------------------------------- */

/* KL(p ‖ q) from the tiles' sums. In a tile, with a = v − its max_v and b = z − its max_z,
 *
 *     log p − log q = (a − b)/τ + offset,  offset = (max_v − max_z of the tile, each relative to
 * the row's)/τ − log_v + log_soft
 *
 * so Σ p·(log p − log q) is cross/τ + offset·teacher, and exactly 0 where z = v. */
static double hidden_divergence(const kd_vocab *c, int64_t r, double log_soft, double *log_v) {
    kd_vocab_row *s = &c->state[r];
    const double rate = 1 / (double)c->spec.temperature;
    double total = 0, kl = 0;
    s->max_v = c->sums[r].max_v;
    for (int64_t t = 1; t < c->tiles; t++) {
        const kd_real max = c->sums[t * c->most + r].max_v;
        s->max_v = max > s->max_v ? max : s->max_v;
    }
    for (int64_t t = 0; t < c->tiles; t++) {
        const kd_vocab_sums *tile = &c->sums[t * c->most + r];
        total += tile->teacher * exp((double)(tile->max_v - s->max_v) * rate);
    }
    *log_v = log(total);
    for (int64_t t = 0; t < c->tiles; t++) {
        const kd_vocab_sums *tile = &c->sums[t * c->most + r];
        const double above_v = (double)(tile->max_v - s->max_v) * rate;
        const double above_z = (double)(tile->max_z - s->max_z) * rate;
        const double offset = (above_v - above_z) - (*log_v - log_soft);
        kl += exp(above_v) * (tile->cross * rate + offset * tile->teacher);
    }
    return kl / total;
}

/* The same over the kept classes and one bucket; `dropped` is Σ e^{(z − max_z)/τ} of the others.
 * See topk_row of loss_soft.c. */
static double topk_divergence(const kd_vocab *c, int64_t r, double dropped, double total) {
    const int64_t i = c->row[r];
    const int k = c->soft->k;
    kd_topk_row *row = &c->state[r].topk;
    *row = (kd_topk_row){.kept = c->soft->kept + i * k,
                         .k = k,
                         .tail = (double)c->soft->tail[i],
                         .dropped = dropped,
                         .total = total,
                         .max_z = c->state[r].max_z,
                         .rate = 1 / c->spec.temperature};
    return kd_topk_divergence(row, &c->spec.divergence, c->kept_logits + r * k);
}

/* Σ p̂·(log p̂ − log q) over the classes drawn. */
static double drawn_divergence(const kd_vocab *c, int64_t r, double log_soft) {
    const int k = c->soft->k;
    const kd_real *share = c->soft->share + c->row[r] * k;
    double kl = 0;
    for (int j = 0; j < k; j++) {
        if (share[j] <= 0) continue;
        const double above = (double)(c->kept_logits[r * k + j] - c->state[r].max_z);
        kl += (double)share[j] *
              (log((double)share[j]) - above / (double)c->spec.temperature + log_soft);
    }
    return kl;
}

static kd_divergence_row measured_row(const kd_vocab *c, const kd_vocab_row *s) {
    return (kd_divergence_row){1 / c->spec.temperature, s->max_v, s->log_v, s->max_z, s->log_soft};
}

/* Between the passes, where the divergence is not forward KL: its sums in a tile … */
static void measure_tile(const kd_vocab *c, int64_t t) {
    const int64_t n = tile_classes(c, t);
    const kd_real *z = tile_memory(c, c->z, t), *v = tile_memory(c, c->v, t);
    for (int64_t r = 0; r < c->rows; r++) {
        kd_vocab_sums *sums = &c->sums[t * c->most + r];
        const kd_divergence_row row = measured_row(c, &c->state[r]);
        sums->value = sums->mean = 0;
        kd_divergence_sums(&c->spec.divergence, &row, v + r * n, z + r * n, n, &sums->value,
                           &sums->mean);
    }
}

/* … and of a row. */
static void measure(const kd_vocab *c, bool threaded) {
#pragma omp parallel for schedule(dynamic, 1) if (threaded)
    for (int64_t t = 0; t < c->tiles; t++) measure_tile(c, t);
    const double tau = (double)c->spec.temperature;
    for (int64_t r = 0; r < c->rows; r++) {
        kd_vocab_row *s = &c->state[r];
        s->kl = s->mean = 0;
        for (int64_t t = 0; t < c->tiles; t++) {
            s->kl += tau * tau * c->sums[t * c->most + r].value;
            s->mean += c->sums[t * c->most + r].mean;
        }
    }
}

/* Whether the likeliest class is the label's, is the teacher's. */
static void find_choice(const kd_vocab *c, int64_t r) {
    kd_vocab_row *s = &c->state[r];
    const kd_vocab_sums *likeliest = &c->sums[r];
    for (int64_t t = 1; t < c->tiles; t++)
        if (c->sums[t * c->most + r].max_v > likeliest->max_v)
            likeliest = &c->sums[t * c->most + r];
    s->right = c->label && s->own >= s->max_z;
    s->agreed = c->v && likeliest->chosen >= s->max_z;
}

static void finish_row(const kd_vocab *c, int64_t r) {
    kd_vocab_row *s = &c->state[r];
    const double rate = 1 / (double)c->spec.temperature, tau = (double)c->spec.temperature;
    const double eps = (double)c->spec.label_smoothing;
    const int k = kd_vocab_is_topk(c) ? c->soft->k : 0;
    double hard = 0, soft = 0, plain = 0, log_v = 0;
    s->max_z = c->sums[r].max_z;
    for (int64_t t = 1; t < c->tiles; t++) {
        const kd_real max = c->sums[t * c->most + r].max_z;
        s->max_z = max > s->max_z ? max : s->max_z;
    }
    for (int j = 0; j < k; j++) {
        const kd_real z = c->kept_logits[r * k + j];
        s->max_z = z > s->max_z ? z : s->max_z;
    }
    for (int64_t t = 0; t < c->tiles; t++) {
        const kd_vocab_sums *tile = &c->sums[t * c->most + r];
        const double above = (double)(tile->max_z - s->max_z);
        hard += tile->hard * exp(above);
        soft += tile->soft * exp(above * rate);
        plain += c->label ? tile->plain : 0;
    }
    const double dropped = fmax(soft, FLT_MIN);
    if (k) soft = dropped;
    for (int j = 0; j < k; j++) {
        const double above = (double)(c->kept_logits[r * k + j] - s->max_z);
        hard += exp(above);
        soft += exp(above * rate);
    }
    s->hard = s->kl = 0;
    if (c->label)
        s->hard = log(hard) - (1 - eps) * (double)(s->own - s->max_z) -
                  (eps > 0 ? eps * (plain / (double)c->V - (double)s->max_z) : 0);
    s->topk.drop_factor = 1 / soft;
    if (k)
        s->kl = tau * tau * topk_divergence(c, r, dropped, soft);
    else if (kd_vocab_is_sampled(c))
        s->kl = tau * tau * drawn_divergence(c, r, log(soft));
    else if (c->soft)
        s->kl = tau * tau * hidden_divergence(c, r, log(soft), &log_v);
    s->right = s->agreed = false;
    if (!wants_gradient(c)) find_choice(c, r);
    s->log_hard = (kd_real)log(hard);
    s->log_soft = (kd_real)log(soft);
    s->log_v = (kd_real)log_v;
}

/* --- pass 2 ---------------------------------------------------------------------------------- */

/* z ← ∂L/∂z in n classes of a row; kept classes get the smoothing's share only */
static void row_gradient(const kd_vocab *c, const kd_vocab_row *s, kd_real *restrict z,
                         const kd_real *restrict v, int64_t n) {
    const kd_real rate = 1 / c->spec.temperature, slope = (kd_real)soft_slope(c);
    const kd_real weight = hard_scale(c), share = c->spec.label_smoothing / (kd_real)c->V;
    const kd_real max_z = s->max_z, max_v = s->max_v, log_soft = s->log_soft, log_v = s->log_v;
    kd_real g[KD_VOCAB_TILE];
    if (kd_vocab_is_measured(c)) {
        const kd_divergence_row row = measured_row(c, s);
        memset(g, 0, sizeof g);
        kd_divergence_gradient(&c->spec.divergence, &row, v, z, n, s->mean, slope, g);
    } else if (v) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            g[i] = slope * (kd_vexp((z[i] - max_z) * rate - log_soft) -
                            kd_vexp((v[i] - max_v) * rate - log_v));
    } else if (c->soft) {
        const kd_real factor = (kd_real)(soft_slope(c) * s->topk.drop_factor);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) g[i] = factor * kd_vexp((z[i] - max_z) * rate);
    } else {
        memset(g, 0, sizeof g);
    }
    if (weight != 0) {
        const kd_real log_hard = s->log_hard;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) g[i] += weight * (kd_vexp(z[i] - max_z - log_hard) - share);
    }
    memcpy(z, g, (size_t)n * sizeof *z);
}

/* The classes drawn in tile t: −p̂. */
static void drawn_gradient(const kd_vocab *c, int64_t t, kd_real *z) {
    const kd_real slope = (kd_real)soft_slope(c);
    for (int64_t i = c->kept_first[t]; i < c->kept_first[t + 1]; i++) {
        const kd_vocab_kept *kept = &c->kept[i];
        const int64_t entry = c->row[kept->r] * c->soft->k + kept->j;
        z[kept->r * tile_classes(c, t) + c->soft->index[entry] - t * KD_VOCAB_TILE] -=
            slope * c->soft->share[entry];
    }
}

/* The kept classes of tile t: what row_gradient could not see. */
static void kept_gradient(const kd_vocab *c, int64_t t, kd_real *z) {
    const int k = c->soft->k;
    const double slope = soft_slope(c);
    for (int64_t i = c->kept_first[t]; i < c->kept_first[t + 1]; i++) {
        const kd_vocab_kept *kept = &c->kept[i];
        const kd_vocab_row *s = &c->state[kept->r];
        const int64_t entry = c->row[kept->r] * k + kept->j;
        const kd_real own = c->kept_logits[kept->r * k + kept->j];
        const double above = (double)(own - s->max_z);
        const double hard =
            hard_scale(c) != 0 ? (double)hard_scale(c) * exp(above - (double)s->log_hard) : 0;
        z[kept->r * tile_classes(c, t) + c->soft->index[entry] - t * KD_VOCAB_TILE] +=
            (kd_real)(slope * kd_topk_slope(&s->topk, &c->spec.divergence, kept->j, own) + hard);
    }
}

/* ∂E_tile ← beta·∂E_tile + alpha·Gᵀ·h */
static void embedding_gradient(const kd_vocab *c, int64_t t, kd_real alpha, kd_real beta,
                               kd_real *dE) {
    const int64_t n = tile_classes(c, t);
    kd_matrix_product p = kd_product_of(n, c->C, c->rows, kd_transposed(tile_memory(c, c->z, t), n),
                                        kd_plain(c->h, c->C), dE + t * KD_VOCAB_TILE * c->C, c->C);
    p.alpha = alpha;
    p.beta = beta;
    multiply(c, p);
}

/* ∂bias of the tile, which collects the panels in order. */
static void bias_gradient(const kd_vocab *c, int64_t t, const kd_real *restrict G) {
    const int64_t n = tile_classes(c, t);
    kd_real *restrict out = c->dbias + t * KD_VOCAB_TILE;
    if (c->first) memset(out, 0, (size_t)n * sizeof *out);
    for (int64_t r = 0; r < c->rows; r++)
#pragma omp simd
        for (int64_t i = 0; i < n; i++) out[i] += G[r * n + i];
}

/* The tile's G, its part of ∂E, and its contribution to ∂h (begins it when `opens`). */
static void second_pass(const kd_vocab *c, int64_t t, kd_real *partial, bool opens) {
    const int64_t n = tile_classes(c, t), begin = t * KD_VOCAB_TILE;
    kd_real *z = tile_memory(c, c->z, t);
    const kd_real *v = c->v ? tile_memory(c, c->v, t) : NULL;
    for (int64_t r = 0; r < c->rows; r++) {
        row_gradient(c, &c->state[r], z + r * n, v ? v + r * n : NULL, n);
        const int64_t own = c->label ? c->label[c->row[r]] - begin : -1;
        if (own >= 0 && own < n) z[r * n + own] -= hard_scale(c) * (1 - c->spec.label_smoothing);
    }
    if (kd_vocab_is_topk(c)) kept_gradient(c, t, z);
    if (kd_vocab_is_sampled(c)) drawn_gradient(c, t, z);
    if (c->dbias) bias_gradient(c, t, z);
    if (c->dE && !c->last) embedding_gradient(c, t, 1, c->first ? 0 : 1, c->dE);
    kd_matrix_product p = kd_product_of(c->rows, c->C, n, kd_plain(z, n),
                                        kd_plain(c->E + begin * c->C, c->C), partial, c->C);
    p.beta = opens ? 0 : 1;
    if (partial) multiply(c, p);
}

static void gradients(const kd_vocab *c, kd_real *dh, bool threaded) {
    const int64_t panel = c->most * c->C;
#pragma omp parallel for schedule(dynamic, 1) if (threaded)
    for (int64_t g = 0; g < c->groups; g++) {
        const int64_t begin = g * c->tiles / c->groups, end = (g + 1) * c->tiles / c->groups;
        for (int64_t t = begin; t < end; t++)
            second_pass(c, t, dh ? c->partial + g * panel : NULL, t == begin);
    }
    if (!dh) return;
#pragma omp parallel for if (threaded)
    for (int64_t r = 0; r < c->rows; r++) {
        kd_real *restrict out = dh + c->row[r] * c->C;
        memcpy(out, c->partial + r * c->C, (size_t)c->C * sizeof *out);
        for (int64_t g = 1; g < c->groups; g++) {
            const kd_real *restrict part = c->partial + g * panel + r * c->C;
            for (int64_t i = 0; i < c->C; i++) out[i] += part[i];
        }
    }
}

/* --- a panel --------------------------------------------------------------------------------- */

/* The classes that the panel's rows name, sorted by tile (a counting sort: rows stay in order). */
static void sort_kept(const kd_vocab *c) {
    const int k = c->soft->k;
    int64_t *first = c->kept_first;
    memset(first, 0, (size_t)(c->tiles + 1) * sizeof *first);
    for (int64_t r = 0; r < c->rows; r++)
        for (int j = 0; j < k; j++) {
            const int32_t class = c->soft->index[c->row[r] * k + j];
            KD_CONTRACT(class >= 0 && class < c->V, "vocab_loss: the teacher's class %d of %lld",
                        (int)class, (long long)c->V);
            first[class / KD_VOCAB_TILE + 1]++;
        }
    for (int64_t t = 0; t < c->tiles; t++) first[t + 1] += first[t];
    for (int64_t r = 0; r < c->rows; r++)
        for (int32_t j = 0; j < k; j++)
            c->kept[first[c->soft->index[c->row[r] * k + j] / KD_VOCAB_TILE]++] =
                (kd_vocab_kept){(int32_t)r, j};
    memmove(first + 1, first, (size_t)c->tiles * sizeof *first);
    first[0] = 0;
}

void kd_vocab_embedding_gradient(const kd_vocab *c, kd_real alpha, kd_real beta, kd_real *dE) {
#pragma omp parallel for schedule(dynamic, 1) if (worth_threads(c))
    for (int64_t t = 0; t < c->tiles; t++) embedding_gradient(c, t, alpha, beta, dE);
}

void kd_vocab_panel(const kd_vocab *c, kd_real *dh, kd_loss_parts *sum) {
    const bool threaded = worth_threads(c);
    if (kd_vocab_named(c)) sort_kept(c);
#pragma omp parallel for schedule(dynamic, 1) if (threaded)
    for (int64_t t = 0; t < c->tiles; t++) first_pass(c, t);
#pragma omp parallel for if (threaded)
    for (int64_t r = 0; r < c->rows; r++) finish_row(c, r);
    if (kd_vocab_is_measured(c)) measure(c, threaded);
    if (wants_gradient(c)) gradients(c, dh, threaded);
    for (int64_t r = 0; r < c->rows; r++) {
        sum->hard += c->state[r].hard;
        sum->kl += c->state[r].kl;
        sum->right += c->state[r].right;
        sum->agreed += c->state[r].agreed;
    }
}
