/* ONNX files: their bytes by a reader of the test's own, the way there and back, what damaged and
 * foreign files meet. tests/check_onnx.py has ONNX's own checker and ONNX Runtime look at them. */
#include "onnx_nets.h"

#include "base/protobuf.h"
#include "files/onnx_import.h"

static const char *onnx_path(void) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/distill_onnx_%d.onnx", (int)getpid());
    return path;
}

/* --- a reader of its own: fields of messages, nothing else ---------------------------------------
 */

typedef struct {
    const unsigned char *at;
    size_t length;
} bytes;

static uint64_t varint(const unsigned char **at) {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        value |= (uint64_t)(**at & 127) << shift;
        if (*(*at)++ < 128) return value;
    }
}

/* The `skip`-th field `number` of a message: its bytes, or its number as {NULL, number}. */
static bool field(bytes *out, bytes message, uint64_t number, int skip) {
    const unsigned char *at = message.at, *end = at + message.length;
    while (at < end) {
        const uint64_t key = varint(&at);
        bytes found = {NULL, 0};
        if ((key & 7) == 0) found.length = (size_t)varint(&at);
        if ((key & 7) == 5) found = (bytes){at, 4};
        if ((key & 7) == 2) {
            found.length = (size_t)varint(&at);
            found.at = at;
        }
        if (found.at) at += found.length;
        if (key >> 3 == number && skip-- == 0) {
            *out = found;
            return true;
        }
    }
    return false;
}

static bytes must(bytes message, uint64_t number, int skip) {
    bytes out;
    if (!field(&out, message, number, skip)) fail_msg("no field %d", (int)number);
    return out;
}

static bool says(bytes text, const char *word) {
    return text.length == strlen(word) && memcmp(text.at, word, text.length) == 0;
}

/* The tensor `name` of a graph; its raw bytes. */
static bytes tensor_of(bytes graph, const char *name, uint64_t type, size_t length) {
    bytes t, raw;
    for (int i = 0; field(&t, graph, 5, i); i++)
        if (says(must(t, 8, 0), name)) {
            assert_int_equal(must(t, 2, 0).length, type);
            raw = must(t, 9, 0);
            assert_int_equal(raw.length, length);
            return raw;
        }
    fail_msg("no tensor %s", name);
    return (bytes){NULL, 0};
}

static const char *fact_of(bytes model, const char *key) {
    static char value[512];
    bytes fact;
    for (int i = 0; field(&fact, model, 14, i); i++)
        if (says(must(fact, 1, 0), key)) {
            const bytes v = must(fact, 2, 0);
            snprintf(value, sizeof value, "%.*s", (int)v.length, (const char *)v.at);
            return value;
        }
    return NULL;
}

static bytes read_file(const char *path) {
    char *all = NULL;
    size_t length = 0;
    ASSERT_OK(kd_file_read(&all, &length, path, 1 << 30));
    return (bytes){(unsigned char *)all, length};
}

static void build_small(kd_net *net) {
    int x = conv(net, "c", 0, 3, 2, 1, 0, 1, false, KD_ACT_RELU);
    kd_net_linear(net, "fc", x, 10, KD_ACT_NONE);
}

static float float_at(bytes raw, int64_t i) {
    float value;
    memcpy(&value, raw.at + 4 * i, sizeof value);
    return value;
}

