#include "tasks/speech/speech_eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/flow.h"
#include "base/log.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/trainer.h"
#include "tasks/speech/fallback.h"
#include "tasks/speech/features.h"
#include "tasks/speech/greedy.h"
#include "tasks/speech/said.h"
#include "tasks/speech/transcribe.h"

static const double CONFIDENCE = 0.95;
enum { ROUNDS = 2000, SEED = 1 };

/* A measurement under way. */
typedef struct {
    kd_speech_result *out;
    const kd_speech_subject *subject;
    int count;
    const kd_utterances *utterances;
    const kd_label_options *options;
    int leader[KD_SPEECH_SUBJECTS_MAX]; /* the first model with the same encoder; maybe itself */
    kd_greedy *greedy[KD_SPEECH_SUBJECTS_MAX];
    kd_features features;
    kd_tape *tape;
    kd_real *mel;    /* (KD_GREEDY_MOST, frames, mels)     */
    kd_real *memory; /* (KD_GREEDY_MOST, positions, width) */
    kd_progress progress;
    int64_t samples; /* of the utterances that this rank heard */
    int again;       /* the model that hears bad ones again, and those … */
    int64_t *bad, bad_count;
    kd_decoder decoder; /* … by this */
} job;

enum { AHEAD = 2 }; /* batches, or utterances, that a rank may be ahead of another */

void kd_speech_result_clear(kd_speech_result *result) {
    for (int64_t i = 0; i < result->count && result->said; i++) free(result->said[i]);
    for (int64_t i = 0; i < result->count && result->said_again; i++) free(result->said_again[i]);
    free(result->said);
    free(result->said_again);
    free(result->bad);
    free(result->with_fallback);
    free(result->against_reference);
    free(result->against_teacher);
    *result = (kd_speech_result){0};
}

double kd_speech_gap_closed(const kd_speech_result *initial, const kd_speech_result *student,
                            const kd_speech_result *teacher) {
    const double gap = initial->reference.rate - teacher->reference.rate;
    return gap == 0 ? NAN : (initial->reference.rate - student->reference.rate) / gap;
}

/* --- one encoder for several models ------------------------------------------------------------
 */

/* Of tensors of one size; a constant is compared row by row. Without memory for that, no. */
static bool same_values(const kd_tensor *x, const kd_tensor *y) {
    const int64_t rows = kd_rows(x), C = kd_channels(x);
    const size_t bytes = kd_array_bytes(C, sizeof(kd_real));
    if (!x->constant && !y->constant)
        return memcmp(x->value, y->value, (size_t)x->size * sizeof *x->value) == 0;
    kd_real *row = malloc(2 * bytes);
    bool same = row != NULL;
    for (int64_t i = 0; i < rows && same; i++) {
        kd_tensor_read(x, row, i, 1);
        kd_tensor_read(y, row + C, i, 1);
        same = memcmp(row, row + C, bytes) == 0;
    }
    free(row);
    return same;
}

static bool same_encoder(const kd_whisper *a, const kd_whisper *b) {
    if (a->spec.width != b->spec.width || a->spec.audio_layers != b->spec.audio_layers ||
        a->spec.audio_heads != b->spec.audio_heads)
        return false;
    for (int i = 0; i < a->params->count; i++) {
        const kd_param *x = a->params->list[i];
        if (strncmp(x->name, "encoder.", 8) != 0) continue;
        const kd_param *y = kd_params_find(b->params, x->name);
        if (!y || !kd_same_shape(&x->tensor, &y->tensor) || !same_values(&x->tensor, &y->tensor))
            return false;
    }
    return true;
}

static void find_leaders(job *j) {
    for (int i = 0; i < j->count; i++) {
        int k = 0;
        while (k < i && !same_encoder(j->subject[k].file->model, j->subject[i].file->model)) k++;
        j->leader[i] = k;
    }
}

/* --- what is said ------------------------------------------------------------------------------
 */

