/* --dry-run of a language config. */
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/plan.h"
#include "tasks/language/language.h"
#include "tasks/language/language_run.h"
#include "tasks/language/language_task.h"
#include "tasks/language/language_teach.h"
#include "tasks/language/student.h"

/* Measured on this machine. */
typedef struct {
    double update; /* seconds of one, with the teacher where it runs beside */
    double bytes;  /* of its tape                                           */
    double parameters;
    bool quiet; /* nothing is printed */
} costs;

static int measure(costs *out, kd_language_run *run, const kd_train_spec *spec) {
    const kd_language_config *config = run->config;
    const bool online = kd_language_is_taught(config) && !kd_language_has_store(config);
    kd_loss_config loss = config->loss;
    kd_llama_file *student = NULL;
    size_t bytes = 0;
    if (kd_language_has_store(
            config)) { /* there is none yet; what it gives costs next to nothing */
        loss.kl = 0;
        loss.hard = 1;
    }
    const kd_language_job job = {
        .loop = {.stage = "train", .spec = spec, .precision = run->precision, .seed = config->seed},
        .loss = &loss,
        .model = &config->model,
        .train = run->train,
        .teacher = online ? run->teacher->model : NULL};
    int status = kd_language_student_create_hinted(&student, run->teacher, &config->model,
                                                   &config->loss, NULL, config->seed);
    if (status == KD_OK)
        status = kd_language_measure_step(student->model, &job, &out->update, &bytes);
    out->bytes = (double)bytes;
    if (status == KD_OK) out->parameters = (double)kd_llama_size(&student->model->spec);
    kd_llama_file_free(student);
    return status;
}

/* One line, unless nobody reads it; returns the seconds. */
static double print_stage(const costs *c, const char *name, double seconds, const char *what,
                          double bytes) {
    char eta[32], size[40] = "";
    if (c->quiet) return seconds;
    kd_format_duration(eta, sizeof eta, seconds);
    if (bytes > 0) kd_format_bytes(size, (int)sizeof size, bytes);
    printf("  %-14s %-14s %s%s%s\n", name, eta, what, bytes > 0 ? ", " : "", size);
    return seconds;
}

static double print_training(const kd_language_run *run, const costs *c, const char *name,
                             const kd_train_spec *spec, double update) {
    char what[96];
    const double contexts = (double)kd_contexts_count(run->train);
    const double count = (double)spec->epochs * contexts / (double)(spec->batch * spec->accumulate);
    snprintf(what, sizeof what, "%.0f updates of %.2f s", count, update);
    return print_stage(c, name, update * count, what, 0);
}

/* What the teacher writes down, which others may need, too, goes to *shared. */
static void print_stages(const kd_language_run *run, const costs *c, kd_plan_needs *own,
                         kd_plan_needs *shared) {
    const kd_language_config *config = run->config;
    const kd_train_spec *spec = &config->train;
    const kd_llama_spec *teacher = &run->teacher->model->spec;
    const double tokens = (double)(kd_contexts_count(run->train) * kd_contexts_length(run->train));
    const double sample = c->update / (double)(spec->batch * spec->accumulate);
    const double numbers = c->parameters * sizeof(kd_real);
    if (kd_language_has_store(config)) {
        /* a forward is a third of a step; and the teacher's parameters to the student's */
        const double share = (double)kd_llama_size(teacher) / c->parameters / 3;
        shared->disk = kd_language_teach_bytes(&config->teacher, teacher, tokens);
        shared->seconds =
            print_stage(c, "teach", (double)kd_contexts_count(run->train) * sample * share,
                        "the teacher's targets", shared->disk);
    }
    own->seconds = print_training(run, c, "train", spec, c->update);
    own->disk = 6 * numbers;
    for (int i = 0; i < config->quantize_count; i++) {
        const kd_language_quantize *how = &config->quantize[i];
        if (!how->qat) continue;
        const double update = sample * (double)(how->train.batch * how->train.accumulate);
        own->seconds += print_training(run, c, how->stage, &how->train, update);
        own->disk += 6 * numbers;
    }
    own->memory = c->bytes + 4 * numbers + (double)kd_llama_size(teacher) * sizeof(kd_real);
}

/* `runs` NULL: for a sweep, nothing is printed. */
static int plan(const kd_language_config *config, const char *runs, kd_plan_needs *own,
                kd_plan_needs *shared) {
    kd_language_run run;
    costs cost = {.quiet = !runs};
    *own = *shared = (kd_plan_needs){0};
    int status = kd_language_run_look(&run, config, runs);
    if (status == KD_OK) status = measure(&cost, &run, &config->train);
    if (status == KD_OK && !cost.quiet)
        printf("%s: %lld contexts of %lld tokens, a student of %.1f million parameters\n",
               config->name, (long long)kd_contexts_count(run.train),
               (long long)kd_contexts_length(run.train), cost.parameters / 1e6);
    if (status == KD_OK) print_stages(&run, &cost, own, shared);
    kd_language_run_close(&run);
    return status;
}

int kd_language_plan(const void *config, const kd_plan_request *request) {
    kd_plan_needs own, shared;
    int status = plan(config, request->runs, &own, &shared);
    if (status < 0) return status;
    own.seconds += shared.seconds;
    own.disk += shared.disk;
    return kd_plan_conclude(request, &own);
}

int kd_language_needs(kd_plan_needs *own, kd_plan_needs *shared, const void *config) {
    return plan(config, NULL, own, shared);
}
