/* Tokens from tiktoken files and Hugging Face folders. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "data/token_letters.h"
#include "data/tokenizer_internal.h"

static const size_t FILE_LIMIT = (size_t)64 << 20;

/* Tokens by id; all their bytes stand in one block. */
typedef struct {
    kd_token_bytes *token; /* (count); .bytes NULL: no token has that id yet */
    int64_t count;
    char *bytes;
    size_t used;
    const char *name;
} token_list;

static int list_create(token_list *list, int64_t count, size_t bytes, const char *name) {
    *list = (token_list){.count = count, .name = name};
    list->token = calloc((size_t)count + 1, sizeof *list->token);
    list->bytes = malloc(bytes + 1);
    if (!list->token || !list->bytes) return kd_fail_memory(bytes, name);
    return KD_OK;
}

static void list_free(token_list *list) {
    free(list->token);
    free(list->bytes);
}

/* The `length` bytes the caller wrote at list->bytes + list->used become token `id`. */
static int list_put(token_list *list, int64_t id, size_t length) {
    if (id < 0 || id >= list->count)
        return kd_fail(KD_EDATA, "id %lld, should be 0 to %lld", (long long)id,
                       (long long)list->count - 1);
    if (list->token[id].bytes)
        return kd_fail(KD_EDATA, "the id %lld is there twice", (long long)id);
    list->token[id] = (kd_token_bytes){list->bytes + list->used, length};
    list->used += length;
    return KD_OK;
}

/* --- tiktoken --------------------------------------------------------------------------------- */

static int base64_value(char c) {
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Bytes of base64 text, which may be "=" for none; −1 when it is not base64. */
static int64_t decode_base64(char *out, const char *text, size_t length) {
    size_t digits = length;
    while (digits > 0 && length - digits < 2 && text[digits - 1] == '=') digits--;
    if (digits % 4 == 1) return -1;
    uint32_t bits = 0;
    int64_t done = 0;
    int held = 0;
    for (size_t i = 0; i < digits; i++) {
        int value = base64_value(text[i]);
        if (value < 0) return -1;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out[done++] = (char)(bits >> held & 0xFF);
    }
    return done;
}

static int64_t parse_rank(const char *text, size_t length) {
    int64_t rank = 0;
    if (length == 0 || length > 9) return -1;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        rank = 10 * rank + (text[i] - '0');
    }
    return rank;
}

static int parse_line(token_list *list, const char *line, size_t length) {
    const char *space = memchr(line, ' ', length);
    size_t code = space ? (size_t)(space - line) : 0;
    int64_t rank = space ? parse_rank(space + 1, length - code - 1) : -1;
    int64_t n = rank >= 0 ? decode_base64(list->bytes + list->used, line, code) : -1;
    if (n < 0)
        return kd_fail(KD_EDATA, "'%.*s' should be base64, a space and a rank",
                       (int)(length < 40 ? length : 40), line);
    return list_put(list, rank, (size_t)n);
}

static size_t line_length(const char *at, const char *end) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return newline ? (size_t)(newline - at) : (size_t)(end - at);
}

int kd_tokenizer_parse_ranks(kd_tokenizer **out, const char *text, size_t length,
                             int64_t vocabulary, const char *name) {
    *out = NULL;
    const char *end = text + length;
    int64_t lines = 0, number = 0;
    for (const char *at = text; at < end; at += line_length(at, end) + 1) lines++;
    token_list list;
    int status = list_create(&list, lines, length, name);
    for (const char *at = text; at < end && status == KD_OK; at += line_length(at, end) + 1) {
        number++;
        status = parse_line(&list, at, line_length(at, end));
        if (status < 0) kd_fail_in(status, "%s:%lld", name, (long long)number);
    }
    if (status == KD_OK)
        status = kd_tokenizer_create(out, list.token, list.count, vocabulary, name);
    list_free(&list);
    return status;
}

