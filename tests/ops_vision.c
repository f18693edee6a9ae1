/* Cases of convolutions, pooling and norms. */

/* --- op_conv.c ------------------------------------------------------------------------------- */

typedef struct {
    kd_conv_spec spec;
    kd_act act;
} conv_args;

static kd_tensor *call_conv2d(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const conv_args *a = args;
    return kd_conv2d(tape, leaf[0], leaf[1], leaf[2], a->spec, a->act);
}

static kd_tensor *call_conv1d(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const conv_args *a = args;
    return kd_conv1d(tape, leaf[0], leaf[1], leaf[2], a->spec.stride[1], a->spec.padding[1],
                     a->spec.groups);
}

/* One element of the output by the formula. All (B,H,W,C), 1-d ones with H = 1. */
static double conv_by_formula(kd_tensor *const *leaf, const conv_args *a, int64_t b, int64_t i,
                              int64_t j, int64_t o) {
    const kd_tensor *x = leaf[0], *w = leaf[1];
    const bool flat = x->rank == 3;
    const int64_t H = flat ? 1 : x->shape[1], KH = flat ? 1 : w->shape[1];
    const int64_t W = x->shape[x->rank - 2], KW = w->shape[w->rank - 2];
    const int64_t C = kd_channels(x), group_C = kd_channels(w);
    const int64_t group = o / (w->shape[0] / a->spec.groups);
    double sum = leaf[2] ? (double)leaf[2]->value[o] : 0;
    for (int64_t u = 0; u < KH; u++)
        for (int64_t v = 0; v < KW; v++)
            for (int64_t c = 0; c < group_C; c++) {
                int64_t row = flat ? 0 : i * a->spec.stride[0] - a->spec.padding[0] + u;
                int64_t column = j * a->spec.stride[1] - a->spec.padding[1] + v;
                if (row < 0 || row >= H || column < 0 || column >= W) continue;
                sum += (double)x->value[((b * H + row) * W + column) * C + group * group_C + c] *
                       (double)w->value[((o * KH + u) * KW + v) * group_C + c];
            }
    return a->act == KD_ACT_RELU && sum < 0 ? 0 : sum;
}

static void check_conv(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const double tolerance = sizeof(kd_real) == 4 ? 1e-4 : 1e-12;
    const int64_t OW = out->shape[out->rank - 2], O = kd_channels(out);
    const int64_t OH = out->rank == 3 ? 1 : out->shape[1];
    for (int64_t at = 0; at < out->size; at++) {
        int64_t o = at % O, j = at / O % OW, i = at / O / OW % OH, b = at / O / OW / OH;
        double expected = conv_by_formula(leaf, args, b, i, j, o);
        assert_true(fabs((double)out->value[at] - expected) <= tolerance * (1 + fabs(expected)));
    }
}

