/* The export gate: the blob's integers give the fake-quant model's logits, bit for bit. And what a
 * damaged or hostile blob meets. */
#include "quant_nets.h"

#include <omp.h>

#include "base/file.h"
#include "quant/node.h"

static const kd_quant_spec INT8 = {.weight_bits = 8,
                                   .activation_bits = 8,
                                   .observer = KD_OBSERVER_MINMAX,
                                   .percentile = 99.9,
                                   .ema = 0.9};

/* --- the gate --------------------------------------------------------------------------------- */

/* Logits of `n` samples by the fake-quant forward. */
static float *reference(quant_case *c, int64_t n, const float *x) {
    kd_tape_reset(c->tape);
    c->tape->recording = c->tape->training = false;
    kd_tensor *z = kd_qnet_forward(c->qnet, c->tape, case_input(c, n, x), KD_QUANT_EVAL, NULL);
    float *logits = malloc((size_t)z->size * sizeof *logits);
    for (int64_t i = 0; i < z->size; i++) logits[i] = (float)z->value[i];
    return logits;
}

static void assert_same_logits(const char *what, const float *a, const float *b, int64_t n) {
    double spread = 0;
    for (int64_t i = 0; i < n; i++) {
        if (fabs((double)a[i] - (double)a[0]) > spread) spread = fabs((double)a[i] - (double)a[0]);
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s, logit %lld: blob %.9g, fake-quant %.9g", what, (long long)i, (double)a[i],
                     (double)b[i]);
    }
    assert_true(spread > 0); /* not all the same: the test sees something */
}

#ifdef __aarch64__
static const char *const KERNELS[] = {"portable", "dotprod", "i8mm"};
#else
static const char *const KERNELS[] = {"portable", "avx2", "vnni"};
#endif

/* Writes the case, opens it with every kernel and compares `n` samples. */
static void check_gate(const char *what, quant_case *c, int64_t n, double low, double high) {
    const int64_t size = case_sample_size(c);
    float *x = malloc((size_t)(n * size) * sizeof *x);
    float *logits = malloc((size_t)(n * 10) * sizeof *logits);
    fill_uniform(x, n * size, 5, low, high);
    float *expected = reference(c, n, x);
    case_write(c, temporary_path());
    for (int k = 0; k < 3; k++) {
        kd_blob *blob;
        setenv("DISTILL_ISA", KERNELS[k], 1);
        ASSERT_OK(kd_blob_open(&blob, temporary_path()));
        for (int threads = 1; threads <= 3; threads += 2) {
            omp_set_num_threads(threads);
            memset(logits, 0x55, (size_t)(n * 10) * sizeof *logits);
            ASSERT_OK(kd_blob_run(blob, n, x, logits));
            assert_same_logits(what, logits, expected, n * 10);
        }
        ASSERT_OK(kd_blob_run(blob, 1, x + (n - 1) * size, logits)); /* a sample alone */
        assert_memory_equal(logits, expected + (n - 1) * 10, 10 * sizeof *logits);
        kd_blob_free(blob);
    }
    unsetenv("DISTILL_ISA");
    remove(temporary_path());
    free(x);
    free(logits);
    free(expected);
}

typedef struct {
    const char *name;
    net_builder build;
    kd_extent input;
} gate_net;

static const gate_net NETS[] = {
    {"cnn", build_cnn, {12, 10, 3}},       {"resnet", build_resnet, {9, 9, 3}},
    {"grouped", build_grouped, {8, 7, 5}}, {"smooth", build_smooth, {7, 6, 4}},
    {"oblong", build_oblong, {9, 12, 3}},
};

static void gate_with(kd_quant_spec spec, int64_t n) {
    for (size_t i = 0; i < sizeof NETS / sizeof *NETS; i++) {
        quant_case c = case_create(NETS[i].build, NETS[i].input, &spec);
        case_calibrate(&c);
        check_gate(NETS[i].name, &c, n, -2, 2); /* wider than calibrated: clipping happens */
        case_free(&c);
    }
}

/* A kind says why it is not quantized, or how; then one of the networks above puts it to the test.
 */
