/* Steps go through as real numbers do; no blob has it. */
#include "quant/node.h"

const kd_qnode_class kd_qnode_dropout = {0};
