/* Cases of the ops on shapes, of attention and of sums. */

/* --- op_shape.c ------------------------------------------------------------------------------ */

typedef struct {
    int rank;
    int64_t shape[KD_MAX_RANK];
} reshape_args;

static kd_tensor *call_reshape(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const reshape_args *a = args;
    return kd_reshape(tape, leaf[0], a->rank, a->shape);
}

static const op_variant reshape_variants[] = {
    {.name = "flat",
     .call = call_reshape,
     .args = &(reshape_args){1, {30}},
     .check = check_identity,
     .leaf = {LEAF(2, 3, 5)}},
    {.name = "deep",
     .call = call_reshape,
     .args = &(reshape_args){5, {1, 2, 5, 1, 3}},
     .check = check_identity,
     .leaf = {LEAF(6, 5)}},
};
OP_CASE(reshape, reshape_variants);

static kd_tensor *call_transpose(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_transpose(tape, leaf[0], args);
}

/* Walks all indices of the output and looks each number up in x by the definition. */
static void check_transposed(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const int *order = args;
    const kd_tensor *x = leaf[0];
    for (int64_t i = 0; i < out->size; i++) {
        int64_t index[KD_MAX_RANK] = {0}, rest = i, at = 0;
        for (int axis = out->rank - 1; axis >= 0; axis--) {
            index[order[axis]] = rest % out->shape[axis];
            rest /= out->shape[axis];
        }
        for (int axis = 0; axis < x->rank; axis++) at = at * x->shape[axis] + index[axis];
        assert_true(out->value[i] == x->value[at]);
    }
}

static const op_variant transpose_variants[] = {
    {.name = "matrix",
     .call = call_transpose,
     .args = (const int[]){1, 0},
     .check = check_transposed,
     .leaf = {LEAF(3, 7)}},
    {.name = "heads",
     .call = call_transpose,
     .args = (const int[]){0, 2, 1, 3},
     .check = check_transposed,
     .leaf = {LEAF(2, 3, 5, 7)}},
    {.name = "cycle",
     .call = call_transpose,
     .args = (const int[]){4, 0, 2, 1, 3},
     .check = check_transposed,
     .leaf = {LEAF(2, 3, 1, 5, 2)}},
    {.name = "large",
     .call = call_transpose,
     .args = (const int[]){1, 0},
     .check = check_transposed,
     .leaf = {LEAF(300, 129)}},
};
OP_CASE(transpose, transpose_variants);

typedef struct {
    int axis;
    int64_t start, stop, step;
} slice_args;

static kd_tensor *call_slice(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const slice_args *a = args;
    return kd_slice(tape, leaf[0], a->axis, a->start, a->stop, a->step);
}

/* x seen as (outer, axis, inner) */
static void check_sliced(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const slice_args *a = args;
    const kd_tensor *x = leaf[0];
    int64_t inner = 1, n = out->shape[a->axis];
    for (int axis = a->axis + 1; axis < x->rank; axis++) inner *= x->shape[axis];
    assert_int_equal(n, (a->stop - a->start + a->step - 1) / a->step);
    for (int64_t i = 0; i < out->size; i++) {
        int64_t outer = i / (n * inner), middle = i / inner % n;
        int64_t from =
            (outer * x->shape[a->axis] + a->start + middle * a->step) * inner + i % inner;
        assert_true(out->value[i] == x->value[from]);
    }
}

static const op_variant slice_variants[] = {
    {.name = "first axis",
     .call = call_slice,
     .args = &(slice_args){0, 1, 3, 1},
     .check = check_sliced,
     .leaf = {LEAF(5, 3)}},
    {.name = "step in the middle",
     .call = call_slice,
     .args = &(slice_args){1, 0, 7, 2},
     .check = check_sliced,
     .leaf = {LEAF(3, 7, 5)}},
    {.name = "last axis",
     .call = call_slice,
     .args = &(slice_args){2, 1, 7, 3},
     .check = check_sliced,
     .leaf = {LEAF(3, 2, 7)}},
    {.name = "one",
     .call = call_slice,
     .args = &(slice_args){0, 6, 7, 1},
     .check = check_sliced,
     .leaf = {LEAF(7)}},
};
OP_CASE(slice, slice_variants);

