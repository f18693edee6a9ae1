/* What rounded weights cost, on models that were trained: KL(float ‖ rounded) of what they answer.
 *
 *   measure CONFIG WEIGHTS CALIBRATION MEASURED ROUNDING:FORMAT …      a classifier of a config
 *   measure LIST.tsv MODEL CALIBRATION MEASURED ROUNDING:FORMAT …      Whisper on recorded speech
 *   measure TEXT:OTHER MODEL CALIBRATION MEASURED ROUNDING:FORMAT …    a language model
 *
 * ROUNDING:FORMAT:NAME rounds only parameters with NAME in their names, ROUNDING:FORMAT:-NAME all
 * but those.
 *
 * CALIBRATION and MEASURED count samples: batches of 50 pictures (training and validation split),
 * windows of 30 s, of which Whisper's decoder reads the text of the list, or contexts of 512
 * tokens, as far apart as the texts (files or folders) allow, of TEXT and of OTHER. A line for each
 * rounding: mean, median, 90th, 99th and 99.9th percentile and largest divergence in nats, how
 * often the most likely answer is the same, e to the mean of −log p of the right answers, and how
 * much of the mean the nearest numbers of the same format lose is won back. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/order.h"
#include "base/text.h"
#include "files/llama_file.h"
#include "quant/quantizer.h"
#include "tasks/classify/learner.h"
#include "tasks/language/contexts.h"
#include "tasks/speech/windows.h"

enum { BATCH = 50, CONTEXT = 512 };

/* What a sample's rows of logits are to be: label[i], where valid is NULL or says so. */
typedef struct {
    const kd_tensor *logits;
    const int32_t *label;
    const uint8_t *valid;
} answers;

typedef struct subject {
    kd_params *params;
    kd_net *net;
    kd_format_rule *rule;
    kd_tape *tape;
    /* a classifier */
    kd_config *config;
    kd_dataset *train, *held;
    kd_learner *learner;
    /* Whisper */
    kd_whisper_file *file;
    kd_utterances utterances;
    kd_labels labels;
    kd_windows *windows;
    /* a language model */
    kd_llama_file *llama;
    kd_contexts *text, *other;
    int32_t *token, *first; /* (CONTEXT) */

    int32_t *label; /* of the sample at hand, and which of them count */
    uint8_t *valid;
    kd_scalings_of *scalings;
    const void *layers;
    answers (*answer)(struct subject *s, int64_t i, bool calibrating);
    int64_t calibration, measured;
    int64_t V;
} subject;

static void must(int status) {
    if (status >= 0) return;
    fprintf(stderr, "%s\n", kd_error());
    exit(-status);
}

static void *take(size_t bytes) {
    void *memory = calloc(1, bytes);
    if (!memory) must(kd_fail_memory(bytes, "measuring"));
    return memory;
}

/* Only parameters with this in their names are rounded, or (-) all but those. */
static const char *part = "";
static kd_format_rule *whole;

static const kd_number_format *format_of_part(const kd_param *param,
                                              const kd_number_format *matrices) {
    const bool but = part[0] == '-', named = strstr(param->name, part + but) != NULL;
    return named != but ? whole(param, matrices) : &kd_format_f32;
}

/* --- a classifier ---------------------------------------------------------------------------- */

static const kd_number_format *matrices_of(const kd_param *param,
                                           const kd_number_format *matrices) {
    return param->tensor.rank > 1 ? matrices : &kd_format_f32;
}

static void open_classifier(subject *s, const char *config, const char *weights) {
    must(kd_config_load(&s->config, config, 0, NULL));
    must(kd_dataset_open(&s->train, &s->config->data, KD_SPLIT_TRAIN));
    must(kd_dataset_open(&s->held, &s->config->data, KD_SPLIT_VALIDATION));
    const kd_learner_spec spec = {.model = &s->config->model,
                                  .input = {s->held->h, s->held->w, s->held->c},
                                  .classes = s->held->classes,
                                  .seed = 1};
    must(kd_learner_create(&s->learner, &spec));
    must(kd_learner_load(s->learner, weights, s->held));
    s->params = s->learner->params;
    s->net = s->learner->net;
    s->rule = matrices_of;
    s->scalings = kd_net_scalings;
    s->layers = s->net;
    s->V = s->held->classes;
}

