/* The harness of op_test.h: runs one variant in every way that must agree. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "golden.h"
#include "op_test.h"

#define STEP 1e-5 /* of the finite differences */

enum { ALL_LEAVES = -1, NO_LEAF = -2, PROBES = 40 };
static const size_t POISON_BYTES = (size_t)4 << 20;
static const uint64_t SEED = 1234;

/* What one forward and backward left behind, copied out of the tape. */
typedef struct {
    kd_real *out, *grad[KD_MAX_INPUTS]; /* NULL where there is no gradient */
    int64_t out_size;
    int recorded;
} op_result;

typedef struct {
    const op_variant *variant;
    kd_tape *tape;
    int leaves;
    int64_t size[KD_MAX_INPUTS];
    kd_real *value[KD_MAX_INPUTS]; /* what the leaves are filled with */
    kd_real *weight;               /* of the scalar loss, one per output */
} op_run;

/* --- leaves --------------------------------------------------------------------------------- */

static void fill_leaf(kd_real *value, int64_t size, const op_leaf *leaf, uint64_t stream) {
    kd_rng rng = kd_rng_init(SEED, stream);
    double low = leaf->low, high = leaf->high;
    if (low == 0 && high == 0) low = -1, high = 1;
    int64_t *order = malloc((size_t)size * sizeof *order);
    kd_rng_permutation(&rng, order, size);
    for (int64_t i = 0; i < size; i++) {
        double place =
            leaf->distinct ? ((double)order[i] + 0.5) / (double)size : kd_rng_uniform(&rng);
        double x = low + (high - low) * place;
        if (fabs(x) < leaf->gap) x += x < 0 ? -leaf->gap : leaf->gap;
        value[i] = (kd_real)x;
    }
    free(order);
}

static kd_real *copy_of(const kd_real *from, int64_t size) {
    kd_real *to = malloc((size_t)size * sizeof *to);
    assert_non_null(to);
    memcpy(to, from, (size_t)size * sizeof *to);
    return to;
}

/* --- the scalar loss ------------------------------------------------------------------------ */

static void weighted_sum_backward(kd_tape *tape, kd_node *node) {
    const kd_real *weight = node->saved;
    kd_real *grad = kd_tape_grad(tape, node->in[0]);
    for (int64_t i = 0; i < node->in[0]->size; i++) grad[i] += weight[i] * *node->out->grad;
}

/* Σ out ∘ weights. With two outputs of the same op, the sum over both. */
static kd_tensor *weighted_sum(kd_tape *tape, kd_tensor *x, kd_real *weight) {
    kd_tensor *loss = kd_tape_output(tape, 1, (int64_t[]){1});
    loss->value[0] = 0;
    for (int64_t i = 0; i < x->size; i++) loss->value[0] += weight[i] * x->value[i];
    kd_tape_record(tape, "weighted_sum", weighted_sum_backward, loss, weight, 1, &x);
    return loss;
}

static void make_weights(op_run *run, int64_t size) {
    if (run->weight) return;
    run->weight = malloc((size_t)size * sizeof *run->weight);
    assert_non_null(run->weight);
    fill_leaf(run->weight, size, &(op_leaf){.low = 0}, 77);
}

/* --- running -------------------------------------------------------------------------------- */

/* Everything the tape hands out next starts as NaN. */
static void poison(kd_tape *tape) {
    kd_tape_reset(tape);
    memset(kd_tape_alloc(tape, POISON_BYTES), 0xFF, POISON_BYTES);
    kd_tape_reset(tape);
}

/* A fresh tape state, the leaves, and the op called on them. `wanting` is the leaf that wants a
 * gradient, or ALL_LEAVES or NO_LEAF. */
