#include "data/manifest.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/size.h"
#include "base/text.h"

static const size_t TEXT_LIMIT = (size_t)256 << 20;

void kd_manifest_free(kd_manifest *manifest) {
    for (int64_t i = 0; i < manifest->count; i++) free(manifest->entry[i].path);
    free(manifest->entry);
    *manifest = (kd_manifest){0};
}

/* The label's length is already checked. */
static int append(kd_manifest *m, const char *path, const char *label, int64_t line) {
    if (m->count == m->capacity) {
        int64_t capacity = m->capacity ? 2 * m->capacity : 256;
        kd_manifest_entry *entry = realloc(m->entry, kd_array_bytes(capacity, sizeof *entry));
        if (!entry) return kd_fail_memory((size_t)capacity * sizeof *entry, "a manifest");
        m->entry = entry;
        m->capacity = capacity;
    }
    kd_manifest_entry *e = &m->entry[m->count];
    *e = (kd_manifest_entry){.path = strdup(path), .line = line};
    if (!e->path) return kd_fail_memory(strlen(path) + 1, "a manifest");
    memcpy(e->label, label, strlen(label) + 1);
    m->count++;
    return KD_OK;
}

static int check_label(const char *label, const char *where, int64_t line) {
    size_t length = strlen(label);
    const char *fault = kd_name_fault(label);
    if (fault) return kd_fail(KD_EDATA, "%s:%lld: the label %s", where, (long long)line, fault);
    if (length > 0 && length < KD_CLASS_NAME_MAX) return KD_OK;
    return kd_fail(KD_EDATA, "%s:%lld: label of %zu bytes, should be 1 to %d", where,
                   (long long)line, length, KD_CLASS_NAME_MAX - 1);
}

/* --- a TSV file --------------------------------------------------------------------------------
 */

/* One line without its end; `folder` is where the manifest lies, "" for here. */
static int parse_line(kd_manifest *out, char *text, const char *folder, const char *path,
                      int64_t line) {
    char joined[KD_PATH_MAX];
    size_t length = strlen(text);
    if (length > 0 && text[length - 1] == '\r') text[--length] = '\0';
    if (length == 0) return KD_OK;
    char *label = strchr(text, '\t');
    if (!label || label == text)
        return kd_fail(KD_EDATA, "%s:%lld: '%.60s', should be FILE<TAB>LABEL", path,
                       (long long)line, text);
    *label++ = '\0';
    label[strcspn(label, "\t")] = '\0';
    int status = check_label(label, path, line);
    if (status < 0) return status;
    if (text[0] == '/' || folder[0] == '\0') return append(out, text, label, line);
    status = kd_path_join(joined, folder, text);
    return status < 0 ? status : append(out, joined, label, line);
}

int kd_manifest_parse(kd_manifest *out, char *text, size_t length, const char *path) {
    char folder[KD_PATH_MAX] = "";
    const char *slash = strrchr(path, '/');
    if (slash) {
        size_t bytes = (size_t)(slash - path) + 1;
        if (bytes >= sizeof folder) return kd_fail(KD_EIO, "%s: path too long", path);
        memcpy(folder, path, bytes);
        folder[bytes] = '\0';
    }
    int64_t line = 0;
    for (size_t at = kd_utf8_mark(text, length); at < length;) {
        char *end = memchr(text + at, '\n', length - at);
        size_t bytes = end ? (size_t)(end - (text + at)) : length - at;
        line++;
        if (memchr(text + at, '\0', bytes))
            return kd_fail(KD_EDATA, "%s:%lld: a zero byte; this is no text", path,
                           (long long)line);
        if (end) *end = '\0';
        int status = parse_line(out, text + at, folder, path, line);
        if (status < 0) return status;
        at += bytes + 1;
    }
    if (out->count == 0) return kd_fail(KD_EDATA, "%s: names no files", path);
    return KD_OK;
}

/* --- a folder of class folders -----------------------------------------------------------------
 */

/* Of what docs/speech-data.md lists; a decoder then looks at the bytes. */
static bool is_sound(const char *name) {
    static const char *const ending[] = {".wav", ".flac", ".ogg",  ".oga", ".opus", ".mp3",
                                         ".m4a", ".mp4",  ".aac",  ".wma", ".webm", ".mka",
                                         ".amr", ".aif",  ".aiff", ".au",  ".caf",  ".w64"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ending / sizeof *ending; i++)
        if (strcasecmp(dot, ending[i]) == 0) return true;
    return false;
}

