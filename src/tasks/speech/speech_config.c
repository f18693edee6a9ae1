#include "tasks/speech/speech_config.h"

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
static void teacher_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base);
static void loss_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base);
static void train_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
static void qat_finish(kd_config_reader *reader, const cJSON *object, const char *path, void *base);
static void quantize_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
static void quantize_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base);

/* clang-format off */
#define MANIFESTS(part) LIST(kd_speech_config, data.part.path, data.part.count)
static const kd_config_key DATA_KEYS[] = {
    {"kind", KD_KEY_CHOICE, NOWHERE, .choices = KD_SPEECH_KINDS, .required = true,
     .doc = "recordings with or without their words"},
    {"train", KD_KEY_PATHS, MANIFESTS(train), .required = true,
     .doc = "what the student learns from: TSV, JSON lines, Common Voice TSV, LibriSpeech folders"},
    {"validation", KD_KEY_PATHS, MANIFESTS(validation), .fallback = "[]",
     .doc = "likewise, held out to choose the best epoch"},
    {"test", KD_KEY_PATHS, MANIFESTS(test), .fallback = "[]",
     .doc = "likewise, with their words, for the word error rates of the report"},
    {"language", KD_KEY_TEXT, FIELD(kd_speech_config, data.language), .fallback = "\"en\"",
     .doc = "that is spoken, as \"de\" or \"german\"; models for English alone take en"},
    {"concatenate", KD_KEY_CHOICE, FIELD(kd_speech_config, data.concatenate), .choices = "full|varied|none", .fallback = "\"full\"",
     .doc = "windows are successive utterances of a speaker up to 30 s; varied: up to lengths between 0 and 30 s, for recordings that are mostly short; none: one utterance each"},
    {"encoder_cache", KD_KEY_CHOICE, FIELD(kd_speech_config, data.encoder_cache),
     .choices = "auto|on|off", .fallback = "\"auto\"",
     .doc = "what the frozen encoder makes of each window is kept on disk in bfloat16; auto: when half the free disk holds it"},
    {"source", KD_KEY_TEXT, FIELD(kd_speech_config, data.source),
     .doc = "where the recordings come from, said when one is missing"},
};
static const kd_config_table DATA_TABLE = {.name = "data", .key = DATA_KEYS,
    .count = COUNT(DATA_KEYS), .doc = "Recordings."};

static const kd_config_key MODEL_KEYS[] = {
    {"type", KD_KEY_CHOICE, NOWHERE, .choices = "whisper", .required = true,
     .doc = "which kind of network"},
    {"encoder_layers", KD_KEY_INTEGER, FIELD(kd_speech_config, encoder_layers), RANGE(1, 256),
     .depends = "the teacher's", .doc = "of the student, copied from the teacher and frozen"},
    {"decoder_layers", KD_KEY_INTEGER, FIELD(kd_speech_config, decoder_layers), RANGE(1, 256),
     .depends = "the teacher's",
     .doc = "of the student: copies of as many of the teacher's, the first and the last among them"},
};
static const kd_config_table MODEL_TABLE = {.name = "model", .key = MODEL_KEYS,
    .count = COUNT(MODEL_KEYS), .doc = "The student, as wide as its teacher."};

static const kd_config_key TARGET_KEYS[] = {
    {"kind", KD_KEY_CHOICE, FIELD(kd_speech_config, teacher.kind), .choices = "hidden|topk",
     .fallback = "\"hidden\"",
     .doc = "the last hidden state, exact at every temperature, or the k largest logits and the mass of the rest"},
    {"dtype", KD_KEY_CHOICE, FIELD(kd_speech_config, teacher.dtype), .choices = "float32|float16",
     .fallback = "\"float16\"", .doc = "how the numbers are stored"},
    {"k", KD_KEY_INTEGER, FIELD(kd_speech_config, teacher.k), RANGE(1, 4096), .fallback = "128",
     .doc = "logits kept for each token, of topk"},
};
static const kd_config_table TARGET_TABLE = {.name = "targets", .key = TARGET_KEYS,
    .count = COUNT(TARGET_KEYS), .doc = "What is stored of the teacher's answers."};
