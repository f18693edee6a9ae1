/* The parameters of a network by their own names, in a GGUF of our architecture "distill": what
 * rounded weights are exported as.
 *
 * Keys: distill.version = 1, distill.config (the resolved JSON that says which network it is),
 * general.name, distill.teacher, distill.origin, distill.budget, each where it is given. Tensors as gguf_params.h
 * has them.
 */
#ifndef KD_FILES_WEIGHTS_GGUF_H
#define KD_FILES_WEIGHTS_GGUF_H

#include <stdbool.h>

#include "base/file.h"
#include "files/encoding.h"
#include "files/gguf.h"

typedef struct {
    const char *name, *teacher, *origin; /* for people; NULL: not said */
    const char *budget; /* how its formats were chosen (distill/budget.h); NULL: they were said */
    const char *config;
} kd_weights_info;

/* Whole or not at all. `how` (parameters) says in which formats, all of which GGUF can hold
 * (contract). KD_EDATA when a number does not fit its format. */
int kd_weights_gguf_write(const char *path, const kd_params *params, const kd_encoding *how,
                          const kd_weights_info *info);

/* Whether a file is one of these: ours, with a config and no graph to run. */
bool kd_gguf_is_weights(const kd_gguf *gguf);
/* The same of the file at `path`, which is a GGUF. */
int kd_weights_gguf_is_at(bool *out, const char *path);

/* Reads all parameters, which are laid out, whatever their formats. Checks the checksum, shapes,
 * that nothing is left over, that all are finite and variances not negative: KD_EDATA. */
int kd_weights_gguf_read(kd_params *params, const char *path);

/* How parameters, which are those of the file, lie in it: *out (parameters), whose bytes are those
 * of *map. The caller frees and closes both. */
int kd_weights_gguf_encodings(kd_encoding **out, kd_file_map *map, const kd_params *params,
                              const char *path);

#endif
