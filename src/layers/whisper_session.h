/* Decoding with Whisper, token by token: what the decoder would compute again at every step is
 * kept.
 *
 * A session holds some recordings, each followed by `width` rows of text (beams). The keys and
 * values of the cross-attention are computed once for a recording, and its rows share them; those
 * of the self-attention are appended at each step. All rows are equally long.
 */
#ifndef KD_LAYERS_WHISPER_SESSION_H
#define KD_LAYERS_WHISPER_SESSION_H

#include "layers/whisper.h"

typedef struct kd_whisper_session kd_whisper_session;

/* For up to `samples` recordings of `width_most` rows each. Borrows the model. The caller frees. */
int kd_whisper_session_create(kd_whisper_session **out, const kd_whisper *model, int samples,
                              int width_most);
void kd_whisper_session_free(kd_whisper_session *session);
/* How the encoder multiplies from now on (float32 unless it is said); the decoder, float32. */
void kd_whisper_session_hear_in(kd_whisper_session *session, kd_precision precision);

/* Runs the encoder on mel (samples,T,mels), T even; from now on there are `samples` recordings, at
 * most those of the creation, without text. Each is heard by itself: the others change no bit. */
int kd_whisper_session_listen(kd_whisper_session *session, const kd_real *mel, int samples,
                              int64_t T);
/* The same from what an encoder made of them, memory (samples,S,width): this model's encoder, or
 * one of the same weights, as a student shares its teacher's. */
int kd_whisper_session_listen_encoded(kd_whisper_session *session, const kd_real *memory,
                                      int samples, int64_t S);

/* Forgets the text alone: one empty row for each recording. */
void kd_whisper_session_restart(kd_whisper_session *session);

/* Appends n tokens to every row, id (samples·width, n); more than one only to empty rows. The rows
 * must stay within the text context (contract). */
int kd_whisper_session_step(kd_whisper_session *session, const int32_t *id, int64_t n);

/* The logits behind the token at position `at` of those appended last → out (samples·width, V). */
int kd_whisper_session_logits(kd_whisper_session *session, kd_real *out, int64_t at);

/* From now on there are `width` rows for each recording, row i being a continuation of what was
 * row from[i] (samples·width entries, of the same recording). */
void kd_whisper_session_select(kd_whisper_session *session, int width, const int *from);

/* Tokens in every row. */
int64_t kd_whisper_session_length(const kd_whisper_session *session);

#endif
