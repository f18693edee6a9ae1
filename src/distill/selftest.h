/* What must hold of the distillation loss whatever the data, checked in a moment on this machine:
 * against its formula computed anew, without the code under test. */
#ifndef KD_DISTILL_SELFTEST_H
#define KD_DISTILL_SELFTEST_H

#include "distill/loss.h"

enum { KD_SELFTEST_MAX = 24 };

typedef struct {
    char what[80];
    double found, most; /* the error that was measured, and the largest allowed */
} kd_selftest;

/* kd_distill_loss, or another loss that is to be put to the test. */
typedef kd_tensor *(*kd_loss_function)(kd_tape *tape, kd_tensor *z, const int32_t *label,
                                       const uint8_t *valid, const kd_soft_targets *soft,
                                       kd_loss_spec spec, kd_loss_parts *parts);

/* Carries out every check into out[0 … *count), of at most KD_SELFTEST_MAX. An error when memory is
 * out; a check that fails is none. */
int kd_selftest_run(kd_selftest *out, int *count, kd_loss_function loss);

bool kd_selftest_passed(const kd_selftest *check);

#endif
