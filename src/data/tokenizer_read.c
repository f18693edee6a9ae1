/* Tokens from tiktoken files and Hugging Face folders. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/size.h"
#include "base/text.h"
#include "data/token_letters.h"
#include "data/tokenizer_internal.h"

static const size_t FILE_LIMIT = (size_t)64 << 20;
enum { BEYOND_MAX = 1 << 16 };

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
    int64_t n = rank >= 0 ? kd_base64_decode(list->bytes + list->used, line, code) : -1;
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
    kd_json *json, *added_json; /* the file with the vocabulary; added_tokens.json or NULL */
    const cJSON *vocab, *added; /* added: {text: id}, or a list of {"content": text, "id": id} */
    char path[KD_PATH_MAX], added_path[KD_PATH_MAX];
    token_list list;        /* the ordinary tokens */
    int64_t vocabulary;     /* of the model        */
    int32_t no_timestamps;  /* its id, or −1       */
    kd_token_bytes *beyond; /* (beyond_count) the tokens that Whisper has not */
    int64_t beyond_count;
} hf_folder;

static int fail_at(const kd_json *json, const cJSON *item, const char *wanted) {
    char place[KD_PATH_MAX + 64];
    return kd_fail(KD_EDATA, "%s: should be %s",
                   kd_json_place(place, sizeof place, json, item, false), wanted);
}

/* vocab.json, or the part of tokenizer.json that says the same. */
static int open_vocabulary(hf_folder *f, const char *folder, bool small_files) {
    int status = kd_path_join(f->path, folder, small_files ? "vocab.json" : "tokenizer.json");
    if (status == KD_OK) status = kd_json_read(&f->json, f->path, FILE_LIMIT);
    if (status < 0) return status;
    cJSON *root = kd_json_root(f->json);
    const cJSON *model = small_files ? NULL : kd_json_get(root, "model");
    f->vocab = small_files ? root : kd_json_get(model, "vocab");
    if (!cJSON_IsObject(f->vocab))
        return fail_at(f->json, f->vocab ? f->vocab : root,
                       small_files ? "an object: token, id"
                                   : "a byte-level BPE tokenizer: an object model.vocab");
    f->added = small_files ? NULL : kd_json_get(root, "added_tokens");
    return KD_OK;
}

