#include "tasks/language/contexts.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const size_t TEXT_LIMIT = (size_t)1 << 31;

struct kd_contexts {
    int32_t *token; /* (tokens) of all documents                         */
    int64_t tokens, capacity;
    int64_t *begin; /* (documents) where each begins among them, rising  */
    int64_t documents, length;
    double bytes; /* of text */
    kd_hash hash;
};

static int add_document(kd_contexts *c, const int32_t *id, int64_t n, int32_t end) {
    const int64_t all = c->tokens + n + (end >= 0);
    if (all > c->capacity) {
        const int64_t capacity = all > 2 * c->capacity ? all : 2 * c->capacity;
        int32_t *grown = realloc(c->token, (size_t)capacity * sizeof *grown);
        if (!grown) return kd_fail_memory((size_t)capacity * sizeof *grown, "tokens");
        c->token = grown;
        c->capacity = capacity;
    }
    c->begin[c->documents++] = c->tokens;
    memcpy(c->token + c->tokens, id, (size_t)n * sizeof *id);
    c->tokens = all;
    if (end >= 0) c->token[all - 1] = end;
    return KD_OK;
}

static int add_file(kd_contexts *c, const char *path, const kd_text_tokenizer *tokenizer) {
    char *text;
    size_t length;
    int32_t *id = NULL;
    int64_t n = 0;
    int status = kd_file_read(&text, &length, path, TEXT_LIMIT);
    if (status < 0) return status;
    status = kd_text_tokenizer_encode(&id, &n, tokenizer, text, length, false);
    if (status < 0) kd_fail_in(status, "%s", path);
    if (status == KD_OK && n > 0)
        status = add_document(c, id, n, kd_text_tokenizer_ids(tokenizer)->eos);
    c->bytes += (double)length;
    free(id);
    free(text);
    return status;
}

static int finish(kd_contexts *c, const char *name) {
    const kd_hash part[] = {kd_hash_bytes(c->token, (size_t)c->tokens * sizeof *c->token),
                            kd_hash_bytes(c->begin, (size_t)c->documents * sizeof *c->begin),
                            kd_hash_bytes(&c->length, sizeof c->length)};
    if (c->tokens < c->length)
        return kd_fail(KD_EDATA, "data.%s: %lld tokens; a context has %lld", name,
                       (long long)c->tokens, (long long)c->length);
    c->hash = kd_hash_join(part, 3);
    return KD_OK;
}

int kd_contexts_open(kd_contexts **out, const kd_text_paths *paths, const char *name,
                     const kd_text_tokenizer *tokenizer, int64_t length) {
    *out = NULL;
    kd_contexts *c = calloc(1, sizeof *c);
    if (!c) return kd_fail_memory(sizeof *c, "contexts");
    c->length = length;
    c->begin = malloc((size_t)(paths->count + 1) * sizeof *c->begin);
    int status = c->begin
                     ? KD_OK
                     : kd_fail_memory(sizeof *c->begin * (size_t)(paths->count + 1), "documents");
    for (int i = 0; i < paths->count && status == KD_OK; i++)
        status = add_file(c, paths->path[i], tokenizer);
    if (status == KD_OK) status = finish(c, name);
    if (status < 0) {
        kd_contexts_close(c);
        return status;
    }
    *out = c;
    return KD_OK;
}

void kd_contexts_close(kd_contexts *contexts) {
    if (!contexts) return;
    free(contexts->token);
    free(contexts->begin);
    free(contexts);
}

int64_t kd_contexts_count(const kd_contexts *contexts) {
    return contexts->tokens / contexts->length;
}

int64_t kd_contexts_length(const kd_contexts *contexts) {
    return contexts->length;
}

kd_hash kd_contexts_hash(const kd_contexts *contexts) {
    return contexts->hash;
}

double kd_contexts_bytes(const kd_contexts *c) {
    const int64_t used = kd_contexts_count(c) * c->length;
    return c->bytes * (double)used / (double)c->tokens;
}

/* The last document that begins at or before `at`. */
static int64_t document_of(const kd_contexts *c, int64_t at) {
    int64_t low = 0, high = c->documents;
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (c->begin[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int64_t kd_contexts_read(kd_contexts *c, int64_t i, int32_t *token, int32_t *first, int32_t *label,
                         uint8_t *valid) {
    const int64_t begin = i * c->length;
    int64_t document = document_of(c, begin), targets = 0;
    memcpy(token, c->token + begin, (size_t)c->length * sizeof *token);
    for (int64_t t = 0; t < c->length; t++) {
        while (document + 1 < c->documents && c->begin[document + 1] <= begin + t) document++;
        first[t] = c->begin[document] > begin ? (int32_t)(c->begin[document] - begin) : 0;
    }
    for (int64_t t = 0; t < c->length; t++) {
        valid[t] = t + 1 < c->length && first[t + 1] <= t;
        label[t] = valid[t] ? token[t + 1] : 0;
        targets += valid[t];
    }
    return targets;
}
