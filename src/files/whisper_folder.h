/* What the files of the Hugging Face folder share. */
#ifndef KD_FILES_WHISPER_FOLDER_H
#define KD_FILES_WHISPER_FOLDER_H

#include "base/file.h"
#include "base/json.h"
#include "files/whisper_file.h"

/* How text is generated → file->model->generation, and the alignment heads. Model and tokenizer
 * are there. */
int kd_whisper_generation_read(kd_whisper_file *file, const char *folder);

/* KD_EDATA unless config.json and, where it is, preprocessor_config.json describe a network and
 * features as every Whisper model has them; sizes → *spec. *tied: the output matrix is the token
 * embedding; otherwise the folder must have one that equals it. */
int kd_whisper_config_read(kd_whisper_spec *spec, bool *tied, const char *folder);

#endif
