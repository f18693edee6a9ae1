/* --dry-run of a classifier's config. */
#include "tasks/classify/classify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/ranks.h"
#include "distill/plan.h"
#include "tasks/classify/preflight.h"
#include "tasks/classify/run.h"

enum { MEASURED_STEPS = 8 };

typedef struct {
    kd_plan_needs all;
    bool quiet; /* only the run's own stages, and nothing is printed */
} planner;

/* Bytes of a stage that are known before anything is allocated. */
typedef struct {
    double parameters; /* values, gradients and the optimizer's moments                      */
    double kept;       /* every node's output of a batch, which training keeps for backward  */
    double loader;     /* the batches made ahead                                             */
} outlook;

static outlook look_ahead(const kd_learner *learner, int64_t batch) {
    enum { SLABS = 2, MOMENTS = 2, ROUNDED_SLABS = 2, BATCHES_AHEAD = 4 };
    const kd_net *net = learner->net;
    const bool rounds = learner->quantized && !learner->quantized->how->makes_network;
    const double slabs =
        SLABS + MOMENTS / (double)kd_rank_count() + (rounds ? ROUNDED_SLABS : 0);
    const kd_extent in = net->node[0].out;
    outlook o = {.loader = (double)(BATCHES_AHEAD * batch) * (double)(in.h * in.w * in.c) *
                           sizeof(float)};
    for (int i = 0; i < learner->params->count; i++)
        o.parameters += slabs * (double)learner->params->list[i]->tensor.size * sizeof(kd_real);
    for (int i = 0; i < net->count; i++) {
        const kd_extent e = net->node[i].out;
        o.kept += (double)batch * (double)e.h * (double)e.w * (double)e.c * sizeof(kd_real);
    }
    return o;
}

static int measure(const kd_config *config, const kd_run *run, const char *stage,
                   const kd_train_spec *spec, const kd_quantize_config *qat, kd_learner *learner,
                   int steps, double *step, size_t *arena) {
    static const kd_loss_config loss = {.hard = 1, .temperature = 1};
    kd_classifier_job job = {.loop = {.stage = stage,
                                      .spec = spec,
                                      .precision = run->precision,
                                      .seed = config->seed},
                             .loss = &loss,
                             .mode = qat ? KD_RUN_OBSERVE : KD_RUN_FLOAT,
                             .train = run->train,
                             .augment = config->augment};
    return kd_classifier_measure(learner, &job, steps, step, arena);
}

/* What a step of the whole batch will take, from steps of small ones: memory grows with the batch.
 */
static int foresee_arena(const kd_config *config, const kd_run *run, const char *stage,
                         const kd_quantize_config *qat, kd_learner *learner, double *out) {
    enum { SMALL = 4, LARGER = 8 };
    kd_train_spec spec = qat ? qat->train : config->train;
    const int64_t count = run->train->count;
    const double batch = (double)(spec.batch < count ? spec.batch : count);
    double step;
    size_t small, larger;
    spec.batch = SMALL;
    int status = measure(config, run, stage, &spec, qat, learner, 1, &step, &small);
    spec.batch = LARGER;
    if (status == KD_OK)
        status = measure(config, run, stage, &spec, qat, learner, 1, &step, &larger);
    if (status < 0) return status;
    *out = (double)larger + (batch - LARGER) * ((double)larger - (double)small) / (LARGER - SMALL);
    return KD_OK;
}

