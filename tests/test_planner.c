/* The arithmetic of bits, memory and time, and the devices that it is for. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "asserts.h"
#include "planner/fit.h"
#include "run_cli.h"
#include "test_data.h"

static const kd_device BOX = {.name = "box",
                              .title = "a box",
                              .memory = 10e9,
                              .reserved = 1e9,
                              .runtime = 0,
                              .bandwidth = 100e9,
                              .float_operations = 1e12,
                              .integer_operations = 4e12};

static double gigabytes(double parameters, double bits) {
    const kd_workload m = kd_workload_decoder(parameters);
    return kd_fit_of(&m, &BOX, bits, 1).weights / 1e9;
}

static void bits_are_bytes(void **state) {
    (void)state;
    static const struct {
        double parameters, bits, gigabytes;
    } known[] = {{7e9, 32, 28},       {7e9, 16, 14},      {7e9, 8, 7},       {7e9, 4, 3.5},
                 {1.543e9, 16, 3.09}, {1.543e9, 8, 1.54}, {1.543e9, 4, 0.77}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(fabs(gigabytes(known[i].parameters, known[i].bits) - known[i].gigabytes) <
                    0.005);
}

/* Sizes of LLaMA's own: 7 B has 32 layers, 65 B has 80 of width 8192. */
static void decoders_are_of_the_family(void **state) {
    (void)state;
    const kd_workload small = kd_workload_decoder(6.7e9), large = kd_workload_decoder(65e9);
    assert_true(fabs(small.cache / (2.0 * 32 * 4096) - 1) < 0.1);
    assert_true(fabs(large.cache / (2.0 * 80 * 8192) - 1) < 0.4);
}

static void memory_and_time_are_sums(void **state) {
    (void)state;
    kd_workload m = {.unit = "sample",
                     .parameters = 1e9,
                     .cache = 1000,
                     .activations = 1e6,
                     .read = 1e9,
                     .operations = 2e9};
    kd_fit f = kd_fit_of(&m, &BOX, 16, 500);
    assert_true(f.memory == 2e9 + 2 * 1000 * 500 + 4e6 && f.room == 9e9 && f.fits);
    assert_true(fabs(f.seconds - (2e9 + 1e6) / 70e9) < 1e-12); /* bound by the bandwidth */
    m.operations = 1e12;
    assert_true(fabs(kd_fit_of(&m, &BOX, 16, 500).seconds - 2.5) < 1e-12); /* by operations */
    assert_true(fabs(kd_fit_of(&m, &BOX, 8, 500).seconds - 0.625) < 1e-12);
    m.integers = true;
    assert_true(kd_fit_of(&m, &BOX, 8, 0).activations == 1e6);
    assert_false(kd_fit_of(&m, &BOX, 80, 0).fits);
}

static void flash_holds_weights(void **state) {
    (void)state;
    kd_device mcu = BOX;
    mcu.memory = 2e6;
    mcu.reserved = 0;
    mcu.flash = 1e6;
    const kd_workload m = {.unit = "sample", .parameters = 0.9e6, .activations = 1e5, .read = 1};
    assert_true(kd_fit_of(&m, &mcu, 8, 0).fits && kd_fit_of(&m, &mcu, 8, 0).memory == 4e5);
    assert_false(kd_fit_of(&m, &mcu, 16, 0).fits); /* not in flash, though in memory */
}

static void the_lever_is_named(void **state) {
    (void)state;
    static const struct {
        double parameters;
        const char *first;
    } cases[] = {{1e9, "fits as it is"},
                 {6e9, "int8 by calibration"},
                 {12e9, "4.5 bits"},
                 {18e9, "3 bits fit"},
                 {70e9, "a smaller student, by distillation"}};
    const kd_plan_format format[] = {{"float16", 16}, {"int8", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const kd_workload m = kd_workload_decoder(cases[i].parameters);
        kd_text text = {0};
        kd_plan_write_device(&text, &m, format, 2, &BOX, 16);
        assert_ok(kd_text_finish(&text, "a plan"));
        assert_says(text.text, cases[i].first);
        free(text.text);
    }
}

static void stages_share_a_device(void **state) {
    (void)state;
    const kd_plan_format format[] = {{"float16", 16}, {"int8", 8}, {"int4", 4}};
    kd_stage stage[2] = {
        {.model = kd_workload_decoder(2.5e9), .name = "one", .rate = 4, .tokens = 1},
        {.model = kd_workload_decoder(3e9), .name = "two", .rate = 1, .tokens = 1, .bits = 16}};
    kd_text text = {0};
    kd_plan_write_stages(&text, stage, 2, format, 3, &BOX);
    stage[0].rate = 1000;
    kd_plan_write_stages(&text, stage, 2, format, 3, &BOX);
    stage[1].model = kd_workload_decoder(30e9);
    kd_plan_write_stages(&text, stage, 2, format, 3, &BOX);
    assert_ok(kd_text_finish(&text, "plans"));
    /* 2.5e9 in int8 beside 6e9 bytes: 5e9 beside them would not fit. */
    assert_says(text.text, "one                int8       2.5 GB");
    assert_says(text.text,
                "fits and keeps up; \"one\" takes most of the time, \"two\" most of the memory");
    assert_says(text.text, "fits, but does not keep up: \"one\" takes most");
    assert_says(text.text, "does not fit: \"two\" has most of the weights");
    free(text.text);
}

static void devices_are_read(void **state) {
    kd_devices *d = malloc(sizeof *d);
    const kd_device *found;
    assert_non_null(d);
    assert_ok(kd_devices_read(d, NULL));
    assert_ok(kd_device_find(&found, d, "jetson-agx-orin"));
    assert_true(found->memory == 64e9);
    assert_refused(kd_device_find(&found, d, "raspbery-pi-5"), KD_EUSAGE,
                   "did you mean \"raspberry-pi-5\"");
    const char text[] = "{\"devices\": {\"name\": \"a\", \"title\": \"b\", \"memory\": 1e9,\n"
                        "\"bandwith\": 5}}";
    const char *path = test_path(*state, "mine.json");
    test_write(path, text, sizeof text - 1);
    assert_refused(kd_devices_read(d, path), KD_ECONFIG, "4 errors");
    assert_refused(kd_devices_read(d, "/nowhere.json"), KD_ENOINPUT, "/nowhere.json");
    free(d);
}

static void the_command_prints_them(void **state) {
    assert_int_equal(DISTILL("plan", "7B"), 0);
    assert_says(printed, "float32      32   28.0 GB");
    assert_int_equal(DISTILL("plan", "7B", "--device", "jetson-orin-nano"), 0);
    assert_says(printed, "first: 4.5 bits");
    assert_int_equal(DISTILL("plan", "README.md"), 65);
    const char text[] =
        "{\"stages\": [{\"name\": \"a\", \"parameters\": \"1B\", \"rate\": 1},\n"
        "{\"name\": \"b\", \"parameters\": \"2B\", \"rate\": 1, \"format\": \"q9\"}]}";
    const char *path = test_path(*state, "stages.json");
    test_write(path, text, sizeof text - 1);
    assert_int_equal(DISTILL("plan", path, "--device", "raspberry-pi-5"), 78);
    assert_says(complained, "stage \"b\": no format is called \"q9\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_bytes),
        cmocka_unit_test(decoders_are_of_the_family),
        cmocka_unit_test(memory_and_time_are_sums),
        cmocka_unit_test(flash_holds_weights),
        cmocka_unit_test(the_lever_is_named),
        cmocka_unit_test(stages_share_a_device),
        cmocka_unit_test_setup_teardown(devices_are_read, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(the_command_prints_them, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