int kd_tokenizer_read_ranks(kd_tokenizer **out, const char *path, int64_t vocabulary) {
    char *text;
    size_t length;
    *out = NULL;
    int status = kd_file_read(&text, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    status = kd_tokenizer_parse_ranks(out, text, length, vocabulary, path);
    free(text);
    return status;
}

/* --- Hugging Face ----------------------------------------------------------------------------- */

/* What is read of a folder. */
typedef struct {
    kd_json *json, *added; /* the file with the vocabulary; added_tokens.json or NULL */
    const cJSON *vocab;
    char path[KD_PATH_MAX], added_path[KD_PATH_MAX];
    token_list list;
} hf_folder;

static int fail_at(const kd_json *json, const cJSON *item, const char *wanted) {
    char place[KD_PATH_MAX + 64];
    return kd_fail(KD_EDATA, "%s: should be %s",
                   kd_json_place(place, sizeof place, json, item, false), wanted);
}

/* vocab.json, or the part of tokenizer.json that says the same. */
static int open_vocabulary(hf_folder *f, const char *folder) {
    int status = kd_path_join(f->path, folder, "vocab.json");
    if (status < 0) return status;
    bool small_files = kd_file_exists(f->path);
    if (!small_files) status = kd_path_join(f->path, folder, "tokenizer.json");
    if (status < 0) return status;
    if (!kd_file_exists(f->path))
        return kd_fail(KD_ENOINPUT,
                       "%s: no tokenizer: neither vocab.json nor tokenizer.json is there", folder);
    status = kd_json_read(&f->json, f->path, FILE_LIMIT);
    if (status < 0) return status;
    cJSON *root = kd_json_root(f->json);
    const cJSON *model = small_files ? NULL : kd_json_get(root, "model");
    f->vocab = small_files ? root : kd_json_get(model, "vocab");
    if (!cJSON_IsObject(f->vocab))
        return fail_at(f->json, f->vocab ? f->vocab : root,
                       small_files ? "an object: token, id"
                                   : "a byte-level BPE tokenizer: an object model.vocab");
    return KD_OK;
}

static int fail_in_at(int status, const kd_json *json, const cJSON *item) {
    char place[KD_PATH_MAX + 64];
    return kd_fail_in(status, "%s", kd_json_place(place, sizeof place, json, item, true));
}

static int put_item(hf_folder *f, const cJSON *item) {
    int64_t n = kd_letters_read(f->list.bytes + f->list.used, item->string, strlen(item->string));
    if (n < 0)
        return kd_fail(KD_EDATA, "the token '%.80s' is not written in the alphabet of bytes",
                       item->string);
    return list_put(&f->list, (int64_t)item->valuedouble, (size_t)n);
}

/* Tokens up to <|endoftext|>; what has higher ids are special tokens, which are compared later. */
static int fill_list(hf_folder *f) {
    int64_t count = cJSON_GetArraySize(f->vocab);
    size_t bytes = 0;
    for (const cJSON *item = f->vocab->child; item; item = item->next)
        bytes += strlen(item->string);
    const cJSON *end = kd_json_get(f->vocab, "<|endoftext|>");
    if (end && kd_json_is_integer(end) && end->valuedouble >= 0 && end->valuedouble < (double)count)
        count = (int64_t)end->valuedouble;
    int status = list_create(&f->list, count, bytes, f->path);
    for (const cJSON *item = f->vocab->child; item && status == KD_OK; item = item->next) {
        if (!kd_json_is_integer(item)) return fail_at(f->json, item, "an id, a whole number");
        if (end && item->valuedouble >= end->valuedouble) continue;
        status = put_item(f, item);
        if (status < 0) fail_in_at(status, f->json, item);
    }
    for (int64_t id = 0; id < count && status == KD_OK; id++)
        if (!f->list.token[id].bytes)
            status = kd_fail(KD_EDATA, "%s: no token has the id %lld", f->path, (long long)id);
    return status;
}

/* --- the merges: their order must be that of the ids, by which we join ------------------------ */

typedef struct {
    const kd_tokenizer *tokenizer;
    int32_t last; /* the id the merge before made */
} merge_check;

enum { MERGE_MAX = 1024 };

static int check_merge(merge_check *c, const char *left, size_t left_length, const char *right,
                       size_t right_length) {
    char bytes[2 * MERGE_MAX];
    int64_t a = -1, b = -1;
    if (left_length <= MERGE_MAX && right_length <= MERGE_MAX) {
        a = kd_letters_read(bytes, left, left_length);
        b = a < 0 ? -1 : kd_letters_read(bytes + a, right, right_length);
    }
    int32_t id = b < 0 ? -1 : kd_tokenizer_find(c->tokenizer, bytes, (size_t)(a + b));
    if (id < 0) return kd_fail(KD_EDATA, "this merge makes no token of the vocabulary");
    if (id <= c->last)
        return kd_fail(KD_EDATA,
                       "this merge makes token %d, the one before made %d: merges should be in the "
                       "order of the ids they make",
                       id, c->last);
    c->last = id;
    return KD_OK;
}

static int check_merge_line(merge_check *c, const char *line, size_t length) {
    const char *space = memchr(line, ' ', length);
    size_t left = space ? (size_t)(space - line) : length;
    if (!space) return kd_fail(KD_EDATA, "should be two tokens with a space between");
    return check_merge(c, line, left, space + 1, length - left - 1);
}

static int check_merge_file(merge_check *c, const char *path) {
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    const char *end = text + length;
    int64_t number = 0;
    for (const char *at = text; at < end && status == KD_OK; at += line_length(at, end) + 1) {
        size_t n = line_length(at, end);
        bool comment = ++number == 1 && n > 0 && at[0] == '#';
        if (n > 0 && !comment) status = check_merge_line(c, at, n);
        if (status < 0) kd_fail_in(status, "%s:%lld", path, (long long)number);
    }
    free(text);
    return status;
}

/* In tokenizer.json a merge is "a b" or ["a", "b"]. */
static int check_merge_item(merge_check *c, const cJSON *item) {
    const cJSON *left = cJSON_IsArray(item) ? item->child : NULL;
    const cJSON *right = left ? left->next : NULL;
    if (cJSON_IsString(item))
        return check_merge_line(c, item->valuestring, strlen(item->valuestring));
    if (!cJSON_IsString(left) || !cJSON_IsString(right))
        return kd_fail(KD_EDATA, "should be two tokens");
    return check_merge(c, left->valuestring, strlen(left->valuestring), right->valuestring,
                       strlen(right->valuestring));
}

static int check_merge_list(merge_check *c, const kd_json *json, const cJSON *merges) {
    int status = KD_OK;
    if (!cJSON_IsArray(merges))
        return fail_at(json, kd_json_root(json), "a byte-level BPE tokenizer: a list model.merges");
    for (const cJSON *item = merges->child; item && status == KD_OK; item = item->next) {
        status = check_merge_item(c, item);
        if (status < 0) fail_in_at(status, json, item);
    }
    return status;
}

/* --- the special tokens must be Whisper's ----------------------------------------------------- */

static int check_special(const kd_tokenizer *t, const char *text, const cJSON *id,
                         const kd_json *json) {
    char place[KD_PATH_MAX + 64];
    if (!kd_json_is_integer(id)) return fail_at(json, id, "an id, a whole number");
    if (id->valuedouble < t->ids.end || strcmp(text, "<|nocaptions|>") == 0) return KD_OK;
    int32_t ours = kd_tokenizer_special(t, text);
    if (ours >= 0 && id->valuedouble == (double)ours) return KD_OK;
    kd_json_place(place, sizeof place, json, id, false);
    if (ours < 0)
        return kd_fail(KD_EDATA, "%s: '%.80s' is no special token of Whisper", place, text);
    return kd_fail(KD_EDATA, "%s: '%.80s' has the id %.0f, should be %d in a vocabulary of %d",
                   place, text, id->valuedouble, ours, t->ids.vocabulary);
}

/* An object {text: id}, or a list of {"content": text, "id": id}. */
static int check_specials(const kd_tokenizer *t, const kd_json *json, const cJSON *specials) {
    int status = KD_OK;
    if (!cJSON_IsObject(specials) && !cJSON_IsArray(specials)) return KD_OK;
    for (const cJSON *item = specials->child; item && status == KD_OK; item = item->next) {
        bool in_list = cJSON_IsArray(specials);
        const cJSON *content = in_list ? kd_json_get(item, "content") : NULL;
        const cJSON *id = in_list ? kd_json_get(item, "id") : item;
        if (!id || (in_list && !cJSON_IsString(content)))
            return fail_at(json, item, "a token with its id");
        status = check_special(t, in_list ? content->valuestring : item->string, id, json);
    }
    return status;
}

static int check_folder(hf_folder *f, const kd_tokenizer *t, const char *folder) {
    char path[KD_PATH_MAX];
    merge_check merges = {.tokenizer = t, .last = -1};
    cJSON *root = kd_json_root(f->json);
    if (f->vocab != root) {
        const cJSON *list = kd_json_get(kd_json_get(root, "model"), "merges");
        int status = check_merge_list(&merges, f->json, list);
        if (status < 0) return status;
        return check_specials(t, f->json, kd_json_get(root, "added_tokens"));
    }
    int status = kd_path_join(path, folder, "merges.txt");
    if (status == KD_OK && kd_file_exists(path)) status = check_merge_file(&merges, path);
    if (status == KD_OK) status = check_specials(t, f->json, f->vocab);
    if (status == KD_OK) status = kd_path_join(f->added_path, folder, "added_tokens.json");
    if (status < 0 || !kd_file_exists(f->added_path)) return status;
    status = kd_json_read(&f->added, f->added_path, FILE_LIMIT);
    if (status < 0) return status;
    return check_specials(t, f->added, kd_json_root(f->added));
}

int kd_tokenizer_read_folder(kd_tokenizer **out, const char *folder, int64_t vocabulary) {
    *out = NULL;
    hf_folder *f = calloc(1, sizeof *f);
    if (!f) return kd_fail_memory(sizeof *f, folder);
    int status = open_vocabulary(f, folder);
    if (status == KD_OK) status = fill_list(f);
    if (status == KD_OK)
        status = kd_tokenizer_create(out, f->list.token, f->list.count, vocabulary, f->path);
    if (status == KD_OK) status = check_folder(f, *out, folder);
    if (status < 0) {
        kd_tokenizer_free(*out);
        *out = NULL;
    }
    list_free(&f->list);
    kd_json_free(f->json);
    kd_json_free(f->added);
    free(f);
    return status;
}