/* Refuses a stage that cannot fit before it takes the memory. `learner` is an outline at first. */
static int make_room(planner *p, const kd_config *config, const kd_run *run, const char *stage,
                     const kd_quantize_config *qat, const kd_learner_spec *made,
                     kd_learner **learner) {
    enum { SUSPECT = 16 }; /* so much of what is kept may a step take in all */
    static const char lower[] = "lower train.batch and raise train.accumulate";
    const kd_train_spec *spec = qat ? &qat->train : &config->train;
    int status = kd_learner_outline(learner, made);
    if (status < 0) return status;
    const int64_t count = run->train->count;
    const outlook o = look_ahead(*learner, spec->batch < count ? spec->batch : count);
    const double data = p->all.data, fixed = data + o.parameters;
    kd_learner_free(*learner);
    *learner = NULL;
    status =
        kd_plan_check_memory(stage, fixed, "parameters", o.parameters, "make the model smaller");
    if (status == KD_OK)
        status = kd_plan_check_memory(stage, fixed + o.loader + o.kept, "a batch's activations",
                                      o.loader + o.kept, lower);
    if (status == KD_OK) status = kd_learner_create(learner, made);
    if (status < 0 || fixed + o.loader + SUSPECT * o.kept <= kd_plan_memory_limit()) return status;
    double arena;
    status = foresee_arena(config, run, stage, qat, *learner, &arena);
    return status < 0 ? status
                      : kd_plan_check_memory(stage, fixed + o.loader + arena,
                                             "a batch's activations", o.loader + arena, lower);
}

static void print_stage(const kd_learner *learner, const char *stage, int64_t updates, double step,
                        double memory) {
    char eta[32], bytes[32];
    kd_format_duration(eta, sizeof eta, step * (double)updates);
    kd_format_bytes(bytes, sizeof bytes, memory);
    printf("  %-8s %lld parameters, %.2f M multiply-adds a sample; %lld updates of %.1f ms: %s; "
           "%s\n",
           stage, (long long)kd_learner_parameters(learner),
           (double)kd_net_macs(learner->net) / 1e6, (long long)updates, 1e3 * step, eta, bytes);
}

/* Of updates of `step` seconds, the optimizer's share of which is small. */
static kd_update_costs update_costs(const kd_params *params, const kd_train_spec *spec,
                                    int64_t count, int64_t updates, double step) {
    const int64_t batches = (count + spec->batch - 1) / spec->batch, ranks = kd_rank_count();
    const int64_t n = spec->accumulate < batches ? spec->accumulate : batches;
    return (kd_update_costs){.micro_batches = n,
                             .micro_seconds = step / (double)((n + ranks - 1) / ranks),
                             .bytes = (double)(params->trained_size + params->running_size) *
                                      sizeof(kd_real),
                             .updates = (double)updates};
}

/* One training stage of `config`, measured on the real data. */
static int plan_training(planner *p, const kd_config *config, const kd_run *run, const char *stage,
                         const kd_quantize_config *qat) {
    kd_learner *learner = NULL;
    const kd_train_spec *spec = qat ? &qat->train : &config->train;
    const kd_learner_spec made = {.model = &config->model,
                                  .input = {run->train->h, run->train->w, run->train->c},
                                  .classes = run->train->classes,
                                  .seed = config->seed,
                                  .quantize = qat ? &qat->spec : NULL};
    double step = 0;
    size_t arena = 0;
    int status = make_room(p, config, run, stage, qat, &made, &learner);
    if (status == KD_OK)
        status = measure(config, run, stage, spec, qat, learner, MEASURED_STEPS, &step, &arena);
    if (status == KD_OK) {
        const int64_t count = run->train->count;
        const outlook o = look_ahead(learner, spec->batch < count ? spec->batch : count);
        const int64_t group = spec->batch * spec->accumulate;
        const int64_t updates = (count + group - 1) / group * spec->epochs;
        const double memory = (double)arena + o.parameters + o.loader;
        if (!p->quiet) print_stage(learner, stage, updates, step, memory);
        p->all.seconds += step * (double)updates;
        if (memory > p->all.memory) p->all.memory = memory;
        p->all.disk += 2 * 3 * (double)learner->params->slab_size * sizeof(kd_real);
        if (!qat) p->all.update = update_costs(learner->params, spec, count, updates, step);
    }
    kd_learner_free(learner);
    return status;
}

