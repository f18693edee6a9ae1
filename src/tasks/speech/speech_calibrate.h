/* What a quantizer sees of a Whisper model before it rounds: training windows on their way through
 * the encoder and, with the tokens that are said in them, through the decoder. */
#ifndef KD_TASKS_SPEECH_SPEECH_CALIBRATE_H
#define KD_TASKS_SPEECH_SPEECH_CALIBRATE_H

#include "quant/quantizer.h"
#include "tasks/speech/windows.h"

/* The first `samples` windows of a fixed shuffle, or all; with progress on stderr. Then `q`, which
 * is on `model`, may round. KD_EAGAIN after kd_train_request_stop. */
int kd_speech_calibrate(kd_quantized *q, const kd_whisper *model, const kd_windows *windows,
                        int64_t samples);

#endif
