/* Configs: every key read, every mistake found at once, the resolved text, the schema. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/json.h"
#include "config/reader.h"
#include "config/schema.h"
#include "tasks/classify/config.h"
#include "tasks/language/language_config.h"
#include "tasks/registry.h"
#include "tasks/speech/speech_config.h"

/* Parses `text` as configs/test.json; what kd_log says goes to logged[]. */
static char logged[16384];

static int parse_with(kd_config **out, const char *text, int n, const char *const *sets) {
    char path[] = "/tmp/distill-test-XXXXXX";
    int file = mkstemp(path), keep = dup(STDERR_FILENO);
    assert_true(file >= 0 && keep >= 0);
    fflush(stderr);
    dup2(file, STDERR_FILENO);
    int status = kd_config_parse(out, text, strlen(text), "configs/test.json", n, sets);
    fflush(stderr);
    dup2(keep, STDERR_FILENO);
    ssize_t length = pread(file, logged, sizeof logged - 1, 0);
    logged[length > 0 ? length : 0] = '\0';
    close(keep);
    close(file);
    unlink(path);
    return status;
}

/* The resolved text of whatever is right is itself right, and resolves to itself. */
static kd_config *parse(const char *text, int n, const char *const *sets) {
    kd_config *config, *again;
    if (parse_with(&config, text, n, sets) < 0) fail_msg("%s\n%s", logged, kd_error());
    if (parse_with(&again, config->resolved, 0, NULL) < 0) fail_msg("%s\n%s", logged, kd_error());
    assert_string_equal(config->resolved, again->resolved);
    kd_config_free(again);
    return config;
}

#define DATA            "\"data\": {\"kind\": \"idx\", \"folder\": \"mnist\"}"
#define MODEL           "\"model\": {\"type\": \"mlp\", \"hidden\": [30]}"
#define TRAIN           "\"train\": {\"epochs\": 3}"
#define SMALL           "{" DATA ", " MODEL ", " TRAIN "}"
#define TAUGHT(teacher) "{" DATA ", " MODEL ", " TRAIN ", \"teacher\": " teacher "}"

static void fills_in_defaults(void **state) {
    (void)state;
    kd_config *c = parse(SMALL, 0, NULL);
    assert_string_equal(c->name, "test");
    assert_int_equal(c->seed, 1);
    assert_string_equal(c->precision, "float32");
    assert_string_equal(c->data.folder, "configs/mnist");
    assert_false(c->teacher.present || c->quantize_count || c->baseline);
    assert_true(c->loss.temperature == 1 && c->loss.kl == 0 && c->loss.hard == 1);
    assert_int_equal(c->train.epochs, 3);
    assert_int_equal(c->train.batch, 128);
    assert_int_equal(c->train.accumulate, 1);
    assert_int_equal(c->train.optimizer, KD_OPTIMIZER_SGD);
    assert_true(c->train.learning_rate == 0.1 && c->train.momentum == 0.9);
    assert_int_equal(c->train.schedule, KD_SCHEDULE_COSINE);
    assert_true(c->train.checkpoint_seconds == 60);
    kd_config_free(c);
}

