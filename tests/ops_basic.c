/* Cases of products, elementwise ops, softmax, dropout and embedding. */

/* --- op_matmul.c ----------------------------------------------------------------------------- */

typedef struct {
    kd_trans ta, tb;
} matmul_args;

static kd_tensor *call_matmul(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const matmul_args *a = args;
    return kd_matmul(tape, leaf[0], leaf[1], a->ta, a->tb);
}

/* A·Aᵀ: both operands are one tensor */
static kd_tensor *call_matmul_self(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_matmul(tape, leaf[0], leaf[0], KD_PLAIN, KD_TRANSPOSED);
}

#define PLAIN_PLAIN (&(matmul_args){KD_PLAIN, KD_PLAIN})
#define PLAIN_TRANS (&(matmul_args){KD_PLAIN, KD_TRANSPOSED})
#define TRANS_PLAIN (&(matmul_args){KD_TRANSPOSED, KD_PLAIN})
#define TRANS_TRANS (&(matmul_args){KD_TRANSPOSED, KD_TRANSPOSED})

static const op_variant matmul_variants[] = {
    {.name = "A B", .call = call_matmul, .args = PLAIN_PLAIN, .leaf = {LEAF(3, 5), LEAF(5, 7)}},
    {.name = "A Bt", .call = call_matmul, .args = PLAIN_TRANS, .leaf = {LEAF(3, 5), LEAF(7, 5)}},
    {.name = "At B", .call = call_matmul, .args = TRANS_PLAIN, .leaf = {LEAF(5, 3), LEAF(5, 7)}},
    {.name = "At Bt", .call = call_matmul, .args = TRANS_TRANS, .leaf = {LEAF(5, 3), LEAF(7, 5)}},
    {.name = "one by one",
     .call = call_matmul,
     .args = PLAIN_PLAIN,
     .leaf = {LEAF(1, 1), LEAF(1, 1)}},
    {.name = "large",
     .call = call_matmul,
     .args = PLAIN_TRANS,
     .leaf = {LEAF(129, 127), LEAF(127, 127)}},
    {.name = "batch A B",
     .call = call_matmul,
     .args = PLAIN_PLAIN,
     .leaf = {LEAF(2, 3, 5), LEAF(2, 5, 7)}},
    {.name = "batch A Bt",
     .call = call_matmul,
     .args = PLAIN_TRANS,
     .leaf = {LEAF(2, 3, 5), LEAF(2, 7, 5)}},
    {.name = "batch At B",
     .call = call_matmul,
     .args = TRANS_PLAIN,
     .leaf = {LEAF(2, 5, 3), LEAF(2, 5, 7)}},
    {.name = "batch At Bt",
     .call = call_matmul,
     .args = TRANS_TRANS,
     .leaf = {LEAF(2, 5, 3), LEAF(2, 7, 5)}},
    {.name = "shared A B",
     .call = call_matmul,
     .args = PLAIN_PLAIN,
     .leaf = {LEAF(2, 3, 5), LEAF(5, 7)}},
    {.name = "shared A Bt",
     .call = call_matmul,
     .args = PLAIN_TRANS,
     .leaf = {LEAF(2, 3, 5), LEAF(7, 5)}},
    {.name = "shared At B",
     .call = call_matmul,
     .args = TRANS_PLAIN,
     .leaf = {LEAF(3, 5, 3), LEAF(5, 7)}},
    {.name = "shared At Bt",
     .call = call_matmul,
     .args = TRANS_TRANS,
     .leaf = {LEAF(3, 5, 3), LEAF(7, 5)}},
    {.name = "A At", .call = call_matmul_self, .leaf = {LEAF(5, 3)}},
};
OP_CASE(matmul, matmul_variants);

typedef struct {
    kd_act act;
    bool no_bias;
} linear_args;

static kd_tensor *call_linear(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const linear_args *a = args;
    return kd_linear(tape, leaf[0], leaf[1], a->no_bias ? NULL : leaf[2], a->act);
}

#define WITH_RELU (&(linear_args){.act = KD_ACT_RELU})
#define WITH_BIAS (&(linear_args){.act = KD_ACT_NONE})
#define BARE      (&(linear_args){.no_bias = true})