static kd_tensor *forward(op_run *run, kd_tensor **leaf, int wanting) {
    kd_tape *tape = run->tape;
    tape->rng = kd_rng_init(SEED, 5);
    tape->training = !run->variant->evaluating;
    for (int i = 0; i < run->leaves; i++) {
        const op_leaf *l = &run->variant->leaf[i];
        leaf[i] = kd_tape_input(tape, l->rank, l->shape);
        leaf[i]->needs_grad = !l->constant && !l->state && (wanting == ALL_LEAVES || wanting == i);
        memcpy(leaf[i]->value, run->value[i], (size_t)run->size[i] * sizeof(kd_real));
    }
    return run->variant->call(tape, leaf, run->variant->args);
}

/* One forward and backward, `uses` calls of the op on the same leaves. */
static op_result run_once(op_run *run, int wanting, int threads, int uses) {
    kd_tensor *leaf[KD_MAX_INPUTS] = {0};
    op_result result = {0};
    omp_set_num_threads(threads);
    poison(run->tape);
    kd_tensor *out = forward(run, leaf, wanting);
    make_weights(run, out->size);
    kd_tensor *loss = weighted_sum(run->tape, out, run->weight);
    for (int use = 1; use < uses; use++) {
        run->tape->rng = kd_rng_init(SEED, 5);
        kd_tensor *again = run->variant->call(run->tape, leaf, run->variant->args);
        kd_tensor *part = weighted_sum(run->tape, again, run->weight);
        loss = kd_add(run->tape, loss, part, KD_ACT_NONE);
    }
    for (kd_node *node = run->tape->last; node; node = node->previous) result.recorded++;
    result.out = copy_of(out->value, out->size);
    result.out_size = out->size;
    kd_tape_backward(run->tape, loss);
    for (int i = 0; i < run->leaves; i++) {
        if (leaf[i]->grad_written) result.grad[i] = copy_of(leaf[i]->grad, run->size[i]);
        if (!run->variant->leaf[i].state)
            assert_memory_equal(leaf[i]->value, run->value[i],
                                (size_t)run->size[i] * sizeof(kd_real));
    }
    return result;
}

static void free_result(op_result *result) {
    free(result->out);
    for (int i = 0; i < KD_MAX_INPUTS; i++) free(result->grad[i]);
}

/* --- comparing ------------------------------------------------------------------------------ */

static void assert_same_bits(const op_run *run, const char *what, const kd_real *a,
                             const kd_real *b, int64_t size) {
    if (!a && !b) return;
    if (!a || !b) fail_msg("%s, %s: only one of two runs has it", run->variant->name, what);
    for (int64_t i = 0; i < size; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s, %s[%lld]: %.17g, then %.17g", run->variant->name, what, (long long)i,
                     (double)a[i], (double)b[i]);
}

/* |found − expected| ≤ tolerance · max(|expected|, rms of all expected) */
static void assert_near(const op_run *run, const char *what, const kd_real *found,
                        const double *expected, int64_t size, double tolerance) {
    double sum = 0;
    for (int64_t i = 0; i < size; i++) sum += expected[i] * expected[i];
    double rms = sqrt(sum / (double)size);
    for (int64_t i = 0; i < size; i++) {
        double error = fabs((double)found[i] - expected[i]);
        if (!(error <= tolerance * fmax(fabs(expected[i]), rms)))
            fail_msg("%s, %s[%lld]: %.17g, should be %.17g", run->variant->name, what, (long long)i,
                     (double)found[i], expected[i]);
    }
}

static void check_same_result(const op_run *run, const char *how, const op_result *a,
                              const op_result *b) {
    char what[64];
    snprintf(what, sizeof what, "output %s", how);
    assert_same_bits(run, what, a->out, b->out, a->out_size);
    for (int i = 0; i < run->leaves; i++) {
        snprintf(what, sizeof what, "gradient %d %s", i, how);
        assert_same_bits(run, what, a->grad[i], b->grad[i], run->size[i]);
    }
}

static void check_threads(op_run *run, const op_result *expected) {
    for (int threads = 2; threads <= 3; threads++) {
        op_result result = run_once(run, ALL_LEAVES, threads, 1);
        check_same_result(run, threads == 2 ? "with 2 threads" : "with 3 threads", expected,
                          &result);
        free_result(&result);
    }
    omp_set_num_threads(1);
}

