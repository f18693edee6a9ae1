/* Numbers that no trained network has. */
#ifndef KD_LAYERS_WEIGHTS_H
#define KD_LAYERS_WEIGHTS_H

#include <stdbool.h>

#include "autograd/param.h"

/* That the values (p->tensor.size) are finite, and not negative where they are variances. KD_EDATA
 * names the source, the parameter and the place. */
int kd_param_check(const kd_param *p, const kd_real *values, const char *source);

/* The same of all present values. */
int kd_params_check(const kd_params *params, const char *source);

/* Whether a parameter of this name holds variances: ours, or PyTorch's. */
bool kd_names_variance(const char *name);

/* The place of the first of n numbers that is not finite or, of a variance, negative; −1 for none.
 */
int64_t kd_find_bad_number(const float *values, int64_t n, bool variance);

#endif