static kd_tensor *call_concat(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_concat(tape, leaf[0], leaf[1], *(const int *)args);
}

static kd_tensor *call_concat_self(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_concat(tape, leaf[0], leaf[0], *(const int *)args);
}

static void check_concatenated(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const int axis = *(const int *)args;
    int64_t inner = 1, na = leaf[0]->shape[axis], nb = leaf[1]->shape[axis];
    for (int i = axis + 1; i < out->rank; i++) inner *= out->shape[i];
    for (int64_t i = 0; i < out->size; i++) {
        int64_t outer = i / ((na + nb) * inner), middle = i / inner % (na + nb), in = i % inner;
        kd_real expected = middle < na ? leaf[0]->value[(outer * na + middle) * inner + in]
                                       : leaf[1]->value[(outer * nb + middle - na) * inner + in];
        assert_true(out->value[i] == expected);
    }
}

static const op_variant concat_variants[] = {
    {.name = "first axis",
     .call = call_concat,
     .args = &(int){0},
     .check = check_concatenated,
     .leaf = {LEAF(2, 3), LEAF(5, 3)}},
    {.name = "middle",
     .call = call_concat,
     .args = &(int){1},
     .check = check_concatenated,
     .leaf = {LEAF(2, 1, 5), LEAF(2, 3, 5)}},
    {.name = "last axis",
     .call = call_concat,
     .args = &(int){2},
     .check = check_concatenated,
     .leaf = {LEAF(2, 3, 7), LEAF(2, 3, 1)}},
    {.name = "x behind x", .call = call_concat_self, .args = &(int){1}, .leaf = {LEAF(3, 5)}},
};
OP_CASE(concat, concat_variants);

typedef struct {
    int axis;
    int64_t before, after;
} pad_args;

static kd_tensor *call_pad(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const pad_args *a = args;
    return kd_pad(tape, leaf[0], a->axis, a->before, a->after);
}

static void check_padded(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const pad_args *a = args;
    int64_t inner = 1, n = leaf[0]->shape[a->axis], total = n + a->before + a->after;
    for (int i = a->axis + 1; i < out->rank; i++) inner *= out->shape[i];
    for (int64_t i = 0; i < out->size; i++) {
        int64_t outer = i / (total * inner), middle = i / inner % total - a->before;
        kd_real expected = middle < 0 || middle >= n
                               ? 0
                               : leaf[0]->value[(outer * n + middle) * inner + i % inner];
        assert_true(out->value[i] == expected);
    }
}

static const op_variant pad_variants[] = {
    {.name = "channels",
     .call = call_pad,
     .args = &(pad_args){3, 1, 2},
     .check = check_padded,
     .leaf = {LEAF(2, 3, 5, 1)}},
    {.name = "in front",
     .call = call_pad,
     .args = &(pad_args){0, 3, 0},
     .check = check_padded,
     .leaf = {LEAF(2, 7)}},
    {.name = "nothing",
     .call = call_pad,
     .args = &(pad_args){1, 0, 0},
     .check = check_identity,
     .leaf = {LEAF(5, 7)}},
};
OP_CASE(pad, pad_variants);

/* --- op_attention.c -------------------------------------------------------------------------- */

typedef struct {
    int heads;
    bool causal;
    const int32_t *valid, *first, *end;
} attention_args;

static kd_attention_mask mask_of(const attention_args *a) {
    return (kd_attention_mask){a->causal, a->valid, a->first, a->end};
}

static kd_tensor *call_attention(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const attention_args *a = args;
    return kd_attention(tape, leaf[0], leaf[1], leaf[2], a->heads, mask_of(a));
}

static kd_tensor *call_attention_self(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const attention_args *a = args;
    return kd_attention(tape, leaf[0], leaf[0], leaf[0], a->heads, mask_of(a));
}

