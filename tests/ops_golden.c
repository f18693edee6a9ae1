/* One call of every op against PyTorch's float64 (golden/make_goldens.py holds the same calls). The
 * call_… functions without a definition here are those of the other ops_*.c files. */

#define GOLDEN(record, function, arguments, ...)                                                   \
    {.name = record, .golden = record, .call = function, .args = arguments, .leaf = {__VA_ARGS__}}

#define STATE(n) {.rank = 1, .shape = {n}, .state = true}

/* --- windows and norms ----------------------------------------------------------------------- */

typedef struct {
    kd_conv_spec spec;
    kd_act act;
    bool no_bias;
} golden_conv;

static kd_tensor *call_golden_conv2d(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const golden_conv *a = args;
    return kd_conv2d(tape, leaf[0], leaf[1], a->no_bias ? NULL : leaf[2], a->spec, a->act);
}

static kd_tensor *call_golden_conv1d(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_conv1d(tape, leaf[0], leaf[1], leaf[2], 2, 1, 1);
}

static kd_tensor *call_golden_max_pool(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_max_pool2d(tape, leaf[0], *(const kd_pool_spec *)args);
}

static kd_tensor *call_golden_avg_pool(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_avg_pool2d(tape, leaf[0], *(const kd_pool_spec *)args);
}

static kd_tensor *call_golden_global_pool(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_global_avg_pool(tape, leaf[0]);
}

static kd_tensor *call_golden_layer_norm(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_layer_norm(tape, leaf[0], leaf[1], leaf[2], KD_REAL(1e-5));
}

static kd_tensor *call_golden_batch_norm(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_batch_norm(tape, leaf[0], leaf[1], leaf[2], leaf[3], leaf[4], KD_REAL(0.1),
                         KD_REAL(1e-5), *(const kd_act *)args);
}

#define BATCH_NORM_LEAVES LEAF(3, 4, 2, 5), LEAF(5), LEAF(5), STATE(5), STATE(5)

/* --- losses ---------------------------------------------------------------------------------- */

static const int32_t golden_labels[] = {4, 0, 2, 1, 3};

/* Numbers that belong to a record but are no leaf. They stay until the next call. */
static const kd_real *golden_reals(const char *record, const char *part, int slot) {
    static kd_real value[2][64];
    golden_entry entry;
    if (!golden_part(&entry, record, part)) fail_msg("no golden %s.%s", record, part);
    assert_true(entry.size <= 64);
    for (int64_t i = 0; i < entry.size; i++) value[slot][i] = (kd_real)entry.value[i];
    return value[slot];
}

typedef struct {
    const char *record;
    kd_loss_spec spec;
    const uint8_t *valid;
} golden_loss;

static kd_tensor *call_golden_loss(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const golden_loss *a = args;
    const kd_soft_targets soft = {.logits = golden_reals(a->record, "teacher", 0)};
    return kd_distill_loss(tape, leaf[0], golden_labels, a->valid, &soft, a->spec, NULL);
}

static kd_tensor *call_golden_topk(kd_tape *tape, kd_tensor **leaf, const void *args) {
    static int32_t index[15];
    const kd_real *stored = golden_reals("distill_loss_topk", "index", 0);
    for (int i = 0; i < 15; i++) index[i] = (int32_t)stored[i];
    const kd_soft_targets soft = {.k = 3,
                                  .index = index,
                                  .kept = golden_reals("distill_loss_topk", "kept", 0),
                                  .tail = golden_reals("distill_loss_topk", "tail", 1)};
    return kd_distill_loss(tape, leaf[0], NULL, NULL, &soft, *(const kd_loss_spec *)args, NULL);
}

static kd_tensor *call_golden_mse(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_hint_mse(tape, leaf[0], golden_reals("hint_mse", "teacher", 0), NULL,
                       KD_REAL(0.5), 3);
}

static kd_tensor *call_golden_cosine(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_hint_cosine(tape, leaf[0], golden_reals("hint_cosine", "teacher", 0), NULL, KD_REAL(0.5),
                          3);
}

/* --- the table ------------------------------------------------------------------------------- */

