/* config.json of an encoder. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"
#include "files/bert_file.h"
#include "files/folder_config.h"

static const double EPSILON = 1e-12; /* where nothing says it */

static bool says(const kd_json *json, const char *type) {
    const cJSON *item = kd_json_get(kd_json_root(json), "model_type");
    return cJSON_IsString(item) && strcmp(item->valuestring, type) == 0;
}

bool kd_bert_config_is(const kd_json *config) {
    return says(config, "bert") || says(config, "distilbert");
}

typedef struct {
    const char *bert, *distilbert; /* its key in each */
    int *to;
} size;

static int read_sizes(kd_bert_spec *s, const kd_json *json, const char *path, bool distilled) {
    const size sizes[] = {{"hidden_size", "dim", &s->width},
                          {"num_hidden_layers", "n_layers", &s->layers},
                          {"num_attention_heads", "n_heads", &s->heads},
                          {"intermediate_size", "hidden_dim", &s->hidden},
                          {"vocab_size", "vocab_size", &s->vocabulary},
                          {"max_position_embeddings", "max_position_embeddings", &s->context}};
    int status = KD_OK;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && status == KD_OK; i++)
        status = kd_folder_size(sizes[i].to, json, path,
                                distilled ? sizes[i].distilbert : sizes[i].bert);
    if (status == KD_OK && !distilled)
        status = kd_folder_size_or(&s->types, json, "type_vocab_size", 2);
    if (status == KD_OK)
        status =
            kd_folder_number_or(&s->epsilon, json, kd_json_root(json), "layer_norm_eps", EPSILON);
    return status;
}

/* How many classes, as transformers counts them. */
static int read_classes(int *out, const kd_json *json) {
    const cJSON *label = kd_json_get(kd_json_root(json), "id2label");
    int count = 2;
    if (cJSON_IsObject(label)) count = cJSON_GetArraySize(label);
    return kd_folder_size_or(out, json, "num_labels", count);
}

int kd_bert_config_read(kd_bert_spec *spec, const char *folder) {
    char path[KD_PATH_MAX];
    kd_json *json;
    *spec = (kd_bert_spec){0};
    int status = kd_folder_check_adapter(folder);
    if (status < 0) return status;
    status = kd_folder_json(&json, path, folder, "config.json");
    const bool distilled = status == KD_OK && says(json, "distilbert");
    if (status == KD_OK && !kd_bert_config_is(json))
        status = kd_fail(KD_EDATA, "%s: \"model_type\" should be bert or distilbert", path);
    if (status == KD_OK)
        status = kd_folder_need_text(json, distilled ? "activation" : "hidden_act", "gelu");
    if (status == KD_OK) status = kd_folder_need_text(json, "position_embedding_type", "absolute");
    if (status == KD_OK) status = kd_folder_need_bool(json, "is_decoder", false);
    if (status == KD_OK) status = kd_folder_need_bool(json, "tie_word_embeddings", true);
    if (status == KD_OK) status = read_sizes(spec, json, path, distilled);
    if (status == KD_OK) status = read_classes(&spec->classes, json);
    if (status == KD_OK) {
        spec->pooler = true; /* to check the sizes of what may be there */
        status = kd_bert_spec_check(spec, path);
    }
    kd_json_free(json);
    return status;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void add_classes(kd_text *out, const kd_bert_spec *s, const char *const *name) {
    char own[32];
    for (int way = 0; way < 2; way++) {
        kd_text_add(out, way ? "  \"label2id\": {" : "  \"id2label\": {");
        for (int i = 0; i < s->classes; i++) {
            char quoted[256];
            snprintf(own, sizeof own, "LABEL_%d", i);
            kd_json_quote(quoted, sizeof quoted, name ? name[i] : own);
            kd_text_add(out, "%s", i ? ", " : "");
            if (way)
                kd_text_add(out, "%s: %d", quoted, i);
            else
                kd_text_add(out, "\"%d\": %s", i, quoted);
        }
        kd_text_add(out, "},\n");
    }
}

void kd_bert_config_text(kd_text *out, const kd_bert_spec *s, const char *const *class_name,
                         const char *dtype) {
    const bool bert = s->types > 0;
    const char *kind = s->classes > 0 ? "ForSequenceClassification"
                       : s->head      ? "ForMaskedLM"
                                      : "Model";
    kd_text_add(out, "{\n  \"architectures\": [\"%s%s\"],\n  \"model_type\": \"%s\",\n",
                bert ? "Bert" : "DistilBert", kind, kd_bert_family_name(s));
    kd_text_add(out, "  \"vocab_size\": %d,\n  \"max_position_embeddings\": %d,\n", s->vocabulary,
                s->context);
    kd_text_add(out,
                bert ? "  \"hidden_size\": %d,\n  \"intermediate_size\": %d,\n"
                       "  \"num_hidden_layers\": %d,\n  \"num_attention_heads\": %d,\n"
                     : "  \"dim\": %d,\n  \"hidden_dim\": %d,\n  \"n_layers\": %d,\n"
                       "  \"n_heads\": %d,\n",
                s->width, s->hidden, s->layers, s->heads);
    if (bert)
        kd_text_add(out,
                    "  \"type_vocab_size\": %d,\n  \"layer_norm_eps\": %.17g,\n"
                    "  \"hidden_act\": \"gelu\",\n  \"position_embedding_type\": \"absolute\",\n",
                    s->types, s->epsilon);
    else
        kd_text_add(out, "  \"activation\": \"gelu\",\n  \"sinusoidal_pos_embds\": false,\n");
    if (s->classes > 0) add_classes(out, s, class_name);
    kd_text_add(out,
                "  \"initializer_range\": 0.02,\n  \"tie_word_embeddings\": true,\n"
                "  \"pad_token_id\": 0,\n  \"torch_dtype\": \"%s\"\n}\n",
                dtype);
}
