/* Which tokens a Whisper model does not say: what its files state, or OpenAI's own lists. */
#ifndef KD_QUANT_WHISPER_SUPPRESSED_H
#define KD_QUANT_WHISPER_SUPPRESSED_H

#include "data/tokenizer.h"
#include "layers/whisper_generation.h"

/* The tokens that are never said, or not said first: those stated, or OpenAI's own. Returns their
 * number, *out (count) is freed by the caller; or a negative status. */
int kd_whisper_suppressed(int32_t **out, const kd_whisper_generation *generation,
                          const kd_tokenizer *tokenizer);
int kd_whisper_begin_suppressed(int32_t **out, const kd_whisper_generation *generation,
                                const kd_tokenizer *tokenizer);

#endif
