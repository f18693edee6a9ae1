#include "base/order.h"

#include <stdlib.h>

int kd_order_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int kd_order_integers(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

double kd_median(double *value, int64_t n) {
    if (n == 0) return 0;
    qsort(value, (size_t)n, sizeof *value, kd_order_doubles);
    return value[n / 2];
}
