/* CONV and LINEAR in a blob: integer weights, biases and multipliers, written, read and packed for
 * the kernels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "quant/node.h"

/* --- written ---------------------------------------------------------------------------------- */

/* int8, or with 4 bits and fewer two to a byte, the first in the low half. */
static void add_weight(kd_blob_writer *w, const kd_net_node *node, const kd_tensor *steps,
                       int bits) {
    int8_t *bytes = kd_tape_take(w->tape, kd_array_bytes(steps->size, 1));
    if (bits > 4) {
        uint64_t ne[KD_GGUF_RANK_MAX];
        for (int i = 0; i < steps->rank; i++) ne[i] = (uint64_t)steps->shape[steps->rank - 1 - i];
        for (int64_t i = 0; i < steps->size; i++) bytes[i] = (int8_t)steps->value[i];
        kd_blob_add_tensor(w, node, "weight", KD_GGUF_TENSOR_I8, steps->rank, ne, bytes);
    } else {
        const int64_t n = (steps->size + 1) / 2;
        for (int64_t i = 0; i < n; i++) {
            int low = (int)steps->value[2 * i];
            int high = 2 * i + 1 < steps->size ? (int)steps->value[2 * i + 1] : 0;
            bytes[i] = (int8_t)(uint8_t)((low & 15) | (high & 15) << 4);
        }
        kd_blob_add_tensor(w, node, "weight", KD_GGUF_TENSOR_I8, 1, (uint64_t[]){(uint64_t)n},
                           bytes);
    }
    kd_tape_give(w->tape, bytes);
}

/* No sum of stored activations (0 … 255) times weights, with bias and zero-point, may pass 2^31. */
static int check_accumulators(const kd_blob_writer *w, const char *node, const kd_qlayer *layer) {
    const int64_t n = layer->steps->size / layer->channels;
    for (int64_t c = 0; c < layer->channels; c++) {
        double sum = 0;
        for (int64_t k = 0; k < n; k++) sum += fabs((double)layer->steps->value[c * n + k]);
        if (2 * 255 * sum + fabs((double)layer->bias[c]) >= 0x1p31)
            return kd_fail(KD_EDATA,
                           "%s: %s, channel %lld: its sums can pass 2^31, which an int32 "
                           "cannot hold: use a smaller layer or fewer weight bits",
                           w->path, node, (long long)c);
        if (!isfinite((double)layer->scale[c]) || !isfinite(sum))
            return kd_fail(KD_EDATA, "%s: %s, channel %lld: its weights are not finite", w->path,
                           node, (long long)c);
    }
    return KD_OK;
}

int kd_blob_write_layer(kd_blob_writer *w, int i, const kd_node_grids *grids) {
    const kd_net_node *node = &w->qnet->net->node[i];
    const kd_grid *in = grids->in[0], *out = grids->out;
    const int bits = w->qnet->node[i].weight_bits;
    const kd_qlayer layer = kd_qnet_layer(w->qnet, w->tape, i, in->scale);
    int status = check_accumulators(w, node->name, &layer);
    if (status < 0) return status;
    kd_text_add(&w->graph, ", \"weight_bits\": %d", bits);
    add_weight(w, node, layer.steps, bits);
    kd_blob_add_i32s(w, node, "bias", layer.bias, layer.channels);
    kd_blob_add_tensor(w, node, "scale", KD_GGUF_TENSOR_F32, 1,
                       (uint64_t[]){(uint64_t)layer.channels}, layer.scale);
    if (!out) return KD_OK;
    const kd_rescale how =
        kd_qlayer_rescale(w->tape, &layer, in->scale, out, kd_node_act(&node->spec));
    kd_blob_add_i32s(w, node, "multiplier", how.factor, layer.channels);
    kd_blob_add_i32s(w, node, "shift", how.shift, layer.channels);
    return KD_OK;
}

/* --- read ------------------------------------------------------------------------------------- */

/* int8 as it is, or nibbles spread out. */
static int take_weight(kd_blob_reader *r, kd_blob_node *node, int64_t n, int64_t bits) {
    void *bytes = NULL;
    int status = kd_blob_take_tensor(r, &bytes, node, "weight", KD_GGUF_TENSOR_I8,
                                     bits > 4 ? n : (n + 1) / 2);
    if (status < 0 || bits > 4) {
        node->weight = bytes;
        return status;
    }
    node->weight = malloc(kd_array_bytes(n, 1));
    if (!node->weight) status = kd_fail_memory((unsigned long long)n, node->name);
    for (int64_t i = 0; i < n && status == KD_OK; i++) {
        int nibble = ((const uint8_t *)bytes)[i / 2] >> (i % 2 * 4) & 15;
        node->weight[i] = (int8_t)(nibble < 8 ? nibble : nibble - 16);
    }
    free(bytes);
    return status;
}

/* Sums must fit an int32, whatever the activations: the promise the kernels rely on. */
static int check_layer(const kd_blob_reader *r, const kd_blob_node *node, int64_t bits) {
    const int qmax = (1 << (bits - 1)) - 1;
    for (int64_t c = 0; c < node->spec.channels; c++) {
        int64_t sum = 0;
        for (int64_t k = 0; k < node->K; k++) {
            const int w = node->weight[c * node->K + k];
            if (w < -qmax || w > qmax)
                return kd_fail(KD_EDATA, "%s: %s: weight %d, channel %lld: must lie in %d … %d",
                               r->name, node->name, w, (long long)c, -qmax, qmax);
            sum += abs(w);
        }
        if (2 * 255 * sum + llabs((long long)node->bias[c]) > INT32_MAX)
            return kd_fail(KD_EDATA, "%s: %s: the sums of channel %lld can pass 2^31", r->name,
                           node->name, (long long)c);
        if (!isfinite(node->scale[c]) || node->scale[c] <= 0)
            return kd_fail(KD_EDATA, "%s: %s: scale %g of channel %lld: must be above 0", r->name,
                           node->name, (double)node->scale[c], (long long)c);
    }
    return KD_OK;
}

