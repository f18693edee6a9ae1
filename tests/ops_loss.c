/* Cases of the losses. What they must do beyond having the right gradient: test_loss.c. */
#include "distill/loss.h"

typedef struct {
    kd_loss_spec spec;
    int topk; /* 0: dense */
    const uint8_t *valid;
} loss_args;

enum { LOSS_ROWS = 9, LOSS_CLASSES = 1031 };
static const int32_t loss_labels[LOSS_ROWS] = {4, 0, 2, 1, 3, 4};
static const uint8_t loss_valid[LOSS_ROWS] = {1, 0, 1, 1, 0};

/* The teacher: N·V logits in −3 … 3, the same in every call. */
static kd_real *make_teacher(int64_t size) {
    static kd_real logits[33 * LOSS_CLASSES];
    fill_leaf(logits, size, &(op_leaf){.low = -3, .high = 3, .distinct = true}, 99);
    return logits;
}

/* The k first classes by order of their logits, and the tail's log-sum of the others. */
static kd_soft_targets make_topk(const kd_real *logits, int64_t N, int64_t V, int k,
                                 double temperature) {
    static int32_t index[LOSS_ROWS * LOSS_CLASSES];
    static kd_real kept[LOSS_ROWS * LOSS_CLASSES], tail[LOSS_ROWS];
    for (int64_t i = 0; i < N; i++) {
        const kd_real *v = logits + i * V;
        double sum = 0;
        int n = 0;
        for (int32_t c = 0; c < V; c++) {
            int64_t larger = 0;
            for (int64_t other = 0; other < V; other++) larger += v[other] > v[c];
            if (larger >= k) {
                sum += exp((double)v[c] / temperature);
                continue;
            }
            index[i * k + n] = c;
            kept[i * k + n++] = v[c];
        }
        tail[i] = (kd_real)log(sum);
    }
    return (kd_soft_targets){.k = k, .index = index, .kept = kept, .tail = tail};
}

static kd_tensor *call_distill_loss(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const loss_args *a = args;
    kd_tensor *z = leaf[0];
    kd_soft_targets soft = {.logits = make_teacher(z->size)};
    if (a->topk)
        soft = make_topk(soft.logits, kd_rows(z), kd_channels(z), a->topk,
                         (double)a->spec.temperature);
    return kd_distill_loss(tape, z, a->spec.hard_weight != 0 ? loss_labels : NULL, a->valid,
                           a->spec.kl_weight != 0 ? &soft : NULL, a->spec, NULL);
}

/* z feeds an op before the loss too, so the loss is not the first to write its gradient. */
static kd_tensor *call_loss_behind(kd_tape *tape, kd_tensor **leaf, const void *args) {
    kd_tensor *loss = call_distill_loss(tape, leaf, args);
    return kd_add(tape, loss, kd_mean(tape, leaf[0]), KD_ACT_NONE);
}

#define SPEC(hard, kl, tau, eps)                                                                   \
    .spec = {.hard_weight = KD_REAL(hard),                                                         \
             .kl_weight = KD_REAL(kl),                                                             \
             .temperature = KD_REAL(tau),                                                          \
             .label_smoothing = KD_REAL(eps),                                                      \
             .normalizer = 7}

