/* Texts as a language model learns from them: the tokens of documents one behind another, cut into
 * contexts of one length, any of which is read by its number. A context may hold several documents
 * and parts of them; where each begins is told, so that none sees another.
 *
 * Learning and validation take different documents: of D documents those of the first ⌊share·D + ½⌋
 * places of a permutation (Philox, by the seed) are for validation, at least one. Which context
 * comes when is the caller's: a permutation of their numbers for each epoch.
 */
#ifndef KD_DATA_TEXT_CONTEXTS_H
#define KD_DATA_TEXT_CONTEXTS_H

#include "data/text_tokens.h"

typedef struct {
    int64_t length;  /* N, tokens of a context                      */
    double share;    /* of the documents, for validation; 0: all are one set */
    uint64_t seed;   /* which ones                                  */
    bool validation; /* those, or else the others                   */
    int32_t padding; /* stands behind the last context's tokens     */
} kd_text_packing;

typedef struct kd_text_contexts kd_text_contexts;

/* `tokens` is borrowed until the close. KD_EDATA when the set has no document; `name` is for the
 * message. The caller closes. */
int kd_text_contexts_open(kd_text_contexts **out, const kd_text_tokens *tokens,
                          const kd_text_packing *packing, const char *name);
void kd_text_contexts_close(kd_text_contexts *contexts);

int64_t kd_text_contexts_count(const kd_text_contexts *contexts);
int64_t kd_text_contexts_length(const kd_text_contexts *contexts);
/* Of the set: tokens of all contexts without padding; bytes of their text. */
int64_t kd_text_contexts_tokens(const kd_text_contexts *contexts);
double kd_text_contexts_bytes(const kd_text_contexts *contexts);
/* Names all that is learnt from. */
kd_hash kd_text_contexts_hash(const kd_text_contexts *contexts);

/* Context i → token (N); first (N): where in the context the document of each token begins; learnt
 * (N): whether to foretell it is learnt. What pads the last context is a document of its own each,
 * and not learnt. Any thread, any rank. */
void kd_text_contexts_read(const kd_text_contexts *contexts, int64_t i, int32_t *token,
                           int32_t *first, uint8_t *learnt);

/* The targets of a context of n tokens: token t + 1 is foretold at t where both are of one document
 * and it is learnt. → label (n), valid (n); how many are. */
int64_t kd_text_targets(int32_t *label, uint8_t *valid, const int32_t *token, const int32_t *first,
                        const uint8_t *learnt, int64_t n);

/* BERT's masked tokens (Devlin et al. 2019, 3.1): of a context's tokens that `special` (V; true:
 * never chosen) allows, each is chosen with p = 0.15; of those 80 % become `mask`, 10 % any token,
 * 10 % stay. Drawn for context `i` of epoch `epoch` alone (Philox). token (n) is changed; label (n)
 * is what it was, valid (n) whether it was chosen; how many were. */
typedef struct {
    int32_t mask, vocabulary;
    const bool *special; /* (vocabulary) */
    uint64_t seed;
} kd_text_masking;

int64_t kd_text_mask(int32_t *token, int32_t *label, uint8_t *valid, const uint8_t *learnt,
                     int64_t n, const kd_text_masking *masking, int64_t epoch, int64_t i);

#endif
