#include "files/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { STARS = 4 };

/* A component of a name. */
typedef struct {
    const char *text;
    size_t length;
} part;

/* The component at *at, which moves behind its dot, or becomes NULL behind the last. */
static part next_part(const char **at) {
    const part p = {*at, strcspn(*at, ".")};
    *at = p.text[p.length] ? p.text + p.length + 1 : NULL;
    return p;
}

static bool is_star(part p) {
    return p.length == 1 && p.text[0] == '*';
}

/* Whether `name` fits the pattern; what its stars stand for → star. */
static bool fits(part star[STARS], const char *pattern, const char *name) {
    int stars = 0;
    while (pattern && name) {
        const part wanted = next_part(&pattern), found = next_part(&name);
        if (is_star(wanted)) {
            KD_CONTRACT(stars < STARS, "%s: too many stars", pattern);
            star[stars++] = found;
        } else if (wanted.length != found.length ||
                   memcmp(wanted.text, found.text, found.length) != 0) {
            return false;
        }
    }
    return !pattern && !name;
}

static void write_name(char out[KD_FILE_NAME_MAX], const char *pattern, const part *star) {
    size_t at = 0;
    for (const char *rest = pattern; rest;) {
        part p = next_part(&rest);
        if (is_star(p)) p = *star++;
        KD_CONTRACT(at + p.length + 1 < KD_FILE_NAME_MAX, "%s: name too long", pattern);
        memcpy(out + at, p.text, p.length);
        at += p.length;
        if (rest) out[at++] = '.';
    }
    out[at] = '\0';
}

static void write_shape(kd_named *out, const kd_tensor *t) {
    out->rank = t->rank;
    memcpy(out->shape, t->shape, sizeof out->shape);
    if (out->order == KD_ORDER_COLUMN) out->shape[out->rank++] = 1;
    if (out->order == KD_ORDER_CHANNELS_FIRST) {
        out->shape[1] = t->shape[t->rank - 1];
        for (int i = 2; i < t->rank; i++) out->shape[i] = t->shape[i - 1];
    }
}

void kd_names_find(kd_named *out, const kd_names *names, const kd_param *param) {
    part star[STARS];
    int i = 0;
    while (i < names->count && !fits(star, names->row[i].ours, param->name)) i++;
    *out = (kd_named){.order = KD_ORDER_OURS};
    if (i < names->count) {
        out->order = names->row[i].order;
        out->written = names->row[i].written;
    }
    if (i < names->count && names->row[i].theirs)
        write_name(out->name, names->row[i].theirs, star);
    else
        memcpy(out->name, param->name, sizeof param->name);
    write_shape(out, &param->tensor);
}

int kd_names_list(kd_named **out, const kd_names *names, const kd_params *params) {
    *out = calloc((size_t)params->count, sizeof **out);
    if (!*out) return kd_fail_memory((size_t)params->count * sizeof **out, "names");
    for (int i = 0; i < params->count; i++) kd_names_find(&(*out)[i], names, params->list[i]);
    return KD_OK;
}

const kd_number_format *kd_named_format(const kd_named *named, const kd_number_format *matrices) {
    const bool vector = named->rank == 1 || named->order == KD_ORDER_COLUMN;
    if (vector || named->written == KD_WRITTEN_IN_FULL) return &kd_format_f32;
    if (named->written == KD_WRITTEN_AS_HALVES && matrices != &kd_format_f32) return &kd_format_f16;
    return matrices;
}

/* --- values ------------------------------------------------------------------------------------
 */

kd_rows_of kd_param_rows(const kd_param *param) {
    const kd_tensor *t = &param->tensor;
    const int64_t count = t->rank > 1 ? t->shape[0] : 1;
    return (kd_rows_of){count, t->size / count};
}

/* Where row i, or number i of a vector, of heads lies in theirs. */
static int64_t place_of_pairs(const kd_param *param, int64_t i) {
    const int64_t D = param->head_rows, within = i % D;
    return i - within + within % (D / 2) * 2 + within / (D / 2);
}

int64_t kd_param_row_place(const kd_param *param, kd_order order, int64_t row) {
    return order == KD_ORDER_PAIRS && param->tensor.rank > 1 ? place_of_pairs(param, row) : row;
}

/* Where number i of one of our rows lies in theirs. */
static int64_t place(const kd_param *param, kd_order order, int64_t i, int64_t length) {
    if (order == KD_ORDER_PAIRS && param->tensor.rank == 1) return place_of_pairs(param, i);
    if (order != KD_ORDER_CHANNELS_FIRST) return i;
    const int64_t C = kd_channels(&param->tensor), positions = length / C;
    return i % C * positions + i / C;
}

void kd_param_set_row(kd_param *param, kd_order order, int64_t row, const float *values) {
    const int64_t n = kd_param_rows(param).length;
    kd_real *to = param->tensor.value + row * n;
    for (int64_t i = 0; i < n; i++) to[i] = (kd_real)values[place(param, order, i, n)];
}

void kd_param_get_row(float *values, const kd_param *param, kd_order order, int64_t row) {
    const int64_t n = kd_param_rows(param).length;
    const kd_real *from = param->tensor.value + row * n;
    for (int64_t i = 0; i < n; i++) values[place(param, order, i, n)] = (float)from[i];
}

void kd_param_get(float *values, const kd_param *param, kd_order order) {
    const kd_rows_of rows = kd_param_rows(param);
    for (int64_t row = 0; row < rows.count; row++)
        kd_param_get_row(values + kd_param_row_place(param, order, row) * rows.length, param, order,
                         row);
}