static answers classify(subject *s, int64_t i, bool calibrating) {
    const kd_dataset *d = calibrating ? s->train : s->held;
    const int64_t size = d->h * d->w * d->c;
    float *x = take((size_t)(BATCH * size) * sizeof *x);
    for (int64_t k = 0; k < BATCH; k++) kd_dataset_sample(d, i * BATCH + k, x + k * size);
    kd_tensor *input = kd_learner_input(s->learner, s->tape, BATCH, x);
    free(x);
    return (answers){kd_net_forward(s->net, s->tape, input, NULL), d->label + i * BATCH, NULL};
}

/* --- Whisper --------------------------------------------------------------------------------- */

/* The list's own text in small letters is what the decoder is to say. */
static void label_list(subject *s, int64_t count) {
    kd_features features;
    must(kd_features_init(&features, &s->file->model->spec));
    float *samples = take((size_t)features.samples * sizeof *samples);
    if (count > s->utterances.count) count = s->utterances.count;
    s->labels.item = take((size_t)count * sizeof *s->labels.item);
    s->labels.count = count;
    for (int64_t i = 0; i < count; i++) {
        kd_label *label = &s->labels.item[i];
        const kd_utterance *u = &s->utterances.item[i];
        char text[1024];
        int64_t read, tokens;
        must(kd_features_read(samples, features.samples, &read, u->audio));
        snprintf(text, sizeof text, " %s.", u->text);
        for (char *c = text + 2; *c; c++) *c = (char)tolower((unsigned char)*c);
        must(kd_tokenizer_encode(&label->token, &tokens, s->file->tokenizer, text, strlen(text)));
        label->utterance = u;
        label->seconds = (double)read / KD_WHISPER_RATE;
        label->count = (int)tokens;
        label->wer.words = 1;
        label->sound = kd_hash_bytes(u->audio, strlen(u->audio));
    }
    free(samples);
    kd_features_clear(&features);
}

static void open_whisper(subject *s, const char *list, const char *model) {
    const kd_window_options options = {
        .join = KD_JOIN_FULL, .wer_below = 1, .language = -1, .task = -1};
    must(kd_whisper_file_open(&s->file, model, KD_WHISPER_TRAIN_NOTHING));
    must(kd_utterances_read(&s->utterances, list));
    label_list(s, 12 * (s->calibration + s->measured));
    must(kd_windows_make(&s->windows, &s->labels, s->file->tokenizer, &s->file->model->spec,
                         &options));
    if (s->windows->count < s->calibration + s->measured)
        must(kd_fail(KD_EDATA, "%s: too few recordings: %lld windows", list,
                     (long long)s->windows->count));
    s->params = s->file->model->params;
    s->rule = kd_whisper_format_of;
    s->scalings = kd_whisper_scalings;
    s->layers = s->file->model;
    s->V = s->file->model->spec.vocabulary;
}

static answers hear(subject *s, int64_t i, bool calibrating) {
    const kd_windows *w = s->windows;
    const kd_window *window = &w->item[calibrating ? i : s->calibration + i];
    kd_tensor *mel =
        kd_tape_input(s->tape, 3, (int64_t[]){1, w->features.frames, w->features.mels});
    must(kd_windows_mel(w, calibrating ? i : s->calibration + i, mel->value));
    kd_tensor *memory = kd_whisper_encoder(s->file->model, s->tape, mel);
    kd_tensor *h =
        kd_whisper_decoder(s->file->model, s->tape, window->token, 1, window->length - 1, memory);
    h = kd_slice(s->tape, h, 1, window->first_target, window->length - 1, 1);
    return (answers){kd_whisper_logits(s->file->model, s->tape, h),
                     window->token + window->first_target + 1, NULL};
}

/* --- a language model ------------------------------------------------------------------------ */

static void open_contexts(kd_contexts **out, const subject *s, const char *text, size_t length) {
    static kd_text_paths paths;
    paths.count = 1;
    snprintf(paths.path[0], sizeof paths.path[0], "%.*s", (int)length, text);
    must(kd_contexts_open(out, &paths, "text", s->llama->tokenizer, CONTEXT, NULL));
}

