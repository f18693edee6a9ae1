/* How well a decoder foretells a text. */
#ifndef KD_TASKS_LANGUAGE_PERPLEXITY_H
#define KD_TASKS_LANGUAGE_PERPLEXITY_H

#include "layers/llama.h"

typedef struct {
    double nats;    /* Σ −log p of the tokens that count */
    int64_t tokens; /* how many count                    */
} kd_perplexity;

/* Without a stride (0), contexts of `context` tokens lie one behind another, the last may be
 * shorter, and every token but a context's first counts. With a stride (1 … context) each context
 * begins that many tokens behind the one before and only tokens count that none before had; the
 * first of all never does (Hugging Face's "perplexity of fixed-length models"). id (n ≥ 2); 2 ≤
 * context ≤ the model's. `done` (NULL: nobody) is told of the tokens so far. */
int kd_perplexity_of(kd_perplexity *out, const kd_llama *model, const int32_t *id, int64_t n,
                     int64_t context, int64_t stride, void (*done)(void *context, int64_t tokens),
                     void *told);

#endif
