#include "data/store_format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const char SCHEMA[] = "distill-teacher-store";
/* Version 2 brought hidden states and sequences, version 3 draws; each store is written as the
 * first version that has all of it. */
enum { ROWS_VERSION = 1, RUNS_VERSION = 2, VERSION = 3 };
enum {
    CLASSES_MAX = 1 << 24,
    CLASS_NAMES_MAX = 1 << 26,
    WIDTH_MAX = 1 << 16,
    ORIGIN_MAX = 1 << 24
};
static const int64_t POSITIONS_MAX = (int64_t)1 << 48;

static const char *const KIND[] = {"dense", "topk", "hidden", "sampled"};
static const char *const DTYPE[] = {"float32", "float16"};

int kd_store_shards(kd_shards *out, const char *folder) {
    return kd_shards_init(out, folder, "shard", ".h5");
}

/* --- columns -------------------------------------------------------------------------------- */

const char *kd_column_name(kd_column c) {
    static const char *const name[] = {"id",          "view",   "label",  "length",
                                       "label_crc32", "counts", "logits", "index",
                                       "kept",        "tail",   "hidden", "drawn"};
    return name[c];
}

kd_column kd_column_values(const kd_store_header *h) {
    static const kd_column column[] = {[KD_STORE_DENSE] = KD_COLUMN_LOGITS,
                                       [KD_STORE_TOPK] = KD_COLUMN_KEPT,
                                       [KD_STORE_HIDDEN] = KD_COLUMN_HIDDEN,
                                       [KD_STORE_SAMPLED] = KD_COLUMN_DRAWN};
    return column[h->kind];
}

int64_t kd_column_width(const kd_store_header *h, kd_column c) {
    switch (c) {
    case KD_COLUMN_LABEL:
        return !h->sequences;
    case KD_COLUMN_LENGTH:
    case KD_COLUMN_TOKENS:
        return h->sequences;
    case KD_COLUMN_COUNTS:
        return h->kind == KD_STORE_SAMPLED;
    case KD_COLUMN_DRAWN:
        return h->kind == KD_STORE_SAMPLED ? 3 : 0;
    case KD_COLUMN_LOGITS:
        return h->kind == KD_STORE_DENSE ? h->classes : 0;
    case KD_COLUMN_INDEX:
    case KD_COLUMN_KEPT:
        return h->kind == KD_STORE_TOPK ? h->k : 0;
    case KD_COLUMN_TAIL:
        return h->kind == KD_STORE_TOPK ? h->temperature_count : 0;
    case KD_COLUMN_HIDDEN:
        return h->kind == KD_STORE_HIDDEN ? h->width : 0;
    default:
        return 1;
    }
}

static bool has_dtype(kd_column c) {
    return c == KD_COLUMN_LOGITS || c == KD_COLUMN_KEPT || c == KD_COLUMN_HIDDEN;
}

size_t kd_column_element(const kd_store_header *h, kd_column c) {
    if (c == KD_COLUMN_ID) return 8;
    if (c == KD_COLUMN_DRAWN) return 1;
    return has_dtype(c) && h->dtype == KD_STORE_F16 ? 2 : 4;
}

size_t kd_column_bytes(const kd_store_header *h, kd_column c) {
    const size_t each = (size_t)kd_column_width(h, c) * kd_column_element(h, c);
    return c == KD_COLUMN_DRAWN ? each * (size_t)h->draws : each;
}

hid_t kd_column_type(const kd_store_header *h, kd_column c) {
    if (c == KD_COLUMN_ID) return H5Tcopy(H5T_STD_U64LE);
    if (c == KD_COLUMN_DRAWN) return H5Tcopy(H5T_STD_U8LE);
    if (c == KD_COLUMN_TOKENS) return H5Tcopy(H5T_STD_U32LE);
    if (has_dtype(c) && h->dtype == KD_STORE_F16) return kd_h5_half();
    return H5Tcopy(has_dtype(c) || c == KD_COLUMN_TAIL ? H5T_IEEE_F32LE : H5T_STD_I32LE);
}

int kd_column_shape(const kd_shard_head *head, kd_column c, int64_t shape[2]) {
    shape[0] = c == KD_COLUMN_DRAWN   ? head->drawn
               : c < KD_COLUMN_LOGITS ? head->rows
                                      : head->positions;
    shape[1] = kd_column_width(&head->header, c);
    return c < KD_COLUMN_LOGITS ? 1 : 2;
}

size_t kd_store_row_bytes(const kd_store_header *h) {
    size_t bytes = 0;
    for (kd_column c = 0; c < KD_COLUMN_COUNT; c++) bytes += kd_column_bytes(h, c);
    return bytes;
}