static int keep_said(char **out, const char *text) {
    *out = strdup(text + strspn(text, " "));
    return *out ? KD_OK : kd_fail_memory(strlen(text) + 1, "a transcript");
}

static int keep_tokens(char **out, const kd_tokenizer *tokenizer, const int32_t *token, int count) {
    char *said;
    int status = kd_tokenizer_decode(&said, NULL, tokenizer, token, count, false);
    if (status < 0) return status;
    status = keep_said(out, said);
    free(said);
    return status;
}

/* What model m says greedily in utterance i, and how bad it is. */
static int keep_greedy(job *j, int m, int64_t i, const kd_greedy_text *text) {
    const kd_tokenizer *tokenizer = j->subject[m].file->tokenizer;
    kd_speech_result *out = &j->out[m];
    double compression;
    int status = keep_tokens(&out->said[i], tokenizer, text->token, text->count);
    if (status == KD_OK)
        status = kd_text_compression(&compression, tokenizer, text->token, text->count);
    if (status < 0) return status;
    out->loops += kd_text_loops(compression);
    out->bad[i] = kd_text_is_bad(text->average, compression);
    return KD_OK;
}

/* Model m decodes the n utterances `which`, whose encoder outputs are in j->memory. */
static int decode(job *j, int m, const int64_t *which, int n) {
    const double began = kd_clock();
    kd_greedy_text text[KD_GREEDY_MOST];
    int status = kd_greedy_listen_encoded(j->greedy[m], j->memory, n, j->features.frames / 2);
    if (status == KD_OK) status = kd_greedy_run(j->greedy[m], text);
    for (int i = 0; i < n && status == KD_OK; i++) status = keep_greedy(j, m, which[i], &text[i]);
    j->out[m].seconds += kd_clock() - began;
    return status;
}

/* Every model hears the n recordings in j->mel; each encoder runs once. */
static int hear_windows(job *j, const int64_t *which, int n) {
    int status = KD_OK;
    for (int leader = 0; leader < j->count && status == KD_OK; leader++) {
        if (j->leader[leader] != leader) continue;
        const kd_whisper *encoder = j->subject[leader].file->model;
        const int64_t size = j->features.frames / 2 * encoder->spec.width;
        const double began = kd_clock();
        for (int i = 0; i < n && status == KD_OK; i++)
            status = kd_whisper_encode(encoder, j->tape, j->memory + i * size,
                                       j->mel + i * j->features.values, 1, j->features.frames);
        const double encoding = kd_clock() - began;
        for (int m = leader; m < j->count && status == KD_OK; m++) {
            if (j->leader[m] != leader) continue;
            j->out[m].seconds += encoding;
            status = decode(j, m, which, n);
        }
    }
    return status;
}

/* A recording longer than a window, by model m. */
static int hear_long(job *j, int m, int64_t i) {
    const kd_decode_options options = {
        .language = j->options->language, .task = j->options->task, .timestamps = true, .beam = 1};
    const kd_whisper_file *file = j->subject[m].file;
    kd_decoder decoder = {0};
    kd_transcript transcript = {0};
    kd_whisper_sound *sound = NULL;
    char *said = NULL;
    bool loops = false;
    int status = kd_whisper_sound_open(&sound, j->utterances->item[i].audio, j->features.mel);
    const double began = kd_clock();
    if (status == KD_OK) status = kd_decoder_init(&decoder, file->model, file->tokenizer, &options);
    if (status == KD_OK) status = kd_transcribe(&transcript, &decoder, sound, NULL, NULL);
    for (int k = 0; k < transcript.count; k++)
        loops = loops || kd_text_loops(transcript.segment[k].compression);
    if (status == KD_OK) status = kd_transcript_words(&said, &transcript, file->tokenizer);
    if (status == KD_OK) status = keep_said(&j->out[m].said[i], said);
    j->out[m].loops += loops;
    j->out[m].seconds += kd_clock() - began;
    if (status == KD_OK && m == 0) j->samples += kd_whisper_sound_samples(sound);
    free(said);
    kd_transcript_clear(&transcript);
    if (decoder.model) kd_decoder_clear(&decoder);
    kd_whisper_sound_close(sound);
    return status;
}

