#include "files/gguf_values.h"

#include <string.h>

#include "base/error.h"

int kd_gguf_size(int *out, const kd_gguf *g, const char *key, const char *name) {
    static const unsigned char bytes[KD_GGUF_KIND_COUNT] = {[KD_GGUF_U16] = 2,
                                                            [KD_GGUF_U32] = 4,
                                                            [KD_GGUF_I32] = 4,
                                                            [KD_GGUF_U64] = 8,
                                                            [KD_GGUF_I64] = 8};
    const kd_gguf_key *k = kd_gguf_find_key(g, key);
    uint64_t value = 0;
    *out = 0;
    if (!k) return kd_fail(KD_EDATA, "%s: has no key %s", name, key);
    if (bytes[k->kind] == 0) return kd_fail(KD_EDATA, "%s: %s should be an integer", name, key);
    memcpy(&value, k->value, bytes[k->kind]);
    if (value > INT32_MAX) return kd_fail(KD_EDATA, "%s: %s is out of range", name, key);
    *out = (int)value;
    return KD_OK;
}

int kd_gguf_size_or(int *out, const kd_gguf *g, const char *key, int fallback, const char *name) {
    *out = fallback;
    return kd_gguf_find_key(g, key) ? kd_gguf_size(out, g, key, name) : KD_OK;
}

int kd_gguf_number(double *out, const kd_gguf *g, const char *key, const char *name) {
    const kd_gguf_key *k = kd_gguf_find_key(g, key);
    float single;
    *out = 0;
    if (!k) return kd_fail(KD_EDATA, "%s: has no key %s", name, key);
    if (k->kind != KD_GGUF_F32 && k->kind != KD_GGUF_F64)
        return kd_fail(KD_EDATA, "%s: %s should be a number", name, key);
    if (k->kind == KD_GGUF_F64) {
        memcpy(out, k->value, sizeof *out);
    } else {
        memcpy(&single, k->value, sizeof single);
        *out = (double)single;
    }
    return KD_OK;
}

int kd_gguf_number_or(double *out, const kd_gguf *g, const char *key, double fallback,
                      const char *name) {
    *out = fallback;
    return kd_gguf_find_key(g, key) ? kd_gguf_number(out, g, key, name) : KD_OK;
}

bool kd_gguf_says(const kd_gguf *gguf, const char *key, const char *text) {
    const kd_gguf_key *k = kd_gguf_find_key(gguf, key);
    if (!k || k->kind != KD_GGUF_STRING) return false;
    const unsigned char *at = k->value;
    const kd_gguf_string found = kd_gguf_next_string(&at);
    return found.length == strlen(text) && memcmp(found.text, text, strlen(text)) == 0;
}
