#include "base/json_text.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"

void kd_json_add_quoted(kd_text *out, const char *value) {
    const size_t size = kd_json_quote(NULL, 0, value) + 1;
    char *quoted = malloc(size);
    if (!quoted) {
        out->failed = true;
        return;
    }
    kd_json_quote(quoted, size, value);
    kd_text_add(out, "%s", quoted);
    free(quoted);
}

void kd_json_add_string(kd_text *out, const char *key, const char *value) {
    kd_text_add(out, "\"%s\": ", key);
    kd_json_add_quoted(out, value);
}

void kd_json_add_number(kd_text *out, const char *key, double value) {
    if (isfinite(value))
        kd_text_add(out, ", \"%s\": %.9g", key, value);
    else
        kd_text_add(out, ", \"%s\": null", key);
}

void kd_json_add_integer(kd_text *out, const char *key, int64_t value) {
    kd_text_add(out, ", \"%s\": %lld", key, (long long)value);
}
