#include "cli/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/stage.h"

enum { MEASURED_STEPS = 8 };

/* The memory this process may use: the machine's, or the cgroup's when that is less. */
static double memory_limit(void) {
    double limit = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (int i = 0; i < 2; i++) {
        char text[64] = "";
        FILE *file = fopen(files[i], "r");
        if (!file) continue;
        if (fgets(text, sizeof text, file)) {
            double bytes = strtod(text, NULL);
            if (bytes > 0 && bytes < limit) limit = bytes;
        }
        fclose(file);
    }
    return limit;
}

typedef struct {
    double seconds, memory, disk;
    bool quiet; /* only the run's own stages, and nothing is printed */
} needs;

/* One training stage of `config`, measured on the real data. */
static int plan_training(const kd_config *config, const kd_run *run, const char *stage,
                         const kd_quantize_config *qat, needs *total) {
    kd_learner *learner;
    const kd_train_spec *spec = qat ? &qat->train : &config->train;
    kd_learner_spec made = {.model = &config->model,
                            .input = {run->train->h, run->train->w, run->train->c},
                            .classes = run->train->classes,
                            .seed = config->seed,
                            .quant = qat ? &qat->spec : NULL};
    int status = kd_learner_create(&learner, &made);
    if (status < 0) return status;
    kd_loss_config loss = {.hard = 1, .temperature = 1};
    kd_classifier_job job = {.loop = {.stage = stage,
                                      .folder = run->folder,
                                      .spec = spec,
                                      .precision = run->precision,
                                      .seed = config->seed},
                             .loss = &loss,
                             .mode = qat ? KD_RUN_OBSERVE : KD_RUN_FLOAT,
                             .train = run->train,
                             .augment = config->augment};
    double step = 0;
    size_t arena = 0;
    status = kd_classifier_measure(learner, &job, MEASURED_STEPS, &step, &arena);
    if (status == KD_OK) {
        int64_t group = spec->batch * spec->accumulate;
        int64_t updates = (run->train->count + group - 1) / group * spec->epochs;
        double memory = (double)arena + 4.0 * (double)learner->params->slab_size * sizeof(kd_real);
        char eta[32], bytes[32];
        kd_format_duration(eta, sizeof eta, step * (double)updates);
        kd_format_bytes(bytes, sizeof bytes, memory);
        if (!total->quiet)
            printf("  %-8s %lld parameters, %.2f M multiply-adds a sample; %lld updates of %.1f "
                   "ms: %s;"
                   " %s\n",
                   stage, (long long)kd_learner_parameters(learner),
                   (double)kd_net_macs(learner->net) / 1e6, (long long)updates, 1e3 * step, eta,
                   bytes);
        total->seconds += step * (double)updates;
        if (memory > total->memory) total->memory = memory;
        total->disk += 2 * 3 * (double)learner->params->slab_size * sizeof(kd_real);
    }
    kd_learner_free(learner);
    return status;
}

static int open_data(const kd_config *config, kd_run *run) {
    memset(run, 0, sizeof *run);
    run->config = config;
    run->lock = -1;
    int status = kd_precision_parse(&run->precision, config->precision);
    if (status == KD_OK) status = kd_dataset_open(&run->train, &config->data, KD_SPLIT_TRAIN);
    return status;
}

static int plan_config(const kd_config *config, needs *total);

/* The teachers that must be trained first, and the store. */
static int plan_teacher(const kd_config *config, const kd_run *run, needs *total) {
    const kd_teacher_config *teacher = &config->teacher;
    int status = KD_OK;
    for (int i = 0; i < teacher->count && status == KD_OK; i++) {
        if (!teacher->source[i].config[0]) continue;
        kd_config *child;
        status = kd_config_load(&child, teacher->source[i].config, 0, NULL);
        if (status < 0) return status;
        status = plan_config(child, total);
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
        total->disk += bytes;
    }
    return status;
}

static int plan_config(const kd_config *config, needs *total) {
    kd_run run;
    int status = open_data(config, &run);
    if (status == KD_OK && config->teacher.present && !total->quiet)
        status = plan_teacher(config, &run, total);
    if (status == KD_OK) {
        if (!total->quiet)
            printf("%s: %lld training samples of %lldx%lldx%lld, %d classes\n", config->name,
                   (long long)run.train->count, (long long)run.train->h, (long long)run.train->w,
                   (long long)run.train->c, run.train->classes);
        total->memory += (double)run.train->count *
                         (double)(run.train->h * run.train->w * run.train->c) *
                         (run.train->bytes ? 1 : 4);
        status = plan_training(config, &run, "train", NULL, total);
    }
    if (status == KD_OK && config->alone)
        status = plan_training(config, &run, "alone", NULL, total);
    for (int i = 0; i < config->quantize_count && status == KD_OK; i++) {
        const kd_quantize_config *quantize = &config->quantize[i];
        if (quantize->qat) status = plan_training(config, &run, quantize->stage, quantize, total);
    }
    kd_run_close(&run);
    return status;
}

int kd_plan_seconds(double *out, const kd_config *config) {
    needs total = {.quiet = true};
    int status = plan_config(config, &total);
    *out = total.seconds;
    return status;
}

int kd_plan_conclude(const char *runs, double seconds, double memory, double disk) {
    double limit = memory_limit(), left = kd_file_free_bytes(runs);
    char eta[32], used[32], most[32], needed[32], available[32];
    kd_format_duration(eta, sizeof eta, seconds);
    kd_format_bytes(used, sizeof used, memory);
    kd_format_bytes(most, sizeof most, limit);
    kd_format_bytes(needed, sizeof needed, disk);
    kd_format_bytes(available, sizeof available, left);
    printf("training %s   memory %s of %s   disk %s of %s free\n", eta, used, most, needed,
           available);
    if (memory > limit)
        return kd_fail(KD_ECONFIG,
                       "the run needs about %s of memory, there are %s; lower "
                       "train.batch and raise train.accumulate",
                       used, most);
    if (disk > left)
        return kd_fail(KD_ECONFIG, "the run needs about %s on disk, %s are free", needed,
                       available);
    return KD_OK;
}

int kd_plan_print(kd_arguments *arguments) {
    kd_config *config;
    int status = kd_stage_config(&config, arguments);
    if (status < 0) return status;
    needs total = {0};
    status = plan_config(config, &total);
    kd_config_free(config);
    if (status < 0) return status;
    const char *runs = kd_arguments_value(arguments, "runs");
    return kd_plan_conclude(runs ? runs : "runs", total.seconds, total.memory, total.disk);
}
