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
#include "distill/loss_vocab.h"

#include <string.h>

#include "base/order.h"
#include "base/size.h"

enum { ROWS_LEAST = 16, ROWS_MOST = 448 };
static const int64_t PANEL = 3 << 23; /* logits */

typedef struct {
    kd_real *dh; /* NULL where not wanted */
    kd_vocab c;  /* as the last panel left it: its G and h, and ∂E of those before */
    char *kept;  /* the memory of G and h */
    bool done;
} vocab_record;

/* ∂E ← ∂E + ∂L · (what the earlier panels collected, and the last one's Gᵀ·h) */
static void embedding_backward(kd_tape *tape, kd_tensor *E, const kd_vocab *c, kd_real dloss) {
    kd_real beta;
    if (c->rows == 0) {
        kd_tape_grad(tape, E);
        return;
    }
    if (c->dE) kd_loss_hand_over(tape, E, c->dE, dloss);
    kd_real *dE = kd_tape_grad_beta(tape, E, &beta);
    kd_vocab_embedding_gradient(c, dloss, beta, dE);
}

static void vocab_loss_backward(kd_tape *tape, kd_node *node) {
    vocab_record *record = node->saved;
    KD_CONTRACT(!record->done, "vocab_loss: backward runs twice");
    record->done = true;
    if (record->c.wants_dE) embedding_backward(tape, node->in[1], &record->c, *node->out->grad);
    if (record->c.wants_dE) kd_tape_give(tape, record->kept);
    if (record->dh) kd_loss_hand_over(tape, node->in[0], record->dh, *node->out->grad);
    if (record->c.dbias) kd_loss_hand_over(tape, node->in[2], record->c.dbias, *node->out->grad);
}

