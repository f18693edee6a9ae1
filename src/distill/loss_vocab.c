/* The distillation loss over a vocabulary, inside the product with the output embedding; see
 * docs/math-vocabulary-loss.md.
 *
 * The valid rows are gathered and taken a panel at a time. A panel's logits lie in tiles of TILE
 * classes, each one thread's:
 *
 *     pass 1, per tile:   z = h·Eᵀ, v = h_t·E_tᵀ; per row the maxima and the sums of exponentials
 *     per row:            the tiles' sums, brought to one maximum: the log-sum-exps and the loss
 *     pass 2, per tile:   G = ∂L/∂z in place of z; ∂h ← ∂h + G·E_tile; ∂E_tile ← ∂E_tile + Gᵀ·h
 *
 * What is kept, and what is not. A panel's z and v are kept from pass 1 to pass 2: computing them
 * again would cost two products more where there are four. Rows per panel are chosen so that they
 * fit PANEL numbers each, whatever N and V. Without gradients there is no pass 2 and a thread keeps
 * one tile. The gradients are made in the forward pass, as in loss.c, for the same reason: saved is
 * ∂h (N,C) where wanted. ∂E of the last panel waits for the backward pass, which makes it straight
 * in the parameter's gradient from the G and h that are still there; only where there are several
 * panels do those before it collect in an array of their own, ∂E (V,C).
 *
 * Reproducibility. Tiles, panels and groups of tiles depend on the shapes and the mask alone. ∂E of
 * a tile is one thread's and collects the panels in order; ∂h is summed in order within a group of
 * tiles and then over the groups. */
#include <float.h>
#include <omp.h>
#include <string.h>

#include "autograd/gemm.h"
#include "autograd/op_common.h"
#include "autograd/vector_math.h"
#include "distill/loss_parts.h"

enum { TILE = KD_ROW_TILE, GROUPS = 32, ROWS_LEAST = 16, ROWS_MOST = 448 };
static const int64_t PANEL = 3 << 23; /* logits */

/* Of one row in one tile: maxima, and sums relative to them. */
typedef struct {
    kd_real max_z, max_v;
    double hard;    /* Σ e^{z − max_z}                                              */
    double soft;    /* Σ e^{(z − max_z)/τ}                                          */
    double teacher; /* Σ e^{(v − max_v)/τ}                                          */
    double cross;   /* Σ e^{(v − max_v)/τ} · ((v − max_v) − (z − max_z))            */
    double plain;   /* Σ z, for label smoothing                                     */
} tile_sums;

/* Of one row: what its gradient needs. Logarithms of sums relative to the row's maxima. */
typedef struct {
    kd_real max_z, max_v, log_hard, log_soft, log_v;
    kd_real own;         /* z of the label                                               */
    kd_real drop_factor; /* top-k: of e^{(z − max_z)/τ} in the gradient of a dropped class */
    double hard, kl;     /* the losses                                                   */
} row_state;

/* A class that a top-k row keeps: entry j of row r of the panel. */
typedef struct {
    int32_t r, j;
} kept_class;

typedef struct {
    int64_t V, C, width, tiles, groups;
    const kd_real *E, *teacher_output; /* (V,C), (V,width) */
    const int32_t *label;
    const kd_soft_targets *soft; /* NULL: no soft part */
    kd_loss_spec spec;
    kd_real *dE; /* (V,C) of the panels before the last, or NULL: no such panel, or not wanted */
    bool wants_dE, wants_dh;
    /* The panel at hand. */
    bool first, last;     /* the first only writes ∂E, the last leaves it to the backward pass */
    int64_t rows, most;   /* its rows, and the most a panel has                            */
    const int64_t *row;   /* (rows) their places among the N                               */
    kd_real *h, *hidden;  /* (rows,C), (rows,width) the gathered inputs                    */
    kd_real *z, *v;       /* its tiles, or one tile a thread where there are no gradients  */
    tile_sums *sums;      /* (tiles,most)                                                  */
    row_state *state;     /* (rows)                                                        */
    kd_real *partial;     /* (groups,most,C) of ∂h                                         */
    kept_class *kept;     /* (rows·k) in order of their tiles                              */
    int64_t *kept_first;  /* (tiles+1) the first of each tile                              */
    kd_real *kept_logits; /* (rows,k) z of the kept classes                                */
} vocab;

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t tile_classes(const vocab *c, int64_t t) {
    return smaller(TILE, c->V - t * TILE);
}

