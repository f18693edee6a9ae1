/* What must agree is compared before anything is made of it: sizes of training and test pictures, a
 * network and the file its weights come from, the numbers inputs are normalised with, the classes.
 */
#include <math.h>

#include "test_data.h"

#include "distill/checkpoint.h"
#include "run_cli.h"
#include "tasks/classify/learner.h"

#include "agreement_set.h"

/* --- sizes ------------------------------------------------------------------------------------ */

static void sizes_of_training_and_test_agree(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "good", ABCD, MLP("8") ", " TRAIN_BRIEFLY ", \"quantize\": {}");
    assert_int_equal(train(folder, "good.json"), 0);
    write_set(folder, "t10k", (set_spec){.count = 40, .h = 10, .w = 8, .seed = 2});
    write_run(folder, "bad", ABCD, MLP("8") ", " TRAIN_BRIEFLY ", \"quantize\": {}");
    write_run(folder, "pupil", ABCD,
              MLP("8") ", \"teacher\": {\"config\": \"bad.json\"}, " TRAIN_BRIEFLY);
    static const char sweep[] =
        "{\"base\": \"bad.json\", \"seeds\": [1, 2], \"variants\": [{\"name\": "
        "\"x\"}]}";
    test_write(test_path(folder, "sweep.json"), sweep, sizeof sweep - 1);
    const char *const command[] = {"train", "teach", "quantize", "sweep"};
    for (int i = 0; i < 4; i++) {
        const char *config = i == 1 ? "pupil.json" : i == 3 ? "sweep.json" : "bad.json";
        assert_int_equal(
            DISTILL(command[i], kept_path(folder, config), "--runs", kept_path(folder, "runs")),
            65);
        assert_says(complained, "8x8x1");
        assert_says(complained, "10x8x1");
    }
    assert_int_equal(train_dry(folder, "bad.json"), 65);
    assert_says(complained, "10x8x1");
    assert_int_equal(DISTILL("sweep", kept_path(folder, "sweep.json"), "--dry-run"), 65);
    assert_no_run(folder, "bad");
    assert_no_run(folder, "pupil");
    assert_no_run(folder, "sweep");
    assert_int_equal(eval(folder, "bad.json", "runs/good/train.best.h5"), 65);
    assert_says(complained, "10x8x1");
    assert_int_equal(eval(folder, "bad.json", "runs/good/student.int8.ptq.gguf"), 65);
    assert_string_equal(printed, "");
}

/* A convolutional network with a mean over all positions takes pictures of any size. */
static void a_teacher_of_another_size_is_refused_before_it_is_trained(void **state) {
    test_folder *folder = *state, other = {0};
    write_sets(folder);
    test_make_folder(folder, "large");
    strcpy(other.path, folder->path);
    strcat(other.path, "/large");
    write_set(&other, "train", (set_spec){.count = 40, .h = 10, .w = 10, .seed = 1});
    write_set(&other, "t10k", (set_spec){.count = 40, .h = 10, .w = 10, .seed = 2});
    write_run(&other, "teacher", ABCD, MLP("8") ", " TRAIN_BRIEFLY);
    write_run(folder, "pupil", ABCD,
              MLP("8") ", \"teacher\": {\"config\": \"large/teacher.json\"}, " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "pupil.json"), 65);
    assert_says(complained, "10x10x1");
    assert_no_run(folder, "teacher");
    assert_no_run(folder, "pupil");
}

static void labels_of_the_test_set_are_classes(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "three", "\"classes\": [\"a\", \"b\", \"c\"], \"exclude\": []",
              MLP("8") ", " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "three.json"), 65);
    assert_says(complained, "label 3; with 3 classes");
}

static void a_budget_below_the_smallest_file_is_refused_before_training(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "small", ABCD,
              MLP("8") ", \"quantize\": [{\"budget\": {\"bytes\": \"100\"}}], " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "small.json"), 78);
    assert_says(complained, "budget: 100 bytes");
    assert_no_run(folder, "small");
}

/* --- networks and their weights --------------------------------------------------------------- */

#define RESNET(depth, shortcut)                                                                    \
    "\"model\": {\"type\": \"resnet\", \"depth\": " depth                                          \
    ", \"width\": 4, \"shortcut\": \"" shortcut "\"}"
