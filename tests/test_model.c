/* layers/model and layers/import: shapes, names and sizes of the networks, foreign weights. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "files/safetensors.h"
#include "layers/import.h"
#include "layers/model.h"
#include "layers/node.h"

typedef struct {
    kd_params *params;
    kd_net *net;
} built;

static built build(const kd_model_spec *spec, kd_extent input, int classes) {
    built b;
    assert_int_equal(kd_params_create(&b.params), KD_OK);
    if (kd_model_build(&b.net, b.params, spec, input, classes) < 0) fail_msg("%s", kd_error());
    assert_int_equal(kd_params_layout(b.params, 1), KD_OK);
    return b;
}

static void clear(built *b) {
    kd_net_free(b->net);
    kd_params_free(b->params);
}

static int64_t trained_count(const kd_params *params) {
    int64_t count = 0;
    for (int i = 0; i < params->count; i++)
        if (params->list[i]->flags & KD_PARAM_TRAINED) count += params->list[i]->tensor.size;
    return count;
}

static const kd_extent CIFAR = {32, 32, 3}, MNIST = {28, 28, 1};

static kd_model_spec resnet(int depth, int width, kd_shortcut_option shortcut) {
    return (kd_model_spec){
        .kind = KD_MODEL_RESNET, .depth = depth, .width = width, .shortcut = shortcut};
}

static void assert_node(const kd_net *net, const char *name, kd_node_kind kind, int64_t h,
                        int64_t w, int64_t c, kd_act act) {
    int i = kd_net_find(net, name);
    if (i < 0) fail_msg("there is no node %s", name);
    const kd_net_node *node = &net->node[i];
    if (node->spec.kind != kind || node->out.h != h || node->out.w != w || node->out.c != c ||
        kd_node_act(&node->spec) != act)
        fail_msg("%s: kind %d, %lldx%lldx%lld, act %d", name, node->spec.kind,
                 (long long)node->out.h, (long long)node->out.w, (long long)node->out.c,
                 kd_node_act(&node->spec));
}

/* The sizes that He et al. (2016), table 6, round to 0.27M and 0.85M, exactly. */
static void resnets_have_the_published_sizes(void **state) {
    (void)state;
    static const struct {
        int depth, width;
        kd_shortcut_option shortcut;
        int64_t parameters, macs;
    } expect[] = {{8, 16, KD_SHORTCUT_A, 75290, 12239488},
                  {20, 16, KD_SHORTCUT_A, 269722, 40551040},
                  {56, 16, KD_SHORTCUT_A, 853018, 125485696},
                  {110, 16, KD_SHORTCUT_A, 1727962, 252887680},
                  {8, 16, KD_SHORTCUT_B, 78042, 12501632}};
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++) {
        kd_model_spec spec = resnet(expect[i].depth, expect[i].width, expect[i].shortcut);
        built b = build(&spec, CIFAR, 10);
        assert_int_equal(trained_count(b.params), expect[i].parameters);
        assert_int_equal(kd_net_macs(b.net), expect[i].macs);
        clear(&b);
    }
}