static const kd_config_key TEACHER_KEYS[] = {
    {"weights", KD_KEY_PATH, FIELD(kd_speech_config, teacher.weights), .required = true,
     .doc = "a Whisper model: whisper.cpp's .bin, GGUF, or a Hugging Face folder"},
    {"source", KD_KEY_TEXT, FIELD(kd_speech_config, teacher.source),
     .doc = "where the model comes from, said when it is missing"},
    {"wer", KD_KEY_REAL, FIELD(kd_speech_config, teacher.wer), RANGE(0, 1e6), .fallback = "0.1",
     .doc = "recordings whose label has this error rate or more are not learnt from; of letters in languages without spaces"},
    {"targets", KD_KEY_OBJECT, HERE(TARGET_TABLE), .fallback = "{}",
     .doc = "what is stored of the teacher's answers"},
};
static const kd_config_table TEACHER_TABLE = {.name = "teacher", .key = TEACHER_KEYS,
    .count = COUNT(TEACHER_KEYS), .finish = teacher_finish,
    .doc = "Who says what is spoken, and how likely every word is."};

static const kd_config_key LOSS_KEYS[] = {
    {"temperature", KD_KEY_REAL, FIELD(kd_loss_config, temperature), RANGE(0.001, 1000),
     .fallback = "2", .doc = "τ, softens both distributions"},
    {"kl", KD_KEY_REAL, FIELD(kd_loss_config, kl), RANGE(0, 1e6), .fallback = "1",
     .doc = "weight of τ²·divergence of the student from the teacher"},
    DIVERGENCE_KEYS,
    {"hard", KD_KEY_REAL, FIELD(kd_loss_config, hard), RANGE(0, 1e6), .fallback = "0.8",
     .doc = "weight of the cross-entropy with the teacher's words"},
};
static const kd_config_table LOSS_TABLE = {.name = "loss", .key = LOSS_KEYS,
    .count = COUNT(LOSS_KEYS), .defaults = kd_config_divergence_defaults, .finish = loss_finish, .doc = "What is minimised."};

static const kd_config_key TRAIN_KEYS[] = {
    EPOCHS_KEY(kd_train_spec, , .required = true),
    TRAIN_KEYS_BEHIND_EPOCHS(kd_train_spec, , "8", "\"adamw\"", "\"linear\"", "1", "1e-4", NULL, NULL),
    RECOMPUTE_KEY(kd_train_spec, , NULL),
};
static const kd_config_table TRAIN_TABLE = {.name = "train", .key = TRAIN_KEYS,
    .count = COUNT(TRAIN_KEYS), .defaults = train_defaults, .finish = kd_config_train_finish,
    .doc = "How the student's decoder is trained. A sample is a window of up to 30 s."};

static const kd_config_key QAT_KEYS[] = {
    EPOCHS_KEY(kd_speech_quantize, train., .required = true),
    TRAIN_KEYS_BEHIND_EPOCHS(kd_speech_quantize, train., "8", "\"adamw\"", "\"linear\"", "1",
                             "a tenth of train's", NULL, "as in train"),
    RECOMPUTE_KEY(kd_speech_quantize, train., "as in train"),
};
static const kd_config_table QAT_TABLE = {.name = "qat", .key = QAT_KEYS, .count = COUNT(QAT_KEYS),
    .defaults = kd_config_qat_defaults, .finish = qat_finish,
    .doc = "Training goes on with the numbers that the file will hold. What is not said is as in train."};
