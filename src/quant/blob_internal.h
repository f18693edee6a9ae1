/* Inside of a blob: what is written, what is checked and laid out when it is read, and what runs.
 *
 * Activations are stored as u8 = q − qmin, so affine and symmetric grids look the same to the
 * kernels; `zero` is the stored value of real zero.
 */
#ifndef KD_QUANT_BLOB_INTERNAL_H
#define KD_QUANT_BLOB_INTERNAL_H

#include "base/json.h"
#include "base/text.h"
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
    kd_node_spec spec; /* groups and channels as in the file                              */
    char name[KD_GGUF_NAME_MAX + 1];
    int in[2];
    kd_extent from, out; /* of in[0], and its own                                          */
    bool last;           /* logits, without a grid                                         */
    int pad_before;      /* SHORTCUT                                                       */
    kd_blob_grid grid;   /* of the output; relu is in its clamp                            */
    int64_t K;           /* CONV, LINEAR: weights of one output channel                    */
    int segments;        /* of a window, each of `length` successive values (int8_kernel.h) */
    int64_t length;
    int64_t *offset; /* (segments) in the padded input */
    int8_t *weight;  /* (O,K) as in the file; packed (or (taps,C) when depthwise) after
                        kd_blob_prepare, the following padded to 16 a group            */
    int32_t *bias;   /* (O) with −zero·Σw of the input folded in                       */
    int32_t *factor, *shift; /* (O); one entry for a mean                                      */
    float *scale;            /* (O) of the weights                                             */
    void *own;               /* what only its kind knows of; free() gives it back              */
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
    const int64_t groups = node->spec.groups;
    return groups > 1 && groups == node->from.c && groups == node->spec.channels;
}

/* Reads a blob from bytes that are not needed afterwards. `name` is what messages call it. */
int kd_blob_parse(kd_blob **out, const void *bytes, size_t length, const char *name);
/* The same without kd_blob_prepare: everything is as in the file, and it cannot be run. */
int kd_blob_parse_only(kd_blob **out, const void *bytes, size_t length, const char *name);
int kd_blob_open_only(kd_blob **out, const char *path);

/* Makes the nodes from the JSON text of "distill.graph" and the file's tensors, all of which must
 * be used. */
int kd_blob_read_graph(kd_blob *blob, const kd_gguf *file, const char *text, size_t length,
                       const char *name);

/* After reading: chooses the kernel, packs weights, folds zero-points, lays out the scratch. */
int kd_blob_prepare(kd_blob *blob);

/* Entries of the per-channel arrays of a layer: every group's channels padded to whole panels. */
static inline int64_t kd_blob_padded_channels(const kd_blob_node *node) {
    if (kd_blob_is_depthwise(node)) return node->spec.channels;
    int64_t own = node->spec.channels / node->spec.groups;
    int64_t padded = (own + KD_INT8_COLUMNS - 1) / KD_INT8_COLUMNS * KD_INT8_COLUMNS;
    return padded * node->spec.groups;
}

/* The width in activations of a convolution's padded input, and of a linear layer's input row.
 * Behind both there is room for a window's last group. */
enum { KD_BLOB_SLACK = 16 };
static inline int64_t kd_blob_pitch(const kd_blob_node *node) {
    return (node->from.w + 2 * node->spec.padding[1]) * node->from.c;
}
static inline int64_t kd_blob_row_stride(const kd_blob_node *node) {
    return (node->K + 2 * KD_BLOB_SLACK - 1) / KD_BLOB_SLACK * KD_BLOB_SLACK;
}

/* --- for the kinds of nodes (node.h): writing --------------------------------------------------
 */

typedef struct {
    const kd_qnet *qnet;
    const char *path;
    kd_tape *tape;
    kd_gguf_writer *file;
    kd_text graph; /* JSON */
    int *place;    /* net->count: index of a node in the file; a dropout has its input's */
} kd_blob_writer;

typedef struct {
    const kd_grid *in[2], *out; /* NULL where there is none */
} kd_node_grids;

/* Members of the node's object: `, "key": …`; window: kernel, stride and padding. */
void kd_blob_describe_window(kd_blob_writer *w, const kd_net_node *node);
void kd_blob_describe_pair(kd_blob_writer *w, const char *key, const int pair[2]);
void kd_blob_describe_relu(kd_blob_writer *w, const kd_net_node *node);

