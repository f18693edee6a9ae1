#include "data/utterances.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"

static const size_t TEXT_LIMIT = (size_t)1 << 30;
enum { CELLS_MAX = 64, DEPTH_MAX = 16, NAMES_MAX = 3 };
enum { AUDIO, TEXT, SPEAKER, PARTS };
static const char TRANSCRIPT[] = ".trans.txt"; /* of LibriSpeech */

/* What each part is called in a header and in JSON, in any case of the letters. */
static const char *const NAME[PARTS][NAMES_MAX] = {
    {"audio", "path"}, {"text", "sentence"}, {"speaker", "client_id", "speaker_id"}};

/* A list under way. */
typedef struct {
    kd_utterances *out;
    const char *path;         /* owned by out                                              */
    char folder[KD_PATH_MAX]; /* the list's, with '/', or "" for here                       */
    int64_t line;
    bool begun;        /* the first line that is not empty is behind                   */
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
    for (int i = 0; i < utterances->lists; i++) free(utterances->list[i]);
    free(utterances->item);
    free(utterances->list);
    *utterances = (kd_utterances){0};
}

const char *kd_utterance_place(char *out, size_t capacity, const kd_utterance *utterance) {
    if (utterance->list)
        snprintf(out, capacity, "%s:%lld: ", utterance->list, (long long)utterance->line);
    else
        snprintf(out, capacity, "%s", "");
    return out;
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

/* Takes blanks away from both ends, in place. */
static char *trim(char *text) {
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t", text[length - 1])) length--;
    text[length] = '\0';
    return text;
}

static int append(list *l, const char *audio, const char *text, char *speaker) {
    static const char clips[] = "clips/";
    kd_utterances *u = l->out;
    char path[KD_PATH_MAX];
    if (audio[0] == '\0') return fail(l, "no sound file is named");
    const bool inside = l->clips && strncmp(audio, clips, strlen(clips)) != 0;
    const int needed = snprintf(path, sizeof path, "%s%s%s", audio[0] == '/' ? "" : l->folder,
                                inside && audio[0] != '/' ? clips : "", audio);
    if (needed >= KD_PATH_MAX)
        return fail(l, "a path of %d bytes, at most %d", needed, KD_PATH_MAX);
    if (u->count == u->capacity) {
        const int64_t capacity = u->capacity ? 2 * u->capacity : 256;
        kd_utterance *item = realloc(u->item, kd_array_bytes(capacity, sizeof *item));
        if (!item) return kd_fail_memory((size_t)capacity * sizeof *item, "a list of utterances");
        u->item = item;
        u->capacity = capacity;
    }
    kd_utterance *new = &u->item[u->count];
    *new = (kd_utterance){.list = l->path, .line = l->line};
    int status = make(new, (const char *const[]){path, text, trim(speaker)});
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

/* The length of a byte order mark; refuses one of UTF-16. */
static int skip_mark(const list *l, const char *text, size_t length, size_t *out) {
    *out = kd_utf8_mark(text, length);
    if (length < 2 || (memcmp(text, "\xFF\xFE", 2) != 0 && memcmp(text, "\xFE\xFF", 2) != 0))
        return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s: this is UTF-16, lists are UTF-8: iconv -f UTF-16 -t UTF-8 makes one of it",
                   l->path);
}

/* A line of `bytes` bytes, followed by one that may be overwritten. */
static int read_line(list *l, char *text, size_t bytes, line_reader read) {
    l->line++;
    if (memchr(text, '\0', bytes))
        return fail(l, "a zero byte; this is no text, or UTF-16 where lists are UTF-8");
    if (!is_utf8(text, bytes)) return fail(l, "this is not UTF-8");
    if (bytes > 0 && text[bytes - 1] == '\r') bytes--;
    text[bytes] = '\0';
    if (strchr(text, '\r')) return fail(l, "a carriage return inside a line; lines end with \\n");
    if (text[strspn(text, " \t")] == '\0') return KD_OK;
    int status = read(l, text);
    l->begun = true;
    return status;
}

static int read_lines(list *l, char *text, size_t length, line_reader read) {
    size_t at;
    int status = skip_mark(l, text, length, &at);
    while (at < length && status == KD_OK) {
        const char *end = memchr(text + at, '\n', length - at);
        const size_t bytes = end ? (size_t)(end - (text + at)) : length - at;
        status = read_line(l, text + at, bytes, read);
        at += bytes + 1;
    }
    return status;
}

static int set_folder(list *l) {
    const char *slash = strrchr(l->path, '/');
    const size_t bytes = slash ? (size_t)(slash - l->path) + 1 : 0;
    if (bytes >= sizeof l->folder) return kd_fail(KD_EIO, "%s: path too long", l->path);
    memcpy(l->folder, l->path, bytes);
    l->folder[bytes] = '\0';
    return KD_OK;
}

/* A list whose name lives as long as its utterances. */
static int begin(list *l, kd_utterances *out, const char *path) {
    *l = (list){.out = out};
    char **names = realloc(out->list, (size_t)(out->lists + 1) * sizeof *names);
    if (names) out->list = names;
    char *name = names ? strdup(path) : NULL;
    if (!name) return kd_fail_memory(strlen(path) + 1, "a list of utterances");
    l->path = out->list[out->lists++] = name;
    return set_folder(l);
}

/* --- TSV ---------------------------------------------------------------------------------------
 */

/* A cell in quotes as csv writers put them, as Common Voice's are: "" inside stands for ". A cell
 * that only begins and ends with a quotation is left alone. */
static void unquote(char *cell) {
    const size_t length = strlen(cell);
    if (length < 2 || cell[0] != '"' || cell[length - 1] != '"') return;
    for (size_t i = 1; i + 1 < length; i++) {
        if (cell[i] != '"') continue;
        if (cell[i + 1] != '"' || i + 2 >= length) return;
        i++;
    }
    char *to = cell;
    for (size_t i = 1; i + 1 < length; i++) {
        *to++ = cell[i];
        if (cell[i] == '"') i++;
    }
    *to = '\0';
}

static int split(list *l, char **cell, int *count, char *text) {
    *count = 0;
    for (char *at = text; at;) {
        if (*count == CELLS_MAX) return fail(l, "more than %d cells", CELLS_MAX);
        cell[(*count)++] = at;
        at = strchr(at, '\t');
        if (at) *at++ = '\0';
    }
    for (int i = 0; i < *count; i++) unquote(cell[i]);
    return KD_OK;
}

/* Tabs at the end of a line make empty cells: those beyond `least` do not count. */
static void drop_empty_ends(char *const *cell, int *count, int least) {
    while (*count > least && cell[*count - 1][0] == '\0') --*count;
}

static bool is_named(const char *name, int part) {
    for (int k = 0; k < NAMES_MAX && NAME[part][k]; k++)
        if (strcasecmp(name, NAME[part][k]) == 0) return true;
    return false;
}

/* The column of each part, or −1. */
static int find_columns(list *l, char *const *cell, int count) {
    for (int part = 0; part < PARTS; part++) {
        l->column[part] = -1;
        for (int i = 0; i < count; i++) {
            if (!is_named(cell[i], part)) continue;
            if (l->column[part] >= 0) return fail(l, "two columns could be the %s", NAME[part][0]);
            l->column[part] = i;
        }
    }
    return KD_OK;
}

/* Without a header, the first line's own cells: a name of a column there, and no name of a file, is
 * a header that does not say where the sounds are. */
static int begin_without_header(list *l, const char *first) {
    const bool named = l->column[TEXT] >= 0 || l->column[SPEAKER] >= 0;
    if (named && first[0] != '\0' && !strpbrk(first, "./"))
        return fail(l, "a header without a column 'audio' or 'path'");
    for (int part = 0; part < PARTS; part++) l->column[part] = part;
    return KD_OK;
}

/* Whether the first line is a header, and what it says. */
static int read_header(list *l, char **cell, int count) {
    char *name[CELLS_MAX];
    for (int i = 0; i < count; i++) name[i] = cell[i] + strspn(cell[i], " ");
    for (int i = 0; i < count; i++)
        for (size_t n = strlen(name[i]); n > 0 && name[i][n - 1] == ' ';) name[i][--n] = '\0';
    int status = find_columns(l, name, count);
    if (status < 0) return status;
    if (l->column[AUDIO] < 0) return begin_without_header(l, cell[0]);
    l->columns = count;
    drop_empty_ends(name, &l->columns, 1);
    if (l->column[TEXT] < 0) return fail(l, "the header has no column 'text' or 'sentence'");
    l->clips = strcasecmp(name[l->column[AUDIO]], "path") == 0 && l->column[SPEAKER] >= 0 &&
               strcasecmp(name[l->column[SPEAKER]], "client_id") == 0;
    return KD_OK;
}

static int read_cells(list *l, char *text) {
    char *cell[CELLS_MAX], nobody[] = "";
    int count;
    int status = split(l, cell, &count, text);
    if (status == KD_OK && !l->begun) status = read_header(l, cell, count);
    if (status < 0 || (!l->begun && l->columns)) return status;
    drop_empty_ends(cell, &count, l->columns ? l->columns : 2);
    if (l->columns && count != l->columns)
        return fail(l, "%d cells, the header has %d", count, l->columns);
    if (!l->columns && (count < 2 || count > PARTS))
        return fail(l, "%d cells, should be AUDIO<TAB>TEXT or AUDIO<TAB>TEXT<TAB>SPEAKER", count);
    const int speaker = l->column[SPEAKER];
    return append(l, cell[l->column[AUDIO]], cell[l->column[TEXT]],
                  speaker >= 0 && speaker < count ? cell[speaker] : nobody);
}

/* --- JSON lines --------------------------------------------------------------------------------
 */

/* The member that is a part, or NULL. */
static int find_member(const kd_json *json, int part, const cJSON **out) {
    char place[KD_PATH_MAX + 32];
    const cJSON *item;
    *out = NULL;
    cJSON_ArrayForEach(item, kd_json_root(json)) {
        if (!is_named(item->string, part)) continue;
        if (*out)
            return kd_fail(KD_EDATA, "%s: two members could be the %s",
                           kd_json_place(place, sizeof place, json, item, true), NAME[part][0]);
        *out = item;
    }
    return KD_OK;
}

/* A string, or of a speaker a whole number as well. `digits` has room for one. */
static int read_member(const kd_json *json, int part, char digits[32], const char **out) {
    char place[KD_PATH_MAX + 32];
    const cJSON *item;
    *out = "";
    int status = find_member(json, part, &item);
    if (status < 0 || (!item && part == SPEAKER)) return status;
    if (item && cJSON_IsString(item)) {
        *out = item->valuestring;
        return KD_OK;
    }
    if (item && part == SPEAKER && cJSON_IsNull(item)) return KD_OK;
    if (item && part == SPEAKER && kd_json_is_integer(item)) {
        snprintf(digits, 32, "%.0f", item->valuedouble);
        *out = digits;
        return KD_OK;
    }
    kd_json_place(place, sizeof place, json, item ? item : kd_json_root(json), false);
    if (!item) return kd_fail(KD_EDATA, "%s: there is no \"%s\"", place, NAME[part][0]);
    return kd_fail(KD_EDATA, "%s: \"%s\" should be a string%s", place, item->string,
                   part == SPEAKER ? " or a whole number" : "");
}

static int read_object(list *l, char *text) {
    const char *part[PARTS];
    char digits[32], *speaker;
    kd_json *json;
    int status = kd_json_parse_line(&json, text, strlen(text), l->path, (int)l->line);
    if (status < 0) return status;
    if (!cJSON_IsObject(kd_json_root(json))) status = fail(l, "not an object: %.60s", text);
    for (int i = 0; i < PARTS && status == KD_OK; i++)
        status = read_member(json, i, digits, &part[i]);
    if (status == KD_OK) {
        speaker = strdup(part[SPEAKER]);
        status = speaker ? append(l, part[AUDIO], part[TEXT], speaker)
                         : kd_fail_memory(strlen(part[SPEAKER]) + 1, "a list of utterances");
        free(speaker);
    }
    kd_json_free(json);
    return status;
}

/* --- LibriSpeech -------------------------------------------------------------------------------
 */

/* The sound of an id: as LibriSpeech has it, .flac, or converted. */
static int find_sound(const list *l, char out[KD_PATH_MAX], const char *id) {
    static const char *const ending[] = {"flac", "wav", "opus", "ogg", "mp3"};
    char path[2 * KD_PATH_MAX];
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
        const int needed = snprintf(out, KD_PATH_MAX, "%s.%s", id, ending[i]);
        if (needed >= KD_PATH_MAX) return fail(l, "a name of %d bytes", needed);
        snprintf(path, sizeof path, "%s%s", l->folder, out);
        if (kd_file_exists(path)) return KD_OK;
    }
    snprintf(out, KD_PATH_MAX, "%s.%s", id, ending[0]);
    return KD_OK;
}

