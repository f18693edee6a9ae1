/* Is a JSON value what its row wants, and how is what it wants said to a person? */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "config/reader.h"

int kd_config_choice(const char *choices, const char *word) {
    size_t length = strlen(word);
    int index = 0;
    for (const char *p = choices; p && *p; index++) {
        size_t n = strcspn(p, "|");
        if (n == length && memcmp(p, word, n) == 0) return index;
        p += n + (p[n] == '|');
    }
    return -1;
}

/* "a", "b" or "c" */
static void describe_choices(char *out, size_t capacity, const char *choices) {
    size_t used = 0;
    out[0] = '\0';
    for (const char *p = choices; *p && used < capacity;) {
        size_t n = strcspn(p, "|");
        bool last = p[n] == '\0', more = !last && strchr(p + n + 1, '|');
        used += (size_t)snprintf(out + used, capacity - used, "\"%.*s\"%s", (int)n, p,
                                 last   ? ""
                                 : more ? ", "
                                        : " or ");
        p += n + !last;
    }
}

void kd_config_limit(char *out, size_t capacity, double limit) {
    if (limit >= KD_KEY_U64_MAX)
        snprintf(out, capacity, "%llu", (unsigned long long)UINT64_MAX);
    else
        snprintf(out, capacity, "%.10g", limit);
}

/* " from 1 to 8", " above 0, at most 600" … */
static void describe_range(char *out, size_t capacity, const kd_config_key *key) {
    char low[32], high[32];
    kd_config_limit(low, sizeof low, key->low);
    kd_config_limit(high, sizeof high, key->high);
    if (key->above)
        snprintf(out, capacity, " above %s, at most %s", low, high);
    else
        snprintf(out, capacity, " from %s to %s", low, high);
}

static void describe_with_word(char *out, size_t capacity, const char *what, const char *range,
                               const kd_config_key *key) {
    snprintf(out, capacity, "%s%s%s%s%s", what, range, key->choices ? ", or \"" : "",
             key->choices ? key->choices : "", key->choices ? "\"" : "");
}

void kd_config_describe(char out[KD_CONFIG_DESCRIPTION_MAX], const kd_config_key *key) {
    const size_t capacity = KD_CONFIG_DESCRIPTION_MAX;
    char range[96], choices[KD_CONFIG_DESCRIPTION_MAX];
    describe_range(range, sizeof range, key);
    switch (key->type) {
    case KD_KEY_INTEGER:
        describe_with_word(out, capacity, "a whole number", range, key);
        return;
    case KD_KEY_REAL:
        snprintf(out, capacity, "a number%s", range);
        return;
    case KD_KEY_SWITCH:
        snprintf(out, capacity, "true or false");
        return;
    case KD_KEY_TEXT:
        snprintf(out, capacity, "a text");
        return;
    case KD_KEY_PATH:
        snprintf(out, capacity, "a path");
        return;
    case KD_KEY_CHOICE:
        describe_choices(choices, sizeof choices, key->choices);
        snprintf(out, capacity, "%s", choices);
        return;
    case KD_KEY_PAIR:
        describe_with_word(out, capacity, "a whole number, or a list of two,", range, key);
        return;
    case KD_KEY_INTEGERS:
        snprintf(out, capacity, "a list of whole numbers%s", range);
        return;
    case KD_KEY_REALS:
        snprintf(out, capacity, "a list of numbers%s", range);
        return;
    case KD_KEY_PATHS:
        snprintf(out, capacity, "a list of paths");
        return;
    case KD_KEY_TEXTS:
        snprintf(out, capacity, "a list of texts");
        return;
    case KD_KEY_OBJECT:
        snprintf(out, capacity, "an object { … }");
        return;
    case KD_KEY_OBJECTS:
        snprintf(out, capacity, "an object { … } or a list of them");
        return;
    case KD_KEY_CHANGES:
        snprintf(out, capacity, "an object of config keys { \"loss.kl\": 0.5 }");
        return;
    case KD_KEY_AXES:
        snprintf(out, capacity, "an object of config keys { \"loss.kl\": [0.5, 0.9] }");
        return;
    case KD_KEY_IGNORED:
        snprintf(out, capacity, "anything");
        return;
    }
}

/* The digits as they stand where they are kept; else enough of it to see why it was refused. */
static void describe_number(char *out, size_t capacity, const cJSON *item) {
    const char *digits = item->valuestring;
    if (digits)
        snprintf(out, capacity, "%.40s%s", digits, strlen(digits) > 40 ? "…" : "");
    else
        snprintf(out, capacity, kd_json_is_integer(item) ? "%.0f" : "%.10g", item->valuedouble);
}

/* What stands there, shortened: "-3", "\"abc\"", "a list". */
static void describe_found(char *out, size_t capacity, const cJSON *item) {
    if (cJSON_IsNumber(item))
        describe_number(out, capacity, item);
    else if (cJSON_IsString(item))
        snprintf(out, capacity, "\"%.60s\"", item->valuestring);
    else if (cJSON_IsBool(item))
        snprintf(out, capacity, cJSON_IsTrue(item) ? "true" : "false");
    else if (cJSON_IsNull(item))
        snprintf(out, capacity, "null");
    else
        snprintf(out, capacity, cJSON_IsArray(item) ? "a list" : "an object");
}

