/* What the files of convolution share; internal to op_conv*.c. */
#ifndef KD_AUTOGRAD_CONV_KERNELS_H
#define KD_AUTOGRAD_CONV_KERNELS_H

#include "autograd/ops.h"
#include "autograd/vec_pair.h"

/* B is kept in panels of this many columns, zeros behind the last column. */
enum { KD_PANEL = 2 * KD_VEC };

/* Memory that will be read next. The product asks for it little by little, so that waiting for it
 * costs nothing: copying an image would otherwise take a tenth of the time. */
typedef struct {
    const kd_real *at;
    int64_t size; /* elements */
} kd_ahead;

/* Part i of n of it. */
kd_ahead kd_ahead_part(kd_ahead all, int64_t i, int64_t n);

/* C[i,n] = act(init[i,n] + Σ_{s,k} A[i,s,k] · B[s,k,n]) where the rows of A may overlap in memory:
 *
 *     A[i,s,k] = a[a_at[i] + segment_at[s] + k·a_step]             s < segments, k < length
 *     B[s,k,n] = b[n/PANEL · b_panel + (s·length + k)·PANEL + n mod PANEL]
 *     C[i,n]   = c[c_at[i] + n]                                    i < rows, n < columns
 *     init     = bias[n], or C when `add`, or 0
 *
 * A window of an image is such a row: no copy of it is ever made. With `pairs` the elements of a
 * and b are pairs of bfloat16 numbers (vec_pair.h), k counts pairs, and the rest is as it is. */
typedef struct {
    const kd_real *a, *b, *bias; /* bias may be NULL */
    kd_real *c;
    const int32_t *a_at, *segment_at, *c_at;
    int64_t rows, columns, segments, length, a_step, b_panel;
    bool add, relu, pairs;
    kd_ahead ahead[4];
} kd_window_product;

/* On the calling thread. */
void kd_window_product_run(const kd_window_product *p);

/* One convolution: images (B, in[0], in[1], C), weights (O, kernel[0], kernel[1], C/groups), result
 * (B, out[0], out[1], O). */
typedef struct {
    int64_t B, C, O, groups, in[2], kernel[2], out[2], stride[2], padding[2];
    kd_act act;
    bool
        rounded; /* to bfloat16, where the channels of a group that are summed are even in number */
} kd_conv_shape;

/* Images (H,W,C) behind each other: g, or, when y is not NULL, g where y > 0 and else 0, which is
 * the gradient of a result before its activation. */
typedef struct {
    const kd_real *g, *y;
} kd_conv_source;

typedef struct {
    int64_t H, W, C;
} kd_conv_image;

kd_conv_source kd_conv_image_at(kd_conv_source s, kd_conv_image image, int64_t index);

/* A rectangle of one image, which may reach over its edges. */
typedef struct {
    int64_t top, left, height, width, channel, channels;
} kd_conv_region;

/* out (height, width, channels) = the region of an image, zeros over the edges. */
void kd_conv_copy_region(kd_real *out, kd_conv_source s, kd_conv_image image, kd_conv_region r);

/* The same in pairs of neighbouring channels, of which r.channels is an even number. */
void kd_conv_copy_region_pairs(kd_real *out, kd_conv_source s, kd_conv_image image,
                               kd_conv_region r);

/* The memory kd_conv_copy_region will read, part i of n of it. */
void kd_conv_look_ahead(kd_ahead out[2], kd_conv_source s, kd_conv_image image, kd_conv_region r,
                        int64_t i, int64_t n);

/* Where gradients go: beta 0 overwrites, 1 adds; those that are NULL are not wanted. */
typedef struct {
    kd_real *x, *w, *b;
    kd_real beta_x, beta_w, beta_b;
} kd_conv_gradients;

/* y = act(bias + x ∗ w), and the gradient by x: op_conv_windows.c. */
void kd_conv_forward(kd_tape *tape, const kd_conv_shape *s, const kd_real *x, const kd_real *w,
                     const kd_real *bias, kd_real *y);
void kd_conv_backward_input(kd_tape *tape, const kd_conv_shape *s, const kd_real *w,
                            kd_conv_source dy, const kd_conv_gradients *out);

/* The gradients by w and bias: op_conv_weights.c. */
void kd_conv_backward_weights(kd_tape *tape, const kd_conv_shape *s, const kd_real *x,
                              kd_conv_source dy, const kd_conv_gradients *out);

/* All of it where groups = C = O: op_conv_depthwise.c. */
void kd_conv_depthwise_forward(kd_tape *tape, const kd_conv_shape *s, const kd_real *x,
                               const kd_real *w, const kd_real *bias, kd_real *y);
void kd_conv_depthwise_backward(kd_tape *tape, const kd_conv_shape *s, const kd_real *x,
                                const kd_real *w, kd_conv_source dy, const kd_conv_gradients *out);

#endif
