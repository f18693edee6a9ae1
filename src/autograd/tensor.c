#include "autograd/tensor.h"

#include <stdio.h>

const char *kd_shape_text(char *out, int capacity, const kd_tensor *x) {
    int used = snprintf(out, (size_t)capacity, "(");
    for (int i = 0; i < x->rank && used < capacity; i++)
        used += snprintf(out + used, (size_t)(capacity - used), i ? ", %lld" : "%lld",
                         (long long)x->shape[i]);
    if (used < capacity) snprintf(out + used, (size_t)(capacity - used), ")");
    return out;
}

bool kd_same_shape(const kd_tensor *a, const kd_tensor *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}
