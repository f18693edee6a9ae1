#include <string.h>

#include "autograd/conv_kernels.h"
#include "base/error.h"

/* y[b,i,j,o] = act(bias[o] + Σ_{u,v,c} x[b, i·s−p+u, j·s−p+v, c] · w[o,u,v,c]), zeros outside.
 *
 *     x (B,H,W,C), w (O,KH,KW,C/groups), bias (O) → y (B,H',W',O)
 *     da = dy where y > 0 (all of dy without an activation)
 *     dx[b,i,j,c]  ← Σ_{u,v,o} da[b, (i+p−u)/s, (j+p−v)/s, o] · w[o,u,v,c]   where s divides
 *     dw[o,u,v,c]  ← Σ_{b,i,j} da[b,i,j,o] · x[b, i·s−p+u, j·s−p+v, c]
 *     dbias[o]     ← Σ_{b,i,j} da[b,i,j,o]
 *
 * Nothing is saved but the shape: y, kept by the tape anyway, is the mask of the activation, and da
 * is made of dy where dy is read. The padded copy of an image costs less to repeat than to keep.
 *
 * With bfloat16, x, w and da are rounded as they are copied and packed, and summed in float32 two
 * at a time: neighbouring channels forward and in dx, neighbouring pixels in dw. Where the channels
 * that are summed are odd in number, as those of a colour image, and in depthwise convolutions,
 * products stay in float32. dbias sums what was not rounded. */

static bool is_depthwise(const kd_conv_shape *s) {
    return s->groups > 1 && s->groups == s->C && s->groups == s->O;
}

/* Multiplications and additions of one pass. */
static double operations(const kd_conv_shape *s) {
    const int64_t window = s->kernel[0] * s->kernel[1] * s->C / s->groups;
    return 2.0 * (double)(s->B * s->out[0] * s->out[1] * s->O) * (double)window;
}

static void backward_conv(kd_tape *tape, kd_node *node) {
    const kd_conv_shape *s = node->saved;
    kd_tensor *x = node->in[0], *w = node->in[1], *bias = node->in[2];
    kd_conv_source dy = {node->out->grad, s->act == KD_ACT_RELU ? node->out->value : NULL};
    kd_conv_gradients to;
    to.x = kd_tape_grad_beta(tape, x, &to.beta_x);
    to.w = kd_tape_grad_beta(tape, w, &to.beta_w);
    to.b = kd_tape_grad_beta(tape, bias, &to.beta_b);
    if (is_depthwise(s)) {
        kd_conv_depthwise_backward(tape, s, x->value, w->value, dy, &to);
        return;
    }
    const double began = kd_gemm_count_begin();
    if (to.x) kd_conv_backward_input(tape, s, w->value, dy, &to);
    if (to.w || to.b) kd_conv_backward_weights(tape, s, x->value, dy, &to);
    kd_gemm_count_end(began, ((to.x != NULL) + (to.w != NULL)) * operations(s));
}

