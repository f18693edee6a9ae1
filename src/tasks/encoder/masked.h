/* Contexts of text whose tokens are masked: [CLS], tokens of documents one behind another, [SEP].
 *
 * Documents are packed (data/text_contexts.h) and each ends with [SEP]; none sees another, and one
 * that begins inside of a context has no [CLS]. What is masked is drawn for the epoch and the place
 * of each token (kd_text_mask), 15 % of those that are no special ones; so it depends on no thread
 * and no rank. */
#ifndef KD_TASKS_ENCODER_MASKED_H
#define KD_TASKS_ENCODER_MASKED_H

#include "data/text_contexts.h"
#include "tasks/encoder/encoder_config.h"

typedef struct {
    kd_text_tokens *tokens;
    kd_text_contexts *text;
    int64_t length; /* N, [CLS] and [SEP] among them */
    int32_t cls, sep;
    kd_text_masking masking;
    bool *special; /* (vocabulary) */
} kd_masked;

/* Rows of (length) that kd_masked_read fills. */
typedef struct {
    int32_t *token, *first, *end; /* as the model sees them (layers/bert.h)                     */
    int32_t *label;               /* what each token was                                        */
    uint8_t *chosen;              /* whether it is foretold                                     */
    uint8_t *real; /* whether it is one of the text's, [CLS] and [SEP]; the rest pads */
    uint8_t *scratch;
} kd_masked_rows;

/* Of all files of `paths`. `seed` is that of what is masked. The tokenizer has [CLS], [SEP] and
 * [MASK], or KD_EDATA. Tokens that an earlier start has kept in the folder `cache` are taken (NULL:
 * none has). The caller closes. */
int kd_masked_open(kd_masked **out, const kd_encoder_files *paths, const char *name,
                   const kd_text_tokenizer *tokenizer, int64_t length, uint64_t seed,
                   const char *cache);
/* Keeps the tokens in the folder `cache`; NULL has none. */
int kd_masked_keep(kd_masked *masked, const char *cache);
void kd_masked_close(kd_masked *masked);

int64_t kd_masked_count(const kd_masked *masked);
/* Names all that is learnt from. */
kd_hash kd_masked_hash(const kd_masked *masked);

/* Room for B contexts; KD_EINTERNAL. The caller clears, also after an error. */
int kd_masked_rows_init(kd_masked_rows *out, int64_t B, int64_t length);
void kd_masked_rows_clear(kd_masked_rows *rows);

/* Context i of an epoch into row b; how many tokens are foretold, and *real are there. */
int64_t kd_masked_read(const kd_masked *masked, int64_t epoch, int64_t i,
                       const kd_masked_rows *rows, int64_t b, int64_t *real);

#endif
