/* Cases of the ops that decoders over text are made of: RMS norm, SwiGLU, rotary positions, and
 * attention with shared keys and borders of documents. Attention's other cases are in ops_shape.c.
 */

/* --- op_norm.c: rms_norm --------------------------------------------------------------------- */

static kd_tensor *call_rms_norm(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_rms_norm(tape, leaf[0], leaf[1], KD_REAL(1e-5));
}

static void check_rms_norm(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const int64_t C = kd_channels(out);
    (void)args;
    for (int64_t i = 0; i < out->size; i++) {
        double squares = 0;
        for (int64_t c = 0; c < C; c++) squares += pow((double)leaf[0]->value[i / C * C + c], 2);
        const double expected = (double)leaf[0]->value[i] / sqrt(squares / (double)C + 1e-5) *
                                (double)leaf[1]->value[i % C];
        assert_true(fabs((double)out->value[i] - expected) < (sizeof(kd_real) == 4 ? 1e-5 : 1e-12));
    }
}

#define RMS_NORM(name_, C, ...)                                                                    \
    {                                                                                              \
        .name = name_, .call = call_rms_norm, .check = check_rms_norm, .leaf = {                   \
            LEAF(__VA_ARGS__),                                                                     \
            LEAF(C)                                                                                \
        }                                                                                          \
    }

static const op_variant rms_norm_variants[] = {
    RMS_NORM("rows", 7, 5, 7),
    RMS_NORM("sequence", 17, 2, 3, 17),
    RMS_NORM("wide", 1030, 3, 1030),
    RMS_NORM("many rows", 16, 2100, 16),
};
OP_CASE(rms_norm, rms_norm_variants);

/* --- op_activation.c: swiglu ----------------------------------------------------------------- */

static kd_tensor *call_swiglu(kd_tape *tape, kd_tensor **leaf, const void *args) {
    (void)args;
    return kd_swiglu(tape, leaf[0], leaf[1]);
}

static const op_variant swiglu_variants[] = {
    {.name = "odd",
     .call = call_swiglu,
     .leaf = {{.rank = 2, .shape = {7, 129}, .low = -5, .high = 5}, LEAF(7, 129)}},
    {.name = "one", .call = call_swiglu, .leaf = {LEAF(1), LEAF(1)}},
    {.name = "far",
     .call = call_swiglu,
     .check = check_finite,
     .leaf = {{.rank = 2, .shape = {3, 5}, .low = -200, .high = 200}, LEAF(3, 5)}},
    {.name = "large", .call = call_swiglu, .leaf = {LEAF(129, 300), LEAF(129, 300)}},
};
OP_CASE(swiglu, swiglu_variants);

/* --- op_rotary.c ----------------------------------------------------------------------------- */

/* Angles t · 10^(−i), pairs 0 … 3; the same for every number of pairs. */
enum { ROTARY_POSITIONS = 40, ROTARY_PAIRS = 4 };

typedef struct {
    int64_t pairs, first;
} rotary_args;

static kd_tensor *call_rotary(kd_tape *tape, kd_tensor **leaf, const void *args) {
    static kd_real cosine[ROTARY_PAIRS][ROTARY_POSITIONS * ROTARY_PAIRS];
    static kd_real sine[ROTARY_PAIRS][ROTARY_POSITIONS * ROTARY_PAIRS];
    const rotary_args *a = args;
    kd_real *c = cosine[a->pairs - 1], *s = sine[a->pairs - 1];
    for (int64_t i = 0; i < ROTARY_POSITIONS * a->pairs; i++) {
        const double angle = (double)(i / a->pairs) * pow(10, -(double)(i % a->pairs));
        c[i] = (kd_real)cos(angle);
        s[i] = (kd_real)sin(angle);
    }
    const int64_t first = a->first * a->pairs;
    return kd_rotary(tape, leaf[0], &(kd_rotary_table){a->pairs, c + first, s + first});
}

/* Pair (i, i + pairs) of a head as a complex number, times e^{i·angle}. */
static void check_rotary(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const rotary_args *a = args;
    const int64_t T = out->shape[1], C = out->shape[2], n = a->pairs;
    for (int64_t at = 0; at < out->size; at++) {
        const int64_t t = a->first + at / C % T, d = at % (2 * n), i = d % n;
        const double angle = (double)t * pow(10, -(double)i);
        const double real = (double)leaf[0]->value[at - d + i];
        const double imaginary = (double)leaf[0]->value[at - d + n + i];
        const double expected = d < n ? real * cos(angle) - imaginary * sin(angle)
                                      : real * sin(angle) + imaginary * cos(angle);
        assert_true(fabs((double)out->value[at] - expected) <
                    (sizeof(kd_real) == 4 ? 1e-5 : 1e-12));
    }
}