static void resnet_is_wired_as_published(void **state) {
    (void)state;
    kd_model_spec spec = resnet(20, 16, KD_SHORTCUT_A);
    built b = build(&spec, CIFAR, 10);
    const kd_net *net = b.net;
    assert_node(net, "conv1", KD_NODE_CONV, 32, 32, 16, KD_ACT_RELU);
    assert_node(net, "layer1.0.conv1", KD_NODE_CONV, 32, 32, 16, KD_ACT_RELU);
    assert_node(net, "layer1.0.conv2", KD_NODE_CONV, 32, 32, 16, KD_ACT_NONE);
    assert_node(net, "layer2.0.conv1", KD_NODE_CONV, 16, 16, 32, KD_ACT_RELU);
    assert_node(net, "layer2.0.shortcut", KD_NODE_SHORTCUT, 16, 16, 32, KD_ACT_NONE);
    assert_node(net, "layer3.2.add", KD_NODE_ADD, 8, 8, 64, KD_ACT_RELU);
    assert_node(net, "pool", KD_NODE_GLOBAL_AVG_POOL, 1, 1, 64, KD_ACT_NONE);
    assert_node(net, "linear", KD_NODE_LINEAR, 1, 1, 10, KD_ACT_NONE);
    assert_int_equal(kd_net_find(net, "layer1.0.shortcut"), -1);
    assert_int_equal(kd_net_find(net, "layer1.3.add"), -1);
    const kd_net_node *add = &net->node[kd_net_find(net, "layer2.0.add")];
    assert_int_equal(add->in[0], kd_net_find(net, "layer2.0.conv2"));
    assert_int_equal(add->in[1], kd_net_find(net, "layer2.0.shortcut"));
    add = &net->node[kd_net_find(net, "layer2.1.add")];
    assert_int_equal(add->in[1], kd_net_find(net, "layer2.0.add"));
    const kd_net_node *skip = &net->node[kd_net_find(net, "layer2.0.shortcut")];
    assert_true(skip->spec.stride[0] == 2 && skip->spec.stride[1] == 2 && skip->out.c == 32);
    clear(&b);
    spec.shortcut = KD_SHORTCUT_B;
    b = build(&spec, CIFAR, 10);
    assert_node(b.net, "layer3.0.shortcut", KD_NODE_CONV, 8, 8, 64, KD_ACT_NONE);
    assert_non_null(kd_params_find(b.params, "layer3.0.shortcut.bn.weight"));
    clear(&b);
}

static void mlp_is_built(void **state) {
    (void)state;
    kd_model_spec spec = {.kind = KD_MODEL_MLP, .hidden_count = 2, .hidden = {1200, 1200}};
    built b = build(&spec, MNIST, 10);
    assert_int_equal(b.net->count, 1 + 3);
    assert_int_equal(trained_count(b.params), 784 * 1200 + 1200 + 1200 * 1200 + 1200 + 12010);
    assert_node(b.net, "hidden1", KD_NODE_LINEAR, 1, 1, 1200, KD_ACT_RELU);
    assert_node(b.net, "classifier", KD_NODE_LINEAR, 1, 1, 10, KD_ACT_NONE);
    clear(&b);
    spec.input_dropout = 0.2;
    spec.dropout = 0.5;
    b = build(&spec, MNIST, 10);
    assert_int_equal(b.net->count, 1 + 1 + 4 + 1);
    assert_node(b.net, "input_dropout", KD_NODE_DROPOUT, 28, 28, 1, KD_ACT_NONE);
    assert_node(b.net, "dropout1", KD_NODE_DROPOUT, 1, 1, 1200, KD_ACT_NONE);
    assert_true(b.net->node[1].spec.drop == (double)KD_REAL(0.2));
    clear(&b);
}