static void test_small_file(void **state) {
    (void)state;
    static const char *const kinds[] = {"Conv", "Relu", "Flatten", "Gemm", "Flatten"};
    quant_case c = case_create(build_small, (kd_extent){3, 4, 2}, &ONNX_INT8);
    write_onnx(&c, onnx_path(), NULL);
    const bytes model = read_file(onnx_path());
    const bytes graph = must(model, 7, 0);
    bytes node;
    assert_int_equal(must(model, 1, 0).length, 7);              /* IR version */
    assert_int_equal(must(must(model, 8, 0), 2, 0).length, 13); /* opset      */
    for (int i = 0; i < 5; i++) assert_true(says(must(must(graph, 1, i), 4, 0), kinds[i]));
    assert_false(field(&node, graph, 1, 5));
    assert_true(says(must(must(graph, 11, 0), 1, 0), "input"));
    assert_true(says(must(must(graph, 12, 0), 1, 0), "logits"));
    /* (O,KH,KW,C) → (O,C,KH,KW), and (O,H,W,C) → (O,C,H,W) */
    const bytes w = tensor_of(graph, "c.weight", 1, 3 * 2 * 2 * 2 * 4);
    const kd_real *ours = c.net->node[1].weight->tensor.value;
    for (int o = 0; o < 3; o++)
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < 2; i++)
                assert_true(float_at(w, (o * 2 + i) * 4 + k) == (float)ours[(o * 4 + k) * 2 + i]);
    const bytes fc = tensor_of(graph, "fc.weight", 1, 10 * 18 * 4);
    ours = c.net->node[2].weight->tensor.value;
    for (int o = 0; o < 10; o++)
        for (int k = 0; k < 6; k++)
            for (int i = 0; i < 3; i++)
                assert_true(float_at(fc, (o * 3 + i) * 6 + k) == (float)ours[(o * 6 + k) * 3 + i]);
    assert_true(strncmp(fact_of(model, "distill.classes"), "[\"class \\\"0\\\"\", ", 16) == 0);
    assert_string_equal(fact_of(model, "distill.normaliser.mean"), "[0.25, 0.5]");
    assert_string_equal(fact_of(model, "distill.normaliser.unit"), "0.5");
    assert_string_equal(fact_of(model, "distill.data.kind"), "idx");
    free((void *)(uintptr_t)model.at);
    remove(onnx_path());
    case_free(&c);
}

/* int4, two to a byte, and scales: what they stand for is what q4_0 stands for. */
static void test_blocks(void **state) {
    (void)state;
    quant_case c = case_create(build_blocks, (kd_extent){6, 8, 3}, &ONNX_INT8);
    kd_encoding *how = encode_matrices(c.params, &kd_format_q4_0);
    write_onnx(&c, onnx_path(), how);
    const bytes model = read_file(onnx_path()), graph = must(model, 7, 0);
    const kd_param *p = kd_params_find(c.params, "conv2.weight");
    const int64_t n = p->tensor.size;
    const bytes steps = tensor_of(graph, "conv2.steps", 22, (size_t)n / 2);
    const bytes scale = tensor_of(graph, "conv2.scale", 1, (size_t)n / 32 * 4);
    unsigned char *encoded = malloc((size_t)n);
    float *values = malloc((size_t)n * sizeof *values);
    for (int64_t i = 0; i < n; i++) values[i] = (float)p->tensor.value[i];
    kd_format_q4_0.encode(encoded, values, NULL, n);
    kd_format_q4_0.decode(values, encoded, n);
    for (int64_t i = 0; i < n; i++) {
        const int nibble = steps.at[i / 2] >> (i % 2 * 4) & 15,
                  step = nibble < 8 ? nibble : nibble - 16;
        assert_true((float)step * float_at(scale, i / 32) == values[i]);
    }
    assert_int_equal(must(must(model, 8, 0), 2, 0).length, 21);
    free(values);
    free(encoded);
    free((void *)(uintptr_t)model.at);
    free(how);
    remove(onnx_path());
    case_free(&c);
}

/* --- there and back ------------------------------------------------------------------------------
 */

typedef struct {
    kd_onnx_tables *tables;
    kd_onnx_import *import;
    kd_params *params;
    kd_net *net;
    const unsigned char *file; /* what the tables point into, when it is the struct's own */
} imported;

static void imported_free(imported *m) {
    kd_onnx_import_free(m->import);
    kd_net_free(m->net);
    kd_params_free(m->params);
    kd_onnx_tables_free(m->tables);
    free((void *)(uintptr_t)m->file);
}

static int import_bytes(imported *m, const void *at, size_t length) {
    *m = (imported){0};
    ASSERT_OK(kd_params_create(&m->params));
    int status = kd_onnx_parse(&m->tables, at, length, "file");
    if (status == KD_OK) status = kd_onnx_import_net(&m->import, &m->net, m->params, m->tables);
    if (status == KD_OK) status = kd_params_layout(m->params, 1);
    return status == KD_OK ? kd_onnx_import_weights(m->import) : status;
}