static const kd_config_key QUANTIZE_KEYS[] = {
    {"format", KD_KEY_CHOICE, FIELD(kd_speech_quantize, format_name), .choices = KD_FORMAT_CHOICES,
     .doc = "of the matrices; int8 has a scale for each output channel, and is GGUF alone"},
    BUDGET_KEY(kd_speech_quantize),
    {"rounding", KD_KEY_CHOICE, FIELD(kd_speech_quantize, rounding), .choices = KD_ROUNDING_CHOICES,
     .depends = "nearest", .doc = KD_ROUNDING_DOC},
    {"calibration_samples", KD_KEY_INTEGER, FIELD(kd_speech_quantize, calibration_samples), RANGE(1, 1000000000),
     .fallback = "32", .doc = "training windows that are heard first, of a fixed shuffle; of roundings that see samples"},
    {"imatrix", KD_KEY_PATH, FIELD(kd_speech_quantize, imatrix),
     .doc = "of distill imatrix, or llama.cpp's: what rounding importance goes by, in place of calibration_samples"},
    GPTQ_KEYS(kd_speech_quantize),
    {"name", KD_KEY_TEXT, FIELD(kd_speech_quantize, name), .depends = "the format, with -qat behind it when it is trained",
     .doc = "of the exported files, student.<name>.bin and .gguf"},
    {"qat", KD_KEY_OBJECT, .count = (ptrdiff_t)offsetof(kd_speech_quantize, qat),
     .table = &QAT_TABLE,
     .doc = "quantization-aware training; without it the numbers are only rounded"},
};
static const kd_config_table QUANTIZE_TABLE = {.name = "quantize", .key = QUANTIZE_KEYS,
    .count = COUNT(QUANTIZE_KEYS), .defaults = quantize_defaults, .finish = quantize_finish,
    .doc = "A file of the student. Of several, each starts from the same float student."};

static const kd_config_key ROOT_KEYS[] = {
    {"$schema", KD_KEY_IGNORED, NOWHERE, .doc = "for editors: speech.schema.json beside the config"},
    {"name", KD_KEY_TEXT, FIELD(kd_speech_config, name), .depends = "the file's name without .json",
     .doc = "of the run and of its folder: letters, digits, dot, dash, underscore"},
    {"seed", KD_KEY_INTEGER, FIELD(kd_speech_config, seed), U64, .fallback = "1",
     .doc = "of the order of the windows"},
    {"precision", KD_KEY_CHOICE, FIELD(kd_speech_config, precision), .choices = "float32|bfloat16|auto",
     .fallback = "\"float32\"",
     .doc = "of matrix products; auto: bfloat16 where the processor is fast at it"},
    {"data", KD_KEY_OBJECT, HERE(DATA_TABLE), .required = true, .doc = "recordings"},
    {"model", KD_KEY_OBJECT, HERE(MODEL_TABLE), .required = true, .doc = "the student"},
    {"teacher", KD_KEY_OBJECT, HERE(TEACHER_TABLE), .required = true,
     .doc = "who says what is spoken"},
    {"loss", KD_KEY_OBJECT, PART(kd_speech_config, loss, LOSS_TABLE), .fallback = "{}",
     .doc = "what is minimised"},
    {"train", KD_KEY_OBJECT, PART(kd_speech_config, train, TRAIN_TABLE), .required = true,
     .doc = "how the student is trained"},
    {"quantize", KD_KEY_OBJECTS, LIST(kd_speech_config, quantize, quantize_count),
     .table = &QUANTIZE_TABLE, .fallback = "[]", .doc = "files of the student besides student.bin, which is f16"},
};
const kd_config_table kd_speech_config_root = {.name = "", .key = ROOT_KEYS,
    .count = COUNT(ROOT_KEYS), .defaults = root_defaults, .finish = root_finish,
    .doc = "A speech recogniser's run of distill."};
/* clang-format on */

/* --- what the tables cannot say ------------------------------------------------------------- */

static void root_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    char name[sizeof((kd_speech_config *)0)->name];
    kd_config_default_name(name, sizeof name, reader->path);
    kd_default_text(reader, out, "name", name);
}

static void root_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base) {
    const kd_speech_config *config = base;
    kd_config_check_name(reader, object, path);
    if (config->data.train.count == 0)
        kd_config_complain_key(reader, object, path, "data.train", "expected at least one");
}

static void teacher_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                           void *base) {
    static const kd_store_kind kind[] = {KD_STORE_HIDDEN, KD_STORE_TOPK}; /* as in TARGET_KEYS */
    kd_speech_config *config = base;
    config->teacher.kind = kind[config->teacher.kind];
    if (config->teacher.kind != KD_STORE_TOPK && kd_json_get(kd_json_get(object, "targets"), "k"))
        kd_config_complain_key(reader, object, path, "targets.k", "goes with kind \"topk\" only");
}

static void loss_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base) {
    const kd_loss_config *loss = base;
    kd_config_check_divergence(reader, object, path);
    if (loss->kl <= 0 && loss->hard <= 0)
        kd_config_complain(reader, object, false, path,
                           "\"kl\" and \"hard\" are both 0: nothing is left to learn from");
}

