/* --dry-run of a speech config. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/log.h"
#include "base/ranks.h"
#include "base/size.h"
#include "distill/plan.h"
#include "tasks/speech/bench_whisper.h"
#include "tasks/speech/speech.h"
#include "tasks/speech/speech_run.h"
#include "tasks/speech/speech_teach.h"

/* Recordings that are opened to learn how long they are, and what share of a window is speech. */
enum { SAMPLED = 16 };
static const double FILLED = 0.85, TOKENS_PER_SECOND = 100.0 / 30;

/* Seconds of all recordings of a list, from some all through it; those that cannot be read are left
 * out, as they will be, unless none can. */
static int estimate_seconds(double *out, const kd_utterances *list, const kd_whisper_spec *spec) {
    kd_features features;
    const int64_t sampled = list->count < SAMPLED ? list->count : SAMPLED;
    double samples = 0;
    int64_t faults = 0;
    int status = kd_features_init(&features, spec);
    float *sound = status == KD_OK ? malloc(kd_array_bytes(features.samples, sizeof *sound)) : NULL;
    if (status == KD_OK && !sound) status = kd_fail_memory((size_t)features.samples * 4, "a sound");
    for (int64_t k = 0; k < sampled && status == KD_OK; k++) {
        int64_t count;
        status = kd_features_read(sound, features.samples, &count,
                                  list->item[k * list->count / sampled].audio);
        if (status == KD_OK) samples += (double)(count < 0 ? features.samples : count);
        if (!kd_features_is_fault(status) || ++faults == sampled) continue;
        kd_warn("%s", kd_error());
        status = KD_OK;
    }
    free(sound);
    kd_features_clear(&features);
    *out = sampled ? samples / KD_WHISPER_RATE * (double)list->count / (double)sampled : 0;
    return status;
}

/* What is known of a run before it begins. */
typedef struct {
    const kd_speech_config *config;
    kd_whisper_spec teacher, student;
    kd_whisper_costs costs; /* of the student */
    double teacher_bytes;
    double clips, seconds, windows; /* of training and validation recordings */
    double gigabits;                /* a second out of a machine, or 0       */
    bool quiet;                     /* nothing is printed                    */
} outlook;

/* Numbers in memory, and what of matrices that stay in their file is mapped. */
static double bytes_of(const kd_params *params) {
    double bytes = 0;
    for (int i = 0; i < params->count; i++) {
        const kd_tensor *t = &params->list[i]->tensor;
        bytes += t->constant ? (double)t->constant->bytes : (double)t->size * sizeof(kd_real);
    }
    return bytes;
}

static int look(outlook *o, kd_speech_run *run) {
    double train, held = 0;
    int status = kd_speech_run_check_test(run);
    if (status == KD_OK) status = kd_speech_run_need_teacher(run);
    if (status < 0) return status;
    o->config = run->config;
    o->teacher = o->student = run->teacher->model->spec;
    if (run->config->encoder_layers > 0) o->student.audio_layers = run->config->encoder_layers;
    if (run->config->decoder_layers > 0) o->student.text_layers = run->config->decoder_layers;
    o->teacher_bytes = bytes_of(run->teacher->model->params);
    o->clips = (double)(run->train.utterances.count + run->validation.utterances.count);
    status = estimate_seconds(&train, &run->train.utterances, &o->teacher);
    if (status == KD_OK) status = estimate_seconds(&held, &run->validation.utterances, &o->teacher);
    o->seconds = train + held;
    o->windows = o->clips;
    const double window = o->teacher.audio_context / 50.0;
    if (run->config->data.concatenate == KD_JOIN_FULL) o->windows = o->seconds / (FILLED * window);
    if (run->config->data.concatenate == KD_JOIN_VARIED) o->windows = o->seconds / (window / 2);
    return status;
}

static double updates(const outlook *o, const kd_train_spec *spec) {
    return (double)spec->epochs * o->windows / (double)(spec->batch * spec->accumulate);
}

/* One line; returns the seconds. */
static double print_stage(const outlook *o, const char *name, double seconds, const char *what,
                          double bytes) {
    char eta[32], size[40] = "";
    if (o->quiet) return seconds;
    kd_format_duration(eta, sizeof eta, seconds);
    if (bytes > 0) {
        memcpy(size, ", ", 3);
        kd_format_bytes(size + 2, (int)sizeof size - 2, bytes);
    }
    printf("  %-14s %-14s %s%s\n", name, eta, what, size);
    return seconds;
}

static kd_update_costs update_costs(const outlook *o, const kd_train_spec *spec) {
    return (kd_update_costs){.micro_batches = spec->accumulate,
                             .micro_seconds = o->costs.learning - o->costs.updating,
                             .update_seconds = o->costs.updating,
                             .bytes = (double)o->costs.trained * sizeof(kd_real),
                             .updates = updates(o, spec)};
}

static double print_training(const outlook *o, const char *name, const kd_train_spec *spec) {
    char what[96];
    const kd_update_costs costs = update_costs(o, spec);
    const kd_update_forecast f = kd_scaling_forecast(&costs, kd_rank_count(), o->gigabits);
    const double step = f.compute + f.network, count = costs.updates;
    snprintf(what, sizeof what, "%.0f updates of %.2f s", count, step);
    return print_stage(o, name, step * count, what, 0);
}

/* Prints the stages; what is made once for a teacher and its recordings goes to *shared, what the
 * student takes to *own. */