#define CNN(first, pool)                                                                           \
    "\"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 4, \"kernel\": 3" first "}, {\"" pool  \
    "\": 2}]}"

/* What `distill eval` says of a checkpoint of `made` when the config has `model`; so does a run
 * whose teacher it is to be, which then makes nothing. */
static void assert_foreign(test_folder *folder, const char *model, const char *file,
                           const char *says) {
    char rest[1024];
    snprintf(rest, sizeof rest, "%s, " TRAIN_BRIEFLY, model);
    write_run(folder, "other", ABCD, rest);
    assert_int_equal(eval(folder, "other.json", file), 65);
    assert_says(complained, says);
    assert_string_equal(printed, "");
    snprintf(rest, sizeof rest, MLP("4") ", \"teacher\": {\"weights\": \"%s\", %s}, " TRAIN_BRIEFLY,
             file, model);
    write_run(folder, "pupil", ABCD, rest);
    assert_int_equal(train(folder, "pupil.json"), 65);
    assert_says(complained, says);
    assert_no_run(folder, "pupil");
    assert_int_equal(train_dry(folder, "pupil.json"), 65);
}

static void weights_of_another_network_are_refused(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "mlp", ABCD, MLP("8") ", " TRAIN_BRIEFLY);
    write_run(folder, "resnet", ABCD, RESNET("8", "A") ", " TRAIN_BRIEFLY);
    write_run(folder, "cnn", ABCD, CNN("", "max_pool") ", " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "mlp.json"), 0);
    assert_int_equal(train(folder, "resnet.json"), 0);
    assert_int_equal(train(folder, "cnn.json"), 0);
    assert_foreign(folder, MLP("8, 8"), "runs/mlp/train.best.h5", "hidden1.weight: is missing");
    assert_foreign(folder, MLP("9"), "runs/mlp/train.best.h5", "hidden0.weight: has the shape");
    assert_foreign(folder, MLP(""), "runs/mlp/train.best.h5",
                   "hidden0.weight: this network has no such parameter");
    const char *resnet = "runs/resnet/train.best.h5", *cnn = "runs/cnn/train.best.h5";
    assert_foreign(folder, RESNET("14", "A"), resnet, "layer1.1.conv1.weight: is missing");
    assert_foreign(folder, RESNET("8", "B"), resnet, "layer2.0.shortcut.weight: is missing");
    assert_foreign(folder, CNN(", \"batch_norm\": false", "max_pool"), cnn,
                   "conv0.bn.running_var: this network has no such parameter");
    /* The same names and shapes, but another meaning. */
    assert_foreign(folder, CNN("", "avg_pool"), cnn, "pool1: is a max_pool, not avg_pool");
    assert_foreign(folder, CNN(", \"relu\": false", "max_pool"), cnn,
                   "conv0: activation relu, not none");
}

/* A student's hint projections, and the ranges of a quantized one, are not part of the network. */
static void what_stands_beside_a_network_is_left_out(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "wide", ABCD, MLP("16") ", " TRAIN_BRIEFLY);
    write_run(
        folder, "hinted", ABCD,
        MLP("8") ", \"teacher\": {\"config\": \"wide.json\"}, \"loss\": {\"hints\": [{\"kind\": "
                 "\"mse\", \"student\": \"hidden0\", \"teacher\": \"hidden0\"}]}, "
                 "\"quantize\": {\"method\": \"lsq\", \"qat\": {\"epochs\": 1}}, " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "hinted.json"), 0);
    write_run(folder, "plain", ABCD, MLP("8") ", " TRAIN_BRIEFLY);
    assert_int_equal(eval(folder, "plain.json", "runs/hinted/train.best.h5"), 0);
    assert_null(strstr(complained, "rounding"));
    assert_int_equal(eval(folder, "plain.json", "runs/hinted/qat.int8.best.h5"), 0);
    assert_says(complained, "without rounding");
    write_run(folder, "third", ABCD,
              MLP("4") ", \"teacher\": {\"weights\": \"runs/hinted/train.best.h5\", " MLP(
                  "8") "}, " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "third.json"), 0);
    write_run(
        folder, "lost", ABCD,
        MLP("4") ", \"teacher\": {\"config\": \"wide.json\"}, \"loss\": {\"hints\": [{\"kind\": "
                 "\"mse\", \"student\": \"hidden0\", \"teacher\": \"hidden7\"}]}, " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "lost.json"), 78);
    assert_says(complained, "the teacher has no node \"hidden7\"");
    assert_no_run(folder, "lost");
}

