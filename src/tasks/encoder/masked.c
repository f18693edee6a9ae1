#include "tasks/encoder/masked.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"

enum { ENDS = 2 }; /* [CLS] and [SEP] */

static int find_special(kd_masked *m, const kd_text_tokenizer *tokenizer, const char *name) {
    const kd_text_token_ids *id = kd_text_tokenizer_ids(tokenizer);
    if (id->classify < 0 || id->separator < 0 || id->mask < 0)
        return kd_fail(KD_EDATA, "%s: the model's tokenizer has no [CLS], [SEP] or [MASK]", name);
    m->cls = id->classify;
    m->sep = id->separator;
    const size_t V = (size_t)id->vocabulary;
    m->special = calloc(V, sizeof *m->special);
    if (!m->special) return kd_fail_memory(V * sizeof *m->special, name);
    for (int32_t i = 0; i < id->vocabulary; i++) {
        const kd_token_kind kind = kd_text_tokenizer_kind(tokenizer, i);
        m->special[i] = kind == KD_TOKEN_CONTROL || kind == KD_TOKEN_UNKNOWN;
    }
    m->masking.mask = id->mask;
    m->masking.vocabulary = id->vocabulary;
    m->masking.special = m->special;
    return KD_OK;
}

static int open_texts(kd_masked *m, const kd_encoder_files *paths, const char *key,
                      const kd_text_tokenizer *tokenizer, const char *cache) {
    const char *path[KD_ENCODER_FILES_MAX];
    const int32_t padding = kd_text_tokenizer_ids(tokenizer)->padding;
    for (int i = 0; i < paths->count; i++) path[i] = paths->path[i];
    const kd_text_source source = {
        .tokenizer = tokenizer, .path = path, .count = paths->count, .end = m->sep};
    const kd_text_packing packing = {.length = m->length - ENDS,
                                     .padding = padding >= 0 ? padding : m->sep};
    int status = kd_text_tokens_open(&m->tokens, &source, cache, key);
    return status == KD_OK ? kd_text_contexts_open(&m->text, m->tokens, &packing, key) : status;
}

int kd_masked_open(kd_masked **out, const kd_encoder_files *paths, const char *name,
                   const kd_text_tokenizer *tokenizer, int64_t length, uint64_t seed,
                   const char *cache) {
    char key[32];
    *out = NULL;
    kd_masked *m = calloc(1, sizeof *m);
    if (!m) return kd_fail_memory(sizeof *m, "contexts");
    snprintf(key, sizeof key, "data.%s", name);
    m->length = length;
    m->masking.seed = seed;
    int status = find_special(m, tokenizer, key);
    if (status == KD_OK) status = open_texts(m, paths, key, tokenizer, cache);
    if (status < 0) {
        kd_masked_close(m);
        return status;
    }
    *out = m;
    return KD_OK;
}

int kd_masked_keep(kd_masked *masked, const char *cache) {
    return masked ? kd_text_tokens_keep(masked->tokens, cache) : KD_OK;
}

void kd_masked_close(kd_masked *masked) {
    if (!masked) return;
    kd_text_contexts_close(masked->text);
    kd_text_tokens_close(masked->tokens);
    free(masked->special);
    free(masked);
}

int64_t kd_masked_count(const kd_masked *masked) {
    return kd_text_contexts_count(masked->text);
}

kd_hash kd_masked_hash(const kd_masked *masked) {
    return kd_text_contexts_hash(masked->text);
}

/* --- rows --------------------------------------------------------------------------------------
 */

int kd_masked_rows_init(kd_masked_rows *out, int64_t B, int64_t length) {
    const int64_t n = B * length;
    *out = (kd_masked_rows){.token = malloc(kd_array_bytes(n, sizeof *out->token)),
                            .first = malloc(kd_array_bytes(n, sizeof *out->first)),
                            .end = malloc(kd_array_bytes(n, sizeof *out->end)),
                            .label = malloc(kd_array_bytes(n, sizeof *out->label)),
                            .chosen = malloc(kd_array_bytes(n, 1)),
                            .real = malloc(kd_array_bytes(n, 1)),
                            .scratch = malloc(kd_array_bytes(length, 1))};
    return out->token && out->first && out->end && out->label && out->chosen && out->real &&
                   out->scratch
               ? KD_OK
               : kd_fail_memory(kd_array_bytes(n, sizeof *out->token), "a batch of contexts");
}

void kd_masked_rows_clear(kd_masked_rows *rows) {
    free(rows->token);
    free(rows->first);
    free(rows->end);
    free(rows->label);
    free(rows->chosen);
    free(rows->real);
    free(rows->scratch);
}

/* Puts [CLS] in front of the n tokens at token + 1 and [SEP] behind them; what is behind that pads,
 * each a document of its own. */
static void put_ends(const kd_masked *m, int32_t *token, int32_t *first, uint8_t *learnt,
                     int64_t n) {
    const int32_t padding = n + ENDS < m->length ? token[n + 1] : 0;
    for (int64_t t = 1; t <= n; t++) first[t] = first[t] == 0 ? 0 : first[t] + 1;
    token[0] = m->cls;
    first[0] = 0;
    token[n + 1] = m->sep;
    first[n + 1] = first[n];
    learnt[0] = learnt[n + 1] = 0;
    for (int64_t t = n + ENDS; t < m->length; t++) {
        token[t] = padding;
        first[t] = (int32_t)t;
        learnt[t] = 0;
    }
}

int64_t kd_masked_read(const kd_masked *m, int64_t epoch, int64_t i, const kd_masked_rows *rows,
                       int64_t b, int64_t *real) {
    const int64_t N = m->length, at = b * N, inside = N - ENDS;
    const int64_t left = kd_text_contexts_tokens(m->text) - i * inside;
    const int64_t n = left < inside ? left : inside;
    int32_t *token = rows->token + at, *first = rows->first + at, *end = rows->end + at;
    kd_text_contexts_read(m->text, i, token + 1, first + 1, rows->scratch + 1);
    put_ends(m, token, first, rows->scratch, n);
    for (int64_t t = N - 1; t >= 0; t--)
        end[t] = t + 1 < N && first[t + 1] == first[t] ? end[t + 1] : (int32_t)t + 1;
    for (int64_t t = 0; t < N; t++) rows->real[at + t] = t < n + ENDS;
    *real = n + ENDS;
    return kd_text_mask(token, rows->label + at, rows->chosen + at, rows->scratch, N, &m->masking,
                        epoch, i);
}