static bool in_range(double x, const kd_config_key *key) {
    return (key->above ? x > key->low : x >= key->low) && x <= key->high;
}

static bool is_word(const cJSON *item, const kd_config_key *key) {
    return key->choices && cJSON_IsString(item) && strcmp(item->valuestring, key->choices) == 0;
}

static bool is_text(const cJSON *item, size_t capacity) {
    return cJSON_IsString(item) && *item->valuestring && strlen(item->valuestring) < capacity;
}

static bool is_number(const cJSON *item, const kd_config_key *key, bool whole) {
    uint64_t all;
    if (whole && key->high >= KD_KEY_U64_MAX) return kd_json_unsigned(&all, item);
    return cJSON_IsNumber(item) && (!whole || kd_json_is_integer(item)) &&
           in_range(item->valuedouble, key);
}

static bool is_pair(const cJSON *item, const kd_config_key *key) {
    if (!cJSON_IsArray(item)) return is_number(item, key, true) || is_word(item, key);
    return cJSON_GetArraySize(item) == 2 && is_number(item->child, key, true) &&
           is_number(item->child->next, key, true);
}

static bool is_entry(const cJSON *item, const kd_config_key *key) {
    switch (key->type) {
    case KD_KEY_INTEGERS:
        return is_number(item, key, true);
    case KD_KEY_REALS:
        return is_number(item, key, false);
    case KD_KEY_PATHS:
    case KD_KEY_TEXTS:
        return is_text(item, key->stride);
    default:
        return true; /* objects: read later */
    }
}

static bool fits(const cJSON *item, const kd_config_key *key) {
    switch (key->type) {
    case KD_KEY_INTEGER:
        return is_number(item, key, true) || is_word(item, key);
    case KD_KEY_REAL:
        return is_number(item, key, false);
    case KD_KEY_SWITCH:
        return cJSON_IsBool(item);
    case KD_KEY_TEXT:
    case KD_KEY_PATH:
        return is_text(item, key->size);
    case KD_KEY_CHOICE:
        return cJSON_IsString(item) && kd_config_choice(key->choices, item->valuestring) >= 0;
    case KD_KEY_PAIR:
        return is_pair(item, key);
    case KD_KEY_INTEGERS:
    case KD_KEY_REALS:
    case KD_KEY_PATHS:
    case KD_KEY_TEXTS:
        return cJSON_IsArray(item);
    case KD_KEY_OBJECTS:
        return cJSON_IsArray(item) || cJSON_IsObject(item);
    case KD_KEY_OBJECT:
    case KD_KEY_CHANGES:
    case KD_KEY_AXES:
        return cJSON_IsObject(item);
    case KD_KEY_IGNORED:
        return true;
    }
    return false;
}

/* `"adam"` for "adamw": the choice that was meant. */
static void guess_choice(char *out, size_t capacity, const cJSON *item, const char *choices) {
    enum { WORDS = 64 };
    out[0] = '\0';
    if (!cJSON_IsString(item) || !choices) return;
    char word[WORDS][32];
    int n = 0;
    kd_guess guess = kd_guess_begin(item->valuestring);
    for (const char *p = choices; *p && n < WORDS; n++) {
        size_t length = strcspn(p, "|");
        snprintf(word[n], sizeof word[n], "%.*s", (int)length, p);
        kd_guess_offer(&guess, word[n]);
        p += length + (p[length] == '|');
    }
    if (guess.best) snprintf(out, capacity, "; did you mean \"%s\"?", guess.best);
}

bool kd_config_check_value(kd_config_reader *reader, const cJSON *item, const char *path,
                           const kd_config_key *key) {
    char wanted[KD_CONFIG_DESCRIPTION_MAX], found[96], meant[64];
    kd_config_describe(wanted, key);
    if (!fits(item, key)) {
        describe_found(found, sizeof found, item);
        guess_choice(meant, sizeof meant, item, key->choices);
        if (cJSON_IsString(item) && strlen(item->valuestring) >= key->size &&
            is_text(item, SIZE_MAX) && (key->type == KD_KEY_TEXT || key->type == KD_KEY_PATH))
            kd_config_complain(reader, item, false, path, "a text of more than %zu bytes",
                               key->size - 1);
        else
            kd_config_complain(reader, item, false, path, "expected %s, found %s%s", wanted, found,
                               meant);
        return false;
    }
    if (!cJSON_IsArray(item) || key->stride == 0) return true;
    size_t most = key->size / key->stride;
    if ((size_t)cJSON_GetArraySize(item) > most) {
        kd_config_complain(reader, item, false, path, "a list of %d, but at most %zu are possible",
                           cJSON_GetArraySize(item), most);
        return false;
    }
    bool good = true;
    for (const cJSON *entry = item->child; entry; entry = entry->next) {
        if (is_entry(entry, key)) continue;
        describe_found(found, sizeof found, entry);
        kd_config_complain(reader, entry, false, path, "expected %s, found %s in it", wanted,
                           found);
        good = false;
    }
    return good;
}
