/* A network as a graph of ONNX's operators, in memory: what files/onnx_file.h and quant/blob_onnx.h
 * write. Each kind of node says what it is there (node.h).
 *
 * Values are channels first: images (B,C,H,W), and behind a linear layer rows (B,C); B is open. The
 * graph takes "input" and gives "logits" (B,V). Operators are those of opset 13, but where a newer
 * one is asked for by kd_onnx_need.
 */
#ifndef KD_LAYERS_ONNX_H
#define KD_LAYERS_ONNX_H

#include <stddef.h>

#include "layers/net.h"

/* ONNX's numbers of its types. */
typedef enum {
    KD_ONNX_FLOAT = 1,
    KD_ONNX_UINT8 = 2,
    KD_ONNX_INT8 = 3,
    KD_ONNX_INT32 = 6,
    KD_ONNX_INT64 = 7,
    KD_ONNX_INT4 = 22 /* values come as int8 and are packed, two to a byte */
} kd_onnx_type;

typedef struct kd_onnx kd_onnx;

/* An operator's setting: one whole number (count 0), several, or a text. */
typedef struct {
    const char *name;
    int count;
    int64_t value[4];
    const char *text; /* NULL: none   */
    float real;       /* ≠ 0: a real number */
} kd_onnx_setting;

#define KD_ONNX_WHOLE(key, v)                                                                      \
    {                                                                                              \
        .name = (key), .value = {(v) }                                                             \
    }
#define KD_ONNX_LIST(key, n, ...)                                                                  \
    {                                                                                              \
        .name = (key), .count = (n), .value = { __VA_ARGS__ }                                      \
    }

/* What is known of a node when it is added. Names are of values in the graph. */
typedef struct {
    const kd_node_spec *spec;
    const char *name;
    kd_extent from, out; /* of in[0], and its own                                               */
    const char *in[2];
    bool rows[2];        /* in[k] is rows, not an image                                         */
    const char *weight;  /* CONV (O,C/groups,KH,KW), LINEAR (O,K): K channels first; else NULL  */
    const char *bias;    /* (O), or NULL                                                        */
    const char *norm[4]; /* CONV with batch norm: gamma, beta, mean, var (O)                    */
    float epsilon;
    int64_t pad_before; /* SHORTCUT: zero channels in front                                     */
} kd_onnx_node;

/* Failures for want of memory are kept and told by kd_onnx_finish. The caller frees. */
int kd_onnx_create(kd_onnx **out, kd_extent input);
void kd_onnx_free(kd_onnx *onnx);

/* "<node>.<suffix>", as long as the graph lives; no two nodes' names meet. */
const char *kd_onnx_name(kd_onnx *onnx, const char *node, const char *suffix);

/* The operator `kind` of the values `in` (n), with `settings` (m) → the value `out`, whose name it
 * has; the one that gives what a node of ours computes has the node's. */
void kd_onnx_add(kd_onnx *onnx, const char *kind, const char *out, int n, const char *const *in,
                 int m, const kd_onnx_setting *settings);

/* A tensor of the file; values, of which a copy is made, lie dense, the last axis fastest. Returns
 * `name`. */
const char *kd_onnx_constant(kd_onnx *onnx, const char *name, kd_onnx_type type, int rank,
                             const int64_t *shape, const void *values);

/* Operators of at least this opset are used. */
void kd_onnx_need(kd_onnx *onnx, int opset);

/* in[which] as an image, for operators that take nothing else. */
const char *kd_onnx_image(kd_onnx *onnx, const kd_onnx_node *node, int which);

/* Weights (o, positions, channels) of `bytes` each → (o, channels, positions). */
void kd_onnx_turn(void *out, const void *in, int64_t o, int64_t positions, int64_t channels,
                  size_t bytes);

/* Adds all that a node computes, with its relu; *out is its result, *rows whether that is rows.
 * KD_ECONFIG when it has no form in ONNX. */
int kd_onnx_add_node(kd_onnx *onnx, const kd_onnx_node *node, const char **out, bool *rows);

/* A fact for people and programs beside the graph. */
void kd_onnx_describe(kd_onnx *onnx, const char *key, const char *value);

/* `value` is the result, of the shape `out`. Writes the file whole or not at all. KD_EDATA when it
 * would pass 2 GB, which is all that one such file may hold. */
int kd_onnx_finish(kd_onnx *onnx, const char *path, const char *value, bool rows, kd_extent out);

#endif