static void reads_every_key(void **state) {
    (void)state;
    static const char text[] =
        "{\"$schema\": \"schema.json\", \"name\": \"full\", \"seed\": 9007199254740992,"
        " \"precision\": \"auto\", \"baseline\": true,"
        " \"data\": {\"kind\": \"cifar10\", \"folder\": \"/c10\", \"mean\": [0.485, 0.456, 0.406],"
        "  \"deviation\": [0.229, 0.224, 0.225], \"validation\": 5000, \"train_limit\": 100,"
        "  \"exclude\": [3, 5], \"augment\": {\"shift\": [4, 2], \"flip\": true}},"
        " \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 16, \"kernel\": [3, 5],"
        "  \"stride\": [1, 2], \"padding\": \"same\"}, {\"conv\": 8, \"kernel\": 1, \"padding\": 0,"
        "  \"groups\": \"depthwise\", \"batch_norm\": false, \"relu\": false}, {\"max_pool\": 2},"
        "  {\"avg_pool\": [2, 3], \"stride\": 1, \"padding\": [1, 1]}, {\"global_avg_pool\": true},"
        "  {\"linear\": 64, \"relu\": false}, {\"dropout\": 0.25}, {\"activation\": \"silu\"}]},"
        " \"teacher\": {\"weights\": \"t.safetensors\", \"model\": {\"type\": \"resnet\","
        "  \"depth\": 56, \"width\": 8, \"shortcut\": \"B\"}, \"views\": 4,"
        "  \"targets\": {\"kind\": \"topk\", \"dtype\": \"float32\", \"k\": 5}},"
        " \"loss\": {\"divergence\": \"jensen_shannon\", \"temperature\": 2.5, \"kl\": 0.7, "
        "\"hard\": 0.3, \"label_smoothing\": 0.1,"
        "  \"hints\": [{\"kind\": \"cosine\", \"student\": \"conv0\", \"teacher\": \"conv1\","
        "  \"weight\": 2}, {\"kind\": \"mse\", \"student\": \"a\", \"teacher\": \"b\"}]},"
        " \"train\": {\"epochs\": 20, \"batch\": 64, \"accumulate\": 2, \"optimizer\": \"adamw\","
        "  \"weight_decay\": 0.01, \"beta1\": 0.8, \"beta2\": 0.99, \"epsilon\": 1e-6,"
        "  \"momentum\": 0.5, \"nesterov\": true, \"schedule\": \"linear\", \"warmup_epochs\": 1.5,"
        "  \"final_fraction\": 0.1, \"clip\": 1, \"max_norm\": 3, \"evaluate_every\": 2,"
        "  \"checkpoint_seconds\": 5},"
        " \"quantize\": {\"weight_bits\": 4, \"activation_bits\": 6, \"method\": \"lsq\","
        "  \"symmetric_activations\": true, \"observer\": \"percentile\", \"percentile\": 99,"
        "  \"ema\": 0.5, \"calibration_samples\": 64, \"qat\": {\"epochs\": 2, \"delay_steps\": 7,"
        "  \"batch\": 32}}}";
    kd_config *c = parse(text, 0, NULL);
    assert_string_equal(c->name, "full");
    assert_true(c->seed == 9007199254740992u && c->baseline);
    assert_string_equal(c->precision, "auto");
    assert_true(c->loss.divergence == KD_JENSEN_SHANNON && c->loss.skew == 0.5);
    assert_int_equal(c->data.kind, KD_DATA_CIFAR10);
    assert_string_equal(c->data.folder, "/c10");
    assert_true(c->data.mean_count == 3 && c->data.mean[1] == 0.456f);
    assert_true(c->data.deviation[2] == 0.225f);
    assert_true(c->data.validation == 5000 && c->data.train_limit == 100);
    assert_true(c->data.exclude_count == 2 && c->data.exclude[1] == 5);
    assert_true(c->augment.shift_h == 4 && c->augment.shift_w == 2 && c->augment.flip);

    assert_int_equal(c->model.kind, KD_MODEL_CNN);
    assert_int_equal(c->model.layer_count, 8);
    const kd_node_spec *l = c->model.layer;
    assert_true(l[0].kind == KD_NODE_CONV && l[0].channels == 16 && l[0].kernel[1] == 5);
    assert_true(l[0].stride[0] == 1 && l[0].stride[1] == 2);
    assert_true(l[0].padding[0] == 1 && l[0].padding[1] == 2);
    assert_true(l[0].groups == 1 && l[0].batch_norm && l[0].relu);
    assert_true(l[1].groups == -1 && !l[1].batch_norm && !l[1].relu && l[1].padding[0] == 0);
    assert_true(l[2].kind == KD_NODE_MAX_POOL && l[2].kernel[1] == 2 && l[2].stride[0] == 2);
    assert_true(l[3].kind == KD_NODE_AVG_POOL && l[3].kernel[1] == 3 && l[3].stride[1] == 1);
    assert_true(l[3].padding[0] == 1);
    assert_true(l[4].kind == KD_NODE_GLOBAL_AVG_POOL);
    assert_true(l[5].kind == KD_NODE_LINEAR && l[5].channels == 64 && !l[5].relu);
    assert_true(l[6].kind == KD_NODE_DROPOUT && l[6].drop == 0.25);
    assert_true(l[7].kind == KD_NODE_ACTIVATION && l[7].activation == KD_ACTIVATION_SILU);

    const kd_teacher_config *t = &c->teacher;
    assert_true(t->present && t->count == 1 && t->views == 4);
    assert_string_equal(t->source[0].weights, "configs/t.safetensors");
    assert_true(t->source[0].model.kind == KD_MODEL_RESNET && t->source[0].model.depth == 56);
    assert_true(t->source[0].model.width == 8 && t->source[0].model.shortcut == KD_SHORTCUT_B);
    assert_true(t->kind == KD_STORE_TOPK && t->dtype == KD_STORE_F32 && t->k == 5);

    assert_true(c->loss_baseline.hard == 1 && c->loss_baseline.label_smoothing == 0.1);
    assert_true(c->loss_baseline.kl == 0 && c->loss_baseline.hint_count == 0);
    assert_true(c->loss.temperature == 2.5 && c->loss.kl == 0.7 && c->loss.hard == 0.3);
    assert_true(c->loss.label_smoothing == 0.1 && c->loss.hint_count == 2);
    assert_int_equal(c->loss.hint[0].kind, KD_HINT_COSINE);
    assert_string_equal(c->loss.hint[0].student, "conv0");
    assert_string_equal(c->loss.hint[1].teacher, "b");
    assert_true(c->loss.hint[0].weight == 2 && c->loss.hint[1].weight == 1);

    const kd_train_spec *s = &c->train;
    assert_true(s->epochs == 20 && s->batch == 64 && s->accumulate == 2);
    assert_true(s->optimizer == KD_OPTIMIZER_ADAMW && s->learning_rate == 0.001);
    assert_true(s->weight_decay == 0.01 && s->beta1 == 0.8 && s->beta2 == 0.99);
    assert_true(s->epsilon == 1e-6 && s->momentum == 0.5 && s->nesterov);
    assert_true(s->schedule == KD_SCHEDULE_LINEAR && s->warmup_epochs == 1.5);
    assert_true(s->final_fraction == 0.1 && s->clip == 1 && s->max_norm == 3);
    assert_true(s->evaluate_every == 2 && s->checkpoint_seconds == 5);

    const kd_quantize_config *q = &c->quantize[0];
    assert_int_equal(c->quantize_count, 1);
    assert_string_equal(q->name, "w4a6");
    assert_string_equal(q->stage, "qat.w4a6");
    assert_true(q->spec.integers.weight_bits == 4 && q->spec.integers.activation_bits == 6);
    assert_true(q->spec.integers.method == KD_QUANT_LSQ && q->spec.integers.symmetric_activations);
    assert_true(q->spec.integers.observer == KD_OBSERVER_PERCENTILE &&
                q->spec.integers.percentile == 99);
    assert_true(q->spec.integers.ema == 0.5 && q->calibration_samples == 64);
    assert_true(q->qat && q->delay_steps == 7);
    assert_true(q->train.epochs == 2 && q->train.batch == 32 && q->train.beta1 == 0.8);
    assert_true(q->train.learning_rate == 0.0001 && q->train.warmup_epochs == 0);
    assert_true(q->train.optimizer == KD_OPTIMIZER_ADAMW && q->train.checkpoint_seconds == 5);
    kd_config_free(c);
}

