#include "distill/quantize_keys.h"

#include "config/defaults.h"

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