static void check_used_twice(op_run *run, const op_result *once) {
    op_result twice = run_once(run, ALL_LEAVES, 1, 2);
    for (int i = 0; i < run->leaves; i++) {
        if (!once->grad[i]) continue;
        double *sum = malloc((size_t)run->size[i] * sizeof *sum);
        for (int64_t j = 0; j < run->size[i]; j++) sum[j] = 2 * (double)once->grad[i][j];
        assert_near(run, "gradient of two uses", twice.grad[i], sum, run->size[i],
                    sizeof(kd_real) == 4 ? 1e-5 : 1e-12);
        free(sum);
    }
    free_result(&twice);
}

static void check_wanting(op_run *run, const op_result *all) {
    op_result none = run_once(run, NO_LEAF, 1, 1);
    assert_int_equal(none.recorded, 0);
    assert_same_bits(run, "output without gradients", all->out, none.out, all->out_size);
    free_result(&none);
    for (int i = 0; i < run->leaves; i++) {
        if (!all->grad[i]) continue;
        op_result one = run_once(run, i, 1, 1);
        assert_same_bits(run, "gradient wanted alone", all->grad[i], one.grad[i], run->size[i]);
        for (int j = 0; j < run->leaves; j++) assert_true(j == i || one.grad[j] == NULL);
        free_result(&one);
    }
}

static void check_memory(op_run *run) {
    size_t chunks = 0;
    for (int step = 0; step < 3; step++) {
        kd_tensor *leaf[KD_MAX_INPUTS] = {0};
        kd_tape_reset(run->tape);
        kd_tensor *out = forward(run, leaf, ALL_LEAVES);
        kd_tape_backward(run->tape, weighted_sum(run->tape, out, run->weight));
        size_t now = kd_arena_chunk_count(run->tape->arena);
        if (step > 0) assert_int_equal(now, chunks);
        chunks = now;
    }
}

#ifdef KD_DOUBLE
static double root_mean_square(const kd_real *x, int64_t size) {
    double sum = 0;
    for (int64_t i = 0; i < size; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)size);
}

/* Σ weights ∘ (out(x+h) − out(x−h)) / 2h for element j of leaf i */
static double finite_difference(op_run *run, int i, int64_t j) {
    kd_tensor *leaf[KD_MAX_INPUTS] = {0};
    const kd_real x = run->value[i][j];
    kd_tape_reset(run->tape);
    run->value[i][j] = x + STEP;
    kd_tensor *above = forward(run, leaf, NO_LEAF);
    run->value[i][j] = x - STEP;
    kd_tensor *below = forward(run, leaf, NO_LEAF);
    run->value[i][j] = x;
    double sum = 0;
    for (int64_t k = 0; k < above->size; k++)
        sum += run->weight[k] * (above->value[k] - below->value[k]);
    return sum / ((x + STEP) - (x - STEP));
}

/* All elements of a small leaf, PROBES spread ones of a large one. */
static void check_gradients(op_run *run, const op_result *result) {
    const double tolerance = run->variant->tolerance > 0 ? run->variant->tolerance : 1e-6;
    for (int i = 0; i < run->leaves; i++) {
        if (!result->grad[i]) continue;
        double rms = root_mean_square(result->grad[i], run->size[i]);
        int64_t probes = run->size[i] < 2 * PROBES ? run->size[i] : PROBES;
        for (int64_t p = 0; p < probes; p++) {
            int64_t j = p * (run->size[i] - 1) / (probes > 1 ? probes - 1 : 1);
            double found = result->grad[i][j], expected = finite_difference(run, i, j);
            double scale = fmax(fmax(fabs(found), fabs(expected)), fmax(rms, 1e-4));
            if (!(fabs(found - expected) <= tolerance * scale))
                fail_msg("%s, gradient %d[%lld]: %.12g, finite difference %.12g",
                         run->variant->name, i, (long long)j, found, expected);
        }
    }
}
#endif

