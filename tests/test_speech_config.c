/* The config of a speech recogniser: what every key becomes, and what is refused. */
#include "test_data.h"

#include <math.h>

#include "asserts.h"
#include "run_cli.h"
#include "tasks/speech/speech_config.h"

#define DATA  "\"data\": {\"kind\": \"speech\", \"train\": [\"a.tsv\"]}"
#define MODEL "\"model\": {\"type\": \"whisper\"}"
#define TEACH "\"teacher\": {\"weights\": \"t.bin\"}"
#define TRAIN "\"train\": {\"epochs\": 3}"

static kd_speech_config *load(test_folder *folder, const char *text) {
    kd_speech_config *config;
    test_write(test_path(folder, "words.json"), text, strlen(text));
    assert_ok(kd_speech_config_load(&config, test_path(folder, "words.json"), 0, NULL));
    return config;
}

static void fills_in_defaults(void **state) {
    test_folder *folder = *state;
    kd_speech_config *c = load(folder, "{" DATA ", " MODEL ", " TEACH ", " TRAIN "}");
    assert_string_equal(c->name, "words");
    assert_int_equal(c->seed, 1);
    assert_string_equal(c->precision, "float32");
    assert_int_equal(c->data.train.count, 1);
    assert_string_equal(c->data.train.path[0], test_path(folder, "a.tsv"));
    assert_int_equal(c->data.validation.count, 0);
    assert_int_equal(c->data.test.count, 0);
    assert_string_equal(c->data.language, "en");
    assert_int_equal(c->data.concatenate, KD_JOIN_FULL);
    assert_int_equal(c->data.encoder_cache, KD_CACHE_AUTO);
    assert_string_equal(c->data.source, "");
    assert_int_equal(c->encoder_layers, 0);
    assert_int_equal(c->decoder_layers, 0);
    assert_string_equal(c->teacher.weights, test_path(folder, "t.bin"));
    assert_true(fabs(c->teacher.wer - 0.1) < 1e-12);
    assert_int_equal(c->teacher.kind, KD_STORE_HIDDEN);
    assert_int_equal(c->teacher.dtype, KD_STORE_F16);
    assert_true(fabs(c->loss.temperature - 2) < 1e-12 && fabs(c->loss.kl - 1) < 1e-12);
    assert_true(fabs(c->loss.hard - 0.8) < 1e-12);
    assert_int_equal(c->train.epochs, 3);
    assert_int_equal(c->train.batch, 8);
    assert_int_equal(c->train.optimizer, KD_OPTIMIZER_ADAMW);
    assert_int_equal(c->train.schedule, KD_SCHEDULE_LINEAR);
    assert_true(fabs(c->train.clip - 1) < 1e-12 && fabs(c->train.learning_rate - 1e-4) < 1e-12);
    assert_int_equal(c->quantize_count, 0);
    kd_speech_config_free(c);
}

static void reads_every_key(void **state) {
    test_folder *folder = *state;
    kd_speech_config *c = load(
        folder,
        "{\"name\": \"short\", \"seed\": 9, \"precision\": \"auto\", \"data\": {\"kind\": "
        "\"speech\", \"train\": [\"a.tsv\", \"/b\"], \"validation\": [\"c\"], \"test\": [\"d\", "
        "\"e\", \"f\"], \"language\": \"german\", \"concatenate\": \"varied\", \"encoder_cache\": "
        "\"off\", \"source\": \"the cupboard\"}, \"model\": {\"type\": \"whisper\", "
        "\"encoder_layers\": 3, \"decoder_layers\": 2}, \"teacher\": {\"weights\": \"t.bin\", "
        "\"source\": \"the attic\", \"wer\": 0.25, \"targets\": {\"kind\": \"topk\", \"dtype\": "
        "\"float32\", \"k\": 7}}, \"loss\": {\"temperature\": 3, \"kl\": 0.5, \"hard\": 0}, "
        "\"train\": {\"epochs\": 5, \"batch\": 4, \"accumulate\": 6, \"learning_rate\": 0.02, "
        "\"schedule\": \"cosine\"}, \"quantize\": [{\"format\": \"q8_0\"}, {\"format\": \"q4_0\", "
        "\"qat\": {\"epochs\": 2}}, {\"format\": \"q4_0\", \"name\": \"mine\", \"qat\": {"
        "\"epochs\": 1, \"batch\": 3, \"learning_rate\": 0.5}}]}");
    assert_string_equal(c->name, "short");
    assert_int_equal(c->seed, 9);
    assert_string_equal(c->precision, "auto");
    assert_int_equal(c->data.train.count, 2);
    assert_string_equal(c->data.train.path[1], "/b");
    assert_int_equal(c->data.validation.count, 1);
    assert_int_equal(c->data.test.count, 3);
    assert_string_equal(c->data.test.path[2], test_path(folder, "f"));
    assert_string_equal(c->data.language, "german");
    assert_int_equal(c->data.concatenate, KD_JOIN_VARIED);
    assert_int_equal(c->data.encoder_cache, KD_CACHE_OFF);
    assert_string_equal(c->data.source, "the cupboard");
    assert_int_equal(c->encoder_layers, 3);
    assert_int_equal(c->decoder_layers, 2);
    assert_string_equal(c->teacher.source, "the attic");
    assert_true(fabs(c->teacher.wer - 0.25) < 1e-12);
    assert_int_equal(c->teacher.kind, KD_STORE_TOPK);
    assert_int_equal(c->teacher.dtype, KD_STORE_F32);
    assert_int_equal(c->teacher.k, 7);
    assert_true(fabs(c->loss.temperature - 3) < 1e-12 && fabs(c->loss.kl - 0.5) < 1e-12);
    assert_true(c->loss.hard >= 0 && c->loss.hard < 1e-12);
    assert_int_equal(c->train.accumulate, 6);
    assert_int_equal(c->train.schedule, KD_SCHEDULE_COSINE);
    /* A file of rounded weights, and two trained ones: as in train, at a tenth of its rate. */
    assert_int_equal(c->quantize_count, 3);
    const kd_speech_quantize *q = c->quantize;
    assert_string_equal(q[0].name, "q8_0");
    assert_string_equal(q[0].stage, "qat.q8_0");
    assert_string_equal(q[0].spec.format->name, "q8_0");
    assert_false(q[0].qat);
    assert_string_equal(q[1].name, "q4_0-qat");
    assert_string_equal(q[1].spec.format->name, "q4_0");
    assert_true(q[1].qat);
    assert_int_equal(q[1].train.epochs, 2);
    assert_int_equal(q[1].train.batch, 4);
    assert_int_equal(q[1].train.accumulate, 6);
    assert_int_equal(q[1].train.schedule, KD_SCHEDULE_COSINE);
    assert_true(fabs(q[1].train.learning_rate - 0.002) < 1e-12);
    assert_string_equal(q[2].name, "mine");
    assert_string_equal(q[2].stage, "qat.mine");
    assert_int_equal(q[2].train.batch, 3);
    assert_true(fabs(q[2].train.learning_rate - 0.5) < 1e-12);
    kd_speech_config_free(c);
}