static void reads_several_ways_to_quantize(void **state) {
    (void)state;
    kd_config *c = parse("{" DATA ", " MODEL ", " TRAIN
                         ", \"quantize\": [{\"qat\": {\"epochs\": 2}}, {\"weight_bits\": 4},"
                         " {\"name\": \"small\", \"weight_bits\": 4}]}",
                         0, NULL);
    assert_int_equal(c->quantize_count, 3);
    assert_string_equal(c->quantize[0].name, "int8");
    assert_string_equal(c->quantize[1].name, "w4a8");
    assert_string_equal(c->quantize[2].stage, "qat.small");
    assert_true(c->quantize[0].qat && !c->quantize[1].qat);
    kd_config_free(c);
}

static void reads_sound_and_ensembles(void **state) {
    (void)state;
    kd_config *c =
        parse("{\"data\": {\"kind\": \"audio\", \"train\": \"a.tsv\", \"test\": \"/b\", \"audio\":"
              " {\"sample_rate\": 8000, \"window\": 256, \"hop\": 128, \"mels\": 32, \"seconds\": "
              "0.75, \"trim\": 35, \"range\": 50, \"normalise\": \"bands\"}, \"augment\": "
              "{\"vocal_tract\": 0.2, \"tempo\": 0.3, \"mask\": [6, 5]}}, " MODEL ", " TRAIN
              ", \"teacher\": {\"ensemble\": [{\"config\": \"t.json\"},"
              " {\"weights\": \"../w.h5\", \"model\": {\"type\": \"mlp\", \"hidden\": []}}]}}",
              0, NULL);
    assert_string_equal(c->data.train_manifest, "configs/a.tsv");
    assert_string_equal(c->data.test_manifest, "/b");
    assert_true(c->data.audio.sample_rate == 8000 && c->data.audio.window == 256);
    assert_true(c->data.audio.hop == 128 && c->data.audio.mels == 32);
    assert_true(c->data.audio.seconds == 0.75);
    assert_true(c->data.audio.trim == 35 && c->data.audio.range == 50);
    assert_int_equal(c->data.audio.normalise, KD_CLIP_BANDS);
    assert_true(c->augment.vocal_tract == 0.2 && c->augment.tempo == 0.3);
    assert_true(c->augment.mask_h == 6 && c->augment.mask_w == 5);
    assert_int_equal(c->teacher.count, 2);
    assert_string_equal(c->teacher.source[0].config, "configs/t.json");
    assert_string_equal(c->teacher.source[1].weights, "configs/../w.h5");
    assert_int_equal(c->teacher.source[1].model.hidden_count, 0);
    assert_true(c->teacher.kind == KD_STORE_DENSE && c->teacher.dtype == KD_STORE_F16);
    assert_true(c->loss.temperature == 4 && c->loss.kl == 0.9 && c->loss.hard == 0.1);
    kd_config_free(c);
    c = parse("{\"data\": {\"kind\": \"audio\", \"train\": \"a\", \"test\": \"b\"}, " MODEL
              ", " TRAIN "}",
              0, NULL);
    assert_true(c->data.audio.sample_rate == 16000 && c->data.audio.mels == 40);
    assert_true(c->data.audio.trim == 0 && c->data.audio.range == 80);
    assert_int_equal(c->data.audio.normalise, KD_CLIP_PLAIN);
    kd_config_free(c);
}

