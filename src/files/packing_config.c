/* What config.json and hf_quant_config.json say of packed matrices. */
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "files/folder_config.h"
#include "files/packing.h"

/* --- reading -----------------------------------------------------------------------------------
 */

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static int64_t number_of(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    return item && kd_json_is_integer(item) && item->valuedouble > 0 && item->valuedouble < 1 << 20
               ? (int64_t)item->valuedouble
               : 0;
}

/* How weights may be packed: what compressed-tensors says of it. */
static const struct {
    const char *type, *strategy;
    int bits, group; /* group −1: any, of so many values */
    const kd_number_format *format;
} KNOWN[] = {{"float", "channel", 8, 0, &kd_format_f8_e4m3},
             {"float", "tensor", 8, 0, &kd_format_f8_e4m3_tensor},
             {"float", "tensor_group", 4, 16, &kd_format_nvfp4},
             {"float", "group", 4, 32, &kd_format_mxfp4},
             {"int", "group", 4, -1, &kd_format_q4_0},
             {"int", "group", 8, -1, &kd_format_q8_0},
             {"int", "channel", 4, 0, &kd_format_q4_0},
             {"int", "channel", 8, 0, &kd_format_int8}};

static int read_weights(kd_packing *out, const kd_json *json, const cJSON *weights) {
    const cJSON *symmetric = kd_json_get(weights, "symmetric");
    if (symmetric && !cJSON_IsTrue(symmetric))
        return kd_folder_refuse(json, symmetric, "symmetric", "true: zero-points are not read");
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++) {
        if (strcmp(text_of(weights, "type"), KNOWN[i].type) != 0 ||
            strcmp(text_of(weights, "strategy"), KNOWN[i].strategy) != 0 ||
            number_of(weights, "num_bits") != KNOWN[i].bits)
            continue;
        const int64_t group = KNOWN[i].group ? number_of(weights, "group_size") : 0;
        if (KNOWN[i].group > 0 ? group != KNOWN[i].group : KNOWN[i].group < 0 && group == 0)
            continue;
        *out = (kd_packing){
            .layout = KD_LAYOUT_COMPRESSED_TENSORS, .format = KNOWN[i].format, .group = group};
        return KD_OK;
    }
    return kd_folder_refuse(
        json, weights, "weights",
        "floats of 8 bits by channel or tensor, of 4 bits by tensor_group of 16 or by group of 32, "
        "or integers of 4 or 8 bits by group or channel, which are known here");
}

static int read_compressed_tensors(kd_packing *out, const kd_json *json, const cJSON *quantized) {
    static const char *const formats[] = {"float-quantized", "naive-quantized",
                                          "nvfp4-pack-quantized", "mxfp4-pack-quantized",
                                          "pack-quantized"};
    const cJSON *format = kd_json_get(quantized, "format"),
                *groups = kd_json_get(quantized, "config_groups");
    bool known = false;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        known = known || strcmp(text_of(quantized, "format"), formats[i]) == 0;
    if (!known)
        return kd_folder_refuse(
            json, format ? format : quantized, "format",
            "float-, naive-, nvfp4-pack-, mxfp4-pack- or pack-quantized, which are known here");
    if (!cJSON_IsObject(groups) || !groups->child || groups->child->next)
        return kd_folder_refuse(json, groups ? groups : quantized, "config_groups",
                                "one group of layers");
    const cJSON *weights = kd_json_get(groups->child, "weights");
    return cJSON_IsObject(weights) ? read_weights(out, json, weights)
                                   : kd_folder_refuse(json, groups->child, "weights", "an object");
}

static int read_modelopt(kd_packing *out, const kd_json *json, const cJSON *object) {
    static const struct {
        const char *name;
        const kd_number_format *format;
    } known[] = {{"FP8", &kd_format_f8_e4m3_tensor},
                 {"FP8_PER_CHANNEL_PER_TOKEN", &kd_format_f8_e4m3},
                 {"NVFP4", &kd_format_nvfp4},
                 {"W4A16_NVFP4", &kd_format_nvfp4}};
    const cJSON *algorithm = kd_json_get(object, "quant_algo"),
                *group = kd_json_get(object, "group_size");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(text_of(object, "quant_algo"), known[i].name) != 0) continue;
        const bool blocks = known[i].format == &kd_format_nvfp4;
        *out = (kd_packing){
            .layout = KD_LAYOUT_MODELOPT, .format = known[i].format, .group = blocks ? 16 : 0};
        if (blocks && group && !cJSON_IsNull(group) && number_of(object, "group_size") != 16)
            return kd_folder_refuse(json, group, "group_size", "16");
        return KD_OK;
    }
    return kd_folder_refuse(
        json, algorithm ? algorithm : object, "quant_algo",
        "FP8, FP8_PER_CHANNEL_PER_TOKEN, NVFP4 or W4A16_NVFP4, which are known here");
}

/* modelopt's own file, which stands beside older config.json that say nothing. */
static int read_beside(kd_packing *out, const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json;
    int status = kd_path_join(path, folder, "hf_quant_config.json");
    if (status < 0 || !kd_file_exists(path)) return status;
    status = kd_folder_json(&json, path, folder, "hf_quant_config.json");
    const cJSON *object = status == KD_OK ? kd_json_get(kd_json_root(json), "quantization") : NULL;
    if (status == KD_OK)
        status = cJSON_IsObject(object)
                     ? read_modelopt(out, json, object)
                     : kd_fail(KD_EDATA, "%s: \"quantization\" should be an object", path);
    kd_json_free(json);
    return status;
}

