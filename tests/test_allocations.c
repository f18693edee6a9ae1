/* After the first step, training asks the system for no memory: every allocation of the process is
 * counted by standing in front of the C library's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny.h"

/* Sanitizers own malloc; there the test says so. */
#ifdef __SANITIZE_ADDRESS__
#define COUNTS 0
#else
#define COUNTS 1
#endif

static atomic_long calls;

#if COUNTS
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    calls++;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    calls++;
    return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size) {
    calls++;
    return __libc_realloc(memory, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    calls++;
    return __libc_memalign(alignment, size);
}
#endif

/* Allocations of a measurement of `steps` updates, all set-up included. */
static long count_allocations(const kd_model_spec *model, kd_run_mode mode, int steps) {
    kd_dataset train;
    tiny_dataset(&train, 512);
    kd_learner *learner = NULL;
    const kd_quantize_spec int8 = {
        .how = &kd_quantizer_integers,
        .integers = {
            .weight_bits = 8, .activation_bits = 8, .observer = KD_OBSERVER_EMA, .ema = 0.99}};
    kd_learner_spec made = {.model = model,
                            .input = {TINY_SIDE, TINY_SIDE, 1},
                            .classes = TINY_CLASSES,
                            .seed = 1,
                            .quantize = mode == KD_RUN_FLOAT ? NULL : &int8};
    assert_int_equal(kd_learner_create(&learner, &made), KD_OK);
    kd_train_spec spec = tiny_train();
    kd_classifier_job job = tiny_job("/tmp", &spec, &train, NULL);
    job.mode = mode;
    job.delay_steps = 2; /* observing first gives the fake-quant nodes their ranges */
    double seconds;
    size_t arena;
    long before = calls;
    assert_int_equal(kd_classifier_measure(learner, &job, steps, &seconds, &arena), KD_OK);
    long made_here = calls - before;
    kd_learner_free(learner);
    tiny_dataset_clear(&train);
    return made_here;
}

static void check_model(const kd_model_spec *model, kd_run_mode mode) {
    if (!COUNTS) {
        print_message("SKIP allocations are not counted under the address sanitizer\n");
        skip();
    }
    count_allocations(model, mode, 4); /* libraries make themselves at home */
    long few = count_allocations(model, mode, 4), many = count_allocations(model, mode, 64);
    assert_true(few > 0);
    assert_int_equal(few, many);
}

static void cnn_step_allocates_nothing(void **state) {
    (void)state;
    kd_model_spec model = tiny_cnn();
    check_model(&model, KD_RUN_FLOAT);
}

static void quantized_step_allocates_nothing(void **state) {
    (void)state;
    kd_model_spec model = tiny_cnn();
    check_model(&model, KD_RUN_FAKE_TRAIN);
}

static void mlp_step_allocates_nothing(void **state) {
    (void)state;
    kd_model_spec model = {
        .kind = KD_MODEL_MLP, .hidden_count = 2, .hidden = {40, 30}, .dropout = 0.3};
    check_model(&model, KD_RUN_FLOAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cnn_step_allocates_nothing),
                                       cmocka_unit_test(quantized_step_allocates_nothing),
                                       cmocka_unit_test(mlp_step_allocates_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