#define DIVERGENCE(which, s, tau)                                                                  \
    .spec = {.kl_weight = 1,                                                                       \
             .temperature = KD_REAL(tau),                                                          \
             .normalizer = 7,                                                                      \
             .divergence = {.kind = KD_##which, .skew = KD_REAL(s)}}
#define DENSE(title, which, s)                                                                     \
    {                                                                                              \
        .name = title, .call = call_distill_loss,                                                  \
        .args = &(loss_args){DIVERGENCE(which, s, 2.0), .valid = loss_valid}, .leaf = {            \
            LEAF(5, 7)                                                                             \
        }                                                                                          \
    }
#define TOPK(title, which, s)                                                                      \
    {                                                                                              \
        .name = title, .call = call_distill_loss,                                                  \
        .args = &(loss_args){DIVERGENCE(which, s, 1.5), .topk = 3}, .leaf = {                      \
            LEAF(5, 7)                                                                             \
        }                                                                                          \
    }
#define VOCABULARY(title, which, s, k)                                                             \
    {                                                                                              \
        .name = title, .call = call_vocab_loss,                                                    \
        .args = &(loss_args){DIVERGENCE(which, s, 1.5), .topk = k, .valid = loss_valid}, .leaf = { \
            LEAF(5, 4),                                                                            \
            LEAF(7, 4)                                                                             \
        }                                                                                          \
    }

static const op_variant distill_loss_variants[] = {
    DENSE("reverse KL", REVERSE_KL, 0.0),
    DENSE("symmetric KL", SYMMETRIC_KL, 0.0),
    DENSE("Jensen-Shannon", JENSEN_SHANNON, 0.3),
    DENSE("skewed KL", SKEWED_KL, 0.1),
    DENSE("skewed reverse KL", SKEWED_REVERSE_KL, 0.2),
    DENSE("total variation", TOTAL_VARIATION, 0.0),
    TOPK("top 3, reverse KL", REVERSE_KL, 0.0),
    TOPK("top 3, symmetric KL", SYMMETRIC_KL, 0.0),
    TOPK("top 3, Jensen-Shannon", JENSEN_SHANNON, 0.5),
    TOPK("top 3, skewed KL", SKEWED_KL, 0.4),
    TOPK("top 3, skewed reverse KL", SKEWED_REVERSE_KL, 0.1),
    TOPK("top 3, total variation", TOTAL_VARIATION, 0.0),
    {.name = "reverse KL, many classes",
     .call = call_distill_loss,
     .tolerance = 1e-5,
     .args = &(loss_args){DIVERGENCE(REVERSE_KL, 0.0, 2.0)},
     .leaf = {LEAF(LOSS_ROWS, LOSS_CLASSES)}},
    {.name = "decoupled",
     .call = call_distill_loss,
     .args = &(loss_args){.spec = {.hard_weight = KD_REAL(0.5),
                                   .kl_weight = 1,
                                   .temperature = 4,
                                   .normalizer = 5,
                                   .decoupled = 8},
                          .valid = loss_valid},
     .leaf = {LEAF(5, 7)}},
    {.name = "standardized",
     .call = call_distill_loss,
     .args = &(loss_args){.spec = {.hard_weight = KD_REAL(0.1),
                                   .kl_weight = 1,
                                   .temperature = 2,
                                   .normalizer = 5,
                                   .standardize = true}},
     .leaf = {LEAF(5, 7)}},
    {.name = "standardized, decoupled",
     .call = call_distill_loss,
     .args = &(loss_args){.spec = {.hard_weight = KD_REAL(0.1),
                                   .kl_weight = 1,
                                   .temperature = 2,
                                   .normalizer = 5,
                                   .decoupled = 2,
                                   .standardize = true}},
     .leaf = {LEAF(5, 7)}},
    {.name = "standardized, Jensen-Shannon",
     .call = call_distill_loss,
     .args = &(loss_args){.spec = {.kl_weight = 1,
                                   .temperature = 2,
                                   .normalizer = 5,
                                   .divergence = {KD_JENSEN_SHANNON, KD_REAL(0.5)},
                                   .standardize = true}},
     .leaf = {LEAF(5, 7)}},
    {.name = "hard",
     .call = call_distill_loss,
     .args = &(loss_args){SPEC(1.0, 0.0, 1.0, 0.0)},
     .leaf = {LEAF(5, 7)}},
    {.name = "hard, smoothed",
     .call = call_distill_loss,
     .args = &(loss_args){SPEC(0.7, 0.0, 1.0, 0.1)},
     .leaf = {LEAF(5, 7)}},
    {.name = "soft",
     .call = call_distill_loss,
     .args = &(loss_args){SPEC(0.0, 1.0, 4.0, 0.0)},
     .leaf = {LEAF(3, 5)}},
    {.name = "both, cold",
     .call = call_distill_loss,
     .args = &(loss_args){SPEC(0.3, 0.7, 0.5, 0.1)},
     .leaf = {LEAF(6, 5)}},
    {.name = "both, masked",
     .call = call_distill_loss,
     .args = &(loss_args){SPEC(0.8, 1.0, 2.0, 0.0), .valid = loss_valid},
     .leaf = {LEAF(5, 7)}},
    {.name = "top 2 of 7",
     .call = call_distill_loss,
     .args = &(loss_args){SPEC(0.5, 0.5, 2.0, 0.0), .topk = 2},
     .leaf = {LEAF(5, 7)}},
    {.name = "top 6 of 7, masked",
     .call = call_distill_loss,
     .args = &(loss_args){SPEC(0.0, 1.0, 3.0, 0.0), .topk = 6, .valid = loss_valid},
     .leaf = {LEAF(5, 7)}},
    {.name = "top 7 of 7",
     .call = call_distill_loss,
     .args = &(loss_args){SPEC(0.0, 1.0, 3.0, 0.0), .topk = 7},
     .leaf = {LEAF(5, 7)}},
    {.name = "not the first",
     .call = call_loss_behind,
     .args = &(loss_args){SPEC(0.5, 0.5, 2.0, 0.0)},
     .leaf = {LEAF(3, 5)}},
    {.name = "many classes",
     .call = call_distill_loss,
     .tolerance = 1e-5,
     .args = &(loss_args){SPEC(0.5, 0.5, 2.0, 0.1)},
     .leaf = {LEAF(LOSS_ROWS, LOSS_CLASSES)}},
    {.name = "many classes, top 10",
     .call = call_distill_loss,
     .tolerance = 1e-5,
     .args = &(loss_args){SPEC(0.0, 1.0, 2.0, 0.0), .topk = 10},
     .leaf = {LEAF(LOSS_ROWS, LOSS_CLASSES)}},
};
OP_CASE(distill_loss, distill_loss_variants);

/* Logits as a product with the output embedding; the teacher's hidden states are 3 wide. */
enum { VOCAB_WIDTH = 3 };

static kd_tensor *call_vocab_loss(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const loss_args *a = args;
    const int64_t N = kd_rows(leaf[0]), V = leaf[1]->shape[0];
    static kd_real output[LOSS_CLASSES * VOCAB_WIDTH];
    kd_soft_targets soft = {.hidden = make_teacher(N * VOCAB_WIDTH), .width = VOCAB_WIDTH};
    soft.output = output;
    fill_leaf(output, V * VOCAB_WIDTH, &(op_leaf){.low = -1, .high = 1}, 98);
    if (a->topk) soft = make_topk(make_teacher(N * V), N, V, a->topk, (double)a->spec.temperature);
    return kd_vocab_loss(tape, leaf[0], leaf[1], a->spec.hard_weight != 0 ? loss_labels : NULL,
                         a->valid, a->spec.kl_weight != 0 ? &soft : NULL, a->spec, NULL);
}

/* A third leaf is added to the logits, and the teacher's have a bias, too. */
static kd_tensor *call_vocab_biased(kd_tape *tape, kd_tensor **leaf, const void *args) {
    loss_args a = *(const loss_args *)args;
    const int64_t N = kd_rows(leaf[0]), V = leaf[1]->shape[0];
    static kd_real output[LOSS_CLASSES * VOCAB_WIDTH], bias[LOSS_CLASSES];
    fill_leaf(output, V * VOCAB_WIDTH, &(op_leaf){.low = -1, .high = 1}, 98);
    fill_leaf(bias, V, &(op_leaf){.low = -1, .high = 1}, 97);
    const kd_soft_targets soft = {.hidden = make_teacher(N * VOCAB_WIDTH),
                                  .output = output,
                                  .bias = bias,
                                  .width = VOCAB_WIDTH};
    a.spec.bias = leaf[2];
    return kd_vocab_loss(tape, leaf[0], leaf[1], loss_labels, a.valid, &soft, a.spec, NULL);
}

/* By the definition: logits as a tensor of their own. */
static void check_biased(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    loss_args a = *(const loss_args *)args;
    const int64_t N = kd_rows(leaf[0]), V = leaf[1]->shape[0];
    static kd_real output[LOSS_CLASSES * VOCAB_WIDTH], bias[LOSS_CLASSES], v[5 * 7];
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 0), 0);
    fill_leaf(output, V * VOCAB_WIDTH, &(op_leaf){.low = -1, .high = 1}, 98);
    fill_leaf(bias, V, &(op_leaf){.low = -1, .high = 1}, 97);
    const kd_real *hidden = make_teacher(N * VOCAB_WIDTH);
    for (int64_t i = 0; i < N * V; i++) {
        v[i] = bias[i % V];
        for (int c = 0; c < VOCAB_WIDTH; c++)
            v[i] += hidden[i / V * VOCAB_WIDTH + c] * output[i % V * VOCAB_WIDTH + c];
    }
    kd_tensor *z = kd_linear(tape, leaf[0], leaf[1], leaf[2], KD_ACT_NONE);
    const kd_soft_targets soft = {.logits = v};
    const kd_tensor *loss = kd_distill_loss(tape, z, loss_labels, a.valid, &soft, a.spec, NULL);
    assert_true(fabs((double)(loss->value[0] - out->value[0])) <
                (sizeof(kd_real) == 4 ? 1e-5 : 1e-12));
    kd_tape_free(tape);
}

