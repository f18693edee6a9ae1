#include "tasks/classify/rules.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/defaults.h"
#include "config/rows.h"
#include "distill/quantize_keys.h"
#include "distill/train_keys.h"
#include "layers/node.h"
#include "tasks/classify/config.h"

/* Of what stands in another section the rules look at the JSON, never at the fields, which may not
 * have been read for an error. */
static const cJSON *section_of(const kd_config_reader *reader, const char *name) {
    return kd_json_get(kd_json_root(reader->json), name);
}

/* --- the whole ------------------------------------------------------------------------------ */

void kd_config_root_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    char name[sizeof((kd_config *)0)->name];
    kd_config_default_name(name, sizeof name, reader->path);
    kd_default_text(reader, out, "name", name);
}

void kd_config_root_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base) {
    kd_config *config = base;
    config->loss_baseline = (kd_loss_config){
        .hard = 1, .temperature = 1, .label_smoothing = config->loss.label_smoothing};
    kd_config_check_name(reader, object, path);
    const cJSON *held = kd_json_get(kd_json_get(object, "data"), "validation");
    if (cJSON_GetArraySize(kd_json_get(object, "correct_bias")) > 0 &&
        !(cJSON_IsNumber(held) && held->valuedouble > 0))
        kd_config_complain_key(reader, object, path, "correct_bias",
                               "is chosen on samples held out, but \"data.validation\" is 0");
    if (cJSON_IsTrue(kd_json_get(object, "baseline")) && !kd_json_get(object, "teacher"))
        kd_config_complain_key(reader, object, path, "baseline",
                               "trains the network also without the teacher, but there is no "
                               "\"teacher\"");
}

/* --- data ----------------------------------------------------------------------------------- */

void kd_config_audio_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base) {
    const kd_audio_spec *audio = base;
    if (audio->seconds * audio->sample_rate <= audio->window)
        kd_config_complain_key(
            reader, object, path, "window", "%d samples, but a clip of %g s at %d Hz has only %.0f",
            audio->window, audio->seconds, audio->sample_rate, audio->seconds * audio->sample_rate);
}

void kd_config_data_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    const cJSON *kind = kd_json_get(object, "kind");
    const char *word = cJSON_IsString(kind) ? kind->valuestring : "";
    bool audio = strcmp(word, "audio") == 0;
    if (audio) kd_default_object(reader, out, "audio");
    if (audio) kd_default_none(reader, out, "mean");
    if (audio) kd_default_none(reader, out, "deviation");
    if (strcmp(word, "idx") != 0) kd_default_none(reader, out, "classes");
}

/* The keys that belong to one kind of data must be there for it, or must not. */
static void check_kind_keys(kd_config_reader *reader, const cJSON *object, const char *path,
                            bool audio) {
    static const struct {
        const char *name;
        bool audio, needed;
    } special[] = {{"folder", false, true}, {"train", true, true},  {"test", true, true},
                   {"audio", true, false},  {"mean", false, false}, {"deviation", false, false}};
    const char *kind = kd_json_get(object, "kind")->valuestring;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        const cJSON *item = kd_json_get(object, special[i].name);
        if (special[i].audio == audio && special[i].needed && !item)
            kd_config_complain_key(reader, object, path, special[i].name,
                                   "missing; data of kind \"%s\" needs it", kind);
        if (special[i].audio != audio && item)
            kd_config_complain_key(reader, object, path, special[i].name,
                                   "does not belong to data of kind \"%s\"", kind);
    }
}

/* What data.augment asks for must be possible with this kind of data. */
static void check_augment(kd_config_reader *reader, const cJSON *data, const char *path,
                          const kd_config *config) {
    const kd_augment *a = &config->augment;
    const bool audio = config->data.kind == KD_DATA_AUDIO;
    const struct {
        const char *name, *complaint;
        bool wrong;
    } check[] = {
        {"vocal_tract", "is for sound only", !audio && a->vocal_tract > 0},
        {"tempo", "is for sound only", !audio && a->tempo > 0},
        {"mask", "is for sound only", !audio && (a->mask_h > 0 || a->mask_w > 0)},
        {"flip", "would make low frequencies of high ones", audio && a->flip},
    };
    char inner[KD_CONFIG_PATH_MAX];
    snprintf(inner, sizeof inner, "%s.augment", path);
    for (size_t i = 0; i < sizeof check / sizeof *check; i++)
        if (check[i].wrong)
            kd_config_complain_key(reader, kd_json_get(data, "augment"), inner, check[i].name, "%s",
                                   check[i].complaint);
}

