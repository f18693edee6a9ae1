/* Which tokens a Whisper model does not say: what its files state, or OpenAI's own lists; and
 * whether that makes a difference. */
#ifndef KD_FILES_WHISPER_SUPPRESSED_H
#define KD_FILES_WHISPER_SUPPRESSED_H

#include "data/tokenizer.h"
#include "files/whisper_file.h"

/* The tokens that are never said, or not said first: those stated, or OpenAI's own. Returns their
 * number, *out (count) is freed by the caller; or a negative status. */
int kd_whisper_suppressed(int32_t **out, const kd_whisper_generation *generation,
                          const kd_tokenizer *tokenizer);
int kd_whisper_begin_suppressed(int32_t **out, const kd_whisper_generation *generation,
                                const kd_tokenizer *tokenizer);

/* Both as marks: never (V) and first (V), which are false so far. */
int kd_whisper_mark_suppressed(bool *never, bool *first, const kd_whisper_generation *generation,
                               const kd_tokenizer *tokenizer);

/* What a model states that makes its words others than OpenAI's rules would. */
typedef struct {
    bool suppress, begin, length;
    kd_hash hash; /* of all that; compared where any of it is true */
} kd_whisper_words;

int kd_whisper_words_stated(kd_whisper_words *out, const kd_whisper_file *file);

#endif
