/* Numbers that are none pass nowhere: weights that are not finite, variances below 0, logits and
 * losses that are not finite, batch norm of a single value. */
#include <math.h>

#include "test_data.h"

#include <sndfile.h>

#include "data/dataset_source.h"
#include "distill/checkpoint.h"
#include "files/safetensors_write.h"
#include "run_cli.h"
#include "tasks/classify/evaluate.h"
#include "tasks/classify/learner.h"

#include "agreement_set.h"

#define CNN                                                                                        \
    "\"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 4, \"kernel\": 3}, "                   \
    "{\"global_avg_pool\": true}]}"

static kd_learner *make_cnn(void) {
    kd_model_spec model = {.kind = KD_MODEL_CNN, .layer_count = 2};
    model.layer[0] = (kd_node_spec){.kind = KD_NODE_CONV,
                                     .channels = 4,
                                     .kernel = {3, 3},
                                     .stride = {1, 1},
                                     .padding = {1, 1},
                                     .groups = 1,
                                     .batch_norm = true,
                                     .relu = true};
    model.layer[1] = (kd_node_spec){.kind = KD_NODE_GLOBAL_AVG_POOL};
    kd_learner *learner;
    const kd_learner_spec spec = {.model = &model, .input = {8, 8, 1}, .classes = SET_CLASSES};
    assert_int_equal(kd_learner_create(&learner, &spec), KD_OK);
    return learner;
}

/* --- weights ---------------------------------------------------------------------------------- */

static const struct {
    const char *parameter;
    int64_t at;
    double value;
    const char *says;
} BAD[] = {{"conv0.weight", 10, NAN, "conv0.weight[1, 0, 1, 0] is "},
           {"classifier.bias", 3, INFINITY, "classifier.bias[3] is inf"},
           {"conv0.bn.running_mean", 0, -INFINITY, "conv0.bn.running_mean[0] is -inf"},
           {"conv0.bn.running_var", 2, -0.5, "conv0.bn.running_var[2] is -0.5"}};

static void save_checkpoint(const kd_learner *learner, const char *path) {
    kd_checkpoint c = {.params = learner->params, .stage = "train"};
    assert_int_equal(kd_checkpoint_save(path, &c), KD_OK);
}

/* Refused by eval, verify, and as a teacher: nothing is printed, no run is begun. */
static void assert_unsound(test_folder *folder, const char *file, const char *says) {
    char rest[512];
    assert_int_equal(eval(folder, "cnn.json", file), 65);
    assert_says(complained, says);
    assert_string_equal(printed, "");
    assert_int_equal(DISTILL("verify", kept_path(folder, file)), 65);
    assert_string_equal(printed, "");
    snprintf(
        rest, sizeof rest,
        "\"model\": {\"type\": \"mlp\", \"hidden\": [4]}, \"teacher\": {\"weights\": \"%s\", " CNN
        "}, " TRAIN_BRIEFLY,
        file);
    write_run(folder, "pupil", ABCD, rest);
    assert_int_equal(train(folder, "pupil.json"), 65);
    assert_says(complained, says);
    assert_no_run(folder, "pupil");
}

/* The arrays of the network under PyTorch's names, one number of them changed. */
typedef struct {
    const kd_learner *learner;
    const kd_safetensors_entry *entry;
} export;

static int give_values(void *context, int64_t index, void *values) {
    const export *e = context;
    const kd_tensor *t = &kd_params_find(e->learner->params, e->entry[index].name)->tensor;
    for (int64_t i = 0; i < t->size; i++) ((float *)values)[i] = (float)t->value[i];
    return KD_OK;
}

static void save_safetensors(const kd_learner *learner, const char *path) {
    kd_safetensors_entry entry[16] = {0};
    const kd_params *params = learner->params;
    for (int i = 0; i < params->count; i++) {
        const kd_param *p = params->list[i];
        entry[i].name = p->name;
        entry[i].dtype = "F32";
        entry[i].rank = p->tensor.rank;
        entry[i].count = p->tensor.size;
        for (int k = 0; k < p->tensor.rank; k++) entry[i].shape[k] = p->tensor.shape[k];
        if (p->tensor.rank == 4) { /* one input channel: the order of the axes is all there is */
            entry[i].shape[1] = 1;
            entry[i].shape[2] = entry[i].shape[3] = 3;
        }
    }
    export e = {learner, entry};
    assert_int_equal(kd_safetensors_write(path, params->count, entry, give_values, &e), KD_OK);
}

