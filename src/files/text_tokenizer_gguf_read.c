/* A tokenizer from GGUF's keys. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "data/text_tokenizer_inside.h"
#include "data/token_letters.h"
#include "files/text_tokenizer_gguf.h"

typedef struct {
    const kd_gguf *gguf;
    const char *name;
    const kd_gguf_key *tokens, *types;
    kd_token_bytes *token; /* (count) */
    char *bytes;
    int64_t count;
    kd_text_tokenizer *t;
} gguf_reader;

/* --- keys ------------------------------------------------------------------------------------- */

static const kd_gguf_key *find(const gguf_reader *r, const char *key) {
    char path[64];
    snprintf(path, sizeof path, "tokenizer.ggml.%s", key);
    return kd_gguf_find_key(r->gguf, path);
}

static int fail(const gguf_reader *r, const char *key, const char *wanted) {
    return kd_fail(KD_EDATA, "%s: tokenizer.ggml.%s should be %s", r->name, key, wanted);
}

/* A list of `count` elements, any number for −1; *out is NULL when it is not there. */
static int find_list(const kd_gguf_key **out, const gguf_reader *r, const char *key,
                     kd_gguf_kind element, int64_t count) {
    const kd_gguf_key *k = find(r, key);
    *out = k;
    if (!k) return KD_OK;
    if (k->kind != KD_GGUF_ARRAY || k->element != element)
        return fail(r, key,
                    element == KD_GGUF_STRING ? "a list of texts" : "a list of 32-bit numbers");
    if (count >= 0 && k->count != (uint64_t)count)
        return kd_fail(KD_EDATA, "%s: tokenizer.ggml.%s has %llu entries for %lld tokens", r->name,
                       key, (unsigned long long)k->count, (long long)count);
    return KD_OK;
}

static bool text_is(const kd_gguf_key *k, const char *text) {
    if (!k || k->kind != KD_GGUF_STRING) return false;
    const unsigned char *at = k->value;
    const kd_gguf_string s = kd_gguf_next_string(&at);
    return s.length == strlen(text) && memcmp(s.text, text, (size_t)s.length) == 0;
}

static bool flag(const gguf_reader *r, const char *key, bool otherwise) {
    const kd_gguf_key *k = find(r, key);
    return k && k->kind == KD_GGUF_BOOL ? k->value[0] != 0 : otherwise;
}

/* A token's id; what is not there stays as it is. */
static int read_id(int32_t *id, const gguf_reader *r, const char *key) {
    const kd_gguf_key *k = find(r, key);
    uint32_t value;
    if (!k) return KD_OK;
    if (k->kind != KD_GGUF_U32 && k->kind != KD_GGUF_I32) return fail(r, key, "a token's id");
    memcpy(&value, k->value, sizeof value);
    if (value == UINT32_MAX) return KD_OK; /* some files say so that there is none */
    if (value >= (uint64_t)r->count)
        return kd_fail(KD_EDATA, "%s: tokenizer.ggml.%s is %u, of %lld tokens", r->name, key, value,
                       (long long)r->count);
    *id = (int32_t)value;
    return KD_OK;
}

/* --- tokens ----------------------------------------------------------------------------------- */

static int32_t type_of(const gguf_reader *r, int64_t id) {
    int32_t type = KD_TOKEN_NORMAL;
    if (r->types) memcpy(&type, r->types->value + 4 * id, sizeof type);
    return type;
}

/* The bytes a token's text stands for: letters of bytes, BERT's "▁word" and "part" for "##part". */
static size_t put(char *out, kd_gguf_string s, kd_token_model model, bool letters, int32_t type) {
    const bool plain = type == KD_TOKEN_NORMAL;
    if (letters && plain) {
        const int64_t n = kd_letters_read(out, s.text, (size_t)s.length);
        if (n >= 0) return (size_t)n;
    }
    if (model == KD_MODEL_WORDPIECE && plain) {
        if (s.length >= 3 && memcmp(s.text, "\xE2\x96\x81", 3) == 0) {
            memcpy(out, s.text + 3, (size_t)s.length - 3);
            return (size_t)s.length - 3;
        }
        memcpy(out, "##", 2);
        memcpy(out + 2, s.text, (size_t)s.length);
        return (size_t)s.length + 2;
    }
    if (s.length) memcpy(out, s.text, (size_t)s.length);
    return (size_t)s.length;
}