/* Two seeds are two runs, also where doubles have gaps. */
static void keeps_every_seed(void **state) {
    (void)state;
    static const char *const seed[] = {"9007199254740993", "9223372036854775808",
                                       "18446744073709551615"};
    for (int i = 0; i < 3; i++) {
        char text[512], set[64];
        snprintf(text, sizeof text, "{" DATA ", " MODEL ", " TRAIN ", \"seed\": %s}", seed[i]);
        snprintf(set, sizeof set, "seed=%s", seed[i]);
        kd_config *file = parse(text, 0, NULL);
        kd_config *line = parse(SMALL, 1, (const char *const[]){set});
        assert_true(file->seed == strtoull(seed[i], NULL, 10) && line->seed == file->seed);
        assert_non_null(strstr(file->resolved, seed[i]));
        assert_string_equal(file->hash.hex, line->hash.hex);
        kd_config_free(file);
        kd_config_free(line);
    }
}

static void reads_class_names_and_stores(void **state) {
    (void)state;
    kd_config *c =
        parse("{\"data\": {\"kind\": \"idx\", \"folder\": \"m\", \"classes\": [\"shirt\","
              " \"Stiefel – groß\"]}, " MODEL ", " TRAIN ", \"teacher\": {\"store\":"
              " \"s\"}}",
              0, NULL);
    assert_int_equal(c->data.class_name_count, 2);
    assert_string_equal(c->data.class_names[1], "Stiefel – groß");
    assert_string_equal(c->teacher.store, "configs/s");
    assert_true(c->teacher.present && c->teacher.count == 0);
    kd_config_free(c);
}

