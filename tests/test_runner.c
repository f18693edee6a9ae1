/* runtime/: the same bits as the program, the arena it states and not a byte more, and damaged
 * blobs. The arena and the blob are pieces of the heap as long as they say, so that the debug
 * build's sanitizers see every step outside. KD_KEEP_BLOBS=FOLDER leaves the blobs there, for other
 * processors (arm_test.sh). */
#include "quant_nets.h"

#include <math.h>
#include <omp.h>

#include "base/file.h"
#include "distill_run.h"
#include "quant/node.h"

static const kd_quant_spec INT8 = {.weight_bits = 8,
                                   .activation_bits = 8,
                                   .observer = KD_OBSERVER_MINMAX,
                                   .percentile = 99.9,
                                   .ema = 0.9};

/* A blob in memory, and what the program makes of some inputs. */
typedef struct {
    char *bytes;
    size_t length;
    kd_extent in;
    int64_t n;
    float *x, *logits; /* (n,size), (n,10) */
} example;

static kd_blob *program_opens(const void *bytes, size_t length) {
    kd_blob *blob = NULL;
    setenv("DISTILL_ISA", "portable", 1);
    const int status = kd_blob_parse(&blob, bytes, length, "blob");
    unsetenv("DISTILL_ISA");
    return status == KD_OK ? blob : NULL;
}

static void keep(const example *e) {
    static int count;
    const char *folder = getenv("KD_KEEP_BLOBS");
    char name[32], path[KD_PATH_MAX];
    if (!folder) return;
    snprintf(name, sizeof name, "%03d.gguf", count++);
    ASSERT_OK(kd_path_join(path, folder, name));
    ASSERT_OK(kd_file_replace(path, e->bytes, e->length));
}

static example make_example(net_builder build, kd_extent in, kd_quant_spec spec, int64_t n) {
    quant_case c = case_create(build, in, &spec);
    const int64_t size = case_sample_size(&c);
    example e = {.in = in, .n = n};
    case_calibrate(&c);
    case_write(&c, temporary_path());
    ASSERT_OK(kd_file_read(&e.bytes, &e.length, temporary_path(), 1 << 30));
    remove(temporary_path());
    case_free(&c);
    keep(&e);
    e.x = malloc((size_t)(n * size) * sizeof *e.x);
    e.logits = malloc((size_t)(n * 10) * sizeof *e.logits);
    fill_uniform(e.x, n * size, 5, -2, 2); /* wider than calibrated: clipping happens */
    kd_blob *blob = program_opens(e.bytes, e.length);
    assert_non_null(blob);
    ASSERT_OK(kd_blob_run(blob, n, e.x, e.logits));
    kd_blob_free(blob);
    return e;
}

static void example_free(example *e) {
    free(e->bytes);
    free(e->x);
    free(e->logits);
}

/* --- the same bits ---------------------------------------------------------------------------- */

static void put_input(distill_run *run, const float *x, int64_t size) {
    distill_run_grid g;
    distill_run_input_grid(&g, run);
    const kd_grid grid = {g.scale, g.zero, 0, g.high - g.low};
    uint8_t *to = distill_run_input(run);
    for (int64_t i = 0; i < size; i++) to[i] = (uint8_t)(kd_grid_steps(&grid, x[i]) + g.zero);
}

