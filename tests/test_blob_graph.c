/* The graph of a blob as a stranger may write it: what is right is taken, and each single thing
 * that is not is refused with its name. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "asserts.h"
#include "quant/blob_internal.h"

#define GRID(scale) "\"grid\": {\"scale\": " scale ", \"zero\": 3, \"qmin\": 0, \"qmax\": 255}"

/* One node of every kind. */
static const char GRAPH[] = "[{\"kind\": \"input\", \"name\": \"x\", \"out\": [4, 4, 2], " GRID(
    "0.5") "},"
           " {\"kind\": \"conv\", \"name\": \"c\", \"in\": [0], \"out\": [4, 4, 2], \"kernel\": "
           "[3, 3],"
           " \"stride\": [1, 1], \"padding\": [1, 1], \"groups\": 2, \"weight_bits\": 8, \"relu\": "
           "true, " GRID(
               "0.25") "},"
                       " {\"kind\": \"max_pool\", \"name\": \"m\", \"in\": [1], \"out\": [2, 2, 2],"
                       " \"kernel\": [2, 2], \"stride\": [2, 2], \"padding\": [0, 0]},"
                       " {\"kind\": \"shortcut\", \"name\": \"s\", \"in\": [2], \"out\": [2, 2, "
                       "2], \"step\": 1,"
                       " \"pad\": [0, 0]},"
                       " {\"kind\": \"add\", \"name\": \"a\", \"in\": [2, 3], \"out\": [2, 2, "
                       "2], " GRID("1") "},"
                                        " {\"kind\": \"avg_pool\", \"name\": \"v\", \"in\": [4], "
                                        "\"out\": [1, 1, 2],"
                                        " \"kernel\": [2, 2], \"stride\": [1, 1], \"padding\": [0, "
                                        "0], " GRID(
                                            "2") "},"
                                                 " {\"kind\": \"global_avg_pool\", \"name\": "
                                                 "\"g\", \"in\": [5], \"out\": [1, 1, 2], " GRID(
                                                     "4") "},"
                                                          " {\"kind\": \"activation\", \"name\": "
                                                          "\"f\", \"in\": [6], \"out\": [1, 1, 2], "
                                                          "\"function\": \"silu\", \"grid\": "
                                                          "{\"scale\": 8, \"zero\": 0, \"qmin\": "
                                                          "0, \"qmax\": 100}},"
                                                          " {\"kind\": \"linear\", \"name\": "
                                                          "\"l\", \"in\": [7], \"out\": [1, 1, 3],"
                                                          " \"weight_bits\": 4}]";

enum { HALF = 1 << 30 };
static const int32_t FACTORS[] = {HALF, HALF + 1, 0}, SHIFTS[] = {0, 31, 5};

static char *file_bytes; /* of the last kd_gguf, which only points into them */

