#include "tasks/language/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "layers/llama_session.h"

enum { DRAFT_MOST = KD_LLAMA_SESSION_LAST - 1 };

typedef struct {
    int32_t V;
    const kd_generating *how;
    kd_rng rng;
    kd_llama_session *session, *draft; /* draft: or NULL                                 */
    int64_t draft_room;                /* tokens that the draft's session holds          */
    double ratio;                      /* of the draft's size to the model's             */
    int32_t *text;                     /* (room) prompt and what was generated           */
    int64_t length;                    /* of the text; the session has all but the last  */
    kd_real *logits;                   /* (LAST,V)                                       */
    kd_candidate *scratch;             /* (V)                                            */
    double *p, *q;                     /* (V), (DRAFT_MOST,V)                            */
} work;

static int work_init(work *w, const kd_llama *model, const int32_t *prompt, int64_t n, int64_t room,
                     const kd_generating *how) {
    const size_t V = (size_t)model->spec.vocabulary, rows = how->draft ? DRAFT_MOST : 0;
    *w = (work){.V = model->spec.vocabulary, .how = how, .rng = kd_rng_init(how->seed, 0)};
    w->text = malloc(kd_array_bytes(room, sizeof *w->text));
    w->logits = malloc((rows + 1) * V * sizeof *w->logits);
    w->scratch = malloc(V * sizeof *w->scratch);
    w->p = malloc((rows + 1) * V * sizeof *w->p);
    if (!w->text || !w->logits || !w->scratch || !w->p)
        return kd_fail_memory((rows + 1) * V * sizeof *w->p, "generating");
    w->q = w->p + V;
    memcpy(w->text, prompt, (size_t)n * sizeof *w->text);
    w->length = n;
    int status = kd_llama_session_create(&w->session, model, room, KD_PRODUCTS_STEPS);
    if (status < 0 || !how->draft) return status;
    const kd_llama *draft = how->draft->model;
    w->ratio = (double)kd_llama_size(&draft->spec) / (double)kd_llama_size(&model->spec);
    w->draft_room = room < draft->spec.context ? room : draft->spec.context;
    return kd_llama_session_create(&w->draft, draft, w->draft_room, KD_PRODUCTS_STEPS);
}

static void work_clear(work *w) {
    kd_llama_session_free(w->session);
    kd_llama_session_free(w->draft);
    free(w->text);
    free(w->logits);
    free(w->scratch);
    free(w->p);
}

static int32_t draw(work *w, double *p, const kd_real *logits) {
    kd_sampling_shares(p, logits, w->V, &w->how->sampling, w->scratch);
    return kd_sample_share(p, w->V, 1, &w->rng);
}

/* --- drafts ------------------------------------------------------------------------------------
 */

/* Of 0 … most proposals the number that gives most tokens for the time; the share that stays begins
 * as 40 of 50. */
static int best_count(const kd_generated *done, double ratio, int most) {
    const double share = ((double)done->accepted + 40) / ((double)done->drafted + 50);
    int best = 0;
    double most_tokens = 1, tokens = 1, power = 1;
    for (int n = 1; n <= most; n++) {
        power *= share;
        tokens += power;
        if (tokens / (ratio * n + 1) > most_tokens) {
            most_tokens = tokens / (ratio * n + 1);
            best = n;
        }
    }
    return best;
}

/* How many tokens the draft proposes, which then lie behind the text; q of each. */
static int propose(int *count, work *w, const kd_generated *done, int64_t left) {
    int64_t most = w->draft ? w->draft_room - w->length : 0;
    most = most < left - 1 ? most : left - 1;
    *count = best_count(done, w->ratio, most < DRAFT_MOST ? (int)most : DRAFT_MOST);
    for (int i = 0; i < *count; i++) {
        const int64_t known = kd_llama_session_length(w->draft);
        int status = kd_llama_session_feed(w->draft, w->text + known, w->length + i - known);
        if (status == KD_OK) status = kd_llama_session_logits(w->draft, 1, w->logits);
        if (status < 0) return status;
        w->text[w->length + i] = draw(w, w->q + (int64_t)i * w->V, w->logits);
    }
    return KD_OK;
}

/* Whether x stays, of which p is w->p; else *x is the token in its place. */
static bool accept(work *w, int32_t *x, const double *q) {
    if (kd_rng_uniform(&w->rng) * q[*x] < w->p[*x]) return true;
    double sum = 0;
    for (int32_t i = 0; i < w->V; i++) {
        w->p[i] = fmax(0, w->p[i] - q[i]);
        sum += w->p[i];
    }
    if (sum <= 0) return true; /* p and q differ by their rounding alone */
    *x = kd_sample_share(w->p, w->V, sum, &w->rng);
    return false;
}

/* --- the text ----------------------------------------------------------------------------------
 */