static void finds_each_mistake(void **state) {
    test_folder *folder = *state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{\"data\": {\"kind\": \"speech\", \"train\": []}, " MODEL ", " TEACH ", " TRAIN "}",
         "$.data.train: expected at least one"},
        {"{" DATA ", " MODEL ", " TEACH ", " TRAIN ", \"name\": \"a/b\"}",
         "$.name: files have this name"},
        {"{" DATA ", " MODEL ", \"teacher\": {\"weights\": \"t\", \"targets\": {\"k\": 3}}, " TRAIN
         "}",
         "$.teacher.targets.k: goes with kind \"topk\" only"},
        {"{" DATA ", " MODEL ", " TEACH ", " TRAIN ", \"loss\": {\"kl\": 0, \"hard\": 0}}",
         "$.loss: \"kl\" and \"hard\" are both 0"},
        {"{" DATA ", " MODEL ", " TEACH ", \"train\": {\"epochs\": 2, \"warmup_epochs\": 2.5}}",
         "$.train.warmup_epochs: 2.5 epochs of warm-up in a training of 2"},
        {"{" DATA ", " MODEL ", " TEACH ", " TRAIN
         ", \"quantize\": [{\"format\": \"q8_0\", \"qat\": {\"epochs\": 1, \"warmup_epochs\": "
         "2}}]}",
         "$.quantize[0].qat.warmup_epochs: 2 epochs"},
        {"{" DATA ", " MODEL ", " TEACH ", " TRAIN
         ", \"quantize\": [{\"format\": \"q8_0\", \"qat\": {\"epochs\": 1, \"optimizer\": "
         "\"sgd\", \"momentum\": 0, \"nesterov\": true}}]}",
         "$.quantize[0].qat.nesterov: needs a momentum"},
        {"{" DATA ", " MODEL ", " TEACH ", " TRAIN
         ", \"quantize\": [{\"format\": \"q8_0\"}, {\"format\": \"f16\"}, {\"format\": "
         "\"q8_0\"}]}",
         "$.quantize[2].name: two files with the name \"q8_0\""},
        {"{" DATA ", " MODEL ", " TEACH ", " TRAIN
         ", \"quantize\": [{\"format\": \"q8_0\", \"name\": \"..\"}]}",
         "$.quantize[0].name: files have this name"},
        {"{" DATA ", " MODEL ", " TEACH ", " TRAIN ", \"quantize\": [{\"name\": \"x\"}]}",
         "$.quantize[0]: expected a \"format\" or a \"budget\""},
        {"{" DATA ", " MODEL ", " TEACH ", " TRAIN ", \"quantize\": [{\"format\": \"q6_0\"}]}",
         "found \"q6_0\""},
        {"{" DATA ", " MODEL ", " TRAIN "}", "$.teacher: missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = test_path(folder, "words.json");
        test_write(path, cases[i].text, strlen(cases[i].text));
        assert_int_equal(DISTILL("train", path, "--dry-run"), -KD_ECONFIG);
        assert_says(complained, cases[i].says);
        assert_says(complained, "1 error in the configuration");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fills_in_defaults, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(reads_every_key, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(finds_each_mistake, test_setup, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