static const op_variant linear_variants[] = {
    {.name = "relu",
     .call = call_linear,
     .args = WITH_RELU,
     .leaf = {LEAF(5, 3), LEAF(7, 3), LEAF(7)}},
    {.name = "bias",
     .call = call_linear,
     .args = WITH_BIAS,
     .leaf = {LEAF(2, 3, 5), LEAF(7, 5), LEAF(7)}},
    {.name = "bare", .call = call_linear, .args = BARE, .leaf = {LEAF(3, 5), LEAF(1, 5)}},
    {.name = "rank 1",
     .call = call_linear,
     .args = WITH_BIAS,
     .leaf = {LEAF(5), LEAF(2, 5), LEAF(2)}},
    {.name = "large",
     .call = call_linear,
     .args = WITH_BIAS,
     .leaf = {LEAF(300, 127), LEAF(129, 127), LEAF(129)}},
};
OP_CASE(linear, linear_variants);

static kd_tensor *call_linear_onto(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const linear_args *a = args;
    return kd_linear_onto(tape, leaf[0], leaf[1], leaf[2], a->no_bias ? NULL : leaf[3]);
}

/* A branch of x itself. */
static kd_tensor *call_linear_onto_input(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_linear_onto(tape, leaf[0], leaf[0], leaf[1], leaf[2]);
}

static const op_variant linear_onto_variants[] = {
    {.name = "sequences",
     .call = call_linear_onto,
     .args = WITH_BIAS,
     .leaf = {LEAF(3, 2, 7), LEAF(3, 2, 5), LEAF(7, 5), LEAF(7)}},
    {.name = "bare",
     .call = call_linear_onto,
     .args = BARE,
     .leaf = {LEAF(3, 2), LEAF(3, 5), LEAF(2, 5)}},
    {.name = "of its input",
     .call = call_linear_onto_input,
     .leaf = {LEAF(3, 5), LEAF(5, 5), LEAF(5)}},
    {.name = "large",
     .call = call_linear_onto,
     .args = WITH_BIAS,
     .leaf = {LEAF(300, 129), LEAF(300, 127), LEAF(129, 127), LEAF(129)}},
};
OP_CASE(linear_onto, linear_onto_variants);

/* --- op_elementwise.c ------------------------------------------------------------------------ */

static kd_tensor *call_bias(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_bias(tape, leaf[0], leaf[1]);
}

static const op_variant bias_variants[] = {
    {.name = "images", .call = call_bias, .leaf = {LEAF(2, 3, 5, 7), LEAF(7)}},
    {.name = "one channel", .call = call_bias, .leaf = {LEAF(129, 1), LEAF(1)}},
    {.name = "large", .call = call_bias, .leaf = {LEAF(600, 129), LEAF(129)}},
};
OP_CASE(bias, bias_variants);

static kd_tensor *call_add(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_add(tape, leaf[0], leaf[1], *(const kd_act *)args);
}

static kd_tensor *call_add_self(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_add(tape, leaf[0], leaf[0], KD_ACT_NONE);
}

/* With b in −0.3 … 0.3 and |a| ≥ 0.31 the sum stays off the kink. */
static const op_variant add_variants[] = {
    {.name = "plain",
     .call = call_add,
     .args = &(kd_act){KD_ACT_NONE},
     .leaf = {LEAF(2, 3, 5), LEAF(2, 3, 5)}},
    {.name = "relu",
     .call = call_add,
     .args = &(kd_act){KD_ACT_RELU},
     .leaf = {{.rank = 2, .shape = {7, 127}, .gap = 0.31},
              {.rank = 2, .shape = {7, 127}, .low = -0.3, .high = 0.3}}},
    {.name = "a + a", .call = call_add_self, .leaf = {LEAF(5)}},
    {.name = "large",
     .call = call_add,
     .args = &(kd_act){KD_ACT_RELU},
     .leaf = {{.rank = 2, .shape = {300, 129}, .gap = 0.31},
              {.rank = 2, .shape = {300, 129}, .low = -0.3, .high = 0.3}}},
};
OP_CASE(add, add_variants);

static kd_tensor *call_mul(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_mul(tape, leaf[0], leaf[1]);
}

static kd_tensor *call_square(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_mul(tape, leaf[0], leaf[0]);
}

