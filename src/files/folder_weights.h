/* The weights of a Hugging Face folder: model.safetensors, or the shards that
 * model.safetensors.index.json names. */
#ifndef KD_FILES_FOLDER_WEIGHTS_H
#define KD_FILES_FOLDER_WEIGHTS_H

#include "files/packing.h"
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
 * its shape that can be read, or is a matrix packed as `packing` says, and the repeated ones, if
 * they are there, have their parameter's shape and numbers; and nothing is left over but what the
 * names pass over. */
int kd_folder_weights_list(kd_stored *list, const kd_folder_weights *weights,
                           const kd_params *params, const kd_names *names,
                           const kd_repeated *repeated, const kd_packing *packing);
bool kd_folder_weights_have(const kd_folder_weights *weights, const char *name);

/* The way back: all parameters into one file, in f32 or f16 (contract), one at a time in memory. */
int kd_folder_weights_write(const char *folder, const kd_params *params, const kd_names *names,
                            const kd_number_format *format);
/* Removes what an earlier writer said beside config.json of how the folder's matrices are packed.
 */
int kd_folder_weights_unpack(const char *folder);

/* Parameters of which matrices are packed; where the packing is plain, what has its format,
 * f8_e5m2, is written in it. */
typedef struct {
    const char *path;
    const kd_params *params;
    const kd_names *names;
    const char *repeated; /* the layer of an output matrix that is the token embedding, or NULL */
    const kd_packing *packing;
} kd_packed_folder;

/* Before config.json: *how, where it is NULL, becomes *own, the nearest numbers by
 * kd_packed_format_of, which the caller frees; `config` the members for config.json, whose text the
 * caller frees. */
int kd_packed_folder_begin(kd_encoding **own, const kd_encoding **how, kd_text *config,
                           const kd_packed_folder *folder);
/* What is beside config.json, and the weights; a line of the log where matrices are not packed. */
int kd_packed_folder_end(const kd_packed_folder *folder, const kd_encoding *how);

#endif