/* clang-format off */
static const op_variant golden_variants[] = {
    GOLDEN("matmul", call_matmul, PLAIN_TRANS, LEAF(2, 3, 5), LEAF(2, 7, 5)),
    GOLDEN("linear", call_linear, WITH_RELU, LEAF(3, 2, 5), LEAF(7, 5), LEAF(7)),
    GOLDEN("bias", call_bias, NULL, LEAF(3, 5), LEAF(5)),
    GOLDEN("add", call_add, &(kd_act){KD_ACT_RELU}, LEAF(3, 5), LEAF(3, 5)),
    GOLDEN("mul", call_mul, NULL, LEAF(3, 5), LEAF(3, 5)),
    GOLDEN("scale", call_scale, &(kd_real){1.5}, LEAF(3, 5)),
    GOLDEN("scale_rows", call_scale_rows, NULL, LEAF(3, 5), LEAF(3)),
    GOLDEN("relu", call_relu, NULL, LEAF(5, 13)),
    GOLDEN("gelu", call_gelu, NULL, LEAF(5, 13)),
    GOLDEN("gelu_tanh", call_gelu_tanh, NULL, LEAF(5, 13)),
    GOLDEN("sigmoid", call_sigmoid, NULL, LEAF(5, 13)),
    GOLDEN("silu", call_silu, NULL, LEAF(5, 13)),
    GOLDEN("tanh", call_tanh, NULL, LEAF(5, 13)),
    GOLDEN("softmax", call_softmax, NULL, LEAF(3, 13)),
    GOLDEN("log_softmax", call_log_softmax, NULL, LEAF(3, 13)),
    GOLDEN("embedding", call_embedding, (&(embedding_args){(const int32_t[]){6, 0, 3, 3, 6}, 5}), LEAF(7, 3)),
    GOLDEN("reshape", call_reshape, (&(reshape_args){2, {3, 10}}), LEAF(5, 6)),
    GOLDEN("transpose", call_transpose, ((const int[]){2, 0, 1}), LEAF(2, 3, 5)),
    GOLDEN("slice", call_slice, (&(slice_args){1, 1, 6, 2}), LEAF(2, 7, 3)),
    GOLDEN("concat", call_concat, &(int){1}, LEAF(2, 3, 2), LEAF(2, 1, 2)),
    GOLDEN("pad", call_pad, (&(pad_args){1, 1, 2}), LEAF(2, 3, 2)),
    GOLDEN("mean", call_mean, NULL, LEAF(3, 5)),
    GOLDEN("attention", call_attention, (&(attention_args){2, false, (const int32_t[]){3, 5}, NULL, NULL}),
           LEAF(2, 3, 6), LEAF(2, 5, 6), LEAF(2, 5, 6)),
    GOLDEN("attention_causal", call_attention, (&(attention_args){3, true, NULL, NULL, NULL}),
           LEAF(2, 4, 6), LEAF(2, 6, 6), LEAF(2, 6, 6)),
    GOLDEN("conv2d", call_golden_conv2d, (&(golden_conv){{{1, 1}, {1, 1}, 1}, KD_ACT_RELU, false}),
           LEAF(2, 5, 6, 3), LEAF(4, 3, 3, 3), LEAF(4)),
    GOLDEN("conv2d_stride", call_golden_conv2d, (&(golden_conv){{{2, 3}, {1, 2}, 1}, KD_ACT_NONE, true}),
           LEAF(2, 7, 8, 2), LEAF(3, 3, 5, 2)),
    GOLDEN("conv2d_groups", call_golden_conv2d, (&(golden_conv){{{1, 2}, {0, 1}, 2}, KD_ACT_NONE, false}),
           LEAF(2, 5, 5, 4), LEAF(6, 2, 3, 2), LEAF(6)),
    GOLDEN("conv2d_depthwise", call_golden_conv2d, (&(golden_conv){{{2, 2}, {1, 1}, 5}, KD_ACT_NONE, false}),
           LEAF(2, 5, 6, 5), LEAF(5, 3, 3, 1), LEAF(5)),
    GOLDEN("conv1d", call_golden_conv1d, NULL, LEAF(2, 9, 3), LEAF(4, 3, 3), LEAF(4)),
    GOLDEN("max_pool2d", call_golden_max_pool, (&(kd_pool_spec){{3, 2}, {2, 2}, {1, 1}}), LEAF(2, 7, 6, 3)),
    GOLDEN("avg_pool2d", call_golden_avg_pool, (&(kd_pool_spec){{3, 2}, {2, 1}, {1, 0}}), LEAF(2, 7, 6, 3)),
    GOLDEN("global_avg_pool", call_golden_global_pool, NULL, LEAF(2, 7, 6, 3)),
    GOLDEN("rms_norm", call_rms_norm, NULL, LEAF(2, 3, 7), LEAF(7)),
    GOLDEN("swiglu", call_swiglu, NULL, LEAF(5, 13), LEAF(5, 13)),
    GOLDEN("rotary", call_rotary, (&(rotary_args){3, 2}), LEAF(2, 5, 12)),
    GOLDEN("attention_documents", call_attention,
           (&(attention_args){4, true, NULL, document_first, NULL}), LEAF(2, 7, 8), LEAF(2, 7, 4), LEAF(2, 7, 4)),
    GOLDEN("layer_norm", call_golden_layer_norm, NULL, LEAF(2, 3, 7), LEAF(7), LEAF(7)),
    GOLDEN("batch_norm", call_golden_batch_norm, &(kd_act){KD_ACT_NONE}, BATCH_NORM_LEAVES),
    {.name = "batch_norm_eval", .golden = "batch_norm_eval", .evaluating = true, .call = call_golden_batch_norm,
     .args = &(kd_act){KD_ACT_NONE}, .leaf = {BATCH_NORM_LEAVES}},
    GOLDEN("batch_norm_relu", call_golden_batch_norm, &(kd_act){KD_ACT_RELU}, BATCH_NORM_LEAVES),
    GOLDEN("distill_loss", call_golden_loss,
           (&(golden_loss){"distill_loss", SPEC(0.8, 1.0, 2.0, 0.0), .valid = (const uint8_t[]){1, 0, 1, 1, 0}}),
           LEAF(5, 9)),
    GOLDEN("distill_loss_smooth", call_golden_loss,
           (&(golden_loss){"distill_loss_smooth", SPEC(0.5, 0.5, 4.0, 0.1)}), LEAF(5, 9)),
    GOLDEN("distill_loss_topk", call_golden_topk,
           (&(kd_loss_spec){.kl_weight = 1, .temperature = 2, .normalizer = 7}), LEAF(5, 9)),
    GOLDEN("hint_mse", call_golden_mse, NULL, LEAF(5, 9)),
    GOLDEN("hint_cosine", call_golden_cosine, NULL, LEAF(5, 9)),
};
/* clang-format on */
OP_CASE(golden, golden_variants);