/* Both leaves feed an op before the loss too, so the loss is not the first to write gradients. */
static kd_tensor *call_vocab_behind(kd_tape *tape, kd_tensor **leaf, const void *args) {
    kd_tensor *loss = call_vocab_loss(tape, leaf, args);
    loss = kd_add(tape, loss, kd_mean(tape, leaf[0]), KD_ACT_NONE);
    return kd_add(tape, loss, kd_mean(tape, leaf[1]), KD_ACT_NONE);
}

static const op_variant vocab_loss_variants[] = {
    {.name = "biased",
     .call = call_vocab_biased,
     .args = &(loss_args){SPEC(0.7, 1.0, 2.0, 0.0)},
     .check = check_biased,
     .leaf = {LEAF(5, 4), LEAF(7, 4), LEAF(7)}},
    {.name = "biased, masked, reverse KL",
     .call = call_vocab_biased,
     .args = &(loss_args){DIVERGENCE(REVERSE_KL, 0.0, 2.0), .valid = loss_valid},
     .check = check_biased,
     .leaf = {LEAF(5, 4), LEAF(7, 4), LEAF(7)}},
    {.name = "biased, frozen but for the bias",
     .call = call_vocab_biased,
     .args = &(loss_args){SPEC(0.7, 1.0, 2.0, 0.0)},
     .leaf = {CONSTANT(5, 4), CONSTANT(7, 4), LEAF(7)}},
    {.name = "biased, many classes",
     .call = call_vocab_biased,
     .tolerance = 1e-5,
     .args = &(loss_args){SPEC(0.7, 1.0, 2.0, 0.0)},
     .leaf = {LEAF(LOSS_ROWS, 33), LEAF(LOSS_CLASSES, 33), LEAF(LOSS_CLASSES)}},
    VOCABULARY("reverse KL", REVERSE_KL, 0.0, 0),
    VOCABULARY("symmetric KL", SYMMETRIC_KL, 0.0, 0),
    VOCABULARY("Jensen-Shannon", JENSEN_SHANNON, 0.3, 0),
    VOCABULARY("skewed KL", SKEWED_KL, 0.1, 0),
    VOCABULARY("skewed reverse KL", SKEWED_REVERSE_KL, 0.2, 0),
    VOCABULARY("total variation", TOTAL_VARIATION, 0.0, 0),
    VOCABULARY("top 3, reverse KL", REVERSE_KL, 0.0, 3),
    VOCABULARY("top 3, Jensen-Shannon", JENSEN_SHANNON, 0.3, 3),
    VOCABULARY("top 3, total variation", TOTAL_VARIATION, 0.0, 3),
    {.name = "skewed KL, many classes",
     .call = call_vocab_loss,
     .tolerance = 1e-5,
     .args = &(loss_args){DIVERGENCE(SKEWED_KL, 0.1, 2.0)},
     .leaf = {LEAF(LOSS_ROWS, 33), LEAF(LOSS_CLASSES, 33)}},
    {.name = "hard",
     .call = call_vocab_loss,
     .args = &(loss_args){SPEC(1.0, 0.0, 1.0, 0.0)},
     .leaf = {LEAF(5, 4), LEAF(7, 4)}},
    {.name = "hard, smoothed, masked",
     .call = call_vocab_loss,
     .args = &(loss_args){SPEC(0.7, 0.0, 1.0, 0.1), .valid = loss_valid},
     .leaf = {LEAF(5, 4), LEAF(7, 4)}},
    {.name = "soft, sequences",
     .call = call_vocab_loss,
     .args = &(loss_args){SPEC(0.0, 1.0, 4.0, 0.0)},
     .leaf = {LEAF(2, 3, 5), LEAF(7, 5)}},
    {.name = "both, cold, masked",
     .call = call_vocab_loss,
     .args = &(loss_args){SPEC(0.8, 1.0, 0.5, 0.1), .valid = loss_valid},
     .leaf = {LEAF(5, 4), LEAF(7, 4)}},
    {.name = "frozen embedding",
     .call = call_vocab_loss,
     .args = &(loss_args){SPEC(0.8, 1.0, 2.0, 0.0)},
     .leaf = {LEAF(5, 4), CONSTANT(7, 4)}},
    {.name = "top 2 of 7",
     .call = call_vocab_loss,
     .args = &(loss_args){SPEC(0.5, 0.5, 2.0, 0.1), .topk = 2},
     .leaf = {LEAF(5, 4), LEAF(7, 4)}},
    {.name = "top 7 of 7, masked",
     .call = call_vocab_loss,
     .args = &(loss_args){SPEC(0.0, 1.0, 3.0, 0.0), .topk = 7, .valid = loss_valid},
     .leaf = {LEAF(5, 4), LEAF(7, 4)}},
    {.name = "not the first",
     .call = call_vocab_behind,
     .args = &(loss_args){SPEC(0.5, 0.5, 2.0, 0.0)},
     .leaf = {LEAF(3, 5), LEAF(7, 5)}},
    {.name = "many classes",
     .call = call_vocab_loss,
     .tolerance = 1e-5,
     .args = &(loss_args){SPEC(0.5, 0.5, 2.0, 0.1)},
     .leaf = {LEAF(LOSS_ROWS, 33), LEAF(LOSS_CLASSES, 33)}},
    {.name = "many classes, top 10",
     .call = call_vocab_loss,
     .tolerance = 1e-5,
     .args = &(loss_args){SPEC(0.5, 1.0, 2.0, 0.0), .topk = 10},
     .leaf = {LEAF(LOSS_ROWS, 33), LEAF(LOSS_CLASSES, 33)}},
};
OP_CASE(vocab_loss, vocab_loss_variants);