static bool is_topk(const vocab *c) {
    return c->soft && !c->soft->hidden;
}

static bool wants_gradient(const vocab *c) {
    return c->wants_dE || c->wants_dh;
}

static bool worth_threads(const vocab *c) {
    return c->rows * c->V * c->C >= 8 * KD_PARALLEL_SIZE;
}

/* A panel's tiles, or one for each thread where nobody needs them again. */
static size_t stored_tiles(const vocab *c) {
    return wants_gradient(c) ? (size_t)c->tiles : (size_t)omp_get_max_threads();
}

static kd_real *tile_memory(const vocab *c, kd_real *panel, int64_t t) {
    return panel + (wants_gradient(c) ? t : omp_get_thread_num()) * c->most * TILE;
}

static kd_real hard_scale(const vocab *c) {
    return (kd_real)((double)c->spec.hard_weight / c->spec.normalizer);
}

static double soft_slope(const vocab *c) {
    return (double)c->spec.kl_weight / c->spec.normalizer * (double)c->spec.temperature;
}

/* --- pass 1 ---------------------------------------------------------------------------------- */

/* Σ e^{(x − max)·rate}; n ≤ TILE */
static double sum_exp(const kd_real *restrict x, int64_t n, kd_real max, kd_real rate) {
    kd_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += kd_vexp((x[i] - max) * rate);
    return (double)sum;
}