static void check_vocab_loss(const kd_tensor *h, const kd_tensor *E, const int32_t *label,
                             const kd_soft_targets *soft, const kd_loss_spec *spec) {
    KD_FIT(E->rank == 2 && E->shape[1] == kd_channels(h), "vocab_loss", h, E);
    KD_FIT(!spec->bias || spec->bias->size == E->shape[0], "vocab_loss", E, spec->bias);
    KD_CONTRACT(spec->normalizer > 0 && spec->temperature > 0,
                "vocab_loss: normalizer %g, temperature %g", spec->normalizer,
                (double)spec->temperature);
    KD_CONTRACT(label || spec->hard_weight == 0, "vocab_loss: a hard part without labels");
    KD_CONTRACT(soft || spec->kl_weight == 0, "vocab_loss: a soft part without a teacher");
    KD_CONTRACT(spec->decoupled == 0 && !spec->standardize,
                "vocab_loss: decoupled and standardized losses are for distill_loss");
    KD_CONTRACT(!soft || !soft->logits, "vocab_loss: dense teacher logits are for distill_loss");
    KD_CONTRACT(!soft || !soft->share || spec->divergence.kind == KD_FORWARD_KL,
                "vocab_loss: draws and divergence %d", (int)spec->divergence.kind);
    KD_CONTRACT(!soft || (soft->hidden ? soft->output && soft->width >= 1
                                       : soft->k >= 1 && (soft->share || soft->k <= E->shape[0])),
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
    most = most < ROWS_LEAST ? ROWS_LEAST : kd_smaller(most, ROWS_MOST);
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
static size_t lay_out_kept(kd_vocab *c, char *memory) {
    const size_t most = (size_t)c->most, real = sizeof(kd_real);
    size_t total = 0;
    c->h = cut(&memory, &total, most * (size_t)c->C * real);
    c->z = cut(&memory, &total, kd_vocab_stored_tiles(c) * most * KD_VOCAB_TILE * real);
    return total;
}

static size_t lay_out(kd_vocab *c, char *memory) {
    const size_t most = (size_t)c->most, tiles = (size_t)c->tiles, real = sizeof(kd_real);
    const size_t k = (size_t)kd_vocab_named(c);
    const bool hidden = c->soft && c->soft->hidden;
    size_t total = 0;
    c->hidden = cut(&memory, &total, hidden ? most * (size_t)c->width * real : 0);
    c->v =
        cut(&memory, &total, hidden ? kd_vocab_stored_tiles(c) * most * KD_VOCAB_TILE * real : 0);
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

static void gather(kd_real *out, const kd_real *from, const int64_t *row, int64_t rows, int64_t C) {
    for (int64_t r = 0; r < rows; r++)
        memcpy(out + r * C, from + row[r] * C, (size_t)C * sizeof *out);
}

/* The n valid rows, a panel after the other. */
static void all_panels(kd_tape *tape, kd_vocab *c, const int64_t *row, int64_t n, const kd_real *h,
                       kd_real *dh, kd_loss_parts *sum) {
    char *scratch = kd_tape_take(tape, lay_out(c, NULL));
    lay_out(c, scratch);
    for (int64_t begin = 0; begin < n; begin += c->most) {
        c->first = begin == 0;
        c->last = begin + c->most >= n;
        c->rows = kd_smaller(c->most, n - begin);
        c->row = row + begin;
        gather(c->h, h, c->row, c->rows, c->C);
        if (c->v) gather(c->hidden, c->soft->hidden, c->row, c->rows, c->width);
        kd_vocab_panel(c, dh, sum);
    }
    kd_tape_give(tape, scratch);
}

/* Where the gradients will lie, for n valid rows of h; ∂h of the others is 0. */
static void take_gradients(kd_tape *tape, vocab_record *record, const kd_tensor *h, int64_t n) {
    kd_vocab *c = &record->c;
    if (c->wants_dh) record->dh = kd_tape_take(tape, kd_array_bytes(h->size, sizeof *record->dh));
    if (c->wants_dh && n < kd_rows(h)) memset(record->dh, 0, (size_t)h->size * sizeof *record->dh);
    if (c->wants_dE && n > c->most)
        c->dE = kd_tape_take(tape, kd_array_bytes(c->V * c->C, sizeof *c->dE));
    if (c->spec.bias && tape->recording && c->spec.bias->needs_grad) {
        c->dbias = kd_tape_take(tape, kd_array_bytes(c->V, sizeof *c->dbias));
        if (n == 0) memset(c->dbias, 0, (size_t)c->V * sizeof *c->dbias);
    }
    record->kept = kd_tape_take(tape, lay_out_kept(c, NULL));
    lay_out_kept(c, record->kept);
}

kd_tensor *kd_vocab_loss(kd_tape *tape, kd_tensor *h, kd_tensor *E, const int32_t *label,
                         const uint8_t *valid, const kd_soft_targets *soft, kd_loss_spec spec,
                         kd_loss_parts *parts) {
    check_vocab_loss(h, E, label, soft, &spec);
    kd_tensor *loss = kd_tape_output(tape, 1, (int64_t[]){1});
    vocab_record *record = kd_tape_alloc(tape, sizeof *record);
    kd_vocab *c = &record->c;
    *record = (vocab_record){.c = {.V = E->shape[0],
                                   .C = E->shape[1],
                                   .E = E->value,
                                   .label = label,
                                   .spec = spec,
                                   .precision = tape->precision,
                                   .wants_dh = tape->recording && h->needs_grad,
                                   .wants_dE = tape->recording && E->needs_grad}};
    if (spec.bias) c->bias = spec.bias->value;
    c->soft = spec.kl_weight != 0 ? soft : NULL;
    if (c->soft && c->soft->hidden) {
        c->width = c->soft->width;
        c->teacher_output = c->soft->output;
    }
    c->tiles = (c->V + KD_VOCAB_TILE - 1) / KD_VOCAB_TILE;
    c->groups = kd_smaller(KD_VOCAB_GROUPS, c->tiles);
    int64_t *row = kd_tape_take(tape, kd_array_bytes(kd_rows(h), sizeof *row));
    const int64_t n = valid_rows(row, kd_rows(h), c->V, label, valid);
    kd_loss_parts sum = {.rows = (double)n};
    c->most = panel_rows(n, c->V);
    take_gradients(tape, record, h, n);
    all_panels(tape, c, row, n, h->value, record->dh, &sum);
    if (!c->wants_dE) kd_tape_give(tape, record->kept);
    kd_tape_give(tape, row);
    loss->value[0] = kd_loss_total(&spec, &sum, parts);
    kd_tape_record(tape, "vocab_loss", vocab_loss_backward, loss, record, spec.bias ? 3 : 2,
                   (kd_tensor *[]){h, E, spec.bias});
    return loss;
}