static int gather(gguf_reader *r, kd_token_model model, bool letters) {
    size_t room = 0, used = 0;
    int status = find_list(&r->tokens, r, "tokens", KD_GGUF_STRING, -1);
    if (status == KD_OK && !r->tokens)
        status = kd_fail(KD_EDATA, "%s: has no tokenizer.ggml.tokens", r->name);
    if (status < 0) return status;
    if (r->tokens->count < 1 || r->tokens->count > KD_TEXT_VOCABULARY_MAX)
        return fail(r, "tokens", "1 to 2^22 texts");
    r->count = (int64_t)r->tokens->count;
    status = find_list(&r->types, r, "token_type", KD_GGUF_I32, r->count);
    if (status < 0) return status;
    const unsigned char *at = r->tokens->value;
    for (int64_t i = 0; i < r->count; i++) room += (size_t)kd_gguf_next_string(&at).length + 2;
    r->token = malloc(kd_array_bytes(r->count, sizeof *r->token));
    r->bytes = malloc(room);
    if (!r->token || !r->bytes) return kd_fail_memory(room, r->name);
    at = r->tokens->value;
    for (int64_t i = 0; i < r->count; i++) {
        const size_t n =
            put(r->bytes + used, kd_gguf_next_string(&at), model, letters, type_of(r, i));
        r->token[i] = (kd_token_bytes){r->bytes + used, n};
        used += n;
    }
    return KD_OK;
}

/* Control and user tokens are found in texts; of files without types, none. */
static int mark_kinds(gguf_reader *r) {
    int status = KD_OK;
    for (int32_t id = 0; id < r->count && status == KD_OK; id++) {
        const int32_t type = type_of(r, id);
        const bool empty = r->token[id].length == 0;
        if (type < 0 || type > KD_TOKEN_BYTE) return fail(r, "token_type", "numbers of 1 to 6");
        r->t->kind[id] = (uint8_t)(empty || type == 0 ? KD_TOKEN_UNUSED : type);
        if (!empty &&
            (type == KD_TOKEN_CONTROL || type == KD_TOKEN_USER || type == KD_TOKEN_UNKNOWN))
            status = kd_text_tokenizer_add_token(r->t, &(kd_added_token){.id = id});
    }
    return status;
}

static int read_scores(gguf_reader *r) {
    const kd_gguf_key *k;
    int status = find_list(&k, r, "scores", KD_GGUF_F32, r->count);
    if (status == KD_OK && !k) status = fail(r, "scores", "there: this model goes by them");
    if (status < 0) return status;
    r->t->score = malloc(kd_array_bytes(r->count, sizeof *r->t->score));
    if (!r->t->score) return kd_fail_memory((size_t)r->count * sizeof *r->t->score, r->name);
    for (int64_t i = 0; i < r->count; i++) {
        float score;
        memcpy(&score, k->value + 4 * i, sizeof score);
        if (!(score > -1e30f && score < 1e30f)) return fail(r, "scores", "finite numbers");
        r->t->score[i] = score;
    }
    return KD_OK;
}

static int32_t half_of(const gguf_reader *r, const char *text, size_t length) {
    char bytes[1024];
    const int64_t n = length > sizeof bytes ? -1 : kd_letters_read(bytes, text, length);
    return n < 0 ? -1 : kd_token_table_find(&r->t->table, bytes, (size_t)n);
}

static int read_merges(gguf_reader *r) {
    const kd_gguf_key *k;
    int status = find_list(&k, r, "merges", KD_GGUF_STRING, -1);
    if (status == KD_OK && !k) status = fail(r, "merges", "there: BPE goes by them");
    const unsigned char *at = k ? k->value : NULL;
    for (uint64_t i = 0; status == KD_OK && i < k->count; i++) {
        const kd_gguf_string s = kd_gguf_next_string(&at);
        const char *space = s.length ? memchr(s.text + 1, ' ', (size_t)s.length - 1) : NULL;
        const size_t first = space ? (size_t)(space - s.text) : 0;
        const int32_t left = space ? half_of(r, s.text, first) : -1;
        const int32_t right = space ? half_of(r, space + 1, (size_t)s.length - first - 1) : -1;
        if (left < 0 || right < 0)
            return kd_fail(
                KD_EDATA, "%s: merge %llu, '%.*s', should be two tokens with a space between",
                r->name, (unsigned long long)i, (int)(s.length < 40 ? s.length : 40), s.text);
        status = kd_text_tokenizer_add_merge(r->t, left, right);
    }
    return status;
}

