/* By the first byte: any text as one of the JSON files of a Hugging Face folder that is whole
 * otherwise. What is let through must be usable: every id that it states is one of the vocabulary.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "small_whisper.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { V = 256 + 1608, NAMES = 5 };
static const char *const NAME[NAMES] = {"generation_config.json", "config.json",
                                        "preprocessor_config.json", "added_tokens.json",
                                        "processor_config.json"};
static char folder[64];

/* The smallest model, as a folder, and the bytes of its own files. */
static void make_folder(char *own[NAMES], size_t own_length[NAMES]) {
    kd_whisper_file file;
    small_whisper(&file, V, 16);
    snprintf(folder, sizeof folder, "/dev/shm/kd-fuzz-whisper-%d", (int)getpid());
    if (kd_whisper_folder_write(folder, &file, &kd_format_f32) < 0) abort();
    small_whisper_free(&file);
    for (int i = 0; i < NAMES; i++) {
        char path[KD_PATH_MAX];
        if (kd_path_join(path, folder, NAME[i]) < 0) abort();
        if (kd_file_exists(path) && kd_file_read(&own[i], &own_length[i], path, 1 << 20) < 0)
            abort();
    }
}

static void put(const char *name, const char *bytes, size_t length) {
    char path[KD_PATH_MAX];
    if (kd_path_join(path, folder, name) < 0) abort();
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) abort();
}

static void check_list(const kd_token_list *list) {
    for (int i = 0; i < list->count; i++)
        if (list->id[i] < 0 || list->id[i] >= V) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static char *own[NAMES];
    static size_t own_length[NAMES];
    kd_whisper_file *file;
    if (length == 0) return 0;
    if (!folder[0]) make_folder(own, own_length);
    const int which = bytes[0] % NAMES;
    put(NAME[which], (const char *)bytes + 1, length - 1);
    const int status = kd_whisper_folder_read(&file, folder, KD_WHISPER_TRAIN_NOTHING);
    if (own[which])
        put(NAME[which], own[which], own_length[which]);
    else
        put(NAME[which], "{}", 2);
    if (status < 0) {
        if (file || !kd_error()[0]) abort();
        return 0;
    }
    const kd_whisper_generation *g = &file->model->generation;
    check_list(&g->suppress);
    check_list(&g->begin_suppress);
    check_list(&g->languages);
    if (g->language >= V || g->task >= V || g->max_length < 0) abort();
    if (g->max_initial_timestamp < 0 || g->max_initial_timestamp >= KD_TIMESTAMPS) abort();
    kd_whisper_file_free(file);
    return 0;
}
