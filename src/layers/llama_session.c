#include "layers/llama_session.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"

/* Tokens that go through the blocks together. */
enum { PIECE = 256, LAST = KD_LLAMA_SESSION_LAST };

struct kd_llama_session {
    const kd_llama *model;
    kd_tape *tape;     /* scratch                                                 */
    int64_t most;      /* tokens                                                  */
    int64_t length;    /* now                                                     */
    kd_real *cache[2]; /* keys, turned, and values: (layers, most, key_heads·D)   */
    kd_real *x;        /* (PIECE,width) between halves of the blocks              */
    kd_real *hidden;   /* (LAST,width) of the last tokens, behind the last norm   */
    int64_t last;      /* how many of them there are                              */
    kd_few_rows few;
};

static int64_t key_width(const kd_llama_session *s) {
    return (int64_t)s->model->spec.key_heads * s->model->spec.head_width;
}

int kd_llama_session_create(kd_llama_session **out, const kd_llama *model, int64_t most,
                            kd_products products) {
    *out = NULL;
    KD_CONTRACT(most >= 1 && most <= model->spec.context, "%lld tokens of %d", (long long)most,
                model->spec.context);
    kd_llama_session *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, "decoding");
    s->model = model;
    s->most = most;
    const size_t bytes = kd_array_bytes(model->spec.layers * most * key_width(s), sizeof(kd_real));
    int status = kd_tape_create(&s->tape, 0);
    for (int i = 0; i < 2; i++) s->cache[i] = malloc(bytes);
    s->x = malloc((size_t)(PIECE * model->spec.width) * sizeof *s->x);
    s->hidden = malloc((size_t)(LAST * model->spec.width) * sizeof *s->hidden);
    if (status == KD_OK && !(s->cache[0] && s->cache[1] && s->x && s->hidden))
        status = kd_fail_memory(2 * bytes, "keys and values");
    if (status == KD_OK) status = kd_few_rows_create(&s->few, model->params, "", products);
    if (status < 0) {
        kd_llama_session_free(s);
        return status;
    }
    s->tape->recording = s->tape->training = false;
    *out = s;
    return KD_OK;
}

void kd_llama_session_free(kd_llama_session *session) {
    if (!session) return;
    kd_tape_free(session->tape);
    for (int i = 0; i < 2; i++) free(session->cache[i]);
    free(session->x);
    free(session->hidden);
    kd_few_rows_clear(&session->few);
    free(session);
}

static kd_tensor *linear(const kd_llama_session *s, const kd_linear_layer *layer, kd_tensor *x) {
    return kd_few_rows_linear(&s->few, s->tape, layer, x);
}

/* Appends x (1,n,key_width) to the cache; → all of it, with the new ones. */
static kd_tensor append(const kd_llama_session *s, int layer, int which, const kd_tensor *x) {
    const int64_t C = key_width(s), n = x->shape[1], S = s->length + n;
    kd_real *all = s->cache[which] + layer * s->most * C;
    memcpy(all + s->length * C, x->value, (size_t)x->size * sizeof *all);
    return (kd_tensor){.rank = 3, .shape = {1, S, C}, .size = S * C, .value = all};
}

/* x (1,n,width) → x + out(attention(attn_norm(x))) */
static kd_tensor *attention(kd_llama_session *s, int layer, kd_tensor *x,
                            const kd_rotary_table *angles) {
    const kd_llama_block *b = &s->model->block[layer];
    kd_tensor *h = kd_rms_norm_layer_forward(&b->attn_norm, s->tape, x);
    const kd_linear_layer *const from[] = {&b->query, &b->key, &b->value};
    kd_tensor *y[3];
    kd_few_rows_linears(&s->few, s->tape, from, 3, h, y);
    kd_tensor *q = kd_llama_turn(s->model, s->tape, &b->query_norm, y[0], angles);
    kd_tensor *k = kd_llama_turn(s->model, s->tape, &b->key_norm, y[1], angles);
    kd_tensor keys = append(s, layer, 0, k), values = append(s, layer, 1, y[2]);
    kd_tensor *seen = kd_attention(s->tape, q, &keys, &values, s->model->spec.heads,
                                   (kd_attention_mask){.causal = true});
    return kd_add(s->tape, x, linear(s, &b->out, seen), KD_ACT_NONE);
}

