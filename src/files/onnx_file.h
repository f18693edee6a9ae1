/* Classifiers as ONNX files, which ONNX Runtime, TensorRT and many others run (docs/onnx.md). */
#ifndef KD_FILES_ONNX_FILE_H
#define KD_FILES_ONNX_FILE_H

#include "data/dataset.h"
#include "files/encoding.h"
#include "files/onnx_read.h"
#include "layers/onnx.h"

/* What stands in the file besides the network, as metadata_props. */
typedef struct {
    const kd_dataset *dataset; /* class list, normaliser                                  */
    const kd_data_spec *data;  /* kind; for sound how the features are made               */
} kd_onnx_info;

/* The facts of `info` under the keys of docs/blob.md; lists are JSON. */
void kd_onnx_add_info(kd_onnx *onnx, const kd_onnx_info *info);

/* What a file of ours says of its network; of other programs' files nothing is known. */
typedef struct {
    bool normalises; /* normaliser is stated */
    kd_normaliser normaliser;
    int classes; /* 0: not stated */
    char class_name[KD_CLASS_NAMES_GIVEN_MAX][KD_CLASS_NAME_MAX];
} kd_onnx_stated;

/* KD_EDATA: a fact under one of our keys is not what it should be. Lists of more classes than the
 * struct holds count as not stated. */
int kd_onnx_read_info(kd_onnx_stated *out, const kd_onnx_tables *tables);

/* Whether weights in this format stay small: q4_0 becomes int4, q8_0 int8, each in blocks of 32
 * with a float scale (opset 21). Any other is written as the float32 it stands for. */
bool kd_onnx_keeps(const kd_number_format *format);

/* Writes a network in float32, batch norm as it is; `how` (parameters), or NULL, says which weights
 * are blocks of small integers. KD_ECONFIG names a node that has no form in ONNX. */
int kd_onnx_write(const char *path, const kd_net *net, const kd_encoding *how,
                  const kd_onnx_info *info);

#endif
