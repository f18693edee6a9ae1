/* What rounded weights cost, on models that were trained: KL(float ‖ rounded) of what they answer.
 *
 *   measure CONFIG WEIGHTS CALIBRATION MEASURED ROUNDING:FORMAT …     a classifier of a config
 *   measure LIST.tsv MODEL CALIBRATION MEASURED ROUNDING:FORMAT …     Whisper on recorded speech
 *
 * ROUNDING:FORMAT:NAME rounds only parameters whose names begin with NAME.
 *
 * CALIBRATION and MEASURED count samples: batches of 50 pictures (training and validation split),
 * or windows of 30 s. Of Whisper the decoder reads the text of the list. A line for each rounding:
 * mean, median, 90th, 99th and 99.9th percentile and largest divergence in nats, how often the most
 * likely answer is the same, and how much of the mean the nearest numbers of the same format lose
 * is won back. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/order.h"
#include "base/text.h"
#include "quant/quantizer.h"
#include "tasks/classify/learner.h"
#include "tasks/speech/windows.h"

enum { BATCH = 50, MOST_ROWS = 1 << 16 };

typedef struct {
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

/* Only parameters of this name's beginning are rounded; the model's own rule for the rest. */
static const char *part = "";
static kd_format_rule *whole;

static const kd_number_format *format_of_part(const kd_param *param,
                                              const kd_number_format *matrices) {
    const bool inside = strncmp(param->name, part, strlen(part)) == 0;
    return inside ? whole(param, matrices) : &kd_format_f32;
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
    s->V = s->held->classes;
}

static kd_tensor *classify(subject *s, int64_t i, bool calibrating) {
    const kd_dataset *d = calibrating ? s->train : s->held;
    const int64_t size = d->h * d->w * d->c;
    float *x = take((size_t)(BATCH * size) * sizeof *x);
    for (int64_t k = 0; k < BATCH; k++) kd_dataset_sample(d, i * BATCH + k, x + k * size);
    kd_tensor *logits =
        kd_net_forward(s->net, s->tape, kd_learner_input(s->learner, s->tape, BATCH, x), NULL);
    free(x);
    return logits;
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
    s->V = s->file->model->spec.vocabulary;
}

static kd_tensor *hear(subject *s, int64_t i, bool calibrating) {
    const kd_windows *w = s->windows;
    const kd_window *window = &w->item[calibrating ? i : s->calibration + i];
    kd_tensor *mel =
        kd_tape_input(s->tape, 3, (int64_t[]){1, w->features.frames, w->features.mels});
    must(kd_windows_mel(w, calibrating ? i : s->calibration + i, mel->value));
    kd_tensor *memory = kd_whisper_encoder(s->file->model, s->tape, mel);
    kd_tensor *h =
        kd_whisper_decoder(s->file->model, s->tape, window->token, 1, window->length - 1, memory);
    h = kd_slice(s->tape, h, 1, window->first_target, window->length - 1, 1);
    return kd_whisper_logits(s->file->model, s->tape, h);
}

/* --- both ------------------------------------------------------------------------------------ */

static kd_tensor *answer(subject *s, int64_t i, bool calibrating) {
    kd_tape_reset(s->tape);
    return s->file ? hear(s, i, calibrating) : classify(s, i, calibrating);
}

/* log-probabilities of every row, float. */
static void add_rows(const subject *s, float *out, int64_t *rows, const kd_tensor *z) {
    for (int64_t row = 0; row < z->size / s->V; row++) {
        const kd_real *x = z->value + row * s->V;
        double most = (double)x[0], sum = 0;
        for (int64_t v = 1; v < s->V; v++) most = (double)x[v] > most ? (double)x[v] : most;
        for (int64_t v = 0; v < s->V; v++) sum += exp((double)x[v] - most);
        if (*rows == MOST_ROWS) must(kd_fail(KD_EUSAGE, "too many samples"));
        for (int64_t v = 0; v < s->V; v++)
            out[*rows * s->V + v] = (float)((double)x[v] - most - log(sum));
        (*rows)++;
    }
}