/* Utterances first … first + n − 1: those of one window together, longer ones each by itself. */
static int hear_batch(job *j, int64_t first, int n) {
    const char *path[KD_GREEDY_MOST];
    int64_t samples[KD_GREEDY_MOST], which[KD_GREEDY_MOST];
    char *fault[KD_GREEDY_MOST] = {NULL};
    int windows = 0;
    for (int i = 0; i < n; i++) path[i] = j->utterances->item[first + i].audio;
    int status = kd_features_files(&j->features, j->mel, samples, fault, path, n);
    for (int i = 0; i < n; i++) {
        if (fault[i] && status == KD_OK) status = kd_fail(KD_EDATA, "%s", fault[i]);
        free(fault[i]);
    }
    for (int i = 0; i < n && status == KD_OK; i++) {
        for (int m = 0; m < j->count && samples[i] < 0 && status == KD_OK; m++)
            status = hear_long(j, m, first + i);
        if (samples[i] < 0) continue;
        memmove(j->mel + windows * j->features.values, j->mel + i * j->features.values,
                (size_t)j->features.values * sizeof *j->mel);
        which[windows++] = first + i;
        j->samples += samples[i];
    }
    return status == KD_OK && windows > 0 ? hear_windows(j, which, windows) : status;
}

/* The utterances of a batch, by number. */
static int list_batch(const job *j, int64_t batch, int64_t which[KD_GREEDY_MOST]) {
    const int64_t first = batch * KD_GREEDY_MOST;
    const int n = (int)kd_smaller(KD_GREEDY_MOST, j->utterances->count - first);
    for (int i = 0; i < n; i++) which[i] = first + i;
    return n;
}

static int make_batch(void *context, int64_t batch, kd_flow_bytes *out) {
    job *j = context;
    int64_t which[KD_GREEDY_MOST];
    const int n = list_batch(j, batch, which);
    KD_CONTRACT(n > 0, "an empty batch");
    int status = hear_batch(j, which[0], n);
    return status < 0 ? status : kd_said_pack(out, j->out, 0, j->count - 1, false, which, n);
}

static int keep_batch(void *context, int64_t batch, const void *texts, size_t length) {
    job *j = context;
    int64_t which[KD_GREEDY_MOST];
    const int n = list_batch(j, batch, which);
    (void)length;
    return kd_said_unpack(j->out, 0, j->count - 1, false, which, n, texts);
}

static void show_batches(void *context, int64_t batches) {
    job *j = context;
    kd_progress_show(&j->progress, kd_smaller(batches * KD_GREEDY_MOST, j->utterances->count), "");
}

/* Sums over the ranks; those of whole numbers are exact. */
static void join_counts(job *j) {
    double sum[2 * KD_SPEECH_SUBJECTS_MAX + 1];
    for (int m = 0; m < j->count; m++) {
        sum[2 * m] = (double)j->out[m].loops;
        sum[2 * m + 1] = j->out[m].seconds;
    }
    sum[2 * j->count] = (double)j->samples;
    kd_ranks_join_doubles(sum, 2 * (size_t)j->count + 1);
    for (int m = 0; m < j->count; m++) {
        j->out[m].loops = (int64_t)sum[2 * m];
        j->out[m].seconds = sum[2 * m + 1];
        j->out[m].audio_seconds = sum[2 * j->count] / KD_WHISPER_RATE;
    }
}

static int share_all(job *j) {
    const int64_t total = j->utterances->count;
    const size_t bytes = kd_array_bytes(total, sizeof(int64_t));
    int64_t *which = malloc(bytes);
    int status = kd_ranks_worst(which ? KD_OK : kd_fail_memory(bytes, "transcripts"));
    for (int64_t i = 0; i < total && status == KD_OK; i++) which[i] = i;
    if (status == KD_OK) status = kd_said_share(j->out, 0, j->count - 1, false, which, total);
    free(which);
    return status;
}