static const op_variant rotary_variants[] = {
    {.name = "one pair",
     .call = call_rotary,
     .args = &(rotary_args){1, 0},
     .check = check_rotary,
     .leaf = {LEAF(1, 3, 2)}},
    {.name = "heads, behind a cache",
     .call = call_rotary,
     .args = &(rotary_args){3, 5},
     .check = check_rotary,
     .leaf = {LEAF(2, 7, 18)}},
    {.name = "large",
     .call = call_rotary,
     .args = &(rotary_args){4, 0},
     .check = check_rotary,
     .leaf = {LEAF(5, 40, 256)}},
};
OP_CASE(rotary, rotary_variants);

/* --- op_attention.c -------------------------------------------------------------------------- */

/* Documents that begin at these places of the two contexts. */
static const int32_t document_first[] = {0, 0, 2, 2, 2, 5, 5, 0, 0, 0, 0, 4, 4, 4};

/* One at every 77 places, and another at the last. */
static const int32_t *long_documents(void) {
    static int32_t first[400];
    for (int32_t t = 0; t < 400; t++) first[t] = t == 399 ? 399 : t / 77 * 77;
    return first;
}

static kd_tensor *call_attention_documents(kd_tape *tape, kd_tensor **leaf, const void *args) {
    attention_args a = *(const attention_args *)args;
    a.first = long_documents();
    return call_attention(tape, leaf, &a);
}

static void check_attended_documents(kd_tensor *const *leaf, const kd_tensor *out,
                                     const void *args) {
    attention_args a = *(const attention_args *)args;
    a.first = long_documents();
    check_attended(leaf, out, &a);
}

/* The same documents, seen to their ends. */
static const int32_t document_end[] = {2, 2, 5, 5, 5, 7, 7, 4, 4, 4, 4, 7, 7, 7};

static const int32_t *long_ends(void) {
    static int32_t end[400];
    for (int32_t t = 0; t < 400; t++) end[t] = t == 399 ? 400 : t / 77 * 77 + 77;
    for (int32_t t = 385; t < 399; t++) end[t] = 399;
    return end;
}

static kd_tensor *call_attention_both_ways(kd_tape *tape, kd_tensor **leaf, const void *args) {
    attention_args a = *(const attention_args *)args;
    a.first = long_documents();
    a.end = long_ends();
    return call_attention(tape, leaf, &a);
}

static void check_attended_both_ways(kd_tensor *const *leaf, const kd_tensor *out,
                                     const void *args) {
    attention_args a = *(const attention_args *)args;
    a.first = long_documents();
    a.end = long_ends();
    check_attended(leaf, out, &a);
}

static const op_variant text_attention_variants[] = {
    {.name = "documents, both ways",
     .call = call_attention,
     .args = &(attention_args){.heads = 2, .first = document_first, .end = document_end},
     .check = check_attended,
     .leaf = {LEAF(2, 7, 6), LEAF(2, 7, 6), LEAF(2, 7, 6)}},
    {.name = "documents across blocks, both ways",
     .call = call_attention_both_ways,
     .args = &(attention_args){.heads = 2},
     .check = check_attended_both_ways,
     .leaf = {LEAF(1, 400, 10), LEAF(1, 400, 10), LEAF(1, 400, 10)}},
    {.name = "documents, both ways, few queries",
     .call = call_attention,
     .args = &(attention_args){.heads = 2,
                               .first = (const int32_t[]){1, 3, 3},
                               .end = (const int32_t[]){3, 7, 7}},
     .check = check_attended,
     .leaf = {LEAF(1, 3, 6), LEAF(1, 7, 6), LEAF(1, 7, 6)}},
    {.name = "shared keys",
     .call = call_attention,
     .args = &(attention_args){.heads = 4},
     .check = check_attended,
     .leaf = {LEAF(2, 3, 8), LEAF(2, 7, 4), LEAF(2, 7, 4)}},
    {.name = "one head of keys, causal, many queries",
     .call = call_attention,
     .args = &(attention_args){.heads = 3, .causal = true},
     .check = check_attended,
     .leaf = {LEAF(2, 70, 15), LEAF(2, 75, 5), LEAF(2, 75, 5)}},
    {.name = "documents",
     .call = call_attention,
     .args = &(attention_args){.heads = 2, .causal = true, .first = document_first},
     .check = check_attended,
     .leaf = {LEAF(2, 7, 6), LEAF(2, 7, 6), LEAF(2, 7, 6)}},
    {.name = "documents, few queries behind a cache",
     .call = call_attention,
     .args = &(attention_args){.heads = 2, .causal = true, .first = (const int32_t[]){1, 4, 3}},
     .check = check_attended,
     .leaf = {LEAF(1, 3, 6), LEAF(1, 7, 6), LEAF(1, 7, 6)}},
    {.name = "documents across blocks, shared keys",
     .call = call_attention_documents,
     .args = &(attention_args){.heads = 2, .causal = true},
     .check = check_attended_documents,
     .leaf = {LEAF(1, 400, 10), LEAF(1, 400, 5), LEAF(1, 400, 5)}},
};
static const op_case case_text_attention = {"attention", text_attention_variants,
                                            OP_COUNT(text_attention_variants)};