static kd_tensor *conv(kd_tape *tape, const char *op, kd_tensor *x, kd_tensor *w, kd_tensor *bias,
                       kd_conv_shape s, int rank, const int64_t *shape) {
    char a[80], b[80];
    KD_CONTRACT(s.groups >= 1 && s.C % s.groups == 0 && s.O % s.groups == 0 &&
                    kd_channels(w) == s.C / s.groups,
                "%s: x %s, weight %s, %lld groups", op, kd_shape_text(a, sizeof a, x),
                kd_shape_text(b, sizeof b, w), (long long)s.groups);
    KD_CONTRACT(!bias || bias->size == s.O, "%s: weight %s, bias %s", op,
                kd_shape_text(a, sizeof a, w), kd_shape_text(b, sizeof b, bias));
    for (int i = 0; i < 2; i++)
        KD_CONTRACT(s.stride[i] >= 1 && s.padding[i] >= 0 && s.out[i] >= 1,
                    "%s: x %s, weight %s, stride %lld, padding %lld", op,
                    kd_shape_text(a, sizeof a, x), kd_shape_text(b, sizeof b, w),
                    (long long)s.stride[i], (long long)s.padding[i]);
    KD_CONTRACT(x->size / s.B <= INT32_MAX && s.out[0] * s.out[1] * s.O <= INT32_MAX,
                "%s: x %s, weight %s: images of more than 2^31 elements", op,
                kd_shape_text(a, sizeof a, x), kd_shape_text(b, sizeof b, w));
    s.rounded = KD_HAS_PAIRS && tape->precision == KD_PRECISION_BFLOAT16;
    kd_tensor *y = kd_tape_output(tape, rank, shape);
    const double began = kd_gemm_count_begin();
    (is_depthwise(&s) ? kd_conv_depthwise_forward : kd_conv_forward)(
        tape, &s, x->value, w->value, bias ? bias->value : NULL, y->value);
    kd_gemm_count_end(began, operations(&s));
    kd_conv_shape *saved = kd_tape_alloc(tape, sizeof *saved);
    *saved = s;
    kd_tape_record(tape, op, backward_conv, y, saved, 3, (kd_tensor *[]){x, w, bias});
    return y;
}

static int64_t out_extent(int64_t in, int64_t kernel, int64_t stride, int64_t padding) {
    return in + 2 * padding < kernel ? 0 : (in + 2 * padding - kernel) / stride + 1;
}

kd_tensor *kd_conv2d(kd_tape *tape, kd_tensor *x, kd_tensor *weight, kd_tensor *bias,
                     kd_conv_spec spec, kd_act act) {
    char a[80], b[80];
    KD_CONTRACT(x->rank == 4 && weight->rank == 4, "conv2d: x %s, weight %s",
                kd_shape_text(a, sizeof a, x), kd_shape_text(b, sizeof b, weight));
    kd_conv_shape s = {.B = x->shape[0],
                       .C = x->shape[3],
                       .O = weight->shape[0],
                       .groups = spec.groups,
                       .act = act};
    for (int i = 0; i < 2; i++) {
        s.in[i] = x->shape[1 + i];
        s.kernel[i] = weight->shape[1 + i];
        s.stride[i] = spec.stride[i];
        s.padding[i] = spec.padding[i];
        s.out[i] =
            s.stride[i] < 1 ? 0 : out_extent(s.in[i], s.kernel[i], s.stride[i], s.padding[i]);
    }
    if (tape->watch.tell)
        tape->watch.tell(tape->watch.context, weight, x, spec.stride, spec.padding, spec.groups);
    return conv(tape, "conv2d", x, weight, bias, s, 4, (int64_t[]){s.B, s.out[0], s.out[1], s.O});
}

/* y[b,t,o] = bias[o] + Σ_{u,c} x[b, t·s−p+u, c] · w[o,u,c]: an image one pixel high.
 *
 *     x (B,T,C), w (O,K,C/groups), bias (O) → y (B,T',O) */
kd_tensor *kd_conv1d(kd_tape *tape, kd_tensor *x, kd_tensor *weight, kd_tensor *bias, int stride,
                     int padding, int groups) {
    char a[80], b[80];
    KD_CONTRACT(x->rank == 3 && weight->rank == 3, "conv1d: x %s, weight %s",
                kd_shape_text(a, sizeof a, x), kd_shape_text(b, sizeof b, weight));
    int64_t T = x->shape[1], K = weight->shape[1];
    kd_conv_shape s = {.B = x->shape[0],
                       .C = x->shape[2],
                       .O = weight->shape[0],
                       .groups = groups,
                       .in = {1, T},
                       .kernel = {1, K},
                       .out = {1, stride < 1 ? 0 : out_extent(T, K, stride, padding)},
                       .stride = {1, stride},
                       .padding = {0, padding}};
    return conv(tape, "conv1d", x, weight, bias, s, 3, (int64_t[]){s.B, s.out[1], s.O});
}

