/* The contexts of one list of texts (data/text_contexts.h), with what is foretold in each. */
#ifndef KD_TASKS_LANGUAGE_CONTEXTS_H
#define KD_TASKS_LANGUAGE_CONTEXTS_H

#include "data/text_contexts.h"
#include "tasks/language/language_config.h"

typedef struct {
    kd_text_tokens *tokens;
    kd_text_contexts *text;
    uint8_t *learnt; /* (length) of the context read last */
} kd_contexts;

/* Of all files of `paths` (data/text_documents.h); a document ends with the tokenizer's end, where
 * it has one. The tokens lie in a nameless file, so that a start that is refused leaves nothing
 * behind. Errors as kd_text_tokens_open; `name` is that of the list, "train". The caller closes. */
int kd_contexts_open(kd_contexts **out, const kd_text_paths *paths, const char *name,
                     const kd_text_tokenizer *tokenizer, int64_t length);
void kd_contexts_close(kd_contexts *contexts);

int64_t kd_contexts_count(const kd_contexts *contexts);
int64_t kd_contexts_length(const kd_contexts *contexts);
/* Names all that is learnt from. */
kd_hash kd_contexts_hash(const kd_contexts *contexts);
/* Bytes of text in the contexts. */
double kd_contexts_bytes(const kd_contexts *contexts);

/* Context i: token (length); first (length): where in the context the document of each begins; and
 * what is foretold: token t + 1 at t where both are of one document and it is to be learnt. →
 * label, valid (length); how many targets there are. One thread at a time. */
int64_t kd_contexts_read(kd_contexts *contexts, int64_t i, int32_t *token, int32_t *first,
                         int32_t *label, uint8_t *valid);

#endif
