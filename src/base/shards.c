#include "base/shards.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/late_file.h"
#include "base/order.h"
#include "base/ranks.h"
#include "base/size.h"

static const char HALF_WRITTEN[] = ".part"; /* of kd_file_replace */

int kd_shards_init(kd_shards *out, const char *folder, const char *name, const char *ending) {
    *out = (kd_shards){.name = name, .ending = ending};
    if (snprintf(out->folder, sizeof out->folder, "%s", folder) < (int)sizeof out->folder)
        return KD_OK;
    return kd_fail(KD_EIO, "%s: path too long", folder);
}

int kd_shards_path(const kd_shards *shards, int64_t number, char out[KD_PATH_MAX]) {
    char file[128];
    snprintf(file, sizeof file, "%s-%05lld%s", shards->name, (long long)number, shards->ending);
    return kd_path_join(out, shards->folder, file);
}

/* "labels-00012.jsonl" → 12; −1 for any other name. *half: whether ".part" stands behind it. */
static int64_t number_of(const kd_shards *shards, const char *file, bool *half) {
    const size_t name = strlen(shards->name), ending = strlen(shards->ending);
    if (strncmp(file, shards->name, name) != 0 || file[name] != '-') return -1;
    const char *digits = file + name + 1;
    const size_t count = strspn(digits, "0123456789");
    if (count < 5 || count > 18 || strncmp(digits + count, shards->ending, ending) != 0) return -1;
    const char *rest = digits + count + ending;
    *half = strcmp(rest, HALF_WRITTEN) == 0;
    return *half || rest[0] == '\0' ? strtoll(digits, NULL, 10) : -1;
}

static int open_folder(DIR **out, const kd_shards *shards) {
    *out = opendir(shards->folder);
    if (*out || errno == ENOENT) return KD_OK;
    return kd_fail(KD_EIO, "%s: cannot list: %s", shards->folder, strerror(errno));
}

int kd_shards_list(const kd_shards *shards, int64_t **out, int64_t *count) {
    DIR *folder;
    *out = NULL;
    *count = 0;
    int status = open_folder(&folder, shards);
    for (struct dirent *entry; status == KD_OK && folder && (entry = readdir(folder));) {
        bool half;
        const int64_t number = number_of(shards, entry->d_name, &half);
        if (number < 0 || half) continue;
        int64_t *grown = realloc(*out, kd_array_bytes(*count + 1, sizeof *grown));
        if (!grown) {
            status = kd_fail_memory((size_t)(*count + 1) * sizeof *grown, shards->folder);
            continue;
        }
        grown[(*count)++] = number;
        *out = grown;
    }
    if (folder) closedir(folder);
    if (*count > 0) qsort(*out, (size_t)*count, sizeof **out, kd_order_integers);
    return status;
}

int kd_shards_write(const kd_shards *shards, int64_t number, const void *bytes, size_t length) {
    char path[KD_PATH_MAX];
    int status = kd_shards_path(shards, number, path);
    if (status == KD_OK) status = kd_file_make_folders(shards->folder);
    return status < 0 ? status : kd_file_replace(path, bytes, length);
}

int kd_shards_await(const kd_shards *shards, const int64_t *number, int64_t count) {
    int status = KD_OK;
    for (int64_t i = 0; i < count && status == KD_OK && kd_rank_count() > 1; i++) {
        char path[KD_PATH_MAX];
        status = kd_shards_path(shards, number[i], path);
        if (status == KD_OK) status = kd_file_await(path, KD_FILE_LATE);
    }
    return kd_ranks_worst(status);
}

int kd_shards_remove_from(const kd_shards *shards, int64_t first) {
    DIR *folder;
    char path[KD_PATH_MAX];
    if (!kd_rank_writes()) return KD_OK;
    int status = open_folder(&folder, shards);
    for (struct dirent *entry; status == KD_OK && folder && (entry = readdir(folder));) {
        bool half;
        const int64_t number = number_of(shards, entry->d_name, &half);
        if (number < 0 || (number < first && !half)) continue;
        status = kd_path_join(path, shards->folder, entry->d_name);
        if (status == KD_OK && unlink(path) < 0)
            status = kd_fail(KD_EIO, "%s: cannot remove: %s", path, strerror(errno));
    }
    if (folder) closedir(folder);
    return status;
}