static void teacher_sums(const kd_real *restrict z, const kd_real *restrict v, int64_t n,
                         kd_real rate, tile_sums *out) {
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

/* Takes the kept classes out of the tile: into kept_logits, −∞ in their places. */
static void take_out_kept(const vocab *c, int64_t t, kd_real *z) {
    const int k = c->soft->k;
    for (int64_t i = c->kept_first[t]; i < c->kept_first[t + 1]; i++) {
        const kept_class *kept = &c->kept[i];
        const int64_t class = c->soft->index[c->row[kept->r] * k + kept->j];
        kd_real *place = z + kept->r * tile_classes(c, t) + class - t * TILE;
        c->kept_logits[kept->r * k + kept->j] = *place;
        *place = -(kd_real)INFINITY;
    }
}

static void first_pass(const vocab *c, int64_t t) {
    const int64_t n = tile_classes(c, t), begin = t * TILE;
    const kd_real rate = 1 / c->spec.temperature;
    kd_real *z = tile_memory(c, c->z, t), *v = c->v ? tile_memory(c, c->v, t) : NULL;
    tile_sums *sums = c->sums + t * c->most;
    kd_gemm_serial(KD_PLAIN, KD_TRANSPOSED, c->rows, n, c->C, 1, c->h, c->C, c->E + begin * c->C,
                   c->C, 0, z, n);
    if (v)
        kd_gemm_serial(KD_PLAIN, KD_TRANSPOSED, c->rows, n, c->width, 1, c->hidden, c->width,
                       c->teacher_output + begin * c->width, c->width, 0, v, n);
    for (int64_t r = 0; r < c->rows && c->label; r++) {
        const int64_t own = c->label[c->row[r]] - begin;
        if (own >= 0 && own < n) c->state[r].own = z[r * n + own];
        sums[r].plain = c->spec.label_smoothing > 0 ? kd_row_sum(z + r * n, n) : 0;
    }
    if (is_topk(c)) take_out_kept(c, t, z);
    for (int64_t r = 0; r < c->rows; r++) {
        const kd_real *row = z + r * n, max = kd_row_max(row, n);
        sums[r].max_z = max > -FLT_MAX ? max : -FLT_MAX; /* a tile whose classes are all kept */
        sums[r].hard = c->label ? sum_exp(row, n, sums[r].max_z, 1) : 0;
        sums[r].soft = c->soft ? sum_exp(row, n, sums[r].max_z, rate) : 0;
        if (v) teacher_sums(row, v + r * n, n, rate, &sums[r]);
    }
}

/* --- per row --------------------------------------------------------------------------------- */

/* KL(p ‖ q) from the tiles' sums. In a tile, with a = v − its max_v and b = z − its max_z,
 *
 *     log p − log q = (a − b)/τ + offset,  offset = (max_v − max_z of the tile, each relative to
 * the row's)/τ − log_v + log_soft
 *
 * so Σ p·(log p − log q) is cross/τ + offset·teacher, and exactly 0 where z = v. */
static double hidden_divergence(const vocab *c, int64_t r, double log_soft, double *log_v) {
    row_state *s = &c->state[r];
    const double rate = 1 / (double)c->spec.temperature;
    double total = 0, kl = 0;
    s->max_v = c->sums[r].max_v;
    for (int64_t t = 1; t < c->tiles; t++) {
        const kd_real max = c->sums[t * c->most + r].max_v;
        s->max_v = max > s->max_v ? max : s->max_v;
    }
    for (int64_t t = 0; t < c->tiles; t++) {
        const tile_sums *tile = &c->sums[t * c->most + r];
        total += tile->teacher * exp((double)(tile->max_v - s->max_v) * rate);
    }
    *log_v = log(total);
    for (int64_t t = 0; t < c->tiles; t++) {
        const tile_sums *tile = &c->sums[t * c->most + r];
        const double above_v = (double)(tile->max_v - s->max_v) * rate;
        const double above_z = (double)(tile->max_z - s->max_z) * rate;
        const double offset = (above_v - above_z) - (*log_v - log_soft);
        kl += exp(above_v) * (tile->cross * rate + offset * tile->teacher);
    }
    return kl / total;
}

/* The same over the kept classes and one bucket; `dropped` is Σ e^{(z − max_z)/τ} of the others.
 * See topk_row of loss.c. */
static double topk_divergence(const vocab *c, int64_t r, double dropped, double total,
                              double *log_v) {
    const int64_t i = c->row[r];
    const int k = c->soft->k;
    const kd_real *kept = c->soft->kept + i * k, *z = c->kept_logits + r * k;
    const double rate = 1 / (double)c->spec.temperature, log_z = log(total);
    *log_v = kd_topk_log_sum(kept, k, c->soft->tail[i], rate);
    const double tail = exp((double)c->soft->tail[i] - *log_v);
    double kl = 0;
    if (tail > 0) kl += tail * ((double)c->soft->tail[i] - *log_v - (log(dropped) - log_z));
    for (int j = 0; j < k; j++) {
        const double log_p = (double)kept[j] * rate - *log_v;
        const double log_q = (double)(z[j] - c->state[r].max_z) * rate - log_z;
        kl += exp(log_p) * (log_p - log_q);
    }
    c->state[r].drop_factor = (kd_real)(soft_slope(c) * (1 / total - tail / dropped));
    return kl;
}

static void finish_row(const vocab *c, int64_t r) {
    row_state *s = &c->state[r];
    const double rate = 1 / (double)c->spec.temperature, tau = (double)c->spec.temperature;
    const double eps = (double)c->spec.label_smoothing;
    const int k = is_topk(c) ? c->soft->k : 0;
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
        const tile_sums *tile = &c->sums[t * c->most + r];
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
    if (k)
        s->kl = tau * tau * topk_divergence(c, r, dropped, soft, &log_v);
    else if (c->soft)
        s->kl = tau * tau * hidden_divergence(c, r, log(soft), &log_v);
    s->log_hard = (kd_real)log(hard);
    s->log_soft = (kd_real)log(soft);
    s->log_v = (kd_real)log_v;
}

/* --- pass 2 ---------------------------------------------------------------------------------- */

/* z ← ∂L/∂z in n classes of a row; kept classes get the smoothing's share only */
static void row_gradient(const vocab *c, const row_state *s, kd_real *restrict z,
                         const kd_real *restrict v, int64_t n) {
    const kd_real rate = 1 / c->spec.temperature, slope = (kd_real)soft_slope(c);
    const kd_real weight = hard_scale(c), share = c->spec.label_smoothing / (kd_real)c->V;
    const kd_real max_z = s->max_z, max_v = s->max_v, log_soft = s->log_soft, log_v = s->log_v;
    kd_real g[TILE];
    if (v) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            g[i] = slope * (kd_vexp((z[i] - max_z) * rate - log_soft) -
                            kd_vexp((v[i] - max_v) * rate - log_v));
    } else if (c->soft) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) g[i] = s->drop_factor * kd_vexp((z[i] - max_z) * rate);
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

