#include "tasks/language/language_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/defaults.h"
#include "distill/quantize_keys.h"
#include "distill/train_keys.h"

static void root_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
static void root_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base);
static void model_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                         void *base);
static void teacher_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base);
static void hint_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base);
static void loss_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base);
static void qat_finish(kd_config_reader *reader, const cJSON *object, const char *path, void *base);
static void quantize_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
static void quantize_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base);
static void train_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);

/* clang-format off */
#define TEXTS(part) LIST(kd_language_config, data.part.path, data.part.count)
static const kd_config_key DATA_KEYS[] = {
    {"kind", KD_KEY_CHOICE, NOWHERE, .choices = KD_LANGUAGE_KINDS, .required = true,
     .doc = "files of text"},
    {"train", KD_KEY_PATHS, TEXTS(train), .required = true,
     .doc = "what the student learns from: files of text, JSON lines, folders of them"},
    {"validation", KD_KEY_PATHS, TEXTS(validation), .fallback = "[]",
     .doc = "likewise, held out to choose the best epoch"},
    {"test", KD_KEY_PATHS, TEXTS(test), .fallback = "[]",
     .doc = "likewise, for the perplexities of the report"},
    {"context", KD_KEY_INTEGER, FIELD(kd_language_config, data.context), RANGE(8, 1 << 20),
     .fallback = "512", .doc = "tokens that are read together; documents are packed into them, and none sees another"},
    {"source", KD_KEY_TEXT, FIELD(kd_language_config, data.source),
     .doc = "where the text comes from, said when a file is missing"},
};
static const kd_config_table DATA_TABLE = {.name = "data", .key = DATA_KEYS,
    .count = COUNT(DATA_KEYS), .doc = "Text."};

#define SIZE(key, most, what)                                                                      \
    {#key, KD_KEY_INTEGER, FIELD(kd_language_config, model.key), RANGE(1, most),                   \
     .depends = "the teacher's", .doc = what}
static const kd_config_key MODEL_KEYS[] = {
    {"type", KD_KEY_CHOICE, NOWHERE, .choices = "llama", .required = true,
     .doc = "which kind of network; llama: Llama, SmolLM, Mistral, Qwen2, Qwen3, as the teacher is"},
    SIZE(layers, KD_LANGUAGE_LAYERS_MAX, "of the student"),
    {"keep", KD_KEY_INTEGERS, LIST(kd_language_config, model.keep, model.keep_count),
     RANGE(0, KD_LANGUAGE_LAYERS_MAX - 1), .fallback = "[]",
     .doc = "which of the teacher's layers, from 0, the student begins with; without, as many as `layers` says, evenly, the first and the last among them"},
    {"start", KD_KEY_CHOICE, FIELD(kd_language_config, model.start), .choices = "teacher|random",
     .fallback = "\"teacher\"", .doc = "with the teacher's numbers, or with random ones"},
    SIZE(width, 1 << 14, "of the hidden states, where start is random"),
    SIZE(heads, 1 << 10, "of attention; where start is teacher, the most important ones are kept, all that ask one key together"),
    SIZE(key_heads, 1 << 10, "of its keys and values, likewise"),
    SIZE(hidden, 1 << 16, "units of the feed-forward layers; where start is teacher, the most important ones"),
    {"calibration_samples", KD_KEY_INTEGER, FIELD(kd_language_config, model.calibration_samples), RANGE(1, 1000000000),
     .fallback = "32", .doc = "training contexts the teacher reads to tell which heads and units are important, of a fixed shuffle; of narrower students"},
};
static const kd_config_table MODEL_TABLE = {.name = "model", .key = MODEL_KEYS,
    .count = COUNT(MODEL_KEYS), .finish = model_finish, .doc = "The student."};

static const kd_config_key TARGET_KEYS[] = {
    {"kind", KD_KEY_CHOICE, FIELD(kd_language_config, teacher.targets), .choices = "online|hidden|topk|sampled",
     .fallback = "\"online\"",
     .doc = "the teacher runs beside the student; or has written down its last hidden states, exact at every temperature, or the k largest logits and the mass of the rest, or tokens drawn as likely as it finds them, whose mean is without bias (RS-KD)"},
    {"dtype", KD_KEY_CHOICE, FIELD(kd_language_config, teacher.dtype), .choices = "float32|float16",
     .fallback = "\"float16\"", .doc = "how the numbers are stored"},
    {"k", KD_KEY_INTEGER, FIELD(kd_language_config, teacher.k), RANGE(1, 4096), .fallback = "128",
     .doc = "logits kept for each token, of topk"},
    {"draws", KD_KEY_INTEGER, FIELD(kd_language_config, teacher.draws), RANGE(1, KD_STORE_DRAWS_MAX),
     .fallback = "50", .doc = "tokens drawn for each token, of sampled; at loss.temperature"},
};
static const kd_config_table TARGET_TABLE = {.name = "targets", .key = TARGET_KEYS,
    .count = COUNT(TARGET_KEYS), .doc = "Where the teacher's answers come from."};
