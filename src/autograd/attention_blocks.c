/* Attention forward where there are many queries: the scores never exist as a whole, nor do they
 * leave the first cache (Dao et al. 2022, "FlashAttention", algorithm 1, on a processor).
 *
 * A job is one head of one sample and up to QUERIES queries. It goes over the keys in blocks of
 * KEYS: the block's keys and values are packed once and meet the queries a panel (KD_PANEL) at a
 * time. Scores lie transposed, a key's row holding one number for each query of the panel, so that
 *
 *     p (keys, panel) = k·qᵀ,   out (D, panel) ← out ∘ e^{max − max'} + vᵀ·p
 *
 * are both products of packed sides, what one writes is what the other reads, and the maxima and
 * sums of the softmax go down the keys, in the lanes of the queries. Blocks and panels depend on
 * the shapes alone. */
#include "autograd/attention.h"
#include "base/size.h"

#include <omp.h>

/* Let a·b + c be one instruction; -std=c11 would forbid it. */
#pragma GCC optimize("fp-contract=fast")
#include "autograd/gemm_tile.h"
#include "autograd/vector_math.h"

enum { QUERIES = 256, KEYS = 192 };

/* The largest score of a query that has met no key it sees: less than all, and finite, so that −∞
 * in place of a score is as far from it as from any other. */
static const kd_real NOTHING_SEEN = KD_REAL(-1e30);

/* One thread's memory. */
typedef struct {
    kd_real *k, *v;     /* the block: (KEYS,D) and (D,KEYS) packed by tiles of rows */
    kd_real *q, *out;   /* (QUERIES/KD_PANEL, D, KD_PANEL)                          */
    kd_real *p;         /* (KEYS,KD_PANEL), after the exponentials in pairs as the rest     */
    kd_real *max, *sum; /* (QUERIES)                                                */
} workspace;

/* The queries of a job, and where its head begins. */
typedef struct {
    int64_t b, t, rows;    /* sample, first query, how many */
    int64_t query, memory; /* offsets in q and y, in k and v */
    int64_t first, keys;   /* the first key and the end of those that one of the queries sees */
    kd_real *log_sum;
} job;

static int64_t rounded_up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

/* D, so that whole tiles and whole vectors fit. */
static int64_t padded(int64_t D) {
    return rounded_up(rounded_up(D, KD_TILE), KD_VEC);
}

/* Numbers in a workspace. */
static int64_t workspace_size(int64_t D) {
    return 2 * (KEYS + QUERIES) * padded(D) + rounded_up(KEYS * KD_PANEL + 2 * QUERIES, 16);
}

static workspace lay_out(kd_real *memory, int64_t D) {
    workspace w = {.k = memory};
    w.v = w.k + KEYS * padded(D);
    w.q = w.v + KEYS * padded(D);
    w.out = w.q + QUERIES * padded(D);
    w.p = w.out + QUERIES * padded(D);
    w.max = w.p + KEYS * KD_PANEL;
    w.sum = w.max + QUERIES;
    return w;
}

static job make_job(const kd_attention_task *at, int64_t head, int64_t t) {
    const int64_t b = head / at->H, h = head % at->H, rows = kd_smaller(QUERIES, at->T - t);
    return (job){.b = b,
                 .t = t,
                 .rows = rows,
                 .query = (b * at->T + t) * at->C + h * at->D,
                 .memory = b * at->S * at->CG + h * at->G / at->H * at->D,
                 .first = kd_attention_first_of(at, b, t, rows),
                 .keys = kd_attention_visible(at, b, t + rows - 1),
                 .log_sum = at->log_sum + head * at->T + t};
}

static kd_tile_kind kind_of(const kd_attention_task *at) {
    return kd_tile_kind_of(at->precision);
}

/* q in panels; lanes behind the last query repeat it. Numbers are scaled here, pairs (which would
 * be rounded once more) where the exponentials are made. */
