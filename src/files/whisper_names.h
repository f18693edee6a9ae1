/* What other programs call the parameters of a Whisper model. Ours are OpenAI's names. */
#ifndef KD_FILES_WHISPER_NAMES_H
#define KD_FILES_WHISPER_NAMES_H

#include "files/names.h"

extern const kd_names kd_whisper_ggml;    /* whisper.cpp's `.bin`, and GGUF */
extern const kd_names kd_whisper_hugging; /* Hugging Face's transformers    */

#endif
