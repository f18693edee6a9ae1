#include "speech/windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "speech/decode_rules.h"

static const uint64_t LENGTH_STREAM = 0x6c656e677468; /* "length" */

/* Windows being made. */
typedef struct {
    kd_windows *out;
    const kd_tokenizer *tokenizer;
    const kd_window_options *options;
    int32_t prompt[4];
    int prompt_count;
    int64_t used;     /* tokens of the windows that are done                      */
    int64_t samples;  /* of the window at hand                                    */
    int64_t length;   /* samples that it may have                                 */
    kd_rng rng;       /* of lengths                                               */
    int token_most;   /* of a window                                              */
    int32_t *at;      /* where the next token of the window at hand goes          */
    kd_window window; /* at hand; count 0: there is none                          */
} job;

static int64_t samples_of(const kd_label *label) {
    return llround(label->seconds * KD_WHISPER_RATE);
}

/* --- the labels that are kept ------------------------------------------------------------------
 */

typedef struct {
    const char *speaker;
    int64_t label;
} place;

static int by_speaker(const void *a, const void *b) {
    const place *x = a, *y = b;
    const int order = strcmp(x->speaker, y->speaker);
    return order ? order : (x->label > y->label) - (x->label < y->label);
}

/* Fills out->part, speaker by speaker. */
static int choose_parts(kd_windows *w, double wer_below) {
    const kd_labels *labels = w->labels;
    const size_t bytes = (size_t)labels->count * sizeof(place);
    place *kept = malloc(bytes);
    w->part = malloc((size_t)labels->count * sizeof *w->part);
    if (!kept || !w->part) {
        free(kept);
        return kd_fail_memory(bytes, "windows");
    }
    for (int64_t i = 0; i < labels->count; i++)
        if (kd_label_kept(&labels->item[i], wer_below))
            kept[w->parts++] = (place){labels->item[i].utterance->speaker, i};
    qsort(kept, (size_t)w->parts, sizeof *kept, by_speaker);
    for (int64_t i = 0; i < w->parts; i++) w->part[i] = kept[i].label;
    free(kept);
    if (w->parts > 0) return KD_OK;
    return kd_fail(KD_EDATA,
                   "none of %lld utterances has a text and a word error rate below %g; the "
                   "teacher does not understand them, or the texts are not theirs",
                   (long long)labels->count, wer_below);
}

/* --- joining -----------------------------------------------------------------------------------
 */

static int64_t draw_length(job *j) {
    const int64_t full = j->out->hearing.samples;
    switch (j->options->join) {
    case KD_JOIN_FULL:
        return full;
    case KD_JOIN_VARIED:
        return (int64_t)(kd_rng_uniform(&j->rng) * (double)full);
    case KD_JOIN_NONE:
        break;
    }
    return 0;
}

static void begin_window(job *j, int64_t part) {
    j->window = (kd_window){.first = part, .token = j->out->tokens + j->used};
    j->at = j->window.token;
    j->samples = 0;
    j->length = draw_length(j);
    for (int i = 0; i < j->prompt_count; i++) *j->at++ = j->prompt[i];
}

static void add_part(job *j, const kd_label *label) {
    for (int i = 0; i < label->count; i++) *j->at++ = label->token[i];
    j->samples += samples_of(label);
    j->window.count++;
}

static void end_window(job *j) {
    kd_windows *w = j->out;
    kd_window *new = &j->window;
    if (new->count == 0) return;
    *j->at++ = kd_tokenizer_ids(j->tokenizer)->end;
    new->length = (int)(j->at - new->token);
    new->seconds = (double)j->samples / KD_WHISPER_RATE;
    const kd_hash named[2] = {
        kd_hash_bytes(&w->part[new->first], (size_t) new->count * sizeof *w->part),
        kd_hash_bytes(new->token, (size_t) new->length * sizeof *new->token)};
    new->id = kd_checksum64(named, sizeof named);
    w->item[w->count++] = *new;
    w->seconds += new->seconds;
    w->positions += new->length - 1;
    if (new->length > w->longest) w->longest = new->length;
    j->used += new->length;
}

/* Whether label `next` may go on where label `last` ends. */
static bool fits(const job *j, const kd_label *last, const kd_label *next) {
    const char *speaker = next->utterance->speaker;
    return *speaker && strcmp(speaker, last->utterance->speaker) == 0 &&
           j->samples + samples_of(next) <= j->length &&
           j->at - j->window.token + next->count + 1 <= j->token_most;
}

