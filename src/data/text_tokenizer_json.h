/* What the files that read and write tokenizer.json share. Private to src/data. */
#ifndef KD_DATA_TEXT_TOKENIZER_JSON_H
#define KD_DATA_TEXT_TOKENIZER_JSON_H

#include "base/json.h"
#include "data/text_tokenizer_inside.h"

/* The JSON file as a message names it, "file:line:column: should be …". */
int kd_text_json_fail(const kd_json *json, const cJSON *item, const char *wanted);
/* Whether the item is the text `text`. */
bool kd_text_json_is(const cJSON *item, const char *text);

/* Whether the tokens of a tokenizer.json are bytes written as letters. */
bool kd_text_json_has_letters(const cJSON *root);
/* normalizer, pre_tokenizer, post_processor and decoder; the tokens are there and indexed. What is
 * not supported is refused by its name. */
int kd_text_json_read_pipeline(kd_text_tokenizer *t, const kd_json *json);

/* From folder/vocab.json and merges.txt, or folder/vocab.txt; `path` is the one of the vocabulary.
 */
int kd_text_tokenizer_read_older(kd_text_tokenizer **out, const char *folder, const char *path);

#endif