static void print_stages(const outlook *o, kd_plan_needs *own, kd_plan_needs *shared) {
    const kd_speech_config *c = o->config;
    const double ranks = kd_rank_count(), heard = o->windows * o->costs.listening / ranks;
    const double cache = c->data.encoder_cache == KD_CACHE_OFF
                             ? 0
                             : o->windows * 2.0 * o->student.audio_context * o->student.width;
    const double store =
        kd_speech_teach_bytes(&c->teacher, &o->teacher, o->seconds * TOKENS_PER_SECOND);
    const double forward = o->costs.learning / (double)c->train.batch / 3 *
                           (double)o->teacher.text_layers / (double)o->student.text_layers;
    const double checkpoints = 6.0 * sizeof(kd_real) * (double)o->costs.parameters;
    char what[96];
    snprintf(what, sizeof what, "%.0f recordings, %.1f hours", o->clips, o->seconds / 3600);
    shared->seconds = print_stage(o, "label", o->clips * o->costs.listening / ranks, what, 0);
    shared->seconds +=
        print_stage(o, "hear", heard, "what the encoder makes of the windows", cache);
    shared->seconds +=
        print_stage(o, "teach", o->windows * forward / ranks, "the teacher's targets", store);
    shared->disk = cache + store;
    shared->memory =
        o->teacher_bytes + sizeof(kd_real) * (double)(o->costs.parameters + o->costs.trained);
    own->seconds = print_training(o, "train", &c->train);
    own->update = update_costs(o, &c->train);
    own->disk = checkpoints;
    /* Of the store only the output matrix stays in memory. */
    own->memory = o->costs.bytes + kd_speech_teach_bytes(&c->teacher, &o->teacher, 0);
    for (int i = 0; i < c->quantize_count; i++) {
        const kd_speech_quantize *how = &c->quantize[i];
        if (!how->qat) continue;
        own->seconds += print_stage(o, "hear", heard, "the same with rounded weights", cache);
        own->seconds += print_training(o, how->stage, &how->train);
        own->disk += cache + checkpoints;
    }
}

/* The weights are in the file with 2 bytes each or fewer, and in memory with 4. */
static int check_teacher(const kd_speech_run *run) {
    struct stat info;
    const char *path = run->config->teacher.weights;
    if (stat(path, &info) != 0 || S_ISDIR(info.st_mode)) return KD_OK;
    return kd_plan_check_memory(path, (double)info.st_size, "the teacher", (double)info.st_size,
                                "choose a smaller one");
}

/* What an update of a large batch takes, from small ones: memory grows with the batch. */
static int check_batch(const outlook *o, const kd_train_spec *train, kd_precision precision) {
    enum { SMALL = 1, LARGER = 2, LARGE = 8 };
    kd_whisper_costs small, larger;
    if (train->batch <= LARGE) return KD_OK;
    int status = kd_bench_whisper_costs(&small, &o->student, SMALL, precision, train->recompute);
    if (status == KD_OK)
        status = kd_bench_whisper_costs(&larger, &o->student, LARGER, precision, train->recompute);
    if (status < 0) return status;
    const double more =
        (double)(train->batch - LARGER) * (larger.bytes - small.bytes) / (LARGER - SMALL);
    return kd_plan_check_memory(
        "train", larger.bytes + more, "a batch's activations", more,
        "lower train.batch and raise train.accumulate, or set train.recompute");
}

static int measure(outlook *o, kd_speech_run *run) {
    int status = check_teacher(run);
    if (status == KD_OK) status = look(o, run);
    if (status < 0) return status;
    kd_whisper_file_free(run->teacher);
    run->teacher = NULL;
    const kd_train_spec *train = &run->config->train;
    status = check_batch(o, train, run->precision);
    if (status < 0) return status;
    return kd_bench_whisper_costs(&o->costs, &o->student, train->batch, run->precision,
                                  train->recompute);
}

/* Nothing is printed without a `request`. */
static int plan(const kd_speech_config *config, const kd_plan_request *request, kd_plan_needs *own,
                kd_plan_needs *shared) {
    kd_speech_run run;
    const bool quiet = !request;
    outlook o = {.quiet = quiet, .gigabits = request ? request->gigabits : 0};
    *own = *shared = (kd_plan_needs){0};
    int status = kd_speech_run_look(&run, config);
    if (status == KD_OK) status = measure(&o, &run);
    if (status == KD_OK && !quiet)
        printf("%s: a student of %d + %d layers from %d + %d: %.1f M parameters, %.1f M of them "
               "trained\n"
               "  some %.0f windows of %g s, if every label is good enough; encoder %.2f s a "
               "window\n",
               config->name, o.student.audio_layers, o.student.text_layers, o.teacher.audio_layers,
               o.teacher.text_layers, (double)o.costs.parameters / 1e6,
               (double)o.costs.trained / 1e6, o.windows, o.teacher.audio_context / 50.0,
               o.costs.listening);
    if (status == KD_OK) print_stages(&o, own, shared);
    kd_speech_run_close(&run);
    return status;
}

int kd_speech_plan(const void *config, const kd_plan_request *request) {
    kd_plan_needs own, shared;
    int status = plan(config, request, &own, &shared);
    if (status < 0) return status;
    own.seconds += shared.seconds;
    own.disk += shared.disk;
    if (shared.memory > own.memory) own.memory = shared.memory;
    return kd_plan_conclude(request, &own);
}

int kd_speech_needs(kd_plan_needs *own, kd_plan_needs *shared, const void *config) {
    return plan(config, NULL, own, shared);
}
