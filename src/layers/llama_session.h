/* A decoder that goes on with a text token by token: keys and values of the tokens so far are kept.
 */
#ifndef KD_LAYERS_LLAMA_SESSION_H
#define KD_LAYERS_LLAMA_SESSION_H

#include "layers/few_rows.h"
#include "layers/llama.h"

typedef struct kd_llama_session kd_llama_session;

/* Of at most `most` tokens, 1 … the model's context. The model is borrowed; the caller frees. */
int kd_llama_session_create(kd_llama_session **out, const kd_llama *model, int64_t most,
                            kd_products products);
void kd_llama_session_free(kd_llama_session *session);

/* Appends n ≥ 1 tokens, at most as many as there is room for (contract). */
int kd_llama_session_feed(kd_llama_session *session, const int32_t *id, int64_t n);

/* What comes next behind each of the last `count` tokens of the last feed: out (count,vocabulary).
 * At most KD_LLAMA_SESSION_LAST of them (contract); so many fed together give the bits of one
 * behind the other. */
enum { KD_LLAMA_SESSION_LAST = 6 };
int kd_llama_session_logits(kd_llama_session *session, int64_t count, kd_real *out);

int64_t kd_llama_session_length(const kd_llama_session *session);
/* Forgets all but the first `length` tokens. */
void kd_llama_session_shorten(kd_llama_session *session, int64_t length);

#endif