static int hear_all(job *j) {
    const int64_t total = j->utterances->count;
    const kd_flow flow = {.count = (total + KD_GREEDY_MOST - 1) / KD_GREEDY_MOST,
                          .ahead = AHEAD,
                          .context = j,
                          .make = make_batch,
                          .keep = keep_batch,
                          .stop = kd_train_stop_asked,
                          .show = show_batches};
    int64_t done;
    kd_progress_begin(&j->progress, "eval", "utterances", 1, 0, total);
    int status = kd_flow_run(&flow, &done);
    kd_progress_end(&j->progress);
    if (status == KD_OK) {
        join_counts(j);
        return share_all(j);
    }
    if (status != KD_EAGAIN) return status;
    kd_train_take_stop();
    return kd_ranks_worst(kd_fail(KD_EAGAIN, "eval: stopped after %lld of %lld utterances",
                                  (long long)kd_smaller(done * KD_GREEDY_MOST, total),
                                  (long long)total));
}

/* --- once more ---------------------------------------------------------------------------------
 */

/* Utterance i with the fallback; what is probably silence says nothing, as in kd_transcribe. */
static int hear_again(job *j, int m, kd_decoder *decoder, int64_t i) {
    char *fault = NULL;
    const char *path = j->utterances->item[i].audio;
    int64_t samples;
    kd_decoded d = {0};
    double compression;
    int status = kd_features_files(&j->features, j->mel, &samples, &fault, &path, 1);
    if (fault) status = kd_fail(KD_EDATA, "%s", fault);
    free(fault);
    kd_decoder_begin(decoder);
    if (status == KD_OK) status = kd_decoder_listen(decoder, j->mel, j->features.frames);
    if (status == KD_OK) status = kd_decode_with_fallback(decoder, &d, &compression, NULL, 0);
    if (status < 0) return status;
    return keep_tokens(&j->out[m].said_again[i], decoder->tokenizer, d.token,
                       kd_decoded_is_silence(&d) ? 0 : d.count);
}

static int make_again(void *context, int64_t k, kd_flow_bytes *out) {
    job *j = context;
    int status = hear_again(j, j->again, &j->decoder, j->bad[k]);
    return status < 0 ? status : kd_said_pack(out, j->out, j->again, j->again, true, &j->bad[k], 1);
}

static int keep_again(void *context, int64_t k, const void *text, size_t length) {
    job *j = context;
    (void)length;
    return kd_said_unpack(j->out, j->again, j->again, true, &j->bad[k], 1, text);
}

static void show_again(void *context, int64_t done) {
    kd_progress_show(&((job *)context)->progress, done, "");
}

static int hear_listed(job *j) {
    const kd_flow flow = {.count = j->bad_count,
                          .ahead = AHEAD,
                          .context = j,
                          .make = make_again,
                          .keep = keep_again,
                          .stop = kd_train_stop_asked,
                          .show = show_again};
    const char *name = j->out[j->again].name;
    int64_t done;
    kd_progress_begin(&j->progress, name, "utterances with the fallback", 1, 0, j->bad_count);
    int status = kd_flow_run(&flow, &done);
    kd_progress_end(&j->progress);
    if (status == KD_OK)
        return kd_said_share(j->out, j->again, j->again, true, j->bad, j->bad_count);
    if (status != KD_EAGAIN) return status;
    kd_train_take_stop();
    return kd_ranks_worst(kd_fail(KD_EAGAIN, "eval: stopped while %s heard once more", name));
}

