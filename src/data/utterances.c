#include "data/utterances.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

static const size_t TEXT_LIMIT = (size_t)1 << 30;
enum { CELLS_MAX = 64, DEPTH_MAX = 16 };
enum { AUDIO, TEXT, SPEAKER, PARTS };

/* A list under way. */
typedef struct {
    kd_utterances *out;
    const char *path;
    char folder[KD_PATH_MAX]; /* the list's, with '/', or "" for here                       */
    int64_t line;
    int columns;       /* of the header; 0: there is none                              */
    int column[PARTS]; /* where each part stands, or −1                                */
    bool clips;        /* Common Voice                                                 */
} list;

/* A line without its end, 0-terminated UTF-8; may be changed. */
typedef int (*line_reader)(list *l, char *text);

__attribute__((format(printf, 2, 3))) static int fail(const list *l, const char *format, ...) {
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return kd_fail(KD_EDATA, "%s:%lld: %s", l->path, (long long)l->line, what);
}

void kd_utterances_free(kd_utterances *utterances) {
    for (int64_t i = 0; i < utterances->count; i++) free(utterances->item[i].audio);
    free(utterances->item);
    *utterances = (kd_utterances){0};
}

/* Three strings in one piece of memory, which `audio` begins. */
static int make(kd_utterance *out, const char *const *part) {
    size_t size[PARTS], bytes = 0;
    for (int i = 0; i < PARTS; i++) bytes += size[i] = strlen(part[i]) + 1;
    char *at = malloc(bytes);
    if (!at) return kd_fail_memory(bytes, "a list of utterances");
    char **const to[PARTS] = {&out->audio, &out->text, &out->speaker};
    for (int i = 0; i < PARTS; i++) {
        *to[i] = memcpy(at, part[i], size[i]);
        at += size[i];
    }
    return KD_OK;
}

static int append(list *l, const char *audio, const char *text, const char *speaker) {
    kd_utterances *u = l->out;
    char path[KD_PATH_MAX];
    if (audio[0] == '\0') return fail(l, "no sound file is named");
    const int needed = snprintf(path, sizeof path, "%s%s%s", audio[0] == '/' ? "" : l->folder,
                                l->clips && audio[0] != '/' ? "clips/" : "", audio);
    if (needed >= KD_PATH_MAX)
        return fail(l, "a path of %d bytes, at most %d", needed, KD_PATH_MAX);
    if (u->count == u->capacity) {
        const int64_t capacity = u->capacity ? 2 * u->capacity : 256;
        kd_utterance *item = realloc(u->item, (size_t)capacity * sizeof *item);
        if (!item) return kd_fail_memory((size_t)capacity * sizeof *item, "a list of utterances");
        u->item = item;
        u->capacity = capacity;
    }
    int status = make(&u->item[u->count], (const char *const[]){path, text, speaker});
    if (status == KD_OK) u->count++;
    return status;
}

/* --- lines -------------------------------------------------------------------------------------
 */

static bool is_utf8(const char *text, size_t length) {
    for (size_t at = 0, n; at < length; at += n)
        if ((n = (size_t)kd_utf8_length(text + at, length - at)) == 0) return false;
    return true;
}

static int read_lines(list *l, char *text, size_t length, line_reader read) {
    for (size_t at = 0; at < length;) {
        char *end = memchr(text + at, '\n', length - at);
        size_t bytes = end ? (size_t)(end - (text + at)) : length - at;
        l->line++;
        if (memchr(text + at, '\0', bytes)) return fail(l, "a zero byte; this is no text");
        if (!is_utf8(text + at, bytes)) return fail(l, "this is not UTF-8");
        if (!end) return fail(l, "the last line does not end; is the file cut short?");
        *end = '\0';
        if (bytes > 0 && end[-1] == '\r') end[-1] = '\0';
        int status = text[at] ? read(l, text + at) : KD_OK;
        if (status < 0) return status;
        at += bytes + 1;
    }
    return KD_OK;
}

