#include "tasks/speech/windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/order.h"
#include "base/rng.h"
#include "base/size.h"
#include "tasks/speech/decode_rules.h"

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
    kd_hash *hash;    /* (windows + 1) of each window                             */
    kd_hash *sound;   /* (parts) of those of the window at hand                   */
    int64_t *time;    /* (labels) which time the list has the same sound          */
} job;

static int64_t samples_of(const kd_label *label) {
    return llround(label->seconds * KD_WHISPER_RATE);
}

/* --- the labels that are kept ------------------------------------------------------------------
 */

typedef struct {
    const char *name; /* a speaker or a sound */
    int64_t label;
} place;

static int by_name(const void *a, const void *b) {
    const place *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : (x->label > y->label) - (x->label < y->label);
}

/* Why no label is kept: what the list lacks, and how far off the labels are. */
static int refuse_all(const job *j) {
    const kd_labels *labels = j->out->labels;
    const char *name = kd_label_rate_name(j->tokenizer, j->options->language);
    int64_t rated = 0;
    double *rate = malloc(kd_array_bytes(labels->count, sizeof *rate));
    if (!rate) return kd_fail_memory((size_t)labels->count * sizeof *rate, "windows");
    for (int64_t i = 0; i < labels->count; i++)
        if (labels->item[i].wer.words > 0) rate[rated++] = kd_wer_rate(&labels->item[i].wer, 1);
    qsort(rate, (size_t)rated, sizeof *rate, kd_order_doubles);
    const double best = rated ? rate[0] : NAN, middle = rated ? rate[rated / 2] : NAN;
    free(rate);
    if (rated == 0)
        return kd_fail(KD_EDATA,
                       "none of %lld recordings can be learnt from: %lld are too long, %lld cannot "
                       "be read, the others have no words in the list",
                       (long long)labels->count, (long long)labels->skipped,
                       (long long)labels->unreadable);
    return kd_fail(
        KD_EDATA,
        "none of %lld recordings has a label with a %s below teacher.wer = %g: of the "
        "%lld with words in the list the best has %.3g, the middle one %.3g; the teacher "
        "does not understand them, the texts are not theirs, or data.language is another",
        (long long)labels->count, name, j->options->wer_below, (long long)rated, best, middle);
}

/* Fills out->part, speaker by speaker. */
static int choose_parts(const job *j) {
    kd_windows *w = j->out;
    const kd_labels *labels = w->labels;
    const size_t bytes = kd_array_bytes(labels->count, sizeof(place));
    place *kept = malloc(bytes);
    w->part = malloc(kd_array_bytes(labels->count, sizeof *w->part));
    if (!kept || !w->part) {
        free(kept);
        return kd_fail_memory(bytes, "windows");
    }
    for (int64_t i = 0; i < labels->count; i++)
        if (kd_label_kept(&labels->item[i], j->options->wer_below))
            kept[w->parts++] = (place){labels->item[i].utterance->speaker, i};
    qsort(kept, (size_t)w->parts, sizeof *kept, by_name);
    for (int64_t i = 0; i < w->parts; i++) w->part[i] = kept[i].label;
    const int status = w->parts > 0 ? KD_OK : refuse_all(j);
    free(kept);
    return status;
}

/* --- joining -----------------------------------------------------------------------------------
 */