static const kd_config_key TEACHER_KEYS[] = {
    {"weights", KD_KEY_PATH, FIELD(kd_language_config, teacher.weights), .required = true,
     .doc = "a language model with its tokenizer: a Hugging Face folder or a GGUF"},
    {"source", KD_KEY_TEXT, FIELD(kd_language_config, teacher.source),
     .doc = "where the model comes from, said when it is missing"},
    {"targets", KD_KEY_OBJECT, HERE(TARGET_TABLE), .fallback = "{}",
     .doc = "where its answers come from"},
};
static const kd_config_table TEACHER_TABLE = {.name = "teacher", .key = TEACHER_KEYS,
    .count = COUNT(TEACHER_KEYS), .finish = teacher_finish,
    .doc = "Who says how likely every token is."};

static const kd_config_key HINT_KEYS[] = {
    {"kind", KD_KEY_CHOICE, FIELD(kd_layer_hint, kind), .choices = "mse|cosine|attention", .required = true,
     .doc = "of the states behind a layer: squared distance, or 1 − cosine; attention: KL of what its heads look at, in a student of as many heads"},
    {"layers", KD_KEY_INTEGERS, LIST(kd_layer_hint, layer, layer_count),
     RANGE(0, KD_LANGUAGE_LAYERS_MAX - 1), .fallback = "[]", .doc = "of the student, from 0; without, all"},
    {"teacher", KD_KEY_INTEGERS, LIST(kd_layer_hint, teacher, teacher_count),
     RANGE(0, KD_LANGUAGE_LAYERS_MAX - 1), .fallback = "[]",
     .doc = "the teacher's, one for each; without, those that the student's began as, or evenly where start is random"},
    {"weight", KD_KEY_REAL, FIELD(kd_layer_hint, weight), ABOVE_ZERO, .fallback = "1",
     .doc = "of their mean in the sum of losses"},
};
static const kd_config_table HINT_TABLE = {.name = "hints", .key = HINT_KEYS,
    .count = COUNT(HINT_KEYS), .finish = hint_finish, .doc = "A loss between layers of student and teacher."};
static const kd_config_key LOSS_KEYS[] = {
    {"temperature", KD_KEY_REAL, FIELD(kd_loss_config, temperature), RANGE(0.001, 1000),
     .fallback = "1", .doc = "τ, softens both distributions"},
    {"kl", KD_KEY_REAL, FIELD(kd_loss_config, kl), RANGE(0, 1e6), .fallback = "1",
     .doc = "weight of τ²·divergence of the student from the teacher"},
    DIVERGENCE_KEYS,
    {"hard", KD_KEY_REAL, FIELD(kd_loss_config, hard), RANGE(0, 1e6), .fallback = "0",
     .doc = "weight of the cross-entropy with the text"},
    {"hints", KD_KEY_OBJECTS, LIST(kd_loss_config, layer_hint, layer_hint_count), .table = &HINT_TABLE,
     .doc = "losses between layers, for which the teacher runs beside the student"},
};
static const kd_config_table LOSS_TABLE = {.name = "loss", .key = LOSS_KEYS,
    .count = COUNT(LOSS_KEYS), .defaults = kd_config_divergence_defaults, .finish = loss_finish, .doc = "What is minimised."};

static const kd_config_key TRAIN_KEYS[] = {
    EPOCHS_KEY(kd_train_spec, , .required = true),
    TRAIN_KEYS_BEHIND_EPOCHS(kd_train_spec, , "4", "\"adamw\"", "\"cosine\"", "1", "2e-4", NULL, NULL),
    RECOMPUTE_KEY(kd_train_spec, , NULL),
};
static const kd_config_table TRAIN_TABLE = {.name = "train", .key = TRAIN_KEYS,
    .count = COUNT(TRAIN_KEYS), .defaults = train_defaults, .finish = kd_config_train_finish,
    .doc = "How the student is trained. A sample is a context."};