/* Each of BAD in a file of `save`'s kind; `placed`: the message says the place in the tensor, too.
 */
static void refuse_bad_weights(test_folder *folder, void (*save)(const kd_learner *, const char *),
                               const char *bad, const char *good, bool placed) {
    write_sets(folder);
    write_run(folder, "cnn", ABCD, CNN ", " TRAIN_BRIEFLY);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        kd_learner *learner = make_cnn();
        kd_params_find(learner->params, BAD[i].parameter)->tensor.value[BAD[i].at] =
            (kd_real)BAD[i].value;
        save(learner, kept_path(folder, bad));
        kd_learner_free(learner);
        assert_unsound(folder, bad, placed ? BAD[i].says : BAD[i].parameter);
    }
    kd_learner *learner = make_cnn();
    save(learner, kept_path(folder, good));
    kd_learner_free(learner);
    assert_int_equal(eval(folder, "cnn.json", good), 0);
    assert_int_equal(DISTILL("verify", kept_path(folder, good)), 0);
}

static void checkpoints_with_bad_weights_are_refused(void **state) {
    refuse_bad_weights(*state, save_checkpoint, "bad.h5", "good.h5", true);
}

static void safetensors_with_bad_weights_are_refused(void **state) {
    refuse_bad_weights(*state, save_safetensors, "bad.safetensors", "good.safetensors", false);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Finite weights can make logits that are not. */
static void logits_that_are_not_finite_are_no_answers(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "cnn", ABCD, CNN ", " TRAIN_BRIEFLY);
    kd_learner *learner = make_cnn();
    const kd_real huge = KD_REAL(1e38);
    kd_tensor *gamma = &kd_params_find(learner->params, "conv0.bn.weight")->tensor;
    kd_tensor *weight = &kd_params_find(learner->params, "classifier.weight")->tensor;
    for (int64_t i = 0; i < gamma->size; i++) gamma->value[i] = huge;
    for (int64_t i = 0; i < weight->size; i++) weight->value[i] = huge;
    save_checkpoint(learner, kept_path(folder, "huge.h5"));
    kd_learner_free(learner);
    assert_int_equal(eval(folder, "cnn.json", "huge.h5"), 65);
    assert_says(complained, "huge.h5: the logit of class ");
    assert_string_equal(printed, "");
    write_run(folder, "pupil", ABCD,
              "\"model\": {\"type\": \"mlp\", \"hidden\": [4]}, \"teacher\": {\"weights\": "
              "\"huge.h5\", " CNN "}, " TRAIN_BRIEFLY);
    assert_int_equal(train(folder, "pupil.json"), 65);
    assert_says(complained, "not finite");
}

static void a_diverged_training_leaves_no_result(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(
        folder, "wild", ABCD,
        "\"model\": {\"type\": \"mlp\", \"hidden\": [8]}, \"train\": {\"epochs\": 2, \"batch\": "
        "32, \"optimizer\": \"sgd\", \"learning_rate\": 1e9, \"weight_decay\": 1000}");
    assert_int_equal(train(folder, "wild.json"), 65);
    assert_says(complained, "lower train.learning_rate");
    assert_false(kd_file_exists(kept_path(folder, "runs/wild/train.best.h5")));
    assert_false(kd_file_exists(kept_path(folder, "runs/wild/report.json")));
}

/* --- batch norm ---------------------------------------------------------------------------------
 */

#define DEEP(batch)                                                                                \
    "\"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 4, \"kernel\": 8, \"padding\": 0}]}, " \
    "\"train\": {\"epochs\": 1, \"batch\": " batch ", \"learning_rate\": 0.01}"

static void batch_norm_of_one_value_is_refused(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "one", ABCD, DEEP("1"));
    assert_int_equal(train(folder, "one.json"), 78);
    assert_says(complained, "conv0: batch norm of one value a channel");
    assert_int_equal(train_dry(folder, "one.json"), 78);
    assert_no_run(folder, "one");
    write_run(folder, "two", ABCD, DEEP("3")); /* 400 = 133·3 + 1: the last batch is of one */
    assert_int_equal(train(folder, "two.json"), 0);
}