int kd_packing_read(kd_packing *out, const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json;
    *out = (kd_packing){.layout = KD_LAYOUT_PLAIN};
    int status = kd_folder_json(&json, path, folder, "config.json");
    const cJSON *quantized =
        status == KD_OK ? kd_json_get(kd_json_root(json), "quantization_config") : NULL;
    const char *method = text_of(quantized, "quant_method");
    if (status < 0) return status;
    if (!quantized || cJSON_IsNull(quantized))
        status = read_beside(out, folder);
    else if (strcmp(method, "compressed-tensors") == 0)
        status = read_compressed_tensors(out, json, quantized);
    else if (strcmp(method, "modelopt") == 0)
        status = read_modelopt(out, json, quantized);
    else
        status = kd_folder_refuse(
            json, quantized, "quantization_config",
            "missing, or of the method compressed-tensors or modelopt: weights packed in another "
            "way cannot be read; save them as float32, float16 or bfloat16");
    kd_json_free(json);
    return status;
}

/* --- writing -----------------------------------------------------------------------------------
 */

/* What compressed-tensors says of weights. */
static void add_weights(kd_text *out, const kd_packing *p) {
    size_t i = 0;
    while (KNOWN[i].format != p->format || (KNOWN[i].group != 0) != (p->group > 0)) i++;
    kd_text_add(out,
                "{\"num_bits\": %d, \"type\": \"%s\", \"symmetric\": true, \"strategy\": \"%s\", ",
                KNOWN[i].bits, KNOWN[i].type, KNOWN[i].strategy);
    if (p->group > 0)
        kd_text_add(out, "\"group_size\": %d, ", (int)p->group);
    else
        kd_text_add(out, "\"group_size\": null, ");
    if (p->format == &kd_format_mxfp4) kd_text_add(out, "\"scale_dtype\": \"torch.uint8\", ");
    if (p->format == &kd_format_nvfp4)
        kd_text_add(out, "\"scale_dtype\": \"torch.float8_e4m3fn\", ");
    kd_text_add(out, "\"dynamic\": false}");
}

static void add_inputs(kd_text *out, const kd_packing *p) {
    if (!p->inputs)
        kd_text_add(out, "null");
    else if (p->format == &kd_format_nvfp4)
        kd_text_add(out, "{\"num_bits\": 4, \"type\": \"float\", \"symmetric\": true, "
                         "\"strategy\": \"tensor_group\", \"group_size\": 16, "
                         "\"scale_dtype\": \"torch.float8_e4m3fn\", \"dynamic\": \"local\"}");
    else
        kd_text_add(
            out,
            "{\"num_bits\": 8, \"type\": \"float\", \"symmetric\": true, \"strategy\": \"tensor\", "
            "\"group_size\": null, \"dynamic\": false}");
}

static const char *format_name(const kd_packing *p) {
    return p->format == &kd_format_nvfp4            ? "nvfp4-pack-quantized"
           : p->format == &kd_format_mxfp4          ? "mxfp4-pack-quantized"
           : p->format == &kd_format_f8_e4m3        ? "float-quantized"
           : p->format == &kd_format_f8_e4m3_tensor ? "float-quantized"
                                                    : "pack-quantized";
}

static const char *algorithm_name(const kd_packing *p) {
    return p->format == &kd_format_f8_e4m3          ? "FP8_PER_CHANNEL_PER_TOKEN"
           : p->format == &kd_format_f8_e4m3_tensor ? "FP8"
           : p->inputs                              ? "NVFP4"
                                                    : "W4A16_NVFP4";
}

void kd_packing_add_config(kd_text *out, const kd_packing *packing, const char *ignored) {
    kd_text_add(out, "  \"quantization_config\": {\n    \"quant_method\": \"%s\",\n",
                packing->layout == KD_LAYOUT_MODELOPT ? "modelopt" : "compressed-tensors");
    if (packing->layout == KD_LAYOUT_MODELOPT) {
        kd_text_add(out, "    \"quant_algo\": \"%s\",\n", algorithm_name(packing));
        if (packing->group > 0) kd_text_add(out, "    \"group_size\": %d,\n", (int)packing->group);
    } else {
        kd_text_add(
            out,
            "    \"format\": \"%s\",\n    \"quantization_status\": \"compressed\",\n"
            "    \"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"],\n      \"weights\": ",
            format_name(packing));
        add_weights(out, packing);
        kd_text_add(out, ",\n      \"input_activations\": ");
        add_inputs(out, packing);
        kd_text_add(out,
                    ",\n      \"output_activations\": null}},\n    \"kv_cache_scheme\": null,\n"
                    "    \"global_compression_ratio\": null,\n");
    }
    kd_text_add(out, "    \"ignore\": ");
    kd_text_add(out, "%s", ignored);
    kd_text_add(out, "\n  },\n");
}

void kd_packing_add_modelopt(kd_text *out, const kd_packing *packing, const char *ignored) {
    kd_text_add(out,
                "{\n  \"producer\": {\"name\": \"modelopt\", \"version\": \"distill\"},\n  "
                "\"quantization\": {\n"
                "    \"quant_algo\": \"%s\",\n    \"kv_cache_quant_algo\": null,\n",
                algorithm_name(packing));
    if (packing->group > 0) kd_text_add(out, "    \"group_size\": %d,\n", (int)packing->group);
    kd_text_add(out, "    \"exclude_modules\": ");
    kd_text_add(out, "%s", ignored);
    kd_text_add(out, "\n  }\n}\n");
}