enum { SAMPLES = 9 };

static void assert_same_logits(quant_case *c, const imported *m, double bound) {
    const int64_t size = case_sample_size(c);
    float *x = malloc((size_t)(SAMPLES * size) * sizeof *x);
    fill_uniform(x, SAMPLES * size, 5, -1.2, 1.5);
    float *expected = float_logits(c, SAMPLES, x);
    quant_case other = {.net = m->net, .tape = c->tape};
    float *found = float_logits(&other, SAMPLES, x);
    for (int i = 0; i < SAMPLES * 10; i++)
        if (!(fabs((double)found[i] - (double)expected[i]) <= bound))
            fail_msg("logit %d: %.9g, not %.9g", i, (double)found[i], (double)expected[i]);
    assert_true(expected[0] != expected[1]);
    free(found);
    free(expected);
    free(x);
}

static void test_there_and_back(void **state) {
    (void)state;
    for (int i = 0; i < ONNX_NETS_COUNT; i++) {
        quant_case c = case_create(ONNX_NETS[i].build, ONNX_NETS[i].input, &ONNX_INT8);
        imported m = {0};
        char difference[160] = "";
        write_onnx(&c, onnx_path(), NULL);
        ASSERT_OK(kd_params_create(&m.params));
        ASSERT_OK(kd_onnx_open(&m.tables, onnx_path()));
        ASSERT_OK(kd_onnx_import_net(&m.import, &m.net, m.params, m.tables));
        ASSERT_OK(kd_params_layout(m.params, 1));
        ASSERT_OK(kd_onnx_import_weights(m.import));
        if (!kd_net_same(c.net, m.net, difference, sizeof difference))
            fail_msg("%s: %s", ONNX_NETS[i].name, difference);
        assert_same_logits(&c, &m,
                           sizeof(kd_real) > sizeof(float) ? 1e-5 : 0); /* the file has floats */
        imported_free(&m);
        case_free(&c);
    }
    remove(onnx_path());
}

/* A graph written operator by operator. */
static kd_onnx *foreign_graph(void) {
    kd_onnx *onnx;
    ASSERT_OK(kd_onnx_create(&onnx, (kd_extent){4, 4, 2}));
    return onnx;
}

/* What a file of ours says of itself comes back; another program's says nothing. */
static void test_facts(void **state) {
    (void)state;
    quant_case c = case_create(build_small, (kd_extent){3, 4, 2}, &ONNX_INT8);
    kd_onnx_tables *tables;
    kd_onnx_stated stated;
    write_onnx(&c, onnx_path(), NULL);
    ASSERT_OK(kd_onnx_open(&tables, onnx_path()));
    ASSERT_OK(kd_onnx_read_info(&stated, tables));
    assert_int_equal(stated.classes, 10);
    assert_string_equal(stated.class_name[9], "class \"9\"");
    assert_true(stated.normalises && stated.normaliser.unit == 0.5f);
    assert_int_equal(stated.normaliser.channels, 2);
    assert_true(stated.normaliser.mean[0] == 0.25f && stated.normaliser.mean[1] == 0.5f);
    assert_true(stated.normaliser.deviation[0] == 2 && stated.normaliser.deviation[1] == 4);
    kd_onnx_tables_free(tables);
    kd_onnx *onnx = foreign_graph();
    kd_onnx_describe(onnx, "distill.normaliser.unit", "-1");
    ASSERT_OK(kd_onnx_finish(onnx, onnx_path(), "input", false, (kd_extent){4, 4, 2}));
    kd_onnx_free(onnx);
    ASSERT_OK(kd_onnx_open(&tables, onnx_path()));
    assert_int_equal(kd_onnx_read_info(&stated, tables), KD_EDATA);
    assert_non_null(strstr(kd_error(), "distill.normaliser.unit must be a number above 0"));
    kd_onnx_tables_free(tables);
    remove(onnx_path());
    case_free(&c);
}

