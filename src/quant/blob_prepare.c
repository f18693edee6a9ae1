/* From what the file says to what the kernels want: zero-points folded into biases, weights packed,
 * and one layout of scratch memory for a sample. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "quant/blob_internal.h"

enum { CACHE_LINE = 64 };

static const size_t SAMPLE_BYTES_MAX = (size_t)1 << 30;

static size_t round_up(size_t bytes) {
    return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

/* --- layers ----------------------------------------------------------------------------------- */

/* Σ (x − z)·w + b = Σ x·w + (b − z·Σw): the kernels then see stored values only. Wraps as they do.
 */
static void fold_zero_point(kd_blob_node *node, int32_t zero) {
    for (int64_t c = 0; c < node->channels; c++) {
        int32_t sum = 0;
        for (int64_t k = 0; k < node->K; k++) sum += node->weight[c * node->K + k];
        node->bias[c] = (int32_t)((uint32_t)node->bias[c] - (uint32_t)zero * (uint32_t)sum);
    }
}

/* Puts an array of 4-byte entries, one per channel, into groups padded with zeros. */
static int pad_channels(const kd_blob_node *node, void **array) {
    if (!*array) return KD_OK;
    const size_t padded = (size_t)kd_blob_padded_channels(node), groups = (size_t)node->groups;
    const size_t own = (size_t)node->channels / groups, each = padded / groups;
    char *wide = calloc(padded, 4);
    if (!wide) return kd_fail_memory(4 * padded, node->name);
    for (size_t group = 0; group < groups; group++)
        memcpy(wide + 4 * group * each, (char *)*array + 4 * group * own, 4 * own);
    free(*array);
    *array = wide;
    return KD_OK;
}

/* Where the runs of a window lie in its padded input: a row of the kernel is one run, unless it
 * reads a group of the channels only. */
static int lay_out_window(kd_blob_node *node) {
    const int64_t C = node->from.c, pitch = kd_blob_pitch(node);
    const int rows = node->kernel[0], columns = node->groups == 1 ? 1 : node->kernel[1];
    node->segments = node->kind == KD_NODE_LINEAR ? 1 : rows * columns;
    node->length = node->K / node->segments;
    const size_t bytes = (size_t)node->segments * sizeof *node->offset;
    node->offset = calloc(1, bytes);
    if (!node->offset) return kd_fail_memory(bytes, node->name);
    for (int s = 0; s < node->segments; s++)
        node->offset[s] = s / columns * pitch + s % columns * C;
    return KD_OK;
}

static int pack_weights(const kd_int8_kernel *kernel, kd_blob_node *node) {
    const int64_t own = node->channels / node->groups;
    const int64_t each = kd_int8_packed_bytes(kernel, own, node->segments, node->length);
    const size_t bytes = round_up((size_t)(each * node->groups));
    int8_t *packed = aligned_alloc(CACHE_LINE, bytes);
    if (!packed) return kd_fail_memory(bytes, node->name);
    if (kd_blob_is_depthwise(node)) { /* (taps, C): channels side by side */
        for (int64_t c = 0; c < node->channels; c++)
            for (int64_t k = 0; k < node->K; k++)
                packed[k * node->channels + c] = node->weight[c * node->K + k];
    } else {
        for (int64_t group = 0; group < node->groups; group++)
            kd_int8_pack(kernel, packed + group * each, node->weight + group * own * node->K, own,
                         node->segments, node->length);
    }
    free(node->weight);
    node->weight = packed;
    return KD_OK;
}

static int prepare_layer(kd_blob *blob, kd_blob_node *node) {
    fold_zero_point(node, blob->node[node->in[0]].grid.zero);
    int status = lay_out_window(node);
    if (status == KD_OK) status = pack_weights(blob->kernel, node);
    if (status == KD_OK) status = pad_channels(node, (void **)&node->bias);
    if (status == KD_OK) status = pad_channels(node, (void **)&node->scale);
    if (status == KD_OK) status = pad_channels(node, (void **)&node->factor);
    if (status == KD_OK) status = pad_channels(node, (void **)&node->shift);
    return status;
}

static void prepare_grid(kd_blob_node *node) {
    kd_blob_grid *g = &node->grid;
    g->zero = g->grid.zero - g->grid.qmin;
    g->low = g->grid.qmin - g->grid.zero;
    g->high = g->grid.qmax - g->grid.zero;
    if (node->relu && g->low < 0) g->low = 0;
}

/* --- scratch ---------------------------------------------------------------------------------- */

static size_t output_bytes(const kd_blob_node *node) {
    return round_up((size_t)(node->out.h * node->out.w * node->out.c));
}

static int last_use(const kd_blob *blob, int i) {
    int last = i;
    for (int j = i + 1; j < blob->count; j++)
        if (blob->node[j].in[0] == i || blob->node[j].in[1] == i) last = j;
    return last;
}

/* The lowest place where the output of node i overlaps no output that is still needed. */
static size_t free_place(const kd_blob *blob, int i, const int *until) {
    const size_t need = output_bytes(&blob->node[i]);
    size_t place = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int j = 0; j < i; j++) {
            const size_t begin = blob->node[j].slot, end = begin + output_bytes(&blob->node[j]);
            if (until[j] < i || place >= end || place + need <= begin) continue;
            place = end;
            moved = true;
        }
    }
    return place;
}

static int lay_out_scratch(kd_blob *blob) {
    const size_t bytes = (size_t)(unsigned)blob->count * sizeof(int);
    int *until = malloc(bytes);
    if (!until) return kd_fail_memory(bytes, "a blob");
    for (int i = 0; i < blob->count; i++) {
        kd_blob_node *node = &blob->node[i];
        until[i] = last_use(blob, i);
        if (node->last) continue;
        node->slot = free_place(blob, i, until);
        const size_t end = node->slot + output_bytes(node);
        if (end > blob->sample_bytes) blob->sample_bytes = end;
    }
    free(until);
    if (blob->sample_bytes + blob->image_bytes > SAMPLE_BYTES_MAX)
        return kd_fail(KD_EDATA, "the network needs %zu bytes to run one sample: at most %zu",
                       blob->sample_bytes + blob->image_bytes, SAMPLE_BYTES_MAX);
    return KD_OK;
}

/* What a product's input takes: a padded image, or one row. */
static size_t input_bytes(const kd_int8_kernel *kernel, const kd_blob_node *node) {
    const size_t each = kernel->wide ? 2 : 1;
    if (node->kind == KD_NODE_LINEAR) return each * (size_t)kd_blob_row_stride(node);
    const int64_t rows = node->from.h + 2 * node->padding[0];
    return round_up(each * (size_t)(rows * kd_blob_pitch(node) + KD_BLOB_SLACK));
}

int kd_blob_prepare(kd_blob *blob) {
    blob->kernel = kd_int8_kernel_choose();
    int status = KD_OK;
    for (int i = 0; i < blob->count && status == KD_OK; i++) {
        kd_blob_node *node = &blob->node[i];
        if (!node->last) prepare_grid(node);
        if (!node->weight) continue;
        status = prepare_layer(blob, node);
        const size_t bytes = input_bytes(blob->kernel, node);
        size_t *most = node->kind == KD_NODE_LINEAR ? &blob->row_bytes : &blob->image_bytes;
        if (bytes > *most) *most = bytes;
    }
    return status == KD_OK ? lay_out_scratch(blob) : status;
}