/* All utterances whose greedy text of model m is bad. */
static int hear_bad(job *j, int m) {
    const kd_decode_options options = {
        .language = j->options->language, .task = j->options->task, .beam = 1};
    kd_speech_result *out = &j->out[m];
    const kd_whisper_file *file = j->subject[m].file;
    const size_t bytes = kd_array_bytes(out->count, sizeof *j->bad);
    out->again = -1;
    if (strcmp(out->kind, "initial") == 0) return KD_OK;
    j->again = m;
    j->bad_count = 0;
    j->bad = malloc(bytes);
    int status = j->bad ? KD_OK : kd_fail_memory(bytes, "transcripts");
    for (int64_t i = 0; i < out->count && status == KD_OK; i++)
        if (out->bad[i]) j->bad[j->bad_count++] = i;
    out->again = j->bad_count;
    if (status == KD_OK && j->bad_count > 0)
        status = kd_decoder_init(&j->decoder, file->model, file->tokenizer, &options);
    status = kd_ranks_worst(status);
    if (status == KD_OK && j->bad_count > 0) status = hear_listed(j);
    if (j->decoder.model) kd_decoder_clear(&j->decoder);
    j->decoder = (kd_decoder){0};
    free(j->bad);
    j->bad = NULL;
    return status;
}

/* --- rates -------------------------------------------------------------------------------------
 */

int kd_speech_rate_of(kd_speech_rate *out, const kd_wer *wer, int64_t count, const bool *mine) {
    kd_wer *chosen = malloc(kd_array_bytes(count + 1, sizeof *chosen));
    int64_t words = 0, n = 0;
    *out = (kd_speech_rate){NAN, NAN, NAN};
    if (!chosen) return kd_fail_memory((size_t)count * sizeof *chosen, "word error rates");
    for (int64_t i = 0; i < count; i++) {
        if (mine && !mine[i]) continue;
        words += wer[i].words;
        chosen[n++] = wer[i];
    }
    int status = KD_OK;
    if (words > 0) {
        out->rate = kd_wer_rate(chosen, n);
        status = kd_wer_interval(&out->low, &out->high, chosen, n, CONFIDENCE, ROUNDS, SEED);
    }
    free(chosen);
    return status;
}

/* Utterance i of model m against both texts, and with the fallback against the reference. */
static int compare(const job *j, int m, int64_t i, const char *teacher_said) {
    const kd_tokenizer *tokenizer = j->subject[0].file->tokenizer; /* one way for all */
    kd_speech_result *out = &j->out[m];
    const char *raw[4] = {out->said[i], j->utterances->item[i].text, teacher_said,
                          out->said_again[i] ? out->said_again[i] : out->said[i]};
    char *text[4] = {NULL, NULL, NULL, NULL};
    int status = KD_OK;
    for (int k = 0; k < 4 && status == KD_OK; k++)
        status = kd_label_normalize(&text[k], raw[k], tokenizer, j->options->language);
    if (status == KD_OK) status = kd_wer_count(&out->against_reference[i], text[1], text[0]);
    if (status == KD_OK) status = kd_wer_count(&out->against_teacher[i], text[2], text[0]);
    if (status == KD_OK) status = kd_wer_count(&out->with_fallback[i], text[1], text[3]);
    for (int k = 0; k < 4; k++) free(text[k]);
    return status;
}

static int measure(const job *j, const kd_speech_result *teacher) {
    int status = KD_OK;
    if (!teacher) teacher = &j->out[0];
    for (int m = 0; m < j->count && status == KD_OK; m++) {
        kd_speech_result *r = &j->out[m];
        for (int64_t i = 0; i < r->count && status == KD_OK; i++)
            status = compare(j, m, i, teacher->said[i]);
        if (status == KD_OK)
            status = kd_speech_rate_of(&r->reference, r->against_reference, r->count, NULL);
        if (status == KD_OK)
            status = kd_speech_rate_of(&r->teacher, r->against_teacher, r->count, NULL);
        if (status == KD_OK)
            status = kd_speech_rate_of(&r->fallback, r->with_fallback, r->count, NULL);
        if (r->again < 0) r->fallback = (kd_speech_rate){NAN, NAN, NAN};
    }
    return status;
}

/* --- all of it ---------------------------------------------------------------------------------
 */

static int64_t parameters_of(const kd_whisper *model) {
    int64_t n = 0;
    for (int i = 0; i < model->params->count; i++) n += model->params->list[i]->tensor.size;
    return n;
}

