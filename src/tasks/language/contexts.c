#include "tasks/language/contexts.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"

static int open_tokens(kd_contexts *c, const kd_text_paths *paths, const char *name,
                       const kd_text_tokenizer *tokenizer, const char *cache) {
    const char *path[KD_TEXTS_MAX];
    for (int i = 0; i < paths->count; i++) path[i] = paths->path[i];
    const kd_text_source source = {.tokenizer = tokenizer,
                                   .path = path,
                                   .count = paths->count,
                                   .end = kd_text_tokenizer_ids(tokenizer)->eos};
    return kd_text_tokens_open(&c->tokens, &source, cache, name);
}

int kd_contexts_open(kd_contexts **out, const kd_text_paths *paths, const char *name,
                     const kd_text_tokenizer *tokenizer, int64_t length, const char *cache) {
    char key[32];
    *out = NULL;
    kd_contexts *c = calloc(1, sizeof *c);
    if (!c) return kd_fail_memory(sizeof *c, "contexts");
    snprintf(key, sizeof key, "data.%s", name);
    c->learnt = malloc(kd_array_bytes(length, 1));
    int status = c->learnt ? KD_OK : kd_fail_memory((size_t)length, "contexts");
    if (status == KD_OK) status = open_tokens(c, paths, key, tokenizer, cache);
    const kd_text_packing packing = {.length = length};
    if (status == KD_OK) status = kd_text_contexts_open(&c->text, c->tokens, &packing, key);
    if (status < 0) {
        kd_contexts_close(c);
        return status;
    }
    *out = c;
    return KD_OK;
}

int kd_contexts_keep(kd_contexts *contexts, const char *cache) {
    return contexts ? kd_text_tokens_keep(contexts->tokens, cache) : KD_OK;
}

void kd_contexts_close(kd_contexts *contexts) {
    if (!contexts) return;
    kd_text_contexts_close(contexts->text);
    kd_text_tokens_close(contexts->tokens);
    free(contexts->learnt);
    free(contexts);
}

int64_t kd_contexts_count(const kd_contexts *contexts) {
    return kd_text_contexts_count(contexts->text);
}

int64_t kd_contexts_length(const kd_contexts *contexts) {
    return kd_text_contexts_length(contexts->text);
}

kd_hash kd_contexts_hash(const kd_contexts *contexts) {
    return kd_text_contexts_hash(contexts->text);
}

double kd_contexts_bytes(const kd_contexts *contexts) {
    return kd_text_contexts_bytes(contexts->text);
}

int64_t kd_contexts_read(kd_contexts *c, int64_t i, int32_t *token, int32_t *first, int32_t *label,
                         uint8_t *valid) {
    kd_text_contexts_read(c->text, i, token, first, c->learnt);
    return kd_text_targets(label, valid, token, first, c->learnt, kd_contexts_length(c));
}