static int largest(const float *logits, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* 1 when the runner takes the blob; then all logits are those of `e`. */
static void check_bits(const char *what, const example *e) {
    size_t bytes = 0, length;
    uint32_t in[3];
    distill_run *run;
    float logits[10];
    const int64_t size = e->in.h * e->in.w * e->in.c;
    assert_int_equal(distill_run_arena(&bytes, e->bytes, e->length), DISTILL_RUN_OK);
    assert_int_equal(bytes % 8, 0);
    void *arena = malloc(bytes);
    assert_int_equal(distill_run_open(&run, e->bytes, e->length, arena, bytes - 8),
                     DISTILL_RUN_ARENA);
    assert_null(run);
    assert_int_equal(distill_run_open(&run, e->bytes, e->length, arena, bytes), DISTILL_RUN_OK);
    distill_run_extent(run, in);
    assert_true(in[0] == e->in.h && in[1] == e->in.w && in[2] == e->in.c);
    assert_int_equal(distill_run_classes(run), 10);
    assert_memory_equal(distill_run_class_name(&length, run, 9), "class 9", 7);
    assert_int_equal(length, 7);
    assert_null(distill_run_class_name(&length, run, 10));
    for (int64_t s = 0; s < e->n; s++) {
        put_input(run, e->x + s * size, size);
        distill_run_invoke(run);
        distill_run_logits(run, logits);
        for (int i = 0; i < 10; i++)
            if (memcmp(&logits[i], &e->logits[10 * s + i], sizeof *logits) != 0)
                fail_msg("%s, sample %lld, logit %d: runner %.9g, program %.9g", what, (long long)s,
                         i, (double)logits[i], (double)e->logits[10 * s + i]);
        assert_int_equal(distill_run_best(run), largest(logits, 10));
    }
    free(arena);
}

static const struct {
    const char *name;
    net_builder build;
    kd_extent input;
} NETS[] = {
    {"cnn", build_cnn, {12, 10, 3}},         {"resnet", build_resnet, {9, 9, 3}},
    {"grouped", build_grouped, {8, 7, 5}},   {"smooth", build_smooth, {7, 6, 4}},
    {"large sums", build_wide, {20, 20, 4}}, {"oblong", build_oblong, {9, 12, 3}},
};
enum { NET_COUNT = sizeof NETS / sizeof *NETS };

/* A kind that blobs have is in one of the networks, which the runner then must run. */
static void every_kind_is_tried(void **state) {
    (void)state;
    bool seen[KD_NODE_KIND_COUNT] = {0};
    for (int i = 0; i < NET_COUNT; i++) {
        quant_case c = case_create(NETS[i].build, NETS[i].input, &INT8);
        for (int k = 0; k < c.net->count; k++) seen[c.net->node[k].spec.kind] = true;
        case_free(&c);
    }
    for (int k = 0; k < KD_NODE_KIND_COUNT; k++)
        if (kd_qnode_class_of((kd_node_kind)k)->run && !seen[k])
            fail_msg("no network here has %s: runtime/ may not know it",
                     kd_node_kind_name((kd_node_kind)k));
}

static void check_nets(kd_quant_spec spec, int64_t n) {
    for (int i = 0; i < NET_COUNT; i++) {
        example e = make_example(NETS[i].build, NETS[i].input, spec, n);
        check_bits(NETS[i].name, &e);
        assert_int_equal(distill_run_verify(e.bytes, e.length), DISTILL_RUN_OK);
        example_free(&e);
    }
}

static void the_bits_are_the_programs(void **state) {
    (void)state;
    static const int bits[][2] = {{8, 8}, {4, 8}, {8, 4}, {4, 4}, {3, 6},
                                  {2, 2}, {5, 7}, {6, 3}, {7, 5}};
    check_nets(INT8, 40);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        kd_quant_spec spec = INT8;
        spec.weight_bits = bits[i][0];
        spec.activation_bits = bits[i][1];
        spec.symmetric_activations = i % 2 == 0;
        check_nets(spec, 6);
    }
}

/* Blobs lie in flash wherever the linker put them. */
static void any_alignment_will_do(void **state) {
    (void)state;
    example e = make_example(build_resnet, (kd_extent){9, 9, 3}, INT8, 3);
    char *moved = malloc(e.length + 3);
    for (int by = 1; by < 4; by++) {
        memcpy(moved + by, e.bytes, e.length);
        example there = e;
        there.bytes = moved + by;
        check_bits("moved", &there);
    }
    free(moved);
    example_free(&e);
}

/* --- damage ----------------------------------------------------------------------------------- */

/* A few hundred numbers with every kind of node but the smooth functions. */
static void build_small(kd_net *net) {
    int x = conv(net, "c", 0, 4, 3, 1, 1, 1, false, KD_ACT_RELU);
    x = kd_net_pool(net, "p", x, KD_NODE_MAX_POOL, (kd_pool_spec){{2, 2}, {1, 2}, {0, 1}});
    int y = conv(net, "g", x, 4, 3, 1, 1, 2, true, KD_ACT_NONE);
    x = kd_net_add(net, "a", y, x, KD_ACT_RELU);
    x = kd_net_pool(net, "m", kd_net_shortcut(net, "s", x, 2, 5), KD_NODE_AVG_POOL,
                    (kd_pool_spec){{2, 2}, {1, 1}, {1, 1}});
    kd_net_linear(net, "l", kd_net_global_avg_pool(net, "o", x), 10, KD_ACT_NONE);
}

static void build_table(kd_net *net) {
    const kd_node_spec spec = {.kind = KD_NODE_ACTIVATION, .activation = (kd_activation)0};
    kd_net_linear(net, "l", kd_net_append(net, "t", &spec, 0, -1), 10, KD_ACT_NONE);
}

static example damaged_example(int which) {
    kd_quant_spec spec = INT8;
    spec.weight_bits = which == 1 ? 3 : 8;
    return which == 2 ? make_example(build_table, (kd_extent){2, 2, 1}, spec, 1)
                      : make_example(build_small, (kd_extent){4, 5, 2}, spec, 1);
}

