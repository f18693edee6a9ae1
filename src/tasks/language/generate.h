/* A text that a decoder goes on with. */
#ifndef KD_TASKS_LANGUAGE_GENERATE_H
#define KD_TASKS_LANGUAGE_GENERATE_H

#include "files/llama_file.h"
#include "tasks/language/sample.h"

typedef struct {
    int64_t tokens; /* at most this many are generated; the context ends earlier */
    kd_sampling sampling;
    uint64_t seed;
} kd_generating;

typedef struct {
    int64_t prompt, tokens;                /* how many there were          */
    double prompt_seconds, tokens_seconds; /* what they took               */
    bool stopped;                          /* by a token that ends a text  */
} kd_generated;

/* A token that came next. A negative status ends the generation. */
typedef int (*kd_next_token)(void *context, int32_t id);

/* prompt (n ≥ 1) and what comes behind it, token by token, but for the one that ends it. KD_EUSAGE
 * when the prompt leaves no room in the model's context. */
int kd_generate(kd_generated *out, const kd_llama_file *file, const int32_t *prompt, int64_t n,
                const kd_generating *how, kd_next_token next, void *context);

#endif