/* added_tokens.json, where it is. */
static int open_added(hf_folder *f, const char *folder) {
    int status = kd_path_join(f->added_path, folder, "added_tokens.json");
    if (status < 0 || !kd_file_exists(f->added_path)) return status;
    status = kd_json_read(&f->added_json, f->added_path, FILE_LIMIT);
    if (status == KD_OK) f->added = kd_json_root(f->added_json);
    return status;
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

/* --- the special tokens must be Whisper's; others may stand behind them ------------------------
 */

typedef int (*special_visitor)(hf_folder *f, const kd_tokenizer *t, const char *text,
                               const cJSON *id, const kd_json *json);

/* Visits all of an object {text: id}, or a list of {"content": text, "id": id}. */
static int visit_list(hf_folder *f, const kd_tokenizer *t, const kd_json *json,
                      const cJSON *specials, special_visitor visit) {
    int status = KD_OK;
    if (!cJSON_IsObject(specials) && !cJSON_IsArray(specials)) return KD_OK;
    for (const cJSON *item = specials->child; item && status == KD_OK; item = item->next) {
        bool in_list = cJSON_IsArray(specials);
        const cJSON *content = in_list ? kd_json_get(item, "content") : NULL;
        const cJSON *id = in_list ? kd_json_get(item, "id") : item;
        if (!id || (in_list && !cJSON_IsString(content)))
            return fail_at(json, item, "a token with its id");
        if (!kd_json_is_integer(id)) return fail_at(json, id, "an id, a whole number");
        if (id->valuedouble < (double)f->list.count) continue;
        status = visit(f, t, in_list ? content->valuestring : item->string, id, json);
    }
    return status;
}

/* Visits what the files have at and behind <|endoftext|>. */
static int visit_specials(hf_folder *f, const kd_tokenizer *t, special_visitor visit) {
    int status = visit_list(f, t, f->json, f->vocab, visit);
    if (status < 0) return status;
    return visit_list(f, t, f->added_json ? f->added_json : f->json, f->added, visit);
}

static int find_no_timestamps(hf_folder *f, const kd_tokenizer *t, const char *text,
                              const cJSON *id, const kd_json *json) {
    (void)t;
    (void)json;
    if (strcmp(text, "<|notimestamps|>") == 0 && id->valuedouble < INT32_MAX)
        f->no_timestamps = (int32_t)id->valuedouble;
    return KD_OK;
}

static int keep_beyond(hf_folder *f, const kd_tokenizer *t, const char *text, const cJSON *id,
                       const kd_json *json) {
    (void)t;
    (void)json;
    const double at = id->valuedouble - (double)(f->vocabulary - f->beyond_count);
    if (at >= 0 && at < (double)f->beyond_count)
        f->beyond[(int64_t)at] = (kd_token_bytes){text, strlen(text)};
    return KD_OK;
}

static int check_special(hf_folder *f, const kd_tokenizer *t, const char *text, const cJSON *id,
                         const kd_json *json) {
    const kd_token_ids *ids = &t->ids;
    char place[KD_PATH_MAX + 64];
    const int32_t ours = kd_tokenizer_special(t, text);
    if (ours >= 0 && id->valuedouble == (double)ours) return KD_OK;
    if (ours < 0 && id->valuedouble >= ids->added && id->valuedouble < ids->vocabulary)
        return KD_OK;
    kd_json_place(place, sizeof place, json, id, false);
    if (ours < 0)
        return kd_fail(KD_EDATA,
                       "%s: '%.80s', id %.0f, is no special token of Whisper, nor one added behind "
                       "them, to a vocabulary of %lld",
                       place, text, id->valuedouble, (long long)f->vocabulary);
    return kd_fail(KD_EDATA, "%s: '%.80s' has the id %.0f, should be %d in a vocabulary of %d",
                   place, text, id->valuedouble, ours, ids->vocabulary);
}

/* How many tokens stand behind Whisper's own, whose number the id of <|notimestamps|> tells; and
 * which. */
static int list_beyond(hf_folder *f) {
    f->no_timestamps = -1;
    int status = visit_specials(f, NULL, find_no_timestamps);
    if (status < 0) return status;
    const int64_t languages = f->no_timestamps - f->list.count - (KD_SPECIALS - 1);
    const int64_t beyond = f->vocabulary - (f->no_timestamps + 1 + KD_TIMESTAMPS);
    if (languages < 1 || languages > KD_LANGUAGES_MAX || beyond < 1 || beyond > BEYOND_MAX)
        return KD_OK;
    f->beyond = calloc(kd_array_bytes(beyond, 1), sizeof *f->beyond);
    if (!f->beyond) return kd_fail_memory((size_t)beyond * sizeof *f->beyond, f->path);
    f->beyond_count = beyond;
    status = visit_specials(f, NULL, keep_beyond);
    for (int64_t i = 0; i < beyond && status == KD_OK; i++)
        if (f->beyond[i].length == 0)
            status =
                kd_fail(KD_EDATA, "%s: the model has %lld tokens; the id %lld has none here",
                        f->path, (long long)f->vocabulary, (long long)(f->vocabulary - beyond + i));
    return status;
}

/* What a model was taught to say beyond Whisper's tokens is kept, but not silently. */
static void warn_of_beyond(const hf_folder *f) {
    kd_text names = {0};
    for (int64_t i = 0; i < f->beyond_count && i < 8; i++) {
        kd_text_add(&names, i ? ", '" : "'");
        kd_text_add_plain(&names, f->beyond[i].bytes, f->beyond[i].length);
        kd_text_add(&names, "'");
    }
    if (f->beyond_count > 0)
        kd_warn("%s: %lld tokens beyond Whisper's, which keep their ids, %lld to %lld: %s%s",
                f->path, (long long)f->beyond_count, (long long)(f->vocabulary - f->beyond_count),
                (long long)f->vocabulary - 1, names.text ? names.text : "",
                f->beyond_count > 8 ? " …" : "");
    free(names.text);
}

/* --- the folder ------------------------------------------------------------------------------- */

static int check_merges(const hf_folder *f, const kd_tokenizer *t, const char *folder) {
    char path[KD_PATH_MAX];
    merge_check merges = {.tokenizer = t, .last = -1};
    const cJSON *root = kd_json_root(f->json);
    if (f->vocab != root)
        return check_merge_list(&merges, f->json,
                                kd_json_get(kd_json_get(root, "model"), "merges"));
    int status = kd_path_join(path, folder, "merges.txt");
    return status == KD_OK && kd_file_exists(path) ? check_merge_file(&merges, path) : status;
}

/* tokenizer.json can do more to a text than GPT-2's splitting and joining, which is all we do. */
static int check_pipeline(const hf_folder *f) {
    const cJSON *root = kd_json_root(f->json), *model = kd_json_get(root, "model");
    const cJSON *normalizer = kd_json_get(root, "normalizer");
    const cJSON *before = kd_json_get(root, "pre_tokenizer");
    const cJSON *kind = kd_json_get(before, "type"), *type = kd_json_get(model, "type");
    const char *const empty[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    if (f->vocab == root) return KD_OK;
    if (normalizer && !cJSON_IsNull(normalizer))
        return fail_at(f->json, normalizer, "null: Whisper's tokenizer has no normalizer");
    if (before && (!cJSON_IsString(kind) || strcmp(kind->valuestring, "ByteLevel") != 0 ||
                   cJSON_IsTrue(kd_json_get(before, "add_prefix_space")) ||
                   cJSON_IsFalse(kd_json_get(before, "use_regex"))))
        return fail_at(f->json, before,
                       "GPT-2's pre_tokenizer: ByteLevel, without add_prefix_space");
    if (type && (!cJSON_IsString(type) || strcmp(type->valuestring, "BPE") != 0))
        return fail_at(f->json, type, "\"BPE\"");
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        const cJSON *item = kd_json_get(model, empty[i]);
        if (item && !cJSON_IsNull(item) && !(cJSON_IsString(item) && !item->valuestring[0]) &&
            !(cJSON_IsNumber(item) && item->valuedouble == 0))
            return fail_at(f->json, item, "empty, as in Whisper's tokenizer");
    }
    return KD_OK;
}

/* From vocab.json and the files beside it, or else from tokenizer.json. */
static int read_files(kd_tokenizer **out, const char *folder, int64_t vocabulary,
                      bool small_files) {
    *out = NULL;
    hf_folder *f = calloc(1, sizeof *f);
    if (!f) return kd_fail_memory(sizeof *f, folder);
    f->vocabulary = vocabulary;
    int status = open_vocabulary(f, folder, small_files);
    if (status == KD_OK && small_files) status = open_added(f, folder);
    if (status == KD_OK) status = check_pipeline(f);
    if (status == KD_OK) status = fill_list(f);
    if (status == KD_OK) status = list_beyond(f);
    const kd_added_tokens added = {.token = f->beyond, .count = f->beyond_count};
    if (status == KD_OK)
        status = kd_tokenizer_create_added(out, f->list.token, f->list.count, vocabulary, &added,
                                           f->path);
    if (status == KD_OK) status = check_merges(f, *out, folder);
    if (status == KD_OK) status = visit_specials(f, *out, check_special);
    if (status < 0) {
        kd_tokenizer_free(*out);
        *out = NULL;
    } else if (small_files) {
        warn_of_beyond(f);
    }
    list_free(&f->list);
    free(f->beyond);
    kd_json_free(f->json);
    kd_json_free(f->added_json);
    free(f);
    return status;
}

int kd_tokenizer_read_folder(kd_tokenizer **out, const char *folder, int64_t vocabulary) {
    char small[KD_PATH_MAX], whole[KD_PATH_MAX];
    kd_tokenizer *second = NULL;
    *out = NULL;
    int status = kd_path_join(small, folder, "vocab.json");
    if (status == KD_OK) status = kd_path_join(whole, folder, "tokenizer.json");
    if (status < 0) return status;
    const bool has_small = kd_file_exists(small), has_whole = kd_file_exists(whole);
    if (!has_small && !has_whole)
        return kd_fail(KD_ENOINPUT,
                       "%s: no tokenizer: neither vocab.json nor tokenizer.json is there", folder);
    status = read_files(out, folder, vocabulary, has_small);
    if (status < 0 || !has_small || !has_whole) return status;
    status = read_files(&second, folder, vocabulary, false);
    if (status == KD_OK && strcmp(kd_tokenizer_hash(*out).hex, kd_tokenizer_hash(second).hex) != 0)
        status = kd_fail(KD_EDATA, "%s: has other tokens than vocab.json beside it", whole);
    kd_tokenizer_free(second);
    if (status < 0) {
        kd_tokenizer_free(*out);
        *out = NULL;
    }
    return status;
}