/* What the runner makes of these bytes, in an arena as large as it says. */
static int run_bytes(const example *e, const void *bytes, size_t length, float *logits) {
    size_t need = 0;
    distill_run *run;
    int status = distill_run_arena(&need, bytes, length);
    if (status != DISTILL_RUN_OK || need > 1 << 20) return status;
    void *arena = malloc(need);
    status = distill_run_open(&run, bytes, length, arena, need);
    if (status == DISTILL_RUN_OK) {
        uint32_t in[3];
        distill_run_extent(run, in);
        const int64_t size = (int64_t)in[0] * in[1] * in[2];
        if (size == e->in.h * e->in.w * e->in.c)
            put_input(run, e->x, size);
        else
            memset(distill_run_input(run), 0, (size_t)size);
        distill_run_invoke(run);
        assert_in_range(distill_run_best(run), 0, distill_run_classes(run) - 1);
        if (distill_run_classes(run) == 10) distill_run_logits(run, logits);
    }
    free(arena);
    return status;
}

static void every_truncation_is_refused(void **state) {
    (void)state;
    float logits[10];
    for (int which = 0; which < 3; which++) {
        example e = damaged_example(which);
        for (size_t length = 0; length < e.length; length++) {
            char *part = malloc(length ? length : 1); /* no byte more */
            memcpy(part, e.bytes, length);
            const int status = run_bytes(&e, part, length, logits);
            /* Behind the last tensor there is padding only. */
            if (status == DISTILL_RUN_OK && e.length - length > KD_GGUF_ALIGNMENT)
                fail_msg("blob %d cut to %zu of %zu bytes is taken", which, length, e.length);
            free(part);
        }
        assert_int_equal(distill_run_verify(e.bytes, e.length - 1), DISTILL_RUN_CHECKSUM);
        example_free(&e);
    }
}

/* Puts the right checksum and asks the program: 1 and its logits when it runs the blob too. */
static int program_runs(char *bytes, const example *e, float *logits) {
    kd_gguf *file;
    if (kd_gguf_parse(&file, bytes, e->length, "blob") < 0) return 0;
    const unsigned char *place = kd_gguf_checksum_place(file);
    const uint64_t sum = kd_gguf_checksum(file);
    if (place) memcpy(bytes + (place - (const unsigned char *)bytes), &sum, sizeof sum);
    kd_gguf_free(file);
    kd_blob *blob = program_opens(bytes, e->length);
    if (!blob) return 0;
    const kd_extent in = kd_blob_input(blob);
    const int same = in.h == e->in.h && in.w == e->in.w && in.c == e->in.c &&
                     kd_blob_classes(blob) == 10 && kd_blob_run(blob, 1, e->x, logits) == KD_OK;
    kd_blob_free(blob);
    return same;
}

/* Every bit: the checksum notices it; without the checksum nothing worse comes of it than another
 * network, which the program runs with the same bits. */
static void every_flipped_bit_is_borne(void **state) {
    (void)state;
    float logits[10], expected[10];
    for (int which = 0; which < 3; which++) {
        example e = damaged_example(which);
        int taken = 0, compared = 0;
        for (size_t bit = 0; bit < 8 * e.length; bit++) {
            e.bytes[bit / 8] ^= (char)(1 << bit % 8);
            if (distill_run_verify(e.bytes, e.length) == DISTILL_RUN_OK)
                fail_msg("blob %d: bit %zu is not noticed", which, bit);
            const int status = run_bytes(&e, e.bytes, e.length, logits);
            taken += status == DISTILL_RUN_OK;
            if (bit % 17 == 0) {
                char *copy = malloc(e.length);
                memcpy(copy, e.bytes, e.length);
                const int runs = program_runs(copy, &e, expected);
                free(copy);
                compared += runs;
                if (runs && status != DISTILL_RUN_OK)
                    fail_msg("blob %d, bit %zu: the program runs it: %s", which, bit,
                             distill_run_error(status));
                if (runs && memcmp(logits, expected, sizeof logits) != 0)
                    fail_msg("blob %d, bit %zu: other logits", which, bit);
            }
            e.bytes[bit / 8] ^= (char)(1 << bit % 8);
        }
        print_message("blob %d: %zu bits, %d taken without the checksum, %d compared\n", which,
                      8 * e.length, taken, compared);
        assert_true(taken > 100 && compared > 10);
        example_free(&e);
    }
}

int main(void) {
    omp_set_num_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_tried),        cmocka_unit_test(the_bits_are_the_programs),
        cmocka_unit_test(any_alignment_will_do),      cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_is_borne),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