static void open_llama(subject *s, const char *texts, const char *model) {
    const char *other = strchr(texts, ':');
    must(kd_llama_file_open(&s->llama, model, KD_LLAMA_FROZEN));
    must(kd_llama_file_need_tokenizer(s->llama, model));
    open_contexts(&s->text, s, texts, (size_t)(other - texts));
    open_contexts(&s->other, s, other + 1, strlen(other + 1));
    s->token = take(CONTEXT * sizeof *s->token);
    s->first = take(CONTEXT * sizeof *s->first);
    s->label = take(CONTEXT * sizeof *s->label);
    s->valid = take(CONTEXT);
    s->params = s->llama->model->params;
    s->rule = kd_llama_format_of;
    s->scalings = kd_llama_scalings;
    s->layers = s->llama->model;
    s->V = s->llama->model->spec.vocabulary;
}

static answers foretell(subject *s, int64_t i, bool calibrating) {
    kd_contexts *texts = calibrating ? s->text : s->other;
    const int64_t count = calibrating ? s->calibration : s->measured;
    kd_contexts_read(texts, i * kd_contexts_count(texts) / count, s->token, s->first, s->label,
                     s->valid);
    kd_tensor *h = kd_llama_hidden(s->llama->model, s->tape, s->token, 1, CONTEXT, s->first);
    return (answers){kd_llama_logits(s->llama->model, s->tape, h), s->label, s->valid};
}

/* --- all of them ----------------------------------------------------------------------------- */

static answers answer(subject *s, int64_t i, bool calibrating) {
    kd_tape_reset(s->tape);
    return s->answer(s, i, calibrating);
}

/* log-probabilities of every row that counts. */
typedef struct {
    float *value; /* (rows,V) */
    int64_t rows;
    double nats; /* Σ −log p of the right ones */
} reference;

static void log_softmax(float *out, const kd_real *x, int64_t V) {
    double most = (double)x[0], sum = 0;
    for (int64_t v = 1; v < V; v++) most = (double)x[v] > most ? (double)x[v] : most;
    for (int64_t v = 0; v < V; v++) sum += exp((double)x[v] - most);
    for (int64_t v = 0; v < V; v++) out[v] = (float)((double)x[v] - most - log(sum));
}

static void add_rows(reference *p, answers a, int64_t V) {
    const int64_t count = a.logits->size / V;
    p->value = realloc(p->value, (size_t)((p->rows + count) * V) * sizeof *p->value);
    if (!p->value) must(kd_fail_memory((size_t)((p->rows + count) * V), "answers"));
    for (int64_t row = 0; row < count; row++) {
        if (a.valid && !a.valid[row]) continue;
        float *out = p->value + p->rows++ * V;
        log_softmax(out, a.logits->value + row * V, V);
        p->nats -= (double)out[a.label[row]];
    }
}

static void calibrate(subject *s, kd_quantized *q) {
    int status;
    do {
        kd_quantized_watch(q, s->tape);
        for (int64_t i = 0; i < s->calibration; i++) answer(s, i, true);
        kd_quantized_unwatch(s->tape);
        status = kd_quantized_calibrated(q);
        must(status);
    } while (status == KD_CALIBRATE_AGAIN);
}

/* What the rounded model answers beside the float one. */
typedef struct {
    double *kl; /* (rows) */
    int64_t rows;
    double mean, same, nats;
} comparison;

static void compare_row(comparison *c, const float *a, const float *b, int64_t V) {
    int64_t top_a = 0, top_b = 0;
    double kl = 0;
    for (int64_t v = 0; v < V; v++) {
        kl += exp((double)a[v]) * ((double)a[v] - (double)b[v]);
        if (a[v] > a[top_a]) top_a = v;
        if (b[v] > b[top_b]) top_b = v;
    }
    c->kl[c->rows++] = kl;
    c->mean += kl;
    c->same += top_a == top_b;
}