/* --- what inputs are normalised with, and what the answers mean --------------------------------
 */

#define BRIGHT ABCD ", \"mean\": [0.8], \"deviation\": [0.1]"

static double teacher_accuracy(test_folder *folder, const char *report) {
    char *text;
    size_t length;
    assert_int_equal(kd_file_read(&text, &length, kept_path(folder, report), 1 << 22), KD_OK);
    const char *teacher = strstr(text, "\"teacher\"");
    assert_non_null(teacher);
    const char *correct = strstr(teacher, "\"correct\":"),
               *samples = strstr(teacher, "\"samples\":");
    assert_true(correct && samples);
    const double share = 100 * atof(correct + 10) / atof(samples + 10);
    free(text);
    return share;
}

static void a_teacher_sees_its_own_numbers(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "teacher", BRIGHT, MLP("16") ", " TRAIN_BRIEFLY ", \"quantize\": {}");
    assert_int_equal(train(folder, "teacher.json"), 0);
    assert_int_equal(eval(folder, "teacher.json", "runs/teacher/train.best.h5"), 0);
    const double right = first_accuracy();
    assert_true(right > 90);
    write_run(folder, "byconfig", ABCD,
              MLP("8") ", \"teacher\": {\"config\": \"teacher.json\"}, " TRAIN_BRIEFLY);
    write_run(folder, "byweights", ABCD,
              MLP("8") ", \"teacher\": {\"weights\": \"runs/teacher/train.best.h5\", " MLP(
                  "16") "}, \"loss\": {\"hints\": [{\"kind\": \"mse\", \"student\": \"hidden0\", "
                        "\"teacher\": \"hidden0\"}]}, " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "byconfig.json"), 0);
    assert_true(fabs(teacher_accuracy(folder, "runs/byconfig/report.json") - right) < 0.01);
    assert_int_equal(train(folder, "byweights.json"), 0);
    assert_true(fabs(teacher_accuracy(folder, "runs/byweights/report.json") - right) < 0.01);
    /* eval under a config without the numbers: the file's own are taken, and it is said. */
    write_run(folder, "plain", ABCD, MLP("16") ", " TRAIN_BRIEFLY);
    assert_int_equal(eval(folder, "plain.json", "runs/teacher/train.best.h5"), 0);
    assert_true(fabs(first_accuracy() - right) < 0.01);
    assert_says(complained, "data.mean and data.deviation");
    assert_int_equal(eval(folder, "teacher.json", "runs/teacher/student.int8.ptq.gguf"), 0);
    const double integers = first_accuracy();
    assert_int_equal(eval(folder, "plain.json", "runs/teacher/student.int8.ptq.gguf"), 0);
    assert_true(fabs(first_accuracy() - integers) < 0.01);
    assert_says(complained, "data.mean and data.deviation");
}