static void cnn_is_built(void **state) {
    (void)state;
    kd_model_spec spec = {
        .kind = KD_MODEL_CNN,
        .layer_count = 7,
        .layer = {{.kind = KD_NODE_CONV,
                   .channels = 8,
                   .kernel = {3, 5},
                   .stride = {1, 1},
                   .padding = {1, 2},
                   .groups = 1,
                   .batch_norm = true,
                   .relu = true},
                  {.kind = KD_NODE_MAX_POOL, .kernel = {2, 2}, .stride = {2, 2}},
                  {.kind = KD_NODE_CONV,
                   .channels = 8,
                   .kernel = {3, 3},
                   .stride = {2, 2},
                   .padding = {1, 1},
                   .groups = -1},
                  {.kind = KD_NODE_AVG_POOL, .kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}},
                  {.kind = KD_NODE_DROPOUT, .drop = 0.25},
                  {.kind = KD_NODE_LINEAR, .channels = 20, .relu = true},
                  {.kind = KD_NODE_GLOBAL_AVG_POOL}}};
    built b = build(&spec, MNIST, 10);
    assert_node(b.net, "conv0", KD_NODE_CONV, 28, 28, 8, KD_ACT_RELU);
    assert_node(b.net, "pool1", KD_NODE_MAX_POOL, 14, 14, 8, KD_ACT_NONE);
    assert_node(b.net, "conv2", KD_NODE_CONV, 7, 7, 8, KD_ACT_NONE);
    assert_node(b.net, "pool3", KD_NODE_AVG_POOL, 4, 4, 8, KD_ACT_NONE);
    assert_node(b.net, "dropout4", KD_NODE_DROPOUT, 4, 4, 8, KD_ACT_NONE);
    assert_node(b.net, "linear5", KD_NODE_LINEAR, 1, 1, 20, KD_ACT_RELU);
    assert_node(b.net, "pool6", KD_NODE_GLOBAL_AVG_POOL, 1, 1, 20, KD_ACT_NONE);
    assert_int_equal(b.net->node[3].spec.groups, 8);
    assert_int_equal(kd_params_find(b.params, "conv2.weight")->tensor.size, 8 * 9);
    assert_non_null(kd_params_find(b.params, "conv2.bias"));
    assert_null(kd_params_find(b.params, "conv0.bias"));
    clear(&b);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    kd_model_spec spec = {.kind = KD_MODEL_CNN,
                          .layer_count = 2,
                          .layer = {{.kind = KD_NODE_GLOBAL_AVG_POOL},
                                    {.kind = KD_NODE_CONV,
                                     .channels = 8,
                                     .kernel = {3, 3},
                                     .stride = {1, 1},
                                     .groups = 1,
                                     .batch_norm = true,
                                     .relu = true}}};
    kd_params *params;
    kd_net *net;
    assert_int_equal(kd_params_create(&params), KD_OK);
    assert_int_equal(kd_model_build(&net, params, &spec, MNIST, 10), KD_ECONFIG);
    assert_null(net);
    assert_non_null(strstr(kd_error(), "conv1: a 3x3 kernel does not fit its 1x1 input"));
    kd_params_free(params);
    spec.layer[0] = (kd_node_spec){.kind = KD_NODE_CONV,
                                   .channels = 8,
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .padding = {1, 1},
                                   .groups = 3,
                                   .batch_norm = true,
                                   .relu = true};
    assert_int_equal(kd_params_create(&params), KD_OK);
    assert_int_equal(kd_model_build(&net, params, &spec, MNIST, 10), KD_ECONFIG);
    assert_non_null(strstr(kd_error(), "conv0: 3 groups"));
    kd_params_free(params);
}

/* --- import --------------------------------------------------------------------------------- */

enum { ARRAYS_MAX = 16 };

/* A small state dict as PyTorch would write it: every value says where it belongs. */
typedef struct {
    int count;
    kd_foreign_array array[ARRAYS_MAX];
    float value[4096];
    int64_t used;
} state_dict;

static void add_array(state_dict *s, const char *name, int rank, int64_t a, int64_t b, int64_t c,
                      int64_t d) {
    kd_foreign_array *array = &s->array[s->count];
    int64_t size = (rank > 0 ? a : 1) * (rank > 1 ? b : 1) * (rank > 2 ? c * d : 1);
    *array = (kd_foreign_array){name, rank, {a, b, c, d}, s->value + s->used};
    for (int64_t i = 0; i < size; i++) s->value[s->used++] = (float)(1000 * s->count + i);
    s->count++;
}

/* conv 1→2 with batch norm, 3×2 kernel; then a classifier on its 4×5 positions. */
static built small_net(state_dict *s, const char *front) {
    static const char *const suffix[] = {"conv0.weight",      "bn0.weight",
                                         "bn0.bias",          "bn0.running_mean",
                                         "bn0.running_var",   "bn0.num_batches_tracked",
                                         "classifier.weight", "classifier.bias"};
    static char name[8][64];
    *s = (state_dict){0};
    for (int i = 0; i < 8; i++) snprintf(name[i], sizeof name[i], "%s%s", front, suffix[i]);
    add_array(s, name[0], 4, 2, 3, 3, 2);
    for (int i = 1; i < 5; i++) add_array(s, name[i], 1, 2, 0, 0, 0);
    add_array(s, name[5], 0, 0, 0, 0, 0);
    add_array(s, name[6], 2, 7, 2 * 4 * 5, 0, 0);
    add_array(s, name[7], 1, 7, 0, 0, 0);
    kd_model_spec spec = {.kind = KD_MODEL_CNN,
                          .layer_count = 1,
                          .layer = {{.kind = KD_NODE_CONV,
                                     .channels = 2,
                                     .kernel = {3, 2},
                                     .stride = {1, 1},
                                     .groups = 1,
                                     .batch_norm = true,
                                     .relu = true}}};
    return build(&spec, (kd_extent){6, 6, 3}, 7);
}

