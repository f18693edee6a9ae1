#include "files/roles.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *ending;
    kd_role role;
} ROLES[] = {{"attn.value.weight", KD_ROLE_VALUE},    {"attn.out.weight", KD_ROLE_OUT},
             {"mlp.down.weight", KD_ROLE_DOWN},       {"mlp.2.weight", KD_ROLE_DOWN},
             {"embedding.weight", KD_ROLE_EMBEDDING}, {"output.weight", KD_ROLE_OUTPUT}};

static kd_role role_of(const char *name) {
    const size_t length = strlen(name);
    for (size_t i = 0; i < sizeof ROLES / sizeof *ROLES; i++) {
        const size_t n = strlen(ROLES[i].ending);
        if (length >= n && strcmp(name + length - n, ROLES[i].ending) == 0) return ROLES[i].role;
    }
    return KD_ROLE_OTHER;
}

kd_role kd_param_role(const kd_param *param) {
    return role_of(param->name);
}

/* The length of what stands in front of the number of a layer, and the number; −1 without. */
static int layer_of(const char *name, size_t *stack) {
    for (const char *at = name; (at = strchr(at, '.')); at++) {
        char *end;
        const long number = strtol(at + 1, &end, 10);
        if (end == at + 1 || *end != '.' || number < 0) continue;
        *stack = (size_t)(at - name);
        return (int)number;
    }
    return -1;
}

static bool has_output(const kd_params *params) {
    for (int i = 0; i < params->count; i++)
        if (role_of(params->list[i]->name) == KD_ROLE_OUTPUT) return true;
    return false;
}

kd_place kd_param_place(const kd_params *params, int i) {
    const char *name = params->list[i]->name;
    size_t stack = 0, other = 0;
    kd_place place = {.role = role_of(name), .layer = layer_of(name, &stack)};
    for (int k = 0; k < params->count && place.layer >= 0; k++) {
        const int layer = layer_of(params->list[k]->name, &other);
        if (other == stack && strncmp(params->list[k]->name, name, stack) == 0 &&
            layer >= place.layers)
            place.layers = layer + 1;
    }
    if (place.role == KD_ROLE_EMBEDDING && !has_output(params)) place.role = KD_ROLE_OUTPUT;
    return place;
}

/* The length of what stands in front of one of the names that are joined, and which; 0 of none. */
static int joined_of(const char *name, size_t *front) {
    static const struct {
        const char *ending;
        int with;
    } JOINED[] = {{".attn.query.weight", 1},
                  {".attn.key.weight", 1},
                  {".attn.value.weight", 1},
                  {".mlp.gate.weight", 2},
                  {".mlp.up.weight", 2}};
    const size_t length = strlen(name);
    for (size_t i = 0; i < sizeof JOINED / sizeof *JOINED; i++) {
        const size_t n = strlen(JOINED[i].ending);
        if (length < n || strcmp(name + length - n, JOINED[i].ending) != 0) continue;
        *front = length - n;
        return JOINED[i].with;
    }
    return 0;
}

bool kd_params_joined(const kd_params *params, int i, int k) {
    const char *a = params->list[i]->name, *b = params->list[k]->name;
    size_t front = 0, other = 0;
    const int with = joined_of(a, &front);
    return i == k || (with > 0 && with == joined_of(b, &other) && front == other &&
                      strncmp(a, b, front) == 0);
}
