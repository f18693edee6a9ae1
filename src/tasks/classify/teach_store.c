/* The store of a run's soft targets: where it lies, and whether one that is there already is this
 * run's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "distill/results.h"
#include "tasks/classify/teach.h"

int kd_teach_class_list(kd_hash *out, const kd_dataset *dataset) {
    size_t used = 0, capacity = (size_t)dataset->classes * (KD_CLASS_NAME_MAX + 1) + 1;
    char *text = malloc(capacity);
    if (!text) return kd_fail_memory(capacity, "the class names");
    text[0] = '\0';
    for (int i = 0; i < dataset->classes; i++)
        used += (size_t)snprintf(text + used, capacity - used, i ? "\n%s" : "%s",
                                 dataset->class_name[i]);
    *out = kd_hash_bytes(text, used);
    free(text);
    return KD_OK;
}

int kd_teach_path(const kd_run *run, char out[KD_PATH_MAX]) {
    kd_origin origin;
    if (!run->shared_store) return kd_path_join(out, run->folder, "store");
    kd_run_origin_store(&origin, run);
    int status = kd_results_shared_store(out, run->runs, &origin);
    kd_origin_clear(&origin);
    return status;
}

/* --- a store made elsewhere ----------------------------------------------------------------- */

static bool same(const kd_hash *a, const kd_hash *b) {
    return strcmp(a->hex, b->hex) == 0;
}

/* Leaves what the samples are and how the teacher is shown them. */
static void keep_samples(kd_origin *origin) {
    int kept = 0;
    for (int i = 0; i < origin->count; i++) {
        kd_fact fact = origin->fact[i];
        if (strcmp(fact.key, "seed") == 0 || strncmp(fact.key, "data.", 5) == 0 ||
            strncmp(fact.key, "samples.", 8) == 0) {
            origin->fact[kept++] = fact;
        } else {
            free(fact.key);
            free(fact.value);
        }
    }
    origin->count = kept;
}

/* Which of them differ, of a store that says what it was made from. */
static int compare_samples(const kd_run *run, const char *origin, const char *path) {
    kd_origin made, now;
    char *text = NULL;
    int status = kd_origin_parse(&made, origin, path);
    if (status < 0) return status;
    kd_run_origin_store(&now, run);
    now.remedy = "a store is made for the samples and views of its own run";
    keep_samples(&made);
    keep_samples(&now);
    status = kd_origin_text(&text, &made);
    if (status == KD_OK) status = kd_origin_check(path, text, &now);
    free(text);
    kd_origin_clear(&made);
    kd_origin_clear(&now);
    return status;
}

/* That its views are those the student is shown, and its samples this run's. */
static int check_views(const kd_run *run, const kd_store_header *h, const char *path) {
    const int64_t views = run->config->teacher.views;
    if (h->augmented && views != h->views)
        return kd_fail(KD_EDATA,
                       "%s: holds answers for %lld augmented views of each sample, teacher.views "
                       "is %lld",
                       path, (long long)h->views, (long long)views);
    if (!h->augmented && views > 0)
        return kd_fail(KD_EDATA,
                       "%s: holds answers for the samples as they are (/augmented is 0), but "
                       "teacher.views = %lld asks for augmented ones",
                       path, (long long)views);
    if (h->augmented && !h->data.hex[0])
        return kd_fail(KD_EDATA,
                       "%s: is augmented but states no /data, so that nothing tells whether its "
                       "views are those of this run's seed and data.augment (this run's would be "
                       "%s)",
                       path, run->taught_data.hex);
    if (!h->data.hex[0] || same(&h->data, &run->taught_data)) return KD_OK;
    int status = h->origin ? compare_samples(run, h->origin, path) : KD_OK;
    if (status < 0) return status;
    return kd_fail(KD_EDATA,
                   "%s: was made for other samples, another split, normalisation%s (its /data is "
                   "%s, this run's %s)",
                   path, h->augmented ? ", augmentation or seed" : " or settings of sound",
                   h->data.hex, run->taught_data.hex);
}

static int check_header(const void *context, const kd_store_header *h, const char *path) {
    const kd_run *run = context;
    if (h->sequences || h->kind == KD_STORE_HIDDEN)
        return kd_fail(KD_EDATA,
                       "%s: holds %s: images and sounds of one class need logits, a row a sample",
                       path, h->sequences ? "sequences" : "hidden states");
    if (h->classes != run->train->classes)
        return kd_fail(KD_EDATA, "%s: made for %d classes, the data have %d", path, h->classes,
                       run->train->classes);
    if (h->class_list.hex[0] && !same(&h->class_list, &run->classes))
        return kd_fail(KD_EDATA, "%s: made for another class list (hash %s, the data's is %s)",
                       path, h->class_list.hex, run->classes.hex);
    const kd_loss_config *loss = &run->config->loss;
    if (h->kind == KD_STORE_TOPK && (loss->decoupled > 0 || loss->standardize))
        return kd_fail(KD_ECONFIG, "%s: holds the %d largest logits, but loss.%s needs all of them",
                       path, h->k, loss->decoupled > 0 ? "decoupled" : "standardize");
    if (h->kind == KD_STORE_TOPK &&
        kd_store_temperature_index(h, run->config->loss.temperature) < 0)
        return kd_fail(KD_ECONFIG,
                       "%s: its tails were not summed at loss.temperature = %g; `distill inspect` "
                       "lists the temperatures it has",
                       path, run->config->loss.temperature);
    return check_views(run, h, path);
}

static int check_rows(const kd_run *run) {
    return kd_store_check(run->store, run->train->count, run->train->id, run->train->label);
}

int kd_teach_open_named(kd_run *run, const kd_run *like) {
    const char *path = run->config->teacher.store;
    if (!*path) return KD_OK;
    if (like && strcmp(like->config->teacher.store, path) == 0 && like->store) {
        run->store = like->store;
        run->stored = like->stored;
        run->borrowed_store = true;
        int status = check_header(run, kd_store_describe(run->store), path);
        return status < 0 ? status : check_rows(run);
    }
    int status = kd_store_open_fitting(&run->store, path, check_header, run);
    if (status < 0) return status;
    run->stored = kd_store_hash(run->store);
    return check_rows(run);
}

void kd_teach_tell_unstated(const kd_run *run) {
    const kd_store_header *h = kd_store_describe(run->store);
    const char *path = run->config->teacher.store;
    if (!h->data.hex[0])
        kd_log("%s: does not state its samples (/data): ids and labels are compared, but not what "
               "the teacher was shown",
               path);
    if (!h->class_list.hex[0])
        kd_log("%s: does not state its classes: taken to be in the order of the data's", path);
}

/* --- the run's own -------------------------------------------------------------------------- */

int kd_teach_compare(const kd_run *run) {
    const kd_teacher_config *teacher = &run->config->teacher;
    char path[KD_PATH_MAX];
    if (!teacher->present || teacher->store[0] || run->shared_store) return KD_OK;
    int status = kd_path_join(path, run->folder, "store");
    if (status < 0) return status;
    kd_origin now;
    kd_run_origin_store(&now, run);
    status = kd_results_check_store(path, &now);
    kd_origin_clear(&now);
    return status;
}
