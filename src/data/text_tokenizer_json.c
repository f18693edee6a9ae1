/* The tokens of a tokenizer.json: model and added_tokens. */
#include "data/text_tokenizer_json.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/token_letters.h"

/* What is gathered before there is a tokenizer. */
typedef struct {
    const kd_json *json;
    const cJSON *root, *model, *vocab, *added;
    const char *name;
    kd_token_model kind;
    bool letters;
    kd_token_bytes *token; /* (count) */
    char *bytes;           /* of all tokens */
    size_t used;
    int64_t count;
    kd_text_tokenizer *t;
} json_reader;

int kd_text_json_fail(const kd_json *json, const cJSON *item, const char *wanted) {
    char place[KD_PATH_MAX + 64];
    return kd_fail(KD_EDATA, "%s: should be %s",
                   kd_json_place(place, sizeof place, json, item, false), wanted);
}

bool kd_text_json_is(const cJSON *item, const char *text) {
    return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

/* --- the model -------------------------------------------------------------------------------- */

static int find_model(json_reader *r) {
    r->model = kd_json_get(r->root, "model");
    r->vocab = kd_json_get(r->model, "vocab");
    r->added = kd_json_get(r->root, "added_tokens");
    r->letters = kd_text_json_has_letters(r->root);
    const cJSON *type = kd_json_get(r->model, "type");
    if (!type) /* as older files are */
        r->kind = cJSON_IsArray(r->vocab)           ? KD_MODEL_UNIGRAM
                  : kd_json_get(r->model, "merges") ? KD_MODEL_BPE
                                                    : KD_MODEL_WORDPIECE;
    else if (kd_text_json_is(type, "BPE"))
        r->kind = KD_MODEL_BPE;
    else if (kd_text_json_is(type, "Unigram"))
        r->kind = KD_MODEL_UNIGRAM;
    else if (kd_text_json_is(type, "WordPiece"))
        r->kind = KD_MODEL_WORDPIECE;
    else
        return kd_text_json_fail(r->json, type, "\"BPE\", \"Unigram\" or \"WordPiece\"");
    const bool list = r->kind == KD_MODEL_UNIGRAM;
    if (list ? !cJSON_IsArray(r->vocab) : !cJSON_IsObject(r->vocab))
        return kd_text_json_fail(r->json, r->vocab ? r->vocab : r->root,
                                 "a tokenizer: model.vocab with its tokens");
    if (r->added && !cJSON_IsArray(r->added))
        return kd_text_json_fail(r->json, r->added, "a list of tokens");
    return KD_OK;
}

/* Settings of BPE that change what a text becomes, and that we have not. */
static int check_model(const json_reader *r) {
    const char *const empty[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty && r->kind == KD_MODEL_BPE; i++) {
        const cJSON *item = kd_json_get(r->model, empty[i]);
        if (item && !cJSON_IsNull(item) && !kd_text_json_is(item, "") &&
            !(cJSON_IsNumber(item) && item->valuedouble == 0))
            return kd_text_json_fail(r->json, item, "empty: no other way is known here");
    }
    const cJSON *prefix = kd_json_get(r->model, "continuing_subword_prefix");
    if (r->kind == KD_MODEL_WORDPIECE && prefix && !kd_text_json_is(prefix, "##"))
        return kd_text_json_fail(r->json, prefix, "\"##\"");
    return KD_OK;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static const cJSON *added_content(const cJSON *item) {
    return kd_json_get(item, "content");
}

static int check_id(const json_reader *r, const cJSON *id) {
    if (!id || !kd_json_is_integer(id) || id->valuedouble < 0 ||
        id->valuedouble >= KD_TEXT_VOCABULARY_MAX)
        return kd_text_json_fail(r->json, id ? id : r->root, "an id, a whole number below 2^24");
    return KD_OK;
}

/* How many ids and bytes there are. */
static int measure(json_reader *r, size_t *bytes) {
    double last = -1;
    int status = KD_OK;
    *bytes = 0;
    if (r->kind == KD_MODEL_UNIGRAM) last = cJSON_GetArraySize(r->vocab) - 1;
    for (const cJSON *item = r->vocab->child; item && status == KD_OK; item = item->next) {
        if (r->kind == KD_MODEL_UNIGRAM) {
            const cJSON *score = item->child ? item->child->next : NULL;
            if (!cJSON_IsString(item->child) || !cJSON_IsNumber(score) || score->next)
                return kd_text_json_fail(r->json, item, "a token and its score");
            *bytes += strlen(item->child->valuestring) + 1;
            continue;
        }
        status = check_id(r, item);
        if (item->valuedouble > last) last = item->valuedouble;
        *bytes += strlen(item->string) + 1;
    }
    for (const cJSON *item = r->added ? r->added->child : NULL; item && status == KD_OK;
         item = item->next) {
        const cJSON *id = kd_json_get(item, "id");
        if (!cJSON_IsString(added_content(item)) || !id)
            return kd_text_json_fail(r->json, item, "a token: its content and its id");
        status = check_id(r, id);
        if (id->valuedouble > last) last = id->valuedouble;
        *bytes += strlen(added_content(item)->valuestring) + 1;
    }
    r->count = (int64_t)last + 1;
    return status;
}

/* `text` becomes token `id`; letters are read as bytes where they are all letters. */
static int put(json_reader *r, const cJSON *item, int64_t id, const char *text, bool letters) {
    char *out = r->bytes + r->used;
    const size_t length = strlen(text);
    if (r->token[id].bytes) {
        kd_text_json_fail(r->json, item, "a token with an id of its own");
        return KD_EDATA;
    }
    int64_t n = letters ? kd_letters_read(out, text, length) : -1;
    if (n < 0) {
        memcpy(out, text, length);
        n = (int64_t)length;
    }
    r->token[id] = (kd_token_bytes){out, (size_t)n};
    r->used += (size_t)n + 1; /* so that an empty token has its own place, too */
    return KD_OK;
}

static int gather(json_reader *r) {
    size_t bytes;
    int64_t at = 0;
    int status = measure(r, &bytes);
    if (status < 0) return status;
    r->token = calloc((size_t)r->count + 1, sizeof *r->token);
    r->bytes = malloc(bytes + 1);
    if (!r->token || !r->bytes) return kd_fail_memory(bytes, r->name);
    const bool list = r->kind == KD_MODEL_UNIGRAM;
    for (const cJSON *item = r->vocab->child; item && status == KD_OK; item = item->next, at++)
        status = list ? put(r, item, at, item->child->valuestring, false)
                      : put(r, item, (int64_t)item->valuedouble, item->string, r->letters);
    for (const cJSON *item = r->added ? r->added->child : NULL; item && status == KD_OK;
         item = item->next) {
        const int64_t id = (int64_t)kd_json_get(item, "id")->valuedouble;
        const char *text = added_content(item)->valuestring;
        if (!r->token[id].bytes) status = put(r, item, id, text, false);
    }
    return status;
}

/* --- what each token is ----------------------------------------------------------------------- */

static bool flag(const cJSON *item, const char *key) {
    return cJSON_IsTrue(kd_json_get(item, key));
}

/* Vocabularies of letters list "<|im_start|>" among the ordinary tokens, as the text it is. */
static int add_token(json_reader *r, const cJSON *item) {
    kd_text_tokenizer *t = r->t;
    const int32_t id = (int32_t)kd_json_get(item, "id")->valuedouble;
    const cJSON *content = added_content(item);
    const kd_token_bytes own = kd_token_table_get(&t->table, id);
    kd_added_token added = {.id = id,
                            .left = flag(item, "lstrip"),
                            .right = flag(item, "rstrip"),
                            .normalized = flag(item, "normalized"),
                            .length = strlen(content->valuestring)};
    if (flag(item, "single_word"))
        return kd_text_json_fail(r->json, kd_json_get(item, "single_word"),
                                 "false: tokens that must be whole words are not known here");
    if (added.normalized && t->normal.count > 0) {
        int status = kd_text_normal_apply(&added.text, &added.length, &t->normal,
                                          content->valuestring, added.length);
        if (status < 0) return status;
        if (added.length == 0) {
            free(added.text);
            return kd_text_json_fail(r->json, content,
                                     "a text that the normalizer leaves something of");
        }
    } else if (own.length != added.length ||
               memcmp(own.bytes, content->valuestring, added.length) != 0) {
        added.text = strdup(content->valuestring);
        if (!added.text) return kd_fail_memory(added.length, r->name);
    }
    const int status = kd_text_tokenizer_add_token(t, &added);
    if (status < 0) free(added.text);
    return status;
}

/* Byte tokens are those of six letters that byte_fallback uses. */
static void mark_kinds(json_reader *r) {
    kd_text_tokenizer *t = r->t;
    for (int32_t id = 0; id < t->ids.vocabulary; id++) {
        const kd_token_bytes token = kd_token_table_get(&t->table, id);
        if (token.length == 0)
            t->kind[id] = KD_TOKEN_UNUSED;
        else if (t->byte_fallback && token.length == 6 && memcmp(token.bytes, "<0x", 3) == 0)
            t->kind[id] = KD_TOKEN_BYTE;
    }
    for (const cJSON *item = r->added ? r->added->child : NULL; item; item = item->next) {
        const int32_t id = (int32_t)kd_json_get(item, "id")->valuedouble;
        t->kind[id] = flag(item, "special") ? KD_TOKEN_CONTROL : KD_TOKEN_USER;
    }
}

static int read_scores(json_reader *r) {
    kd_text_tokenizer *t = r->t;
    const size_t n = (size_t)t->ids.vocabulary;
    int32_t id = 0;
    t->score = calloc(n, sizeof *t->score);
    if (!t->score) return kd_fail_memory(n * sizeof *t->score, r->name);
    for (const cJSON *item = r->vocab->child; item; item = item->next)
        t->score[id++] = item->child->next->valuedouble;
    return KD_OK;
}

/* The unknown token: by its text, or the unigram's by its id. */
static int read_unknown(json_reader *r) {
    kd_text_tokenizer *t = r->t;
    const cJSON *id = kd_json_get(r->model, "unk_id"), *text = kd_json_get(r->model, "unk_token");
    if (r->kind == KD_MODEL_UNIGRAM && id && !cJSON_IsNull(id)) {
        if (!kd_json_is_integer(id) || id->valuedouble < 0 || id->valuedouble >= t->ids.vocabulary)
            return kd_text_json_fail(r->json, id, "the id of a token");
        t->ids.unknown = (int32_t)id->valuedouble;
    } else if (r->kind != KD_MODEL_UNIGRAM && cJSON_IsString(text)) {
        for (int32_t i = 0; i < t->ids.vocabulary && t->ids.unknown < 0; i++) {
            const kd_token_bytes token = kd_token_table_get(&t->table, i);
            if (token.length == strlen(text->valuestring) &&
                memcmp(token.bytes, text->valuestring, token.length) == 0)
                t->ids.unknown = i;
        }
        if (t->ids.unknown < 0)
            return kd_text_json_fail(r->json, text, "a token of the vocabulary");
    }
    if (t->ids.unknown >= 0) t->kind[t->ids.unknown] = KD_TOKEN_UNKNOWN;
    return KD_OK;
}

/* --- merges ----------------------------------------------------------------------------------- */

/* The id of one half of a merge, `length` bytes as the file writes them; −1: none. */
static int32_t half_of(const json_reader *r, const char *text, size_t length) {
    char bytes[1024];
    if (length > sizeof bytes) return -1;
    if (!r->letters) return kd_token_table_find(&r->t->table, text, length);
    const int64_t n = kd_letters_read(bytes, text, length);
    return n < 0 ? -1 : kd_token_table_find(&r->t->table, bytes, (size_t)n);
}

/* A merge is "a b" or ["a", "b"]. */
static int read_merge(json_reader *r, const cJSON *item) {
    const cJSON *first = cJSON_IsArray(item) ? item->child : NULL;
    const cJSON *second = first ? first->next : NULL;
    int32_t left = -1, right = -1;
    if (cJSON_IsString(item)) {
        const char *text = item->valuestring, *space = strchr(text, ' ');
        if (space) {
            left = half_of(r, text, (size_t)(space - text));
            right = half_of(r, space + 1, strlen(space + 1));
        }
    } else if (cJSON_IsString(first) && cJSON_IsString(second)) {
        left = half_of(r, first->valuestring, strlen(first->valuestring));
        right = half_of(r, second->valuestring, strlen(second->valuestring));
    }
    if (left < 0 || right < 0)
        return kd_text_json_fail(r->json, item, "two tokens of the vocabulary that are merged");
    return kd_text_tokenizer_add_merge(r->t, left, right);
}

static int read_merges(json_reader *r) {
    const cJSON *merges = kd_json_get(r->model, "merges");
    int status = KD_OK;
    if (!cJSON_IsArray(merges))
        return kd_text_json_fail(r->json, merges ? merges : r->model, "BPE: a list of merges");
    for (const cJSON *item = merges->child; item && status == KD_OK; item = item->next)
        status = read_merge(r, item);
    return status;
}

/* --- the whole -------------------------------------------------------------------------------- */

static int read_flags(json_reader *r) {
    kd_text_tokenizer *t = r->t;
    const cJSON *most = kd_json_get(r->model, "max_input_chars_per_word");
    t->model = r->kind;
    t->letters = r->letters;
    t->byte_fallback = flag(r->model, "byte_fallback");
    t->whole_first = flag(r->model, "ignore_merges");
    t->fuse_unknown = r->kind == KD_MODEL_UNIGRAM || flag(r->model, "fuse_unk");
    if (most &&
        (!kd_json_is_integer(most) || most->valuedouble < 1 || most->valuedouble > INT32_MAX))
        return kd_text_json_fail(r->json, most, "a number of characters");
    if (most) t->word_max = (int32_t)most->valuedouble;
    return KD_OK;
}

static int read_all(json_reader *r) {
    int status = find_model(r);
    if (status == KD_OK) status = check_model(r);
    if (status == KD_OK) status = gather(r);
    if (status == KD_OK) status = kd_text_tokenizer_start(&r->t, r->token, r->count, r->name);
    if (status == KD_OK) status = read_flags(r);
    if (status < 0) return status;
    mark_kinds(r);
    status = read_unknown(r);
    if (status == KD_OK) status = kd_text_tokenizer_index(r->t, r->name);
    if (status == KD_OK && r->kind == KD_MODEL_UNIGRAM) status = read_scores(r);
    if (status == KD_OK && r->kind == KD_MODEL_BPE) status = read_merges(r);
    if (status == KD_OK) status = kd_text_json_read_pipeline(r->t, r->json);
    for (const cJSON *item = r->added ? r->added->child : NULL; item && status == KD_OK;
         item = item->next)
        status = add_token(r, item);
    if (status == KD_OK) status = kd_text_tokenizer_finish(r->t, r->name);
    return status;
}

int kd_text_tokenizer_parse_json(kd_text_tokenizer **out, const char *text, size_t length,
                                 const char *name) {
    kd_json *json;
    *out = NULL;
    int status = kd_json_parse(&json, text, length, name);
    if (status < 0) return status;
    json_reader r = {.json = json, .root = kd_json_root(json), .name = name};
    status = read_all(&r);
    free(r.token);
    free(r.bytes);
    kd_json_free(json);
    if (status < 0) {
        kd_text_tokenizer_free(r.t);
        return status;
    }
    *out = r.t;
    return KD_OK;
}