static kd_real value_at(const built *b, const char *name, int64_t index) {
    return kd_params_find(b->params, name)->tensor.value[index];
}

static void foreign_layouts_are_turned(void **state) {
    (void)state;
    static const char *const front[] = {"",
                                        "module.",
                                        "_orig_mod.",
                                        "module._orig_mod.",
                                        "_orig_mod.module.module.",
                                        "model.",
                                        "_orig_mod.net.module.backbone.",
                                        "classifier.",
                                        "conv0."};
    for (int f = 0; f < (int)(sizeof front / sizeof *front); f++) {
        state_dict s;
        built b = small_net(&s, front[f]);
        int64_t version = b.params->version;
        if (kd_import_params(b.net, s.count, s.array, "w") < 0) fail_msg("%s", kd_error());
        assert_true(b.params->version > version);
        for (int o = 0; o < 2; o++)
            for (int u = 0; u < 3; u++)
                for (int v = 0; v < 2; v++)
                    for (int c = 0; c < 3; c++)
                        assert_true(value_at(&b, "conv0.weight", ((o * 3 + u) * 2 + v) * 3 + c) ==
                                    (float)(((o * 3 + c) * 3 + u) * 2 + v));
        for (int k = 0; k < 7; k++)
            for (int p = 0; p < 20; p++)
                for (int c = 0; c < 2; c++)
                    assert_true(value_at(&b, "classifier.weight", k * 40 + p * 2 + c) ==
                                (float)(6000 + k * 40 + c * 20 + p));
        assert_true(value_at(&b, "conv0.bn.weight", 1) == 1001);
        assert_true(value_at(&b, "conv0.bn.bias", 1) == 2001);
        assert_true(value_at(&b, "conv0.bn.running_mean", 0) == 3000);
        assert_true(value_at(&b, "conv0.bn.running_var", 0) == 4000);
        assert_true(value_at(&b, "classifier.bias", 6) == 7006);
        clear(&b);
    }
}

/* Imports the small dict after a change; the message must say all of `says`, the net stay as it
 * was. */
static void refuse(state_dict *s, built *b, const char *const *says) {
    size_t bytes = (size_t)b->params->slab_size * sizeof(kd_real);
    kd_real *before = malloc(bytes);
    assert_non_null(before);
    memcpy(before, b->params->value, bytes);
    assert_int_equal(kd_import_params(b->net, s->count, s->array, "w.safetensors"), KD_EDATA);
    for (int i = 0; says[i]; i++)
        if (!strstr(kd_error(), says[i])) fail_msg("%s\nlacks: %s", kd_error(), says[i]);
    assert_memory_equal(before, b->params->value, bytes);
    free(before);
    clear(b);
}

static void foreign_weights_that_do_not_fit_are_refused(void **state) {
    (void)state;
    state_dict s;
    built b = small_net(&s, "");
    s.array[0].shape[2] = 2; /* a shape, and a name: both are said */
    s.array[2].name = "bn0.offset";
    refuse(&s, &b,
           (const char *const[]){"w.safetensors:",
                                 "conv0.weight: has the shape (2, 3, 2, 2), the "
                                 "model needs (2, 3, 3, 2)",
                                 "conv0.bn.bias: is missing", "bn0.offset: belongs to no layer",
                                 NULL});
    b = small_net(&s, "model.features."); /* both sides' names, however many are wrong */
    for (int i = 0; i < 4; i++) add_array(&s, "model.more.weight", 0, 0, 0, 0, 0);
    for (int i = 0; i < 8; i++)
        s.array[i].name = i % 2 ? "model.features.stem.weight" : "model.head.bias";
    refuse(&s, &b,
           (const char *const[]){"\n  conv0.weight: is missing", "\n  classifier.bias: is missing",
                                 "\n  model.features.stem.weight: belongs to no layer",
                                 "… and 4 more belong to no layer", NULL});
    b = small_net(&s, "");
    s.array[0].name = "features._orig_mod.conv0.weight"; /* shared by none of the others */
    refuse(&s, &b,
           (const char *const[]){"conv0.weight: is missing",
                                 "features._orig_mod.conv0.weight: "
                                 "belongs to no layer",
                                 NULL});
    b = small_net(&s, "");
    s.array[7].rank = 2;
    s.array[7].shape[1] = 1;
    refuse(&s, &b, (const char *const[]){"classifier.bias: has the shape (7, 1)", NULL});
    b = small_net(&s, "");
    s.count = 0;
    refuse(&s, &b, (const char *const[]){"conv0.weight: is missing", "classifier.bias", NULL});
    b = small_net(&s, "");
    add_array(&s, "layer9.conv1.weight", 1, 2, 0, 0, 0);
    refuse(&s, &b, (const char *const[]){"layer9.conv1.weight: belongs to no layer", NULL});
}