void kd_drawn_write(unsigned char out[3], int classes, kd_drawn drawn) {
    const uint32_t code = (uint32_t)drawn.class + (uint32_t)classes * (uint32_t)(drawn.count - 1);
    for (int i = 0; i < 3; i++) out[i] = (unsigned char)(code >> 8 * i);
}

kd_drawn kd_drawn_read(const unsigned char in[3], int classes) {
    const int32_t code = in[0] | in[1] << 8 | in[2] << 16;
    return (kd_drawn){code % classes, code / classes + 1};
}

int64_t kd_drawn_count(const kd_store_header *h, int64_t n, const unsigned char *entries) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        for (int drawn = 0; drawn < h->draws; count++)
            drawn += kd_drawn_read(entries + 3 * count, h->classes).count;
    return count;
}

/* --- the header ----------------------------------------------------------------------------- */

bool kd_store_same_temperature(double a, double b) {
    const float x = (float)a, y = (float)b;
    return !(x < y) && !(x > y);
}

const char *kd_store_header_difference(const kd_store_header *a, const kd_store_header *b) {
    if (a->kind != b->kind) return "kind";
    if (a->dtype != b->dtype) return "dtype";
    if (a->sequences != b->sequences) return "sequences";
    if (a->classes != b->classes) return "classes";
    if (a->width != b->width) return "width";
    if (a->k != b->k) return "k";
    if (a->draws != b->draws) return "draws";
    if (a->temperature_count != b->temperature_count) return "temperatures";
    for (int i = 0; i < a->temperature_count; i++)
        if (!kd_store_same_temperature(a->temperature[i], b->temperature[i])) return "temperatures";
    if (a->views != b->views) return "views";
    if (a->augmented != b->augmented) return "augmented";
    if (strcmp(a->teacher.hex, b->teacher.hex) != 0) return "teacher";
    if (strcmp(a->class_list.hex, b->class_list.hex) != 0) return "class_list";
    if (strcmp(a->data.hex, b->data.hex) != 0) return "data";
    if (a->origin && b->origin && strcmp(a->origin, b->origin) != 0) return "origin";
    return NULL;
}

int kd_shard_head_write(hid_t file, const kd_shard_head *head) {
    const kd_store_header *h = &head->header;
    int status = kd_h5_set_string(file, "schema", SCHEMA);
    const bool rows = h->kind != KD_STORE_HIDDEN && !h->sequences;
    const int version = h->kind == KD_STORE_SAMPLED ? VERSION : rows ? ROWS_VERSION : RUNS_VERSION;
    if (status == KD_OK) status = kd_h5_set_int(file, "version", version);
    if (status == KD_OK) status = kd_h5_set_string(file, "kind", KIND[h->kind]);
    if (status == KD_OK) status = kd_h5_set_string(file, "dtype", DTYPE[h->dtype]);
    if (status == KD_OK) status = kd_h5_set_int(file, "classes", h->classes);
    if (status == KD_OK && h->kind == KD_STORE_TOPK) status = kd_h5_set_int(file, "k", h->k);
    if (status == KD_OK && h->kind == KD_STORE_SAMPLED) {
        status = kd_h5_set_int(file, "draws", h->draws);
        if (status == KD_OK) status = kd_h5_set_int(file, "drawn", head->drawn);
    }
    if (status == KD_OK && h->temperature_count > 0)
        status = kd_h5_set_doubles(file, "temperatures", h->temperature_count, h->temperature);
    if (status == KD_OK && h->kind == KD_STORE_HIDDEN) {
        status = kd_h5_set_int(file, "width", h->width);
        if (status == KD_OK) status = kd_h5_set_int(file, "output_crc32", head->output_crc);
    }
    if (status == KD_OK && h->sequences) {
        status = kd_h5_set_int(file, "sequences", 1);
        if (status == KD_OK) status = kd_h5_set_int(file, "positions", head->positions);
    }
    if (status == KD_OK) status = kd_h5_set_int(file, "views", h->views);
    if (status == KD_OK) status = kd_h5_set_int(file, "augmented", h->augmented);
    if (status == KD_OK) status = kd_h5_set_string(file, "teacher", h->teacher.hex);
    if (status == KD_OK) status = kd_h5_set_string(file, "class_list", h->class_list.hex);
    if (status == KD_OK) status = kd_h5_set_string(file, "data", h->data.hex);
    if (status == KD_OK) status = kd_h5_set_string(file, "description", h->description);
    if (status == KD_OK && h->origin) status = kd_h5_set_string(file, "origin", h->origin);
    if (status == KD_OK) status = kd_h5_set_int(file, "first_row", head->first_row);
    if (status == KD_OK) status = kd_h5_set_int(file, "rows", head->rows);
    if (status == KD_OK) status = kd_h5_set_int(file, "total_rows", head->total_rows);
    return status;
}