static int64_t draw_length(job *j) {
    const int64_t full = j->out->features.samples;
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

/* Names the sounds of a window, by their content, and tells those apart that a list has twice. */
static kd_hash hash_parts(const job *j, const kd_window *window) {
    kd_hash *sound = j->sound;
    for (int64_t p = 0; p < window->count; p++) {
        const int64_t label = j->out->part[window->first + p];
        const struct {
            kd_hash sound;
            char nothing[7];
            int64_t time;
        } named = {.sound = j->out->labels->item[label].sound, .time = j->time[label]};
        sound[p] = kd_hash_bytes(&named, sizeof named);
    }
    return kd_hash_join(sound, (int)window->count);
}

static void end_window(job *j) {
    kd_windows *w = j->out;
    kd_window *new = &j->window;
    if (new->count == 0) return;
    *j->at++ = kd_tokenizer_ids(j->tokenizer)->end;
    new->length = (int)(j->at - new->token);
    new->seconds = (double)j->samples / KD_WHISPER_RATE;
    const kd_hash named[2] = {hash_parts(j, new),
                              kd_hash_bytes(new->token, (size_t) new->length * sizeof *new->token)};
    j->hash[w->count] = kd_hash_join(named, 2);
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

/* Which time a list has each label's sound: 0, 1 … in its own order. */
static int count_times(job *j) {
    const kd_labels *labels = j->out->labels;
    const size_t bytes = kd_array_bytes(labels->count, sizeof(place));
    place *sorted = malloc(bytes);
    j->time = calloc(kd_array_bytes(labels->count, 1), sizeof *j->time);
    if (!sorted || !j->time) {
        free(sorted);
        return kd_fail_memory(bytes, "windows");
    }
    for (int64_t i = 0; i < labels->count; i++) sorted[i] = (place){labels->item[i].sound.hex, i};
    qsort(sorted, (size_t)labels->count, sizeof *sorted, by_name);
    for (int64_t i = 1; i < labels->count; i++)
        if (strcmp(sorted[i].name, sorted[i - 1].name) == 0)
            j->time[sorted[i].label] = j->time[sorted[i - 1].label] + 1;
    free(sorted);
    return KD_OK;
}

/* Room for as many windows as parts, each with a prompt and an end. */
static int allocate(job *j) {
    kd_windows *w = j->out;
    const int64_t parts = w->parts;
    int64_t tokens = parts * (j->prompt_count + 1);
    for (int64_t i = 0; i < w->parts; i++) tokens += w->labels->item[w->part[i]].count;
    w->item = calloc(kd_array_bytes(parts, 1), sizeof *w->item);
    w->tokens = malloc(kd_array_bytes(tokens, sizeof *w->tokens));
    j->hash = malloc(kd_array_bytes(parts + 1, sizeof *j->hash));
    j->sound = malloc(kd_array_bytes(parts, sizeof *j->sound));
    if (w->item && w->tokens && j->hash && j->sound) return count_times(j);
    return kd_fail_memory(kd_array_bytes(tokens, sizeof *w->tokens), "windows");
}

static void hash_windows(job *j) {
    kd_windows *w = j->out;
    const int64_t heard[2] = {w->features.frames, w->features.mels};
    j->hash[w->count] = kd_hash_bytes(heard, sizeof heard);
    w->hash = kd_hash_join(j->hash, (int)w->count + 1);
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
    int status = kd_features_init(&w->features, spec);
    if (status == KD_OK) status = choose_parts(&j);
    if (status == KD_OK) status = allocate(&j);
    if (status == KD_OK) {
        join(&j);
        hash_windows(&j);
    }
    free(j.hash);
    free(j.sound);
    free(j.time);
    if (status < 0)
        kd_windows_free(w);
    else
        *out = w;
    return status;
}

void kd_windows_free(kd_windows *windows) {
    if (!windows) return;
    kd_features_clear(&windows->features);
    free(windows->item);
    free(windows->part);
    free(windows->tokens);
    free(windows);
}

/* --- sound -------------------------------------------------------------------------------------
 */

static int read_part(const kd_label *label, float *samples, int64_t most, int64_t *count) {
    const char *path = label->utterance->audio;
    int status = kd_features_read(samples, most, count, path);
    if (status < 0 || *count == samples_of(label)) return status;
    return kd_fail(KD_EDATA, "%s: not %.2f s long, as it was when it was labelled", path,
                   label->seconds);
}

int kd_windows_mel(const kd_windows *windows, int64_t i, kd_real *out) {
    const kd_features *h = &windows->features;
    const kd_window *window = &windows->item[i];
    int64_t at = 0, count;
    float *samples = malloc(kd_array_bytes(h->samples, sizeof *samples));
    if (!samples) return kd_fail_memory((size_t)h->samples * sizeof *samples, "a window of sound");
    int status = KD_OK;
    for (int64_t p = 0; p < window->count && status == KD_OK; p++) {
        const int64_t label = windows->part[window->first + p];
        status = read_part(&windows->labels->item[label], samples + at, h->samples - at, &count);
        if (status == KD_OK) at += count;
    }
    if (status == KD_OK) status = kd_features_mel(h, out, samples, at);
    free(samples);
    return status;
}
