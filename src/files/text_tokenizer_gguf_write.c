/* A tokenizer as GGUF's keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "data/text_tokenizer_inside.h"
#include "data/token_letters.h"
#include "files/text_tokenizer_gguf.h"

static const char MARK[] = "\xE2\x96\x81";

/* Texts one behind the other, each 0-terminated. */
typedef struct {
    const char **text;
    char *bytes;
    size_t used;
} texts;

static int texts_create(texts *list, size_t count, size_t bytes) {
    *list = (texts){.text = malloc((count + 1) * sizeof *list->text), .bytes = malloc(bytes + 1)};
    return list->text && list->bytes ? KD_OK : kd_fail_memory(bytes, "a GGUF file");
}

static void texts_free(texts *list) {
    free(list->text);
    free(list->bytes);
}

/* As the file writes token `id`, 0-terminated; the length. */
static size_t spell(char *out, const kd_text_tokenizer *t, int32_t id) {
    const kd_token_bytes token = kd_token_table_get(&t->table, id);
    const bool plain = t->kind[id] == KD_TOKEN_NORMAL;
    if (token.length == 0) return (size_t)sprintf(out, "[PAD%d]", (int)id);
    if (t->letters && plain) {
        kd_letters_spell(out, token.bytes, token.length);
        return strlen(out);
    }
    size_t n = 0, skip = 0;
    if (t->model == KD_MODEL_WORDPIECE && plain) {
        if (token.length >= 2 && memcmp(token.bytes, "##", 2) == 0)
            skip = 2;
        else
            memcpy(out, MARK, 3), n = 3;
    }
    memcpy(out + n, token.bytes + skip, token.length - skip);
    n += token.length - skip;
    out[n] = '\0';
    return n;
}

static int add_tokens(kd_gguf_writer *w, const kd_text_tokenizer *t, int64_t rows) {
    const int64_t V = t->ids.vocabulary;
    texts list;
    int32_t *type = malloc(kd_array_bytes(rows, sizeof *type));
    int status = texts_create(&list, (size_t)rows, 2 * t->table.start[V] + 24 * (size_t)rows);
    if (!type && status == KD_OK) status = kd_fail_memory((size_t)rows * sizeof *type, "tokens");
    for (int64_t id = 0; id < rows && status == KD_OK; id++) {
        char *out = list.bytes + list.used;
        list.text[id] = out;
        list.used += 1 + (id < V ? spell(out, t, (int32_t)id)
                                 : (size_t)sprintf(out, "[PAD%lld]", (long long)id));
        type[id] = id < V ? t->kind[id] : KD_TOKEN_UNUSED;
    }
    if (status == KD_OK) {
        kd_gguf_add_strings(w, "tokenizer.ggml.tokens", list.text, (uint64_t)rows);
        kd_gguf_add_i32s(w, "tokenizer.ggml.token_type", type, (uint64_t)rows);
    }
    texts_free(&list);
    free(type);
    return status;
}

static int add_merges(kd_gguf_writer *w, const kd_text_tokenizer *t) {
    size_t bytes = 0;
    texts list;
    for (int64_t i = 0; i < t->merges; i++)
        bytes += 2 * (kd_token_table_get(&t->table, (int32_t)(t->merge[i] >> 32)).length +
                      kd_token_table_get(&t->table, (int32_t)t->merge[i]).length) +
                 2;
    int status = texts_create(&list, (size_t)t->merges, bytes);
    for (int64_t i = 0; i < t->merges && status == KD_OK; i++) {
        const int32_t half[2] = {(int32_t)(t->merge[i] >> 32), (int32_t)t->merge[i]};
        list.text[i] = list.bytes + list.used;
        for (int k = 0; k < 2; k++) {
            const kd_token_bytes token = kd_token_table_get(&t->table, half[k]);
            kd_letters_spell(list.bytes + list.used, token.bytes, token.length);
            list.used += strlen(list.bytes + list.used) + 1;
            if (k == 0) list.bytes[list.used - 1] = ' ';
        }
    }
    if (status == KD_OK)
        kd_gguf_add_strings(w, "tokenizer.ggml.merges", list.text, (uint64_t)t->merges);
    texts_free(&list);
    return status;
}

/* A model that goes by merges has scores in their order; where there are merges to one token by
 * several ways, the first counts, as llama.cpp joins by tokens. */
