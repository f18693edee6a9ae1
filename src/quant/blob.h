/* The exported student: GGUF v3 with int8 weights, int32 biases, scales, zero-points, multipliers,
 * the graph, the class list and the preprocessing, so that the file alone can be run.
 * Layout: docs/blob.md. Inference is integer-only (Jacob et al. 2018, arXiv 1712.05877). */
#ifndef KD_QUANT_BLOB_H
#define KD_QUANT_BLOB_H

#include "data/dataset.h"
#include "quant/qnet.h"

/* What the blob says of itself, besides the network. */
typedef struct {
    const char *name;          /* of the run                                         */
    const char *teacher;       /* for people                                         */
    const char *origin;        /* what the file was made from, as text, or NULL      */
    const kd_dataset *dataset; /* class list, sample shape, normaliser                */
    const kd_data_spec *data;  /* kind; for sound how to make the features            */
} kd_blob_info;

/* Whether a network of these sizes can be exported and run as integers, which needs no weights:
 * KD_OK, or KD_ECONFIG with the node. What depends on the weights kd_blob_write tells. */
int kd_blob_check_net(const kd_net *net);

/* Writes the calibrated or trained qnet. Refuses what integers cannot do exactly: an accumulator
 * that could pass 2^31, a site never observed. */
int kd_blob_write(const char *path, const kd_qnet *qnet, const kd_blob_info *info);

/* Writes what the file at `blob_path` holds as ONNX (files/onnx_file.h), its integers between
 * QuantizeLinear and DequantizeLinear (blob_onnx.c). KD_ECONFIG names a node that has no form
 * there.
 */
int kd_blob_write_onnx(const char *path, const char *blob_path);

typedef struct kd_blob kd_blob;

/* Reads and checks everything before use. The caller frees. */
int kd_blob_open(kd_blob **out, const char *path);
void kd_blob_free(kd_blob *blob);

int kd_blob_classes(const kd_blob *blob);
const char *kd_blob_class_name(const kd_blob *blob, int label);
/* All of them, (classes). */
char (*kd_blob_class_names(const kd_blob *blob))[KD_CLASS_NAME_MAX];
kd_extent kd_blob_input(const kd_blob *blob);
const kd_data_spec *kd_blob_data(const kd_blob *blob); /* kind and audio spec     */
const kd_normaliser *kd_blob_normaliser(const kd_blob *blob);
int64_t kd_blob_parameters(const kd_blob *blob);

/* Runs n normalised samples x (n,h,w,c) and gives the logits (n,classes), dequantized from int32;
 * KD_EDATA when one of them is not finite.
 * Threaded over samples. Scratch for up to n samples is kept from the first call. */
int kd_blob_run(kd_blob *blob, int64_t n, const float *x, float *logits);

/* The kernels in use: "portable", "avx2", "avxvnni", "avx512vnni", "dotprod" or "i8mm". Chosen at
 * run time; DISTILL_ISA names the highest level to use (base/isa.h). All give the same bits. */
const char *kd_int8_kernel_name(void);

#endif