#define CONV(name_, stride_h, stride_w, padding_h, padding_w, groups_, act_, ...)                  \
    {                                                                                              \
        .name = name_, .call = call_conv2d, .check = check_conv,                                   \
        .args = &(conv_args){{{stride_h, stride_w}, {padding_h, padding_w}, groups_}, act_},       \
        .leaf = {                                                                                  \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const op_variant conv2d_variants[] = {
    CONV("3x3", 1, 1, 1, 1, 1, KD_ACT_NONE, LEAF(2, 7, 5, 3), LEAF(5, 3, 3, 3), LEAF(5)),
    CONV("no bias", 1, 1, 1, 1, 1, KD_ACT_NONE, LEAF(2, 7, 5, 3), LEAF(5, 3, 3, 3)),
    CONV("relu", 1, 1, 1, 1, 1, KD_ACT_RELU, LEAF(3, 5, 5, 7), LEAF(16, 3, 3, 7), LEAF(16)),
    CONV("constant input", 1, 1, 1, 1, 1, KD_ACT_RELU, CONSTANT(2, 9, 9, 1), LEAF(16, 3, 3, 1),
         LEAF(16)),
    CONV("one by one image", 1, 1, 0, 0, 1, KD_ACT_NONE, LEAF(1, 1, 1, 1), LEAF(1, 1, 1, 1)),
    CONV("padding only around a pixel", 2, 2, 1, 1, 1, KD_ACT_NONE, LEAF(2, 1, 1, 3),
         LEAF(2, 3, 3, 3), LEAF(2)),
    CONV("1x1", 1, 1, 0, 0, 1, KD_ACT_RELU, LEAF(2, 5, 7, 17), LEAF(33, 1, 1, 17), LEAF(33)),
    CONV("1x1 stride 2", 2, 2, 0, 0, 1, KD_ACT_NONE, LEAF(2, 5, 7, 16), LEAF(17, 1, 1, 16)),
    CONV("1x1 stride 2 with padding", 2, 2, 1, 1, 1, KD_ACT_NONE, LEAF(1, 3, 2, 2),
         LEAF(3, 1, 1, 2)),
    CONV("3x3 stride 2", 2, 2, 1, 1, 1, KD_ACT_RELU, LEAF(2, 9, 7, 16), LEAF(17, 3, 3, 16),
         LEAF(17)),
    CONV("3x3 stride 2, even size", 2, 2, 1, 1, 1, KD_ACT_NONE, LEAF(2, 8, 8, 5), LEAF(8, 3, 3, 5)),
    CONV("5x5 padding 2", 1, 1, 2, 2, 1, KD_ACT_NONE, LEAF(1, 5, 3, 2), LEAF(7, 5, 5, 2)),
    CONV("2x2 stride 2", 2, 2, 0, 0, 1, KD_ACT_NONE, LEAF(1, 7, 9, 5), LEAF(16, 2, 2, 5), LEAF(16)),
    CONV("kernel 2x5, stride 2x1, padding 0x2", 2, 1, 0, 2, 1, KD_ACT_RELU, LEAF(2, 5, 9, 3),
         LEAF(5, 2, 5, 3), LEAF(5)),
    CONV("kernel 1x2, stride 1x2, padding 2x1", 1, 2, 2, 1, 1, KD_ACT_NONE, LEAF(1, 2, 3, 2),
         LEAF(3, 1, 2, 2), LEAF(3)),
    CONV("stride larger than kernel", 3, 3, 0, 1, 1, KD_ACT_NONE, LEAF(1, 7, 9, 2),
         LEAF(2, 2, 1, 2), LEAF(2)),
    CONV("kernel as large as the image", 1, 1, 0, 0, 1, KD_ACT_NONE, LEAF(2, 3, 5, 7),
         LEAF(10, 3, 5, 7), LEAF(10)),
    CONV("last rows unused", 2, 2, 0, 0, 1, KD_ACT_NONE, LEAF(1, 6, 8, 3), LEAF(2, 3, 3, 3)),
    CONV("two groups", 1, 1, 1, 1, 2, KD_ACT_RELU, LEAF(2, 5, 7, 6), LEAF(34, 3, 3, 3), LEAF(34)),
    CONV("two groups, stride 2", 2, 1, 1, 0, 2, KD_ACT_NONE, LEAF(2, 5, 3, 4), LEAF(2, 3, 2, 2),
         LEAF(2)),
    CONV("depthwise", 1, 1, 1, 1, 17, KD_ACT_RELU, LEAF(2, 5, 7, 17), LEAF(17, 3, 3, 1), LEAF(17)),
    CONV("depthwise, no bias", 1, 1, 2, 2, 3, KD_ACT_NONE, LEAF(2, 3, 3, 3), LEAF(3, 5, 5, 1)),
    CONV("depthwise, stride 2", 2, 2, 1, 0, 5, KD_ACT_NONE, LEAF(3, 9, 5, 5), LEAF(5, 3, 2, 1),
         LEAF(5)),
    CONV("depthwise, two outputs a channel", 1, 2, 0, 1, 3, KD_ACT_NONE, LEAF(2, 3, 5, 3),
         LEAF(6, 2, 3, 1), LEAF(6)),
    CONV("a large batch", 1, 1, 1, 1, 1, KD_ACT_RELU, LEAF(37, 5, 5, 3), LEAF(8, 3, 3, 3), LEAF(8)),
    CONV("an image of several tiles", 1, 1, 1, 1, 1, KD_ACT_NONE, LEAF(1, 43, 97, 16),
         LEAF(3, 3, 3, 16), LEAF(3)),
    CONV("several tiles, stride 2", 2, 2, 1, 1, 1, KD_ACT_NONE, LEAF(1, 61, 67, 16),
         LEAF(2, 3, 3, 16), LEAF(2)),
};
OP_CASE(conv2d, conv2d_variants);

#define CONV1(name_, stride, padding, groups_, ...)                                                \
    {                                                                                              \
        .name = name_, .call = call_conv1d, .check = check_conv,                                   \
        .args = &(conv_args){{{1, stride}, {0, padding}, groups_}, KD_ACT_NONE}, .leaf = {         \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const op_variant conv1d_variants[] = {
    CONV1("kernel 3", 1, 1, 1, LEAF(2, 9, 5), LEAF(7, 3, 5), LEAF(7)),
    CONV1("kernel 3, stride 2", 2, 1, 1, LEAF(2, 9, 16), LEAF(17, 3, 16), LEAF(17)),
    CONV1("no bias, one step", 1, 0, 1, LEAF(1, 1, 3), LEAF(2, 1, 3)),
    CONV1("two groups", 1, 2, 2, LEAF(2, 7, 2), LEAF(4, 5, 1), LEAF(4)),
    CONV1("depthwise", 1, 1, 7, LEAF(3, 5, 7), LEAF(7, 2, 1), LEAF(7)),
    CONV1("long", 2, 1, 1, LEAF(1, 3001, 17), LEAF(3, 3, 17), LEAF(3)),
};
OP_CASE(conv1d, conv1d_variants);

/* --- op_pool.c ------------------------------------------------------------------------------- */

static kd_tensor *call_max_pool2d(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_max_pool2d(tape, leaf[0], *(const kd_pool_spec *)args);
}

static kd_tensor *call_avg_pool2d(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_avg_pool2d(tape, leaf[0], *(const kd_pool_spec *)args);
}

static kd_tensor *call_global_avg_pool(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_global_avg_pool(tape, leaf[0]);
}

/* One element of the output by the formula. */
static double pool_by_formula(const kd_tensor *x, const kd_pool_spec *p, bool max, int64_t b,
                              int64_t i, int64_t j, int64_t c) {
    double result = max ? -(double)INFINITY : 0;
    for (int u = 0; u < p->kernel[0]; u++)
        for (int v = 0; v < p->kernel[1]; v++) {
            int64_t row = i * p->stride[0] - p->padding[0] + u;
            int64_t column = j * p->stride[1] - p->padding[1] + v;
            if (row < 0 || row >= x->shape[1] || column < 0 || column >= x->shape[2]) continue;
            double value =
                (double)
                    x->value[((b * x->shape[1] + row) * x->shape[2] + column) * x->shape[3] + c];
            result = max ? fmax(result, value) : result + value / (p->kernel[0] * p->kernel[1]);
        }
    return result;
}

static void check_pool(const kd_tensor *x, const kd_tensor *out, const kd_pool_spec *p, bool max) {
    const int64_t OH = out->shape[1], OW = out->shape[2], C = out->shape[3];
    for (int64_t at = 0; at < out->size; at++) {
        int64_t c = at % C, j = at / C % OW, i = at / C / OW % OH, b = at / C / OW / OH;
        double expected = pool_by_formula(x, p, max, b, i, j, c);
        assert_true(fabs((double)out->value[at] - expected) <= 1e-6);
    }
}

static void check_max_pool(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    check_pool(leaf[0], out, args, true);
}

static void check_avg_pool(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    check_pool(leaf[0], out, args, false);
}

static void check_global_avg_pool(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    (void)args;
    const int64_t C = kd_channels(out), positions = leaf[0]->size / out->size;
    assert_int_equal(out->rank, 2);
    for (int64_t at = 0; at < out->size; at++) {
        double sum = 0;
        for (int64_t p = 0; p < positions; p++)
            sum += (double)leaf[0]->value[(at / C * positions + p) * C + at % C];
        assert_true(fabs((double)out->value[at] - sum / (double)positions) <= 1e-6);
    }
}

/* The maximum passes NaN on. */
static void check_max_pool_nan(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    (void)leaf;
    (void)args;
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), KD_OK);
    kd_tensor *x = kd_tape_input(tape, 4, (int64_t[]){1, 2, 2, 1});
    for (int broken = 0; broken < 4; broken++) {
        for (int i = 0; i < 4; i++) x->value[i] = i == broken ? (kd_real)NAN : (kd_real)i;
        kd_tensor *y = kd_max_pool2d(tape, x, (kd_pool_spec){{2, 2}, {2, 2}, {0, 0}});
        assert_true(isnan(y->value[0]));
    }
    kd_tape_free(tape);
    assert_true(out->size > 0);
}

#define POOL_SPEC(kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w)                    \
    &(kd_pool_spec) {                                                                              \
        {kernel_h, kernel_w}, {stride_h, stride_w}, {                                              \
            padding_h, padding_w                                                                   \
        }                                                                                          \
    }
#define DISTINCT(...)                                                                              \
    { .rank = OP_RANK(__VA_ARGS__), .shape = {__VA_ARGS__}, .distinct = true }
#define MAX_POOL(name_, spec, leaf_)                                                               \
    {                                                                                              \
        .name = name_, .call = call_max_pool2d, .check = check_max_pool, .args = spec, .leaf = {   \
            leaf_                                                                                  \
        }                                                                                          \
    }
#define AVG_POOL(name_, spec, leaf_)                                                               \
    {                                                                                              \
        .name = name_, .call = call_avg_pool2d, .check = check_avg_pool, .args = spec, .leaf = {   \
            leaf_                                                                                  \
        }                                                                                          \
    }

static const op_variant max_pool2d_variants[] = {
    MAX_POOL("2x2", POOL_SPEC(2, 2, 2, 2, 0, 0), DISTINCT(2, 6, 8, 3)),
    MAX_POOL("2x2, odd size", POOL_SPEC(2, 2, 2, 2, 0, 0), DISTINCT(2, 7, 5, 17)),
    MAX_POOL("3x3 stride 2 padding 1", POOL_SPEC(3, 3, 2, 2, 1, 1), DISTINCT(2, 7, 9, 8)),
    MAX_POOL("overlapping", POOL_SPEC(3, 2, 1, 1, 1, 1), DISTINCT(1, 5, 3, 7)),
    MAX_POOL("kernel 1x5, stride 2x1", POOL_SPEC(1, 5, 2, 1, 0, 2), DISTINCT(2, 5, 9, 1)),
    MAX_POOL("gaps between windows", POOL_SPEC(1, 2, 3, 3, 0, 0), DISTINCT(1, 7, 8, 2)),
    MAX_POOL("one pixel", POOL_SPEC(1, 1, 1, 1, 0, 0), DISTINCT(1, 1, 1, 1)),
    MAX_POOL("16x16", POOL_SPEC(16, 16, 16, 16, 0, 0), DISTINCT(1, 16, 16, 5)),
    MAX_POOL("threads", POOL_SPEC(2, 2, 2, 2, 0, 0), DISTINCT(5, 20, 20, 18)),
    {.name = "NaN",
     .call = call_max_pool2d,
     .check = check_max_pool_nan,
     .args = POOL_SPEC(2, 2, 2, 2, 0, 0),
     .leaf = {DISTINCT(1, 2, 2, 1)}},
};
OP_CASE(max_pool2d, max_pool2d_variants);

static const op_variant avg_pool2d_variants[] = {
    AVG_POOL("2x2", POOL_SPEC(2, 2, 2, 2, 0, 0), LEAF(2, 6, 8, 3)),
    AVG_POOL("2x2, odd size", POOL_SPEC(2, 2, 2, 2, 0, 0), LEAF(2, 7, 5, 17)),
    AVG_POOL("3x3 stride 2 padding 1", POOL_SPEC(3, 3, 2, 2, 1, 1), LEAF(2, 7, 9, 8)),
    AVG_POOL("overlapping", POOL_SPEC(3, 2, 1, 1, 1, 1), LEAF(1, 5, 3, 7)),
    AVG_POOL("kernel 1x5, stride 2x1", POOL_SPEC(1, 5, 2, 1, 0, 2), LEAF(2, 5, 9, 1)),
    AVG_POOL("gaps between windows", POOL_SPEC(1, 2, 3, 3, 0, 0), LEAF(1, 7, 8, 2)),
    AVG_POOL("one pixel", POOL_SPEC(1, 1, 1, 1, 0, 0), LEAF(1, 1, 1, 1)),
    AVG_POOL("threads", POOL_SPEC(2, 2, 2, 2, 0, 0), LEAF(5, 20, 20, 18)),
};
OP_CASE(avg_pool2d, avg_pool2d_variants);

#define GLOBAL_POOL(name_, ...)                                                                    \
    {                                                                                              \
        .name = name_, .call = call_global_avg_pool, .check = check_global_avg_pool, .leaf = {     \
            LEAF(__VA_ARGS__)                                                                      \
        }                                                                                          \
    }

static const op_variant global_avg_pool_variants[] = {
    GLOBAL_POOL("image", 3, 5, 7, 17),
    GLOBAL_POOL("sequence", 2, 9, 5),
    GLOBAL_POOL("rows", 3, 2),
    GLOBAL_POOL("threads", 5, 20, 20, 18),
};
OP_CASE(global_avg_pool, global_avg_pool_variants);

/* --- op_norm.c ------------------------------------------------------------------------------- */

static const double NORM_EPSILON = 1e-5;

static kd_tensor *call_layer_norm(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_layer_norm(tape, leaf[0], leaf[1], leaf[2], (kd_real)NORM_EPSILON);
}

typedef struct {
    kd_act act;
    double tolerance;   /* of the output, in the float build */
    int64_t full_batch; /* samples of a full batch; 0: this one is */
} batch_norm_args;

static const double NORM_MOMENTUM = 0.1;

static kd_tensor *call_batch_norm(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const batch_norm_args *a = args;
    tape->full_batch = a->full_batch;
    return kd_batch_norm(tape, leaf[0], leaf[1], leaf[2], leaf[3], leaf[4], (kd_real)NORM_MOMENTUM,
                         (kd_real)NORM_EPSILON, a->act);
}

/* Mean and biased variance of n values `step` apart, in two passes in double. */
static void moments_by_formula(const kd_real *x, int64_t n, int64_t step, double *mean,
                               double *var) {
    *mean = *var = 0;
    for (int64_t i = 0; i < n; i++) *mean += (double)x[i * step] / (double)n;
    for (int64_t i = 0; i < n; i++) *var += pow((double)x[i * step] - *mean, 2) / (double)n;
}

static void check_layer_norm(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    (void)args;
    const int64_t C = kd_channels(out);
    for (int64_t row = 0; row < kd_rows(out); row++) {
        double mean, var;
        moments_by_formula(leaf[0]->value + row * C, C, 1, &mean, &var);
        for (int64_t c = 0; c < C; c++) {
            double expected = (double)leaf[1]->value[c] *
                                  ((double)leaf[0]->value[row * C + c] - mean) /
                                  sqrt(var + NORM_EPSILON) +
                              (double)leaf[2]->value[c];
            assert_true(fabs((double)out->value[row * C + c] - expected) <= 2e-5);
        }
    }
}

/* The output by the formula; the running statistics have moved by the momentum (they start as 0
 * and 1). */
static void check_batch_norm(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const batch_norm_args *a = args;
    const int64_t C = kd_channels(out), N = kd_rows(out);
    for (int64_t c = 0; c < C; c++) {
        double mean, var, m = NORM_MOMENTUM;
        if (a->full_batch > 0) m *= fmin(1, 4 * (double)out->shape[0] / (double)a->full_batch);
        moments_by_formula(leaf[0]->value + c, N, C, &mean, &var);
        for (int64_t row = 0; row < N; row++) {
            double expected = (double)leaf[1]->value[c] *
                                  ((double)leaf[0]->value[row * C + c] - mean) /
                                  sqrt(var + NORM_EPSILON) +
                              (double)leaf[2]->value[c];
            if (a->act == KD_ACT_RELU) expected = fmax(expected, 0);
            assert_true(fabs((double)out->value[row * C + c] - expected) <= a->tolerance);
        }
        double unbiased = N > 1 ? var * (double)N / (double)(N - 1) : var;
        assert_true(fabs((double)leaf[3]->value[c] - m * mean) <= 1e-5 * (1 + fabs(mean)));
        assert_true(fabs((double)leaf[4]->value[c] - (1 - m + m * unbiased)) <= 1e-5 * (1 + var));
    }
}

static void check_batch_norm_evaluating(kd_tensor *const *leaf, const kd_tensor *out,
                                        const void *args) {
    const batch_norm_args *a = args;
    const int64_t C = kd_channels(out);
    for (int64_t at = 0; at < out->size; at++) {
        const int64_t c = at % C;
        double expected = (double)leaf[1]->value[c] *
                              ((double)leaf[0]->value[at] - (double)leaf[3]->value[c]) /
                              sqrt((double)leaf[4]->value[c] + NORM_EPSILON) +
                          (double)leaf[2]->value[c];
        if (a->act == KD_ACT_RELU) expected = fmax(expected, 0);
        assert_true(fabs((double)out->value[at] - expected) <= a->tolerance);
    }
}

#define LAYER_NORM(name_, C, ...)                                                                  \
    {                                                                                              \
        .name = name_, .call = call_layer_norm, .check = check_layer_norm, .leaf = {               \
            LEAF(__VA_ARGS__),                                                                     \
            LEAF(C),                                                                               \
            LEAF(C)                                                                                \
        }                                                                                          \
    }

static const op_variant layer_norm_variants[] = {
    LAYER_NORM("rows", 7, 5, 7),
    LAYER_NORM("sequence", 17, 2, 3, 17),
    LAYER_NORM("wide", 1030, 3, 1030),
    LAYER_NORM("many rows", 16, 2100, 16),
    {.name = "mean much larger than deviation",
     .call = call_layer_norm,
     .tolerance = 1e-5,
     .leaf = {{.rank = 2, .shape = {5, 33}, .low = 999, .high = 1001}, LEAF(33), LEAF(33)}},
};
OP_CASE(layer_norm, layer_norm_variants);

/* A range so narrow that the running statistics start as 0 and 1. */
#define ZEROS(C)                                                                                   \
    { .rank = 1, .shape = {C}, .low = 0, .high = 1e-30, .state = true }
#define ONES(C)                                                                                    \
    { .rank = 1, .shape = {C}, .low = 1, .high = 1 + 1e-15, .state = true }
#define POSITIVE(C)                                                                                \
    { .rank = 1, .shape = {C}, .low = 0.5, .high = 2, .state = true }
#define BATCH_NORM(name_, act_, C, ...)                                                            \
    {                                                                                              \
        .name = name_, .call = call_batch_norm, .args = &(batch_norm_args){act_, 2e-5, 0},         \
        .check = check_batch_norm, .leaf = {                                                       \
            LEAF(__VA_ARGS__),                                                                     \
            LEAF(C),                                                                               \
            LEAF(C),                                                                               \
            ZEROS(C),                                                                              \
            ONES(C)                                                                                \
        }                                                                                          \
    }
#define BATCH_NORM_EVALUATING(name_, act_, C, ...)                                                 \
    {                                                                                              \
        .name = name_, .call = call_batch_norm, .args = &(batch_norm_args){act_, 2e-5, 0},         \
        .check = check_batch_norm_evaluating, .evaluating = true, .leaf = {                        \
            LEAF(__VA_ARGS__),                                                                     \
            LEAF(C),                                                                               \
            LEAF(C),                                                                               \
            LEAF(C),                                                                               \
            POSITIVE(C)                                                                            \
        }                                                                                          \
    }

static const op_variant batch_norm_variants[] = {
    BATCH_NORM("image", KD_ACT_NONE, 3, 2, 5, 7, 3),
    BATCH_NORM("rows", KD_ACT_NONE, 17, 9, 17),
    BATCH_NORM("relu", KD_ACT_RELU, 16, 3, 5, 5, 16),
    BATCH_NORM("one channel", KD_ACT_RELU, 1, 7, 1),
    BATCH_NORM("many tiles", KD_ACT_NONE, 18, 3, 33, 25, 18),
    {.name = "three samples where a full batch has 64",
     .call = call_batch_norm,
     .args = &(batch_norm_args){KD_ACT_NONE, 2e-5, 64},
     .check = check_batch_norm,
     .leaf = {LEAF(3, 5, 2, 7), LEAF(7), LEAF(7), ZEROS(7), ONES(7)}},
    {.name = "a quarter of a full batch counts in full",
     .call = call_batch_norm,
     .args = &(batch_norm_args){KD_ACT_NONE, 2e-5, 12},
     .check = check_batch_norm,
     .leaf = {LEAF(3, 5, 2, 7), LEAF(7), LEAF(7), ZEROS(7), ONES(7)}},
    /* Running statistics that are no `state` may not be written. */
    {.name = "training on one value a channel",
     .call = call_batch_norm,
     .args = &(batch_norm_args){KD_ACT_RELU, 2e-5, 64},
     .check = check_batch_norm_evaluating,
     .leaf = {{.rank = 2, .shape = {1, 17}, .gap = 0.01},
              LEAF(17),
              LEAF(17),
              CONSTANT(17),
              {.rank = 1, .shape = {17}, .low = 0.5, .high = 2, .constant = true}}},
    BATCH_NORM_EVALUATING("evaluating", KD_ACT_NONE, 7, 3, 2, 7),
    BATCH_NORM_EVALUATING("evaluating, relu", KD_ACT_RELU, 33, 3, 5, 33),
    {.name = "mean much larger than deviation",
     .call = call_batch_norm,
     .args = &(batch_norm_args){KD_ACT_NONE, 2e-3, 0},
     .check = check_batch_norm,
     .tolerance = 1e-5,
     .leaf = {{.rank = 2, .shape = {200, 5}, .low = 999, .high = 1001},
              LEAF(5),
              LEAF(5),
              ZEROS(5),
              ONES(5)}},
};
OP_CASE(batch_norm, batch_norm_variants);