static const kd_config_key QAT_KEYS[] = {
    EPOCHS_KEY(kd_language_quantize, train., .required = true),
    TRAIN_KEYS_BEHIND_EPOCHS(kd_language_quantize, train., "4", "\"adamw\"", "\"cosine\"", "1",
                             "a tenth of train's", NULL, "as in train"),
    RECOMPUTE_KEY(kd_language_quantize, train., "as in train"),
};
static const kd_config_table QAT_TABLE = {.name = "qat", .key = QAT_KEYS, .count = COUNT(QAT_KEYS),
    .defaults = kd_config_qat_defaults, .finish = qat_finish,
    .doc = "Training goes on with the numbers that the file will hold. What is not said is as in train."};
static const kd_config_key QUANTIZE_KEYS[] = {
    {"format", KD_KEY_CHOICE, FIELD(kd_language_quantize, format_name), .choices = KD_FORMAT_CHOICES,
     .doc = "of the matrices; q4_K_M and its like are llama.cpp's mixtures"},
    {"layout", KD_KEY_CHOICE, FIELD(kd_language_quantize, layout), .choices = KD_LAYOUT_CHOICES,
     .depends = "a GGUF", .doc = "the file is a Hugging Face folder, student.<name>, whose layers' matrices are packed so; embeddings and the output matrix are f16. compressed-tensors: f8_e4m3, f8_e4m3_tensor, nvfp4, mxfp4, q4_0, q8_0, int8; modelopt: f8_e4m3, f8_e4m3_tensor, nvfp4; plain: f8_e5m2"},
    {"inputs", KD_KEY_SWITCH, FIELD(kd_language_quantize, inputs), .fallback = "false",
     .doc = "of a layout: whoever runs the folder rounds the inputs of matrices, too; it states the largest that calibration_samples show"},
    BUDGET_KEY(kd_language_quantize),
    {"rounding", KD_KEY_CHOICE, FIELD(kd_language_quantize, rounding), .choices = KD_ROUNDING_CHOICES,
     .depends = "nearest", .doc = KD_ROUNDING_DOC},
    {"calibration_samples", KD_KEY_INTEGER, FIELD(kd_language_quantize, calibration_samples), RANGE(1, 1000000000),
     .fallback = "32", .doc = "training contexts that are read first, of a fixed shuffle; of roundings that see samples, and of inputs"},
    GPTQ_KEYS(kd_language_quantize),
    {"name", KD_KEY_TEXT, FIELD(kd_language_quantize, name), .depends = "the format, with -qat behind it when it is trained",
     .doc = "of the exported file, student.<name>.gguf"},
    {"qat", KD_KEY_OBJECT, .count = (ptrdiff_t)offsetof(kd_language_quantize, qat),
     .table = &QAT_TABLE,
     .doc = "quantization-aware training; without it the numbers are only rounded"},
};
static const kd_config_table QUANTIZE_TABLE = {.name = "quantize", .key = QUANTIZE_KEYS,
    .count = COUNT(QUANTIZE_KEYS), .defaults = quantize_defaults, .finish = quantize_finish,
    .doc = "A file of the student. Of several, each starts from the same float student."};

static const kd_config_key ROOT_KEYS[] = {
    {"$schema", KD_KEY_IGNORED, NOWHERE, .doc = "for editors: language.schema.json beside the config"},
    {"name", KD_KEY_TEXT, FIELD(kd_language_config, name), .depends = "the file's name without .json",
     .doc = "of the run and of its folder: letters, digits, dot, dash, underscore"},
    {"seed", KD_KEY_INTEGER, FIELD(kd_language_config, seed), U64, .fallback = "1",
     .doc = "of the order of the contexts and of random starts"},
    {"precision", KD_KEY_CHOICE, FIELD(kd_language_config, precision), .choices = "float32|bfloat16|auto",
     .fallback = "\"float32\"",
     .doc = "of matrix products; auto: bfloat16 where the processor is fast at it"},
    {"data", KD_KEY_OBJECT, HERE(DATA_TABLE), .required = true, .doc = "text"},
    {"model", KD_KEY_OBJECT, HERE(MODEL_TABLE), .required = true, .doc = "the student"},
    {"teacher", KD_KEY_OBJECT, HERE(TEACHER_TABLE), .required = true,
     .doc = "who says how likely every token is"},
    {"loss", KD_KEY_OBJECT, PART(kd_language_config, loss, LOSS_TABLE), .fallback = "{}",
     .doc = "what is minimised"},
    {"train", KD_KEY_OBJECT, PART(kd_language_config, train, TRAIN_TABLE), .required = true,
     .doc = "how the student is trained"},
    {"quantize", KD_KEY_OBJECTS, LIST(kd_language_config, quantize, quantize_count),
     .table = &QUANTIZE_TABLE, .fallback = "[]", .doc = "files of the student besides student.gguf, which is f16"},
};
const kd_config_table kd_language_config_root = {.name = "", .key = ROOT_KEYS,
    .count = COUNT(ROOT_KEYS), .defaults = root_defaults, .finish = root_finish,
    .doc = "A language model's run of distill."};
