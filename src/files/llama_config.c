#include "files/llama_config.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "files/folder_config.h"
#include "files/llama_names.h"

/* --- reading: rotary positions -----------------------------------------------------------------
 */

static int read_kind(kd_rotary_kind *out, const kd_json *json, const cJSON *scaling) {
    static const struct {
        const char *name;
        kd_rotary_kind kind;
    } known[] = {{"default", KD_ROTARY_PLAIN},
                 {"linear", KD_ROTARY_LINEAR},
                 {"llama3", KD_ROTARY_LLAMA3},
                 {"yarn", KD_ROTARY_YARN}};
    const char *key = kd_json_get(scaling, "rope_type") ? "rope_type" : "type";
    const cJSON *item = kd_json_get(scaling, key);
    *out = KD_ROTARY_PLAIN;
    if (!item) return KD_OK;
    for (size_t i = 0; cJSON_IsString(item) && i < sizeof known / sizeof *known; i++)
        if (strcmp(item->valuestring, known[i].name) == 0) {
            *out = known[i].kind;
            return KD_OK;
        }
    return kd_folder_refuse(json, item, key, "default, linear, llama3 or yarn");
}

/* What other models say and no decoder here does. */
static int refuse_other_scaling(const kd_json *json, const cJSON *scaling) {
    static const char *const other[] = {"mscale", "mscale_all_dim", "short_factor", "long_factor"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        const cJSON *item = kd_json_get(scaling, other[i]);
        if (item && !cJSON_IsNull(item))
            return kd_folder_refuse(json, item, other[i], "missing; it is not known here");
    }
    double share;
    int status = kd_folder_number_or(&share, json, scaling, "partial_rotary_factor", 1);
    if (status == KD_OK && share != 1)
        return kd_folder_refuse(json, kd_json_get(scaling, "partial_rotary_factor"),
                                "partial_rotary_factor", "1: all of a head is turned");
    return status;
}

/* From "rope_parameters", or the older "rope_theta" and "rope_scaling". */
static int read_rotary(kd_rotary_spec *out, const kd_json *json, int context) {
    const cJSON *root = kd_json_root(json);
    const cJSON *scaling = kd_json_get(root, "rope_parameters");
    if (!cJSON_IsObject(scaling)) scaling = kd_json_get(root, "rope_scaling");
    if (!cJSON_IsObject(scaling)) scaling = NULL;
    const bool inside = scaling && kd_json_get(scaling, "rope_theta");
    int status =
        kd_folder_number_or(&out->base, json, inside ? scaling : root, "rope_theta", 10000);
    if (status == KD_OK && scaling) status = read_kind(&out->kind, json, scaling);
    if (status == KD_OK && scaling) status = refuse_other_scaling(json, scaling);
    if (status < 0 || out->kind == KD_ROTARY_PLAIN) return status;
    const bool yarn = out->kind == KD_ROTARY_YARN;
    const struct {
        const char *key;
        double *to, fallback;
    } number[] = {{"factor", &out->factor, 0},
                  {"original_max_position_embeddings", &out->original, context},
                  {"low_freq_factor", &out->low, 0},
                  {"high_freq_factor", &out->high, 0},
                  {"beta_fast", &out->fast, 32},
                  {"beta_slow", &out->slow, 1},
                  {"attention_factor", &out->attention, 0}};
    for (size_t i = 0; i < sizeof number / sizeof *number && status == KD_OK; i++)
        status =
            kd_folder_number_or(number[i].to, json, scaling, number[i].key, number[i].fallback);
    if (status == KD_OK && yarn && out->factor == 0) out->factor = context / out->original;
    const cJSON *truncate = kd_json_get(scaling, "truncate");
    out->whole_pairs = !cJSON_IsFalse(truncate);
    return status;
}

/* --- reading: the rest -------------------------------------------------------------------------
 */

enum { LLAMA, MISTRAL, QWEN2, QWEN3, UNKNOWN };

static int type_of(const kd_json *json) {
    static const char *const known[] = {"llama", "mistral", "qwen2", "qwen3"};
    const cJSON *type = kd_json_get(kd_json_root(json), "model_type");
    int i = LLAMA;
    while (i < UNKNOWN && !(cJSON_IsString(type) && strcmp(type->valuestring, known[i]) == 0)) i++;
    return i;
}

bool kd_llama_config_is(const kd_json *config) {
    return type_of(config) != UNKNOWN;
}