static const op_variant mul_variants[] = {
    {.name = "odd", .call = call_mul, .leaf = {LEAF(3, 5, 7), LEAF(3, 5, 7)}},
    {.name = "square", .call = call_square, .leaf = {LEAF(129)}},
    {.name = "large", .call = call_mul, .leaf = {LEAF(300, 129), LEAF(300, 129)}},
};
OP_CASE(mul, mul_variants);

static kd_tensor *call_scale(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_scale(tape, leaf[0], *(const kd_real *)args);
}

static const op_variant scale_variants[] = {
    {.name = "negative", .call = call_scale, .args = &(kd_real){-2.5}, .leaf = {LEAF(3, 129)}},
    {.name = "zero", .call = call_scale, .args = &(kd_real){0}, .leaf = {LEAF(7)}},
};
OP_CASE(scale, scale_variants);

static kd_tensor *call_scale_rows(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_scale_rows(tape, leaf[0], leaf[1]);
}

static const op_variant scale_rows_variants[] = {
    {.name = "images", .call = call_scale_rows, .leaf = {LEAF(5, 3, 2, 7), LEAF(5)}},
    {.name = "vector", .call = call_scale_rows, .leaf = {LEAF(7), LEAF(7)}},
    {.name = "large", .call = call_scale_rows, .leaf = {LEAF(33, 1031), LEAF(33)}},
};
OP_CASE(scale_rows, scale_rows_variants);

/* --- op_activation.c ------------------------------------------------------------------------- */

#define CALL_UNARY(op)                                                                             \
    static kd_tensor *call_##op(kd_tape *tape, kd_tensor **leaf, const void *args) {               \
        (void)args;                                                                                \
        return kd_##op(tape, leaf[0]);                                                             \
    }

/* Values far out, where exponentials leave their range, must stay finite. */
static void check_finite(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    (void)leaf;
    (void)args;
    for (int64_t i = 0; i < out->size; i++) assert_true(isfinite((double)out->value[i]));
}

#define UNARY_VARIANTS(op, away)                                                                   \
    {.name = "odd",                                                                                \
     .call = call_##op,                                                                            \
     .leaf = {{.rank = 2, .shape = {7, 129}, .low = -5, .high = 5, .gap = away}}},                 \
        {.name = "one", .call = call_##op, .leaf = {{.rank = 1, .shape = {1}, .gap = away}}},      \
        {.name = "far",                                                                            \
         .call = call_##op,                                                                        \
         .check = check_finite,                                                                    \
         .leaf = {{.rank = 2, .shape = {3, 5}, .low = -200, .high = 200, .gap = away}}},           \
    {                                                                                              \
        .name = "large", .call = call_##op, .leaf = {                                              \
            {.rank = 2, .shape = {129, 300}, .gap = away}                                          \
        }                                                                                          \
    }

CALL_UNARY(relu)
static const op_variant relu_variants[] = {UNARY_VARIANTS(relu, 0.01)};
OP_CASE(relu, relu_variants);

CALL_UNARY(gelu)
static const op_variant gelu_variants[] = {UNARY_VARIANTS(gelu, 0)};
OP_CASE(gelu, gelu_variants);

CALL_UNARY(gelu_tanh)
static const op_variant gelu_tanh_variants[] = {UNARY_VARIANTS(gelu_tanh, 0)};
OP_CASE(gelu_tanh, gelu_tanh_variants);

CALL_UNARY(sigmoid)
static const op_variant sigmoid_variants[] = {UNARY_VARIANTS(sigmoid, 0)};
OP_CASE(sigmoid, sigmoid_variants);

CALL_UNARY(silu)
static const op_variant silu_variants[] = {UNARY_VARIANTS(silu, 0)};
OP_CASE(silu, silu_variants);

CALL_UNARY(tanh)
static const op_variant tanh_variants[] = {UNARY_VARIANTS(tanh, 0)};
OP_CASE(tanh, tanh_variants);

/* --- op_softmax.c ---------------------------------------------------------------------------- */

CALL_UNARY(softmax)
CALL_UNARY(log_softmax)

static void check_rows_sum_to_one(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const bool logs = args != NULL;
    (void)leaf;
    for (int64_t row = 0; row < kd_rows(out); row++) {
        double sum = 0;
        for (int64_t c = 0; c < kd_channels(out); c++) {
            double y = (double)out->value[row * kd_channels(out) + c];
            sum += logs ? exp(y) : y;
        }
        assert_true(fabs(sum - 1) < (sizeof(kd_real) == 4 ? 1e-5 : 1e-13));
    }
}