static void test_every_kind_passes_the_gate(void **state) {
    (void)state;
    bool seen[KD_NODE_KIND_COUNT] = {0};
    for (size_t i = 0; i < sizeof NETS / sizeof *NETS; i++) {
        quant_case c = case_create(NETS[i].build, NETS[i].input, &INT8);
        for (int k = 0; k < c.net->count; k++) seen[c.net->node[k].spec.kind] = true;
        case_free(&c);
    }
    for (int k = 0; k < KD_NODE_KIND_COUNT; k++) {
        const kd_node_class *class = kd_node_class_of((kd_node_kind)k);
        const kd_qnode_class *q = kd_qnode_class_of((kd_node_kind)k);
        const char *name = kd_node_kind_name((kd_node_kind)k);
        assert_true(strlen(name) > 0 && class->forward);
        assert_int_equal(class->inputs == 0, k == KD_NODE_INPUT);
        for (int j = 0; j < k; j++)
            assert_string_not_equal(name, kd_node_kind_name((kd_node_kind)j));
        const bool in_blobs = !q->refused && !class->training_only;
        if (in_blobs != (q->run != NULL)) fail_msg("%s is neither run nor refused", name);
        if (seen[k] == (q->refused != NULL)) fail_msg("no network of the gate has %s", name);
        if (q->is_layer) assert_true(q->check && q->prepare);
    }
}

static void test_gate(void **state) {
    (void)state;
    gate_with(INT8, 200);
}

static void test_gate_few_bits(void **state) {
    (void)state;
    static const int bits[][2] = {{4, 8}, {8, 4}, {4, 4}, {3, 6}, {2, 2}, {5, 7}};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        kd_quant_spec spec = INT8;
        spec.weight_bits = bits[i][0];
        spec.activation_bits = bits[i][1];
        gate_with(spec, 12);
        spec.symmetric_activations = true;
        gate_with(spec, 12);
    }
}

static void test_gate_observers(void **state) {
    (void)state;
    static const kd_observer_kind kinds[] = {KD_OBSERVER_EMA, KD_OBSERVER_PERCENTILE,
                                             KD_OBSERVER_MSE};
    for (int i = 0; i < 3; i++) {
        kd_quant_spec spec = INT8;
        spec.observer = kinds[i];
        spec.method = i == 1 ? KD_QUANT_LSQ : KD_QUANT_STE;
        spec.symmetric_activations = i == 2;
        gate_with(spec, 12);
    }
}

/* Weights and inputs at their extremes: accumulators pass 2^24, where float32 sums are no longer
 * exact and the fake-quant forward must take its products in digits. */
static void test_gate_large_sums(void **state) {
    (void)state;
    quant_case c = case_create(build_wide, (kd_extent){20, 20, 4}, &INT8);
    kd_param *w = kd_params_find(c.params, "fc1.weight"),
             *v = kd_params_find(c.params, "fc2.weight");
    for (int64_t i = 0; i < w->tensor.size; i++) w->tensor.value[i] = (kd_real)(i % 97 ? 0.9 : 1.0);
    for (int64_t i = 0; i < v->tensor.size; i++)
        v->tensor.value[i] = (kd_real)(i % 89 ? 0.8 + 0.001 * (double)(i % 7) : 1.0);
    case_calibrate(&c);
    check_gate("large sums", &c, 40, 1.0, 2.0);
    case_free(&c);
}

static void build_flat(kd_net *net) {
    kd_net_linear(net, "fc", 0, 10, KD_ACT_NONE);
}

/* 40,000 weights that are all the largest: on the scale of the largest their sums would pass 2^31.
 */
static void test_gate_sums_that_would_overflow(void **state) {
    (void)state;
    quant_case c = case_create(build_flat, (kd_extent){200, 200, 1}, &INT8);
    kd_tensor *weight = &c.net->node[1].weight->tensor;
    for (int64_t i = 0; i < weight->size; i++) weight->value[i] = i < weight->size / 2 ? -1 : 1;
    kd_params_touch(c.params);
    case_calibrate(&c);
    check_gate("equal weights", &c, 3, 0, 4);
    case_free(&c);
    kd_params *params;
    kd_net *net;
    kd_qnet *qnet;
    ASSERT_OK(kd_params_create(&params));
    ASSERT_OK(kd_net_create(&net, params, (kd_extent){300, 300, 1}));
    build_flat(net);
    assert_int_equal(kd_qnet_create(&qnet, net, &INT8), KD_ECONFIG);
    assert_non_null(strstr(kd_error(), "can pass 2^31"));
    kd_net_free(net);
    kd_params_free(params);
}