/* The kept classes of tile t: what row_gradient could not see. */
static void kept_gradient(const vocab *c, int64_t t, kd_real *z) {
    const int k = c->soft->k;
    const double rate = 1 / (double)c->spec.temperature, slope = soft_slope(c);
    for (int64_t i = c->kept_first[t]; i < c->kept_first[t + 1]; i++) {
        const kept_class *kept = &c->kept[i];
        const row_state *s = &c->state[kept->r];
        const int64_t entry = c->row[kept->r] * k + kept->j;
        const double above = (double)(c->kept_logits[kept->r * k + kept->j] - s->max_z);
        const double q = exp(above * rate - (double)s->log_soft);
        const double p = exp((double)c->soft->kept[entry] * rate - (double)s->log_v);
        const double hard =
            hard_scale(c) != 0 ? (double)hard_scale(c) * exp(above - (double)s->log_hard) : 0;
        z[kept->r * tile_classes(c, t) + c->soft->index[entry] - t * TILE] +=
            (kd_real)(slope * (q - p) + hard);
    }
}

/* ∂E_tile ← beta·∂E_tile + alpha·Gᵀ·h */
static void embedding_gradient(const vocab *c, int64_t t, kd_real alpha, kd_real beta,
                               kd_real *dE) {
    const int64_t n = tile_classes(c, t);
    kd_gemm_serial(KD_TRANSPOSED, KD_PLAIN, n, c->C, c->rows, alpha, tile_memory(c, c->z, t), n,
                   c->h, c->C, beta, dE + t * TILE * c->C, c->C);
}

/* The tile's G, its part of ∂E, and its contribution to ∂h (begins it when `opens`). */
static void second_pass(const vocab *c, int64_t t, kd_real *partial, bool opens) {
    const int64_t n = tile_classes(c, t), begin = t * TILE;
    kd_real *z = tile_memory(c, c->z, t);
    const kd_real *v = c->v ? tile_memory(c, c->v, t) : NULL;
    for (int64_t r = 0; r < c->rows; r++) {
        row_gradient(c, &c->state[r], z + r * n, v ? v + r * n : NULL, n);
        const int64_t own = c->label ? c->label[c->row[r]] - begin : -1;
        if (own >= 0 && own < n) z[r * n + own] -= hard_scale(c) * (1 - c->spec.label_smoothing);
    }
    if (is_topk(c)) kept_gradient(c, t, z);
    if (c->dE && !c->last) embedding_gradient(c, t, 1, c->first ? 0 : 1, c->dE);
    if (partial)
        kd_gemm_serial(KD_PLAIN, KD_PLAIN, c->rows, c->C, n, 1, z, n, c->E + begin * c->C, c->C,
                       opens ? 0 : 1, partial, c->C);
}