int kd_shard_origin_read(hid_t file, char **out) {
    *out = NULL;
    if (!kd_h5_has_attribute(file, "origin")) return KD_OK;
    return kd_h5_get_text(file, "origin", ORIGIN_MAX, out);
}

/* --- reading it back ------------------------------------------------------------------------ */

/* A word out of a list; *out is its place. */
static int read_word(hid_t file, const char *path, const char *name, int count,
                     const char *const *words, int *out) {
    char text[32];
    int status = kd_h5_get_string(file, name, text, sizeof text);
    if (status < 0) return status;
    for (*out = 0; *out < count; ++*out)
        if (strcmp(words[*out], text) == 0) return KD_OK;
    char list[64] = "";
    for (int i = 0; i < count; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s'%s'",
                 i == 0           ? ""
                 : i == count - 1 ? " or "
                                  : ", ",
                 words[i]);
    return kd_fail(KD_EDATA, "%s: /%s is '%s', must be %s", path, name, text, list);
}

/* An integer from low to high; missing: `otherwise`, when that is not below `low`. */
static int read_integer(hid_t file, const char *path, const char *name, int64_t low, int64_t high,
                        int64_t otherwise, int64_t *out) {
    *out = otherwise;
    if (otherwise >= low && !kd_h5_has_attribute(file, name)) return KD_OK;
    int status = kd_h5_get_int(file, name, out);
    if (status < 0) return status;
    if (*out >= low && *out <= high) return KD_OK;
    return kd_fail(KD_EDATA, "%s: /%s is %lld, must be %lld to %lld", path, name, (long long)*out,
                   (long long)low, (long long)high);
}

/* Missing or empty: not stated. */
static int read_hash(hid_t file, const char *path, const char *name, kd_hash *out) {
    out->hex[0] = '\0';
    if (!kd_h5_has_attribute(file, name)) return KD_OK;
    int status = kd_h5_get_string(file, name, out->hex, sizeof out->hex);
    if (status < 0) return status;
    size_t length = strlen(out->hex);
    if ((length != 0 && length != 32) || strspn(out->hex, "0123456789abcdef") != length)
        return kd_fail(KD_EDATA,
                       "%s: /%s is '%s', must be 32 lower-case hexadecimal digits or empty", path,
                       name, out->hex);
    return KD_OK;
}

/* Programs without XXH3 store the names themselves: as many as there are classes. */
static int read_class_names(hid_t file, const char *path, const kd_store_header *h, kd_hash *out) {
    char *names;
    int64_t count = 1;
    int status = kd_h5_get_text(file, "class_names", CLASS_NAMES_MAX, &names);
    if (status < 0) return status;
    for (const char *c = names; *c; c++) count += *c == '\n';
    if (names[0] && count != h->classes)
        status = kd_fail(KD_EDATA, "%s: /class_names: %lld names, /classes says %d", path,
                         (long long)count, h->classes);
    else if (names[0])
        *out = kd_hash_bytes(names, strlen(names));
    free(names);
    return status;
}

static int read_class_list(hid_t file, const char *path, kd_store_header *h) {
    kd_hash named = {""};
    int status = read_hash(file, path, "class_list", &h->class_list);
    if (status == KD_OK && kd_h5_has_attribute(file, "class_names"))
        status = read_class_names(file, path, h, &named);
    if (status < 0 || !named.hex[0]) return status;
    if (h->class_list.hex[0] && strcmp(h->class_list.hex, named.hex) != 0)
        return kd_fail(KD_EDATA, "%s: /class_list is %s, the names in /class_names make it %s",
                       path, h->class_list.hex, named.hex);
    h->class_list = named;
    return KD_OK;
}

static int read_temperatures(hid_t file, const char *path, kd_store_header *h) {
    int status = kd_h5_get_doubles(file, "temperatures", KD_STORE_TEMPERATURES_MAX,
                                   &h->temperature_count, h->temperature);
    for (int i = 0; i < h->temperature_count && status == KD_OK; i++)
        if (!(h->temperature[i] > 0) || !isfinite(h->temperature[i]))
            status = kd_fail(KD_EDATA, "%s: /temperatures: %g is not a temperature", path,
                             h->temperature[i]);
    return status;
}

static int read_topk(hid_t file, const char *path, kd_store_header *h) {
    int64_t k = 0;
    int status = read_integer(file, path, "k", 1, h->classes - 1, 0, &k);
    h->k = (int)k;
    return status < 0 ? status : read_temperatures(file, path, h);
}