static int read_family(kd_llama_spec *spec, const kd_json *json, const char *path) {
    const cJSON *type = kd_json_get(kd_json_root(json), "model_type");
    const int family = type_of(json);
    if (family == UNKNOWN)
        return type ? kd_folder_refuse(json, type, "model_type",
                                       "llama, mistral, qwen2 or qwen3, which are known here")
                    : kd_fail(KD_EDATA, "%s: \"model_type\" is missing", path);
    spec->attention_bias = family == QWEN2;
    spec->head_norms = family == QWEN3;
    spec->epsilon = 1e-6;
    int status = kd_folder_need_text(json, "hidden_act", "silu");
    if (status == KD_OK && family != QWEN2)
        status = kd_folder_need_bool(json, "attention_bias", false);
    if (status == KD_OK) status = kd_folder_need_bool(json, "mlp_bias", false);
    if (status == KD_OK) status = kd_folder_need_bool(json, "use_sliding_window", false);
    const cJSON *window = kd_json_get(kd_json_root(json), "sliding_window");
    if (status == KD_OK && family == MISTRAL && window && !cJSON_IsNull(window))
        return kd_folder_refuse(json, window, "sliding_window",
                                "null; all positions are seen here");
    return status;
}

static int read_sizes(kd_llama_spec *s, const kd_json *json, const char *path) {
    const struct {
        const char *key;
        int *to;
    } size[] = {{"hidden_size", &s->width},         {"num_hidden_layers", &s->layers},
                {"num_attention_heads", &s->heads}, {"intermediate_size", &s->hidden},
                {"vocab_size", &s->vocabulary},     {"max_position_embeddings", &s->context}};
    int status = KD_OK;
    for (size_t i = 0; i < sizeof size / sizeof *size && status == KD_OK; i++)
        status = kd_folder_size(size[i].to, json, path, size[i].key);
    if (status < 0) return status;
    status = kd_folder_size_or(&s->key_heads, json, "num_key_value_heads", s->heads);
    if (status == KD_OK)
        status = kd_folder_size_or(&s->head_width, json, "head_dim", s->width / s->heads);
    if (status == KD_OK)
        status =
            kd_folder_number_or(&s->epsilon, json, kd_json_root(json), "rms_norm_eps", s->epsilon);
    if (status == KD_OK) status = kd_folder_bool_or(&s->tied, json, "tie_word_embeddings", false);
    return status;
}

static int read_end(int32_t *out, const kd_json *json, const cJSON *item, const char *key, int V) {
    if (!kd_json_is_integer(item) || item->valuedouble < 0 || item->valuedouble >= V)
        return kd_folder_refuse(json, item, key, "a token of the vocabulary");
    *out = (int32_t)item->valuedouble;
    return KD_OK;
}

/* "bos_token_id", and "eos_token_id", which may be a list. */
static int read_ends(kd_llama_ends *ends, const kd_json *json, int V) {
    const cJSON *bos = kd_json_get(kd_json_root(json), "bos_token_id");
    const cJSON *eos = kd_json_get(kd_json_root(json), "eos_token_id");
    int status = KD_OK;
    if (bos && !cJSON_IsNull(bos)) status = read_end(&ends->bos, json, bos, "bos_token_id", V);
    if (status < 0 || !eos || cJSON_IsNull(eos)) return status;
    ends->stop_count = 0;
    for (const cJSON *item = cJSON_IsArray(eos) ? eos->child : eos; item && status == KD_OK;
         item = cJSON_IsArray(eos) ? item->next : NULL) {
        if (ends->stop_count == KD_STOPS_MAX)
            return kd_folder_refuse(json, eos, "eos_token_id", "at most 16 tokens");
        status = read_end(&ends->stop[ends->stop_count++], json, item, "eos_token_id", V);
    }
    return status;
}

static int read_generation(kd_llama_ends *ends, const char *folder, int V) {
    char path[KD_PATH_MAX];
    kd_json *json;
    int status = kd_path_join(path, folder, "generation_config.json");
    if (status < 0 || !kd_file_exists(path)) return status;
    status = kd_folder_json(&json, path, folder, "generation_config.json");
    if (status == KD_OK) status = read_ends(ends, json, V);
    kd_json_free(json);
    return status;
}