static kd_tensor *call_hint_mse(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_hint_mse(tape, leaf[0], make_teacher(leaf[0]->size), args, KD_REAL(0.7), 3);
}

static const op_variant hint_mse_variants[] = {
    {.name = "rows", .call = call_hint_mse, .leaf = {LEAF(3, 7)}},
    {.name = "images", .call = call_hint_mse, .leaf = {LEAF(2, 3, 5, 7)}},
    {.name = "masked", .call = call_hint_mse, .args = loss_valid, .leaf = {LEAF(5, 6)}},
    {.name = "large", .call = call_hint_mse, .tolerance = 1e-5, .leaf = {LEAF(33, LOSS_CLASSES)}},
};
OP_CASE(hint_mse, hint_mse_variants);

static kd_tensor *call_hint_cosine(kd_tape *tape, kd_tensor **leaf, const void *args) {
    return kd_hint_cosine(tape, leaf[0], make_teacher(leaf[0]->size), args, KD_REAL(0.7), 3);
}

static const op_variant hint_cosine_variants[] = {
    {.name = "rows", .call = call_hint_cosine, .leaf = {LEAF(3, 7)}},
    {.name = "time", .call = call_hint_cosine, .leaf = {LEAF(2, 3, 5)}},
    {.name = "masked", .call = call_hint_cosine, .args = loss_valid, .leaf = {LEAF(5, 6)}},
    {.name = "large",
     .call = call_hint_cosine,
     .tolerance = 1e-5,
     .leaf = {LEAF(33, LOSS_CLASSES)}},
};
OP_CASE(hint_cosine, hint_cosine_variants);