/* A name stands for one class, in tables, in stores and in exported files. */
static void check_class_names(kd_config_reader *reader, const cJSON *object, const char *path,
                              const kd_config *config) {
    const kd_data_spec *data = &config->data;
    for (int i = 0; i < data->class_name_count; i++) {
        const char *wrong = kd_name_fault(data->class_names[i]);
        if (wrong) kd_config_complain_key(reader, object, path, "classes", "name %d %s", i, wrong);
        for (int k = 0; k < i; k++)
            if (strcmp(data->class_names[k], data->class_names[i]) == 0)
                kd_config_complain_key(reader, object, path, "classes",
                                       "\"%s\" is the name of classes %d and %d; give each its own",
                                       data->class_names[i], k, i);
    }
}

void kd_config_data_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base) {
    const kd_config *config = base;
    kd_data_kind kind = config->data.kind;
    check_kind_keys(reader, object, path, kind == KD_DATA_AUDIO);
    check_augment(reader, object, path, config);
    check_class_names(reader, object, path, config);
    int means = cJSON_GetArraySize(kd_json_get(object, "mean"));
    int deviations = cJSON_GetArraySize(kd_json_get(object, "deviation"));
    if (means != deviations)
        kd_config_complain_key(reader, object, path, deviations ? "deviation" : "mean",
                               "%d of \"mean\" but %d of \"deviation\"", means, deviations);
    if (kind == KD_DATA_CIFAR10 && means != 0 && means != 3)
        kd_config_complain_key(reader, object, path, "mean",
                               "%d numbers, but CIFAR-10 has 3 channels", means);
    if (kind != KD_DATA_IDX && kd_json_get(object, "classes"))
        kd_config_complain_key(reader, object, path, "classes",
                               "is for idx files, which do not name their classes");
}

/* --- model ---------------------------------------------------------------------------------- */

/* The kind whose first key the object has. */
void kd_config_layer_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base) {
#define LAYER(KIND, name) {KD_NODE_##KIND, &kd_layer_##name},
    static const struct {
        kd_node_kind kind;
        const kd_config_table *table;
    } layer[] = {KD_LAYER_KINDS(LAYER)};
    kd_node_spec *spec = base;
    (void)reader, (void)path;
    for (int i = COUNT(layer) - 1; i >= 0; i--)
        if (kd_json_get(object, layer[i].table->key[0].name)) spec->kind = layer[i].kind;
}

void kd_config_cnn_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                          void *base) {
    const kd_model_spec *model = base;
    if (model->layer_count == 0)
        kd_config_complain_key(reader, object, path, "layers", "expected at least one layer");
}

void kd_config_resnet_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                             void *base) {
    const kd_model_spec *model = base;
    int below = (model->depth - 2) / 6 * 6 + 2;
    if (model->depth != below)
        kd_config_complain_key(reader, object, path, "depth",
                               "%d, but these networks have 6n + 2 layers: %d or %d", model->depth,
                               below, below + 6);
}

/* --- teacher -------------------------------------------------------------------------------- */

/* "model" goes with "weights", and only with them; an ONNX file is a model itself. */
static void check_weights(kd_config_reader *reader, const cJSON *object, const char *path) {
    bool weights = kd_json_get(object, "weights") != NULL;
    bool model = kd_json_get(object, "model") != NULL;
    const char *file = weights ? cJSON_GetStringValue(kd_json_get(object, "weights")) : NULL;
    const bool onnx = file && kd_ends_with(file, ".onnx");
    if (onnx && model)
        kd_config_complain_key(reader, object, path, "model",
                               "the .onnx file brings its own network");
    if (weights && !model && !onnx)
        kd_config_complain_key(
            reader, object, path, "model",
            "missing; \"weights\" alone do not tell which network they belong to");
    if (model && !weights)
        kd_config_complain_key(reader, object, path, "model", "goes with \"weights\" only");
}

void kd_config_source_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                             void *base) {
    (void)base;
    if (!kd_json_get(object, "config") == !kd_json_get(object, "weights"))
        kd_config_complain(reader, object, false, path,
                           "expected either \"config\", or \"weights\" and \"model\"");
    else
        check_weights(reader, object, path);
}

