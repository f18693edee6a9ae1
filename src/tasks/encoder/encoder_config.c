#include "tasks/encoder/encoder_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/defaults.h"
#include "distill/train_keys.h"

static void root_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
static void root_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base);
static void data_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base);
static void model_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                         void *base);
static void loss_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
static void train_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
static void quantize_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out);
static void quantize_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base);

/* clang-format off */
#define FILES(part) LIST(kd_encoder_config, data.part.path, data.part.count)
static const kd_config_key DATA_KEYS[] = {
    {"kind", KD_KEY_CHOICE, FIELD(kd_encoder_config, data.kind), .choices = KD_ENCODER_KINDS, .required = true,
     .doc = "masked: tokens of texts are hidden and foretold; sentences: each is told its class"},
    {"train", KD_KEY_PATHS, FILES(train), .required = true,
     .doc = "what the student learns from: of masked, files of text, JSON lines, folders of them; of sentences, tables (.tsv, also .gz) with a line of the columns label and sentence"},
    {"validation", KD_KEY_PATHS, FILES(validation), .fallback = "[]",
     .doc = "likewise, held out to choose the best epoch"},
    {"test", KD_KEY_PATHS, FILES(test), .fallback = "[]", .doc = "likewise, for the report"},
    {"context", KD_KEY_INTEGER, FIELD(kd_encoder_config, data.context), RANGE(8, 1 << 20),
     .fallback = "128", .doc = "tokens that are read together, [CLS] and [SEP] among them; longer sentences are cut"},
    {"classes", KD_KEY_TEXTS, LIST(kd_encoder_config, data.class_name, data.class_count),
     .depends = "[\"0\", \"1\"] for sentences",
     .doc = "names of the classes of sentences, in the order of their numbers in the tables"},
    {"source", KD_KEY_TEXT, FIELD(kd_encoder_config, data.source),
     .doc = "where the texts come from, said when a file is missing"},
};
static const kd_config_table DATA_TABLE = {.name = "data", .key = DATA_KEYS,
    .count = COUNT(DATA_KEYS), .finish = data_finish, .doc = "Texts."};

static const kd_config_key MODEL_KEYS[] = {
    {"type", KD_KEY_CHOICE, FIELD(kd_encoder_config, model.type), .choices = "bert|distilbert", .required = true,
     .doc = "which kind of network; distilbert has no token types, whose vector its positions take over, and of masked no pooler"},
    {"weights", KD_KEY_PATH, FIELD(kd_encoder_config, model.weights),
     .doc = "a model the student begins as; without it, layers of the teacher"},
    {"layers", KD_KEY_INTEGER, FIELD(kd_encoder_config, model.layers), RANGE(1, KD_ENCODER_LAYERS_MAX),
     .depends = "half of the teacher's for distilbert, else all", .doc = "of the student"},
    {"keep", KD_KEY_INTEGERS, LIST(kd_encoder_config, model.keep, model.keep_count),
     RANGE(0, KD_ENCODER_LAYERS_MAX - 1), .fallback = "[]",
     .doc = "which of the teacher's layers, from 0, the student begins with; without, as many as `layers` says, evenly, the first and the last among them"},
};
static const kd_config_table MODEL_TABLE = {.name = "model", .key = MODEL_KEYS,
    .count = COUNT(MODEL_KEYS), .finish = model_finish, .doc = "The student."};

static const kd_config_key TEACHER_KEYS[] = {
    {"weights", KD_KEY_PATH, FIELD(kd_encoder_config, teacher.weights), .required = true,
     .doc = "a BERT or DistilBERT with its tokenizer, which runs beside the student: a Hugging Face folder or a GGUF; of sentences, one that tells the same classes"},
    {"source", KD_KEY_TEXT, FIELD(kd_encoder_config, teacher.source),
     .doc = "where the model comes from, said when it is missing"},
};
static const kd_config_table TEACHER_TABLE = {.name = "teacher", .key = TEACHER_KEYS,
    .count = COUNT(TEACHER_KEYS), .doc = "Who is learnt from."};

static const kd_config_key LOSS_KEYS[] = {
    {"temperature", KD_KEY_REAL, FIELD(kd_encoder_loss, temperature), RANGE(0.001, 1000),
     .fallback = "2", .doc = "τ, softens both distributions"},
    {"kl", KD_KEY_REAL, FIELD(kd_encoder_loss, kl), RANGE(0, 1e6), .depends = "5 for masked, 1 for sentences, 0 without a teacher",
     .doc = "weight of τ²·KL(teacher ‖ student)"},
    {"hard", KD_KEY_REAL, FIELD(kd_encoder_loss, hard), RANGE(0, 1e6), .depends = "2 for masked, 1 for sentences",
     .doc = "weight of the cross-entropy with the masked tokens, or the class"},
    {"cosine", KD_KEY_REAL, FIELD(kd_encoder_loss, cosine), RANGE(0, 1e6), .depends = "1 for masked with a teacher, else 0",
     .doc = "weight of 1 − cos of the last hidden states and the teacher's, which are as wide; of masked"},
    {"masked_only", KD_KEY_SWITCH, FIELD(kd_encoder_loss, masked_only), .fallback = "false",
     .doc = "KL at the masked tokens alone, which costs less; otherwise at every one"},
};
static const kd_config_table LOSS_TABLE = {.name = "loss", .key = LOSS_KEYS,
    .count = COUNT(LOSS_KEYS), .defaults = loss_defaults, .doc = "What is minimised."};