/* One sample is left behind a full batch of 64. All are dark and alike, so that each batch's
 * variance is nearly 0: the running one goes from 1 to 0.9, and hardly further. */
static void a_last_batch_of_one_hardly_counts(void **state) {
    test_folder *folder = *state;
    write_set(folder, "train", (set_spec){.count = 65, .h = 8, .w = 8, .flat = true, .seed = 1});
    write_set(folder, "t10k", (set_spec){.count = 4, .h = 8, .w = 8, .seed = 2});
    write_run(folder, "cnn", ABCD,
              CNN ", \"train\": {\"epochs\": 1, \"batch\": 64, \"learning_rate\": 1e-6}");
    assert_int_equal(train(folder, "cnn.json"), 0);
    kd_learner *learner = make_cnn();
    assert_int_equal(kd_checkpoint_load_params(kept_path(folder, "runs/cnn/train.best.h5"),
                                               learner->params, NULL),
                     KD_OK);
    const kd_tensor *variance = &kd_params_find(learner->params, "conv0.bn.running_var")->tensor;
    for (int i = 0; i < 4; i++)
        assert_true(variance->value[i] > KD_REAL(0.88) && variance->value[i] < KD_REAL(0.91));
    kd_learner_free(learner);
}

/* --- inputs -------------------------------------------------------------------------------------
 */

/* A WAV file of floats can hold what is no number; a spectrum would quietly make silence of it. */
static void sounds_of_no_numbers_are_refused(void **state) {
    test_folder *folder = *state;
    char *path = kept_path(folder, "nan.wav");
    float samples[4000] = {0};
    for (int i = 0; i < 4000; i++) samples[i] = (float)sin(i * 0.1) / 4;
    SF_INFO info = {.samplerate = 8000, .channels = 1, .format = SF_FORMAT_WAV | SF_FORMAT_FLOAT};
    samples[1234] = NAN;
    SNDFILE *file = sf_open(path, SFM_WRITE, &info);
    assert_non_null(file);
    assert_int_equal(sf_write_float(file, samples, 4000), 4000);
    assert_int_equal(sf_close(file), 0);
    const kd_audio_spec audio = {
        .sample_rate = 8000, .window = 256, .hop = 128, .mels = 12, .seconds = 0.25, .range = 60};
    kd_source source = {.count = 1, .h = 15, .w = 12, .c = 1, .path = &path};
    float features[15 * 12];
    const int64_t row = 0;
    assert_int_equal(kd_source_audio_features(features, &source, &audio, &row, 1), KD_EDATA);
    assert_says(kd_error(), "nan.wav: sample 1234 is nan");
}

static void a_test_set_that_was_trained_on_is_named(void **state) {
    test_folder *folder = *state;
    write_sets(folder);
    write_run(folder, "cnn", ABCD, CNN ", " TRAIN_BRIEFLY);
    kd_learner *learner = make_cnn();
    save_checkpoint(learner, kept_path(folder, "good.h5"));
    kd_learner_free(learner);
    assert_int_equal(eval(folder, "cnn.json", "good.h5"), 0);
    assert_null(strstr(complained, "says nothing of others"));
    static const char *const part[] = {"images-idx3-ubyte", "labels-idx1-ubyte"};
    for (int i = 0; i < 2; i++) {
        char train_name[64], test_name[64];
        snprintf(train_name, sizeof train_name, "train-%s", part[i]);
        snprintf(test_name, sizeof test_name, "t10k-%s", part[i]);
        assert_int_equal(remove(test_path(folder, test_name)), 0);
        assert_int_equal(symlink(train_name, test_path(folder, test_name)), 0);
    }
    assert_int_equal(eval(folder, "cnn.json", "good.h5"), 0);
    assert_says(complained, "the test pictures are the training pictures");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(checkpoints_with_bad_weights_are_refused),
        TEST(safetensors_with_bad_weights_are_refused),
        TEST(logits_that_are_not_finite_are_no_answers),
        TEST(a_diverged_training_leaves_no_result),
        TEST(batch_norm_of_one_value_is_refused),
        TEST(a_last_batch_of_one_hardly_counts),
        TEST(sounds_of_no_numbers_are_refused),
        TEST(a_test_set_that_was_trained_on_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