static void gradients(const vocab *c, kd_real *dh, bool threaded) {
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

/* The kept classes of the panel's rows, sorted by tile (a counting sort: rows stay in order). */
static void sort_kept(const vocab *c) {
    const int k = c->soft->k;
    int64_t *first = c->kept_first;
    memset(first, 0, (size_t)(c->tiles + 1) * sizeof *first);
    for (int64_t r = 0; r < c->rows; r++)
        for (int j = 0; j < k; j++) {
            const int32_t class = c->soft->index[c->row[r] * k + j];
            KD_CONTRACT(class >= 0 && class < c->V, "vocab_loss: top-k class %d of %lld",
                        (int)class, (long long)c->V);
            first[class / TILE + 1]++;
        }
    for (int64_t t = 0; t < c->tiles; t++) first[t + 1] += first[t];
    for (int64_t r = 0; r < c->rows; r++)
        for (int32_t j = 0; j < k; j++)
            c->kept[first[c->soft->index[c->row[r] * k + j] / TILE]++] =
                (kept_class){(int32_t)r, j};
    memmove(first + 1, first, (size_t)c->tiles * sizeof *first);
    first[0] = 0;
}

static void gather(kd_real *out, const kd_real *from, const int64_t *row, int64_t rows, int64_t C) {
    for (int64_t r = 0; r < rows; r++)
        memcpy(out + r * C, from + row[r] * C, (size_t)C * sizeof *out);
}

static void one_panel(const vocab *c, kd_real *dh, kd_loss_parts *sum) {
    const bool threaded = worth_threads(c);
    if (is_topk(c)) sort_kept(c);
#pragma omp parallel for schedule(dynamic, 1) if (threaded)
    for (int64_t t = 0; t < c->tiles; t++) first_pass(c, t);
#pragma omp parallel for if (threaded)
    for (int64_t r = 0; r < c->rows; r++) finish_row(c, r);
    if (wants_gradient(c)) gradients(c, dh, threaded);
    for (int64_t r = 0; r < c->rows; r++) {
        sum->hard += c->state[r].hard;
        sum->kl += c->state[r].kl;
    }
}

/* --- the op ---------------------------------------------------------------------------------- */

typedef struct {
    kd_real *dh; /* NULL where not wanted */
    vocab c;     /* as the last panel left it: its G and h, and ∂E of those before */
    char *kept;  /* the memory of G and h */
    bool done;
} vocab_record;

/* ∂E ← ∂E + ∂L · (what the earlier panels collected, and the last one's Gᵀ·h) */
static void embedding_backward(kd_tape *tape, kd_tensor *E, const vocab *c, kd_real dloss) {
    kd_real beta;
    if (c->rows == 0) {
        kd_tape_grad(tape, E);
        return;
    }
    if (c->dE) kd_loss_hand_over(tape, E, c->dE, dloss);
    kd_real *dE = kd_tape_grad_beta(tape, E, &beta);
#pragma omp parallel for schedule(dynamic, 1) if (worth_threads(c))
    for (int64_t t = 0; t < c->tiles; t++) embedding_gradient(c, t, dloss, beta, dE);
}

static void vocab_loss_backward(kd_tape *tape, kd_node *node) {
    vocab_record *record = node->saved;
    KD_CONTRACT(!record->done, "vocab_loss: backward runs twice");
    record->done = true;
    if (record->c.wants_dE) embedding_backward(tape, node->in[1], &record->c, *node->out->grad);
    if (record->c.wants_dE) kd_tape_give(tape, record->kept);
    if (record->dh) kd_loss_hand_over(tape, node->in[0], record->dh, *node->out->grad);
}

static void check_vocab_loss(const kd_tensor *h, const kd_tensor *E, const int32_t *label,
                             const kd_soft_targets *soft, const kd_loss_spec *spec) {
    KD_FIT(E->rank == 2 && E->shape[1] == kd_channels(h), "vocab_loss", h, E);
    KD_CONTRACT(spec->normalizer > 0 && spec->temperature > 0,
                "vocab_loss: normalizer %g, temperature %g", spec->normalizer,
                (double)spec->temperature);
    KD_CONTRACT(label || spec->hard_weight == 0, "vocab_loss: a hard part without labels");
    KD_CONTRACT(soft || spec->kl_weight == 0, "vocab_loss: a soft part without a teacher");
    KD_CONTRACT(!soft || !soft->logits, "vocab_loss: dense teacher logits are for distill_loss");
    KD_CONTRACT(!soft || (soft->hidden ? soft->output && soft->width >= 1
                                       : soft->k >= 1 && soft->k <= E->shape[0]),
                "vocab_loss: %d soft targets a row, hidden states %lld wide", soft ? soft->k : 0,
                (long long)(soft ? soft->width : 0));
}

/* The valid rows; returns how many. */
static int64_t valid_rows(int64_t *row, int64_t N, int64_t V, const int32_t *label,
                          const uint8_t *valid) {
    int64_t n = 0;
    for (int64_t i = 0; i < N; i++) {
        if (valid && !valid[i]) continue;
        KD_CONTRACT(!label || (label[i] >= 0 && label[i] < V),
                    "vocab_loss: label[%lld] = %d of %lld classes", (long long)i,
                    (int)(label ? label[i] : 0), (long long)V);
        row[n++] = i;
    }
    return n;
}

/* Rows per panel: at most PANEL logits, the panels of about the same size. */
static int64_t panel_rows(int64_t n, int64_t V) {
    int64_t most = PANEL / V / ROWS_LEAST * ROWS_LEAST;
    most = most < ROWS_LEAST ? ROWS_LEAST : smaller(most, ROWS_MOST);
    const int64_t panels = (n + most - 1) / most;
    return panels ? (n + panels - 1) / panels : 0;
}

/* Scratch, taken in one piece: `next` cuts the following `bytes` off; NULL first, to count. */
static void *cut(char **next, size_t *total, size_t bytes) {
    void *memory = *next;
    bytes = (bytes + 63) / 64 * 64;
    *total += bytes;
    if (*next) *next += bytes;
    return memory;
}

/* What outlives the forward pass where ∂E is wanted, and the rest. */
static size_t lay_out_kept(vocab *c, char *memory) {
    const size_t most = (size_t)c->most, real = sizeof(kd_real);
    size_t total = 0;
    c->h = cut(&memory, &total, most * (size_t)c->C * real);
    c->z = cut(&memory, &total, stored_tiles(c) * most * TILE * real);
    return total;
}

static size_t lay_out(vocab *c, char *memory) {
    const size_t most = (size_t)c->most, tiles = (size_t)c->tiles, real = sizeof(kd_real);
    const size_t k = is_topk(c) ? (size_t)c->soft->k : 0;
    const bool hidden = c->soft && c->soft->hidden;
    size_t total = 0;
    c->hidden = cut(&memory, &total, hidden ? most * (size_t)c->width * real : 0);
    c->v = cut(&memory, &total, hidden ? stored_tiles(c) * most * TILE * real : 0);
    if (!hidden) c->v = NULL;
    c->sums = cut(&memory, &total, tiles * most * sizeof *c->sums);
    c->state = cut(&memory, &total, most * sizeof *c->state);
    c->kept = cut(&memory, &total, most * k * sizeof *c->kept);
    c->kept_first = cut(&memory, &total, k ? (tiles + 1) * sizeof *c->kept_first : 0);
    c->kept_logits = cut(&memory, &total, most * k * real);
    c->partial =
        cut(&memory, &total, c->wants_dh ? (size_t)c->groups * most * (size_t)c->C * real : 0);
    return total;
}

/* The n valid rows, a panel after the other. */
static void all_panels(kd_tape *tape, vocab *c, const int64_t *row, int64_t n, const kd_real *h,
                       kd_real *dh, kd_loss_parts *sum) {
    char *scratch = kd_tape_take(tape, lay_out(c, NULL));
    lay_out(c, scratch);
    for (int64_t begin = 0; begin < n; begin += c->most) {
        c->first = begin == 0;
        c->last = begin + c->most >= n;
        c->rows = smaller(c->most, n - begin);
        c->row = row + begin;
        gather(c->h, h, c->row, c->rows, c->C);
        if (c->v) gather(c->hidden, c->soft->hidden, c->row, c->rows, c->width);
        one_panel(c, dh, sum);
    }
    kd_tape_give(tape, scratch);
}

/* Where the gradients will lie, for n valid rows of h; ∂h of the others is 0. */
static void take_gradients(kd_tape *tape, vocab_record *record, const kd_tensor *h, int64_t n) {
    vocab *c = &record->c;
    if (c->wants_dh) record->dh = kd_tape_take(tape, (size_t)h->size * sizeof *record->dh);
    if (c->wants_dh && n < kd_rows(h)) memset(record->dh, 0, (size_t)h->size * sizeof *record->dh);
    if (c->wants_dE && n > c->most)
        c->dE = kd_tape_take(tape, (size_t)(c->V * c->C) * sizeof *c->dE);
    record->kept = kd_tape_take(tape, lay_out_kept(c, NULL));
    lay_out_kept(c, record->kept);
}

kd_tensor *kd_vocab_loss(kd_tape *tape, kd_tensor *h, kd_tensor *E, const int32_t *label,
                         const uint8_t *valid, const kd_soft_targets *soft, kd_loss_spec spec,
                         kd_loss_parts *parts) {
    check_vocab_loss(h, E, label, soft, &spec);
    kd_tensor *loss = kd_tape_output(tape, 1, (int64_t[]){1});
    vocab_record *record = kd_tape_alloc(tape, sizeof *record);
    vocab *c = &record->c;
    *record = (vocab_record){.c = {.V = E->shape[0],
                                   .C = E->shape[1],
                                   .E = E->value,
                                   .label = label,
                                   .spec = spec,
                                   .wants_dh = tape->recording && h->needs_grad,
                                   .wants_dE = tape->recording && E->needs_grad}};
    c->soft = spec.kl_weight != 0 ? soft : NULL;
    if (c->soft && c->soft->hidden) {
        c->width = c->soft->width;
        c->teacher_output = c->soft->output;
    }
    c->tiles = (c->V + TILE - 1) / TILE;
    c->groups = smaller(GROUPS, c->tiles);
    int64_t *row = kd_tape_take(tape, (size_t)kd_rows(h) * sizeof *row);
    const int64_t n = valid_rows(row, kd_rows(h), c->V, label, valid);
    kd_loss_parts sum = {.rows = (double)n};
    c->most = panel_rows(n, c->V);
    take_gradients(tape, record, h, n);
    all_panels(tape, c, row, n, h->value, record->dh, &sum);
    if (!c->wants_dE) kd_tape_give(tape, record->kept);
    kd_tape_give(tape, row);
    loss->value[0] = kd_loss_total(&spec, &sum, parts);
    kd_tape_record(tape, "vocab_loss", vocab_loss_backward, loss, record, 2, (kd_tensor *[]){h, E});
    return loss;
}
