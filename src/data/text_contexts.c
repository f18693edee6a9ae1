#include "data/text_contexts.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/order.h"
#include "base/rng.h"
#include "base/size.h"

/* Streams of Philox for what is drawn here. */
static const uint64_t SPLIT_STREAM = UINT64_C(0x7465787453706C74);
static const uint64_t MASK_STREAM = UINT64_C(0x746578744D61736B);

struct kd_text_contexts {
    const kd_text_tokens *tokens;
    kd_text_packing packing;
    int64_t documents;
    int64_t *document; /* (documents) of the set, in the order of the texts       */
    int64_t *place;    /* (documents + 1) where each begins among the set's tokens */
    double bytes;
};

/* Marks the documents for validation. */
static int choose(uint8_t *chosen, const kd_text_packing *packing, int64_t D) {
    int64_t *order = malloc(kd_array_bytes(D, sizeof *order));
    if (!order) return kd_fail_memory((size_t)D * sizeof *order, "documents");
    kd_rng rng = kd_rng_init(packing->seed, SPLIT_STREAM);
    kd_rng_permutation(&rng, order, D);
    const int64_t share = (int64_t)(packing->share * (double)D + 0.5);
    for (int64_t i = 0; i < kd_larger(1, share) && i < D; i++) chosen[order[i]] = 1;
    free(order);
    return KD_OK;
}

/* The set's documents and their places. */
static int list_documents(kd_text_contexts *c, const uint8_t *chosen, const char *name) {
    const int64_t D = kd_text_tokens_documents(c->tokens);
    c->document = malloc(kd_array_bytes(D, sizeof *c->document));
    c->place = malloc(kd_array_bytes(D + 1, sizeof *c->place));
    if (!c->document || !c->place) return kd_fail_memory((size_t)D * sizeof *c->place, name);
    c->place[0] = 0;
    for (int64_t d = 0; d < D; d++) {
        int64_t start, end, bytes;
        if (c->packing.share > 0 && (chosen[d] != 0) != c->packing.validation) continue;
        kd_text_tokens_document(c->tokens, d, &start, &end, &bytes);
        c->document[c->documents] = d;
        c->place[c->documents + 1] = c->place[c->documents] + end - start;
        c->documents++;
        c->bytes += (double)bytes;
    }
    if (c->documents > 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s: no document is left for %s of %lld", name,
                   c->packing.validation ? "validation" : "learning", (long long)D);
}

int kd_text_contexts_open(kd_text_contexts **out, const kd_text_tokens *tokens,
                          const kd_text_packing *packing, const char *name) {
    *out = NULL;
    KD_CONTRACT(packing->length > 0 && packing->share >= 0 && packing->share < 1, "a packing");
    kd_text_contexts *c = calloc(1, sizeof *c);
    uint8_t *chosen = calloc(kd_array_bytes(kd_text_tokens_documents(tokens), 1), 1);
    int status = c && chosen ? KD_OK : kd_fail_memory(sizeof *c, name);
    if (status == KD_OK) {
        c->tokens = tokens;
        c->packing = *packing;
        if (packing->share > 0) status = choose(chosen, packing, kd_text_tokens_documents(tokens));
        if (status == KD_OK) status = list_documents(c, chosen, name);
    }
    free(chosen);
    if (status < 0) {
        kd_text_contexts_close(c);
        return status;
    }
    *out = c;
    return KD_OK;
}

void kd_text_contexts_close(kd_text_contexts *c) {
    if (!c) return;
    free(c->document);
    free(c->place);
    free(c);
}

int64_t kd_text_contexts_tokens(const kd_text_contexts *c) {
    return c->place[c->documents];
}

int64_t kd_text_contexts_length(const kd_text_contexts *c) {
    return c->packing.length;
}

int64_t kd_text_contexts_count(const kd_text_contexts *c) {
    return (kd_text_contexts_tokens(c) + c->packing.length - 1) / c->packing.length;
}

double kd_text_contexts_bytes(const kd_text_contexts *c) {
    return c->bytes;
}

kd_hash kd_text_contexts_hash(const kd_text_contexts *c) {
    const int64_t shape[] = {c->packing.length, c->packing.padding};
    const kd_hash part[] = {kd_text_tokens_key(c->tokens), kd_hash_bytes(shape, sizeof shape),
                            kd_hash_bytes(c->document, (size_t)c->documents * sizeof *c->document)};
    return kd_hash_join(part, 3);
}

/* The document of the set that holds the token at `place`. */
static int64_t document_at(const kd_text_contexts *c, int64_t place) {
    int64_t low = 0, high = c->documents - 1;
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (c->place[middle] <= place)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

void kd_text_contexts_read(const kd_text_contexts *c, int64_t i, int32_t *token, int32_t *first,
                           uint8_t *learnt) {
    const int64_t N = c->packing.length, from = i * N;
    const int64_t end = kd_smaller(from + N, kd_text_contexts_tokens(c));
    KD_CONTRACT(i >= 0 && i < kd_text_contexts_count(c), "context %lld", (long long)i);
    int64_t d = document_at(c, from);
    for (int64_t at = from; at < end; d++) {
        int64_t start, stop, bytes;
        const int64_t next = kd_smaller(end, c->place[d + 1]), t = at - from;
        kd_text_tokens_document(c->tokens, c->document[d], &start, &stop, &bytes);
        kd_text_tokens_read(c->tokens, start + at - c->place[d], next - at, token + t, learnt + t);
        for (int64_t k = t; k < next - from; k++) first[k] = (int32_t)t;
        at = next;
    }
    for (int64_t t = end - from; t < N; t++) {
        token[t] = c->packing.padding;
        first[t] = (int32_t)t;
        learnt[t] = 0;
    }
}

int64_t kd_text_targets(int32_t *label, uint8_t *valid, const int32_t *token, const int32_t *first,
                        const uint8_t *learnt, int64_t n) {
    int64_t count = 0;
    for (int64_t t = 0; t < n; t++) {
        const bool told = t + 1 < n && first[t + 1] == first[t] && learnt[t + 1];
        label[t] = told ? token[t + 1] : 0;
        valid[t] = told;
        count += told;
    }
    return count;
}

int64_t kd_text_mask(int32_t *token, int32_t *label, uint8_t *valid, const uint8_t *learnt,
                     int64_t n, const kd_text_masking *masking, int64_t epoch, int64_t i) {
    const kd_rng rng = kd_rng_init(masking->seed, MASK_STREAM);
    const uint64_t key = kd_rng_init(rng.key, (uint64_t)epoch).key;
    int64_t count = 0;
    for (int64_t t = 0; t < n; t++) {
        uint32_t draw[4];
        kd_rng_block(key, (uint64_t)(i * n + t), draw);
        label[t] = token[t];
        const double chosen = draw[0] / 4294967296.0, how = draw[1] / 4294967296.0;
        valid[t] = learnt[t] && !masking->special[token[t]] && chosen < 0.15;
        if (!valid[t]) continue;
        count++;
        if (how < 0.8)
            token[t] = masking->mask;
        else if (how < 0.9)
            token[t] = (int32_t)((uint64_t)draw[2] * (uint64_t)masking->vocabulary >> 32);
    }
    return count;
}