/* --- models ----------------------------------------------------------------------------------- */

static int read_ids(gguf_reader *r) {
    kd_text_token_ids *ids = &r->t->ids;
    const struct {
        const char *key;
        int32_t *id;
    } known[] = {{"bos_token_id", &ids->bos},
                 {"eos_token_id", &ids->eos},
                 {"unknown_token_id", &ids->unknown},
                 {"padding_token_id", &ids->padding},
                 {"mask_token_id", &ids->mask},
                 {"seperator_token_id", &ids->separator},
                 {"separator_token_id", &ids->separator},
                 {"cls_token_id", &ids->classify}};
    int status = KD_OK;
    for (size_t i = 0; i < sizeof known / sizeof *known && status == KD_OK; i++)
        status = read_id(known[i].id, r, known[i].key);
    return status;
}

/* What stands around a text. `bos`, `eos`: whether they do when the file says nothing. */
static void set_ends(gguf_reader *r, bool bos, bool eos) {
    kd_text_tokenizer *t = r->t;
    if (flag(r, "add_bos_token", bos) && t->ids.bos >= 0) t->before[t->before_count++] = t->ids.bos;
    if (flag(r, "add_eos_token", eos) && t->ids.eos >= 0) t->after[t->after_count++] = t->ids.eos;
}

static int read_bpe(gguf_reader *r) {
    static const struct {
        const char *pre;
        kd_split split;
    } known[] = {{"gpt-2", KD_SPLIT_GPT2},       {"smollm", KD_SPLIT_DIGITS},
                 {"starcoder", KD_SPLIT_DIGITS}, {"refact", KD_SPLIT_DIGITS},
                 {"command-r", KD_SPLIT_DIGITS}, {"llama-bpe", KD_SPLIT_LLAMA3},
                 {"llama3", KD_SPLIT_LLAMA3},    {"llama-v3", KD_SPLIT_LLAMA3},
                 {"qwen2", KD_SPLIT_QWEN2},      {"deepseek-r1-qwen", KD_SPLIT_QWEN2}};
    kd_text_tokenizer *t = r->t;
    const kd_gguf_key *pre = find(r, "pre");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (text_is(pre, known[i].pre)) t->split = known[i].split;
    if (t->split == KD_SPLIT_NONE)
        return fail(r, "pre",
                    "gpt-2, smollm, starcoder, llama-bpe or qwen2: other splits are not "
                    "known here");
    t->decode = KD_DECODE_BYTES;
    t->whole_first = t->split == KD_SPLIT_LLAMA3;
    set_ends(r, t->split == KD_SPLIT_LLAMA3, false);
    /* Qwen's own tokenizer composes a text first, which llama.cpp leaves out. */
    int status = KD_OK;
    if (t->split == KD_SPLIT_QWEN2)
        status = kd_text_normal_add(&t->normal, KD_NORMAL_NFC, NULL, 0, NULL);
    return status == KD_OK ? read_merges(r) : status;
}