typedef struct {
    int heads, head_width; /* of the teacher */
    const int32_t *first;
    const uint8_t *valid;
} watching_args;

static kd_tensor *call_hint_attention(kd_tape *tape, kd_tensor **leaf, const void *args) {
    const watching_args *a = args;
    const int64_t rows = kd_rows(leaf[0]);
    const kd_real *taught = make_teacher(2 * rows * a->heads * a->head_width);
    const kd_attention_hint hint = {taught, taught + rows * a->heads * a->head_width, a->heads,
                                    a->head_width};
    return kd_hint_attention(tape, leaf[0], leaf[1], &hint, a->first, a->valid, KD_REAL(0.7), 3);
}

/* The same distributions by the definition, a row at a time. */
static double watched(const kd_real *q, const kd_real *k, int64_t D, int64_t from, int64_t t,
                      int64_t ld_q, int64_t ld_k, double *p) {
    double sum = 0;
    for (int64_t j = from; j <= t; j++) {
        double dot = 0;
        for (int64_t d = 0; d < D; d++) dot += (double)q[t * ld_q + d] * (double)k[j * ld_k + d];
        sum += p[j] = exp(dot / sqrt((double)D));
    }
    return sum;
}

static void check_hint_attention(kd_tensor *const *leaf, const kd_tensor *out, const void *args) {
    const watching_args *a = args;
    const int64_t B = leaf[0]->shape[0], T = leaf[0]->shape[1], H = a->heads, W = a->head_width;
    const int64_t C = kd_channels(leaf[0]), D = C / H, CG = kd_channels(leaf[1]), G = CG / D;
    const kd_real *taught = make_teacher(2 * B * T * H * W);
    double p[256], r[256], total = 0;
    for (int64_t i = 0; i < B * H * T; i++) {
        const int64_t b = i / (H * T), h = i / T % H, t = i % T, g = h * G / H;
        const int64_t from = a->first ? a->first[b * T + t] : 0;
        if (a->valid && !a->valid[b * T + t]) continue;
        const double own = watched(leaf[0]->value + b * T * C + h * D,
                                   leaf[1]->value + b * T * CG + g * D, D, from, t, C, CG, p);
        const double its =
            watched(taught + b * T * H * W + h * W, taught + B * T * H * W + b * T * G * W + g * W,
                    W, from, t, H * W, G * W, r);
        for (int64_t j = from; j <= t; j++) total += r[j] / its * log((r[j] / its) / (p[j] / own));
    }
    const double expected = 0.7 * total / ((double)H * 3);
    assert_true(fabs((double)out->value[0] - expected) < 1e-5 * (1 + fabs(expected)));
}