/* Each text has one mistake; the message, behind the place, contains `says`. */
static const struct {
    const char *text, *says;
} WRONG[] = {
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 3, \"lerning_rate\": 1}}",
     "$.train.lerning_rate: unknown key; did you mean \"learning_rate\"?"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"loss\": {\"divergence\": \"reverse_kl\", \"skew\": 0.1}}",
     "$.loss.skew: goes with jensen_shannon, skewed_kl and skewed_reverse_kl only"},
    {"{" DATA ", " MODEL ", " TRAIN
     ", \"loss\": {\"divergence\": \"reverse_kl\", \"decoupled\": 8}}",
     "$.loss.decoupled: is made of forward_kl"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"teacher\": {\"weights\": \"t.h5\", " MODEL
     ", \"targets\": "
     "{\"kind\": \"topk\", \"k\": 2}}, \"loss\": {\"standardize\": true}}",
     "$.loss.standardize: needs all logits of the teacher"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"alone\": true}",
     "$.alone: this key is now called \"baseline\""},
    {"{" DATA ", " MODEL ", " TRAIN ", \"zzz\": 1}", "$.zzz: unknown key; see docs"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": \"3\"}}",
     "$.train.epochs: expected a whole number from 1 to 1000000000, found \"3\""},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 0}}", "expected a whole number"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 9000000000000000}}", "found 9000000000000000"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 2.5}}", "found 2.5"},
    {"{" DATA ", " MODEL ", \"train\": {}}", "$.train.epochs: missing; expected a whole number"},
    {"{" DATA ", " MODEL "}", "$.train: missing; expected an object"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"baseline\": 1}",
     "$.baseline: expected true or false, found 1"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"name\": \"a/b\"}", "$.name: files have this name"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"name\": \"..\"}", "$.name: files have this name"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"name\": \"\"}", "$.name: expected a text"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"seed\": 1e17}",
     "$.seed: expected a whole number from 0 to 18446744073709551615, found 1e+17"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"seed\": 18446744073709551616}",
     "from 0 to 18446744073709551615, found 18446744073709551616"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"seed\": -9007199254740993}", "found -9007199254740993"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 9e15}}", "from 1 to 1000000000, found 9e+15"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 1, \"epsilon\": 1e-60}}",
     "$.train.epsilon: expected a number from 1e-30 to 1, found 1e-60"},
    {"{" DATA ", \"model\": {\"type\": \"mlp\", \"hidden\": [3], \"dropout\": 0.99999999}, " TRAIN
     "}",
     "$.model.dropout: expected a number from 0 to 0.999999, found 0.99999999"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"m\", \"classes\": [\"a\", \"b\", \"a\"]}, " MODEL
     ", " TRAIN "}",
     "$.data.classes: \"a\" is the name of classes 0 and 2; give each its own"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"m\", \"classes\": [\"a\\nb\"]}, " MODEL
     ", " TRAIN "}",
     "$.data.classes: name 0 has a control character"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"precision\": \"bf16\"}",
     "expected \"float32\", \"bfloat16\" or \"auto\", found \"bf16\""},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 1, \"optimizer\": \"adam\"}}",
     "did you mean \"adamw\"?"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 1, \"momentum\": 1}}",
     "expected a number from 0 to 0.999999, found 1"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 1, \"learning_rate\": 0}}",
     "expected a number above 0, at most 1000000000, found 0"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 1, \"warmup_epochs\": 2}}", "2 epochs of warm"},
    {"{" DATA ", " MODEL ", \"train\": {\"epochs\": 1, \"nesterov\": true, \"momentum\": 0}}",
     "$.train.nesterov: needs a momentum"},
    {"{\"data\": {\"kind\": \"idx\"}, " MODEL ", " TRAIN "}",
     "$.data.folder: missing; data of kind"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"m\", \"train\": \"t\"}, " MODEL ", " TRAIN "}",
     "$.data.train: does not belong to data of kind \"idx\""},
    {"{\"data\": {\"kind\": \"cifar10\", \"folder\": \"m\", \"mean\": [1, 2, 3]}, " MODEL ", " TRAIN
     "}",
     "3 of \"mean\" but 0 of \"deviation\""},
    {"{\"data\": {\"kind\": \"cifar10\", \"folder\": \"m\", \"mean\": [1], \"deviation\": "
     "[1]}, " MODEL ", " TRAIN "}",
     "CIFAR-10 has 3 channels"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"m\", \"mean\": [1], \"deviation\": [0]}, " MODEL
     ", " TRAIN "}",
     "found 0 in it"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"m\", \"mean\": [1,1,1,1,1]}, " MODEL ", " TRAIN
     "}",
     "a list of 5, but at most 4"},
    {"{\"data\": {\"kind\": \"audio\", \"train\": \"t\", \"test\": \"t\", \"audio\": {\"window\":"
     " 512, \"seconds\": 0.03}}, " MODEL ", " TRAIN "}",
     "$.data.audio.window: 512 samples"},
    {"{\"data\": {\"kind\": \"audio\", \"train\": \"t\", \"test\": \"t\", \"augment\": {\"flip\":"
     " true}}, " MODEL ", " TRAIN "}",
     "$.data.augment.flip: would make low"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"m\", \"augment\": {\"mask\": [0, 2]}}, " MODEL
     ", " TRAIN "}",
     "$.data.augment.mask: is for sound only"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"${DISTILL_NO_SUCH}/m\"}, " MODEL ", " TRAIN "}",
     "the environment variable is not set"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"${DISTILL_EMPTY}/m\"}, " MODEL ", " TRAIN "}",
     "the environment variable is empty"},
    {"{\"data\": {\"kind\": \"idx\", \"folder\": \"${A\"}, " MODEL ", " TRAIN "}", "expected '}'"},
    {"{" DATA ", \"model\": {\"type\": \"rnn\"}, " TRAIN "}",
     "$.model.type: expected one of \"mlp\", \"cnn\", \"resnet\""},
    {"{" DATA ", \"model\": {\"hidden\": [3]}, " TRAIN "}", "$.model.type: missing"},
    {"{" DATA ", \"model\": {\"type\": \"mlp\", \"hidden\": [3, 0]}, " TRAIN "}", "found 0 in it"},
    {"{" DATA ", \"model\": {\"type\": \"mlp\", \"hidden\": [], \"layers\": []}, " TRAIN "}",
     "$.model.layers: unknown key for mlp"},
    {"{" DATA ", \"model\": {\"type\": \"resnet\", \"depth\": 18}, " TRAIN "}", "14 or 20"},
    {"{" DATA ", \"model\": {\"type\": \"cnn\", \"layers\": []}, " TRAIN "}", "at least one layer"},
    {"{" DATA ", \"model\": {\"type\": \"cnn\", \"layers\": [{\"cnov\": 3}]}, " TRAIN "}",
     "$.model.layers[0]: expected a key that is one of \"conv\""},
    {"{" DATA ", \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 3, \"kernel\": 2}]}, " TRAIN
     "}",
     "$.model.layers[0].kernel: padding \"same\" needs an odd kernel"},
    {"{" DATA
     ", \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 3, \"padding\": \"valid\"}]}, " TRAIN
     "}",
     "or \"same\", found \"valid\""},
    {"{" DATA
     ", \"model\": {\"type\": \"cnn\", \"layers\": [{\"conv\": 3, \"stride\": [1,2,3]}]}, " TRAIN
     "}",
     "or a list of two"},
    {"{" DATA
     ", \"model\": {\"type\": \"cnn\", \"layers\": [{\"max_pool\": 2, \"padding\": 2}]}, " TRAIN
     "}",
     "more than half of the window"},
    {"{" DATA ", \"model\": {\"type\": \"cnn\", \"layers\": [{\"global_avg_pool\": false}]}, " TRAIN
     "}",
     "can only be true"},
    {"{" DATA ", \"model\": {\"type\": \"cnn\", \"layers\": [{\"activation\": \"relu6\"}]}, " TRAIN
     "}",
     "$.model.layers[0].activation: expected \"gelu\", \"gelu_tanh\", \"sigmoid\", \"silu\" or "
     "\"tanh\""},
    {"{" DATA ", \"model\": {\"type\": \"cnn\", \"layers\": [7]}, " TRAIN "}",
     "expected an object"},
    {TAUGHT("{}"), "expected exactly one of \"config\""},
    {TAUGHT("{\"config\": \"a\", \"store\": \"b\"}"), "found 2 of them"},
    {TAUGHT("{\"weights\": \"a\"}"), "$.teacher.model: missing"},
    {TAUGHT("{\"config\": \"a\", \"model\": {\"type\": \"mlp\", \"hidden\": []}}"),
     "goes with \"weights\" only"},
    {TAUGHT("{\"ensemble\": []}"), "at least one network"},
    {TAUGHT("{\"ensemble\": [{}]}"), "$.teacher.ensemble[0]: expected either \"config\""},
    {TAUGHT("{\"store\": \"s\", \"targets\": {}}"), "is made already"},
    {TAUGHT("{\"config\": \"a\", \"targets\": {\"kind\": \"topk\"}}"), "$.teacher.targets.k: miss"},
    {TAUGHT("{\"config\": \"a\", \"targets\": {\"k\": 3}}"), "goes with kind \"topk\" only"},
    {TAUGHT("{\"config\": \"a\", \"views\": 3}"), "views differ by augmentation"},
    {TAUGHT("{\"store\": \"a\"}, \"loss\": {\"hints\": [{\"kind\": \"mse\", \"student\": \"a\","
            " \"teacher\": \"b\"}]}"),
     "but the teacher is a store"},
    {TAUGHT("{\"store\": \"a\"}, \"loss\": {\"kl\": 0, \"hard\": 0}"), "nothing is left to learn"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"loss\": {\"kl\": 0.5}}", "but there is no \"teacher\""},
    {"{" DATA ", " MODEL ", " TRAIN ", \"loss\": {\"temperature\": 0}}",
     "from 0.001 to 1000, found 0"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"baseline\": true}", "but there is no \"teacher\""},
    {"{" DATA ", " MODEL ", " TRAIN ", \"quantize\": {\"weight_bits\": 9}}",
     "from 2 to 8, found 9"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"quantize\": [{\"weight_bits\": 9}]}",
     "$.quantize[0].weight_bits: expected"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"quantize\": [{}, {\"observer\": \"mse\"}]}",
     "$.quantize[1].name: two results"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"quantize\": {\"name\": \"a/b\"}}",
     "$.quantize.name: files have"},
    {"{" DATA ", " MODEL ", " TRAIN
     ", \"quantize\": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
     "{}, {}, {}, {}, {}]}",
     "$.quantize: a list of 17"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"quantize\": {\"budget\": {}}}",
     "$.quantize.budget: expected exactly one of"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"quantize\": {\"budget\": {\"bytes\": \"3 apples\"}}}",
     "$.quantize.budget.bytes: \"3 apples\" is no size"},
    {"{" DATA ", " MODEL ", " TRAIN
     ", \"quantize\": {\"budget\": {\"bytes\": \"3 kB\", \"formats\": [\"q4_K_M\"]}}}",
     "$.quantize.budget.formats: \"q4_K_M\" is no format that weights"},
    {"{" DATA ", " MODEL ", " TRAIN
     ", \"quantize\": {\"budget\": {\"bits_per_weight\": 4}, \"format\": \"q4_0\"}}",
     "$.quantize.format: stands beside"},
    {"{" DATA ", " MODEL ", " TRAIN
     ", \"quantize\": {\"budget\": {\"bits_per_weight\": 4}, \"weight_bits\": 4}}",
     "$.quantize.weight_bits: is of networks in integers"},
    {"{" DATA ", " MODEL ", " TRAIN ", \"quantize\": {\"qat\": {}}}",
     "$.quantize.qat.epochs: miss"},
    {"{" DATA ", " MODEL ", " TRAIN
     ", \"quantize\": {\"qat\": {\"epochs\": 1, \"warmup_epochs\": 4}}}",
     "$.quantize.qat.warmup_epochs: 4 epochs"},
    {"{\"data\": {\"kind\": \"cifar10\", \"folder\": \"m\", \"classes\": [\"a\", \"b\"]}, " MODEL
     ", " TRAIN "}",
     "$.data.classes: is for idx files, which do not name their classes"},
    {"{" DATA ", " MODEL ", " TRAIN
     ", \"loss\": {\"hints\": [{\"kind\": \"mse\", \"student\": \"a\","
     " \"teacher\": \"b\"}]}}",
     "$.loss.hints: there is no \"teacher\""},
    {"[]", "$: expected an object"},
};