static void compare(comparison *c, subject *s, const reference *p) {
    float *own = take((size_t)s->V * sizeof *own);
    *c = (comparison){.kl = take((size_t)p->rows * sizeof *c->kl)};
    for (int64_t i = 0; i < s->measured; i++) {
        const answers a = answer(s, i, false);
        for (int64_t row = 0; row < a.logits->size / s->V; row++) {
            if (a.valid && !a.valid[row]) continue;
            log_softmax(own, a.logits->value + row * s->V, s->V);
            c->nats -= (double)own[a.label[row]];
            compare_row(c, p->value + c->rows * s->V, own, s->V);
        }
    }
    c->mean /= (double)c->rows;
    free(own);
}

/* → the mean */
static double print(comparison *c, const char *name, double nearest) {
    const int64_t rows = c->rows;
    double *kl = c->kl;
    qsort(kl, (size_t)rows, sizeof *kl, kd_order_doubles);
    printf("%-24s %8.5f %8.5f %8.5f %8.5f %8.5f %8.4f %7.2f %% %9.4f", name, c->mean, kl[rows / 2],
           kl[rows * 9 / 10], kl[rows * 99 / 100], kl[rows * 999 / 1000], kl[rows - 1],
           100 * c->same / (double)rows, exp(c->nats / (double)rows));
    if (nearest > 0) printf(" %6.1f %%", 100 * (1 - c->mean / nearest));
    printf("\n");
    fflush(stdout);
    free(kl);
    return c->mean;
}

/* The word "rounding:format". */
static double measure_rounding(subject *s, const reference *p, const char *word, double nearest) {
    char name[64];
    snprintf(name, sizeof name, "%s", word);
    char *format = strchr(name, ':'), *only = format ? strchr(format + 1, ':') : NULL;
    if (format) *format++ = 0;
    if (only) *only++ = 0;
    part = only ? only : "";
    whole = s->rule;
    const kd_quantize_spec spec = {.how = kd_quantizer_named(name),
                                   .format = format ? kd_number_format_named(format) : NULL,
                                   .gptq = {.damping = 0.01, .activation_order = true}};
    const kd_quantizable model = {
        .params = s->params, .rule = format_of_part, .scalings = s->scalings, .layers = s->layers};
    kd_quantized *quantized;
    comparison found;
    if (!spec.how || !spec.format) must(kd_fail(KD_EUSAGE, "%s: expected rounding:format", word));
    must(kd_quantized_create(&quantized, &model, &spec));
    must(kd_quantized_start(quantized));
    if (spec.how->sees != KD_SEES_NOTHING) calibrate(s, quantized);
    must(kd_quantized_round(quantized));
    compare(&found, s, p);
    kd_quantized_free(quantized);
    return print(&found, word, nearest);
}

int main(int argc, char **argv) {
    subject s = {0};
    if (argc < 6) {
        fprintf(stderr, "usage: measure LIST.tsv|CONFIG|TEXT:OTHER MODEL CALIBRATION MEASURED "
                        "ROUNDING:FORMAT …\n");
        return 64;
    }
    s.calibration = atoll(argv[3]);
    s.measured = atoll(argv[4]);
    must(kd_tape_create(&s.tape, 1));
    s.tape->recording = s.tape->training = false;
    if (kd_ends_with(argv[1], ".tsv")) {
        open_whisper(&s, argv[1], argv[2]);
        s.answer = hear;
    } else if (strchr(argv[1], ':')) {
        open_llama(&s, argv[1], argv[2]);
        s.answer = foretell;
    } else {
        open_classifier(&s, argv[1], argv[2]);
        s.answer = classify;
    }
    reference p = {0};
    for (int64_t i = 0; i < s.measured; i++) add_rows(&p, answer(&s, i, false), s.V);
    printf("%lld answers, perplexity %.4f\n%-24s %8s %8s %8s %8s %8s %8s %9s %9s %8s\n",
           (long long)p.rows, exp(p.nats / (double)p.rows), "rounding", "mean KL", "median", "90 %",
           "99 %", "99.9 %", "most", "same", "perplex.", "won back");
    char format[64] = "";
    double nearest = 0;
    for (int i = 5; i < argc; i++) {
        const char *own = strchr(argv[i], ':');
        if (own && strcmp(own, format) != 0) {
            snprintf(format, sizeof format, "%s", own);
            nearest = 0;
        }
        const double mean = measure_rounding(&s, &p, argv[i], nearest);
        if (strncmp(argv[i], "nearest:", 8) == 0) nearest = mean;
    }
    return 0;
}
