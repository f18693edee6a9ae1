#include "tasks/speech/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { SAMPLES = 5, CONTEXT_LEAST = 16 };

/* A row of text: the tokens behind the prompt and the sum of their log-probabilities. */
typedef struct {
    int32_t *token;
    int count;
    double sum;
    bool ended;
} row;

typedef struct {
    int from;
    int32_t token;
    double sum;
} candidate;

typedef struct {
    row live[KD_BEAM_MOST], next[KD_BEAM_MOST], done[KD_BEAM_MOST];
    int width, done_count;
    int from[KD_BEAM_MOST];
    int32_t token[KD_BEAM_MOST];
    int32_t *prompt; /* (text_context) */
    double *weight;  /* (V), of sampling */
} search;

/* --- making ------------------------------------------------------------------------------------
 */

static int make_search(kd_decoder *d) {
    const size_t context = (size_t)d->model->spec.text_context, most = (size_t)d->most;
    search *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, "decoding");
    d->rows = s;
    s->prompt = malloc((3 * most + 1) * context * sizeof *s->prompt);
    s->weight = malloc((size_t)d->model->spec.vocabulary * sizeof *s->weight);
    if (!s->prompt || !s->weight)
        return kd_fail_memory((3 * most + 1) * context * sizeof *s->prompt, "decoding");
    for (size_t i = 0; i < most; i++) {
        s->live[i].token = s->prompt + (1 + 3 * i) * context;
        s->next[i].token = s->live[i].token + context;
        s->done[i].token = s->next[i].token + context;
    }
    return KD_OK;
}

int kd_decoder_init(kd_decoder *out, const kd_whisper *model, const kd_tokenizer *tokenizer,
                    const kd_decode_options *options) {
    const int V = model->spec.vocabulary, known = kd_tokenizer_ids(tokenizer)->vocabulary;
    *out = (kd_decoder){.options = *options, .model = model, .tokenizer = tokenizer};
    KD_CONTRACT(options->beam >= 1 && options->beam <= KD_BEAM_MOST, "beam of %d", options->beam);
    if (known != V) return kd_fail(KD_EDATA, "the model has %d tokens, its tokenizer %d", V, known);
    if (model->spec.text_context < CONTEXT_LEAST)
        return kd_fail(KD_EDATA, "the model's text context is %d; decoding needs %d",
                       model->spec.text_context, (int)CONTEXT_LEAST);
    out->most = options->beam > SAMPLES ? options->beam : SAMPLES;
    kd_decoder_begin(out);
    out->logits = malloc((size_t)out->most * (size_t)V * sizeof *out->logits);
    if (!out->logits)
        return kd_fail_memory((size_t)out->most * (size_t)V * sizeof *out->logits, "decoding");
    int status = make_search(out);
    if (status == KD_OK)
        status =
            kd_decode_rules_init(&out->rules, tokenizer, &model->generation, options->timestamps);
    if (status == KD_OK) status = kd_whisper_session_create(&out->session, model, 1, out->most);
    return status;
}

void kd_decoder_begin(kd_decoder *decoder) {
    decoder->rng = kd_rng_init(0, 0x6465636f);
}

void kd_decoder_clear(kd_decoder *decoder) {
    search *s = decoder->rows;
    kd_whisper_session_free(decoder->session);
    kd_decode_rules_clear(&decoder->rules);
    free(decoder->logits);
    if (s) {
        free(s->prompt);
        free(s->weight);
    }
    free(s);
    *decoder = (kd_decoder){0};
}

int kd_decoder_listen(kd_decoder *decoder, const kd_real *mel, int64_t T) {
    return kd_whisper_session_listen(decoder->session, mel, 1, T);
}

int kd_decoder_language(kd_decoder *decoder, int32_t *out) {
    const kd_token_ids *ids = kd_tokenizer_ids(decoder->tokenizer);
    const kd_token_list *list = &decoder->model->generation.languages;
    const int count = list->stated ? list->count : ids->languages;
    kd_whisper_session_restart(decoder->session);
    int status = kd_whisper_session_step(decoder->session, &ids->start, 1);
    if (status == KD_OK) status = kd_whisper_session_logits(decoder->session, decoder->logits, 0);
    if (status < 0) return status;
    *out = -1;
    for (int i = 0; i < count; i++) {
        const int32_t id = list->stated ? list->id[i] : ids->language + i;
        if (*out < 0 || decoder->logits[id] > decoder->logits[*out]) *out = id;
    }
    return KD_OK;
}