/* x + down(silu(gate(n)) ∘ up(n)), n = mlp_norm(x) */
static kd_tensor *mlp(const kd_llama_session *s, int layer, kd_tensor *x) {
    const kd_llama_block *b = &s->model->block[layer];
    kd_tensor *h = kd_rms_norm_layer_forward(&b->mlp_norm, s->tape, x);
    const kd_linear_layer *const from[] = {&b->gate, &b->up};
    kd_tensor *y[2];
    kd_few_rows_linears(&s->few, s->tape, from, 2, h, y);
    h = kd_swiglu(s->tape, y[0], y[1]);
    return kd_add(s->tape, x, linear(s, &b->down, h), KD_ACT_NONE);
}

static void keep(kd_llama_session *s, const kd_tensor *x) {
    memcpy(s->x, x->value, (size_t)x->size * sizeof *s->x);
}

/* n ≤ PIECE tokens, half a block after the other in the memory of one. */
static int feed_piece(kd_llama_session *s, const int32_t *id, int64_t n) {
    const kd_llama *m = s->model;
    const int64_t C = m->spec.width;
    kd_tensor x = {.rank = 3, .shape = {1, n, C}, .size = n * C, .value = s->x};
    kd_tape_reset(s->tape);
    if (kd_tape_guard(s->tape)) return KD_EINTERNAL;
    keep(s, kd_embedding_layer_forward(&m->embedding, s->tape, id, n));
    for (int layer = 0; layer < m->spec.layers; layer++) {
        kd_tape_reset(s->tape);
        const kd_rotary_table angles = kd_llama_angles(m, s->tape, s->length, n);
        keep(s, attention(s, layer, &x, &angles));
        kd_tape_reset(s->tape);
        keep(s, mlp(s, layer, &x));
    }
    kd_tape_reset(s->tape);
    s->last = n < LAST ? n : LAST;
    kd_tensor *last = kd_slice(s->tape, &x, 1, n - s->last, n, 1);
    last = kd_rms_norm_layer_forward(&m->norm, s->tape, last);
    memcpy(s->hidden, last->value, (size_t)last->size * sizeof *s->hidden);
    s->length += n;
    return KD_OK;
}

int kd_llama_session_feed(kd_llama_session *s, const int32_t *id, int64_t n) {
    KD_CONTRACT(n >= 1 && s->length + n <= s->most, "%lld tokens behind %lld of %lld", (long long)n,
                (long long)s->length, (long long)s->most);
    int status = KD_OK;
    for (int64_t i = 0; i < n && status == KD_OK; i += PIECE)
        status = feed_piece(s, id + i, n - i < PIECE ? n - i : PIECE);
    return status;
}

int kd_llama_session_logits(kd_llama_session *s, int64_t count, kd_real *out) {
    const int64_t C = s->model->spec.width;
    KD_CONTRACT(count >= 1 && count <= s->last, "%lld of the last %lld tokens", (long long)count,
                (long long)s->last);
    kd_tape_reset(s->tape);
    if (kd_tape_guard(s->tape)) return KD_EINTERNAL;
    kd_few_rows_product(&s->few, s->tape, s->model->output, count,
                        s->hidden + (s->last - count) * C, C, out);
    return KD_OK;
}

int64_t kd_llama_session_length(const kd_llama_session *session) {
    return session->length;
}

void kd_llama_session_shorten(kd_llama_session *session, int64_t length) {
    KD_CONTRACT(length >= 0 && length <= session->length, "%lld of %lld tokens", (long long)length,
                (long long)session->length);
    session->length = length;
    session->last = 0;
}
