#include "data/text_merges.h"

#include <stdlib.h>

#include "base/error.h"

typedef struct {
    uint64_t pair;
    int32_t rank, left;
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->rank != y->rank) return (x->rank > y->rank) - (x->rank < y->rank);
    if (x->left != y->left) return (x->left < y->left) - (x->left > y->left);
    return (x->pair > y->pair) - (x->pair < y->pair);
}

/* Visits all ways to cut tokens in two tokens; list NULL: only counts. */
static int64_t cut_all(ranked *list, const kd_text_tokenizer *t) {
    int64_t count = 0;
    for (int32_t id = 0; id < t->ids.vocabulary; id++) {
        const kd_token_bytes token = kd_token_table_get(&t->table, id);
        if (t->kind[id] != KD_TOKEN_NORMAL && t->kind[id] != KD_TOKEN_USER) continue;
        for (size_t at = 1; at < token.length; at++) {
            const int32_t left = kd_token_table_find(&t->table, token.bytes, at);
            const int32_t right =
                left < 0 ? -1 : kd_token_table_find(&t->table, token.bytes + at, token.length - at);
            if (right < 0) continue;
            if (list)
                list[count] =
                    (ranked){(uint64_t)left << 32 | (uint32_t)right, t->rank[id], (int32_t)at};
            count++;
        }
    }
    return count;
}

int kd_text_merges_of_scores(uint64_t **out, int64_t *count, const kd_text_tokenizer *t) {
    const size_t n = (size_t)cut_all(NULL, t);
    ranked *list = malloc((n + 1) * sizeof *list);
    *count = (int64_t)n;
    *out = malloc((n + 1) * sizeof **out);
    if (!list || !*out) {
        free(list);
        free(*out);
        *out = NULL;
        return kd_fail_memory(n * sizeof *list, "merges");
    }
    cut_all(list, t);
    qsort(list, n, sizeof *list, by_rank);
    for (size_t i = 0; i < n; i++) (*out)[i] = list[i].pair;
    free(list);
    return KD_OK;
}