/* --- other programs' files
 * ------------------------------------------------------------------------
 */

static void add_tensor(kd_onnx *onnx, const char *name, int rank, const int64_t *shape,
                       uint64_t stream, double low) {
    int64_t size = 1;
    for (int i = 0; i < rank; i++) size *= shape[i];
    float *values = malloc((size_t)size * sizeof *values);
    fill_uniform(values, size, stream, low, 1);
    kd_onnx_constant(onnx, name, KD_ONNX_FLOAT, rank, shape, values);
    free(values);
}

static int finish_and_import(kd_onnx *onnx, const char *value, imported *m) {
    ASSERT_OK(kd_onnx_finish(onnx, onnx_path(), value, true, (kd_extent){1, 1, 10}));
    kd_onnx_free(onnx);
    const bytes file = read_file(onnx_path());
    const int status = import_bytes(m, file.at, file.length);
    remove(onnx_path());
    m->file = file.at;
    return status;
}

/* A bias before the norm, an epsilon of its own, MatMul and Add: the same as by hand. */
static void test_foreign_forms(void **state) {
    (void)state;
    imported m;
    kd_onnx *onnx = foreign_graph();
    const int64_t window[4] = {3, 2, 4, 4}, three = 3, ten = 10, matrix[2] = {3, 10};
    add_tensor(onnx, "w", 4, window, 1, -1);
    add_tensor(onnx, "b", 1, &three, 2, -1);
    add_tensor(onnx, "stored", 1, &three, 3, 0.5);
    kd_onnx_add(onnx, "Identity", "gamma", 1, (const char *[]){"stored"}, 0, NULL);
    add_tensor(onnx, "beta", 1, &three, 4, -1);
    add_tensor(onnx, "mean", 1, &three, 5, -1);
    add_tensor(onnx, "var", 1, &three, 6, 0.5);
    add_tensor(onnx, "m", 2, matrix, 7, -1);
    add_tensor(onnx, "n", 1, &ten, 8, -1);
    const kd_onnx_setting epsilon = {.name = "epsilon", .real = 0.25f};
    kd_onnx_add(onnx, "Conv", "/a/Conv", 3, (const char *[]){"input", "w", "b"}, 0, NULL);
    kd_onnx_add(onnx, "BatchNormalization", "y", 5,
                (const char *[]){"/a/Conv", "gamma", "beta", "mean", "var"}, 1, &epsilon);
    kd_onnx_add(onnx, "Flatten", "rows", 1, (const char *[]){"y"}, 0, NULL);
    kd_onnx_add(onnx, "MatMul", "p", 2, (const char *[]){"rows", "m"}, 0, NULL);
    kd_onnx_add(onnx, "Add", "q", 2, (const char *[]){"n", "p"}, 0, NULL);
    kd_onnx_add(onnx, "Relu", "r", 1, (const char *[]){"q"}, 0, NULL);
    ASSERT_OK(finish_and_import(onnx, "r", &m));
    assert_int_equal(m.net->count, 3);
    assert_string_equal(m.net->node[1].name, "a.Conv");
    float w[96], b[3], gamma[3], beta[3], mean[3], var[3], matrix_at[30], n[10], x[32];
    fill_uniform(w, 96, 1, -1, 1);
    fill_uniform(b, 3, 2, -1, 1);
    fill_uniform(gamma, 3, 3, 0.5, 1);
    fill_uniform(beta, 3, 4, -1, 1);
    fill_uniform(mean, 3, 5, -1, 1);
    fill_uniform(var, 3, 6, 0.5, 1);
    fill_uniform(matrix_at, 30, 7, -1, 1);
    fill_uniform(n, 10, 8, -1, 1);
    fill_uniform(x, 32, 9, -1, 1); /* (H,W,C) */
    quant_case c = {.net = m.net};
    ASSERT_OK(kd_tape_create(&c.tape, 1));
    float *logits = float_logits(&c, 1, x);
    for (int v = 0; v < 10; v++) {
        double sum = (double)n[v];
        for (int o = 0; o < 3; o++) {
            double y = (double)b[o];
            for (int i = 0; i < 2; i++)
                for (int k = 0; k < 16; k++)
                    y += (double)x[k * 2 + i] * (double)w[(o * 2 + i) * 16 + k];
            y = (double)gamma[o] * (y - (double)mean[o]) / sqrt((double)var[o] + 0.25) +
                (double)beta[o];
            sum += y * (double)matrix_at[o * 10 + v];
        }
        assert_true(fabs((double)logits[v] - (sum > 0 ? sum : 0)) < 1e-5);
    }
    free(logits);
    kd_tape_free(c.tape);
    imported_free(&m);
}