/* A teacher of whom nothing will be learnt is told of, and allowed. */
static void tells_of_idle_teachers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool idle;
    } cases[] = {
        {TAUGHT("{\"store\": \"a\"}, \"loss\": {\"kl\": 0, \"hard\": 1}"), true},
        {TAUGHT("{\"store\": \"a\"}, \"loss\": {\"kl\": 0.1, \"hard\": 1}"), false},
        {TAUGHT("{\"config\": \"a\"}, \"loss\": {\"kl\": 0, \"hints\": [{\"kind\": \"mse\","
                " \"student\": \"a\", \"teacher\": \"b\"}]}"),
         false},
        {"{" DATA ", " MODEL ", " TRAIN ", \"loss\": {\"hard\": 1}}", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_config *config;
        if (parse_with(&config, cases[i].text, 0, NULL) != KD_OK) fail_msg("%s", logged);
        if ((strstr(logged, "nothing of it will be learnt") != NULL) != cases[i].idle)
            fail_msg("%s: '%s'", cases[i].text, logged);
        kd_config_free(config);
    }
}

static void finds_each_mistake(void **state) {
    (void)state;
    setenv("DISTILL_EMPTY", "", 1);
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        kd_config *config;
        int status = parse_with(&config, WRONG[i].text, 0, NULL);
        if (status != KD_ECONFIG) fail_msg("status %d for %s", status, WRONG[i].text);
        assert_null(config);
        if (!strstr(logged, WRONG[i].says) || strstr(logged, "\n") != strrchr(logged, '\n'))
            fail_msg("%s\n  gave    %s\n  wanted  %s", WRONG[i].text, logged, WRONG[i].says);
    }
}

