/* What several seeds say of one figure. */
#ifndef KD_REPORT_STATISTICS_H
#define KD_REPORT_STATISTICS_H

#include <stdint.h>

typedef struct {
    int n;            /* values that are finite                                           */
    double mean;      /* NAN when n is 0                                                  */
    double deviation; /* with n − 1; NAN when n < 2                                       */
    double reach;     /* half of the 95 % t-interval: t(0.975, n − 1)·deviation/√n; or NAN */
    double low, high; /* its ends, mean ∓ reach; or NAN                                   */
} kd_statistics;

/* Of n values; those that are not finite do not count. */
kd_statistics kd_statistics_of(int n, const double *value);

/* The same of values that lie from `least` to `most`, where the interval then ends too. */
kd_statistics kd_statistics_within(int n, const double *value, double least, double most);

/* The 95 % interval of p_a − p_b, the shares of the same n samples that a and b have right, of
 * which `only_a` only a and `only_b` only b. Agresti and Min (2005), "Simple improved confidence
 * intervals for comparing matched proportions": Wald's with 1/2 added to each of the four cells. */
void kd_paired_interval(int64_t n, int64_t only_a, int64_t only_b, double *low, double *high);

/* The 97.5 % quantile of Student's t-distribution with `freedom` ≥ 1 degrees of freedom. */
double kd_student_quantile(int freedom);

#endif
