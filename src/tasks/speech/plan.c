/* --dry-run of a speech config. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/log.h"
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
    float *sound = status == KD_OK ? malloc((size_t)features.samples * sizeof *sound) : NULL;
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
} outlook;

static int look(outlook *o, kd_speech_run *run) {
    double train, held = 0;
    int status = kd_speech_run_check_test(run);
    if (status == KD_OK) status = kd_speech_run_need_teacher(run);
    if (status < 0) return status;
    o->config = run->config;
    o->teacher = o->student = run->teacher->model->spec;
    if (run->config->encoder_layers > 0) o->student.audio_layers = run->config->encoder_layers;
    if (run->config->decoder_layers > 0) o->student.text_layers = run->config->decoder_layers;
    o->teacher_bytes = 0; /* as numbers, which the student starts as */
    for (int i = 0; i < run->teacher->model->params->count; i++)
        o->teacher_bytes +=
            (double)run->teacher->model->params->list[i]->tensor.size * sizeof(kd_real);
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
static double print_stage(const char *name, double seconds, const char *what, double bytes) {
    char eta[32], size[40] = "";
    kd_format_duration(eta, sizeof eta, seconds);
    if (bytes > 0) {
        memcpy(size, ", ", 3);
        kd_format_bytes(size + 2, (int)sizeof size - 2, bytes);
    }
    printf("  %-14s %-14s %s%s\n", name, eta, what, size);
    return seconds;
}

static double print_training(const outlook *o, const char *name, const kd_train_spec *spec) {
    char what[96];
    const double step = (double)spec->accumulate * o->costs.learning, count = updates(o, spec);
    snprintf(what, sizeof what, "%.0f updates of %.2f s", count, step);
    return print_stage(name, step * count, what, 0);
}

/* Prints the stages; *disk gets what they write. */
static double print_stages(const outlook *o, double *disk) {
    const kd_speech_config *c = o->config;
    const double heard = o->windows * o->costs.listening;
    const double cache = c->data.encoder_cache == KD_CACHE_OFF
                             ? 0
                             : o->windows * 2.0 * o->student.audio_context * o->student.width;
    const double store =
        kd_speech_teach_bytes(&c->teacher, &o->teacher, o->seconds * TOKENS_PER_SECOND);
    const double forward = o->costs.learning / (double)c->train.batch / 3 *
                           (double)o->teacher.text_layers / (double)o->student.text_layers;
    char what[96];
    snprintf(what, sizeof what, "%.0f recordings, %.1f hours", o->clips, o->seconds / 3600);
    double seconds = print_stage("label", o->clips * o->costs.listening, what, 0);
    seconds += print_stage("hear", heard, "what the encoder makes of the windows", cache);
    seconds += print_stage("teach", o->windows * forward, "the teacher's targets", store);
    seconds += print_training(o, "train", &c->train);
    *disk = cache + store + 6.0 * sizeof(kd_real) * (double)o->costs.parameters;
    for (int i = 0; i < c->quantize_count; i++) {
        const kd_speech_quantize *how = &c->quantize[i];
        if (!how->qat) continue;
        seconds += print_stage("hear", heard, "the same with rounded weights", cache);
        seconds += print_training(o, how->stage, &how->train);
        *disk += cache + 6.0 * sizeof(kd_real) * (double)o->costs.parameters;
    }
    return seconds;
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
static int check_batch(const outlook *o, int64_t batch, kd_precision precision) {
    enum { SMALL = 1, LARGER = 2, LARGE = 8 };
    kd_whisper_costs small, larger;
    if (batch <= LARGE) return KD_OK;
    int status = kd_bench_whisper_costs(&small, &o->student, SMALL, precision);
    if (status == KD_OK) status = kd_bench_whisper_costs(&larger, &o->student, LARGER, precision);
    if (status < 0) return status;
    const double more = (double)(batch - LARGER) * (larger.bytes - small.bytes) / (LARGER - SMALL);
    return kd_plan_check_memory("train", larger.bytes + more, "a batch's activations", more,
                                "lower train.batch and raise train.accumulate");
}

static int print_plan(kd_speech_run *run, const char *runs) {
    outlook o;
    int status = check_teacher(run);
    if (status == KD_OK) status = look(&o, run);
    if (status < 0) return status;
    kd_whisper_file_free(run->teacher);
    run->teacher = NULL;
    status = check_batch(&o, run->config->train.batch, run->precision);
    if (status == KD_OK)
        status =
            kd_bench_whisper_costs(&o.costs, &o.student, run->config->train.batch, run->precision);
    if (status < 0) return status;
    printf(
        "%s: a student of %d + %d layers from %d + %d: %.1f M parameters, %.1f M of them trained\n"
        "  some %.0f windows of %g s, if every label is good enough; encoder %.2f s a window\n",
        run->config->name, o.student.audio_layers, o.student.text_layers, o.teacher.audio_layers,
        o.teacher.text_layers, (double)o.costs.parameters / 1e6, (double)o.costs.trained / 1e6,
        o.windows, o.teacher.audio_context / 50.0, o.costs.listening);
    double disk;
    const double seconds = print_stages(&o, &disk);
    const double store =
        kd_speech_teach_bytes(&run->config->teacher, &o.teacher, o.seconds * TOKENS_PER_SECOND);
    const double learning = o.costs.bytes + store, teaching = 2 * o.teacher_bytes;
    return kd_plan_conclude(runs,
                            &(kd_plan_needs){.seconds = seconds,
                                             .memory = learning > teaching ? learning : teaching,
                                             .disk = disk});
}

int kd_speech_plan(const void *config, const char *runs) {
    kd_speech_run run;
    int status = kd_speech_run_look(&run, config);
    if (status == KD_OK) status = print_plan(&run, runs);
    kd_speech_run_close(&run);
    return status;
}
