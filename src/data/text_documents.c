#include "data/text_documents.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/size.h"
#include "data/text_stream.h"

/* --- files ------------------------------------------------------------------------------------ */

/* Whether the name ends in `end`, packed or not. */
static bool is_kind(const char *path, const char *end) {
    char packed[32];
    if (kd_ends_with(path, end)) return true;
    snprintf(packed, sizeof packed, "%s.gz", end);
    if (kd_ends_with(path, packed)) return true;
    snprintf(packed, sizeof packed, "%s.xz", end);
    return kd_ends_with(path, packed);
}

static int add_file(kd_text_files *out, const char *path) {
    if (is_kind(path, ".tar") || kd_ends_with(path, ".tgz") || kd_ends_with(path, ".zip"))
        return kd_fail(KD_EDATA, "%s: an archive; unpack it, and name the folder", path);
    char **more = realloc(out->path, ((size_t)out->count + 1) * sizeof *more);
    if (!more) return kd_fail_memory(sizeof *more, "a list of files");
    out->path = more;
    more[out->count] = strdup(path);
    if (!more[out->count]) return kd_fail_memory(strlen(path), "a list of files");
    out->count++;
    return KD_OK;
}

static int add_folder(kd_text_files *out, const char *folder, int64_t *others) {
    struct dirent **entry;
    int count, status = kd_file_list_folder(&entry, &count, folder);
    if (status < 0) return status;
    for (int i = 0; i < count; i++) {
        char path[KD_PATH_MAX];
        if (status == KD_OK) status = kd_path_join(path, folder, entry[i]->d_name);
        if (status == KD_OK && kd_file_is_folder(path))
            status = add_folder(out, path, others);
        else if (status == KD_OK && (is_kind(path, ".txt") || is_kind(path, ".jsonl")))
            status = add_file(out, path);
        else
            ++*others;
        free(entry[i]);
    }
    free(entry);
    return status;
}

int kd_text_files_list(kd_text_files *out, const char *const *path, int64_t count) {
    int status = KD_OK;
    *out = (kd_text_files){0};
    for (int64_t i = 0; i < count && status == KD_OK; i++) {
        const int64_t before = out->count;
        int64_t others = 0;
        if (!kd_file_is_folder(path[i])) {
            status = kd_file_exists(path[i])
                         ? add_file(out, path[i])
                         : kd_fail(KD_ENOINPUT, "%s: no such file or folder", path[i]);
            continue;
        }
        status = add_folder(out, path[i], &others);
        if (status == KD_OK && out->count == before)
            status = kd_fail(KD_EDATA, "%s: no *.txt or *.jsonl (.gz, .xz) in it", path[i]);
        if (status == KD_OK && others > 0)
            kd_warn("%s: %lld other files are left out; texts are *.txt and *.jsonl (.gz, .xz)",
                    path[i], (long long)others);
    }
    return status;
}

void kd_text_files_clear(kd_text_files *files) {
    for (int64_t i = 0; i < files->count; i++) free(files->path[i]);
    free(files->path);
    *files = (kd_text_files){0};
}

/* --- a line of JSON --------------------------------------------------------------------------- */

typedef struct {
    const kd_text_writing *writing;
    kd_document_visitor visit;
    void *context;
    const char *path;
    int64_t line; /* 0: the whole file */
    kd_json *json;
} document_reader;

static int fail_at(const document_reader *r, const cJSON *item, const char *wanted) {
    char place[KD_PATH_MAX + 64];
    return kd_fail(KD_EDATA, "%s: should be %s",
                   kd_json_place(place, sizeof place, r->json, item, false), wanted);
}

static int hand_on(document_reader *r, const kd_chat_text *document) {
    char place[KD_PATH_MAX + 32];
    snprintf(place, sizeof place, r->line ? "%s:%lld" : "%s", r->path, (long long)r->line);
    if (document->text.length == 0) return kd_fail(KD_EDATA, "%s: an empty document", place);
    return r->visit(r->context, document, place);
}

