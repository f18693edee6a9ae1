#include "files/formats/mixture.h"

#include <stddef.h>

/* The layers that a rule is about. */
typedef enum {
    ALL,
    FIRST, /* layer < n                     */
    SHARE, /* layer < layers/n              */
    MORE   /* the first eighth, the last, and every third in between */
} which;

typedef struct {
    kd_role role;
    which layers;
    int n;
    const kd_number_format *format;
} rule;

/* The first rule that is about a matrix decides; without, it is as most. */
struct kd_mixture {
    const kd_number_format *most;
    const rule *rule;
    int count;
};

static bool is_about(const rule *r, const kd_place *place) {
    const int i = place->layer, n = place->layers;
    if (r->role != place->role) return false;
    switch (r->layers) {
    case FIRST:
        return i < r->n;
    case SHARE:
        return i < n / r->n;
    case MORE:
        return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    default:
        return true;
    }
}

const kd_number_format *kd_mixture_format(const kd_number_format *format, const kd_place *place) {
    const kd_mixture *m = format->mixture;
    if (!m) return format;
    for (int i = 0; i < m->count; i++)
        if (is_about(&m->rule[i], place)) return m->rule[i].format;
    return m->most;
}

#define OUTPUT                                                                                     \
    { KD_ROLE_OUTPUT, ALL, 0, &kd_format_q6_K }

static const rule SMALL[] = {OUTPUT};
static const rule Q3_K_M[] = {OUTPUT,
                              {KD_ROLE_VALUE, FIRST, 2, &kd_format_q5_K},
                              {KD_ROLE_VALUE, ALL, 0, &kd_format_q4_K},
                              {KD_ROLE_DOWN, SHARE, 16, &kd_format_q5_K},
                              {KD_ROLE_DOWN, ALL, 0, &kd_format_q4_K},
                              {KD_ROLE_OUT, ALL, 0, &kd_format_q4_K}};
static const rule Q3_K_L[] = {OUTPUT,
                              {KD_ROLE_VALUE, ALL, 0, &kd_format_q5_K},
                              {KD_ROLE_DOWN, ALL, 0, &kd_format_q5_K},
                              {KD_ROLE_OUT, ALL, 0, &kd_format_q5_K}};
static const rule Q4_K_S[] = {
    OUTPUT, {KD_ROLE_VALUE, FIRST, 4, &kd_format_q5_K}, {KD_ROLE_DOWN, SHARE, 8, &kd_format_q5_K}};
static const rule MEDIUM[] = {
    OUTPUT, {KD_ROLE_VALUE, MORE, 0, &kd_format_q6_K}, {KD_ROLE_DOWN, MORE, 0, &kd_format_q6_K}};

/* whisper.cpp's own files have one format for all matrices. */
#define MIXTURE(title, base, type, size, file, rules)                                              \
    static const kd_mixture mixture_##title = {&kd_format_##base, rules,                           \
                                               (int)(sizeof(rules) / sizeof *(rules))};            \
    const kd_number_format kd_format_##title = {.name = #title,                                    \
                                                .ggml_type = type,                                 \
                                                .file_type = -1,                                   \
                                                .gguf_file_type = file,                            \
                                                .block = 256,                                      \
                                                .bytes = size,                                     \
                                                .mixture = &mixture_##title};

MIXTURE(q3_K_S, q3_K, 11, 110, 11, SMALL)
MIXTURE(q3_K_M, q3_K, 11, 110, 12, Q3_K_M)
MIXTURE(q3_K_L, q3_K, 11, 110, 13, Q3_K_L)
MIXTURE(q4_K_S, q4_K, 12, 144, 14, Q4_K_S)
MIXTURE(q4_K_M, q4_K, 12, 144, 15, MEDIUM)
MIXTURE(q5_K_S, q5_K, 13, 176, 16, SMALL)
MIXTURE(q5_K_M, q5_K, 13, 176, 17, MEDIUM)
