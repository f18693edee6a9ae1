/* Tokenizers in older files: each is written as the tokenizer.json it stands for, which is then
 * read. Lines keep their numbers, so that a message names the right one. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "data/text_tokenizer_json.h"

static const size_t FILE_LIMIT = (size_t)64 << 20;

/* --- vocab.json and merges.txt: GPT-2 --------------------------------------------------------- */

/* "a b" lines as a list of texts; the first line may be a comment. */
static void add_merges(kd_text *out, char *text) {
    bool first = true;
    for (char *at = text, *end; *at; at = end) {
        end = at + strcspn(at, "\n");
        if (*end) *end++ = '\0';
        at[strcspn(at, "\r")] = '\0';
        if (!at[0] || (at == text && at[0] == '#')) continue;
        if (!first) kd_text_add(out, ",");
        kd_json_add_quoted(out, at);
        first = false;
    }
}

static void add_added(kd_text *out, const char *text, double id, bool *first) {
    kd_text_add(out, "%s{\"id\":%.0f,\"special\":true,\"content\":", *first ? "" : ",", id);
    kd_json_add_quoted(out, text);
    kd_text_add(out, "}");
    *first = false;
}

/* GPT-2's <|endoftext|>, which stands among the ordinary tokens, and those of added_tokens.json. */
static int list_added(kd_text *out, const char *folder, const char *vocabulary, const char *name) {
    kd_json *json;
    char path[KD_PATH_MAX];
    bool first = true;
    int status = kd_json_parse(&json, vocabulary, strlen(vocabulary), name);
    if (status < 0) return status;
    const cJSON *end = kd_json_get(kd_json_root(json), "<|endoftext|>");
    if (cJSON_IsNumber(end)) add_added(out, end->string, end->valuedouble, &first);
    kd_json_free(json);
    status = kd_path_join(path, folder, "added_tokens.json");
    if (status < 0 || !kd_file_exists(path)) return status;
    status = kd_json_read(&json, path, FILE_LIMIT);
    if (status < 0) return status;
    for (const cJSON *item = kd_json_root(json)->child; item && status == KD_OK;
         item = item->next) {
        if (!item->string || !cJSON_IsNumber(item))
            status = kd_text_json_fail(json, item, "a token and its id");
        else if (strcmp(item->string, "<|endoftext|>") != 0 || first)
            add_added(out, item->string, item->valuedouble, &first);
    }
    kd_json_free(json);
    return status;
}

static int write_bpe(kd_text *out, const char *folder, const char *path) {
    char *vocabulary = NULL, *merges = NULL, merges_path[KD_PATH_MAX];
    size_t length;
    int status = kd_path_join(merges_path, folder, "merges.txt");
    if (status == KD_OK) status = kd_file_read(&vocabulary, &length, path, FILE_LIMIT);
    if (status == KD_OK) status = kd_file_read(&merges, &length, merges_path, FILE_LIMIT);
    if (status == KD_OK) {
        kd_text_add(out, "{\"model\":{\"type\":\"BPE\",\"vocab\":%s,\"merges\":[", vocabulary);
        add_merges(out, merges);
        kd_text_add(out, "]},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                         "\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[");
        status = list_added(out, folder, vocabulary, path);
        kd_text_add(out, "]}");
    }
    free(vocabulary);
    free(merges);
    return status;
}

/* --- vocab.txt: BERT -------------------------------------------------------------------------- */

static const char *const bert_specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
enum { UNK = 1, CLS, SEP, BERT_SPECIALS = 5 };

/* Whether tokenizer_config.json says that case is kept. */
static int read_case(bool *lower, const char *folder) {
    kd_json *json;
    char path[KD_PATH_MAX];
    *lower = true;
    int status = kd_path_join(path, folder, "tokenizer_config.json");
    if (status < 0 || !kd_file_exists(path)) return status;
    status = kd_json_read(&json, path, FILE_LIMIT);
    if (status < 0) return status;
    *lower = !cJSON_IsFalse(kd_json_get(kd_json_root(json), "do_lower_case"));
    kd_json_free(json);
    return KD_OK;
}

/* The tokens, a line each; where the special ones are. */
static void add_words(kd_text *out, char *text, int64_t special[BERT_SPECIALS]) {
    int64_t id = 0;
    for (char *at = text, *end; *at; at = end, id++) {
        end = at + strcspn(at, "\n");
        if (*end) *end++ = '\0';
        at[strcspn(at, "\r")] = '\0';
        for (int i = 0; i < BERT_SPECIALS; i++)
            if (strcmp(at, bert_specials[i]) == 0) special[i] = id;
        if (id > 0) kd_text_add(out, ",\n");
        kd_json_add_quoted(out, at);
        kd_text_add(out, ":%lld", (long long)id);
    }
}

static int write_wordpiece(kd_text *out, const char *folder, const char *path) {
    char *text;
    size_t length;
    bool lower, first = true;
    int64_t special[BERT_SPECIALS] = {-1, -1, -1, -1, -1};
    int status = read_case(&lower, folder);
    if (status == KD_OK) status = kd_file_read(&text, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    kd_text_add(out, "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{");
    add_words(out, text, special);
    free(text);
    for (int i = UNK; i <= SEP; i++)
        if (special[i] < 0)
            return kd_fail(KD_EDATA, "%s: should have the token %s", path, bert_specials[i]);
    kd_text_add(out,
                "}},\"normalizer\":{\"type\":\"BertNormalizer\",\"lowercase\":%s},"
                "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"decoder\":{\"type\":"
                "\"WordPiece\"},\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\","
                "%lld],\"sep\":[\"[SEP]\",%lld]},\"added_tokens\":[",
                lower ? "true" : "false", (long long)special[CLS], (long long)special[SEP]);
    for (int i = 0; i < BERT_SPECIALS; i++)
        if (special[i] >= 0) add_added(out, bert_specials[i], (double)special[i], &first);
    kd_text_add(out, "]}");
    return KD_OK;
}

/* Which tokens begin, end, pad …, as these models have them. */
static void set_ids(kd_text_tokenizer *t, bool words) {
    kd_text_token_ids *ids = &t->ids;
    if (words) {
        ids->padding = kd_text_tokenizer_find(t, "[PAD]");
        ids->classify = kd_text_tokenizer_find(t, "[CLS]");
        ids->separator = kd_text_tokenizer_find(t, "[SEP]");
        ids->mask = kd_text_tokenizer_find(t, "[MASK]");
    } else {
        ids->bos = ids->eos = kd_text_tokenizer_find(t, "<|endoftext|>");
    }
}

int kd_text_tokenizer_read_older(kd_text_tokenizer **out, const char *folder, const char *path) {
    kd_text text = {0};
    const bool words = kd_ends_with(path, ".txt");
    int status = words ? write_wordpiece(&text, folder, path) : write_bpe(&text, folder, path);
    if (status == KD_OK) status = kd_text_finish(&text, path);
    if (status == KD_OK) status = kd_text_tokenizer_parse_json(out, text.text, text.length, path);
    if (status == KD_OK) set_ids(*out, words);
    free(text.text);
    return status;
}