int kd_blob_read_layer(kd_blob_reader *r, const cJSON *item, kd_blob_node *node) {
    const int64_t channels = node->spec.channels;
    int64_t bits = 0;
    int status = kd_blob_get_integer(r, item, "weight_bits", 2, 8, &bits);
    if (status < 0) return status;
    if (node->K > KD_BLOB_VALUES_MAX || channels * node->K > INT32_MAX)
        return kd_blob_fail(r, item, "out", "makes a layer that is too large");
    status = take_weight(r, node, channels * node->K, bits);
    if (status == KD_OK)
        status = kd_blob_take_tensor(r, (void **)&node->bias, node, "bias", KD_GGUF_TENSOR_I32,
                                     channels);
    if (status == KD_OK)
        status = kd_blob_take_tensor(r, (void **)&node->scale, node, "scale", KD_GGUF_TENSOR_F32,
                                     channels);
    if (status == KD_OK && !node->last) status = kd_blob_take_multipliers(r, node, channels);
    if (status == KD_OK) status = check_layer(r, node, bits);
    r->blob->parameters += channels * (node->K + 1);
    return status;
}

/* --- for the kernels -------------------------------------------------------------------------- */

enum { CACHE_LINE = 64 };

static size_t round_up(size_t bytes) {
    return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

void kd_blob_need(const kd_blob *blob, size_t *bytes, int64_t values) {
    const size_t needed = (size_t)values * (blob->kernel->wide ? 2 : 1);
    if (needed > *bytes) *bytes = needed;
}

/* Σ (x − z)·w + b = Σ x·w + (b − z·Σw): the kernels then see stored values only. Wraps as they do.
 */
static void fold_zero_point(kd_blob_node *node, int32_t zero) {
    for (int64_t c = 0; c < node->spec.channels; c++) {
        int32_t sum = 0;
        for (int64_t k = 0; k < node->K; k++) sum += node->weight[c * node->K + k];
        node->bias[c] = (int32_t)((uint32_t)node->bias[c] - (uint32_t)zero * (uint32_t)sum);
    }
}

/* Puts an array of 4-byte entries, one per channel, into groups padded with zeros. */
static int pad_channels(const kd_blob_node *node, void **array) {
    if (!*array) return KD_OK;
    const size_t padded = (size_t)kd_blob_padded_channels(node), groups = (size_t)node->spec.groups;
    const size_t own = (size_t)node->spec.channels / groups, each = padded / groups;
    char *wide = calloc(padded, 4);
    if (!wide) return kd_fail_memory(4 * padded, node->name);
    for (size_t group = 0; group < groups; group++)
        memcpy(wide + 4 * group * each, (char *)*array + 4 * group * own, 4 * own);
    free(*array);
    *array = wide;
    return KD_OK;
}

/* Where the runs of a window lie in its padded input. */
static int lay_out_window(kd_blob_node *node, int rows, int columns) {
    const int64_t C = node->from.c, pitch = kd_blob_pitch(node);
    node->segments = rows * columns;
    node->length = node->K / node->segments;
    const size_t bytes = (size_t)node->segments * sizeof *node->offset;
    node->offset = calloc(1, bytes);
    if (!node->offset) return kd_fail_memory(bytes, node->name);
    for (int s = 0; s < node->segments; s++)
        node->offset[s] = s / columns * pitch + s % columns * C;
    return KD_OK;
}

static int pack_weights(const kd_int8_kernel *kernel, kd_blob_node *node) {
    const int64_t own = node->spec.channels / node->spec.groups;
    const int64_t each = kd_int8_packed_bytes(kernel, own, node->segments, node->length);
    const size_t bytes = round_up((size_t)(each * node->spec.groups));
    int8_t *packed = aligned_alloc(CACHE_LINE, bytes);
    if (!packed) return kd_fail_memory(bytes, node->name);
    if (kd_blob_is_depthwise(node)) { /* (taps, C): channels side by side */
        for (int64_t c = 0; c < node->spec.channels; c++)
            for (int64_t k = 0; k < node->K; k++)
                packed[k * node->spec.channels + c] = node->weight[c * node->K + k];
    } else {
        for (int64_t group = 0; group < node->spec.groups; group++)
            kd_int8_pack(kernel, packed + group * each, node->weight + group * own * node->K, own,
                         node->segments, node->length);
    }
    free(node->weight);
    node->weight = packed;
    return KD_OK;
}

int kd_blob_prepare_layer(kd_blob *blob, kd_blob_node *node, int rows, int columns) {
    fold_zero_point(node, blob->node[node->in[0]].grid.zero);
    int status = lay_out_window(node, rows, columns);
    if (status == KD_OK) status = pack_weights(blob->kernel, node);
    if (status == KD_OK) status = pad_channels(node, (void **)&node->bias);
    if (status == KD_OK) status = pad_channels(node, (void **)&node->scale);
    if (status == KD_OK) status = pad_channels(node, (void **)&node->factor);
    if (status == KD_OK) status = pad_channels(node, (void **)&node->shift);
    return status;
}