static int begin_result(kd_speech_result *out, const kd_speech_subject *s, int64_t count,
                        bool letters) {
    const size_t n = (size_t)count;
    *out = (kd_speech_result){.count = count, .bytes = s->bytes};
    snprintf(out->name, sizeof out->name, "%s", s->name);
    snprintf(out->kind, sizeof out->kind, "%s", s->kind);
    snprintf(out->stage, sizeof out->stage, "%s", s->stage);
    out->parameters = parameters_of(s->file->model);
    out->letters = letters;
    out->said = calloc(n, sizeof *out->said);
    out->against_reference = calloc(n, sizeof *out->against_reference);
    out->against_teacher = calloc(n, sizeof *out->against_teacher);
    out->with_fallback = calloc(n, sizeof *out->with_fallback);
    out->said_again = calloc(n, sizeof *out->said_again);
    out->bad = calloc(n, sizeof *out->bad);
    if (out->said && out->against_reference && out->against_teacher && out->with_fallback &&
        out->said_again && out->bad)
        return KD_OK;
    return kd_fail_memory(n * sizeof *out->against_teacher, "transcripts");
}

static int begin(job *j) {
    const kd_whisper_spec *spec = &j->subject[0].file->model->spec;
    int64_t widest = 0;
    int status = kd_features_init(&j->features, spec);
    if (status == KD_OK) status = kd_tape_create(&j->tape, 0);
    for (int m = 0; m < j->count && status == KD_OK; m++) {
        const kd_whisper_file *file = j->subject[m].file;
        KD_CONTRACT(file->model->spec.mels == spec->mels &&
                        file->model->spec.audio_context == spec->audio_context,
                    "%s hears other windows than %s", j->subject[m].name, j->subject[0].name);
        if (file->model->spec.width > widest) widest = file->model->spec.width;
        status = kd_greedy_create(&j->greedy[m], file->model, file->tokenizer, j->options->language,
                                  j->options->task);
    }
    if (status < 0) return status;
    const int64_t values = KD_GREEDY_MOST * spec->audio_context * widest;
    j->mel = malloc(kd_array_bytes(KD_GREEDY_MOST * j->features.values, sizeof *j->mel));
    j->memory = malloc(kd_array_bytes(values, sizeof *j->memory));
    if (!j->mel || !j->memory)
        return kd_fail_memory((size_t)values * sizeof *j->memory, "what the models hear");
    find_leaders(j);
    return KD_OK;
}

static void end(job *j) {
    for (int m = 0; m < j->count; m++) kd_greedy_free(j->greedy[m]);
    kd_features_clear(&j->features);
    kd_tape_free(j->tape);
    free(j->mel);
    free(j->memory);
}

int kd_speech_evaluate(kd_speech_result *out, const kd_speech_subject *subject, int count,
                       const kd_utterances *utterances, const kd_speech_result *teacher,
                       const kd_label_options *options) {
    job j = {.out = out,
             .subject = subject,
             .count = count,
             .utterances = utterances,
             .options = options};
    KD_CONTRACT(count >= 1 && count <= KD_SPEECH_SUBJECTS_MAX && utterances->count >= 1,
                "%d models, %lld utterances", count, (long long)utterances->count);
    KD_CONTRACT(!teacher || teacher->count == utterances->count,
                "the teacher heard other utterances");
    const bool letters = kd_label_counts_letters(subject[0].file->tokenizer, options->language);
    int status = KD_OK;
    for (int m = 0; m < count; m++) {
        const int made = begin_result(&out[m], &subject[m], utterances->count, letters);
        if (status == KD_OK) status = made;
    }
    if (status == KD_OK) status = begin(&j);
    status = kd_ranks_worst(status);
    if (status == KD_OK) status = hear_all(&j);
    for (int m = 0; m < count && status == KD_OK; m++) status = hear_bad(&j, m);
    if (status == KD_OK) status = measure(&j, teacher);
    end(&j);
    return status;
}