static void join(job *j) {
    const kd_windows *w = j->out;
    const kd_label *last = NULL;
    for (int64_t i = 0; i < w->parts; i++) {
        const kd_label *next = &w->labels->item[w->part[i]];
        if (!last || !fits(j, last, next)) {
            end_window(j);
            begin_window(j, i);
        }
        add_part(j, next);
        last = next;
    }
    end_window(j);
}

/* Room for as many windows as parts, each with a prompt and an end. */
static int allocate(kd_windows *w, int prompt_count) {
    size_t tokens = (size_t)w->parts * (size_t)(prompt_count + 1);
    for (int64_t i = 0; i < w->parts; i++) tokens += (size_t)w->labels->item[w->part[i]].count;
    w->item = calloc((size_t)w->parts, sizeof *w->item);
    w->tokens = malloc(tokens * sizeof *w->tokens);
    return w->item && w->tokens ? KD_OK : kd_fail_memory(tokens * sizeof *w->tokens, "windows");
}

static int hash_windows(kd_windows *w) {
    const size_t count = (size_t)w->count + 2;
    const int64_t heard[2] = {w->hearing.frames, w->hearing.mels};
    kd_hash *hash = malloc(count * sizeof *hash);
    if (!hash) return kd_fail_memory(count * sizeof *hash, "windows");
    hash[0] = w->labels->hash;
    hash[1] = kd_hash_bytes(heard, sizeof heard);
    for (int64_t i = 0; i < w->count; i++)
        hash[i + 2] = kd_hash_bytes(&w->item[i].id, sizeof w->item[i].id);
    w->hash = kd_hash_join(hash, (int)count);
    free(hash);
    return KD_OK;
}

int kd_windows_make(kd_windows **out, const kd_labels *labels, const kd_tokenizer *tokenizer,
                    const kd_whisper_spec *spec, const kd_window_options *options) {
    *out = NULL;
    kd_windows *w = calloc(1, sizeof *w);
    if (!w) return kd_fail_memory(sizeof *w, "windows");
    job j = {.out = w,
             .tokenizer = tokenizer,
             .options = options,
             .rng = kd_rng_init(options->seed, LENGTH_STREAM)};
    j.prompt_count = kd_decode_prompt(j.prompt, tokenizer, options->language, options->task, false);
    j.token_most = spec->text_context + 1;
    w->labels = labels;
    int status = kd_hearing_init(&w->hearing, spec);
    if (status == KD_OK) status = choose_parts(w, options->wer_below);
    if (status == KD_OK) status = allocate(w, j.prompt_count);
    if (status == KD_OK) {
        join(&j);
        status = hash_windows(w);
    }
    if (status < 0)
        kd_windows_free(w);
    else
        *out = w;
    return status;
}

void kd_windows_free(kd_windows *windows) {
    if (!windows) return;
    kd_hearing_clear(&windows->hearing);
    free(windows->item);
    free(windows->part);
    free(windows->tokens);
    free(windows);
}

/* --- sound -------------------------------------------------------------------------------------
 */

static int read_part(const kd_label *label, float *samples, int64_t most, int64_t *count) {
    const char *path = label->utterance->audio;
    int status = kd_hearing_read(samples, most, count, path);
    if (status < 0 || *count == samples_of(label)) return status;
    return kd_fail(KD_EDATA, "%s: not %.2f s long, as it was when it was labelled", path,
                   label->seconds);
}

int kd_windows_mel(const kd_windows *windows, int64_t i, kd_real *out) {
    const kd_hearing *h = &windows->hearing;
    const kd_window *window = &windows->item[i];
    int64_t at = 0, count;
    float *samples = malloc((size_t)h->samples * sizeof *samples);
    if (!samples) return kd_fail_memory((size_t)h->samples * sizeof *samples, "a window of sound");
    int status = KD_OK;
    for (int64_t p = 0; p < window->count && status == KD_OK; p++) {
        const int64_t label = windows->part[window->first + p];
        status = read_part(&windows->labels->item[label], samples + at, h->samples - at, &count);
        if (status == KD_OK) at += count;
    }
    if (status == KD_OK) status = kd_hearing_mel(h, out, samples, at);
    free(samples);
    return status;
}