static void expect_refusal(kd_onnx *onnx, const char *value, const char *message) {
    imported m;
    assert_int_equal(finish_and_import(onnx, value, &m), KD_EDATA);
    if (!strstr(kd_error(), message)) fail_msg("\"%s\" lacks \"%s\"", kd_error(), message);
    imported_free(&m);
}

static void test_refusals(void **state) {
    (void)state;
    const int64_t window[4] = {3, 2, 3, 3}, three = 3, odd[4] = {3, 5, 3, 3};
    const kd_onnx_setting dilated = KD_ONNX_LIST("dilations", 2, 2, 2);
    const kd_onnx_setting uneven = KD_ONNX_LIST("pads", 4, 0, 0, 1, 1);
    const kd_onnx_setting up[] = {KD_ONNX_LIST("kernel_shape", 2, 2, 2),
                                  KD_ONNX_WHOLE("ceil_mode", 1)};
    kd_onnx *onnx = foreign_graph();
    kd_onnx_add(onnx, "LRN", "y", 1, (const char *[]){"input"}, 0, NULL);
    expect_refusal(onnx, "y", "operator LRN \"y\" is of a kind that no node here computes");
    onnx = foreign_graph();
    kd_onnx_add(onnx, "Relu", "y", 1, (const char *[]){"input"}, 0, NULL);
    expect_refusal(onnx, "y", "operator Relu \"y\"");
    onnx = foreign_graph();
    add_tensor(onnx, "w", 4, window, 1, -1);
    kd_onnx_add(onnx, "Conv", "y", 2, (const char *[]){"input", "w"}, 1, &dilated);
    expect_refusal(onnx, "y", "dilated");
    onnx = foreign_graph();
    add_tensor(onnx, "w", 4, window, 1, -1);
    kd_onnx_add(onnx, "Conv", "y", 2, (const char *[]){"input", "w"}, 1, &uneven);
    expect_refusal(onnx, "y", "not padded alike");
    onnx = foreign_graph();
    add_tensor(onnx, "w", 4, odd, 1, -1);
    kd_onnx_add(onnx, "Conv", "y", 2, (const char *[]){"input", "w"}, 0, NULL);
    expect_refusal(onnx, "y", "weights that do not fit");
    onnx = foreign_graph();
    add_tensor(onnx, "w", 4, window, 1, -1);
    add_tensor(onnx, "b", 1, &three, 1, -1);
    kd_onnx_add(onnx, "Conv", "y", 2, (const char *[]){"input", "nowhere"}, 0, NULL);
    expect_refusal(onnx, "y", "computed, not stored");
    onnx = foreign_graph();
    kd_onnx_add(onnx, "MaxPool", "y", 1, (const char *[]){"input"}, 2, up);
    expect_refusal(onnx, "y", "rounds the number of windows up");
    onnx = foreign_graph();
    kd_onnx_add(onnx, "Add", "y", 2, (const char *[]){"input", "later"}, 0, NULL);
    expect_refusal(onnx, "y", "reads what no operator before it makes");
}

