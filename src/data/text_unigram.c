/* Unigram language models (Kudo 2018, "Subword regularization"): of all ways to cut a piece into
 * tokens the one whose log-probabilities have the largest sum, by Viterbi's algorithm from left to
 * right; of equal ones the one found first. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "data/text_tokenizer_inside.h"

/* Less than any token. */
static const double UNKNOWN_PENALTY = 10;

static int reserve(kd_text_encoder *e, size_t length) {
    if (length < e->best_capacity) return KD_OK;
    const size_t n = 2 * (length + 1);
    free(e->best);
    free(e->from);
    free(e->token);
    e->best = malloc(n * sizeof *e->best);
    e->from = malloc(n * sizeof *e->from);
    e->token = malloc(n * sizeof *e->token);
    e->best_capacity = e->best && e->from && e->token ? n : 0;
    return e->best_capacity ? KD_OK : kd_fail_memory(n * sizeof *e->best, "encoding a text");
}

/* The token of bytes [at, end) comes behind what is best up to `at`. */
static void offer(kd_text_encoder *e, size_t at, size_t end, int32_t id, double score) {
    const double sum = e->best[at] + score;
    if (e->from[end] >= 0 && !(sum > e->best[end])) return;
    e->best[end] = sum;
    e->from[end] = (int32_t)at;
    e->token[end] = id;
}

/* The end of the character at `at`. */
static size_t behind(const char *piece, size_t length, size_t at) {
    return at + (size_t)kd_utf8_length(piece + at, length - at);
}

static void offer_all(kd_text_encoder *e, const char *piece, size_t length, size_t at) {
    const kd_text_tokenizer *t = e->t;
    const size_t first = behind(piece, length, at);
    uint64_t hash = KD_TOKEN_HASH;
    bool alone = false;
    for (size_t end = at, next; end < length && end - at < t->table.longest; end = next) {
        next = behind(piece, length, end);
        hash = kd_token_hash(hash, piece + end, next - end);
        const int32_t id = kd_token_table_find_hashed(&t->table, hash, piece + at, next - at);
        if (id < 0) continue;
        /* As in SentencePiece, tokens that the user defined outweigh all others. */
        const bool user = t->user_first && t->kind[id] == KD_TOKEN_USER;
        offer(e, at, next, id, user ? (float)(next - at) * t->highest - 0.1 : t->score[id]);
        if (next == first) alone = true;
    }
    if (!alone) offer(e, at, first, KD_UNKNOWN_SYMBOL, t->lowest - UNKNOWN_PENALTY);
}

/* The tokens from the last one back, turned around; neighbouring unknown ones are one. */
static int put_best(kd_text_encoder *e, const char *piece, size_t length) {
    size_t n = 0;
    for (size_t at = length; at > 0; at = (size_t)e->from[at]) n++;
    int32_t *list = malloc(2 * (n + 1) * sizeof *list);
    if (!list) return kd_fail_memory(2 * n * sizeof *list, "encoding a text");
    for (size_t at = length, i = n; at > 0; at = (size_t)e->from[at]) {
        list[2 * --i] = e->token[at];
        list[2 * i + 1] = (int32_t)at;
    }
    int status = KD_OK;
    for (size_t i = 0, from = 0; i < n && status == KD_OK; i++) {
        const size_t to = (size_t)list[2 * i + 1];
        if (list[2 * i] >= 0) {
            status = kd_text_encoder_put(e, list[2 * i]);
        } else if (e->t->byte_fallback) {
            for (size_t k = from; k < to && status == KD_OK; k++)
                status = kd_text_encoder_put(e, e->t->byte[(unsigned char)piece[k]]);
        } else if (i == 0 || list[2 * i - 2] >= 0) {
            status = kd_text_encoder_unknown(e, piece + from, to - from);
        }
        from = to;
    }
    free(list);
    return status;
}

int kd_text_encode_unigram(kd_text_encoder *e, const char *piece, size_t length) {
    int status = reserve(e, length);
    if (status < 0) return status;
    memset(e->from, 0xFF, (length + 1) * sizeof *e->from); /* −1 */
    e->best[0] = 0;
    e->from[0] = 0;
    for (size_t at = 0; at < length; at = behind(piece, length, at))
        offer_all(e, piece, length, at);
    return put_best(e, piece, length);
}