static int set_folder(list *l) {
    const char *slash = strrchr(l->path, '/');
    const size_t bytes = slash ? (size_t)(slash - l->path) + 1 : 0;
    if (bytes >= sizeof l->folder) return kd_fail(KD_EIO, "%s: path too long", l->path);
    memcpy(l->folder, l->path, bytes);
    l->folder[bytes] = '\0';
    return KD_OK;
}

/* --- TSV ---------------------------------------------------------------------------------------
 */

static int split(list *l, char **cell, int *count, char *text) {
    *count = 0;
    for (char *at = text; at;) {
        if (*count == CELLS_MAX) return fail(l, "more than %d cells", CELLS_MAX);
        cell[(*count)++] = at;
        at = strchr(at, '\t');
        if (at) *at++ = '\0';
    }
    return KD_OK;
}

/* The column called one of two names, or −1. */
static int find_column(list *l, char *const *cell, int count, const char *one, const char *other,
                       int *out) {
    *out = -1;
    for (int i = 0; i < count; i++) {
        if (strcmp(cell[i], one) != 0 && strcmp(cell[i], other) != 0) continue;
        if (*out >= 0) return fail(l, "two columns could be the %s", one);
        *out = i;
    }
    return KD_OK;
}

/* Whether the first line is a header, and what it says. */
static int read_header(list *l, char *const *cell, int count) {
    int status = find_column(l, cell, count, "audio", "path", &l->column[AUDIO]);
    if (status < 0 || l->column[AUDIO] < 0) {
        for (int i = 0; i < PARTS; i++) l->column[i] = i;
        return status;
    }
    l->columns = count;
    status = find_column(l, cell, count, "text", "sentence", &l->column[TEXT]);
    if (status == KD_OK)
        status = find_column(l, cell, count, "speaker", "client_id", &l->column[SPEAKER]);
    if (status == KD_OK && l->column[TEXT] < 0)
        return fail(l, "the header has no column 'text' or 'sentence'");
    l->clips = strcmp(cell[l->column[AUDIO]], "path") == 0 && l->column[SPEAKER] >= 0 &&
               strcmp(cell[l->column[SPEAKER]], "client_id") == 0;
    return status;
}

static int read_cells(list *l, char *text) {
    char *cell[CELLS_MAX];
    int count;
    int status = split(l, cell, &count, text);
    if (status < 0) return status;
    if (l->line == 1) status = read_header(l, cell, count);
    if (status < 0 || (l->line == 1 && l->columns)) return status;
    if (l->columns && count != l->columns)
        return fail(l, "%d cells, the header has %d", count, l->columns);
    if (!l->columns && (count < 2 || count > PARTS))
        return fail(l, "%d cells, should be AUDIO<TAB>TEXT or AUDIO<TAB>TEXT<TAB>SPEAKER", count);
    const int speaker = l->column[SPEAKER];
    return append(l, cell[l->column[AUDIO]], cell[l->column[TEXT]],
                  speaker >= 0 && speaker < count ? cell[speaker] : "");
}

/* --- JSON lines --------------------------------------------------------------------------------
 */

static int read_string(const kd_json *json, const char *key, bool needed, const char **out) {
    char place[KD_PATH_MAX + 32];
    const cJSON *item = kd_json_get(kd_json_root(json), key);
    *out = "";
    if (!item && !needed) return KD_OK;
    if (cJSON_IsString(item)) {
        *out = item->valuestring;
        return KD_OK;
    }
    kd_json_place(place, sizeof place, json, item ? item : kd_json_root(json), false);
    if (!item) return kd_fail(KD_EDATA, "%s: there is no \"%s\"", place, key);
    return kd_fail(KD_EDATA, "%s: \"%s\" should be a string", place, key);
}

static int read_object(list *l, char *text) {
    static const char *const key[PARTS] = {"audio", "text", "speaker"};
    const char *part[PARTS];
    kd_json *json;
    int status = kd_json_parse_line(&json, text, strlen(text), l->path, (int)l->line);
    if (status < 0) return status;
    if (!cJSON_IsObject(kd_json_root(json))) status = fail(l, "not an object: %.60s", text);
    for (int i = 0; i < PARTS && status == KD_OK; i++)
        status = read_string(json, key[i], i != SPEAKER, &part[i]);
    if (status == KD_OK) status = append(l, part[AUDIO], part[TEXT], part[SPEAKER]);
    kd_json_free(json);
    return status;
}