void kd_config_teacher_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    if (kd_json_get(object, "store")) kd_default_none(reader, out, "targets");
}

static bool is_augmented(const kd_config_reader *reader) {
    const cJSON *data = section_of(reader, "data"), *augment = kd_json_get(data, "augment");
    return augment && augment->child;
}

void kd_config_teacher_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                              void *base) {
    static const char *const source[] = {"config", "weights", "ensemble", "store"};
    kd_teacher_config *teacher = base;
    int given = 0;
    for (int i = 0; i < 4; i++) given += kd_json_get(object, source[i]) != NULL;
    if (given != 1) {
        kd_config_complain(reader, object, false, path,
                           "expected exactly one of \"config\", \"weights\", \"ensemble\" and "
                           "\"store\", found %d of them",
                           given);
        return;
    }
    check_weights(reader, object, path);
    bool foreign = kd_json_get(object, "store") != NULL;
    const cJSON *ensemble = kd_json_get(object, "ensemble");
    if (!ensemble && !foreign) teacher->count = 1;
    if (ensemble && teacher->count == 0)
        kd_config_complain_key(reader, object, path, "ensemble", "expected at least one network");
    if (foreign && kd_json_get(object, "targets"))
        kd_config_complain_key(reader, object, path, "targets",
                               "says how a store is to be made, but \"store\" is made already");
    if (teacher->views > 0 && !is_augmented(reader))
        kd_config_complain_key(reader, object, path, "views",
                               "views differ by augmentation, but data.augment says nothing");
}

void kd_config_targets_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                              void *base) {
    const kd_teacher_config *teacher = base;
    bool topk = teacher->kind == KD_STORE_TOPK, k = kd_json_get(object, "k") != NULL;
    if (topk && !k)
        kd_config_complain_key(reader, object, path, "k", "missing; kind \"topk\" needs it");
    if (k && !topk)
        kd_config_complain_key(reader, object, path, "k", "goes with kind \"topk\" only");
}

/* --- loss, train ---------------------------------------------------------------------------- */

void kd_config_loss_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    bool taught = section_of(reader, "teacher") != NULL;
    kd_default_number(reader, out, "temperature", taught ? 4 : 1);
    kd_default_number(reader, out, "kl", taught ? 0.9 : 0);
    kd_default_number(reader, out, "hard", taught ? 0.1 : 1);
    kd_config_divergence_defaults(reader, object, out);
}

/* Decoupled and standardized losses are of all logits, and the former has a formula of its own. */
static void check_soft_loss(kd_config_reader *reader, const cJSON *object, const char *path,
                            const kd_loss_config *loss) {
    const cJSON *targets = kd_json_get(section_of(reader, "teacher"), "targets");
    const cJSON *kind = kd_json_get(targets, "kind");
    const bool topk = cJSON_IsString(kind) && strcmp(kind->valuestring, "topk") == 0;
    kd_config_check_divergence(reader, object, path);
    if (loss->decoupled > 0 && loss->divergence != KD_FORWARD_KL)
        kd_config_complain_key(reader, object, path, "decoupled",
                               "is made of forward_kl; there is no decoupled form of others");
    if (topk && (loss->decoupled > 0 || loss->standardize))
        kd_config_complain_key(reader, object, path,
                               loss->decoupled > 0 ? "decoupled" : "standardize",
                               "needs all logits of the teacher, but \"teacher.targets\" keeps %s",
                               "the largest only");
}

void kd_config_loss_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base) {
    const kd_loss_config *loss = base;
    const cJSON *teacher = section_of(reader, "teacher");
    if (!teacher && loss->kl > 0)
        kd_config_complain_key(reader, object, path, "kl",
                               "%g, but there is no \"teacher\" to be near to", loss->kl);
    check_soft_loss(reader, object, path, loss);
    if (loss->kl <= 0 && loss->hard <= 0 && loss->hint_count == 0)
        kd_config_complain(reader, object, false, path,
                           "\"kl\" and \"hard\" are both 0: nothing is left to learn from");
    else if (teacher && loss->kl <= 0 && loss->hint_count == 0)
        kd_warn(
            "%s: there is a teacher, but loss.kl is 0 and there are no hints: nothing of it will "
            "be learnt",
            reader->path);
    if (loss->hint_count == 0) return;
    if (!teacher)
        kd_config_complain_key(reader, object, path, "hints", "there is no \"teacher\"");
    else if (kd_json_get(teacher, "store") || kd_json_get(teacher, "ensemble"))
        kd_config_complain_key(reader, object, path, "hints",
                               "look into one teacher network, but the teacher is %s",
                               kd_json_get(teacher, "store") ? "a store" : "an ensemble");
}

