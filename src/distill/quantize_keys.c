#include "distill/quantize_keys.h"

#include <string.h>

#include "config/defaults.h"

static void budget_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                          void *base);

/* clang-format off */
static const kd_config_key BUDGET_KEYS[] = {
    {"bits_per_weight", KD_KEY_REAL, FIELD(kd_budget_spec, bits_per_weight), .low = 0, .high = 32, .above = true,
     .doc = "of all parameters together, those that stay f32 too; the file keeps within it"},
    {"bytes", KD_KEY_TEXT, FIELD(kd_budget_spec, size),
     .doc = "likewise their bytes in the file, as \"30 MB\": B, kB, MB, GB, KiB, MiB, GiB; what a file has besides, tokens and mel filters, is not counted"},
    {"sensitivity", KD_KEY_CHOICE, FIELD(kd_budget_spec, sensitivity), .choices = "gradient|measured",
     .fallback = "\"gradient\"",
     .doc = "what rounding a matrix costs: gradient, by one backward pass a sample for all matrices and formats; measured, each matrix is then rounded by itself, too, and the model asked once more"},
    {"samples", KD_KEY_INTEGER, FIELD(kd_budget_spec, samples), RANGE(1, 1 << 20), .fallback = "8",
     .doc = "contexts, windows or batches of 64 of the training data that this is measured on"},
    {"formats", KD_KEY_TEXTS, LIST(kd_budget_spec, format, format_count), .fallback = "[]",
     .doc = "that may be taken; without, all that ggml has, and for networks int8"},
};
/* clang-format on */
const kd_config_table kd_budget_keys = {
    .name = "budget",
    .key = BUDGET_KEYS,
    .count = COUNT(BUDGET_KEYS),
    .finish = budget_finish,
    .doc = "Formats chosen by what they cost: exactly one of bits_per_weight and bytes."};

static const char *const OF_GPTQ[] = {"damping", "activation_order"};
enum { OF_GPTQ_COUNT = (int)(sizeof OF_GPTQ / sizeof *OF_GPTQ) };

const kd_quantizer *kd_config_rounding(const cJSON *object) {
    const cJSON *rounding = kd_json_get(object, "rounding");
    return cJSON_IsString(rounding) ? kd_quantizer_named(rounding->valuestring)
                                    : &kd_quantizer_nearest;
}

void kd_config_rounding_defaults(kd_config_reader *reader, const cJSON *object, cJSON *out) {
    const kd_quantizer *how = kd_config_rounding(object);
    for (int i = 0; i < OF_GPTQ_COUNT && !(how && how->by_gptq); i++)
        kd_default_none(reader, out, OF_GPTQ[i]);
}

void kd_config_check_rounding(kd_config_reader *reader, const cJSON *object, const char *path) {
    const kd_quantizer *how = kd_config_rounding(object);
    for (int i = 0; i < OF_GPTQ_COUNT && !(how && how->by_gptq); i++)
        if (kd_json_get(object, OF_GPTQ[i]))
            kd_config_complain_key(reader, object, path, OF_GPTQ[i],
                                   "goes with the roundings \"gptq\" and \"awq_gptq\" only");
    if (how && how->sees == KD_SEES_PRODUCTS && kd_json_get(object, "qat"))
        kd_config_complain_key(reader, object, path, "qat",
                               "\"%s\" rounds weights that are trained; with \"qat\" the rounding "
                               "is nearest or importance",
                               how->name);
}

static void check_format(kd_config_reader *reader, const cJSON *object, const char *path,
                         const char *name) {
    const kd_number_format *format = kd_number_format_named(name);
    if (!format || !format->encode)
        kd_config_complain_key(reader, object, path, "formats",
                               "\"%s\" is no format that weights can be written in", name);
    else if (!kd_number_format_in_gguf(format) || format->largest > 0)
        kd_config_complain_key(reader, object, path, "formats",
                               "\"%s\" is none of those that are chosen by a budget", name);
}

static void budget_finish(kd_config_reader *reader, const cJSON *object, const char *path,
                          void *base) {
    kd_budget_spec *budget = base;
    if ((budget->bits_per_weight > 0) == (budget->size[0] != 0))
        kd_config_complain(reader, object, false, path,
                           "expected exactly one of \"bits_per_weight\" and \"bytes\"");
    if (budget->size[0]) budget->bytes = kd_budget_parse(budget->size);
    if (budget->bytes < 0)
        kd_config_complain_key(reader, object, path, "bytes",
                               "\"%s\" is no size; write it as \"30 MB\"", budget->size);
    for (int i = 0; i < budget->format_count; i++)
        check_format(reader, object, path, budget->format[i]);
}

const kd_number_format *kd_config_format(const kd_budget_spec *budget, const char *name) {
    return budget->asked ? &kd_format_q8_0 : kd_number_format_named(name);
}

void kd_config_check_budget(kd_config_reader *reader, const cJSON *object, const char *path,
                            const kd_budget_spec *budget, bool network) {
    if (!budget->asked) return;
    if (kd_json_get(object, "format"))
        kd_config_complain_key(reader, object, path, "format",
                               "stands beside \"budget\", which chooses formats itself");
    for (int i = 0; i < budget->format_count && !network; i++)
        if (strcmp(budget->format[i], kd_format_int8.name) == 0)
            kd_config_complain_key(reader, object, path, "budget.formats",
                                   "other programs do not know int8");
}