/* The tensors of GRAPH. Data of one may be another's: `replaced` is its name. */
static kd_gguf *make_tensors(const char *replaced, const void *data) {
    static const int8_t weight[18] = {1, -127, 127, 4}, nibbles[3] = {0x17, (int8_t)0x90, 0x21};
    static const int32_t bias[3] = {-5, 6, 7};
    static const float scale[3] = {0.5f, 0.25f, 1e-6f};
    int8_t table[256]; /* stored − 128 */
    for (int i = 0; i < 256; i++) table[i] = (int8_t)(i % 101 - 128);
    const struct {
        const char *name;
        kd_gguf_tensor_type type;
        uint64_t n;
        const void *data;
    } tensor[] = {{"c.weight", KD_GGUF_TENSOR_I8, 18, weight},
                  {"c.bias", KD_GGUF_TENSOR_I32, 2, bias},
                  {"c.scale", KD_GGUF_TENSOR_F32, 2, scale},
                  {"c.multiplier", KD_GGUF_TENSOR_I32, 2, FACTORS},
                  {"c.shift", KD_GGUF_TENSOR_I32, 2, SHIFTS},
                  {"a.multiplier", KD_GGUF_TENSOR_I32, 3, FACTORS},
                  {"a.shift", KD_GGUF_TENSOR_I32, 3, SHIFTS},
                  {"v.multiplier", KD_GGUF_TENSOR_I32, 1, FACTORS},
                  {"v.shift", KD_GGUF_TENSOR_I32, 1, SHIFTS},
                  {"g.multiplier", KD_GGUF_TENSOR_I32, 1, FACTORS},
                  {"g.shift", KD_GGUF_TENSOR_I32, 1, SHIFTS},
                  {"f.table", KD_GGUF_TENSOR_I8, 256, table},
                  {"l.weight", KD_GGUF_TENSOR_I8, 3, nibbles},
                  {"l.bias", KD_GGUF_TENSOR_I32, 3, bias},
                  {"l.scale", KD_GGUF_TENSOR_F32, 3, scale}};
    kd_gguf_writer *w;
    kd_gguf *file;
    size_t length;
    free(file_bytes);
    assert_ok(kd_gguf_writer_create(&w, "distill"));
    for (size_t i = 0; i < sizeof tensor / sizeof *tensor; i++) {
        const bool other = replaced && strcmp(replaced, tensor[i].name) == 0;
        if (other && !data) continue; /* left out */
        kd_gguf_add_tensor(w, tensor[i].name, (uint32_t)tensor[i].type, 1, &tensor[i].n,
                           other ? data : tensor[i].data);
    }
    if (replaced && strcmp(replaced, "more") == 0)
        kd_gguf_add_tensor(w, replaced, KD_GGUF_TENSOR_I32, 1, &(uint64_t){1}, data);
    assert_ok(kd_gguf_finish(&file_bytes, &length, w));
    assert_ok(kd_gguf_parse(&file, file_bytes, length, "tensors"));
    kd_gguf_writer_free(w);
    return file;
}

static int read_graph(kd_blob **out, const char *text, const char *replaced, const void *data) {
    kd_gguf *file = make_tensors(replaced, data);
    *out = calloc(1, sizeof **out);
    assert_non_null(*out);
    int status = kd_blob_read_graph(*out, file, text, strlen(text), "it");
    kd_gguf_free(file);
    return status;
}

static void the_graph_is_read(void **state) {
    (void)state;
    kd_blob *b;
    assert_ok(read_graph(&b, GRAPH, NULL, NULL));
    assert_int_equal(b->count, 9);
    const kd_blob_node *c = &b->node[1], *l = &b->node[8];
    assert_true(c->spec.relu && !c->last && l->last && !l->spec.relu);
    assert_true(c->spec.groups == 2 && c->K == 9 && c->spec.channels == 2 && l->K == 2 &&
                l->spec.channels == 3);
    assert_true(c->spec.padding[0] == 1 && c->spec.kernel[1] == 3 &&
                b->node[2].spec.stride[1] == 2);
    assert_true(c->weight[1] == -127 && c->bias[0] == -5 && c->factor[1] == HALF + 1);
    static const int8_t spread[] = {7, 1, 0, -7, 1, 2};
    assert_memory_equal(l->weight, spread, sizeof spread);
    assert_true(c->grid.grid.scale == 0.25f && c->grid.grid.zero == 3 && c->grid.grid.qmax == 255);
    assert_true(b->node[3].grid.grid.scale == 0.25f); /* handed on */
    assert_true(b->node[4].in[0] == 2 && b->node[4].in[1] == 3 && b->node[4].factor[1] == HALF + 1);
    assert_true(b->node[6].spec.kernel[0] == 1 && b->node[6].from.c == 2);
    const uint8_t *table = b->node[7].own;
    assert_true(table[0] == 0 && table[100] == 100 && table[101] == 0 && table[255] == 53);
    assert_int_equal(b->parameters, 2 * (9 + 1) + 3 * (2 + 1));
    kd_blob_free(b);
}

/* `from` stands in the graph; each place of it is changed in turn by a caller that knows how many.
 */
static void refuse(const char *from, const char *to, const char *part) {
    char text[2 * sizeof GRAPH];
    const char *place = strstr(GRAPH, from);
    kd_blob *b;
    if (!place) fail_msg("no '%s' in the graph", from);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(place - GRAPH), GRAPH, to, place + strlen(from));
    int status = read_graph(&b, text, NULL, NULL);
    if (status != KD_EDATA || !strstr(kd_error(), part))
        fail_msg("%s for %s: status %d, '%s'", to, from, status, status < 0 ? kd_error() : "");
    kd_blob_free(b);
}