/* --- golden values -------------------------------------------------------------------------- */

/* Parts are ".in0", ".weight", ".out", ".grad0", ".after3" of a record. */
static bool golden_part(golden_entry *out, const char *record, const char *part) {
    char name[sizeof out->name];
    snprintf(name, sizeof name, "%s.%s", record, part);
    return golden_find(out, "tests/golden/ops.bin", name);
}

static void load_golden(op_run *run) {
    golden_entry entry;
    char part[24];
    for (int i = 0; i < run->leaves; i++) {
        snprintf(part, sizeof part, "in%d", i);
        if (!golden_part(&entry, run->variant->golden, part))
            fail_msg("no golden %s.%s", run->variant->golden, part);
        assert_int_equal(entry.size, run->size[i]);
        for (int64_t j = 0; j < entry.size; j++) run->value[i][j] = (kd_real)entry.value[j];
    }
    if (!golden_part(&entry, run->variant->golden, "weight"))
        fail_msg("no golden %s.weight", run->variant->golden);
    run->weight = malloc((size_t)entry.size * sizeof *run->weight);
    for (int64_t j = 0; j < entry.size; j++) run->weight[j] = (kd_real)entry.value[j];
}

static void compare_golden(op_run *run, const op_result *result) {
    const double tolerance = sizeof(kd_real) == 4 ? 1e-5 : 1e-10;
    const char *golden = run->variant->golden;
    golden_entry entry;
    assert_true(golden_part(&entry, golden, "out"));
    assert_int_equal(entry.size, result->out_size);
    assert_near(run, "output, golden", result->out, entry.value, entry.size, tolerance);
    kd_tensor *leaf[KD_MAX_INPUTS] = {0};
    kd_tape_reset(run->tape);
    forward(run, leaf, NO_LEAF);
    for (int i = 0; i < run->leaves; i++) {
        char part[24];
        snprintf(part, sizeof part, "grad%d", i);
        bool found = golden_part(&entry, golden, part);
        assert_int_equal(found, result->grad[i] != NULL);
        if (found) assert_near(run, part, result->grad[i], entry.value, run->size[i], tolerance);
        snprintf(part, sizeof part, "after%d", i);
        if (golden_part(&entry, golden, part))
            assert_near(run, part, leaf[i]->value, entry.value, run->size[i], tolerance);
    }
}

/* --- one variant ---------------------------------------------------------------------------- */

static void run_variant(const op_variant *variant) {
    op_run run = {.variant = variant};
    assert_int_equal(kd_tape_create(&run.tape, SEED), KD_OK);
    while (run.leaves < KD_MAX_INPUTS && variant->leaf[run.leaves].rank > 0) {
        const op_leaf *leaf = &variant->leaf[run.leaves];
        int64_t size = 1;
        for (int axis = 0; axis < leaf->rank; axis++) size *= leaf->shape[axis];
        run.size[run.leaves] = size;
        run.value[run.leaves] = malloc((size_t)size * sizeof(kd_real));
        fill_leaf(run.value[run.leaves], size, leaf, (uint64_t)run.leaves + 1);
        run.leaves++;
    }
    if (variant->golden) load_golden(&run);
    op_result result = run_once(&run, ALL_LEAVES, 1, 1);
    if (variant->golden) compare_golden(&run, &result);
    check_threads(&run, &result);
    check_used_twice(&run, &result);
    check_wanting(&run, &result);
    check_memory(&run);
#ifdef KD_DOUBLE
    check_gradients(&run, &result);
#endif
    if (variant->check) {
        kd_tensor *leaf[KD_MAX_INPUTS] = {0};
        kd_tape_reset(run.tape);
        kd_tensor *out = forward(&run, leaf, NO_LEAF);
        variant->check(leaf, out, variant->args);
    }
    free_result(&result);
    for (int i = 0; i < run.leaves; i++) free(run.value[i]);
    free(run.weight);
    kd_tape_free(run.tape);
}