/* A channel whose weights vanish beside its bias keeps a bias that fits. */
static void test_gate_dead_channel(void **state) {
    (void)state;
    quant_case c = case_create(build_cnn, (kd_extent){12, 10, 3}, &INT8);
    kd_param *w = kd_params_find(c.params, "conv1.weight");
    const int64_t n = w->tensor.size / 8;
    for (int64_t i = 0; i < n; i++) {
        w->tensor.value[i] = (kd_real)1e-12;
        w->tensor.value[n + i] = 0;
    }
    kd_params_find(c.params, "conv1.bias")->tensor.value[0] = (kd_real)0.7;
    kd_params_find(c.params, "conv1.bias")->tensor.value[1] = (kd_real)0.6;
    case_calibrate(&c);
    check_gate("dead channel", &c, 50, -2, 2);
    case_free(&c);
}

/* Training moves the ranges and the parameters; the gate holds after it too. */
static void test_gate_after_training(void **state) {
    (void)state;
    for (int method = 0; method < 4; method++) {
        kd_quant_spec spec = INT8;
        spec.observer = KD_OBSERVER_EMA;
        spec.method = method % 2 ? KD_QUANT_LSQ : KD_QUANT_STE;
        quant_case c =
            case_create(method < 2 ? build_resnet : build_smooth, (kd_extent){9, 9, 3}, &spec);
        case_calibrate(&c);
        float x[16 * 243];
        c.tape->recording = c.tape->training = true;
        for (int step = 0; step < 5; step++) {
            fill_uniform(x, 16 * 243, 50 + (uint64_t)step, -2, 2);
            kd_tape_reset(c.tape);
            kd_params_begin_step(c.params);
            kd_tensor *z =
                kd_qnet_forward(c.qnet, c.tape, case_input(&c, 16, x), KD_QUANT_TRAIN, NULL);
            kd_tape_backward(c.tape, kd_mean(c.tape, kd_mul(c.tape, z, z)));
            kd_params_finish_grads(c.params);
            for (int64_t i = 0; i < c.params->trained_size; i++)
                c.params->value[i] -= KD_REAL(0.01) * c.params->grad[i];
            kd_params_touch(c.params);
        }
        check_gate("after training", &c, 60, -2, 2);
        case_free(&c);
    }
}

/* --- the file --------------------------------------------------------------------------------- */

static char *blob_bytes(size_t *length) {
    quant_case c = case_create(build_grouped, (kd_extent){4, 4, 2}, &INT8);
    case_calibrate(&c);
    case_write(&c, temporary_path());
    case_free(&c);
    char *bytes;
    ASSERT_OK(kd_file_read(&bytes, length, temporary_path(), 1 << 20));
    remove(temporary_path());
    return bytes;
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    size_t length;
    char *bytes = blob_bytes(&length);
    kd_blob *blob = NULL;
    for (size_t n = 0; n < length; n++) {
        char *exact = malloc(n + 1); /* so that sanitizers see a read beyond */
        memcpy(exact, bytes, n);
        exact = realloc(exact, n ? n : 1);
        assert_int_equal(kd_blob_parse(&blob, exact, n, "cut"), KD_EDATA);
        assert_true(strlen(kd_error()) > 0);
        free(exact);
    }
    ASSERT_OK(kd_blob_parse(&blob, bytes, length, "whole"));
    kd_blob_free(blob);
    free(bytes);
}

static void test_every_flipped_bit_is_noticed(void **state) {
    (void)state;
    size_t length;
    char *bytes = blob_bytes(&length);
    kd_blob *blob = NULL;
    for (size_t bit = 0; bit < 8 * length; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        if (kd_blob_parse(&blob, bytes, length, "flipped") != KD_EDATA)
            fail_msg("bit %zu of byte %zu", bit % 8, bit / 8);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    }
    free(bytes);
}

/* The checksum made right again after a change, as an attacker would. */
static int parse_sealed(char *bytes, size_t length) {
    kd_gguf *file;
    kd_blob *blob;
    int status = kd_gguf_parse(&file, bytes, length, "sealed");
    if (status < 0) return status;
    const unsigned char *place = kd_gguf_checksum_place(file);
    const uint64_t sum = kd_gguf_checksum(file);
    if (place) memcpy(bytes + (place - (unsigned char *)bytes), &sum, sizeof sum);
    kd_gguf_free(file);
    status = kd_blob_parse(&blob, bytes, length, "sealed");
    if (status == KD_OK) {
        float x[32] = {0}, logits[16];
        if (kd_blob_input(blob).h * kd_blob_input(blob).w * kd_blob_input(blob).c <= 32)
            ASSERT_OK(kd_blob_run(blob, 1, x, logits));
        kd_blob_free(blob);
    }
    return status;
}