/* Integers are written and not read. */
static void test_integers_are_refused(void **state) {
    (void)state;
    quant_case c = case_create(build_small, (kd_extent){3, 4, 2}, &ONNX_INT8);
    imported m;
    case_calibrate(&c);
    case_write(&c, temporary_path());
    ASSERT_OK(kd_blob_write_onnx(onnx_path(), temporary_path()));
    const bytes file = read_file(onnx_path());
    const bytes graph = must(file, 7, 0);
    tensor_of(graph, "c.weight_steps", 3, 3 * 2 * 2 * 2);
    tensor_of(graph, "c.bias_steps", 6, 3 * 4);
    tensor_of(graph, "c.grid_zero", 2, 1);
    assert_int_equal(import_bytes(&m, file.at, file.length), KD_EDATA);
    assert_non_null(strstr(kd_error(), "operator QuantizeLinear \"input.steps\" is of a kind"));
    imported_free(&m);
    free((void *)(uintptr_t)file.at);
    remove(onnx_path());
    remove(temporary_path());
    case_free(&c);
}

/* --- damage -------------------------------------------------------------------------------------
 */

/* Every cut and many changed bytes: refused or read, and never beyond the end (debug build). */
static void test_damage(void **state) {
    (void)state;
    quant_case c = case_create(build_resnet, (kd_extent){9, 9, 3}, &ONNX_INT8);
    imported m;
    write_onnx(&c, onnx_path(), NULL);
    const bytes file = read_file(onnx_path());
    unsigned char *copy = malloc(file.length);
    kd_rng rng = kd_rng_init(4, 4);
    int refused = 0;
    for (size_t n = 0; n < file.length; n += n < 3000 ? 1 : 97) {
        unsigned char *exact = malloc(n ? n : 1); /* so that a byte too far is seen */
        memcpy(exact, file.at, n);
        assert_int_equal(import_bytes(&m, exact, n), KD_EDATA);
        imported_free(&m);
        free(exact);
    }
    for (int i = 0; i < 1500; i++) {
        memcpy(copy, file.at, file.length);
        for (int k = 0; k < 3; k++)
            copy[kd_rng_below(&rng, file.length)] = (unsigned char)kd_rng_below(&rng, 256);
        refused += import_bytes(&m, copy, file.length) < 0;
        imported_free(&m);
    }
    assert_true(refused > 0);
    free(copy);
    free((void *)(uintptr_t)file.at);
    remove(onnx_path());
    case_free(&c);
}

/* --- the wire ------------------------------------------------------------------------------------
 */

static void test_wire(void **state) {
    (void)state;
    static const unsigned char expected[] = {0x08, 0xac, 0x02, 0x12, 0x02, 'o', 'k', 0x1d,
                                             0,    0,    0x80, 0x3f, 0x22, 2,   8,   1};
    kd_proto out = {0}, within = {0};
    kd_proto_add_number(&out, 1, 300);
    kd_proto_add_text(&out, 2, "ok");
    kd_proto_add_float(&out, 3, 1);
    kd_proto_add_number(&within, 1, 1);
    kd_proto_add_message(&out, 4, &within);
    assert_int_equal(out.length, sizeof expected);
    assert_memory_equal(out.bytes, expected, sizeof expected);
    kd_proto_rest rest = {out.bytes, out.bytes + out.length};
    kd_proto_entry e;
    assert_int_equal(kd_proto_next(&e, &rest), 1);
    assert_int_equal(e.number, 300);
    assert_int_equal(kd_proto_next(&e, &rest), 1);
    assert_memory_equal(e.rest.at, "ok", 2);
    assert_int_equal(kd_proto_next(&e, &rest), 1);
    assert_int_equal(e.number, 0x3f800000);
    assert_int_equal(kd_proto_next(&e, &rest), 1);
    assert_int_equal(kd_proto_next(&e, &rest), 0);
    static const char *const torn[] = {
        "\x08",   "\x08\xff", "\x0a\x05xy", "\x0d\1\2\3",
        "\x09\1", "\x0b",     "\x02",       "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\2"};
    for (size_t i = 0; i < sizeof torn / sizeof *torn; i++) {
        rest = (kd_proto_rest){(const unsigned char *)torn[i],
                               (const unsigned char *)torn[i] + strlen(torn[i])};
        assert_int_equal(kd_proto_next(&e, &rest), -1);
    }
    free(out.bytes);
    free(within.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire),     cmocka_unit_test(test_small_file),
        cmocka_unit_test(test_blocks),   cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_facts),    cmocka_unit_test(test_foreign_forms),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_integers_are_refused),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
