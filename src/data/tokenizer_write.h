/* Writing a tokenizer; reading one is tokenizer.h. */
#ifndef KD_DATA_TOKENIZER_WRITE_H
#define KD_DATA_TOKENIZER_WRITE_H

#include "base/text.h"
#include "data/tokenizer.h"

/* vocab.json, merges.txt, added_tokens.json, special_tokens_map.json and tokenizer_config.json into
 * a folder that exists, each whole or not at all. */
int kd_tokenizer_write_folder(const kd_tokenizer *tokenizer, const char *folder);

/* Adds the merges, one a line: "Ġ t", in letters (token_letters.h). They follow from the ids: a
 * token is joined out of the two that its bytes come to when only lower ids exist. */
int kd_tokenizer_add_merges(kd_text *out, const kd_tokenizer *tokenizer);

#endif
