#include "autograd/tensor.h"

#include <stdio.h>
#include <string.h>

const char *kd_shape_text(char *out, int capacity, const kd_tensor *x) {
    int used = snprintf(out, (size_t)capacity, "(");
    for (int i = 0; i < x->rank && used < capacity; i++)
        used += snprintf(out + used, (size_t)(capacity - used), i ? ", %lld" : "%lld",
                         (long long)x->shape[i]);
    if (used < capacity) snprintf(out + used, (size_t)(capacity - used), ")");
    return out;
}

void kd_tensor_read(const kd_tensor *x, kd_real *out, int64_t first, int64_t count) {
    const int64_t C = kd_channels(x);
    if (x->constant)
        x->constant->read(x->constant, out, first, count);
    else
        memcpy(out, x->value + first * C, (size_t)(count * C) * sizeof *out);
}

bool kd_same_shape(const kd_tensor *a, const kd_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}
