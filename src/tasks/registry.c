#include "tasks/registry.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"

#define DECLARE(name) extern const kd_task kd_task_##name;
KD_TASKS(DECLARE)
#undef DECLARE

#define ADDRESS_OF(name) &kd_task_##name,
static const kd_task *const TASKS[] = {KD_TASKS(ADDRESS_OF)};
enum { TASK_COUNT = (int)(sizeof TASKS / sizeof *TASKS) };

const kd_task *kd_task_at(int index) {
    return index >= 0 && index < TASK_COUNT ? TASKS[index] : NULL;
}

/* The kinds of all tasks, for people, and the one that `kind` resembles. */
static int refuse_kind(const char *path, const char *kind) {
    char all[256] = "", word[64], best[64];
    kd_guess guess = kd_guess_begin(kind);
    for (int i = 0; i < TASK_COUNT; i++)
        for (const char *p = TASKS[i]->kinds; *p; p += strspn(p, "|")) {
            const size_t n = strcspn(p, "|"), used = strlen(all);
            snprintf(word, sizeof word, "%.*s", (int)n, p);
            snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", word);
            kd_guess_offer(&guess, word);
            if (guess.best == word) guess.best = memcpy(best, word, sizeof best);
            p += n;
        }
    if (guess.best)
        return kd_fail(KD_ECONFIG, "%s: data.kind is \"%.40s\"; did you mean \"%s\"? There are %s",
                       path, kind, guess.best, all);
    return kd_fail(KD_ECONFIG, "%s: data.kind is \"%.40s\"; there are %s", path, kind, all);
}

int kd_task_of_config(const kd_task **out, const char *path) {
    kd_json *json;
    *out = TASKS[0];
    if (kd_json_read(&json, path, KD_CONFIG_LIMIT) < 0) return KD_OK;
    const cJSON *kind = kd_json_get(kd_json_get(kd_json_root(json), "data"), "kind");
    int status = KD_OK, found = cJSON_IsString(kind) ? -1 : 0;
    for (int i = 0; i < TASK_COUNT && found < 0; i++)
        if (kd_config_choice(TASKS[i]->kinds, kind->valuestring) >= 0) found = i;
    if (found >= 0)
        *out = TASKS[found];
    else
        status = refuse_kind(path, kind->valuestring);
    kd_json_free(json);
    return status;
}