/* --- choosing ----------------------------------------------------------------------------------
 */

static void copy_row(row *to, const row *from, int32_t token, double sum) {
    memcpy(to->token, from->token, (size_t)from->count * sizeof *to->token);
    to->token[from->count] = token;
    to->count = from->count + 1;
    to->sum = sum;
    to->ended = from->ended;
}

/* The next tokens of all rows are chosen: s->next becomes s->live. */
static void swap_rows(search *s) {
    for (int i = 0; i < KD_BEAM_MOST; i++) {
        const row kept = s->live[i];
        s->live[i] = s->next[i];
        s->next[i] = kept;
    }
}

/* An index drawn with probability ∝ e^{z/temperature}; the likeliest at temperature 0. */
static int32_t draw(kd_decoder *d, const kd_real *z, double temperature) {
    const int32_t V = d->model->spec.vocabulary;
    search *s = d->rows;
    int32_t best = 0;
    for (int32_t i = 1; i < V; i++)
        if (z[i] > z[best]) best = i;
    if (temperature == 0) return best;
    double sum = 0;
    for (int32_t i = 0; i < V; i++) {
        s->weight[i] = exp(((double)z[i] - (double)z[best]) / temperature);
        sum += s->weight[i];
    }
    double at = kd_rng_uniform(&d->rng) * sum;
    for (int32_t i = 0; i < V; i++) {
        at -= s->weight[i];
        if (at < 0) return i;
    }
    return best;
}

/* Greedy and sampling: each row goes its own way. At the start `given` is 1: all rows grow out of
 * the prompt's. */
static void choose_each(kd_decoder *d, int given, int width, double temperature) {
    const int64_t V = d->model->spec.vocabulary;
    const int32_t end = kd_tokenizer_ids(d->tokenizer)->end;
    search *s = d->rows;
    for (int i = 0; i < width; i++) {
        const int from = i < given ? i : 0;
        const row *r = &s->live[from];
        const kd_real *z = d->logits + from * V;
        const int32_t token = r->ended ? end : draw(d, z, temperature);
        const double gain = r->ended ? 0 : (double)z[token] - kd_log_sum_exp(z, V);
        copy_row(&s->next[i], r, token, r->sum + gain);
        if (r->ended || token == end) s->next[i].count--;
        s->next[i].ended = r->ended || token == end;
        s->from[i] = from;
        s->token[i] = token;
    }
}

/* Keeps list (*count ≤ most) sorted by falling sum. */
static void offer(candidate *list, int *count, int most, candidate new) {
    int at = *count;
    while (at > 0 && list[at - 1].sum < new.sum) at--;
    if (at == most) return;
    if (*count < most) ++*count;
    for (int i = *count - 1; i > at; i--) list[i] = list[i - 1];
    list[at] = new;
}

/* The beam + 1 likeliest continuations of every row, best first. */
static int gather(kd_decoder *d, int given, candidate *list) {
    const int64_t V = d->model->spec.vocabulary;
    const int each = d->options.beam + 1, most = given * each;
    const search *s = d->rows;
    int count = 0;
    for (int i = 0; i < given; i++) {
        candidate own[KD_BEAM_MOST + 1];
        int own_count = 0;
        const kd_real *z = d->logits + i * V;
        const double base = s->live[i].sum - kd_log_sum_exp(z, V);
        for (int32_t v = 0; v < V; v++) {
            const double sum = base + (double)z[v];
            if (z[v] == -(kd_real)INFINITY) continue;
            if (own_count < each || sum > own[each - 1].sum)
                offer(own, &own_count, each, (candidate){i, v, sum});
        }
        for (int k = 0; k < own_count; k++) offer(list, &count, most, own[k]);
    }
    return count;
}

/* Beam search: the best go on; those that end before the beam is full are done. */
static int choose_beam(kd_decoder *d, int given) {
    candidate list[KD_BEAM_MOST * (KD_BEAM_MOST + 1)];
    const int32_t end = kd_tokenizer_ids(d->tokenizer)->end;
    const int count = gather(d, given, list), beam = d->options.beam;
    search *s = d->rows;
    int width = 0;
    for (int i = 0; i < count && width < beam; i++) {
        const row *r = &s->live[list[i].from];
        if (list[i].token == end) {
            if (s->done_count == beam) continue;
            row *to = &s->done[s->done_count++];
            copy_row(to, r, end, list[i].sum);
            to->count--;
            continue;
        }
        copy_row(&s->next[width], r, list[i].token, list[i].sum);
        s->from[width] = list[i].from;
        s->token[width++] = list[i].token;
    }
    return width;
}

