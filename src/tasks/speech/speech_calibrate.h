/* What a quantizer sees of a Whisper model before it rounds: training windows on their way through
 * the encoder and, with the tokens that are said in them, through the decoder. */
#ifndef KD_TASKS_SPEECH_SPEECH_CALIBRATE_H
#define KD_TASKS_SPEECH_SPEECH_CALIBRATE_H

#include "distill/fidelity.h"
#include "quant/budget.h"
#include "tasks/speech/windows.h"

/* The first `samples` windows of a fixed shuffle, or all; with progress on stderr. Then `q`, which
 * is on `model`, may round. KD_EAGAIN after kd_train_request_stop. */
int kd_speech_calibrate(kd_quantized *q, const kd_whisper *model, const kd_windows *windows,
                        int64_t samples);

/* A choice of formats (distill/budget.h) by the first spec->samples windows of that shuffle; the
 * matrices of `model`, of the encoder too, are trained ones. The caller frees *out. */
int kd_speech_budget(kd_budget **out, const kd_budget_spec *spec, const kd_quantizable *quantizable,
                     const kd_whisper *model, const kd_windows *windows, const char *name);

/* How close what `model` foretells in the first `most` windows stays to `like`: *f, which starts
 * with {0}, is the caller's to clear. */
int kd_speech_fidelity(kd_fidelity *f, const kd_whisper *model, const kd_whisper *like,
                       const kd_windows *windows, int64_t most);

/* The decoder and the output matrix over all tokens but the last, on a tape that is watched; memory
 * (positions,width) is what the encoder made of a window. */
int kd_speech_say(const kd_whisper *model, kd_tape *tape, const kd_real *memory,
                  const int32_t *token, int length);

/* `distill imatrix` of a Whisper model: every recording that the list names passes its encoder and,
 * with what the model itself says, its decoder; what is longer than it hears at once is left out.
 * `language` for multilingual models. Writes quant/imatrix.h's file to `out`. KD_EDATA when nothing
 * can be heard; KD_EAGAIN after kd_train_request_stop. */
int kd_speech_imatrix(const char *model, const char *list, const char *language, const char *out);

#endif
