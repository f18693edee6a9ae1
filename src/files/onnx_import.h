/* Float classifiers of other programs' ONNX files as node lists (layers/net.h), weights and all.
 *
 *   Conv, with the BatchNormalization and the Relu right behind it     conv
 *   Gemm, or MatMul and Add of a vector, with the Relu behind it       linear
 *   Add of two values, with the Relu behind it                         add
 *   MaxPool, AveragePool, GlobalAveragePool, ReduceMean over places    pools
 *   Sigmoid, Tanh, Gelu, Mul of x and Sigmoid(x)                       activation
 *   Slice of every step-th place and Pad of channels behind it         shortcut
 *   Flatten, Reshape to rows or of rows to images, Identity, Dropout   nothing
 *
 * Anything else is refused by name. Files are channels first, nets channels last: weights are
 * turned. The normaliser is no part of the file: it takes what its own program gives it.
 */
#ifndef KD_FILES_ONNX_IMPORT_H
#define KD_FILES_ONNX_IMPORT_H

#include "files/onnx_read.h"
#include "layers/net.h"

typedef struct kd_onnx_import kd_onnx_import;

/* Builds the net, whose parameters join `params`, not laid out yet; both and `tables` outlive *out.
 * Names of nodes are those of their weights, else of their operators. KD_EDATA. The caller frees
 * *net and *out. */
int kd_onnx_import_net(kd_onnx_import **out, kd_net **net, kd_params *params,
                       const kd_onnx_tables *tables);

/* Fills the parameters, laid out by now. KD_EDATA: a number is not finite, a variance negative. */
int kd_onnx_import_weights(const kd_onnx_import *import);

void kd_onnx_import_free(kd_onnx_import *import);

#endif
