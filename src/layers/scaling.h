/* Where a model's channels can be scaled without changing what it computes: what makes them is
 * divided by s > 0, and the columns of all that takes them are multiplied by it.
 *
 *     x ← x/s        W ← W·diag(s)        W·x as before
 */
#ifndef KD_LAYERS_SCALING_H
#define KD_LAYERS_SCALING_H

#include "layers/llama.h"
#include "layers/net.h"
#include "layers/whisper.h"

enum { KD_SCALING_MOST = 128 };

typedef struct {
    kd_param *from[2]; /* their first axis is the channels: γ and β of a norm, or a matrix and its
                          bias; the second may be NULL                                         */
    kd_param *to[KD_SCALING_MOST]; /* (count) matrices and convolutions; column k is of channel
                                      k mod channels                                           */
    int count;
    int scores; /* so many of `to` from the first on make queries and keys */
} kd_scaling;

/* All places of a model, in the order in which it computes; the caller frees *out. */
typedef int kd_scalings_of(kd_scaling **out, int *count, const void *model);
kd_scalings_of kd_net_scalings;     /* of a kd_net     */
kd_scalings_of kd_whisper_scalings; /* of a kd_whisper */
kd_scalings_of kd_llama_scalings;   /* of a kd_llama   */

#endif
