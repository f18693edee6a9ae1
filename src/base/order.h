/* Numbers in order. */
#ifndef KD_BASE_ORDER_H
#define KD_BASE_ORDER_H

#include <stdint.h>

static inline int64_t kd_smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t kd_larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* For qsort and bsearch: rising numbers of the type double, int64_t. */
int kd_order_doubles(const void *a, const void *b);
int kd_order_integers(const void *a, const void *b);

/* The middle one of n values, of two the larger; 0 of none. Sorts them. */
double kd_median(double *value, int64_t n);

#endif
