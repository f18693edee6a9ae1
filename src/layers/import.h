/* Weights that were trained elsewhere, into a net: names and layouts of PyTorch.
 *
 * For each node "X" of the net the arrays are found under these names, with or without "module." in
 * front:
 *   weight, bias             X.weight, X.bias; for "linear" also fc.… and classifier.…;
 *                            for a shortcut with weights also X.0.… and X with "downsample.0"
 *   batch norm               X.bn.…, or X with its last "convN" read as "bnN", or X.1.…
 *   (weight, bias, running_mean, running_var; num_batches_tracked is ignored)
 * Convolutions are turned from (O,I,KH,KW) to (O,KH,KW,I). A linear layer behind a node with
 * positions has its columns turned from channels-first to channels-last flattening.
 */
#ifndef KD_LAYERS_IMPORT_H
#define KD_LAYERS_IMPORT_H

#include "layers/net.h"

/* One array of a state dict; everything is borrowed during the call. */
typedef struct {
    const char *name;
    int rank;
    int64_t shape[KD_MAX_RANK];
    const float *values; /* dense, row-major */
} kd_foreign_array;

/* Fills all parameters of the net, laid out before, from `n` arrays; `source` names the file in
 * messages. KD_EDATA, with the net unchanged, when a parameter has no array or one of another
 * shape, when an array belongs to no parameter (another depth, say), or when a number is not finite
 * or a variance negative: everything that is wrong is listed in one message. Bumps the version of
 * the parameters. */
int kd_import_params(kd_net *net, int n, const kd_foreign_array *array, const char *source);

#endif