/* clang-format on */

/* --- what the tables cannot say -------------------------------------------------------------- */

static void root_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    char name[sizeof((kd_language_config *)0)->name];
    kd_config_default_name(name, sizeof name, reader->path);
    kd_default_text(reader, out, "name", name);
}

static void root_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base) {
    const kd_language_config *config = base;
    kd_config_check_name(reader, object, path);
    if (config->data.train.count == 0)
        kd_config_complain_key(reader, object, path, "data.train", "expected at least one");
    if (config->teacher.targets == KD_TEACHER_SAMPLED && config->loss.divergence != KD_FORWARD_KL)
        kd_config_complain_key(reader, object, path, "loss.divergence",
                               "of targets of kind \"sampled\" only forward_kl is without bias");
    if (config->loss.layer_hint_count > 0 && config->teacher.targets != KD_TEACHER_ONLINE)
        kd_config_complain_key(reader, object, path, "loss.hints",
                               "go with teacher.targets of kind \"online\": layers are not stored");
    for (int i = 0; i < config->quantize_count; i++)
        if (config->loss.layer_hint_count > 0 && config->model.width > 0 && config->quantize[i].qat)
            kd_config_complain_key(reader, object, path, "loss.hints",
                                   "of a student of another width are not learnt by qat");
}

static void model_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                         void *base) {
    const kd_language_model *model = &((const kd_language_config *)base)->model;
    if (model->keep_count > 0 && (model->layers > 0 || model->start == KD_START_RANDOM))
        kd_config_complain_key(reader, object, path, "keep",
                               "says the layers by itself: without \"layers\" and random starts");
    for (int i = 1; i < model->keep_count; i++)
        if (model->keep[i] <= model->keep[i - 1])
            kd_config_complain_key(reader, object, path, "keep", "expected rising numbers");
    const bool random = model->start == KD_START_RANDOM;
    if (!random && kd_json_get(object, "width"))
        kd_config_complain_key(reader, object, path, "width",
                               "goes with \"start\": \"random\" only");
    if (kd_json_get(object, "calibration_samples") &&
        (random || (!model->heads && !model->key_heads && !model->hidden)))
        kd_config_complain_key(
            reader, object, path, "calibration_samples",
            "goes with \"heads\", \"key_heads\" or \"hidden\" of a student of the "
            "teacher's only");
}

static void teacher_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base) {
    const kd_language_config *config = base;
    if (config->teacher.targets != KD_TEACHER_TOPK &&
        kd_json_get(kd_json_get(object, "targets"), "k"))
        kd_config_complain_key(reader, object, path, "targets.k", "goes with kind \"topk\" only");
    if (config->teacher.targets != KD_TEACHER_SAMPLED &&
        kd_json_get(kd_json_get(object, "targets"), "draws"))
        kd_config_complain_key(reader, object, path, "targets.draws",
                               "goes with kind \"sampled\" only");
    if (config->teacher.targets == KD_TEACHER_SAMPLED &&
        kd_json_get(kd_json_get(object, "targets"), "dtype"))
        kd_config_complain_key(reader, object, path, "targets.dtype",
                               "kind \"sampled\" stores no such numbers");
}

static void hint_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base) {
    const kd_layer_hint *hint = base;
    if (hint->teacher_count > 0 && hint->teacher_count != hint->layer_count)
        kd_config_complain_key(reader, object, path, "teacher", "%d layers beside %d of \"layers\"",
                               hint->teacher_count, hint->layer_count);
}

static void loss_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base) {
    const kd_loss_config *loss = base;
    kd_config_check_divergence(reader, object, path);
    if (loss->kl <= 0 && loss->hard <= 0 && loss->layer_hint_count == 0)
        kd_config_complain(reader, object, false, path,
                           "\"kl\" and \"hard\" are both 0: nothing is left to learn from");
}