static int add_scores(kd_gguf_writer *w, const kd_text_tokenizer *t, int64_t rows) {
    float *score = calloc(kd_array_bytes(rows, 1), sizeof *score);
    if (!score) return kd_fail_memory((size_t)rows * sizeof *score, "scores");
    for (int64_t id = 0; id < t->ids.vocabulary && t->score; id++) score[id] = (float)t->score[id];
    for (int64_t i = 0; i < t->slots && !t->score; i++) {
        const kd_join join = t->slot[i].join;
        if (t->slot[i].pair == KD_NO_MERGE) continue;
        const float own = -1.0f - (float)join.rank;
        if (score[join.id] == 0 || score[join.id] < own) score[join.id] = own;
    }
    kd_gguf_add_f32s(w, "tokenizer.ggml.scores", score, (uint64_t)rows);
    free(score);
    return KD_OK;
}

static bool has_step(const kd_text_tokenizer *t, kd_normal_kind kind) {
    for (int i = 0; i < t->normal.count; i++)
        if (t->normal.step[i].kind == kind) return true;
    return false;
}

static void add_ids(kd_gguf_writer *w, const kd_text_tokenizer *t) {
    const struct {
        const char *key;
        int32_t id;
    } known[] = {
        {"tokenizer.ggml.bos_token_id", t->ids.bos},
        {"tokenizer.ggml.eos_token_id", t->ids.eos},
        {"tokenizer.ggml.unknown_token_id", t->ids.unknown},
        {"tokenizer.ggml.padding_token_id", t->ids.padding},
        {"tokenizer.ggml.mask_token_id", t->ids.mask},
        {"tokenizer.ggml.seperator_token_id", t->ids.separator}, /* as llama.cpp spells it */
        {"tokenizer.ggml.cls_token_id", t->ids.classify}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].id >= 0) kd_gguf_add_u32(w, known[i].key, (uint32_t)known[i].id);
    bool bos = false, eos = false;
    for (int i = 0; i < t->before_count; i++) bos |= t->before[i] == t->ids.bos;
    for (int i = 0; i < t->after_count; i++) eos |= t->after[i] == t->ids.eos;
    kd_gguf_add_bool(w, "tokenizer.ggml.add_bos_token", bos);
    kd_gguf_add_bool(w, "tokenizer.ggml.add_eos_token", eos);
}

/* llama.cpp's word for the split, or NULL. */
static const char *pre_of(const kd_text_tokenizer *t) {
    switch (t->split) {
    case KD_SPLIT_GPT2:
        return t->whole_first ? NULL : "gpt-2";
    case KD_SPLIT_DIGITS:
        return t->whole_first ? NULL : "smollm";
    case KD_SPLIT_LLAMA3:
        return t->whole_first ? "llama-bpe" : NULL;
    case KD_SPLIT_QWEN2:
        return t->whole_first ? NULL : "qwen2";
    default:
        return NULL;
    }
}

int kd_text_tokenizer_add_gguf(kd_gguf_writer *w, const kd_text_tokenizer *t, int64_t rows) {
    const char *pre = t->letters ? pre_of(t) : "default";
    if (rows < t->ids.vocabulary)
        return kd_fail(KD_EDATA, "a tokenizer of %d tokens for a model of %lld", t->ids.vocabulary,
                       (long long)rows);
    if (!pre)
        return kd_fail(KD_EDATA, "llama.cpp has no tokenizer that splits as this one does%s",
                       t->whole_first ? " and takes whole tokens first" : "");
    if (t->model == KD_MODEL_UNIGRAM || t->spaces != KD_SPACES_KEPT)
        return kd_fail(KD_EDATA, "unigram tokenizers and Metaspace are not written to GGUF");
    const bool words = t->model == KD_MODEL_WORDPIECE;
    kd_gguf_add_string(w, "tokenizer.ggml.model", t->letters ? "gpt2" : words ? "bert" : "llama");
    kd_gguf_add_string(w, "tokenizer.ggml.pre", pre);
    int status = add_tokens(w, t, rows);
    if (status == KD_OK && t->letters) status = add_merges(w, t);
    if (status == KD_OK && !t->letters && !words) {
        status = add_scores(w, t, rows);
        kd_gguf_add_bool(w, "tokenizer.ggml.add_space_prefix", has_step(t, KD_NORMAL_PREPEND));
    }
    if (status < 0) return status;
    add_ids(w, t);
    if (words) kd_gguf_add_u32(w, "tokenizer.ggml.token_type_count", 2);
    if (t->chat_template) kd_gguf_add_string(w, "tokenizer.chat_template", t->chat_template);
    return KD_OK;
}
