/* The facts that kd_onnx_add_info wrote, read back. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "files/onnx_file.h"

static int bad(const kd_onnx_tables *t, const char *key, const char *should) {
    return kd_fail(KD_EDATA, "%s: the fact %s must be %s", t->path, key, should);
}

/* A JSON value; *out stays NULL when it is not there. */
static int read_fact(kd_json **out, const kd_onnx_tables *t, const char *key) {
    const kd_onnx_text text = kd_onnx_fact(t, key);
    *out = NULL;
    if (text.length == 0) return KD_OK;
    int status = kd_json_parse(out, text.at, text.length, key);
    return status < 0 ? kd_fail_in(status, "%s", t->path) : KD_OK;
}

static int read_list(float *out, int n, const kd_onnx_tables *t, const char *key) {
    kd_json *json;
    int status = read_fact(&json, t, key);
    if (status < 0) return status;
    const cJSON *list = json ? kd_json_root(json) : NULL;
    bool fits = cJSON_IsArray(list) && cJSON_GetArraySize(list) == n;
    for (int i = 0; i < n && fits; i++) {
        const cJSON *number = cJSON_GetArrayItem(list, i);
        out[i] = cJSON_IsNumber(number) ? (float)number->valuedouble : NAN;
        fits = isfinite(out[i]);
    }
    kd_json_free(json);
    return fits ? KD_OK : bad(t, key, "a list with a finite number for each channel");
}

static int read_normaliser(kd_onnx_stated *out, const kd_onnx_tables *t) {
    kd_normaliser *n = &out->normaliser;
    kd_json *json;
    int status = read_fact(&json, t, "distill.normaliser.unit");
    if (status < 0 || !json) return status;
    const cJSON *unit = kd_json_root(json);
    n->unit = cJSON_IsNumber(unit) ? (float)unit->valuedouble : 0;
    kd_json_free(json);
    if (!(n->unit > 0 && isfinite(n->unit)))
        return bad(t, "distill.normaliser.unit", "a number above 0");
    out->normalises = true;
    if (kd_onnx_fact(t, "distill.normaliser.mean").length == 0) return KD_OK;
    n->channels =
        t->input_rank == 4 && t->input_size[1] <= KD_IMAGE_CHANNELS_MAX ? (int)t->input_size[1] : 1;
    status = read_list(n->mean, n->channels, t, "distill.normaliser.mean");
    if (status == KD_OK)
        status = read_list(n->deviation, n->channels, t, "distill.normaliser.deviation");
    for (int i = 0; i < n->channels && status == KD_OK; i++)
        if (n->deviation[i] <= 0) status = bad(t, "distill.normaliser.deviation", "above 0");
    return status;
}

int kd_onnx_read_info(kd_onnx_stated *out, const kd_onnx_tables *tables) {
    kd_json *json = NULL;
    *out = (kd_onnx_stated){0};
    int status = read_normaliser(out, tables);
    if (status == KD_OK) status = read_fact(&json, tables, "distill.classes");
    if (status < 0 || !json) return status;
    const cJSON *list = kd_json_root(json), *name;
    int count = 0;
    if (!cJSON_IsArray(list)) status = bad(tables, "distill.classes", "a list of names");
    if (status == KD_OK && cJSON_GetArraySize(list) <= KD_CLASS_NAMES_GIVEN_MAX)
        cJSON_ArrayForEach(name, list) {
            if (!cJSON_IsString(name) || strlen(name->valuestring) >= KD_CLASS_NAME_MAX) {
                status = bad(tables, "distill.classes", "a list of names");
                break;
            }
            memcpy(out->class_name[count++], name->valuestring, strlen(name->valuestring) + 1);
        }
    out->classes = status == KD_OK ? count : 0;
    kd_json_free(json);
    return status;
}