/* --- LibriSpeech -------------------------------------------------------------------------------
 */

static int read_transcript(list *l, char *text) {
    char audio[KD_PATH_MAX];
    char *space = strchr(text, ' '), *dash = strchr(text, '-');
    if (!space || !dash || dash > space || dash == text ||
        memchr(text, '/', (size_t)(space - text)))
        return fail(l, "'%.60s', should be SPEAKER-CHAPTER-NUMBER TEXT", text);
    *space = '\0';
    const int needed = snprintf(audio, sizeof audio, "%s.flac", text);
    if (needed >= KD_PATH_MAX) return fail(l, "a name of %d bytes", needed);
    *dash = '\0';
    return append(l, audio, space + 1, text);
}

static bool ends_in(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int read_file(kd_utterances *out, const char *path, line_reader read) {
    list l = {.out = out, .path = path};
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, TEXT_LIMIT);
    if (status < 0) return status;
    status = set_folder(&l);
    if (status == KD_OK) status = read_lines(&l, text, length, read);
    free(text);
    return status;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int walk(kd_utterances *out, const char *folder, int depth) {
    struct dirent **entry = NULL;
    if (depth > DEPTH_MAX) return kd_fail(KD_EDATA, "%s: folders too deep", folder);
    const int count = scandir(folder, &entry, visible, by_bytes);
    if (count < 0) return kd_fail(KD_EIO, "%s: cannot list: %s", folder, strerror(errno));
    int status = KD_OK;
    for (int i = 0; i < count; i++) {
        char path[KD_PATH_MAX];
        if (status == KD_OK) status = kd_path_join(path, folder, entry[i]->d_name);
        if (status == KD_OK && is_folder(path))
            status = walk(out, path, depth + 1);
        else if (status == KD_OK && ends_in(path, ".trans.txt"))
            status = read_file(out, path, read_transcript);
        free(entry[i]);
    }
    free(entry);
    return status;
}

/* --- all of them -------------------------------------------------------------------------------
 */

static line_reader reader_of(const char *path) {
    return ends_in(path, ".jsonl") || ends_in(path, ".json") ? read_object : read_cells;
}

int kd_utterances_parse(kd_utterances *out, char *text, size_t length, const char *path) {
    list l = {.out = out, .path = path};
    int status = set_folder(&l);
    return status < 0 ? status : read_lines(&l, text, length, reader_of(path));
}

int kd_utterances_read(kd_utterances *out, const char *path) {
    const int64_t before = out->count;
    const bool folder = is_folder(path);
    int status = folder ? walk(out, path, 0) : read_file(out, path, reader_of(path));
    if (status < 0 || out->count > before) return status;
    return kd_fail(KD_EDATA, "%s: names no utterances%s", path,
                   folder ? "; a folder should be LibriSpeech's, with *.trans.txt" : "");
}

int kd_utterances_hash(kd_hash *out, const kd_utterances *utterances, int64_t first,
                       int64_t count) {
    kd_text all = {0};
    for (int64_t i = first; i < first + count; i++) {
        const kd_utterance *u = &utterances->item[i];
        const char *slash = strrchr(u->audio, '/');
        struct stat info;
        if (stat(u->audio, &info) < 0) {
            free(all.text);
            return kd_fail(errno == ENOENT ? KD_ENOINPUT : KD_EIO, "%s: %s", u->audio,
                           strerror(errno));
        }
        kd_text_add(&all, "%s\n%lld\n%zu %s\n%s\n", slash ? slash + 1 : u->audio,
                    (long long)info.st_size, strlen(u->text), u->text, u->speaker);
    }
    int status = kd_text_finish(&all, "the hash of a list");
    if (status == KD_OK) *out = kd_hash_bytes(all.text, all.length);
    free(all.text);
    return status;
}