static void train_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    kd_default_number(reader, out, "learning_rate", 2e-4);
}

static void qat_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                       void *base) {
    const kd_language_quantize *quantize = base;
    kd_config_check_train(reader, object, path, &quantize->train);
}

static void quantize_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    const cJSON *format = kd_json_get(object, "format");
    const kd_quantizer *rounding = kd_config_rounding(object);
    if (rounding && rounding->sees == KD_SEES_NOTHING &&
        !cJSON_IsTrue(kd_json_get(object, "inputs")))
        kd_default_none(reader, out, "calibration_samples");
    kd_config_rounding_defaults(reader, object, out);
    char name[sizeof((kd_language_quantize *)0)->name];
    if (!cJSON_IsString(format) && !kd_json_get(object, "budget")) return;
    snprintf(name, sizeof name, "%.15s%s", cJSON_IsString(format) ? format->valuestring : "budget",
             kd_json_get(object, "qat") ? "-qat" : "");
    kd_default_text(reader, out, "name", name);
}

static void check_layout(kd_config_reader *reader, const cJSON *object, const char *path,
                         kd_language_quantize *quantize) {
    if (!quantize->layout[0] && quantize->inputs)
        kd_config_complain_key(reader, object, path, "inputs", "goes with a \"layout\" only");
    if (!quantize->layout[0] && !kd_number_format_in_gguf(quantize->spec.format))
        kd_config_complain_key(reader, object, path, "format",
                               "GGUF files cannot hold it: say a \"layout\"");
    if (quantize->layout[0] && quantize->budget.asked)
        kd_config_complain_key(reader, object, path, "layout",
                               "a budget chooses among the formats of a GGUF");
    else if (quantize->layout[0] && kd_packing_choose(&quantize->packing, quantize->layout,
                                                      quantize->spec.format, quantize->inputs) < 0)
        kd_config_complain_key(reader, object, path, "layout", "%s", kd_error());
}

static void quantize_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base) {
    kd_language_quantize *quantize = base;
    const kd_language_config *config = reader->whole;
    kd_config_check_name(reader, object, path);
    quantize->spec.how = kd_config_rounding(object);
    quantize->spec.format = kd_config_format(&quantize->budget, quantize->format_name);
    kd_config_check_rounding(reader, object, path);
    if (quantize->spec.how && quantize->spec.how->sees == KD_SEES_NOTHING && !quantize->inputs &&
        kd_json_get(object, "calibration_samples"))
        kd_config_complain_key(reader, object, path, "calibration_samples",
                               "goes with a \"rounding\" that sees samples, or \"inputs\", only");
    kd_config_check_budget(reader, object, path, &quantize->budget, false);
    if (!quantize->spec.format)
        kd_config_complain(reader, object, false, path, "expected a \"format\" or a \"budget\"");
    else
        check_layout(reader, object, path, quantize);
    snprintf(quantize->stage, sizeof quantize->stage, "qat.%s", quantize->name);
    for (const kd_language_quantize *other = config->quantize; other < quantize; other++)
        if (strcmp(other->name, quantize->name) == 0)
            kd_config_complain_key(reader, object, path, "name",
                                   "two files with the name \"%s\"; give one another",
                                   quantize->name);
}

/* --- loading --------------------------------------------------------------------------------- */

static int parse(kd_language_config **out, const kd_config_origin *source) {
    *out = NULL;
    const char *path = source->path;
    if (strlen(path) >= KD_PATH_MAX) return kd_fail(KD_EIO, "%s: path too long", path);
    kd_language_config *config = calloc(1, sizeof *config);
    if (!config) return kd_fail_memory(sizeof *config, path);
    memcpy(config->path, path, strlen(path) + 1);
    const int status = kd_config_read(config, &kd_language_config_root, source, "docs/language.md",
                                      &config->resolved, &config->hash);
    if (status < 0) {
        kd_language_config_free(config);
        return status;
    }
    *out = config;
    return KD_OK;
}

int kd_language_config_load(kd_language_config **out, const char *path, int n,
                            const char *const *sets) {
    return parse(out, &(kd_config_origin){.path = path, .set_count = n, .set = sets});
}

int kd_language_config_load_changed(kd_language_config **out, const char *path, int n,
                                    const kd_config_change *change) {
    return parse(out, &(kd_config_origin){.path = path, .change_count = n, .change = change});
}

void kd_language_config_free(kd_language_config *config) {
    if (!config) return;
    free(config->resolved);
    free(config);
}