#define SOFTMAX_VARIANTS(op, flag)                                                                 \
    {.name = "odd",                                                                                \
     .call = call_##op,                                                                            \
     .leaf = {LEAF(3, 5, 7)},                                                                      \
     .check = check_rows_sum_to_one,                                                               \
     .args = flag},                                                                                \
        {.name = "one class",                                                                      \
         .call = call_##op,                                                                        \
         .leaf = {LEAF(5, 1)},                                                                     \
         .check = check_rows_sum_to_one,                                                           \
         .args = flag},                                                                            \
        {.name = "large logits",                                                                   \
         .call = call_##op,                                                                        \
         .check = check_rows_sum_to_one,                                                           \
         .args = flag,                                                                             \
         .leaf = {{.rank = 2, .shape = {7, 129}, .low = 900, .high = 1000}}},                      \
    {                                                                                              \
        .name = "many classes", .call = call_##op, .leaf = {LEAF(33, 1031)},                       \
        .check = check_rows_sum_to_one, .args = flag                                               \
    }

static const op_variant softmax_variants[] = {SOFTMAX_VARIANTS(softmax, NULL)};
OP_CASE(softmax, softmax_variants);
static const op_variant log_softmax_variants[] = {SOFTMAX_VARIANTS(log_softmax, "logs")};
OP_CASE(log_softmax, log_softmax_variants);

/* --- op_dropout.c ---------------------------------------------------------------------------- */

static kd_tensor *call_dropout(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_dropout(tape, leaf[0], *(const kd_real *)args);
}

/* Zero or x/(1−p), and about a share p of zeros. */
static void check_dropped(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const double p = (double)*(const kd_real *)args, n = (double)out->size;
    int64_t zeros = 0;
    for (int64_t i = 0; i < out->size; i++) {
        double x = (double)leaf[0]->value[i], y = (double)out->value[i];
        zeros += y == 0;
        assert_true(y == 0 || fabs(y - x / (1 - p)) <= 1e-6 * fabs(y));
    }
    assert_true(fabs((double)zeros / n - p) < 5 * sqrt(p * (1 - p) / n) + 1e-9);
}

static void check_identity(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    (void)args;
    assert_memory_equal(out->value, leaf[0]->value, (size_t)out->size * sizeof *out->value);
}

static const op_variant dropout_variants[] = {
    {.name = "half",
     .call = call_dropout,
     .args = &(kd_real){0.5},
     .check = check_dropped,
     .leaf = {{.rank = 2, .shape = {129, 127}, .gap = 0.01}}},
    {.name = "a fifth",
     .call = call_dropout,
     .args = &(kd_real){KD_REAL(0.2)},
     .check = check_dropped,
     .leaf = {{.rank = 3, .shape = {5, 129, 127}, .gap = 0.01}}},
    {.name = "none",
     .call = call_dropout,
     .args = &(kd_real){0},
     .check = check_identity,
     .leaf = {LEAF(7)}},
    {.name = "evaluating",
     .evaluating = true,
     .call = call_dropout,
     .args = &(kd_real){0.5},
     .check = check_identity,
     .leaf = {LEAF(3, 5)}},
};
OP_CASE(dropout, dropout_variants);

/* --- op_embedding.c -------------------------------------------------------------------------- */

typedef struct {
    const int32_t *id;
    int64_t n;
} embedding_args;

static kd_tensor *call_embedding(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const embedding_args *a = args;
    return kd_embedding(tape, leaf[0], a->id, a->n);
}

static const int32_t embedding_ids[300] = {6, 0, 3, 3, 6, 1, 3}; /* the rest is 0 */

static const op_variant embedding_variants[] = {
    {.name = "repeated",
     .call = call_embedding,
     .args = &(embedding_args){embedding_ids, 7},
     .leaf = {LEAF(7, 5)}},
    {.name = "one",
     .call = call_embedding,
     .args = &(embedding_args){embedding_ids, 1},
     .leaf = {LEAF(7, 1)}},
    {.name = "large",
     .call = call_embedding,
     .args = &(embedding_args){embedding_ids, 300},
     .leaf = {LEAF(7, 129)}},
};
OP_CASE(embedding, embedding_variants);