/* The definition, number by number. */
static void check_attended(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const attention_args *a = args;
    const int64_t T = out->shape[1], C = out->shape[2], S = leaf[1]->shape[1], D = C / a->heads;
    const int64_t CG = leaf[1]->shape[2], shared = C / CG;
    for (int64_t i = 0; i < out->size; i++) {
        int64_t b = i / (T * C), t = i / C % T, h = i % C / D;
        double sum = 0, weighted = 0;
        for (int64_t s = 0; s < S; s++) {
            if (a->causal && s > t + S - T) continue;
            if (a->valid && s >= a->valid[b]) continue;
            if (a->first && s < a->first[b * T + t]) continue;
            if (a->end && s >= a->end[b * T + t]) continue;
            double score = 0;
            for (int64_t d = 0; d < D; d++)
                score += (double)leaf[0]->value[(b * T + t) * C + h * D + d] *
                         (double)leaf[1]->value[(b * S + s) * CG + h / shared * D + d];
            double p = exp(score / sqrt((double)D));
            sum += p;
            weighted += p * (double)leaf[2]->value[(b * S + s) * CG + h / shared * D + i % D];
        }
        assert_true(fabs((double)out->value[i] - weighted / sum) <
                    (sizeof(kd_real) == 4 ? 1e-5 : 1e-12));
    }
}

static const int32_t attention_valid[] = {3, 1, 7}, block_lengths[] = {192, 193, 385};

static const op_variant attention_variants[] = {
    {.name = "one head",
     .call = call_attention,
     .args = &(attention_args){1, false, NULL, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(2, 3, 5), LEAF(2, 7, 5), LEAF(2, 7, 5)}},
    {.name = "heads",
     .call = call_attention,
     .args = &(attention_args){3, false, NULL, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(2, 5, 6), LEAF(2, 1, 6), LEAF(2, 1, 6)}},
    {.name = "causal",
     .call = call_attention,
     .args = &(attention_args){2, true, NULL, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(2, 7, 4), LEAF(2, 7, 4), LEAF(2, 7, 4)}},
    {.name = "causal, behind a cache",
     .call = call_attention,
     .args = &(attention_args){2, true, NULL, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(1, 3, 2), LEAF(1, 7, 2), LEAF(1, 7, 2)}},
    {.name = "lengths",
     .call = call_attention,
     .args = &(attention_args){2, false, attention_valid, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(3, 5, 6), LEAF(3, 7, 6), LEAF(3, 7, 6)}},
    {.name = "lengths, causal",
     .call = call_attention,
     .args = &(attention_args){1, true, attention_valid, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(3, 7, 3), LEAF(3, 7, 3), LEAF(3, 7, 3)}},
    {.name = "several tiles",
     .call = call_attention,
     .args = &(attention_args){3, true, NULL, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(2, 129, 21), LEAF(2, 129, 21), LEAF(2, 129, 21)}},
    {.name = "several blocks, causal",
     .call = call_attention,
     .args = &(attention_args){1, true, NULL, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(1, 270, 7), LEAF(1, 400, 7), LEAF(1, 400, 7)}},
    {.name = "several blocks, lengths",
     .call = call_attention,
     .args = &(attention_args){1, false, block_lengths, NULL, NULL},
     .check = check_attended,
     .leaf = {LEAF(3, 17, 4), LEAF(3, 390, 4), LEAF(3, 390, 4)}},
    {.name = "q = k = v",
     .call = call_attention_self,
     .args = &(attention_args){2, false, NULL, NULL, NULL},
     .leaf = {LEAF(2, 5, 4)}},
};
OP_CASE(attention, attention_variants);

/* --- op_reduce.c ----------------------------------------------------------------------------- */

CALL_UNARY(mean)

static const op_variant mean_variants[] = {
    {.name = "odd", .call = call_mean, .leaf = {LEAF(3, 5, 7)}},
    {.name = "one", .call = call_mean, .leaf = {LEAF(1)}},
    {.name = "large", .call = call_mean, .leaf = {LEAF(129, 511)}},
};
OP_CASE(mean, mean_variants);