static void begin_job(const kd_attention_task *at, const job *j, const workspace *w) {
    const int64_t size = rounded_up(j->rows, KD_PANEL) * at->D;
    const kd_tile_operand q = {at->q + j->query, at->C, 1};
    kd_tile_pack(w->q, KD_PANEL, q, 0, j->rows, at->D, kind_of(at));
    if (kind_of(at) == KD_NUMBERS)
        for (int64_t i = 0; i < size; i++) w->q[i] *= at->scale;
    memset(w->out, 0, (size_t)size * sizeof *w->out);
    for (int64_t i = 0; i < QUERIES; i++) {
        w->max[i] = NOTHING_SEEN;
        w->sum[i] = 0;
    }
}

/* --- a block and a panel --------------------------------------------------------------------- */

/* −∞ in place of what a query does not see: of the n keys it sees those from `first` to `seen`, in
 * each lane. */
static void hide(kd_real *p, int64_t n, const int64_t first[KD_PANEL],
                 const int64_t seen[KD_PANEL]) {
    for (int lane = 0; lane < KD_PANEL; lane++) {
        for (int64_t i = 0; i < kd_smaller(first[lane], n); i++)
            p[i * KD_PANEL + lane] = -(kd_real)INFINITY;
        for (int64_t i = seen[lane] < 0 ? 0 : seen[lane]; i < n; i++)
            p[i * KD_PANEL + lane] = -(kd_real)INFINITY;
    }
}

/* p ← e^{(p − max')·rate}, max' the new maximum; *keep is what the sums so far are multiplied with.
 */
KD_INLINE void exponentials(kd_real *restrict p, int64_t n, kd_real *restrict max,
                            kd_real *restrict sum, kd_real *restrict keep, const kd_real rate) {
    kd_real top[KD_PANEL], part[KD_PANEL] = {0};
    memcpy(top, max, sizeof top);
    for (int64_t i = 0; i < n; i++)
#pragma omp simd
        for (int lane = 0; lane < KD_PANEL; lane++) {
            const kd_real x = p[i * KD_PANEL + lane];
            top[lane] = x > top[lane] ? x : top[lane];
        }
    for (int64_t i = 0; i < n; i++)
#pragma omp simd
        for (int lane = 0; lane < KD_PANEL; lane++) {
            const kd_real e = kd_vexp((p[i * KD_PANEL + lane] - top[lane]) * rate);
            p[i * KD_PANEL + lane] = e;
            part[lane] += e;
        }
#pragma omp simd
    for (int lane = 0; lane < KD_PANEL; lane++) {
        keep[lane] = kd_vexp((max[lane] - top[lane]) * rate);
        sum[lane] = sum[lane] * keep[lane] + part[lane];
        max[lane] = top[lane];
    }
}

/* The rows of p, two by two, as pairs in the place of the first half of them. */
static void join_rows(kd_real *p, int64_t n) {
    for (int64_t i = 0; i < n; i += 2)
        for (int v = 0; v < KD_PANEL; v += KD_VEC) {
            const kd_real *from = p + i * KD_PANEL + v;
            const kd_vec late = i + 1 < n ? kd_vec_load(from + KD_PANEL) : (kd_vec){0};
            kd_vec_store(p + i / 2 * KD_PANEL + v, kd_vec_pairs(kd_vec_load(from), late));
        }
}

