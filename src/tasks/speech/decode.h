/* Decoding one window of sound with Whisper: greedy, beam search or sampling, under the rules of
 * decode_rules.h (Radford et al. 2022, section 4.5).
 */
#ifndef KD_TASKS_SPEECH_DECODE_H
#define KD_TASKS_SPEECH_DECODE_H

#include "data/tokenizer.h"
#include "layers/whisper_session.h"
#include "tasks/speech/decode_rules.h"

enum { KD_BEAM_MOST = 16 };

typedef struct {
    int32_t language, task; /* ids, for multilingual models; language −1: not yet known */
    bool timestamps;
    int beam; /* rows of the beam search; 1: greedy */
} kd_decode_options;

/* Everything a window needs. The language and task of `options` may be changed between windows. */
typedef struct {
    kd_decode_options options;
    const kd_whisper *model;       /* borrowed */
    const kd_tokenizer *tokenizer; /* borrowed */
    kd_whisper_session *session;
    kd_decode_rules rules;
    int most;        /* rows at once */
    kd_real *logits; /* (most, V) */
    void *rows;      /* of the search */
    kd_rng rng;      /* sampling */
} kd_decoder;

/* Borrows model and tokenizer, which must have one vocabulary (KD_EDATA). The caller clears, on
 * errors too. */
int kd_decoder_init(kd_decoder *out, const kd_whisper *model, const kd_tokenizer *tokenizer,
                    const kd_decode_options *options);
void kd_decoder_clear(kd_decoder *decoder);

/* What comes is another recording: sampling begins from its seed again, so that a text depends on
 * none of those before it. */
void kd_decoder_begin(kd_decoder *decoder);

typedef struct {
    int32_t *token; /* (count) text and timestamps, without prompt and end; of the decoder, valid */
    int count;      /* until the next window                                                      */
    double average; /* mean log-probability of the tokens and the end                             */
    double no_speech;
    double temperature;
} kd_decoded;

/* Looks at mel (T,mels): the encoder runs. */
int kd_decoder_listen(kd_decoder *decoder, const kd_real *mel, int64_t T);

/* The likeliest language of what was listened to, of those the model states. */
int kd_decoder_language(kd_decoder *decoder, int32_t *out);

/* Decodes what was listened to, after `prompt` (count tokens of what was said before, maybe none).
 * temperature 0: greedy or beam search; else the best of five samples. */
int kd_decoder_run(kd_decoder *decoder, kd_decoded *out, const int32_t *prompt, int count,
                   double temperature);

#endif
