/* A text that a decoder goes on with, alone or with a smaller one that drafts.
 *
 * Speculative decoding (Leviathan, Kalman and Matias 2023, arXiv 2211.17192, algorithm 1): the
 * draft proposes tokens x_1 … x_n, each drawn from its own q; the model looks at all of them at
 * once. With its p behind the same tokens, x_i stays with the probability min(1, p(x_i) / q(x_i));
 * the first that does not is replaced by a draw from max(0, p − q) / Σ max(0, p − q), and behind n
 * that stay comes one more from p. So tokens are distributed as the model alone draws them,
 * whatever the draft says; greedily they are the same. p and q are those of the sampling: behind
 * temperature, top_k and top_p.
 *
 * n is what gives most tokens for the time (theorem 3.8, with the share a of proposals accepted so
 * far and the ratio c of the models' sizes): of 0 … 5 the largest (1 − a^(n+1)) / ((1 − a)(c·n +
 * 1)).
 *
 * Matrices of a file in small whole numbers are multiplied as such (few_rows.h, KD_PRODUCTS_STEPS).
 */
#ifndef KD_TASKS_LANGUAGE_GENERATE_H
#define KD_TASKS_LANGUAGE_GENERATE_H

#include "files/llama_file.h"
#include "tasks/language/sample.h"

typedef struct {
    int64_t tokens; /* at most this many are generated; the context ends earlier */
    kd_sampling sampling;
    uint64_t seed;
    const kd_llama_file *draft; /* of the same tokens (kd_generate_check_draft), or NULL */
} kd_generating;

typedef struct {
    int64_t prompt, tokens;                /* how many there were          */
    double prompt_seconds, tokens_seconds; /* what they took               */
    int64_t drafted, accepted;             /* tokens of the draft          */
    bool stopped;                          /* by a token that ends a text  */
} kd_generated;

/* A token that came next. A negative status ends the generation. */
typedef int (*kd_next_token)(void *context, int32_t id);

/* prompt (n ≥ 1) and what comes behind it, token by token, but for the one that ends it. KD_EUSAGE
 * when the prompt leaves no room in the model's context. */
int kd_generate(kd_generated *out, const kd_llama_file *file, const int32_t *prompt, int64_t n,
                const kd_generating *how, kd_next_token next, void *context);

/* KD_EDATA, naming both and what differs, unless the draft's tokens are the model's. */
int kd_generate_check_draft(const kd_llama_file *file, const char *path, const kd_llama_file *draft,
                            const char *draft_path);

#endif