static void wrong_graphs_are_refused(void **state) {
    (void)state;
    static const char *const changes[][3] = {
        {"\"kind\": \"input\"", "\"kind\": \"add\"", "input"},
        {"\"kind\": \"conv\"", "\"kind\": \"input\"", "input"},
        {"\"kind\": \"conv\"", "\"kind\": \"dropout\"", "of no use"},
        {"\"kind\": \"conv\"", "\"kind\": 4", "texts"},
        {"\"name\": \"c\"", "\"name\": 4", "texts"},
        {"\"name\": \"c\"", "\"name\": \"d\"", "\"d.weight\" is missing"},
        {"\"in\": [0]", "\"in\": [1]", "from 0 to 0"},
        {"\"in\": [0]", "\"in\": [-1]", "from 0 to 0"},
        {"\"in\": [0]", "\"in\": [0, 0]", "right length"},
        {"\"in\": [2, 3]", "\"in\": [2]", "right length"},
        {"\"in\": [2, 3]", "\"in\": [2, 0]", "same shape"},
        {"\"in\": [0]", "\"in\": 0", "right length"},
        {"\"out\": [4, 4, 2], \"kernel\"", "\"out\": [4, 4, 0], \"kernel\"", "from 1 to"},
        {"\"out\": [4, 4, 2], \"kernel\"", "\"out\": [5, 4, 2], \"kernel\"", "not what this node"},
        {"\"out\": [4, 4, 2], \"kernel\"", "\"out\": [4, 3, 2], \"kernel\"", "not what this node"},
        {"\"out\": [1, 1, 2],", "\"out\": [1, 1, 3],", "not what this node"},
        {"\"out\": [4, 4, 2], \"grid\"", "\"out\": [65537, 4, 2], \"grid\"", "from 1 to 65536"},
        {"\"out\": [4, 4, 2], \"grid\"", "\"out\": [65536, 1025, 1], \"grid\"", "too large"},
        {"\"kernel\": [3, 3]", "\"kernel\": [0, 3]", "from 1 to 4096"},
        {"\"kernel\": [3, 3]", "\"kernel\": [3, 4097]", "from 1 to 4096"},
        {"\"kernel\": [3, 3]", "\"kernel\": [3, 7]", "must be 42"},
        {"\"stride\": [1, 1]", "\"stride\": [1, 0]", "from 1 to 4096"},
        {"\"padding\": [1, 1]", "\"padding\": [1, -1]", "from 0 to 4096"},
        {"\"padding\": [0, 0]", "\"padding\": [2, 0]", "less than the window"},
        {"\"padding\": [0, 0]", "\"padding\": [0, 2]", "less than the window"},
        {"\"groups\": 2", "\"groups\": 0", "from 1 to 2"},
        {"\"groups\": 2", "\"groups\": 3", "from 1 to 2"},
        {"\"groups\": 2", "\"groups\": 1", "\"c.weight\" has 18"},
        {"\"groups\": 2", "\"groups\": 1.5", "from 1 to 2"},
        {"\"weight_bits\": 8", "\"weight_bits\": 1", "from 2 to 8"},
        {"\"weight_bits\": 8", "\"weight_bits\": 9", "from 2 to 8"},
        {"\"weight_bits\": 8", "\"weight_bits\": 7", "-63 … 63"},
        {"\"weight_bits\": 8", "\"weight_bits\": 4", "\"c.weight\" has 18"},
        {"\"step\": 1", "\"step\": 0", "from 1 to 4096"},
        {"\"step\": 1", "\"step\": 2", "not what this node"},
        {"\"pad\": [0, 0]", "\"pad\": [0, 1]", "not what this node"},
        {"\"pad\": [0, 0]", "\"pad\": [-1, 1]", "from 0 to 65536"},
        {"\"scale\": 0.25", "\"scale\": 0", "above 0"},
        {"\"scale\": 0.25", "\"scale\": -0.25", "above 0"},
        {"\"scale\": 0.25", "\"scale\": 1e-34", "above 0"},
        {"\"scale\": 0.25", "\"scale\": 1e39", "above 0"},
        {"\"scale\": 0.25", "\"scale\": \"1\"", "above 0"},
        {"\"grid\": {\"scale\": 0.25", "\"gird\": {\"scale\": 0.25", "is missing"},
        {"\"zero\": 3", "\"zero\": -1", "from 0 to 255"},
        {"\"zero\": 3", "\"zero\": 256", "from 0 to 255"},
        {"\"qmin\": 0", "\"qmin\": 1", "from -255 to 0"},
        {"\"qmin\": 0", "\"qmin\": -256", "from -255 to 0"},
        {"\"qmax\": 255", "\"qmax\": 256", "from 1 to 255"},
        {"\"qmax\": 255", "\"qmax\": 0", "from 1 to 255"},
        {"\"kind\": \"linear\"", "\"kind\": \"conv\"", "\"grid\" is missing"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        refuse(changes[i][0], changes[i][1], changes[i][2]);
}

static void lists_are_whole(void **state) {
    (void)state;
    static const char *const texts[][2] = {
        {"{}", "list of 2"}, {"[]", "list of 2"}, {"[1, 2]", "must hold objects"}, {"[", "it"}};
    kd_blob *b;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_refused(read_graph(&b, texts[i][0], NULL, NULL), KD_EDATA, texts[i][1]);
        kd_blob_free(b);
    }
}

static void refuse_tensor(const char *name, const void *data, const char *part) {
    kd_blob *b;
    int status = read_graph(&b, GRAPH, name, data);
    if (status != KD_EDATA || !strstr(kd_error(), part))
        fail_msg("%s: status %d, '%s' without '%s'", name, status, status < 0 ? kd_error() : "",
                 part);
    kd_blob_free(b);
}

static void wrong_tensors_are_refused(void **state) {
    (void)state;
    static const char *const all[] = {"c.weight",     "c.bias",   "c.scale",      "c.multiplier",
                                      "c.shift",      "a.shift",  "a.multiplier", "v.multiplier",
                                      "g.multiplier", "l.weight", "f.table"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) refuse_tensor(all[i], NULL, "is missing");
    refuse_tensor("more", (int32_t[]){1}, "has 16 tensors, its graph uses 15");
    refuse_tensor("c.weight", (int8_t[18]){[17] = -128}, "-127 … 127");
    refuse_tensor("l.weight", (int8_t[3]){0x08}, "-7 … 7");
    int8_t table[256];
    memset(table, -128, sizeof table);
    table[255] = 101 - 128;
    refuse_tensor("f.table", table, "entry 255 of its table is 101: at most 100");
    refuse_tensor("c.scale", (float[]){1, 0}, "above 0");
    refuse_tensor("c.scale", (float[]){1, -1}, "above 0");
    refuse_tensor("c.scale", (float[]){INFINITY, 1}, "above 0");
    refuse_tensor("c.scale", (float[]){1, NAN}, "above 0");
    refuse_tensor("c.multiplier", (int32_t[]){HALF, HALF - 1}, "at least 2^30");
    refuse_tensor("c.multiplier", (int32_t[]){-HALF, HALF}, "at least 2^30");
    refuse_tensor("c.shift", (int32_t[]){0, 32}, "-30 to 31");
    refuse_tensor("c.shift", (int32_t[]){-31, 0}, "-30 to 31");
    refuse_tensor("v.shift", (int32_t[]){32}, "-30 to 31");
    refuse_tensor("g.shift", (int32_t[]){-31}, "-30 to 31");
    refuse_tensor("a.shift", (int32_t[]){0, -1, 0}, "must not be negative");
    refuse_tensor("a.shift", (int32_t[]){-1, 0, 0}, "must not be negative");
    /* Channel 0 holds 1 + 127 + 127 + 4: with 510 for each it passes 2^31 from this bias on. */
    const int32_t edge = INT32_MAX - 510 * 259;
    refuse_tensor("c.bias", (int32_t[]){edge + 1, 0}, "can pass 2^31");
    refuse_tensor("c.bias", (int32_t[]){-edge - 1, 0}, "can pass 2^31");
    kd_blob *b;
    assert_ok(read_graph(&b, GRAPH, "c.bias", (int32_t[]){-edge, 0}));
    kd_blob_free(b);
    assert_ok(read_graph(&b, GRAPH, "a.shift", (int32_t[]){0, 0, -30}));
    kd_blob_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_graph_is_read), cmocka_unit_test(wrong_graphs_are_refused),
        cmocka_unit_test(lists_are_whole), cmocka_unit_test(wrong_tensors_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
