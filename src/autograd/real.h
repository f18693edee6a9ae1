/* The scalar of the engine: float in the product, double in the build that checks gradients. */
#ifndef KD_AUTOGRAD_REAL_H
#define KD_AUTOGRAD_REAL_H

#include <math.h>

#ifdef KD_DOUBLE
typedef double kd_real;
#define KD_REAL(x)   x
#define kd_exp       exp
#define kd_log1      log
#define kd_sqrt      sqrt
#define kd_tanh1     tanh
#define kd_erf1      erf
#define kd_rint      rint
#define kd_fabs      fabs
#else
typedef float kd_real;
#define KD_REAL(x)   x##f
#define kd_exp       expf
#define kd_log1      logf
#define kd_sqrt      sqrtf
#define kd_tanh1     tanhf
#define kd_erf1      erff
#define kd_rint      rintf
#define kd_fabs      fabsf
#endif

#endif