static void adapted_inputs_are_those_of_the_other_numbers(void **state) {
    (void)state;
    const kd_model_spec model = {.kind = KD_MODEL_MLP, .hidden_count = 1, .hidden = {3}};
    const kd_normaliser own = {.unit = 1 / 255.0f,
                               .channels = 3,
                               .mean = {0.4f, 0.5f, 0.6f},
                               .deviation = {0.2f, 0.3f, 0.1f}};
    const kd_normaliser given = {.unit = 1 / 255.0f}, featured = {.unit = 1};
    kd_learner *learner;
    kd_tape *tape;
    assert_int_equal(
        kd_learner_create(&learner,
                          &(kd_learner_spec){.model = &model, .input = {2, 2, 3}, .classes = 2}),
        KD_OK);
    assert_int_equal(kd_tape_create(&tape, 1), KD_OK);
    uint8_t raw[12];
    float x[12], wanted[12], bytes[12];
    for (int i = 0; i < 12; i++) raw[i] = (uint8_t)(i * 23), bytes[i] = (float)(i * 23);
    kd_normalise_bytes(wanted, raw, 4, 3, &own);
    kd_normalise_bytes(x, raw, 4, 3, &given);
    const kd_normaliser *from[] = {&given, &featured};
    for (int k = 0; k < 2; k++) {
        kd_learner_adapt(learner, &own, from[k]);
        assert_true(learner->adapts);
        const kd_tensor *t = kd_learner_input(learner, tape, 1, k ? bytes : x);
        for (int i = 0; i < 12; i++)
            assert_true(fabs((double)t->value[i] - (double)wanted[i]) < 1e-5);
    }
    kd_hash adapted, plain;
    assert_int_equal(kd_learner_hash(&adapted, learner), KD_OK);
    kd_learner_adapt(learner, &own, &own);
    assert_false(learner->adapts);
    assert_int_equal(kd_learner_hash(&plain, learner), KD_OK);
    assert_string_not_equal(adapted.hex, plain.hex);
    kd_params_hash(&adapted, learner->params);
    assert_string_equal(adapted.hex, plain.hex);
    kd_tape_free(tape);
    kd_learner_free(learner);
}

static void classes_in_another_order_are_refused(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "teacher", ABCD, MLP("16") ", " TRAIN_BRIEFLY ", \"quantize\": {}");
    static const char other[] = "\"classes\": [\"a\", \"c\", \"b\", \"d\"]";
    write_run(folder, "pupil", other,
              MLP("8") ", \"teacher\": {\"config\": \"teacher.json\"}, " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "pupil.json"), 78);
    assert_says(complained, "class 1 is \"b\"");
    assert_says(complained, "it is \"c\"");
    assert_no_run(folder, "teacher");
    assert_int_equal(train(folder, "teacher.json"), 0);
    write_run(folder, "second", other,
              MLP("8") ", \"teacher\": {\"weights\": \"runs/teacher/train.best.h5\", " MLP(
                  "16") "}, " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "second.json"), 78);
    assert_says(complained, "class 1 is \"b\"");
    write_run(folder, "reader", other, MLP("16") ", " TRAIN_BRIEFLY);
    assert_int_equal(eval(folder, "reader.json", "runs/teacher/train.best.h5"), 78);
    assert_int_equal(eval(folder, "reader.json", "runs/teacher/student.int8.ptq.gguf"), 78);
    assert_string_equal(printed, "");
}

static void sounds_made_into_other_numbers_do_not_agree(void **state) {
    (void)state;
    const kd_audio_spec a = {.sample_rate = 8000,
                             .window = 256,
                             .hop = 128,
                             .mels = 20,
                             .seconds = 1,
                             .trim = 30,
                             .range = 60,
                             .normalise = KD_CLIP_RANGE};
    kd_audio_spec b = a;
    assert_int_equal(kd_audio_agree(&a, "x", &b, "y"), KD_OK);
    b.trim = 0;
    assert_int_equal(kd_audio_agree(&a, "x", &b, "y"), KD_ECONFIG);
    assert_says(kd_error(), "data.audio.trim is 30; y: it is 0");
    b = a;
    b.normalise = KD_CLIP_BANDS;
    assert_int_equal(kd_audio_agree(&a, "x", &b, "y"), KD_ECONFIG);
    assert_says(kd_error(), "data.audio.normalise is \"range\"; y: it is \"bands\"");
}

/* --- calibration ------------------------------------------------------------------------------ */

/* Samples sorted by class, of which the first look like nothing behind them. */
static void the_order_of_the_samples_decides_nothing(void **state) {
    test_folder *folder = *state;
    double accuracy[2];
    for (int sorted = 0; sorted < 2; sorted++) {
        write_set(folder, "train",
                  (set_spec){
                      .count = 400, .h = 8, .w = 8, .sorted = sorted, .brighter = true, .seed = 1});
        write_set(folder, "t10k",
                  (set_spec){.count = 200, .h = 8, .w = 8, .brighter = true, .seed = 2});
        write_run(folder, sorted ? "sorted" : "mixed", ABCD,
                  MLP("16") ", " TRAIN_BRIEFLY ", \"quantize\": {\"calibration_samples\": 64}");
        assert_int_equal(train(folder, sorted ? "sorted.json" : "mixed.json"), 0);
        assert_int_equal(
            eval(folder, sorted ? "sorted.json" : "mixed.json",
                 sorted ? "runs/sorted/student.int8.ptq.gguf" : "runs/mixed/student.int8.ptq.gguf"),
            0);
        accuracy[sorted] = first_accuracy();
    }
    assert_true(accuracy[0] > 90 && accuracy[1] > accuracy[0] - 3);
}

