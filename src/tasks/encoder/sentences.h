/* Sentences and their classes, out of tables: lines of columns between tabs, of which the first
 * names them: "label", and "sentence" (GLUE's) or "text" or "content". */
#ifndef KD_TASKS_ENCODER_SENTENCES_H
#define KD_TASKS_ENCODER_SENTENCES_H

#include "base/hash.h"
#include "data/text_tokenizer.h"
#include "tasks/encoder/encoder_config.h"

typedef struct {
    int64_t count, tokens;
    int64_t *place; /* (count + 1) where each begins among the tokens */
    int32_t *token; /* (tokens) [CLS] … [SEP] of each                 */
    int32_t *label; /* (count) 0 … classes − 1                        */
    int64_t place_room, token_room, label_room;
} kd_sentences;

/* Of all files of `paths`, tokens of more than `length` cut, [SEP] kept. KD_EDATA names file and
 * line of what is no such table, no class, or not UTF-8. The caller clears, also after an error. */
int kd_sentences_read(kd_sentences *out, const kd_encoder_files *paths,
                      const kd_text_tokenizer *tokenizer, int64_t length, int classes);
void kd_sentences_clear(kd_sentences *sentences);
/* Names all that is learnt from. */
kd_hash kd_sentences_hash(const kd_sentences *sentences);

/* Sentences lie in one row, one behind another; none sees another. */
typedef struct {
    int64_t n, tokens;            /* sentences, and their tokens      */
    int32_t *token, *first, *end; /* (tokens) as layers/bert.h has it */
    int32_t *start, *label;       /* (n) their first tokens; classes  */
} kd_sentence_row;

/* Room for n sentences of `length` tokens; KD_EINTERNAL. The caller clears, also after an error. */
int kd_sentence_row_init(kd_sentence_row *out, int64_t n, int64_t length);
void kd_sentence_row_clear(kd_sentence_row *row);
/* Sentences which[0 … n − 1], NULL: from `from` on. */
void kd_sentence_row_fill(kd_sentence_row *row, const kd_sentences *sentences, const int64_t *which,
                          int64_t from, int64_t n);

#endif