/* SentencePiece's: spaces are marks, one in front of a text and behind added tokens. */
static int read_sentencepiece(gguf_reader *r) {
    static const char mark[] = "\xE2\x96\x81";
    kd_text_tokenizer *t = r->t;
    const bool unigram = t->model == KD_MODEL_UNIGRAM;
    int status = read_scores(r);
    const kd_gguf_key *map = find(r, "precompiled_charsmap");
    if (status == KD_OK && map) {
        if (map->kind != KD_GGUF_ARRAY ||
            (map->element != KD_GGUF_U8 && map->element != KD_GGUF_I8))
            return fail(r, "precompiled_charsmap", "a list of bytes");
        status = kd_text_normal_add(&t->normal, KD_NORMAL_CHARSMAP, (const char *)map->value,
                                    (size_t)map->count, NULL);
    }
    if (status == KD_OK && flag(r, "remove_extra_whitespaces", false)) {
        status = kd_text_normal_add(&t->normal, KD_NORMAL_TRIM, NULL, 0, NULL);
        if (status == KD_OK)
            status = kd_text_normal_add(&t->normal, KD_NORMAL_SPACES, NULL, 0, " ");
    }
    t->strip_first = flag(r, "add_space_prefix", true);
    if (status == KD_OK && t->strip_first)
        status = kd_text_normal_add(&t->normal, KD_NORMAL_PREPEND, NULL, 0, mark);
    if (status == KD_OK) status = kd_text_normal_add(&t->normal, KD_NORMAL_REPLACE, " ", 1, mark);
    t->decode = KD_DECODE_SPACES;
    t->fuse_unknown = true;
    t->user_first = true;
    for (int b = 0; b < 256; b++)
        t->byte_fallback = b == 0 || t->byte_fallback ? t->byte[b] >= 0 : false;
    set_ends(r, !unigram, unigram);
    return status;
}

static int read_wordpiece(gguf_reader *r) {
    static const kd_normal_kind step[] = {KD_NORMAL_BERT_CLEAN, KD_NORMAL_BERT_CJK, KD_NORMAL_NFD,
                                          KD_NORMAL_ACCENTS, KD_NORMAL_LOWER};
    kd_text_tokenizer *t = r->t;
    int status = KD_OK;
    for (size_t i = 0; i < sizeof step / sizeof *step && status == KD_OK; i++)
        status = kd_text_normal_add(&t->normal, step[i], NULL, 0, NULL);
    t->decode = KD_DECODE_WORDPIECE;
    t->tidy = true;
    if (t->ids.classify >= 0) t->before[t->before_count++] = t->ids.classify;
    if (t->ids.separator >= 0) t->after[t->after_count++] = t->ids.separator;
    return status;
}

static int read_template(gguf_reader *r) {
    const kd_gguf_key *k = kd_gguf_find_key(r->gguf, "tokenizer.chat_template");
    if (!k || k->kind != KD_GGUF_STRING) return KD_OK;
    const unsigned char *at = k->value;
    const kd_gguf_string s = kd_gguf_next_string(&at);
    r->t->chat_template = strndup(s.text, (size_t)s.length);
    return r->t->chat_template ? KD_OK : kd_fail_memory(s.length, "a chat template");
}

static int read_all(gguf_reader *r) {
    const kd_gguf_key *k = find(r, "model");
    const bool letters = text_is(k, "gpt2"), words = text_is(k, "bert"), unigram = text_is(k, "t5");
    if (!letters && !words && !unigram && !text_is(k, "llama"))
        return fail(r, "model", "gpt2, llama, t5 or bert");
    const kd_token_model model = words     ? KD_MODEL_WORDPIECE
                                 : unigram ? KD_MODEL_UNIGRAM
                                           : KD_MODEL_BPE;
    int status = gather(r, model, letters);
    if (status == KD_OK) status = kd_text_tokenizer_start(&r->t, r->token, r->count, r->name);
    if (status < 0) return status;
    r->t->model = model;
    r->t->letters = letters;
    status = mark_kinds(r);
    if (status == KD_OK) status = kd_text_tokenizer_index(r->t, r->name);
    if (status == KD_OK) status = read_ids(r);
    if (status == KD_OK)
        status = letters ? read_bpe(r) : words ? read_wordpiece(r) : read_sentencepiece(r);
    if (status == KD_OK) status = read_template(r);
    if (status == KD_OK) status = kd_text_tokenizer_finish(r->t, r->name);
    return status;
}

int kd_text_tokenizer_read_gguf(kd_text_tokenizer **out, const kd_gguf *gguf, const char *name) {
    gguf_reader r = {.gguf = gguf, .name = name};
    *out = NULL;
    const int status = read_all(&r);
    free(r.token);
    free(r.bytes);
    if (status < 0) {
        kd_text_tokenizer_free(r.t);
        return status;
    }
    *out = r.t;
    return KD_OK;
}
