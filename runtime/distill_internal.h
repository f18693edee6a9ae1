/* Inside of the runner: the file, its text, the nodes that are made of them. Everything here is
 * checked where it is read (distill_file.c, distill_graph.c), so that what runs (distill_run.c)
 * need not look again. */
#ifndef DISTILL_INTERNAL_H
#define DISTILL_INTERNAL_H

#include "distill_run.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blobs are little-endian and are read where they lie"
#endif

enum { DISTILL_KEY_F32 = 6, DISTILL_KEY_STRING = 8, DISTILL_KEY_ARRAY = 9 };
enum { DISTILL_TYPE_F32 = 0, DISTILL_TYPE_I8 = 24, DISTILL_TYPE_I32 = 26 };

static inline uint32_t distill_word(const uint8_t *from) {
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* --- the file (distill_file.c) -----------------------------------------------------------------
 */

typedef struct {
    const uint8_t *at;
    size_t left;
    int bad;
} distill_cursor;

/* The next n bytes, or NULL, and then the cursor gives nothing more. */
const uint8_t *distill_take(distill_cursor *c, uint64_t n);
/* A 64-bit length and as many bytes. */
const char *distill_take_string(distill_cursor *c, uint64_t *length);

typedef struct {
    const uint8_t *bytes;
    distill_cursor keys, tensors, data;
    uint64_t key_count, tensor_count;
} distill_file;

/* Finds the parts of a file and walks through all of its keys and tensors. */
int32_t distill_file_parse(distill_file *f, const void *bytes, size_t length);
/* As distill_run_key. */
const uint8_t *distill_file_key(uint64_t *count, const distill_file *f, const char *name,
                                uint32_t element);

/* A place in a text, and its end. */
typedef struct {
    const char *at, *end;
} distill_text;

/* *out: where the `count` numbers of the tensor called `name` and `suffix` begin, in the file's
 * bytes. */
int32_t distill_file_tensor(uint32_t *out, const distill_file *f, distill_text name,
                            const char *suffix, uint32_t type, uint64_t count);

/* JSON, where it lies: each function gives 0 when the text is not what it wants. */
char distill_peek(distill_text *t);        /* the next sign that is no space, or 0 */
int distill_pass(distill_text *t, char c); /* this one */
int distill_pass_string(distill_text *t, distill_text *inside);
int distill_pass_any(distill_text *t); /* a value, whatever it is */
int distill_is_text(distill_text t, const char *word);
int distill_member(distill_text *value, distill_text object, const char *key);
int distill_get_integer(distill_text object, const char *key, int32_t least, int32_t most,
                        int32_t *out);
/* A list of exactly n. */
int distill_get_integers(distill_text object, const char *key, int n, int32_t least, int32_t most,
                         int32_t *out);
/* A positive decimal → float, 2^−110 or more. The 9 digits that the writer gives determine it. */
int distill_get_scale(distill_text object, float *out);

/* --- the nodes (distill_graph.c) ----------------------------------------------------------------
 */

typedef enum {
    DISTILL_INPUT,
    DISTILL_CONV,
    DISTILL_LINEAR,
    DISTILL_MAX_POOL,
    DISTILL_AVG_POOL,
    DISTILL_GLOBAL_AVG_POOL,
    DISTILL_ADD,
    DISTILL_ACTIVATION,
    DISTILL_SHORTCUT,
    DISTILL_KINDS
} distill_kind;

/* Places in the blob are 32-bit offsets, so that a node takes the same room on every processor. */
typedef struct {
    uint8_t kind, relu, last, bits; /* last: sums are kept, without a grid                      */
    int16_t in[2];
    uint32_t h, w, c; /* of the output                                            */
    uint16_t kernel[2], stride[2], padding[2];
    uint32_t groups, K, before; /* K: weights of a channel; before: a shortcut's zero channels  */
    int32_t zero, low, high;    /* the output's grid in stored values and steps; relu in `low`  */
    float scale;
    uint32_t weight; /* of an activation its table                               */
    uint32_t bias, factor, shift, weight_scale;
    uint32_t slot, bytes;      /* the output in the arena                                  */
    uint32_t work, work_bytes; /* columns of windows, while the node runs                  */
    uint32_t until;            /* the last node that reads the output                      */
} distill_node;

/* *list: the first node in the text; *count: how many there are. */
int32_t distill_graph_find(const distill_file *f, distill_text *list, uint32_t *count);
/* Reads `count` nodes into `list` and lays out their room; *bytes of it. */
int32_t distill_graph_read(const distill_file *f, distill_text t, uint32_t count,
                           distill_node *list, uint32_t *bytes);

/* Entry i of an array of 32-bit numbers in the blob. */
static inline int32_t distill_entry(const uint8_t *blob, uint32_t array, uint32_t i) {
    return (int32_t)distill_word(blob + array + (size_t)4 * i);
}

/* Weight i of a layer; with 4 bits and fewer two lie in a byte, the first in the low half. */
static inline int32_t distill_weight(const uint8_t *blob, const distill_node *n, uint32_t i) {
    const uint8_t *weight = blob + n->weight;
    const int32_t byte = n->bits > 4 ? weight[i] : weight[i / 2] >> (i % 2 * 4) & 15;
    const int32_t half = n->bits > 4 ? 128 : 8;
    return byte < half ? byte : byte - 2 * half;
}

/* The entries of a window's column, which has room for 16 bits each: whole steps of every kernel
 * (distill_kernels.h), so that the arena is the same for all. */
enum { DISTILL_WIDTH = 32 };
static inline uint32_t distill_width(const distill_node *n) {
    return (n->K + DISTILL_WIDTH - 1) / DISTILL_WIDTH * DISTILL_WIDTH;
}
static inline uint32_t distill_columns(const distill_node *n) {
    return n->h * n->w > 1 ? 2 : 1;
}

#endif