/* What version 3 brought; positions are known. */
static int read_sampled(hid_t file, const char *path, kd_shard_head *out) {
    kd_store_header *h = &out->header;
    const int64_t most = KD_STORE_DRAWN_MAX / h->classes;
    int64_t number = 0;
    int status = read_integer(file, path, "draws", 1,
                              most < KD_STORE_DRAWS_MAX ? most : KD_STORE_DRAWS_MAX, 0, &number);
    h->draws = (int)number;
    if (status == KD_OK) status = read_temperatures(file, path, h);
    if (status == KD_OK && h->temperature_count != 1)
        status = kd_fail(KD_EDATA, "%s: /temperatures: %d of them, draws are made at one", path,
                         h->temperature_count);
    if (status == KD_OK && !h->sequences)
        status = kd_fail(KD_EDATA, "%s: /sequences is 0: draws are for sequences", path);
    if (status == KD_OK)
        status = read_integer(file, path, "drawn", out->positions, POSITIONS_MAX, 0, &out->drawn);
    return status;
}

/* What version 2 brought. */
static int read_positions(hid_t file, const char *path, kd_shard_head *out) {
    kd_store_header *h = &out->header;
    int64_t number = 0;
    int status = KD_OK;
    if (h->kind == KD_STORE_HIDDEN) {
        status = read_integer(file, path, "width", 1, WIDTH_MAX, 0, &number);
        h->width = (int)number;
        if (status == KD_OK)
            status = read_integer(file, path, "output_crc32", 0, UINT32_MAX, -1, &number);
        out->output_crc = (uint32_t)number;
    }
    if (status == KD_OK) status = read_integer(file, path, "sequences", 0, 1, 0, &number);
    h->sequences = number == 1;
    if (status == KD_OK && h->sequences)
        status =
            read_integer(file, path, "positions", out->rows, POSITIONS_MAX, 0, &out->positions);
    return status;
}

static int read_rows(hid_t file, const char *path, kd_shard_head *out) {
    int status = read_integer(file, path, "rows", 1, INT64_MAX, 0, &out->rows);
    if (status == KD_OK)
        status =
            read_integer(file, path, "first_row", 0, INT64_MAX - out->rows, 0, &out->first_row);
    if (status == KD_OK)
        status = read_integer(file, path, "total_rows", out->first_row + out->rows, INT64_MAX,
                              out->rows, &out->total_rows);
    out->positions = out->rows;
    return status;
}

static int read_origin(hid_t file, const char *path, kd_store_header *h) {
    int64_t number = 0;
    int status = read_integer(file, path, "views", 1, INT32_MAX, 1, &h->views);
    if (status == KD_OK) status = read_integer(file, path, "augmented", 0, 1, 0, &number);
    h->augmented = number == 1;
    if (status == KD_OK) status = read_hash(file, path, "teacher", &h->teacher);
    if (status == KD_OK) status = read_class_list(file, path, h);
    if (status == KD_OK) status = read_hash(file, path, "data", &h->data);
    if (status == KD_OK && kd_h5_has_attribute(file, "description"))
        status = kd_h5_get_string(file, "description", h->description, sizeof h->description);
    return status;
}

int kd_shard_head_read(hid_t file, const char *path, kd_shard_head *out) {
    *out = (kd_shard_head){0};
    kd_store_header *h = &out->header;
    char schema[64];
    int kind = 0, dtype = 0;
    int64_t number = 0, version;
    int status = kd_h5_get_string(file, "schema", schema, sizeof schema);
    if (status < 0) return status;
    if (strcmp(schema, SCHEMA) != 0)
        return kd_fail(KD_EDATA, "%s: is a '%s', not a teacher store ('%s')", path, schema, SCHEMA);
    status = kd_h5_get_int(file, "version", &version);
    if (status < 0) return status;
    if (version < ROWS_VERSION || version > VERSION)
        return kd_fail(KD_EDATA,
                       "%s: teacher store of version %lld; this program reads versions %d to %d",
                       path, (long long)version, ROWS_VERSION, VERSION);
    status = read_word(file, path, "kind", 1 + (int)version, KIND, &kind);
    if (status == KD_OK) status = read_word(file, path, "dtype", 2, DTYPE, &dtype);
    if (status == KD_OK) status = read_integer(file, path, "classes", 2, CLASSES_MAX, 0, &number);
    if (status < 0) return status;
    h->kind = (kd_store_kind)kind;
    h->dtype = dtype == 0 ? KD_STORE_F32 : KD_STORE_F16;
    h->classes = (int)number;
    if (h->kind == KD_STORE_TOPK) status = read_topk(file, path, h);
    if (status == KD_OK) status = read_origin(file, path, h);
    if (status == KD_OK) status = read_rows(file, path, out);
    if (status == KD_OK && version >= RUNS_VERSION) status = read_positions(file, path, out);
    if (status == KD_OK && h->kind == KD_STORE_SAMPLED) status = read_sampled(file, path, out);
    return status;
}
