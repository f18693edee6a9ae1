#include "tasks/language/generate.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "layers/llama_session.h"

typedef struct {
    kd_llama_session *session;
    kd_real *logits;       /* (vocabulary) */
    kd_candidate *scratch; /* (vocabulary) */
} work;

static int work_init(work *w, const kd_llama *model, int64_t most) {
    const size_t V = (size_t)model->spec.vocabulary;
    *w = (work){.logits = malloc(V * sizeof *w->logits), .scratch = malloc(V * sizeof *w->scratch)};
    if (!w->logits || !w->scratch) return kd_fail_memory(V * sizeof *w->scratch, "generating");
    return kd_llama_session_create(&w->session, model, most);
}

static void work_clear(work *w) {
    kd_llama_session_free(w->session);
    free(w->logits);
    free(w->scratch);
}

static bool ends(const kd_llama_ends *e, int32_t id) {
    for (int i = 0; i < e->stop_count; i++)
        if (e->stop[i] == id) return true;
    return false;
}

static int go_on(kd_generated *out, work *w, const kd_llama_file *file, int64_t most,
                 const kd_generating *how, kd_next_token next, void *context) {
    kd_rng rng = kd_rng_init(how->seed, 0);
    int status = kd_llama_session_logits(w->session, w->logits);
    while (status == KD_OK && out->tokens < most) {
        const int32_t id =
            kd_sample(w->logits, file->model->spec.vocabulary, &how->sampling, &rng, w->scratch);
        if (ends(&file->ends, id)) {
            out->stopped = true;
            return KD_OK;
        }
        out->tokens++;
        status = next(context, id);
        if (status < 0 || out->tokens == most) break;
        status = kd_llama_session_feed(w->session, &id, 1);
        if (status == KD_OK) status = kd_llama_session_logits(w->session, w->logits);
    }
    return status;
}

int kd_generate(kd_generated *out, const kd_llama_file *file, const int32_t *prompt, int64_t n,
                const kd_generating *how, kd_next_token next, void *context) {
    const int64_t room = file->model->spec.context - n;
    const int64_t most = how->tokens < room ? how->tokens : room;
    work w;
    *out = (kd_generated){.prompt = n};
    KD_CONTRACT(n >= 1, "a prompt of %lld tokens", (long long)n);
    if (most < 1)
        return kd_fail(KD_EUSAGE, "a prompt of %lld tokens leaves no room in a context of %d",
                       (long long)n, file->model->spec.context);
    int status = work_init(&w, file->model, n + most);
    const double began = kd_clock();
    if (status == KD_OK) status = kd_llama_session_feed(w.session, prompt, n);
    out->prompt_seconds = kd_clock() - began;
    if (status == KD_OK) status = go_on(out, &w, file, most, how, next, context);
    out->tokens_seconds = kd_clock() - began - out->prompt_seconds;
    work_clear(&w);
    return status;
}