/* Messages of a list behind those that are there; a text is one message of `role`. */
static int add_messages(document_reader *r, kd_chat_message **list, int64_t *count,
                        const cJSON *item, const char *role) {
    const int64_t more = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 1;
    kd_chat_message *grown = realloc(*list, kd_array_bytes(*count + more + 1, sizeof *grown));
    if (!grown) return kd_fail_memory((size_t)more * sizeof *grown, r->path);
    *list = grown;
    if (cJSON_IsString(item)) {
        grown[(*count)++] = (kd_chat_message){role, item->valuestring};
        return KD_OK;
    }
    if (!cJSON_IsArray(item)) return fail_at(r, item, "a text or a list of messages");
    for (const cJSON *one = item->child; one; one = one->next) {
        const cJSON *who = kd_json_get(one, "role"), *what = kd_json_get(one, "content");
        if (!cJSON_IsString(who) || !cJSON_IsString(what))
            return fail_at(r, one, "a message: its role and its content, a text");
        grown[(*count)++] = (kd_chat_message){who->valuestring, what->valuestring};
    }
    return KD_OK;
}

static int visit_chat(document_reader *r, const kd_chat_message *list, int64_t count,
                      const cJSON *item) {
    kd_chat_text text = {0};
    bool answered = false;
    if (!r->writing->chat) {
        char place[KD_PATH_MAX + 64];
        return kd_fail(KD_EDATA, "%s: messages: %s",
                       kd_json_place(place, sizeof place, r->json, item, false), r->writing->why);
    }
    for (int64_t i = 0; i < count; i++) answered |= strcmp(list[i].role, "assistant") == 0;
    if (!answered) return fail_at(r, item, "a conversation with an answer of the assistant");
    int status = kd_chat_render(&text, r->writing->chat, list, count, r->writing->bos, false);
    if (status < 0) kd_fail_in(status, "%s:%lld", r->path, (long long)r->line);
    if (status == KD_OK) status = hand_on(r, &text);
    kd_chat_text_clear(&text);
    return status;
}

/* One text in one or two parts, of which the last is learnt. */
static int visit_plain(document_reader *r, const char *first, const char *last) {
    kd_chat_text text = {0};
    const size_t front = strlen(first), all = front + strlen(last);
    text.part = calloc(2, sizeof *text.part);
    if (!text.part) return kd_fail_memory(2 * sizeof *text.part, r->path);
    kd_text_add(&text.text, "%s%s", first, last);
    if (front > 0) text.part[text.count++].end = front;
    text.part[text.count].end = all;
    text.part[text.count++].answer = true;
    int status = kd_text_finish(&text.text, r->path);
    if (status == KD_OK && all == front) text.text.length = 0; /* nothing to learn: empty */
    if (status == KD_OK) status = hand_on(r, &text);
    kd_chat_text_clear(&text);
    return status;
}

static int visit_object(document_reader *r) {
    const cJSON *root = kd_json_root(r->json), *text = kd_json_get(root, "text");
    const cJSON *messages = kd_json_get(root, "messages"), *prompt = kd_json_get(root, "prompt");
    const cJSON *completion = kd_json_get(root, "completion");
    const bool pair = prompt && completion;
    if ((text != NULL) + (messages != NULL) + pair != 1)
        return fail_at(r, root,
                       "an object with text, with messages, or with prompt and completion");
    if (text) {
        if (!cJSON_IsString(text)) return fail_at(r, text, "a text");
        return visit_plain(r, "", text->valuestring);
    }
    const bool plain = pair && cJSON_IsString(prompt) && cJSON_IsString(completion);
    if (plain && !r->writing->chat)
        return visit_plain(r, prompt->valuestring, completion->valuestring);
    kd_chat_message *list = NULL;
    int64_t count = 0;
    int status = add_messages(r, &list, &count, pair ? prompt : messages, "user");
    if (status == KD_OK && pair) status = add_messages(r, &list, &count, completion, "assistant");
    if (status == KD_OK) status = visit_chat(r, list, count, pair ? completion : messages);
    free(list);
    return status;
}