static const kd_config_key TRAIN_KEYS[] = {
    EPOCHS_KEY(kd_train_spec, , .required = true),
    TRAIN_KEYS_BEHIND_EPOCHS(kd_train_spec, , "8", "\"adamw\"", "\"linear\"", "1", "1e-4 for masked, 3e-5 for sentences", NULL, NULL),
    RECOMPUTE_KEY(kd_train_spec, , NULL),
};
static const kd_config_table TRAIN_TABLE = {.name = "train", .key = TRAIN_KEYS,
    .count = COUNT(TRAIN_KEYS), .defaults = train_defaults, .finish = kd_config_train_finish,
    .doc = "How the student is trained. A sample is a context, or a sentence."};

static const kd_config_key QUANTIZE_KEYS[] = {
    {"format", KD_KEY_CHOICE, FIELD(kd_encoder_quantize, format_name), .choices = KD_FORMAT_CHOICES,
     .required = true, .doc = "of the matrices, rounded to the nearest numbers; q8_0: 8 bits"},
    {"name", KD_KEY_TEXT, FIELD(kd_encoder_quantize, name), .depends = "the format",
     .doc = "of the exported file, student.<name>.gguf"},
};
static const kd_config_table QUANTIZE_TABLE = {.name = "quantize", .key = QUANTIZE_KEYS,
    .count = COUNT(QUANTIZE_KEYS), .defaults = quantize_defaults, .finish = quantize_finish,
    .doc = "A file of the student."};

static const kd_config_key ROOT_KEYS[] = {
    {"$schema", KD_KEY_IGNORED, NOWHERE, .doc = "for editors: encoder.schema.json beside the config"},
    {"name", KD_KEY_TEXT, FIELD(kd_encoder_config, name), .depends = "the file's name without .json",
     .doc = "of the run and of its folder: letters, digits, dot, dash, underscore"},
    {"seed", KD_KEY_INTEGER, FIELD(kd_encoder_config, seed), U64, .fallback = "1",
     .doc = "of the order of the samples, of what is masked, and of heads that begin with random numbers"},
    {"precision", KD_KEY_CHOICE, FIELD(kd_encoder_config, precision), .choices = "float32|bfloat16|auto",
     .fallback = "\"float32\"",
     .doc = "of matrix products; auto: bfloat16 where the processor is fast at it"},
    {"data", KD_KEY_OBJECT, HERE(DATA_TABLE), .required = true, .doc = "texts"},
    {"model", KD_KEY_OBJECT, HERE(MODEL_TABLE), .required = true, .doc = "the student"},
    {"teacher", KD_KEY_OBJECT, HERE(TEACHER_TABLE), .doc = "who is learnt from; without one, the texts alone"},
    {"loss", KD_KEY_OBJECT, PART(kd_encoder_config, loss, LOSS_TABLE), .fallback = "{}",
     .doc = "what is minimised"},
    {"train", KD_KEY_OBJECT, PART(kd_encoder_config, train, TRAIN_TABLE), .required = true,
     .doc = "how the student is trained"},
    {"quantize", KD_KEY_OBJECTS, LIST(kd_encoder_config, quantize, quantize_count),
     .table = &QUANTIZE_TABLE, .fallback = "[]", .doc = "files of the student besides student.gguf, which is f16"},
};
const kd_config_table kd_encoder_config_root = {.name = "", .key = ROOT_KEYS,
    .count = COUNT(ROOT_KEYS), .defaults = root_defaults, .finish = root_finish,
    .doc = "An encoder's run of distill."};
/* clang-format on */

/* --- what the tables cannot say -------------------------------------------------------------- */

static bool is_sentences(const kd_config_reader *reader) {
    const cJSON *kind = kd_json_get(kd_json_get(kd_json_root(reader->json), "data"), "kind");
    return cJSON_IsString(kind) && strcmp(kind->valuestring, "sentences") == 0;
}

static bool has_teacher(const kd_config_reader *reader) {
    return kd_json_get(kd_json_root(reader->json), "teacher") != NULL;
}

static void root_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    char name[sizeof((kd_encoder_config *)0)->name];
    kd_config_default_name(name, sizeof name, reader->path);
    kd_default_text(reader, out, "name", name);
}