void kd_config_train_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    const cJSON *optimizer = kd_json_get(object, "optimizer");
    bool adam = cJSON_IsString(optimizer) && strcmp(optimizer->valuestring, "adamw") == 0;
    kd_default_number(reader, out, "learning_rate", adam ? 0.001 : 0.1);
}

/* --- quantize ------------------------------------------------------------------------------- */

static int bits_of(const cJSON *object, const char *key) {
    const cJSON *bits = kd_json_get(object, key);
    return cJSON_IsNumber(bits) ? (int)bits->valuedouble : 8;
}

static const char *const OF_INTEGERS[] = {
    "weight_bits", "activation_bits", "method", "symmetric_activations",
    "observer",    "percentile",      "ema",    "calibration_samples"};
enum { OF_INTEGERS_COUNT = (int)(sizeof OF_INTEGERS / sizeof *OF_INTEGERS) };

/* How many of OF_INTEGERS are none of rounded weights: one that sees samples has the last, too. */
static int count_foreign(const cJSON *object) {
    const kd_quantizer *rounding = kd_config_rounding(object);
    return OF_INTEGERS_COUNT - (rounding && rounding->sees != KD_SEES_NOTHING);
}

void kd_config_quantize_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    const cJSON *format = kd_json_get(object, "format");
    kd_config_rounding_defaults(reader, object, out);
    if (cJSON_IsString(format) || kd_json_get(object, "budget")) {
        kd_default_text(reader, out, "name",
                        cJSON_IsString(format) ? format->valuestring : "budget");
        for (int i = 0; i < count_foreign(object); i++)
            kd_default_none(reader, out, OF_INTEGERS[i]);
        return;
    }
    int weights = bits_of(object, "weight_bits"), activations = bits_of(object, "activation_bits");
    char name[sizeof((kd_quantize_config *)0)->name] = "int8";
    if (weights != 8 || activations != 8)
        snprintf(name, sizeof name, "w%da%d", weights, activations);
    kd_default_text(reader, out, "name", name);
}

/* Which quantizer it is. */
static void choose_quantizer(kd_config_reader *reader, const cJSON *object, const char *path,
                             kd_quantize_config *quantize) {
    quantize->spec.format = kd_config_format(&quantize->budget, quantize->format_name);
    quantize->spec.how =
        quantize->spec.format ? kd_config_rounding(object) : &kd_quantizer_integers;
    if (quantize->rounding[0] && !quantize->spec.format)
        kd_config_complain_key(reader, object, path, "rounding",
                               "goes with \"format\" or \"budget\" only");
    kd_config_check_budget(reader, object, path, &quantize->budget, true);
    kd_config_check_rounding(reader, object, path);
    for (int i = 0; quantize->spec.format && i < count_foreign(object); i++)
        if (kd_json_get(object, OF_INTEGERS[i]))
            kd_config_complain_key(reader, object, path, OF_INTEGERS[i],
                                   "is of networks in integers; with \"format\" only weights are "
                                   "rounded");
    if (quantize->spec.format && !kd_number_format_in_gguf(quantize->spec.format))
        kd_config_complain_key(reader, object, path, "format", "GGUF files cannot hold it");
    if (quantize->spec.format && quantize->delay_steps > 0)
        kd_config_complain_key(reader, object, path, "qat.delay_steps",
                               "is of networks in integers; with \"format\" no activation waits");
}

void kd_config_quantize_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                               void *base) {
    kd_quantize_config *quantize = base;
    choose_quantizer(reader, object, path, quantize);
    kd_config_check_name(reader, object, path);
    snprintf(quantize->stage, sizeof quantize->stage, "qat.%s", quantize->name);
    const kd_config *config = reader->whole;
    for (const kd_quantize_config *other = config->quantize; other < quantize; other++)
        if (strcmp(other->name, quantize->name) == 0)
            kd_config_complain_key(reader, object, path, "name",
                                   "two results with the name \"%s\"; give one another",
                                   quantize->name);
}

void kd_config_qat_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                          void *base) {
    const kd_quantize_config *quantize = base;
    kd_config_check_train(reader, object, path, &quantize->train);
}