static int read_transcript(list *l, char *text) {
    static char nothing[] = "";
    char audio[KD_PATH_MAX];
    const size_t length = strcspn(text, " \t");
    char *said = text[length] ? text + length + 1 : nothing;
    text[length] = '\0';
    char *dash = strchr(text, '-');
    if (!dash || dash == text || strchr(text, '/'))
        return fail(l, "'%.60s', should be SPEAKER-CHAPTER-NUMBER TEXT", text);
    int status = find_sound(l, audio, text);
    if (status < 0) return status;
    *dash = '\0';
    return append(l, audio, said, text);
}

static bool ends_in(const char *text, const char *end) {
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcasecmp(text + n - m, end) == 0;
}

static int read_file(kd_utterances *out, const char *path, line_reader read) {
    list l;
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, TEXT_LIMIT);
    if (status < 0) return status;
    status = begin(&l, out, path);
    if (status == KD_OK) status = read_lines(&l, text, length, read);
    free(text);
    return status;
}

static int walk(kd_utterances *out, const char *folder, int depth) {
    struct dirent **entry = NULL;
    if (depth > DEPTH_MAX) return kd_fail(KD_EDATA, "%s: folders too deep", folder);
    int count, status = kd_file_list_folder(&entry, &count, folder);
    if (status < 0) return status;
    for (int i = 0; i < count; i++) {
        char path[KD_PATH_MAX];
        if (status == KD_OK) status = kd_path_join(path, folder, entry[i]->d_name);
        if (status == KD_OK && kd_file_is_folder(path))
            status = walk(out, path, depth + 1);
        else if (status == KD_OK && ends_in(path, TRANSCRIPT))
            status = read_file(out, path, read_transcript);
        free(entry[i]);
    }
    free(entry);
    return status;
}

/* --- all of them -------------------------------------------------------------------------------
 */

static line_reader reader_of(const char *path) {
    if (ends_in(path, TRANSCRIPT)) return read_transcript;
    return ends_in(path, ".jsonl") || ends_in(path, ".json") ? read_object : read_cells;
}

int kd_utterances_parse(kd_utterances *out, char *text, size_t length, const char *path) {
    list l;
    int status = begin(&l, out, path);
    return status < 0 ? status : read_lines(&l, text, length, reader_of(path));
}

int kd_utterances_read(kd_utterances *out, const char *path) {
    const int64_t before = out->count;
    const bool folder = kd_file_is_folder(path);
    int status = folder ? walk(out, path, 0) : read_file(out, path, reader_of(path));
    if (status < 0 || out->count > before) return status;
    return kd_fail(KD_EDATA, "%s: names no utterances%s", path,
                   folder ? "; a folder should be LibriSpeech's, with *.trans.txt" : "");
}
