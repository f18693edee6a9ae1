/* How an op is tested: a case is a list of variants, a variant is a call on random leaves.
 *
 * To write the case of op `kd_foo`, in one of the tests/ops_*.c files that test_ops.c includes:
 *
 *     static kd_tensor *call_foo(kd_tape *tape, kd_tensor **leaf, const void *args) {
 *         const foo_args *a = args;                      // your own struct, NULL when none
 *         return kd_foo(tape, leaf[0], leaf[1], a->stride);
 *     }
 *     static const op_variant foo_variants[] = {
 *         {.name = "odd sizes", .call = call_foo, .args = &(foo_args){.stride = 2},
 *          .leaf = {LEAF(3, 5, 7), LEAF(7)}},
 *         {.name = "kink kept away", .call = call_foo, .args = &(foo_args){.stride = 1},
 *          .leaf = {{.rank = 2, .shape = {2, 127}, .gap = 0.01}, CONSTANT(127)}},
 *     };
 *     OP_CASE(foo, foo_variants);
 *
 * For every variant the harness (op_test.c) makes the scalar loss Σ out ∘ weights, runs backward
 * and checks that
 *   - every gradient equals the central finite difference (double build; `tolerance`);
 *   - value and gradients have the same bits with 1, 2 and 3 threads, in memory that starts as NaN;
 *   - the op used twice on the same leaves adds its gradients up;
 *   - a leaf's gradient has the same bits when only that leaf wants one, and nothing is recorded
 *     when none does;
 *   - the leaves are not modified (a `state` leaf may be);
 *   - a second identical step takes no new memory;
 *   - `check`, if there is one, is content with the output.
 * So an op with a kink needs leaves that stay away from it by more than STEP: `gap` keeps values
 * off zero, `distinct` keeps them off each other.
 */
#ifndef KD_OP_TEST_H
#define KD_OP_TEST_H

#include "autograd/ops.h"

#define OP_COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* A leaf is filled with uniform numbers, the same in every run. */
typedef struct {
    int rank; /* 0: no such leaf                                                            */
    int64_t shape[KD_MAX_RANK];
    double low, high; /* range; both 0 means −1 … 1                                         */
    double gap;       /* when > 0, |value| ≥ gap: smaller values are moved away from zero   */
    bool distinct;    /* a shuffled even grid over the range: no two values are close       */
    bool constant;    /* wants no gradient                                                  */
    bool state;       /* constant, and the op may write it (running statistics)             */
} op_leaf;

#define OP_RANK(...) ((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))
#define LEAF(...)                                                                                  \
    {                                                                                              \
        .rank = OP_RANK(__VA_ARGS__), .shape = { __VA_ARGS__ }                                     \
    }
#define CONSTANT(...)                                                                              \
    { .rank = OP_RANK(__VA_ARGS__), .shape = {__VA_ARGS__}, .constant = true }

typedef struct {
    const char *name; /* what is special about it                                           */
    kd_tensor *(*call)(kd_tape *tape, kd_tensor **leaf, const void *args);
    const void *args; /* handed to `call` and `check`                                       */
    op_leaf leaf[KD_MAX_INPUTS];
    double tolerance; /* of the gradients, relative; 0 means 1e-6                           */
    bool evaluating;  /* run with tape->training = false                                    */
    /* Optional: looks at leaves and output of a fresh forward with cmocka's assert_*. */
    void (*check)(kd_tensor *const *leaf, const kd_tensor *out, const void *args);
    /* Optional: name of a record of tests/golden/ops.bin; its leaves, of the shapes given here,
     * replace the random ones, and output, gradients and state are compared with it. */
    const char *golden;
} op_variant;

typedef struct {
    const char *name;
    const op_variant *variant;
    int count;
} op_case;

#define OP_CASE(op, variants) static const op_case case_##op = {#op, variants, OP_COUNT(variants)}

#endif
