/* Beam search and sampling against the same searches written plainly: every row is decoded from its
 * beginning again at every step, all continuations are put in one list and sorted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tasks/speech/decode.h"
#include "whisper_tiny.h"

enum { V = TINY_VOCABULARY, MOST = 16, FRAMES = 100, TEXT = 40 };

typedef struct {
    int32_t token[TEXT];
    int count; /* without the end */
    double sum;
} text;

typedef struct {
    kd_whisper *model;
    kd_tokenizer *tokenizer;
    kd_decoder decoder;
} fixture;

/* A model that likes to end by so much, and hears something of its own for each `sound`. */
static void begin(fixture *f, int beam, double end_liked, int sound) {
    const kd_decode_options options = {.language = -1, .beam = beam};
    kd_real mel[FRAMES * 80];
    f->model = tiny_whisper(KD_WHISPER_TRAIN_NOTHING);
    f->tokenizer = tiny_tokenizer(V);
    const kd_real *end = f->model->tokens.table->tensor.value +
                         (int64_t)kd_tokenizer_ids(f->tokenizer)->end * TINY_WIDTH;
    for (int i = 0; i < TINY_WIDTH; i++) {
        f->model->text_norm.beta->tensor.value[i] += (kd_real)end_liked * end[i];
        f->model->text_norm.gamma->tensor.value[i] *= 8; /* not everything as likely */
    }
    kd_params_touch(f->model->params);
    for (int64_t i = 0; i < FRAMES * 80; i++)
        mel[i] = (kd_real)((i * (37 + 2 * sound)) % 101) / 50 - 1;
    assert_ok(kd_decoder_init(&f->decoder, f->model, f->tokenizer, &options));
    assert_ok(kd_decoder_listen(&f->decoder, mel, FRAMES));
}

static void end(fixture *f) {
    kd_decoder_clear(&f->decoder);
    kd_tokenizer_free(f->tokenizer);
    kd_whisper_free(f->model);
}

/* Log-probabilities of what may follow, −∞ for what must not. */
static void continuations(fixture *f, const text *t, double *out) {
    static kd_real z[V];
    const kd_token_ids *ids = kd_tokenizer_ids(f->tokenizer);
    int32_t prompt[2 + TEXT] = {ids->start, ids->no_timestamps};
    memcpy(prompt + 2, t->token, (size_t)t->count * sizeof *prompt);
    kd_whisper_session_restart(f->decoder.session);
    for (int i = 0; i < 2 + t->count; i++)
        assert_ok(kd_whisper_session_step(f->decoder.session, prompt + i, 1));
    kd_whisper_session_logits(f->decoder.session, z, 0);
    kd_decode_rules_apply(&f->decoder.rules, z, t->token, t->count);
    double sum = 0;
    for (int v = 0; v < V; v++) sum += exp((double)z[v]);
    for (int v = 0; v < V; v++) out[v] = (double)z[v] - log(sum);
}

typedef struct {
    text t;
    bool ends;
} candidate;

static int falling(const void *a, const void *b) {
    const double x = ((const candidate *)a)->t.sum, y = ((const candidate *)b)->t.sum;
    return (x < y) - (x > y);
}

/* OpenAI's: continuations best first; those that end are done, the first `beam` others go on; over
 * when `beam` are done. *ended says how many were. */
static text search(fixture *f, int beam, int *ended) {
    static candidate list[MOST * V];
    static double p[V];
    text live[MOST], done[MOST] = {{.count = 0}}, best;
    int rows = 1, finished = 0;
    live[0] = (text){.count = 0};
    for (int step = 0; step < TINY_SPEC.text_context / 2 && finished < beam; step++) {
        int n = 0;
        for (int i = 0; i < rows; i++) {
            continuations(f, &live[i], p);
            for (int v = 0; v < V; v++) {
                if (p[v] == -INFINITY) continue;
                candidate c = {live[i], v == kd_tokenizer_ids(f->tokenizer)->end};
                c.t.sum += p[v];
                if (!c.ends) c.t.token[c.t.count++] = v;
                list[n++] = c;
            }
        }
        qsort(list, (size_t)n, sizeof *list, falling);
        rows = 0;
        for (int i = 0; i < n && rows < beam; i++) {
            if (!list[i].ends)
                live[rows++] = list[i].t;
            else if (finished < beam)
                done[finished++] = list[i].t;
        }
    }
    *ended = finished;
    for (int i = 0; finished < beam && i < rows; i++) done[finished++] = live[i];
    best = done[0];
    for (int i = 1; i < finished; i++)
        if (done[i].sum / fmax(1, done[i].count) > best.sum / fmax(1, best.count)) best = done[i];
    return best;
}

static void compare(const kd_decoded *found, const text *right) {
    assert_int_equal(found->count, right->count);
    assert_memory_equal(found->token, right->token, (size_t)right->count * sizeof *right->token);
    assert_true(fabs(found->average - right->sum / (right->count + 1)) < 1e-4);
}

static void beams_find_what_a_plain_search_finds(void **state) {
    (void)state;
    int by_end = 0, cut = 0, lengths = 0;
    for (int beam = 2; beam <= 4; beam += 2)
        for (int sound = 0; sound < 2; sound++)
            for (int liked = 0; liked <= 240; liked += liked ? 60 : 180) {
                fixture f;
                kd_decoded found;
                int ended;
                begin(&f, beam, liked, sound);
                const text right = search(&f, beam, &ended);
                assert_ok(kd_decoder_run(&f.decoder, &found, NULL, 0, 0));
                compare(&found, &right);
                by_end += ended == beam;
                cut += ended < beam;
                lengths += right.count > 1 && right.count < 10;
                end(&f);
            }
    print_message("%d ended, %d were cut, %d of middle length\n", by_end, cut, lengths);
    assert_true(by_end > 2 && cut > 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(beams_find_what_a_plain_search_finds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