/* `from` occurs once in the file's graph and is replaced by as many bytes. */
static void refuse_changed(const char *from, const char *to) {
    size_t length;
    char *bytes = blob_bytes(&length);
    assert_int_equal(strlen(from), strlen(to));
    char *place = memmem(bytes, length, from, strlen(from));
    if (!place) fail_msg("no \"%s\" in the blob", from);
    memcpy(place, to, strlen(to));
    if (parse_sealed(bytes, length) != KD_EDATA) fail_msg("%s instead of %s passed", to, from);
    free(bytes);
}

static void test_contradictions_are_refused(void **state) {
    (void)state;
    refuse_changed("\"groups\": 12", "\"groups\": 13");
    refuse_changed("\"groups\": 12", "\"groups\":  6");
    refuse_changed("\"in\": [3]", "\"in\": [4]");
    refuse_changed("\"in\": [3]", "\"in\": [1]");
    refuse_changed("\"in\": [0]", "\"in\":[-1]");
    refuse_changed("\"out\": [4, 4, 12]", "\"out\": [4, 5, 12]");
    refuse_changed("\"out\": [4, 4, 2]", "\"out\": [4, 4, 3]");
    refuse_changed("\"stride\": [3, 3]", "\"stride\": [0, 3]");
    refuse_changed("\"kernel\": [3, 3]", "\"kernel\": [3, 4]");
    refuse_changed("\"padding\": [2, 2]", "\"padding\": [2, 9]");
    refuse_changed("\"kind\": \"input\"", "\"kind\": \"inpux\"");
    refuse_changed("\"qmax\": 255", "\"qmax\": 256");
    refuse_changed("\"zero\": ", "\"zeri\": ");
    refuse_changed("\"weight_bits\": 8", "\"weight_bits\": 7");
    refuse_changed("\"weight_bits\": 8", "\"weight_bits\": 9");
    refuse_changed("\"weight_bits\": 8", "\"weight_bits\": 4");
    refuse_changed("grouped.multiplier", "grouped.multiplied");
    refuse_changed("distill.classes", "distill.classed");
    refuse_changed("distill.graph", "distill.grapf");
}

/* Random damage behind a right checksum: any status, but no crash. */
static void test_random_damage(void **state) {
    (void)state;
    size_t length;
    char *bytes = blob_bytes(&length);
    char *copy = malloc(length);
    kd_rng rng = kd_rng_init(1, 2);
    int refused = 0;
    for (int i = 0; i < 3000; i++) {
        memcpy(copy, bytes, length);
        for (int change = 0; change < 1 + i % 3; change++)
            copy[kd_rng_below(&rng, length)] = (char)kd_rng_u32(&rng);
        refused += parse_sealed(copy, length) < 0;
    }
    assert_true(refused > 100);
    free(copy);
    free(bytes);
}

static void test_says_what_it_is(void **state) {
    (void)state;
    size_t length;
    char *bytes = blob_bytes(&length);
    kd_blob *blob;
    ASSERT_OK(kd_blob_parse(&blob, bytes, length, "blob"));
    assert_int_equal(kd_blob_classes(blob), 10);
    assert_string_equal(kd_blob_class_name(blob, 3), "class 3");
    assert_int_equal(kd_blob_input(blob).c, 2);
    assert_int_equal(kd_blob_data(blob)->kind, KD_DATA_IDX);
    assert_true(kd_blob_normaliser(blob)->unit == 1.0f / 255.0f);
    assert_int_equal(kd_blob_parameters(blob),
                     12 * (2 + 1) + 12 * (9 + 1) + 20 * (27 + 1) + 10 * (20 + 1));
    kd_blob_free(blob);
    free(bytes);
}

