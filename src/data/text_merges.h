/* SentencePiece's BPE as a list of merges, for files that go by merges. Private to src/data. */
#ifndef KD_DATA_TEXT_MERGES_H
#define KD_DATA_TEXT_MERGES_H

#include "data/text_tokenizer_inside.h"

/* All pairs of tokens whose union is a token, by its score, the highest first; of equal ones those
 * of a longer left half first. *out (count) pairs as in kd_text_tokenizer.merge; the caller frees.
 */
int kd_text_merges_of_scores(uint64_t **out, int64_t *count, const kd_text_tokenizer *t);

#endif