/* torch.compile and DataParallel also wrap parts of a model; averaged models count. */
static void wrapped_parts_are_found(void **state) {
    (void)state;
    state_dict s;
    built b = small_net(&s, "model.");
    s.array[0].name = "model.conv0._orig_mod.weight";
    s.array[6].name = "model.module.classifier.weight";
    add_array(&s, "n_averaged", 0, 0, 0, 0, 0);
    if (kd_import_params(b.net, s.count, s.array, "w") < 0) fail_msg("%s", kd_error());
    assert_true(value_at(&b, "classifier.weight", 0) == 6000);
    clear(&b);
}

static void shortcuts_and_heads_go_by_their_other_names(void **state) {
    (void)state;
    kd_model_spec spec = resnet(8, 4, KD_SHORTCUT_B);
    built b = build(&spec, CIFAR, 3);
    enum { MANY = 64 };
    static char name[MANY][64];
    static float values[64 * 64 * 9];
    kd_foreign_array array[MANY];
    int n = 0;
    for (int i = 0; i < b.params->count; i++) {
        const kd_param *p = b.params->list[i];
        char *dot = strstr(strcpy(name[n], p->name), ".bn."), *skip = strstr(name[n], ".shortcut.");
        const char *conv = strstr(p->name, "conv");
        if (strncmp(name[n], "linear", 6) == 0)
            sprintf(name[n], "fc%s", p->name + 6);
        else if (skip)
            sprintf(skip, ".downsample.%d%s", dot != NULL, strrchr(p->name, '.'));
        else if (dot)
            sprintf(name[n], "%.*sbn%c%s", (int)(conv - p->name), p->name, conv[4],
                    strrchr(p->name, '.'));
        array[n] = (kd_foreign_array){.name = name[n], .rank = p->tensor.rank, .values = values};
        memcpy(array[n].shape, p->tensor.shape, sizeof array[n].shape);
        if (p->tensor.rank == 4) {
            array[n].shape[1] = p->tensor.shape[3];
            array[n].shape[2] = p->tensor.shape[1];
            array[n].shape[3] = p->tensor.shape[2];
        }
        n++;
    }
    if (kd_import_params(b.net, n, array, "w") < 0) fail_msg("%s", kd_error());
    clear(&b);
}

/* --- the real weights ----------------------------------------------------------------------- */

/* From tests/golden/make_resnet.py. */
static const double GOLDEN_LOGITS[2][10] = {
    {-7.6387018, 6.1195919, 17.7857962, 1.0225881, -5.6629553, -5.0803149, 2.7160504, -2.1901492,
     -7.1746775, 0.0968205},
    {-6.9010245, 4.4608939, 19.0876122, 1.6643639, -5.2259017, -5.3288614, 2.9632542, -2.2484830,
     -6.8142824, -1.6589734}};

static void load(built *b, const char *path) {
    kd_safetensors *file;
    if (kd_safetensors_open(&file, path) < 0) fail_msg("%s", kd_error());
    int n = (int)kd_safetensors_count(file);
    kd_foreign_array *array = calloc((size_t)n, sizeof *array);
    assert_non_null(array);
    for (int i = 0; i < n; i++) {
        const kd_safetensors_entry *entry = kd_safetensors_at(file, i);
        float *values = malloc(((size_t)entry->count + 1) * sizeof *values);
        assert_non_null(values);
        assert_int_equal(kd_safetensors_read(file, entry, values), KD_OK);
        array[i] = (kd_foreign_array){.name = entry->name, .rank = entry->rank, .values = values};
        memcpy(array[i].shape, entry->shape, (size_t)entry->rank * sizeof *entry->shape);
    }
    if (kd_import_params(b->net, n, array, path) < 0) fail_msg("%s", kd_error());
    for (int i = 0; i < n; i++) free((void *)(uintptr_t)array[i].values);
    free(array);
    kd_safetensors_close(file);
}