/* --- what is missing, what cannot fit -----------------------------------------------------------
 */

static void everything_missing_is_named_at_once(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    assert_int_equal(remove(test_path(folder, "t10k-images-idx3-ubyte")), 0);
    write_run(
        folder, "pupil", ABCD,
        MLP("8") ", \"teacher\": {\"ensemble\": [{\"config\": \"nowhere.json\"}, {\"weights\": "
                 "\"gone.h5\", " MLP("8") "}]}, " TRAIN_BRIEFLY);
    for (int dry = 0; dry < 2; dry++) {
        assert_int_equal(dry ? train_dry(folder, "pupil.json") : train(folder, "pupil.json"), 66);
        assert_says(complained, "t10k-images-idx3-ubyte");
        assert_says(complained, "nowhere.json");
        assert_says(complained, "gone.h5");
    }
    write_run(folder, "foreign", ABCD,
              MLP("8") ", \"teacher\": {\"store\": \"nostore\"}, " TRAIN_BRIEFLY);
    assert_int_equal(train_dry(folder, "foreign.json"), 66);
    assert_says(complained, "nostore");
    assert_no_run(folder, "pupil");
}

#define W8 "65536, 65536, 65536, 65536, 65536, 65536, 65536, "

/* A terabyte of parameters; and 1.7 TB of activations with few parameters. */
static void a_plan_refuses_what_cannot_fit_before_taking_it(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "deep", ABCD, MLP(W8 W8 "4") ", " TRAIN_BRIEFLY);
    assert_int_equal(train_dry(folder, "deep.json"), 78);
    assert_says(complained, "of it for parameters");
    assert_says(complained, "there are ");
    write_run(folder, "wide", ABCD,
              "\"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 60000, \"kernel\": 1}, "
              "{\"global_avg_pool\": true}]}, "
              "\"train\": {\"epochs\": 1, \"batch\": 2000, \"learning_rate\": 0.1}");
    write_set(folder, "train", (set_spec){.count = 2000, .h = 60, .w = 60, .seed = 1});
    write_set(folder, "t10k", (set_spec){.count = 4, .h = 60, .w = 60, .seed = 2});
    assert_int_equal(train_dry(folder, "wide.json"), 78);
    assert_says(complained, "a batch's activations");
}

static void integer_sums_are_checked_before_training(void **state) {
    test_folder *folder = *state;
    write_set(folder, "train", (set_spec){.count = 8, .h = 300, .w = 300, .seed = 1});
    write_set(folder, "t10k", (set_spec){.count = 4, .h = 300, .w = 300, .seed = 2});
    write_run(folder, "large", ABCD, MLP("4") ", \"quantize\": {}, " TRAIN_BRIEFLY);
    assert_int_equal(train_dry(folder, "large.json"), 78);
    assert_says(complained, "can pass 2^31");
    assert_int_equal(train(folder, "large.json"), 78);
    assert_no_run(folder, "large");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(sizes_of_training_and_test_agree),
        TEST(a_teacher_of_another_size_is_refused_before_it_is_trained),
        TEST(labels_of_the_test_set_are_classes),
        TEST(a_budget_below_the_smallest_file_is_refused_before_training),
        TEST(weights_of_another_network_are_refused),
        TEST(what_stands_beside_a_network_is_left_out),
        TEST(a_teacher_sees_its_own_numbers),
        TEST(adapted_inputs_are_those_of_the_other_numbers),
        TEST(classes_in_another_order_are_refused),
        TEST(sounds_made_into_other_numbers_do_not_agree),
        TEST(the_order_of_the_samples_decides_nothing),
        TEST(everything_missing_is_named_at_once),
        TEST(a_plan_refuses_what_cannot_fit_before_taking_it),
        TEST(integer_sums_are_checked_before_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
