/* What tests of sweeps look at: folders, and sweep.json. Include after run_cli.h. */
#ifndef KD_TESTS_SWEEP_RESULTS_H
#define KD_TESTS_SWEEP_RESULTS_H

#include <dirent.h>
#include <math.h>

#include "base/json.h"

/* How many entries of a folder begin so; −1: there is no folder. */
static int count_of(test_folder *folder, const char *name, const char *front) {
    DIR *all = opendir(test_path(folder, name));
    int n = 0;
    if (!all) return -1;
    for (struct dirent *e; (e = readdir(all));) n += strncmp(e->d_name, front, strlen(front)) == 0;
    closedir(all);
    return n;
}

static kd_json *results(test_folder *folder, const char *name) {
    kd_json *json;
    assert_ok(kd_json_read(&json, test_path(folder, name), 1 << 24));
    return json;
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

/* The student in a run's report. */
static const cJSON *student_of(const kd_json *report) {
    const cJSON *models = kd_json_get(kd_json_root(report), "models");
    for (const cJSON *m = models->child; m; m = m->next)
        if (strcmp(kd_json_get(m, "kind")->valuestring, "student") == 0) return m;
    fail_msg("no student");
    return NULL;
}

static void assert_same_rows(const kd_json *a, const kd_json *b) {
    char *x = kd_json_print(kd_json_get(kd_json_root(a), "rows"), true);
    char *y = kd_json_print(kd_json_get(kd_json_root(b), "rows"), true);
    assert_non_null(x);
    assert_string_equal(x, y);
    cJSON_free(x);
    cJSON_free(y);
}

#endif