static bool ends(const kd_llama_ends *e, int32_t id) {
    for (int i = 0; i < e->stop_count; i++)
        if (e->stop[i] == id) return true;
    return false;
}

/* The text's next token. → 1 when it ended */
static int emit(kd_generated *out, work *w, const kd_llama_file *file, int32_t id,
                kd_next_token next, void *context) {
    out->stopped = ends(&file->ends, id);
    if (out->stopped) return 1;
    w->text[w->length++] = id;
    out->tokens++;
    const int status = next(context, id);
    return status < 0 ? status : out->tokens == w->how->tokens;
}

/* The tokens behind the session's and `count` proposals. → as emit */
static int look(kd_generated *out, work *w, const kd_llama_file *file, int count,
                kd_next_token next, void *context) {
    const int64_t known = kd_llama_session_length(w->session), begun = w->length;
    int status = kd_llama_session_feed(w->session, w->text + known, begun + count - known);
    if (status == KD_OK) status = kd_llama_session_logits(w->session, count + 1, w->logits);
    out->drafted += count;
    for (int i = 0; i <= count && status == KD_OK; i++) {
        const kd_real *logits = w->logits + (int64_t)i * w->V;
        if (i == count) {
            status = emit(out, w, file, draw(w, w->p, logits), next, context);
            break;
        }
        int32_t x = w->text[begun + i];
        kd_sampling_shares(w->p, logits, w->V, &w->how->sampling, w->scratch);
        const bool stays = accept(w, &x, w->q + (int64_t)i * w->V);
        out->accepted += stays;
        status = emit(out, w, file, x, next, context);
        if (!stays) break;
    }
    if (status != KD_OK || count == 0) return status;
    kd_llama_session_shorten(w->session, w->length - 1);
    if (kd_llama_session_length(w->draft) >= w->length)
        kd_llama_session_shorten(w->draft, w->length - 1);
    return KD_OK;
}

static int go_on(kd_generated *out, work *w, const kd_llama_file *file, kd_next_token next,
                 void *context) {
    int status = kd_llama_session_logits(w->session, 1, w->logits);
    if (status == KD_OK) status = emit(out, w, file, draw(w, w->p, w->logits), next, context);
    while (status == KD_OK) {
        int count;
        status = propose(&count, w, out, w->how->tokens - out->tokens);
        if (status == KD_OK) status = look(out, w, file, count, next, context);
    }
    return status < 0 ? status : KD_OK;
}

int kd_generate(kd_generated *out, const kd_llama_file *file, const int32_t *prompt, int64_t n,
                const kd_generating *how, kd_next_token next, void *context) {
    const int64_t room = file->model->spec.context - n;
    kd_generating bounded = *how;
    if (room < bounded.tokens) bounded.tokens = room;
    work w;
    *out = (kd_generated){.prompt = n};
    KD_CONTRACT(n >= 1, "a prompt of %lld tokens", (long long)n);
    if (bounded.tokens < 1)
        return kd_fail(KD_EUSAGE, "a prompt of %lld tokens leaves no room in a context of %d",
                       (long long)n, file->model->spec.context);
    int status = work_init(&w, file->model, prompt, n, n + bounded.tokens, &bounded);
    const double began = kd_clock();
    if (status == KD_OK) status = kd_llama_session_feed(w.session, prompt, n);
    if (status == KD_OK && w.draft && n <= w.draft_room)
        status = kd_llama_session_feed(w.draft, prompt, n);
    out->prompt_seconds = kd_clock() - began;
    if (status == KD_OK) status = go_on(out, &w, file, next, context);
    out->tokens_seconds = kd_clock() - began - out->prompt_seconds;
    work_clear(&w);
    return status;
}

int kd_generate_check_draft(const kd_llama_file *file, const char *path, const kd_llama_file *draft,
                            const char *draft_path) {
    const int32_t V = file->model->spec.vocabulary, drafted = draft->model->spec.vocabulary;
    if (drafted != V)
        return kd_fail(KD_EDATA,
                       "%s has %d tokens, and %s has %d; a draft's tokens are the model's",
                       draft_path, drafted, path, V);
    for (int32_t id = 0; id < V; id++) {
        const kd_token_bytes a = kd_text_tokenizer_token(file->tokenizer, id);
        const kd_token_bytes b = kd_text_tokenizer_token(draft->tokenizer, id);
        if (a.length != b.length || memcmp(a.bytes, b.bytes, a.length) != 0)
            return kd_fail(KD_EDATA,
                           "%s: token %d is \"%.*s\", in %s \"%.*s\"; a draft's tokens are the "
                           "model's",
                           draft_path, id, (int)b.length, b.bytes, path, (int)a.length, a.bytes);
    }
    return KD_OK;
}
