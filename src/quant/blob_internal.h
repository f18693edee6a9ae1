/* Inside of a blob in memory: what blob_read.c checks and lays out, and blob_run.c runs.
 *
 * Activations are stored as u8 = q − qmin, so affine and symmetric grids look the same to the
 * kernels; `zero` is the stored value of real zero.
 */
#ifndef KD_QUANT_BLOB_INTERNAL_H
#define KD_QUANT_BLOB_INTERNAL_H

#include "files/gguf.h"
#include "quant/blob.h"
#include "quant/grid.h"
#include "quant/int8_kernel.h"

/* How steps become stored values of a node's output. */
typedef struct {
    kd_grid grid;
    int32_t low, high, zero; /* clamp in steps (relu is in `low`); stored = step + zero */
} kd_blob_grid;

typedef struct {
    kd_node_kind kind;
    char name[KD_GGUF_NAME_MAX + 1];
    int in[2];
    kd_extent from, out; /* of in[0], and its own                                          */
    bool relu, last;     /* last: logits, without a grid                                   */
    int kernel[2], stride[2], padding[2], groups; /* CONV and pools                            */
    int pad_before;    /* SHORTCUT                                                       */
    kd_blob_grid grid; /* of the output                                                  */
    int64_t channels;  /* CONV, LINEAR: O; entries of the following, padded to 16 a group */
    int64_t K;         /* weights of one output channel                                  */
    int segments;      /* of a window, each of `length` successive values (int8_kernel.h) */
    int64_t length;
    int64_t *offset; /* (segments) in the padded input */
    int8_t *weight;  /* (O,K) as in the file; packed (or (taps,C) when depthwise) after
                        kd_blob_prepare                                                */
    int32_t *bias;   /* (O) with −zero·Σw of the input folded in                       */
    int32_t *factor, *shift; /* (O); one entry for a mean                                      */
    float *scale;            /* (O) of the weights                                             */
    kd_add_multipliers add;  /* ADD                                                            */
    size_t slot;             /* where the output lies in a sample's scratch                    */
} kd_blob_node;

struct kd_blob {
    kd_blob_node *node;
    int count;
    int classes;
    char (*class_name)[KD_CLASS_NAME_MAX];
    kd_data_spec data;
    kd_normaliser normaliser;
    int64_t parameters;
    const kd_int8_kernel *kernel;
    size_t sample_bytes; /* activations of one sample in scratch                        */
    size_t image_bytes;  /* the largest padded input of a convolution                   */
    size_t row_bytes;    /* the largest input of a linear layer                         */
    unsigned char *scratch;
    size_t scratch_bytes; /* of all threads                                             */
};

/* "depthwise": each output channel reads its own input channel only. */
static inline bool kd_blob_is_depthwise(const kd_blob_node *node) {
    return node->kind == KD_NODE_CONV && node->groups > 1 && node->groups == node->from.c &&
           node->channels == node->from.c;
}

/* Reads a blob from bytes that are not needed afterwards. `name` is what messages call it. */
int kd_blob_parse(kd_blob **out, const void *bytes, size_t length, const char *name);

/* Makes the nodes from the JSON text of "distill.graph" and the file's tensors, all of which must
 * be used. */
int kd_blob_read_graph(kd_blob *blob, const kd_gguf *file, const char *text, size_t length,
                       const char *name);

/* After reading: chooses the kernel, packs weights, folds zero-points, lays out the scratch. */
int kd_blob_prepare(kd_blob *blob);

/* Entries of the per-channel arrays of a layer: every group's channels padded to whole panels. */
static inline int64_t kd_blob_padded_channels(const kd_blob_node *node) {
    if (kd_blob_is_depthwise(node)) return node->channels;
    int64_t own = node->channels / node->groups;
    int64_t padded = (own + KD_INT8_COLUMNS - 1) / KD_INT8_COLUMNS * KD_INT8_COLUMNS;
    return padded * node->groups;
}

/* The width in activations of a convolution's padded input, and of a linear layer's input row.
 * Behind both there is room for a window's last group. */
enum { KD_BLOB_SLACK = 16 };
static inline int64_t kd_blob_pitch(const kd_blob_node *node) {
    return (node->from.w + 2 * node->padding[1]) * node->from.c;
}
static inline int64_t kd_blob_row_stride(const kd_blob_node *node) {
    return (node->K + 2 * KD_BLOB_SLACK - 1) / KD_BLOB_SLACK * KD_BLOB_SLACK;
}

#endif