static void published_resnet_answers_as_in_pytorch(void **state) {
    (void)state;
    char path[KD_PATH_MAX];
    test_need(path, "resnet_cifar10/resnet56.safetensors");
    kd_model_spec spec = resnet(56, 16, KD_SHORTCUT_A);
    built b = build(&spec, CIFAR, 10);
    load(&b, path);
    kd_tape *tape;
    assert_int_equal(kd_tape_create(&tape, 1), KD_OK);
    tape->training = tape->recording = false;
    kd_tensor *x = kd_tape_input(tape, 4, (int64_t[]){2, 32, 32, 3});
    for (int i = 0; i < 2 * 32 * 32 * 3; i++) {
        int c = i % 3, w = i / 3 % 32, h = i / 96 % 32, n = i / 3072;
        x->value[i] =
            (kd_real)(sin(0.37 * h + 0.91 * w + 1.7 * c + 2.3 * n) + 0.5 * cos(0.11 * h * w));
    }
    const kd_tensor *z = kd_net_forward(b.net, tape, x, NULL);
    assert_int_equal(z->size, 20);
    const double tolerance = sizeof(kd_real) == 8 ? 1e-6 : 1e-4;
    for (int i = 0; i < 20; i++) {
        double expected = GOLDEN_LOGITS[i / 10][i % 10];
        if (!(fabs((double)z->value[i] - expected) <= tolerance * 20))
            fail_msg("logit %d: %.7f, PyTorch %.7f", i, (double)z->value[i], expected);
    }
    kd_tape_free(tape);
    clear(&b);
}

static built one_node(const kd_node_spec *spec) {
    built b;
    assert_ok(kd_params_create(&b.params));
    assert_ok(kd_net_create(&b.net, b.params, (kd_extent){8, 8, 4}));
    kd_net_append(b.net, "node", spec, 0, -1);
    assert_ok(b.net->failed);
    return b;
}

static void assert_compared(kd_node_kind kind, const kd_config_key *key) {
    const kd_node_spec spec = {
        .kind = kind, .channels = 4, .kernel = {1, 1}, .stride = {1, 1}, .groups = 1};
    built a = one_node(&spec), b = one_node(&spec);
    char difference[160];
    assert_true(kd_net_same(a.net, b.net, difference, sizeof difference));
    ((unsigned char *)&b.net->node[1].spec)[key->offset] ^= 1;
    if (kd_net_same(a.net, b.net, difference, sizeof difference) !=
        kd_node_class_of(kind)->training_only)
        fail_msg("%s: \"%s\" is not compared", kd_node_kind_name(kind), key->name);
    clear(&a);
    clear(&b);
}

/* What a config can say of a layer makes another network of it. */
static void every_key_of_a_layer_is_compared(void **state) {
    (void)state;
#define LAYER(KIND, name) {KD_NODE_##KIND, &kd_layer_##name},
    static const struct {
        kd_node_kind kind;
        const kd_config_table *table;
    } layer[] = {KD_LAYER_KINDS(LAYER)};
    for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) {
        const kd_config_table *table = layer[i].table;
        assert_string_equal(table->name, kd_node_kind_name(layer[i].kind));
        assert_string_equal(table->key[0].name, table->name);
        for (int k = 0; k < table->count; k++)
            if (table->key[k].size > 0) assert_compared(layer[i].kind, &table->key[k]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resnets_have_the_published_sizes),
        cmocka_unit_test(resnet_is_wired_as_published),
        cmocka_unit_test(every_key_of_a_layer_is_compared),
        cmocka_unit_test(mlp_is_built),
        cmocka_unit_test(cnn_is_built),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(foreign_layouts_are_turned),
        cmocka_unit_test(foreign_weights_that_do_not_fit_are_refused),
        cmocka_unit_test(wrapped_parts_are_found),
        cmocka_unit_test(shortcuts_and_heads_go_by_their_other_names),
        cmocka_unit_test(published_resnet_answers_as_in_pytorch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