kd_conv_source kd_conv_image_at(kd_conv_source s, kd_conv_image image, int64_t index) {
    const int64_t at = index * image.H * image.W * image.C;
    return (kd_conv_source){s.g + at, s.y ? s.y + at : NULL};
}

static int64_t clip(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

static void copy(kd_real *restrict out, kd_conv_source s, int64_t at, int64_t length) {
    if (!s.y) {
        memcpy(out, s.g + at, (size_t)length * sizeof *out);
        return;
    }
    const kd_real *restrict g = s.g + at, *restrict y = s.y + at;
    for (int64_t i = 0; i < length; i++) out[i] = y[i] > 0 ? g[i] : 0;
}

/* The same in pairs; `length` is even. */
static void copy_pairs(kd_real *restrict out, kd_conv_source s, int64_t at, int64_t length) {
    kd_real line[2 * KD_VEC];
    for (int64_t i = 0; i < length; i += 2 * KD_VEC) {
        const int64_t n = length - i < 2 * KD_VEC ? length - i : 2 * KD_VEC;
        const kd_real *from = s.g + at + i;
        if (s.y || n < 2 * KD_VEC) {
            for (int64_t j = n; j < 2 * KD_VEC; j++) line[j] = 0;
            copy(line, s, at + i, n);
            from = line;
        }
        kd_vec_store_part(out + i / 2, kd_vec_load_pairs(from), n / 2);
    }
}

/* By `run`, which makes an element of `numbers` channels. */
static void copy_region(kd_real *out, kd_conv_source s, kd_conv_image image, kd_conv_region r,
                        void (*run)(kd_real *restrict, kd_conv_source, int64_t, int64_t),
                        int64_t numbers) {
    const int64_t first = clip(r.left, 0, image.W), end = clip(r.left + r.width, first, image.W);
    const int64_t before = clip(first - r.left, 0, r.width), inner = end - first;
    const int64_t channels = r.channels / numbers;
    for (int64_t i = 0; i < r.height; i++, out += r.width * channels) {
        const int64_t row = r.top + i;
        if (row < 0 || row >= image.H) {
            memset(out, 0, (size_t)(r.width * channels) * sizeof *out);
            continue;
        }
        kd_real *to = out + before * channels, *behind = to + inner * channels;
        int64_t at = (row * image.W + first) * image.C + r.channel;
        memset(out, 0, (size_t)(before * channels) * sizeof *out);
        if (r.channels == image.C)
            run(to, s, at, inner * r.channels);
        else
            for (int64_t j = 0; j < inner; j++)
                run(to + j * channels, s, at + j * image.C, r.channels);
        memset(behind, 0, (size_t)((r.width - before - inner) * channels) * sizeof *out);
    }
}

void kd_conv_copy_region(kd_real *out, kd_conv_source s, kd_conv_image image, kd_conv_region r) {
    copy_region(out, s, image, r, copy, 1);
}

void kd_conv_copy_region_pairs(kd_real *out, kd_conv_source s, kd_conv_image image,
                               kd_conv_region r) {
    copy_region(out, s, image, r, copy_pairs, 2);
}

void kd_conv_look_ahead(kd_ahead out[2], kd_conv_source s, kd_conv_image image, kd_conv_region r,
                        int64_t i, int64_t n) {
    const int64_t top = clip(r.top, 0, image.H), bottom = clip(r.top + r.height, top, image.H);
    const int64_t left = clip(r.left, 0, image.W), right = clip(r.left + r.width, left, image.W);
    const int64_t at = (top * image.W + left) * image.C;
    const int64_t size = bottom > top ? ((bottom - top - 1) * image.W + right - left) * image.C : 0;
    out[0] = kd_ahead_part((kd_ahead){s.g + at, size}, i, n);
    out[1] = kd_ahead_part((kd_ahead){s.y ? s.y + at : s.g, s.y ? size : 0}, i, n);
}
