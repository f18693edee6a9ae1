/* The weights of a Hugging Face folder: model.safetensors, or the shards that
 * model.safetensors.index.json names. */
#ifndef KD_FILES_SHARDS_H
#define KD_FILES_SHARDS_H

#include "files/stored.h"

typedef struct kd_shards kd_shards;

/* The caller closes. KD_ENOINPUT, KD_EDATA, KD_EIO. */
int kd_shards_open(kd_shards **out, const char *folder);
void kd_shards_close(kd_shards *shards);

/* A tensor that repeats a parameter, as an output matrix does that is the token embedding. */
typedef struct {
    const char *name;
    const kd_param *param;
    const char *meaning; /* for messages: "the token embedding; Whisper's output matrix is" */
} kd_repeated;

/* list (count of params) points into the shards. KD_EDATA unless every parameter has a tensor of
 * its shape that can be read, and the repeated one, if it is there, has its parameter's shape and
 * numbers; and nothing is left over. */
int kd_shards_list(kd_stored *list, const kd_shards *shards, const kd_params *params,
                   const kd_names *names, const kd_repeated *repeated);
bool kd_shards_have(const kd_shards *shards, const char *name);

/* The way back: all parameters into one file, in f32 or f16 (contract), one at a time in memory. */
int kd_shards_write(const char *folder, const kd_params *params, const kd_names *names,
                    const kd_number_format *format);

#endif
