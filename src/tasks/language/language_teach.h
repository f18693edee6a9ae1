/* The teacher's stage: what it finds likely in every context of the training texts, into a store.
 */
#ifndef KD_TASKS_LANGUAGE_LANGUAGE_TEACH_H
#define KD_TASKS_LANGUAGE_LANGUAGE_TEACH_H

#include "data/store.h"
#include "distill/origin.h"
#include "files/llama_file.h"
#include "tasks/language/contexts.h"

typedef struct {
    const kd_llama_file *teacher;
    kd_hash hash; /* of its weights */
    kd_contexts *contexts;
    const kd_language_teacher *how;
    double temperature; /* of top-k's tails, of draws */
    uint64_t seed;      /* of draws                   */
    kd_precision precision;
    const kd_origin *origin; /* of the store */
    const char *description;
} kd_language_teaching;

/* As kd_teach. A row is a context: position t answers for token t + 1, borders of documents too.
 * Says what storing cost on some of them. */
int kd_language_teach(kd_store **out, kd_hash *content, const char *path,
                      const kd_language_teaching *job);

/* Bytes of a store of so many tokens. */
double kd_language_teach_bytes(const kd_language_teacher *how, const kd_llama_spec *teacher,
                               double tokens);

#endif