static int64_t measure(subject *s, float *out) {
    int64_t rows = 0;
    for (int64_t i = 0; i < s->measured; i++) add_rows(s, out, &rows, answer(s, i, false));
    return rows;
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

static double compare(const subject *s, const float *p, const float *q, int64_t rows,
                      const char *name, double nearest) {
    double *kl = take((size_t)rows * sizeof *kl), mean = 0, same = 0;
    for (int64_t row = 0; row < rows; row++) {
        const float *a = p + row * s->V, *b = q + row * s->V;
        int64_t top_a = 0, top_b = 0;
        for (int64_t v = 0; v < s->V; v++) {
            kl[row] += exp((double)a[v]) * ((double)a[v] - (double)b[v]);
            if (a[v] > a[top_a]) top_a = v;
            if (b[v] > b[top_b]) top_b = v;
        }
        mean += kl[row] / (double)rows;
        same += (double)(top_a == top_b) / (double)rows;
    }
    qsort(kl, (size_t)rows, sizeof *kl, kd_order_doubles);
    printf("%-22s %8.5f %8.5f %8.5f %8.5f %8.5f %8.4f %7.2f %%", name, mean, kl[rows / 2],
           kl[rows * 9 / 10], kl[rows * 99 / 100], kl[rows * 999 / 1000], kl[rows - 1], 100 * same);
    if (nearest > 0) printf(" %6.1f %%", 100 * (1 - mean / nearest));
    printf("\n");
    fflush(stdout);
    free(kl);
    return mean;
}

/* The word "rounding:format". */
static double measure_rounding(subject *s, const float *p, float *q, const char *word,
                               double nearest) {
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
    const kd_quantizable model = {.params = s->params,
                                  .rule = format_of_part,
                                  .scalings = s->file ? kd_whisper_scalings : kd_net_scalings,
                                  .layers = s->file ? (void *)s->file->model : (void *)s->net};
    kd_quantized *quantized;
    if (!spec.how || !spec.format) must(kd_fail(KD_EUSAGE, "%s: expected rounding:format", word));
    must(kd_quantized_create(&quantized, &model, &spec));
    must(kd_quantized_start(quantized));
    if (spec.how->sees != KD_SEES_NOTHING) calibrate(s, quantized);
    must(kd_quantized_round(quantized));
    const int64_t rows = measure(s, q);
    const double mean = compare(s, p, q, rows, word, nearest);
    kd_quantized_free(quantized);
    return mean;
}

int main(int argc, char **argv) {
    subject s = {0};
    if (argc < 6) {
        fprintf(stderr, "usage: measure LIST.tsv|CONFIG MODEL CALIBRATION MEASURED "
                        "ROUNDING:FORMAT …\n");
        return 64;
    }
    s.calibration = atoll(argv[3]);
    s.measured = atoll(argv[4]);
    must(kd_tape_create(&s.tape, 1));
    s.tape->recording = s.tape->training = false;
    if (kd_ends_with(argv[1], ".tsv"))
        open_whisper(&s, argv[1], argv[2]);
    else
        open_classifier(&s, argv[1], argv[2]);
    const size_t bytes = (size_t)MOST_ROWS * (size_t)s.V * sizeof(float);
    float *p = malloc(bytes), *q = malloc(bytes);
    if (!p || !q) must(kd_fail_memory(bytes, "answers"));
    const int64_t rows = measure(&s, p);
    printf("%lld answers\n%-22s %8s %8s %8s %8s %8s %8s %9s %8s\n", (long long)rows, "rounding",
           "mean KL", "median", "90 %", "99 %", "99.9 %", "most", "same", "won back");
    char format[64] = "";
    double nearest = 0;
    for (int i = 5; i < argc; i++) {
        const char *own = strchr(argv[i], ':');
        if (own && strcmp(own, format) != 0) {
            snprintf(format, sizeof format, "%s", own);
            nearest = 0;
        }
        const double mean = measure_rounding(&s, p, q, argv[i], nearest);
        if (strncmp(argv[i], "nearest:", 8) == 0) nearest = mean;
    }
    return 0;
}
