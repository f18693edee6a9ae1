#include "tasks/classify/class_bias.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"

void kd_class_bias_add(const kd_class_bias *bias, int64_t n, int classes, float *logits) {
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < bias->count; k++)
            logits[i * classes + bias->label[k]] += (float)bias->shift;
}

/* Above `at` the sample's answer is another: `gain` more right answers (1 or −1). */
typedef struct {
    double at;
    int gain;
} change;

static int compare_changes(const void *a, const void *b) {
    double x = ((const change *)a)->at, y = ((const change *)b)->at;
    return (x > y) - (x < y);
}

static bool in_set(const kd_class_bias *bias, int v) {
    for (int k = 0; k < bias->count; k++)
        if (bias->label[k] == v) return true;
    return false;
}

/* The best class of a row inside the set or outside. */
static int best_class(const kd_class_bias *bias, const float *row, int classes, bool inside) {
    int best = -1;
    for (int v = 0; v < classes; v++)
        if (in_set(bias, v) == inside && (best < 0 || row[v] > row[best])) best = v;
    return best;
}

/* The changes that matter, in order; returns how many. */
static int64_t find_changes(const kd_class_bias *bias, int64_t n, int classes, const float *logits,
                            const int32_t *label, change *out) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *row = logits + i * classes;
        int in = best_class(bias, row, classes, true);
        int other = best_class(bias, row, classes, false);
        int gain = (in == label[i]) - (other == label[i]);
        if (gain) out[count++] = (change){(double)row[other] - (double)row[in], gain};
    }
    qsort(out, (size_t)count, sizeof *out, compare_changes);
    return count;
}

/* Right answers are counted from those at −∞. */
static double best_shift(const change *list, int64_t count) {
    int64_t right = 0, most = 0;
    for (int64_t i = 0; i < count && list[i].at < 0; i++) most += list[i].gain; /* those at 0 */
    double shift = 0, widest = INFINITY;
    for (int64_t i = 0; i <= count; i++) { /* the step between changes i−1 and i */
        double low = i > 0 ? list[i - 1].at : list[0].at - 1;
        double high = i < count ? list[i].at : list[count - 1].at + 1;
        if (i > 0) right += list[i - 1].gain;
        if (high <= low || right < most || (right == most && high - low <= widest)) continue;
        most = right;
        widest = high - low;
        shift = (low + high) / 2;
    }
    return shift;
}

int kd_class_bias_choose(kd_class_bias *bias, int64_t n, int classes, const float *logits,
                         const int32_t *label) {
    KD_CONTRACT(bias->count >= 1 && bias->count < classes, "%d of %d classes", bias->count,
                classes);
    change *list = malloc(kd_array_bytes(n, sizeof *list) + 1);
    if (!list) return kd_fail_memory((unsigned long long)n * sizeof *list, "a bias to choose");
    int64_t count = find_changes(bias, n, classes, logits, label, list);
    bias->shift = count > 0 ? best_shift(list, count) : 0;
    free(list);
    return KD_OK;
}