static int visit_line(document_reader *r, const char *line, size_t length) {
    size_t blank = 0;
    while (blank < length && (line[blank] == ' ' || line[blank] == '\t' || line[blank] == '\r'))
        blank++;
    if (blank == length) return KD_OK;
    int status = kd_json_parse_line(&r->json, line, length, r->path, (int)r->line);
    if (status < 0) return status;
    status = visit_object(r);
    kd_json_free(r->json);
    r->json = NULL;
    return status;
}

/* --- a file ----------------------------------------------------------------------------------- */

/* Bytes that were read and not yet used. */
typedef struct {
    char *bytes;
    size_t length, capacity;
} held;

static int too_long(const document_reader *r) {
    if (r->line)
        return kd_fail(KD_EDATA, "%s:%lld: a line of more than %d bytes", r->path,
                       (long long)r->line, KD_DOCUMENT_BYTES_MAX);
    return kd_fail(
        KD_EDATA, "%s: one document of more than %d bytes; cut it, or put documents into a *.jsonl",
        r->path, KD_DOCUMENT_BYTES_MAX);
}

/* Reads on behind what is there; *more is false at the end. */
static int read_on(held *h, kd_text_stream *stream, const document_reader *r, bool *more) {
    if (h->length + 1 >= h->capacity) {
        const size_t capacity = h->capacity ? 2 * h->capacity : 1 << 18;
        if (capacity > KD_DOCUMENT_BYTES_MAX) return too_long(r);
        char *bytes = realloc(h->bytes, capacity);
        if (!bytes) return kd_fail_memory(capacity, r->path);
        h->bytes = bytes;
        h->capacity = capacity;
    }
    const int64_t n =
        kd_text_stream_read(stream, h->bytes + h->length, h->capacity - h->length - 1);
    if (n < 0) return (int)n;
    h->length += (size_t)n;
    *more = n > 0;
    return KD_OK;
}

/* Lines up to the last newline that was read, and at the end what is behind it. */
static int visit_lines(document_reader *r, kd_text_stream *stream, held *h) {
    bool more = true;
    size_t looked = 0; /* no newline before this place */
    int status = KD_OK;
    r->line = 1;
    while (more && status == KD_OK) {
        size_t at = 0;
        status = read_on(h, stream, r, &more);
        while (status == KD_OK && at < h->length) {
            const size_t from = at > looked ? at : looked;
            const char *newline = memchr(h->bytes + from, '\n', h->length - from);
            if (!newline && more) break;
            const size_t end = newline ? (size_t)(newline - h->bytes) : h->length;
            status = visit_line(r, h->bytes + at, end - at);
            r->line++;
            at = end + 1 < h->length ? end + 1 : h->length;
        }
        memmove(h->bytes, h->bytes + at, h->length - at);
        h->length -= at;
        looked = h->length;
    }
    return status;
}

static int visit_whole(document_reader *r, kd_text_stream *stream, held *h) {
    bool more = true;
    int status = KD_OK;
    r->line = 0;
    while (more && status == KD_OK) status = read_on(h, stream, r, &more);
    if (status < 0) return status;
    h->bytes[h->length] = '\0';
    const size_t mark = kd_utf8_mark(h->bytes, h->length);
    if (memchr(h->bytes, '\0', h->length))
        return kd_fail(KD_EDATA, "%s: a byte 0, should be text", r->path);
    return visit_plain(r, "", h->bytes + mark);
}

int kd_text_documents_visit(const kd_text_files *files, const kd_text_writing *writing,
                            kd_document_visitor visit, void *context) {
    int status = KD_OK;
    for (int64_t i = 0; i < files->count && status == KD_OK; i++) {
        document_reader r = {
            .writing = writing, .visit = visit, .context = context, .path = files->path[i]};
        kd_text_stream *stream;
        held h = {0};
        status = kd_text_stream_open(&stream, r.path);
        if (status < 0) break;
        status =
            is_kind(r.path, ".jsonl") ? visit_lines(&r, stream, &h) : visit_whole(&r, stream, &h);
        kd_text_stream_close(stream);
        kd_json_free(r.json);
        free(h.bytes);
    }
    return status;
}
