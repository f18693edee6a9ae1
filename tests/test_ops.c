/* Every op of autograd/ops.h and distill/loss.h against its formula's properties: see op_test.h.
 * build/ops_list.h names them all, so an op without a case does not compile. */
#include "op_test.c"

/* In this order: the last two use the calls of the others. */
/* clang-format off */
#include "ops_basic.c"
#include "ops_shape.c"
#include "ops_text.c"
#include "ops_loss.c"
#include "ops_vision.c"
#include "ops_golden.c"
#include "ops_contract.c"
/* clang-format on */

static void test_case(void **state) {
    const op_case *c = *state;
    for (int i = 0; i < c->count; i++) run_variant(&c->variant[i]);
}

int main(void) {
    struct CMUnitTest tests[] = {
#define X(op) {#op, test_case, NULL, NULL, (void *)&case_##op},
#include "ops_list.h"
#undef X
        {"attention over text", test_case, NULL, NULL, (void *)&case_text_attention},
        {"golden values", test_case, NULL, NULL, (void *)&case_golden},
        cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_dropout_consumes_the_generator),
        cmocka_unit_test(test_loss_gradient_needs_one_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