/* What lies in class folders without the name of a sound. */
typedef struct {
    int64_t count;
    char first[KD_PATH_MAX];
} left_out;

static int read_class(kd_manifest *out, left_out *others, const char *folder, const char *label) {
    struct dirent **file = NULL;
    int count, status = kd_file_list_folder(&file, &count, folder);
    if (status < 0) return status;
    for (int i = 0; i < count; i++) {
        char path[KD_PATH_MAX];
        if (status == KD_OK) status = kd_path_join(path, folder, file[i]->d_name);
        if (status == KD_OK && is_sound(file[i]->d_name))
            status = append(out, path, label, 0);
        else if (status == KD_OK && others->count++ == 0)
            memcpy(others->first, path, strlen(path) + 1);
        free(file[i]);
    }
    free(file);
    return status;
}

static int read_folder(kd_manifest *out, const char *folder) {
    struct dirent **entry = NULL;
    left_out others = {0};
    int count, status = kd_file_list_folder(&entry, &count, folder);
    if (status < 0) return status;
    for (int i = 0; i < count; i++) {
        char path[KD_PATH_MAX];
        if (status == KD_OK) status = kd_path_join(path, folder, entry[i]->d_name);
        if (status == KD_OK && kd_file_is_folder(path)) {
            status = check_label(entry[i]->d_name, folder, 0);
            if (status == KD_OK) status = read_class(out, &others, path, entry[i]->d_name);
        }
        free(entry[i]);
    }
    free(entry);
    if (status == KD_OK && out->count == 0)
        return kd_fail(KD_EDATA,
                       "%s: no class folders with sound files (.wav, .flac, .mp3 …) in it", folder);
    if (status == KD_OK && others.count > 0)
        kd_warn(
            "%s: %lld files in class folders have no name of a sound file and are left out; the "
            "first is %s",
            folder, (long long)others.count, others.first);
    return status;
}

int kd_manifest_read(kd_manifest *out, const char *path) {
    *out = (kd_manifest){0};
    if (path[0] == '\0') return kd_fail(KD_ECONFIG, "no manifest is given for this split");
    if (kd_file_is_folder(path)) return read_folder(out, path);
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, TEXT_LIMIT);
    if (status < 0) return status;
    status = kd_manifest_parse(out, text, length, path);
    free(text);
    return status;
}

/* --- labels ------------------------------------------------------------------------------------
 */

static int compare_names(const void *a, const void *b) {
    const char *x = a, *y = b;
    size_t nx = strlen(x), ny = strlen(y);
    int number_x = strspn(x, "0123456789") == nx, number_y = strspn(y, "0123456789") == ny;
    if (number_x != number_y) return number_y - number_x;
    if (number_x && nx != ny) return nx < ny ? -1 : 1;
    return strcmp(x, y);
}

int kd_manifest_labels(char (**names)[KD_CLASS_NAME_MAX], int *count, const kd_manifest *manifest,
                       const char *path) {
    *count = 0;
    size_t n = (size_t)manifest->count;
    char(*all)[KD_CLASS_NAME_MAX] = malloc(n * sizeof *all);
    *names = all;
    if (!all) return kd_fail_memory(n * sizeof *all, "labels");
    for (size_t i = 0; i < n; i++) memcpy(all[i], manifest->entry[i].label, sizeof *all);
    qsort(all, n, sizeof *all, compare_names);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && strcmp(all[kept - 1], all[i]) == 0) continue;
        if (kept != i) memcpy(all[kept], all[i], sizeof *all);
        kept++;
    }
    if (kept > KD_CLASSES_MAX)
        return kd_fail(KD_EDATA, "%s: %zu different labels; at most %d", path, kept,
                       KD_CLASSES_MAX);
    *count = (int)kept;
    return KD_OK;
}

int kd_manifest_find(char (*names)[KD_CLASS_NAME_MAX], int count, const char *label) {
    char(*found)[KD_CLASS_NAME_MAX] =
        bsearch(label, names, (size_t)count, sizeof *names, compare_names);
    return found ? (int)(found - names) : -1;
}