static const int32_t watched_first[10] = {0, 0, 0, 3, 3, 0, 1, 1, 1, 4};
static const uint8_t watched_valid[10] = {0, 1, 1, 0, 1, 0, 0, 1, 1, 1};

static const op_variant hint_attention_variants[] = {
    {.name = "heads",
     .call = call_hint_attention,
     .check = check_hint_attention,
     .args = &(watching_args){2, 3, NULL, NULL},
     .leaf = {LEAF(2, 5, 6), LEAF(2, 5, 6)}},
    {.name = "shared keys, documents, masked, a wider teacher",
     .call = call_hint_attention,
     .check = check_hint_attention,
     .args = &(watching_args){4, 5, watched_first, watched_valid},
     .leaf = {LEAF(2, 5, 12), LEAF(2, 5, 6)}},
    {.name = "several tiles",
     .call = call_hint_attention,
     .check = check_hint_attention,
     .tolerance = 1e-5,
     .args = &(watching_args){2, 2, NULL, NULL},
     .leaf = {LEAF(1, 131, 4), LEAF(1, 131, 2)}},
    {.name = "constant keys",
     .call = call_hint_attention,
     .check = check_hint_attention,
     .args = &(watching_args){2, 3, NULL, NULL},
     .leaf = {LEAF(1, 5, 6), CONSTANT(1, 5, 6)}},
};
OP_CASE(hint_attention, hint_attention_variants);