/* How sound is prepared travels with the file, and what cannot be is refused. */
static void test_sound(void **state) {
    (void)state;
    quant_case c = case_create(build_cnn, (kd_extent){12, 10, 1}, &INT8);
    case_calibrate(&c);
    static char names[10][KD_CLASS_NAME_MAX];
    kd_dataset dataset = {
        .h = 12, .w = 10, .c = 1, .classes = 10, .class_name = names, .normaliser = {.unit = 1}};
    kd_data_spec data = {.kind = KD_DATA_AUDIO,
                         .audio = {.sample_rate = 8000,
                                   .window = 256,
                                   .hop = 128,
                                   .mels = 10,
                                   .seconds = 0.2,
                                   .trim = 35,
                                   .range = 50,
                                   .normalise = KD_CLIP_BANDS}};
    kd_blob_info info = {.name = "x", .dataset = &dataset, .data = &data};
    ASSERT_OK(kd_blob_write(temporary_path(), c.qnet, &info));
    kd_blob *blob;
    ASSERT_OK(kd_blob_open(&blob, temporary_path()));
    const kd_audio_spec *a = &kd_blob_data(blob)->audio;
    assert_int_equal(kd_blob_data(blob)->kind, KD_DATA_AUDIO);
    assert_true(a->sample_rate == 8000 && a->window == 256 && a->hop == 128 && a->mels == 10);
    assert_true(a->seconds == 0.2 && a->trim == 35 && a->range == 50);
    assert_int_equal(a->normalise, KD_CLIP_BANDS);
    kd_blob_free(blob);
    const double wrong[][3] = {{0, 35, 50}, {0.2, -1, 50}, {0.2, 35, 0}, {0.2, NAN, 50}};
    for (int i = 0; i < 4; i++) {
        data.audio.seconds = wrong[i][0];
        data.audio.trim = wrong[i][1];
        data.audio.range = wrong[i][2];
        ASSERT_OK(kd_blob_write(temporary_path(), c.qnet, &info));
        assert_int_equal(kd_blob_open(&blob, temporary_path()), KD_EDATA);
        assert_non_null(strstr(kd_error(), "distill.audio."));
    }
    remove(temporary_path());
    case_free(&c);
}

/* CIFAR-10's records are written into a sample's buffer. */
static void test_input_of_another_size_is_refused(void **state) {
    (void)state;
    quant_case c = case_create(build_cnn, (kd_extent){12, 10, 3}, &INT8);
    case_calibrate(&c);
    static char names[10][KD_CLASS_NAME_MAX];
    kd_dataset dataset = {.h = 12, .w = 10, .c = 3, .classes = 10, .class_name = names};
    dataset.normaliser.unit = 1;
    kd_data_spec data = {.kind = KD_DATA_CIFAR10};
    kd_blob_info info = {.name = "x", .dataset = &dataset, .data = &data};
    kd_blob *blob;
    ASSERT_OK(kd_blob_write(temporary_path(), c.qnet, &info));
    assert_int_equal(kd_blob_open(&blob, temporary_path()), KD_EDATA);
    assert_non_null(strstr(kd_error(), "takes samples of 12x10x3"));
    remove(temporary_path());
    case_free(&c);
}

static void test_unobserved_is_refused(void **state) {
    (void)state;
    quant_case c = case_create(build_cnn, (kd_extent){12, 10, 3}, &INT8);
    assert_int_equal(kd_qnet_calibrated(c.qnet), KD_EDATA);
    kd_dataset dataset = {.classes = 10, .class_name = calloc(10, KD_CLASS_NAME_MAX)};
    kd_data_spec data = {.kind = KD_DATA_IDX};
    kd_blob_info info = {.name = "x", .teacher = NULL, .dataset = &dataset, .data = &data};
    assert_int_equal(kd_blob_write(temporary_path(), c.qnet, &info), KD_EDATA);
    assert_non_null(strstr(kd_error(), "observed"));
    assert_false(kd_file_exists(temporary_path()));
    free(dataset.class_name);
    case_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_every_kind_passes_the_gate),
        cmocka_unit_test(test_gate_few_bits),
        cmocka_unit_test(test_gate_observers),
        cmocka_unit_test(test_gate_large_sums),
        cmocka_unit_test(test_gate_sums_that_would_overflow),
        cmocka_unit_test(test_gate_dead_channel),
        cmocka_unit_test(test_gate_after_training),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_contradictions_are_refused),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_says_what_it_is),
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_input_of_another_size_is_refused),
        cmocka_unit_test(test_unobserved_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
