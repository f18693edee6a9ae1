/* --dry-run of an encoder's config. */
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "tasks/encoder/encoder.h"
#include "tasks/encoder/encoder_run.h"
#include "tasks/encoder/student.h"

static int measure(double *update, double *bytes, double *parameters, kd_encoder_run *run) {
    const kd_encoder_job job = kd_encoder_run_job(run);
    kd_bert_file *student;
    size_t tape = 0;
    int status = kd_encoder_student_create(&student, run->config, kd_encoder_run_start(run), false);
    if (status == KD_OK) status = kd_encoder_measure_step(student->model, &job, update, &tape);
    *bytes = (double)tape;
    if (status == KD_OK) *parameters = (double)kd_bert_size(&student->model->spec);
    kd_bert_file_free(student);
    return status;
}

static int plan(kd_plan_needs *needs, const kd_encoder_config *c, bool quiet) {
    kd_encoder_run run;
    double update = 0, bytes = 0, parameters = 0;
    char eta[32];
    *needs = (kd_plan_needs){0};
    int status = kd_encoder_run_look(&run, c);
    if (status == KD_OK) status = measure(&update, &bytes, &parameters, &run);
    if (status == KD_OK) {
        const bool sentences = c->data.kind == KD_ENCODER_SENTENCES;
        const double samples =
            (double)(sentences ? run.train.sentences.count : kd_masked_count(run.train.masked));
        const double updates =
            (double)c->train.epochs * samples / (double)(c->train.batch * c->train.accumulate);
        const double numbers = parameters * sizeof(kd_real);
        *needs = (kd_plan_needs){
            .seconds = update * updates, .disk = 6 * numbers, .memory = bytes + 4 * numbers};
        if (run.teacher)
            needs->memory += (double)kd_bert_size(&run.teacher->model->spec) * sizeof(kd_real);
        kd_format_duration(eta, sizeof eta, needs->seconds);
        if (!quiet)
            printf("%s: %.0f %s of at most %lld tokens, a student of %.1f million parameters\n"
                   "  %-14s %-14s %.0f updates of %.2f s\n",
                   c->name, samples, sentences ? "sentences" : "contexts",
                   (long long)c->data.context, parameters / 1e6, "train", eta, updates, update);
    }
    kd_encoder_run_close(&run);
    return status;
}

int kd_encoder_plan(const void *config, const kd_plan_request *request) {
    kd_plan_needs needs;
    const int status = plan(&needs, config, false);
    return status == KD_OK ? kd_plan_conclude(request, &needs) : status;
}

int kd_encoder_needs(kd_plan_needs *own, kd_plan_needs *shared, const void *config) {
    *shared = (kd_plan_needs){0};
    return plan(own, config, true);
}
