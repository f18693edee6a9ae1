#include "data/wer.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/order.h"
#include "base/rng.h"
#include "base/size.h"

typedef struct {
    const char *at;
    size_t length;
    uint64_t hash;
} word;

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int split(word **out, int64_t *count, const char *text) {
    size_t capacity = strlen(text) / 2 + 1; /* a word and a space each */
    *count = 0;
    *out = malloc(capacity * sizeof **out);
    if (!*out) return kd_fail_memory(capacity * sizeof **out, "words");
    while (*text) {
        size_t length = 0;
        while (is_space(*text)) text++;
        while (text[length] && !is_space(text[length])) length++;
        if (length > 0) (*out)[(*count)++] = (word){text, length, kd_checksum64(text, length)};
        text += length;
    }
    return KD_OK;
}

static bool same(const word *a, const word *b) {
    return a->hash == b->hash && a->length == b->length && memcmp(a->at, b->at, a->length) == 0;
}

/* Levenshtein's recurrence. A cost is changes · 2³² + substitutions, so that the least cost has the
 * fewest changes and then the fewest substitutions. `row` (m + 1) ends as the costs of a to b[:j].
 */
static int64_t least_cost(int64_t *row, const word *a, int64_t n, const word *b, int64_t m) {
    const int64_t change = INT64_C(1) << 32, substitution = change + 1;
    for (int64_t j = 0; j <= m; j++) row[j] = j * change;
    for (int64_t i = 1; i <= n; i++) {
        int64_t diagonal = row[0];
        row[0] = i * change;
        for (int64_t j = 1; j <= m; j++) {
            int64_t cost = diagonal + (same(&a[i - 1], &b[j - 1]) ? 0 : substitution);
            diagonal = row[j];
            if (row[j] + change < cost) cost = row[j] + change;
            if (row[j - 1] + change < cost) cost = row[j - 1] + change;
            row[j] = cost;
        }
    }
    return row[m];
}

int kd_wer_count(kd_wer *out, const char *reference, const char *hypothesis) {
    word *a = NULL, *b = NULL;
    int64_t n = 0, m = 0, *row = NULL;
    *out = (kd_wer){0};
    int status = split(&a, &n, reference);
    if (status == KD_OK) status = split(&b, &m, hypothesis);
    if (status < 0) goto done;
    row = malloc(kd_array_bytes(m + 1, sizeof *row));
    if (!row) {
        status = kd_fail_memory((size_t)(m + 1) * sizeof *row, "words");
        goto done;
    }
    int64_t cost = least_cost(row, a, n, b, m), changes = cost >> 32;
    out->words = n;
    out->substitutions = cost & UINT32_MAX;
    /* n − deletions = m − insertions, and together they are the other changes. */
    out->deletions = (changes - out->substitutions + n - m) / 2;
    out->insertions = changes - out->substitutions - out->deletions;
done:
    free(a);
    free(b);
    free(row);
    return status;
}

static int64_t changes_of(const kd_wer *w) {
    return w->substitutions + w->deletions + w->insertions;
}

static double rate(int64_t changes, int64_t words) {
    if (words > 0) return (double)changes / (double)words;
    return changes > 0 ? INFINITY : NAN;
}

double kd_wer_rate(const kd_wer *utterance, int64_t count) {
    int64_t changes = 0, words = 0;
    for (int64_t i = 0; i < count; i++) {
        changes += changes_of(&utterance[i]);
        words += utterance[i].words;
    }
    return rate(changes, words);
}

/* Between the neighbours of a place in sorted numbers. */
static double percentile(const double *sorted, int n, double part) {
    double place = part * (n - 1);
    int below = (int)place, above = below + 1 < n ? below + 1 : below;
    double rest = place - below;
    return rest > 0 ? sorted[below] * (1 - rest) + sorted[above] * rest : sorted[below];
}

int kd_wer_interval(double *low, double *high, const kd_wer *utterance, int64_t count,
                    double confidence, int rounds, uint64_t seed) {
    KD_CONTRACT(count > 0 && rounds > 0 && confidence > 0 && confidence < 1,
                "%lld utterances, %d rounds, confidence %g", (long long)count, rounds, confidence);
    double *rates = malloc((size_t)rounds * sizeof *rates);
    if (!rates) return kd_fail_memory((size_t)rounds * sizeof *rates, "a bootstrap");
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rounds; r++) {
        kd_rng rng = kd_rng_init(seed, (uint64_t)r);
        int64_t changes = 0, words = 0;
        for (int64_t i = 0; i < count; i++) {
            const kd_wer *drawn = &utterance[kd_rng_below(&rng, (uint64_t)count)];
            changes += changes_of(drawn);
            words += drawn->words;
        }
        rates[r] = words > 0 ? rate(changes, words) : INFINITY;
    }
    /* A set without words could have any rate: the largest for the one end, none for the other. */
    qsort(rates, (size_t)rounds, sizeof *rates, kd_order_doubles);
    *high = percentile(rates, rounds, (1 + confidence) / 2);
    for (int r = rounds - 1; r >= 0 && rates[r] == INFINITY; r--) rates[r] = 0;
    qsort(rates, (size_t)rounds, sizeof *rates, kd_order_doubles);
    *low = percentile(rates, rounds, (1 - confidence) / 2);
    free(rates);
    return KD_OK;
}