static void reports_all_at_once_in_order(void **state) {
    (void)state;
    kd_config *config;
    int status = parse_with(&config,
                            "{\n  \"data\": {\"kind\": \"idx\", \"folder\": \"m\"},\n"
                            "  \"model\": {\"type\": \"resnet\", \"depth\": 9},\n"
                            "  \"loss\": {\"temprature\": 4, \"kl\": 1},\n"
                            "  \"train\": {\"epochs\": -1,\n\t\"batch\": \"many\"},\n"
                            "  \"baseline\": true\n}\n",
                            1, (const char *const[]){"train.clip=x"});
    assert_int_equal(status, KD_ECONFIG);
    assert_string_equal(
        logged,
        "configs/test.json:3:40: $.model.depth: 9, but these networks have 6n + 2 layers: 8 or 14\n"
        "configs/test.json:4:12: $.loss.temprature: unknown key; did you mean \"temperature\"?\n"
        "configs/test.json:5:23: $.train.epochs: expected a whole number from 1 to 1000000000, "
        "found -1\n"
        "configs/test.json:6:11: $.train.batch: expected a whole number from 1 to 1048576, found"
        " \"many\"\n"
        "configs/test.json:7:15: $.baseline: trains the network also without the teacher, but "
        "there is"
        " no \"teacher\"\n"
        "--set train.clip: $.train.clip: expected a number from 0 to 1000000000, found \"x\"\n");
    assert_string_equal(kd_error(), "configs/test.json: 6 errors in the configuration");
}

static void says_where_json_ends(void **state) {
    (void)state;
    kd_config *config;
    assert_int_equal(parse_with(&config, "{\n\"data\": }", 0, NULL), KD_ECONFIG);
    assert_string_equal(kd_error(), "configs/test.json:2:9: expected a value, found '}'");
    assert_int_equal(kd_config_load(&config, "/nowhere/c.json", 0, NULL), KD_ENOINPUT);
}

static void resolves_stably(void **state) {
    (void)state;
    kd_config *a = parse(SMALL, 0, NULL);
    kd_config *b =
        parse("{" TRAIN ", " MODEL ",\n\n " DATA ", \"seed\": 1.0, \"loss\": {}}", 0, NULL);
    assert_string_equal(a->resolved, b->resolved);
    assert_string_equal(a->hash.hex, b->hash.hex);
    kd_config_free(b);
    b = parse(SMALL, 1, (const char *const[]){"train.epochs=4"});
    assert_int_equal(b->train.epochs, 4);
    assert_string_not_equal(a->hash.hex, b->hash.hex);
    kd_config_free(a);
    kd_config_free(b);
}

static void takes_sections_away(void **state) {
    (void)state;
    kd_config *c =
        parse(TAUGHT("{\"store\": \"s\"}"), 2, (const char *const[]){"teacher=null", "name=other"});
    assert_false(c->teacher.present);
    assert_true(c->loss.kl == 0 && c->loss.hard == 1);
    assert_string_equal(c->name, "other");
    kd_config_free(c);
    kd_config *none;
    assert_int_equal(parse_with(&none, SMALL, 1, (const char *const[]){"seed"}), KD_EUSAGE);
}