/* The tensor "<node>.<suffix>". `data` is copied. */
void kd_blob_add_tensor(kd_blob_writer *w, const kd_net_node *node, const char *suffix,
                        kd_gguf_tensor_type type, int rank, const uint64_t *ne, const void *data);
void kd_blob_add_i32s(kd_blob_writer *w, const kd_net_node *node, const char *suffix,
                      const int32_t *value, int64_t n);

/* Weights, biases, scales and multipliers of a CONV or LINEAR (blob_layer.c). */
int kd_blob_write_layer(kd_blob_writer *w, int node, const kd_node_grids *grids);

/* --- reading: every function names the file and the place ---------------------------------------
 */

enum {
    KD_BLOB_EXTENT_MAX = 1 << 16, /* of one axis                */
    KD_BLOB_VALUES_MAX = 1 << 26, /* of one activation          */
    KD_BLOB_WINDOW_MAX = 1 << 12  /* kernels, strides, paddings */
};

typedef struct {
    const char *name; /* of the file */
    const kd_gguf *file;
    kd_json *json;
    kd_blob *blob;
    uint64_t tensors_used;
} kd_blob_reader;

/* The member `key` of a node's object is wrong. */
int kd_blob_fail(const kd_blob_reader *r, const cJSON *item, const char *key, const char *should);
int kd_blob_get_integer(const kd_blob_reader *r, const cJSON *item, const char *key, int64_t least,
                        int64_t most, int64_t *out);
/* A list of exactly n whole numbers. */
int kd_blob_get_integers(const kd_blob_reader *r, const cJSON *item, const char *key, int n,
                         int64_t least, int64_t most, int64_t *out);
/* kernel, stride and padding, and what they make of the input's extent. */
int kd_blob_read_window(const kd_blob_reader *r, const cJSON *item, kd_blob_node *node,
                        kd_extent *made);

/* The tensor "<node>.<suffix>" with `n` elements of a type, copied into *out, the caller's. */
int kd_blob_take_tensor(kd_blob_reader *r, void **out, const kd_blob_node *node, const char *suffix,
                        kd_gguf_tensor_type type, int64_t n);
/* n entries of node->factor and node->shift. */
int kd_blob_take_multipliers(kd_blob_reader *r, kd_blob_node *node, int64_t n);
/* What kd_blob_write_layer wrote; spec.channels, spec.groups and K are known. */
int kd_blob_read_layer(kd_blob_reader *r, const cJSON *item, kd_blob_node *node);

/* --- running ------------------------------------------------------------------------------------
 */

/* At least `values` stored values, as wide as the kernel wants them, must fit *bytes: those of
 * blob->image_bytes or row_bytes. */
void kd_blob_need(const kd_blob *blob, size_t *bytes, int64_t values);

/* Packs a layer's weights whose windows have `rows` × `columns` runs of successive input values,
 * folds the input's zero-point into its biases. */
int kd_blob_prepare_layer(kd_blob *blob, kd_blob_node *node, int rows, int columns);

/* One thread's work: `n` samples, each with blob->sample_bytes of activations; or, when there are
 * fewer samples than threads, this part of every node's output. */
typedef struct {
    const kd_blob *blob;
    int64_t n;
    int part, parts;
    const float *x; /* (n,h,w,c) what the network is given */
    unsigned char *samples;
    void *input;   /* of the product at work: a padded image, or n rows */
    float *logits; /* (n,classes) */
} kd_blob_task;

/* The task's share of `count` lines, channels or values. */
typedef struct {
    int64_t first, end;
} kd_blob_range;

static inline kd_blob_range kd_blob_share(const kd_blob_task *t, int64_t count) {
    return (kd_blob_range){count * t->part / t->parts, count * (t->part + 1) / t->parts};
}

/* The stored values of a sample that node `node` made. */
static inline uint8_t *kd_blob_activation(const kd_blob_task *t, int64_t sample, int node) {
    return t->samples + (size_t)sample * t->blob->sample_bytes + t->blob->node[node].slot;
}
/* From its line `line` on. */
static inline uint8_t *kd_blob_line(const kd_blob_task *t, int64_t sample, int node, int64_t line) {
    const kd_extent e = t->blob->node[node].out;
    return kd_blob_activation(t, sample, node) + line * e.w * e.c;
}

#endif
