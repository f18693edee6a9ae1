/* The self-test passes for our loss, and catches the mistakes it is there for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/ops.h"
#include "distill/selftest.h"

static kd_selftest check[KD_SELFTEST_MAX];
static int count;

static void run(kd_loss_function loss) {
    assert_int_equal(kd_selftest_run(check, &count, loss), 0);
    assert_true(count > 10);
}

static void our_loss_passes(void **state) {
    (void)state;
    run(kd_distill_loss);
    for (int i = 0; i < count; i++)
        if (!kd_selftest_passed(&check[i]))
            fail_msg("%s: %g, at most %g", check[i].what, check[i].found, check[i].most);
}

/* Some check whose name begins with `what` fails. */
static void assert_caught(const char *what) {
    for (int i = 0; i < count; i++)
        if (strncmp(check[i].what, what, strlen(what)) == 0 && !kd_selftest_passed(&check[i]))
            return;
    fail_msg("no check '%s…' failed", what);
}

#define LOSS(name)                                                                                 \
    static kd_tensor *name(kd_tape *tape, kd_tensor *z, const int32_t *label,                      \
                           const uint8_t *valid, const kd_soft_targets *soft, kd_loss_spec spec,   \
                           kd_loss_parts *parts)
#define CALL() kd_distill_loss(tape, z, label, valid, soft, spec, parts)

LOSS(without_temperature_squared) {
    spec.kl_weight /= spec.temperature * spec.temperature;
    return CALL();
}

LOSS(mean_of_each_part) {
    spec.normalizer = (double)kd_rows(z);
    return CALL();
}

LOSS(without_mask) {
    valid = NULL;
    return CALL();
}

LOSS(without_smoothing) {
    spec.label_smoothing = 0;
    return CALL();
}

/* Rows joined by place although the teacher's are in another order. */
LOSS(misaligned_teacher) {
    kd_real moved[16 * 10];
    kd_soft_targets other = {.logits = moved};
    const int64_t size = z->size, V = kd_channels(z);
    for (int64_t i = 0; soft && i < size; i++) moved[i] = soft->logits[(i + V) % size];
    if (soft) soft = &other;
    return CALL();
}

/* CE against the teacher's probabilities, without its entropy: the right gradient, never 0. */
LOSS(without_entropy) {
    kd_tensor *loss = CALL();
    loss->value[0] += (kd_real)0.1;
    return loss;
}

static void mistakes_are_caught(void **state) {
    (void)state;
    run(without_temperature_squared);
    assert_caught("gradient, teacher at temperature 4");
    assert_caught("the loss grows");
    run(mean_of_each_part);
    assert_caught("gradient accumulated in 2");
    run(without_mask);
    assert_caught("gradient of masked rows");
    run(without_smoothing);
    assert_caught("gradient, labels smoothed");
    run(misaligned_teacher);
    assert_caught("gradient, teacher");
    assert_caught("loss with the right teacher rows");
    run(without_entropy);
    assert_caught("loss of a student that equals");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(our_loss_passes),
                                       cmocka_unit_test(mistakes_are_caught)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
