/* The weights of a Hugging Face folder: model.safetensors, or the shards that
 * model.safetensors.index.json names. */
#ifndef KD_FILES_FOLDER_WEIGHTS_H
#define KD_FILES_FOLDER_WEIGHTS_H

#include "files/stored.h"

typedef struct kd_folder_weights kd_folder_weights;

/* The caller closes. KD_ENOINPUT, KD_EDATA, KD_EIO. */
int kd_folder_weights_open(kd_folder_weights **out, const char *folder);
void kd_folder_weights_close(kd_folder_weights *weights);

/* A tensor that repeats a parameter, as an output matrix does that is the token embedding. */
typedef struct kd_repeated {
    const char *name;
    const kd_param *param;
    const char *meaning; /* for messages: "the token embedding; Whisper's output matrix is" */
    const struct kd_repeated *next; /* another, or NULL */
} kd_repeated;

/* list (count of params) points into the shards. KD_EDATA unless every parameter has a tensor of
 * its shape that can be read, and the repeated ones, if they are there, have their parameter's
 * shape and numbers; and nothing is left over but what the names pass over. */
int kd_folder_weights_list(kd_stored *list, const kd_folder_weights *weights,
                           const kd_params *params, const kd_names *names,
                           const kd_repeated *repeated);
bool kd_folder_weights_have(const kd_folder_weights *weights, const char *name);

/* The way back: all parameters into one file, in f32 or f16 (contract), one at a time in memory. */
int kd_folder_weights_write(const char *folder, const kd_params *params, const kd_names *names,
                            const kd_number_format *format);

#endif
