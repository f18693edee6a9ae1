#include "distill/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/owner.h"
#include "data/store.h"
#include "distill/checkpoint.h"
#include "files/gguf.h"

int kd_results_check_input(const char *path, const char *folder, const char *const *written) {
    if (!kd_file_is_among(path, folder, written)) return KD_OK;
    return kd_fail(KD_ECONFIG,
                   "%s: is a result of this very run, which would write over it; move it, or use "
                   "another name",
                   path);
}

/* Ends a comparison with what a result states, which is freed. */
static int check(const char *path, int status, char *made, const kd_origin *now) {
    if (status == KD_OK) status = kd_origin_check(path, made, now);
    free(made);
    return status;
}

int kd_results_missing(const char *path, const char *what) {
    if (kd_file_exists(path)) return 0;
    kd_log("%s: %s is not there", path, what);
    return 1;
}

void kd_results_say_source(const char *what, const char *source) {
    if (*source) kd_log("where %s: %s", what, source);
}

static int check_checkpoint(const char *folder, const char *stage, const char *which,
                            const kd_origin *now) {
    char name[64], path[KD_PATH_MAX], *made = NULL;
    snprintf(name, sizeof name, "%s.%s.h5", stage, which);
    int status = kd_path_join(path, folder, name);
    if (status < 0 || !kd_file_exists(path)) return status;
    status = kd_checkpoint_origin(&made, path);
    return check(path, status, made, now);
}

int kd_results_check_stage(const char *folder, const char *stage, const kd_origin *now) {
    int status = check_checkpoint(folder, stage, "last", now);
    return status < 0 ? status : check_checkpoint(folder, stage, "best", now);
}

int kd_results_check_store(const char *path, const kd_origin *now) {
    char *made = NULL;
    int status = kd_store_origin(&made, path);
    if (status == KD_ENOINPUT || status == KD_EDATA) return KD_OK; /* made, or made again */
    return check(path, status, made, now);
}

int kd_results_shared_store(char out[KD_PATH_MAX], const char *shared, const kd_origin *origin) {
    char name[32];
    kd_hash key;
    int status = kd_origin_hash(&key, origin);
    if (status < 0) return status;
    snprintf(name, sizeof name, "store-%.16s", key.hex);
    return kd_path_join(out, shared, name);
}

int kd_results_check_gguf(const char *path, const kd_origin *now) {
    char *made = NULL;
    if (!kd_file_exists(path)) return KD_OK;
    int status = kd_gguf_read_text(&made, path, "distill.origin");
    if (status == KD_EDATA) {
        kd_warn("%s; it is made again", kd_error());
        return KD_OK;
    }
    return check(path, status, made, now);
}

static const char ORIGIN_FILE[] = "distill_origin.json";

int kd_results_check_folder(const char *folder, const kd_origin *now) {
    static const size_t LIMIT = (size_t)16 << 20;
    char path[KD_PATH_MAX], *made = NULL;
    size_t length;
    int status = kd_path_join(path, folder, ORIGIN_FILE);
    if (status < 0 || !kd_file_exists(path)) return status;
    status = kd_file_read(&made, &length, path, LIMIT);
    return check(path, status, made, now);
}

int kd_results_write_origin(const char *folder, const char *origin) {
    char path[KD_PATH_MAX];
    int status = kd_file_make_folders(folder);
    if (status == KD_OK) status = kd_path_join(path, folder, ORIGIN_FILE);
    return status == KD_OK ? kd_file_replace(path, origin, strlen(origin)) : status;
}

static int remove_results(const char *folder, const char *const *results) {
    static const char *const all[] = {"*", NULL};
    char store[KD_PATH_MAX];
    int status = kd_file_remove_matching(folder, results);
    if (status == KD_OK) status = kd_path_join(store, folder, "store");
    return status < 0 ? status : kd_file_remove_matching(store, all);
}

int kd_results_take_folder(int *lock, const char *folder, bool fresh, const char *const *results) {
    int status = kd_file_make_folders(folder);
    if (status == KD_OK) status = kd_folder_own(lock, folder);
    return status == KD_OK && fresh ? remove_results(folder, results) : status;
}

int kd_results_write_config(const char *folder, const char *resolved) {
    char path[KD_PATH_MAX];
    int status = kd_path_join(path, folder, "config.json");
    return status < 0 ? status : kd_file_replace(path, resolved, strlen(resolved));
}
