#include "tasks/speech/greedy.h"

#include <stdlib.h>

#include "autograd/gemm_few.h"
#include "base/error.h"
#include "tasks/speech/decode_rules.h"

_Static_assert((int)KD_GREEDY_MOST <= (int)KD_FEW_ROWS, "more rows than are summed one by one");

typedef struct {
    int32_t *token; /* (text_context) */
    int count;
    double sum; /* of log-probabilities */
    bool ended;
} row;

struct kd_greedy {
    const kd_whisper *model;
    const kd_token_ids *ids;
    kd_decode_rules rules;
    kd_whisper_session *session;
    int32_t prompt[4];
    int prompt_count;
    int n; /* recordings listened to */
    row row[KD_GREEDY_MOST];
    int32_t next[KD_GREEDY_MOST]; /* the token each row goes on with */
    int32_t *tokens;              /* of all rows                     */
    kd_real *logits;              /* (KD_GREEDY_MOST, V)             */
};

static int check(const kd_whisper *model, const kd_tokenizer *tokenizer) {
    const int V = model->spec.vocabulary, known = kd_tokenizer_ids(tokenizer)->vocabulary;
    const int least = 16;
    if (known != V) return kd_fail(KD_EDATA, "the model has %d tokens, its tokenizer %d", V, known);
    if (model->spec.text_context < least)
        return kd_fail(KD_EDATA, "the model's text context is %d; decoding needs %d",
                       model->spec.text_context, least);
    return KD_OK;
}

static int allocate(kd_greedy *g) {
    const size_t context = (size_t)g->model->spec.text_context;
    const size_t V = (size_t)g->model->spec.vocabulary;
    g->tokens = malloc(KD_GREEDY_MOST * context * sizeof *g->tokens);
    g->logits = malloc(KD_GREEDY_MOST * V * sizeof *g->logits);
    if (!g->tokens || !g->logits)
        return kd_fail_memory(KD_GREEDY_MOST * V * sizeof *g->logits, "decoding");
    for (int i = 0; i < KD_GREEDY_MOST; i++) g->row[i].token = g->tokens + (size_t)i * context;
    return KD_OK;
}

int kd_greedy_create(kd_greedy **out, const kd_whisper *model, const kd_tokenizer *tokenizer,
                     int32_t language, int32_t task) {
    *out = NULL;
    int status = check(model, tokenizer);
    if (status < 0) return status;
    kd_greedy *g = calloc(1, sizeof *g);
    if (!g) return kd_fail_memory(sizeof *g, "decoding");
    g->model = model;
    g->ids = kd_tokenizer_ids(tokenizer);
    g->prompt_count = kd_decode_prompt(g->prompt, tokenizer, language, task, false);
    status = allocate(g);
    if (status == KD_OK)
        status = kd_decode_rules_init(&g->rules, tokenizer, &model->generation, false);
    if (status == KD_OK) status = kd_whisper_session_create(&g->session, model, KD_GREEDY_MOST, 1);
    if (status < 0)
        kd_greedy_free(g);
    else
        *out = g;
    return status;
}

void kd_greedy_hear_in(kd_greedy *greedy, kd_precision precision) {
    kd_whisper_session_hear_in(greedy->session, precision);
}

void kd_greedy_free(kd_greedy *greedy) {
    if (!greedy) return;
    kd_whisper_session_free(greedy->session);
    kd_decode_rules_clear(&greedy->rules);
    free(greedy->tokens);
    free(greedy->logits);
    free(greedy);
}

int kd_greedy_listen(kd_greedy *g, const kd_real *mel, int n, int64_t T) {
    g->n = n;
    return kd_whisper_session_listen(g->session, mel, n, T);
}

int kd_greedy_listen_encoded(kd_greedy *g, const kd_real *memory, int n, int64_t S) {
    g->n = n;
    return kd_whisper_session_listen_encoded(g->session, memory, n, S);
}

/* Appends g->next to every row; their logits follow. */
static int step(kd_greedy *g) {
    int status = kd_whisper_session_step(g->session, g->next, 1);
    return status < 0 ? status : kd_whisper_session_logits(g->session, g->logits, 0);
}

/* Token by token, so that there are never more rows than recordings. */
static int begin(kd_greedy *g) {
    kd_whisper_session_restart(g->session);
    for (int i = 0; i < g->n; i++) g->row[i] = (row){.token = g->row[i].token};
    for (int t = 0; t < g->prompt_count; t++) {
        for (int i = 0; i < g->n; i++) g->next[i] = g->prompt[t];
        int status = step(g);
        if (status < 0) return status;
    }
    return KD_OK;
}

/* The likeliest next token of row i that the rules allow. */
static void choose(kd_greedy *g, int i) {
    const int32_t V = g->ids->vocabulary;
    kd_real *z = g->logits + (int64_t)i * V;
    row *r = &g->row[i];
    int32_t best = 0;
    kd_decode_rules_apply(&g->rules, z, r->token, r->count);
    for (int32_t v = 1; v < V; v++)
        if (z[v] > z[best]) best = v;
    r->sum += (double)z[best] - kd_log_sum_exp(z, V);
    r->ended = best == g->ids->end;
    if (!r->ended) r->token[r->count++] = best;
    g->next[i] = best;
}

static bool all_ended(const kd_greedy *g) {
    for (int i = 0; i < g->n; i++)
        if (!g->row[i].ended) return false;
    return true;
}

int kd_greedy_run(kd_greedy *g, kd_greedy_text *out) {
    const int64_t context = g->model->spec.text_context;
    const int most = kd_decode_length_most(&g->model->generation, (int)context);
    int status = begin(g);
    for (int t = 0; t < most && status == KD_OK; t++) {
        for (int i = 0; i < g->n; i++)
            if (!g->row[i].ended) choose(g, i);
        if (all_ended(g) || kd_whisper_session_length(g->session) == context) break;
        status = step(g);
    }
    for (int i = 0; i < g->n; i++) {
        const row *r = &g->row[i];
        out[i] = (kd_greedy_text){r->token, r->count, r->sum / (r->count + 1)};
    }
    return status;
}