/* Adds the first n of the block's `packed` keys, which begin at `first`, to a panel of queries. */
static void add_keys(const kd_attention_task *at, const job *j, const workspace *w, int64_t panel,
                     int64_t first, int64_t packed) {
    int64_t seen[KD_PANEL], from[KD_PANEL], least = packed, latest = 0, n = 0;
    for (int lane = 0; lane < KD_PANEL; lane++) {
        const int64_t t = j->t + kd_smaller(panel * KD_PANEL + lane, j->rows - 1);
        seen[lane] = kd_attention_visible(at, j->b, t) - first;
        from[lane] = kd_attention_first(at, j->b, t) - first;
        least = kd_smaller(least, seen[lane]);
        latest = from[lane] > latest ? from[lane] : latest;
        n = seen[lane] > n ? seen[lane] : n;
    }
    if (n <= 0) return;
    n = kd_smaller(n, packed);
    const kd_tile_kind kind = kind_of(at);
    const int64_t depth = kd_tile_elements(at->D, kind), stored = kd_tile_elements(packed, kind);
    const kd_real *q = w->q + panel * depth * KD_PANEL;
    kd_real *out = w->out + panel * at->D * KD_PANEL, keep[KD_PANEL];
    kd_real *max = w->max + panel * KD_PANEL, *sum = w->sum + panel * KD_PANEL;
    for (int64_t i = 0; i < n; i += KD_TILE)
        kd_tile_multiply_packed(w->k + i * depth, q, depth,
                                (kd_tile_target){w->p + i * KD_PANEL, KD_PANEL,
                                                 kd_smaller(KD_TILE, n - i), KD_PANEL, false, 1},
                                kind);
    if (least < n || latest > 0) hide(w->p, n, from, seen);
    if (kind == KD_PAIRS) {
        exponentials(w->p, n, max, sum, keep, at->scale);
        join_rows(w->p, n);
    } else {
        exponentials(w->p, n, max, sum, keep, 1);
    }
    for (int64_t d = 0; d < at->D; d++)
#pragma omp simd
        for (int lane = 0; lane < KD_PANEL; lane++) out[d * KD_PANEL + lane] *= keep[lane];
    for (int64_t d = 0; d < at->D; d += KD_TILE)
        kd_tile_multiply_packed(w->v + d * stored, w->p, kd_tile_elements(n, kind),
                                (kd_tile_target){out + d * KD_PANEL, KD_PANEL,
                                                 kd_smaller(KD_TILE, at->D - d), KD_PANEL, true, 1},
                                kind);
}

/* y = out/sum, turned around, and the logarithm of the sum. */
static void finish_panel(const kd_attention_task *at, const job *j, const workspace *w,
                         int64_t panel) {
    const int64_t first = panel * KD_PANEL;
    const kd_real *out = w->out + first * at->D;
    const kd_real rate = kind_of(at) == KD_PAIRS ? at->scale : 1;
    for (int64_t row = first; row < kd_smaller(j->rows, first + KD_PANEL); row++) {
        const kd_real inverse = 1 / w->sum[row];
        kd_real *restrict y = at->y + j->query + row * at->C;
        for (int64_t d = 0; d < at->D; d++) y[d] = out[d * KD_PANEL + row - first] * inverse;
        j->log_sum[row] = w->max[row] * rate + kd_log1(w->sum[row]);
    }
}

/* --- the whole ------------------------------------------------------------------------------- */

static void run_job(const kd_attention_task *at, const job *j, const workspace *w) {
    const int64_t panels = (j->rows + KD_PANEL - 1) / KD_PANEL;
    begin_job(at, j, w);
    for (int64_t first = j->first / KEYS * KEYS; first < j->keys; first += KEYS) {
        const int64_t n = kd_smaller(KEYS, j->keys - first), begin = j->memory + first * at->CG;
        kd_tile_pack(w->k, KD_TILE, (kd_tile_operand){at->k + begin, at->CG, 1}, 0, n, at->D,
                     kind_of(at));
        kd_tile_pack(w->v, KD_TILE, (kd_tile_operand){at->v + begin, 1, at->CG}, 0, at->D, n,
                     kind_of(at));
        for (int64_t panel = 0; panel < panels; panel++) add_keys(at, j, w, panel, first, n);
    }
    for (int64_t panel = 0; panel < panels; panel++) finish_panel(at, j, w, panel);
}

void kd_attention_blocks(kd_tape *tape, const kd_attention_task *at) {
    const int64_t blocks = (at->T + QUERIES - 1) / QUERIES, jobs = at->B * at->H * blocks;
    const int64_t size = workspace_size(at->D);
    const size_t threads = (size_t)omp_get_max_threads();
    kd_real *memory = kd_tape_take(tape, kd_array_bytes((int64_t)threads * size, sizeof *memory));
#pragma omp parallel for schedule(dynamic, 1) if (kd_attention_threaded(at))
    for (int64_t n = 0; n < jobs; n++) {
        const job j = make_job(at, n / blocks, n % blocks * QUERIES);
        const workspace w = lay_out(memory + omp_get_thread_num() * size, at->D);
        run_job(at, &j, &w);
    }
    kd_tape_give(tape, memory);
}