int kd_llama_config_read(kd_llama_spec *spec, kd_llama_ends *ends, const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json;
    *spec = (kd_llama_spec){0};
    *ends = (kd_llama_ends){.bos = -1};
    int status = kd_folder_check_adapter(folder);
    if (status < 0) return status;
    status = kd_folder_json(&json, path, folder, "config.json");
    if (status == KD_OK) status = read_family(spec, json, path);
    if (status == KD_OK) status = read_sizes(spec, json, path);
    if (status == KD_OK) status = read_rotary(&spec->rotary, json, spec->context);
    if (status == KD_OK) status = kd_llama_spec_check(spec, path);
    if (status == KD_OK) status = read_ends(ends, json, spec->vocabulary);
    kd_json_free(json);
    return status == KD_OK ? read_generation(ends, folder, spec->vocabulary) : status;
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void add_ends(kd_text *out, const kd_llama_ends *ends) {
    if (ends->bos >= 0) kd_text_add(out, "  \"bos_token_id\": %d,\n", (int)ends->bos);
    if (ends->stop_count == 1) kd_text_add(out, "  \"eos_token_id\": %d,\n", (int)ends->stop[0]);
    for (int i = 0; ends->stop_count > 1 && i < ends->stop_count; i++)
        kd_text_add(out, "%s%d%s", i ? ", " : "  \"eos_token_id\": [", (int)ends->stop[i],
                    i + 1 < ends->stop_count ? "" : "],\n");
}

static void add_rotary(kd_text *out, const kd_rotary_spec *r) {
    static const char *const name[] = {"default", "linear", "llama3", "yarn"};
    kd_text_add(out, "  \"rope_theta\": %.17g,\n", r->base);
    if (r->kind == KD_ROTARY_PLAIN) return;
    kd_text_add(out, "  \"rope_scaling\": {\"rope_type\": \"%s\", \"factor\": %.17g", name[r->kind],
                r->factor);
    if (r->kind != KD_ROTARY_LINEAR)
        kd_text_add(out, ", \"original_max_position_embeddings\": %.17g", r->original);
    if (r->kind == KD_ROTARY_LLAMA3)
        kd_text_add(out, ", \"low_freq_factor\": %.17g, \"high_freq_factor\": %.17g", r->low,
                    r->high);
    if (r->kind == KD_ROTARY_YARN)
        kd_text_add(out, ", \"beta_fast\": %.17g, \"beta_slow\": %.17g, \"truncate\": %s", r->fast,
                    r->slow, r->whole_pairs ? "true" : "false");
    if (r->kind == KD_ROTARY_YARN && r->attention > 0)
        kd_text_add(out, ", \"attention_factor\": %.17g", r->attention);
    kd_text_add(out, "},\n");
}

int kd_llama_config_text(kd_text *out, const kd_llama_spec *s, const kd_llama_ends *ends,
                         const char *packed, const char *dtype) {
    static const char *const architecture[] = {"LlamaForCausalLM", "Qwen2ForCausalLM",
                                               "Qwen3ForCausalLM"};
    const kd_llama_family family = kd_llama_family_of(s);
    if (s->rotary.kind == KD_ROTARY_DIVIDED)
        return kd_fail(
            KD_EUSAGE,
            "config.json has no word for the rotary positions of this GGUF, which states "
            "what each pair is divided by; write a GGUF, or begin with the folder that "
            "it was made from");
    kd_text_add(out,
                "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n"
                "  \"vocab_size\": %d,\n  \"hidden_size\": %d,\n  \"intermediate_size\": %d,\n"
                "  \"num_hidden_layers\": %d,\n  \"num_attention_heads\": %d,\n"
                "  \"num_key_value_heads\": %d,\n  \"head_dim\": %d,\n"
                "  \"max_position_embeddings\": %d,\n",
                architecture[family], kd_llama_family_name(family), s->vocabulary, s->width,
                s->hidden, s->layers, s->heads, s->key_heads, s->head_width, s->context);
    add_rotary(out, &s->rotary);
    add_ends(out, ends);
    kd_text_add(out, "%s", packed);
    kd_text_add(out,
                "  \"hidden_act\": \"silu\",\n  \"rms_norm_eps\": %.17g,\n"
                "  \"attention_bias\": %s,\n  \"tie_word_embeddings\": %s,\n"
                "  \"attention_dropout\": 0.0,\n  \"initializer_range\": 0.02,\n"
                "  \"use_cache\": true,\n  \"torch_dtype\": \"%s\"\n}\n",
                s->epsilon, s->attention_bias ? "true" : "false", s->tied ? "true" : "false",
                dtype);
    return KD_OK;
}

void kd_llama_generation_text(kd_text *out, const kd_llama_ends *ends) {
    kd_text_add(out, "{\n");
    add_ends(out, ends);
    kd_text_add(out, "  \"do_sample\": false\n}\n");
}