static void root_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base) {
    const kd_encoder_config *config = base;
    const kd_encoder_loss *loss = &config->loss;
    const bool teacher = config->teacher.weights[0];
    kd_config_check_name(reader, object, path);
    if (config->data.train.count == 0)
        kd_config_complain_key(reader, object, path, "data.train", "expected at least one");
    if (!teacher && !config->model.weights[0])
        kd_config_complain_key(reader, object, path, "model",
                               "names no \"weights\", and there is no \"teacher\" whose layers it "
                               "could begin with");
    if (!teacher && kd_encoder_is_taught(config))
        kd_config_complain_key(reader, object, path, "loss",
                               "\"kl\" and \"cosine\" go with a \"teacher\" only");
    if (loss->kl <= 0 && loss->hard <= 0)
        kd_config_complain_key(reader, object, path, "loss",
                               "\"kl\" and \"hard\" are both 0: nothing is left to learn from");
    if (config->data.kind == KD_ENCODER_SENTENCES && (loss->cosine > 0 || loss->masked_only))
        kd_config_complain_key(reader, object, path, "loss",
                               "\"cosine\" and \"masked_only\" go with data.kind \"masked\" only");
}

static void data_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                        void *base) {
    kd_encoder_data *data = &((kd_encoder_config *)base)->data;
    const cJSON *classes = kd_json_get(object, "classes");
    if (data->kind == KD_ENCODER_MASKED && classes)
        kd_config_complain_key(reader, object, path, "classes",
                               "goes with data.kind \"sentences\" only");
    if (data->kind == KD_ENCODER_MASKED) return;
    for (int i = 0; !classes && i < 2; i++)
        snprintf(data->class_name[i], sizeof data->class_name[i], "%d", i);
    if (!classes) data->class_count = 2;
    if (data->class_count < 2)
        kd_config_complain_key(reader, object, path, "classes", "expected at least two");
}

static void model_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                         void *base) {
    const kd_encoder_student *model = &((const kd_encoder_config *)base)->model;
    if (model->weights[0] && (model->layers > 0 || model->keep_count > 0))
        kd_config_complain_key(reader, object, path, "weights",
                               "says the layers by itself: without \"layers\" and \"keep\"");
    if (model->keep_count > 0 && model->layers > 0)
        kd_config_complain_key(reader, object, path, "keep",
                               "says the layers by itself: without \"layers\"");
    for (int i = 1; i < model->keep_count; i++)
        if (model->keep[i] <= model->keep[i - 1])
            kd_config_complain_key(reader, object, path, "keep", "expected rising numbers");
}

static void loss_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    const bool sentences = is_sentences(reader), teacher = has_teacher(reader);
    kd_default_number(reader, out, "kl", !teacher ? 0 : sentences ? 1 : 5);
    kd_default_number(reader, out, "hard", sentences ? 1 : 2);
    kd_default_number(reader, out, "cosine", teacher && !sentences ? 1 : 0);
}

static void train_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    (void)object;
    kd_default_number(reader, out, "learning_rate", is_sentences(reader) ? 3e-5 : 1e-4);
}

static void quantize_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    const cJSON *format = kd_json_get(object, "format");
    if (cJSON_IsString(format)) kd_default_text(reader, out, "name", format->valuestring);
}

static void quantize_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                            void *base) {
    kd_encoder_quantize *quantize = base;
    const kd_encoder_config *config = reader->whole;
    kd_config_check_name(reader, object, path);
    quantize->format = kd_number_format_named(quantize->format_name);
    if (!kd_number_format_in_gguf(quantize->format))
        kd_config_complain_key(reader, object, path, "format", "GGUF files cannot hold it");
    for (const kd_encoder_quantize *other = config->quantize; other < quantize; other++)
        if (strcmp(other->name, quantize->name) == 0)
            kd_config_complain_key(reader, object, path, "name",
                                   "two files with the name \"%s\"; give one another",
                                   quantize->name);
}

/* --- loading --------------------------------------------------------------------------------- */

static int parse(kd_encoder_config **out, const kd_config_origin *source) {
    const char *path = source->path;
    *out = NULL;
    if (strlen(path) >= KD_PATH_MAX) return kd_fail(KD_EIO, "%s: path too long", path);
    kd_encoder_config *config = calloc(1, sizeof *config);
    if (!config) return kd_fail_memory(sizeof *config, path);
    memcpy(config->path, path, strlen(path) + 1);
    const int status = kd_config_read(config, &kd_encoder_config_root, source, "docs/encoder.md",
                                      &config->resolved, &config->hash);
    if (status < 0) {
        kd_encoder_config_free(config);
        return status;
    }
    *out = config;
    return KD_OK;
}

int kd_encoder_config_load(kd_encoder_config **out, const char *path, int n,
                           const char *const *sets) {
    return parse(out, &(kd_config_origin){.path = path, .set_count = n, .set = sets});
}

int kd_encoder_config_load_changed(kd_encoder_config **out, const char *path, int n,
                                   const kd_config_change *change) {
    return parse(out, &(kd_config_origin){.path = path, .change_count = n, .change = change});
}

void kd_encoder_config_free(kd_encoder_config *config) {
    if (!config) return;
    free(config->resolved);
    free(config);
}
