/* From what the file says to what can be run: clamps, each kind's own preparation, and one layout
 * of scratch memory for a sample. */
#include <stdlib.h>

#include "base/error.h"
#include "quant/node.h"

enum { CACHE_LINE = 64 };

static const size_t SAMPLE_BYTES_MAX = (size_t)1 << 30;

static size_t round_up(size_t bytes) {
    return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static void prepare_grid(kd_blob_node *node) {
    kd_blob_grid *g = &node->grid;
    g->zero = g->grid.zero - g->grid.qmin;
    g->low = g->grid.qmin - g->grid.zero;
    g->high = g->grid.qmax - g->grid.zero;
    if (node->spec.relu && g->low < 0) g->low = 0;
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

int kd_blob_prepare(kd_blob *blob) {
    blob->kernel = kd_int8_kernel_choose();
    int status = KD_OK;
    for (int i = 0; i < blob->count && status == KD_OK; i++) {
        kd_blob_node *node = &blob->node[i];
        const kd_qnode_class *class = kd_qnode_class_of(node->spec.kind);
        if (!node->last) prepare_grid(node);
        if (class->prepare) status = class->prepare(blob, node);
    }
    return status == KD_OK ? lay_out_scratch(blob) : status;
}