static void train_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    kd_default_number(reader, out, "learning_rate", 1e-4);
}

static void qat_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                       void *base) {
    const kd_speech_quantize *quantize = base;
    kd_config_check_train(reader, object, path, &quantize->train);
}

static void quantize_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    const cJSON *format = kd_json_get(object, "format");
    const kd_quantizer *rounding = kd_config_rounding(object);
    if ((rounding && rounding->sees == KD_SEES_NOTHING) || kd_json_get(object, "imatrix"))
        kd_default_none(reader, out, "calibration_samples");
    kd_config_rounding_defaults(reader, object, out);
    char name[sizeof((kd_speech_quantize *)0)->name];
    if (!cJSON_IsString(format) && !kd_json_get(object, "budget")) return;
    snprintf(name, sizeof name, "%.8s%s",
             cJSON_IsString(format) ? format->valuestring : "budget",
             kd_json_get(object, "qat") ? "-qat" : "");
    kd_default_text(reader, out, "name", name);
}

static void quantize_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base) {
    kd_speech_quantize *quantize = base;
    const kd_speech_config *config = reader->whole;
    kd_config_check_name(reader, object, path);
    quantize->spec.how = kd_config_rounding(object);
    quantize->spec.format = kd_config_format(&quantize->budget, quantize->format_name);
    kd_config_check_rounding(reader, object, path);
    if (quantize->spec.how && quantize->spec.how->sees == KD_SEES_NOTHING &&
        kd_json_get(object, "calibration_samples"))
        kd_config_complain_key(reader, object, path, "calibration_samples",
                               "goes with a \"rounding\" that sees samples only");
    if (quantize->imatrix[0] && quantize->spec.how != &kd_quantizer_importance)
        kd_config_complain_key(reader, object, path, "imatrix",
                               "goes with \"rounding\": \"importance\" only");
    if (quantize->imatrix[0] && kd_json_get(object, "calibration_samples"))
        kd_config_complain_key(reader, object, path, "calibration_samples",
                               "stands beside \"imatrix\", in place of which it would be");
    kd_config_check_budget(reader, object, path, &quantize->budget, false);
    if (!quantize->spec.format)
        kd_config_complain(reader, object, false, path,
                           "expected a \"format\" or a \"budget\"");
    if (quantize->spec.format && !kd_number_format_in_gguf(quantize->spec.format))
        kd_config_complain_key(reader, object, path, "format", "GGUF files cannot hold it");
    snprintf(quantize->stage, sizeof quantize->stage, "qat.%s", quantize->name);
    for (const kd_speech_quantize *other = config->quantize; other < quantize; other++)
        if (strcmp(other->name, quantize->name) == 0)
            kd_config_complain_key(reader, object, path, "name",
                                   "two files with the name \"%s\"; give one another",
                                   quantize->name);
}

/* --- loading -------------------------------------------------------------------------------- */

static int parse(kd_speech_config **out, const kd_config_origin *source) {
    *out = NULL;
    const char *path = source->path;
    if (strlen(path) >= KD_PATH_MAX) return kd_fail(KD_EIO, "%s: path too long", path);
    kd_speech_config *config = calloc(1, sizeof *config);
    if (!config) return kd_fail_memory(sizeof *config, path);
    memcpy(config->path, path, strlen(path) + 1);
    const int status = kd_config_read(config, &kd_speech_config_root, source, "docs/speech.md",
                                      &config->resolved, &config->hash);
    if (status < 0) {
        kd_speech_config_free(config);
        return status;
    }
    *out = config;
    return KD_OK;
}

int kd_speech_config_load(kd_speech_config **out, const char *path, int n,
                          const char *const *sets) {
    return parse(out, &(kd_config_origin){.path = path, .set_count = n, .set = sets});
}

int kd_speech_config_load_changed(kd_speech_config **out, const char *path, int n,
                                  const kd_config_change *change) {
    return parse(out, &(kd_config_origin){.path = path, .change_count = n, .change = change});
}

void kd_speech_config_free(kd_speech_config *config) {
    if (!config) return;
    free(config->resolved);
    free(config);
}
