/* Text as a language model learns from it: the tokens of all documents one behind another, cut into
 * contexts of one length. A context may hold several documents, and parts of them; none sees
 * another.
 */
#ifndef KD_TASKS_LANGUAGE_CONTEXTS_H
#define KD_TASKS_LANGUAGE_CONTEXTS_H

#include "data/text_tokenizer.h"
#include "tasks/language/language_config.h"

typedef struct kd_contexts kd_contexts;

/* Of all files of `paths`, each of which is a document; tokens end with the tokenizer's end, where
 * it has one. What is left behind the last whole context is left out. KD_EDATA, naming the list,
 * when there is not one context. The caller closes. */
int kd_contexts_open(kd_contexts **out, const kd_text_paths *paths, const char *name,
                     const kd_text_tokenizer *tokenizer, int64_t length);
void kd_contexts_close(kd_contexts *contexts);

int64_t kd_contexts_count(const kd_contexts *contexts);
int64_t kd_contexts_length(const kd_contexts *contexts);
/* Of all that is learnt from: tokens and borders of all contexts. */
kd_hash kd_contexts_hash(const kd_contexts *contexts);
/* Bytes of text in the contexts' tokens. */
double kd_contexts_bytes(const kd_contexts *contexts);

/* Context i: token (length); first (length): where in the context the document of each begins; and
 * what is foretold: token t + 1 at t where both are of one document and it is to be learnt. →
 * label, valid (length); how many targets there are. One thread at a time. */
int64_t kd_contexts_read(kd_contexts *contexts, int64_t i, int32_t *token, int32_t *first,
                         int32_t *label, uint8_t *valid);

#endif
