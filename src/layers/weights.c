#include "layers/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"

bool kd_names_variance(const char *name) {
    static const char end[] = "running_var";
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* "3, 0, 7" for the 0-based place of a number in a tensor. */
static void describe_place(char *out, size_t capacity, const kd_tensor *t, int64_t at) {
    int64_t index[KD_MAX_RANK];
    size_t used = 0;
    for (int i = t->rank - 1; i >= 0; at /= t->shape[i--]) index[i] = at % t->shape[i];
    for (int i = 0; i < t->rank && used < capacity; i++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%lld", i ? ", " : "",
                                 (long long)index[i]);
}

/* n values from number `first` on. */
static int check(const kd_param *p, const kd_real *values, int64_t first, int64_t n,
                 const char *source) {
    const bool variance = kd_names_variance(p->name);
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(values[i]) && !(variance && values[i] < 0)) continue;
        char place[96];
        describe_place(place, sizeof place, &p->tensor, first + i);
        return kd_fail(KD_EDATA, "%s: %s[%s] is %g; %s", source, p->name, place, (double)values[i],
                       variance ? "a variance is finite and not negative"
                                : "weights are finite numbers");
    }
    return KD_OK;
}

int kd_param_check(const kd_param *p, const kd_real *values, const char *source) {
    return check(p, values, 0, p->tensor.size, source);
}

static int check_constant(const kd_param *p, const char *source) {
    const int64_t rows = kd_rows(&p->tensor), C = kd_channels(&p->tensor);
    kd_real *row = malloc(kd_array_bytes(C, sizeof *row));
    int status = row ? KD_OK : kd_fail_memory((size_t)C * sizeof *row, "a row of weights");
    for (int64_t i = 0; i < rows && status == KD_OK; i++) {
        kd_tensor_read(&p->tensor, row, i, 1);
        status = check(p, row, i * C, C, source);
    }
    free(row);
    return status;
}

int kd_params_check(const kd_params *params, const char *source) {
    int status = KD_OK;
    for (int i = 0; i < params->count && status == KD_OK; i++) {
        const kd_param *p = params->list[i];
        status = p->tensor.constant ? check_constant(p, source)
                                    : kd_param_check(p, p->tensor.value, source);
    }
    return status;
}

int64_t kd_find_bad_number(const float *values, int64_t n, bool variance) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i]) || (variance && values[i] < 0)) return i;
    return -1;
}