/* --- the loop ----------------------------------------------------------------------------------
 */

/* [previous prompt…] start [language task] [no_timestamps]; *start_at is where `start` stands. */
static int make_prompt(kd_decoder *d, const int32_t *prompt, int count, int *start_at) {
    const kd_token_ids *ids = kd_tokenizer_ids(d->tokenizer);
    const int most = d->model->spec.text_context / 2 - 1;
    int32_t *to = ((search *)d->rows)->prompt;
    int n = 0;
    if (count > most) {
        prompt += count - most;
        count = most;
    }
    if (count > 0) {
        to[n++] = ids->previous;
        memcpy(to + n, prompt, (size_t)count * sizeof *to);
        n += count;
    }
    *start_at = n;
    return n + kd_decode_prompt(to + n, d->tokenizer, d->options.language, d->options.task,
                                d->options.timestamps);
}

static bool all_ended(const search *s) {
    for (int i = 0; i < s->width; i++)
        if (!s->live[i].ended) return false;
    return true;
}

/* Chooses tokens until every row has ended or there is no more room. */
static int go_on(kd_decoder *d, double temperature) {
    search *s = d->rows;
    const bool beams = temperature == 0 && d->options.beam > 1;
    const int64_t V = d->model->spec.vocabulary, context = d->model->spec.text_context;
    const int width = temperature > 0 ? SAMPLES : d->options.beam;
    const int most = kd_decode_length_most(&d->model->generation, (int)context);
    for (int step = 0; step < most; step++) {
        const int given = s->width;
        for (int i = 0; i < given; i++)
            kd_decode_rules_apply(&d->rules, d->logits + i * V, s->live[i].token, s->live[i].count);
        if (beams)
            s->width = choose_beam(d, given);
        else
            choose_each(d, given, s->width = width, temperature);
        swap_rows(s);
        const bool over = beams ? s->done_count == d->options.beam || s->width == 0 : all_ended(s);
        if (over || kd_whisper_session_length(d->session) == context) break;
        kd_whisper_session_select(d->session, s->width, s->from);
        int status = kd_whisper_session_step(d->session, s->token, 1);
        if (status == KD_OK) status = kd_whisper_session_logits(d->session, d->logits, 0);
        if (status < 0) return status;
    }
    return KD_OK;
}

/* The row of the highest mean log-probability; unfinished ones count when too few are done. */
static const row *best_row(const search *s, int wanted) {
    const row *best = NULL;
    double best_score = 0;
    for (int i = 0; i < s->done_count + s->width; i++) {
        const row *r = i < s->done_count ? &s->done[i] : &s->live[i - s->done_count];
        const double score = r->sum / (r->count > 0 ? r->count : 1);
        if (i >= wanted && best) break;
        if (best && score <= best_score) continue;
        best = r;
        best_score = score;
    }
    return best;
}

int kd_decoder_run(kd_decoder *d, kd_decoded *out, const int32_t *prompt, int count,
                   double temperature) {
    const kd_token_ids *ids = kd_tokenizer_ids(d->tokenizer);
    const int64_t V = d->model->spec.vocabulary;
    search *s = d->rows;
    int start_at;
    const int n = make_prompt(d, prompt, count, &start_at);
    kd_whisper_session_restart(d->session);
    int status = kd_whisper_session_step(d->session, s->prompt, n);
    if (status == KD_OK) status = kd_whisper_session_logits(d->session, d->logits, start_at);
    if (status < 0) return status;
    *out = (kd_decoded){.temperature = temperature};
    out->no_speech = exp((double)d->logits[ids->no_speech] - kd_log_sum_exp(d->logits, V));
    status = kd_whisper_session_logits(d->session, d->logits, n - 1);
    if (status < 0) return status;
    s->width = 1;
    s->done_count = 0;
    s->live[0].count = 0;
    s->live[0].sum = 0;
    s->live[0].ended = false;
    status = go_on(d, temperature);
    if (status < 0) return status;
    const row *best = best_row(s, temperature > 0 ? SAMPLES : d->options.beam);
    out->token = best->token;
    out->count = best->count;
    out->average = best->sum / (best->count + 1);
    return KD_OK;
}