static void fills_in_variables(void **state) {
    (void)state;
    static const struct {
        const char *written, *value, *resolved;
    } paths[] = {
        {"${DISTILL_T}/m", "/data", "/data/m"},
        {"${DISTILL_T}/m", "data", "configs/data/m"},
        {"${DISTILL_T:-d}/m", NULL, "configs/d/m"},
        {"${DISTILL_T:-/d}/m", NULL, "/d/m"},
        {"${DISTILL_T:-/d}/m", "/e", "/e/m"},
        {"${DISTILL_T:-/d}/m", "", "/d/m"},
        {"${DISTILL_T:-}m", NULL, "configs/m"},
        {"a/${DISTILL_T}", "x", "configs/a/${DISTILL_T}"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char set[128];
        snprintf(set, sizeof set, "data.folder=%s", paths[i].written);
        if (paths[i].value)
            setenv("DISTILL_T", paths[i].value, 1);
        else
            unsetenv("DISTILL_T");
        kd_config *c = parse(SMALL, 1, (const char *const[]){set});
        assert_string_equal(c->data.folder, paths[i].resolved);
        assert_non_null(strstr(c->resolved, paths[i].written));
        kd_config_free(c);
    }
}

/* The files in the tree are what the tables say. */
static void check_generated(const kd_config_table *root, const char *schema_path,
                            const char *manual_path, const char *option) {
    kd_text schema = {0}, tables = {0};
    kd_config_add_schema(&schema, root);
    kd_config_add_markdown(&tables, root);
    assert_int_equal(kd_text_finish(&schema, "test"), KD_OK);
    assert_int_equal(kd_text_finish(&tables, "test"), KD_OK);
    kd_json *json; /* is JSON, and has every key of a config that uses them all */
    if (kd_json_parse(&json, schema.text, schema.length, "schema") < 0) fail_msg("%s", kd_error());
    kd_json_free(json);
    char *file;
    size_t length;
    assert_int_equal(kd_file_read(&file, &length, schema_path, 1 << 20), KD_OK);
    if (strcmp(file, schema.text) != 0)
        fail_msg("%s is stale: distill schema%s > %s", schema_path, option, schema_path);
    free(file);
    assert_int_equal(kd_file_read(&file, &length, manual_path, 1 << 20), KD_OK);
    while (tables.length > 0 && tables.text[tables.length - 1] == '\n')
        tables.text[--tables.length] = '\0';
    if (!strstr(file, tables.text))
        fail_msg("%s is stale: put in what distill schema%s --markdown prints", manual_path,
                 option);
    free(file);
    free(schema.text);
    free(tables.text);
}

static void schema_and_documentation_agree(void **state) {
    (void)state;
    check_generated(&kd_config_root, "configs/schema.json", "docs/configuration.md", "");
    check_generated(&kd_speech_config_root, "configs/speech.schema.json", "docs/speech.md",
                    " --task speech");
    check_generated(&kd_language_config_root, "configs/language.schema.json", "docs/language.md",
                    " --task language");
}

/* The example of the documentation, and the recipes. */
static void examples_are_right(void **state) {
    (void)state;
    char *text;
    size_t length;
    assert_int_equal(kd_file_read(&text, &length, "docs/configuration.md", 1 << 20), KD_OK);
    char *begin = strstr(text, "```json\n"), *end = begin ? strstr(begin + 8, "```") : NULL;
    assert_non_null(end);
    *end = '\0';
    kd_config_free(parse(begin + 8, 0, NULL));
    free(text);
    glob_t found;
    assert_int_equal(glob("configs/*.json", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        const kd_task *task;
        void *config = NULL;
        if (strstr(path, "schema.json")) continue;
        int status = kd_task_of_config(&task, path);
        if (status == KD_OK) status = task->load(&config, path, 0, NULL);
        if (status < 0) fail_msg("%s", kd_error());
        task->free_config(config);
    }
    globfree(&found);
}

/* Fields are as wide as their rows' ranges; every default passes its own check. */
static void check_table(const kd_config_table *table) {
    for (int i = 0; i < table->variant_count; i++) check_table(table->variant[i]);
    for (int i = 0; i < table->count; i++) {
        const kd_config_key *key = &table->key[i];
        if (key->type == KD_KEY_INTEGER && key->size == sizeof(int))
            assert_true(key->low >= -1 && key->high <= 2147483647.0);
        if (key->type == KD_KEY_PAIR) assert_int_equal(key->size, 2 * sizeof(int));
        if (key->type == KD_KEY_SWITCH && key->size) assert_int_equal(key->size, sizeof(bool));
        assert_true(key->doc && key->doc[strlen(key->doc) - 1] != '.');
        if (key->fallback && key->type != KD_KEY_OBJECT) {
            cJSON *item = cJSON_Parse(key->fallback);
            kd_config_reader reader = {0};
            assert_non_null(item);
            assert_true(kd_config_check_value(&reader, item, "", key));
            cJSON_Delete(item);
        }
        if (key->table) check_table(key->table);
    }
}

static void tables_are_sound(void **state) {
    (void)state;
    check_table(&kd_config_root);
    check_table(&kd_speech_config_root);
    check_table(&kd_language_config_root);
}

static const kd_config_key *find_key(const kd_config_table *table, const char *name) {
    int i = 0;
    while (i < table->count && strcmp(table->key[i].name, name) != 0) i++;
    assert_true(i < table->count);
    return &table->key[i];
}

/* A config's words for kinds of data are kd_data_kind_name, in its order. */
static void data_kinds_have_their_words(void **state) {
    (void)state;
    char words[256] = "";
    for (int kind = 0; kind < KD_DATA_KINDS; kind++) {
        assert_non_null(kd_data_kind_name[kind]);
        if (kind > 0) strcat(words, "|");
        strcat(words, kd_data_kind_name[kind]);
    }
    assert_string_equal(find_key(find_key(&kd_config_root, "data")->table, "kind")->choices, words);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_in_defaults),
        cmocka_unit_test(reads_every_key),
        cmocka_unit_test(reads_several_ways_to_quantize),
        cmocka_unit_test(reads_sound_and_ensembles),
        cmocka_unit_test(keeps_every_seed),
        cmocka_unit_test(reads_class_names_and_stores),
        cmocka_unit_test(finds_each_mistake),
        cmocka_unit_test(tells_of_idle_teachers),
        cmocka_unit_test(reports_all_at_once_in_order),
        cmocka_unit_test(says_where_json_ends),
        cmocka_unit_test(resolves_stably),
        cmocka_unit_test(takes_sections_away),
        cmocka_unit_test(fills_in_variables),
        cmocka_unit_test(schema_and_documentation_agree),
        cmocka_unit_test(examples_are_right),
        cmocka_unit_test(tables_are_sound),
        cmocka_unit_test(data_kinds_have_their_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