/* Adds what the samples will take; refuses what cannot fit before they are read. */
static int plan_data(planner *p, const kd_config *config) {
    static const kd_split split[] = {KD_SPLIT_TRAIN, KD_SPLIT_TEST};
    int status = KD_OK;
    for (int i = 0; i < 2 && status == KD_OK; i++) {
        kd_dataset *head;
        status = kd_dataset_head(&head, &config->data, split[i]);
        if (status < 0) return status;
        const double width = config->data.kind == KD_DATA_AUDIO ? sizeof(float) : 1;
        p->all.data += (double)head->count * (double)(head->h * head->w * head->c) * width;
        kd_dataset_free(head);
    }
    return kd_plan_check_memory(config->name, p->all.data, "samples", p->all.data,
                                "use fewer or smaller ones");
}

static int open_data(const kd_config *config, kd_run *run) {
    memset(run, 0, sizeof *run);
    run->config = config;
    run->lock = -1;
    int status = kd_precision_parse(&run->precision, config->precision);
    if (status == KD_OK) status = kd_dataset_open(&run->train, &config->data, KD_SPLIT_TRAIN);
    return status;
}

static int plan_config(planner *p, const kd_config *config);

/* The teachers that must be trained first, and the store. */
static int plan_teacher(planner *p, const kd_config *config, const kd_run *run) {
    const kd_teacher_config *teacher = &config->teacher;
    int status = KD_OK;
    for (int i = 0; i < teacher->count && status == KD_OK; i++) {
        if (!teacher->source[i].config[0]) continue;
        kd_config *child;
        status = kd_config_load(&child, teacher->source[i].config, 0, NULL);
        if (status < 0) return status;
        status = plan_config(p, child);
        kd_config_free(child);
    }
    if (status == KD_OK && teacher->count > 0) {
        double row = teacher->kind == KD_STORE_DENSE
                         ? (teacher->dtype == KD_STORE_F16 ? 2.0 : 4.0) * run->train->classes
                         : (4.0 + (teacher->dtype == KD_STORE_F16 ? 2.0 : 4.0)) * teacher->k + 4;
        double views = (double)(teacher->views > 0 ? teacher->views : 1);
        double bytes = (row + 16) * views * (double)run->train->count;
        char text[32];
        kd_format_bytes(text, sizeof text, bytes);
        printf("  teach  %.0f rows of soft targets, %s on disk\n",
               views * (double)run->train->count, text);
        p->all.disk += bytes;
    }
    return status;
}

static int plan_config(planner *p, const kd_config *config) {
    kd_run run = {.lock = -1};
    int status = plan_data(p, config);
    if (status == KD_OK) status = open_data(config, &run);
    if (status == KD_OK && config->teacher.present && !p->quiet)
        status = plan_teacher(p, config, &run);
    if (status == KD_OK && !p->quiet)
        printf("%s: %lld training samples of %lldx%lldx%lld, %d classes\n", config->name,
               (long long)run.train->count, (long long)run.train->h, (long long)run.train->w,
               (long long)run.train->c, run.train->classes);
    if (status == KD_OK) status = plan_training(p, config, &run, "train", NULL);
    if (status == KD_OK && config->baseline)
        status = plan_training(p, config, &run, "baseline", NULL);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        const kd_quantize_config *quantize = &config->quantize[i];
        if (quantize->qat) status = plan_training(p, config, &run, quantize->stage, quantize);
    }
    kd_run_close(&run);
    return status;
}

int kd_plan_measure(kd_plan_needs *out, const kd_config *config) {
    planner p = {.quiet = true};
    int status = kd_preflight(config);
    if (status == KD_OK) status = plan_config(&p, config);
    *out = p.all;
    return status;
}

int kd_classify_plan(const void *config, const kd_plan_request *request) {
    planner p = {0};
    int status = kd_preflight(config);
    if (status == KD_OK) status = plan_config(&p, config);
    return status < 0 ? status : kd_plan_conclude(request, &p.all);
}
