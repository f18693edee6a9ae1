/* Inference with integers only: u8 activations, int8 weights, int32 sums. The one float operation
 * at each end is the quantization of the input and the scaling of the logits. */
#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "base/error.h"
#include "quant/node.h"

/* Samples that go through the network together, so that a linear layer's weights are read once for
 * several of them, bounded by what their activations take of the second cache. */
enum { TOGETHER_MAX = 8 * KD_INT8_ROWS, TOGETHER_BYTES = 256 << 10 };

/* Logits when the last node keeps no accumulators: the values of the last grid. */
static void store_values(const kd_blob_task *t) {
    const int last = t->blob->count - 1, classes = t->blob->classes;
    const kd_blob_grid g = t->blob->node[last].grid;
    for (int64_t s = 0; s < t->n; s++)
        for (int c = 0; c < classes; c++)
            t->logits[s * classes + c] =
                g.grid.scale * (float)(kd_blob_activation(t, s, last)[c] - g.zero);
}

/* Waits until all parts of a shared task have come here. */
static void meet(const kd_blob_task *t) {
    if (t->parts > 1) {
#pragma omp barrier
    }
}

/* When the whole team shares the task, a node begins where all have finished the one before. */
static void run_task(const kd_blob_task *t) {
    const kd_blob *blob = t->blob;
    for (int i = 0; i < blob->count; i++) {
        if (i > 0) meet(t);
        kd_qnode_class_of(blob->node[i].spec.kind)->run(t, i);
    }
    meet(t);
    if (!blob->node[blob->count - 1].last && t->part == 0) store_values(t);
}

/* What one thread needs for `together` samples: their activations, and a product's input. */
static size_t thread_bytes(const kd_blob *blob, int64_t together) {
    const size_t n = (size_t)together, rows = n * blob->row_bytes;
    const size_t input = rows > blob->image_bytes ? rows : blob->image_bytes;
    return n * blob->sample_bytes + (input + 63) / 64 * 64;
}

/* Scratch for every thread, kept until more is needed. */
static int take_scratch(kd_blob *blob, int threads, size_t each) {
    const size_t bytes = (size_t)threads * each;
    if (bytes <= blob->scratch_bytes) return KD_OK;
    free(blob->scratch);
    blob->scratch_bytes = 0;
    blob->scratch = aligned_alloc(64, bytes);
    if (!blob->scratch) return kd_fail_memory(bytes, "running a blob");
    blob->scratch_bytes = bytes;
    return KD_OK;
}

static int64_t samples_together(const kd_blob *blob, int64_t n, int threads) {
    int64_t together = TOGETHER_BYTES / (int64_t)blob->sample_bytes;
    if (together > TOGETHER_MAX) together = TOGETHER_MAX;
    if (together > (n + threads - 1) / threads) together = (n + threads - 1) / threads;
    return together < 1 ? 1 : together;
}

static void run_one(kd_blob_task t, int64_t first, int64_t together, int64_t n, const float *x,
                    float *logits) {
    const kd_extent in = t.blob->node[0].out;
    t.n = n - first < together ? n - first : together;
    t.logits = logits + first * t.blob->classes;
    t.x = x + first * in.h * in.w * in.c;
    run_task(&t);
}

/* Scales near the end of a float's range can make answers that are no numbers. */
static int check_logits(const kd_blob *blob, int64_t n, const float *logits) {
    for (int64_t i = 0; i < n * blob->classes; i++)
        if (!isfinite(logits[i]))
            return kd_fail(KD_EDATA,
                           "the logit of class %lld is %g: the model's scales are too large",
                           (long long)(i % blob->classes), (double)logits[i]);
    return KD_OK;
}

int kd_blob_run(kd_blob *blob, int64_t n, const float *x, float *logits) {
    const int threads = omp_get_max_threads();
    const int64_t together = samples_together(blob, n, threads);
    const size_t each = thread_bytes(blob, together);
    int status = take_scratch(blob, threads, each);
    if (status < 0) return status;
    const int64_t tasks = (n + together - 1) / together;
    const bool shared = tasks < threads; /* each task is the whole team's */
#pragma omp parallel if (tasks > 1 || threads > 1)
    {
        const int thread = omp_get_thread_num(), parts = shared ? omp_get_num_threads() : 1;
        kd_blob_task t = {.blob = blob, .part = shared ? thread : 0, .parts = parts};
        t.samples = blob->scratch + (shared ? 0 : (size_t)thread * each);
        t.input = blob->scratch + (size_t)thread * each + (size_t)together * blob->sample_bytes;
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t i = 0; i < (shared ? 0 : tasks); i++)
            run_one(t, i * together, together, n, x, logits);
        for (int64_t i = 0; i < (shared ? tasks : 0); i++)
            run_one(t, i * together, together, n, x, logits);
    }
    return check_logits(blob, n, logits);
}

/* --- what a blob says of itself ----------------------------------------------------------------
 */

void kd_blob_free(kd_blob *blob) {
    if (!blob) return;
    for (int i = 0; i < blob->count; i++) {
        kd_blob_node *node = &blob->node[i];
        free(node->weight);
        free(node->own);
        free(node->offset);
        free(node->bias);
        free(node->factor);
        free(node->shift);
        free(node->scale);
    }
    free(blob->node);
    free(blob->class_name);
    free(blob->scratch);
    free(blob);
}

int kd_blob_classes(const kd_blob *blob) {
    return blob->classes;
}

const char *kd_blob_class_name(const kd_blob *blob, int label) {
    KD_CONTRACT(label >= 0 && label < blob->classes, "class %d of %d", label, blob->classes);
    return blob->class_name[label];
}

char (*kd_blob_class_names(const kd_blob *blob))[KD_CLASS_NAME_MAX] {
    return blob->class_name;
}

kd_extent kd_blob_input(const kd_blob *blob) {
    return blob->node[0].out;
}

const kd_data_spec *kd_blob_data(const kd_blob *blob) {
    return &blob->data;
}

const kd_normaliser *kd_blob_normaliser(const kd_blob *blob) {
    return &blob->normaliser;
}

int64_t kd_blob_parameters(const kd_blob *blob) {
    return blob->parameters;
}
