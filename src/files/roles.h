/* What the matrices of a model do, by the names that all our models give them:
 * "….attn.value.weight", "….mlp.down.weight", "…embedding.weight". */
#ifndef KD_FILES_ROLES_H
#define KD_FILES_ROLES_H

#include <stdbool.h>

#include "autograd/param.h"
#include "files/formats/mixture.h"

/* Parameter i of `params`. Stacks of layers ("encoder.blocks.3.…") are counted apart. */
kd_place kd_param_place(const kd_params *params, int i);

/* By its name alone: an embedding that is the output matrix, too, is KD_ROLE_EMBEDDING. */
kd_role kd_param_role(const kd_param *param);

/* Whether other programs may join matrices i and k, of one layer and one input, into one: queries,
 * keys and values; gate and up. A matrix is joined to itself. */
bool kd_params_joined(const kd_params *params, int i, int k);

#endif
