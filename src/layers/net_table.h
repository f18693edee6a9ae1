/* A network as a table for people. */
#ifndef KD_LAYERS_NET_TABLE_H
#define KD_LAYERS_NET_TABLE_H

#include "layers/net.h"

/* Node by node: name, kind, inputs, output, parameters, multiply-adds; the sums in the last row. */
int kd_net_add_table(kd_text *out, const kd_net *net);

#endif
