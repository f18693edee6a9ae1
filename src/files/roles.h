/* What the matrices of a model do, by the names that all our models give them:
 * "….attn.value.weight", "….mlp.down.weight", "…embedding.weight". */
#ifndef KD_FILES_ROLES_H
#define KD_FILES_ROLES_H

#include "autograd/param.h"
#include "files/formats/mixture.h"

/* Parameter i of `params`. Stacks of layers ("encoder.blocks.3.…") are counted apart. */
kd_place kd_param_place(const kd_params *params, int i);

#endif
