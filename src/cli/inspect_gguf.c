/* GGUF, ours or from elsewhere: keys, our graph, tensors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/inspect.h"
#include "files/formats/number_format.h"
#include "files/gguf.h"

static const size_t NUMBER_BYTES[KD_GGUF_KIND_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
enum { STRINGS_SHOWN_MAX = 12, NUMBERS_SHOWN_MAX = 8 };

/* As ggml's programs print it: "Q4_K". */
static void add_type_name(kd_text *out, uint32_t type) {
    for (const char *c = kd_ggml_type_name(type); *c; c++)
        kd_text_add(out, "%c", *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
}

/* One number of a key, little-endian as the machine. */
static void add_number(kd_text *out, kd_gguf_kind kind, const unsigned char *value) {
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } v = {0};
    memcpy(&v, value, NUMBER_BYTES[kind]);
    if (kind == KD_GGUF_U8)
        kd_text_add(out, "%u", v.u8);
    else if (kind == KD_GGUF_I8)
        kd_text_add(out, "%d", v.i8);
    else if (kind == KD_GGUF_U16)
        kd_text_add(out, "%u", v.u16);
    else if (kind == KD_GGUF_I16)
        kd_text_add(out, "%d", v.i16);
    else if (kind == KD_GGUF_U32)
        kd_text_add(out, "%" PRIu32, v.u32);
    else if (kind == KD_GGUF_I32)
        kd_text_add(out, "%" PRId32, v.i32);
    else if (kind == KD_GGUF_U64)
        kd_text_add(out, "%" PRIu64, v.u64);
    else if (kind == KD_GGUF_I64)
        kd_text_add(out, "%" PRId64, v.i64);
    else if (kind == KD_GGUF_F32)
        kd_text_add(out, "%.7g", (double)v.f32);
    else if (kind == KD_GGUF_F64)
        kd_text_add(out, "%.15g", v.f64);
    else
        kd_text_add(out, v.u8 ? "true" : "false");
}

static void add_string(kd_text *out, kd_gguf_string s) {
    enum { SHOWN_MAX = 72 };
    size_t shown = s.length < SHOWN_MAX ? (size_t)s.length : SHOWN_MAX;
    while (shown < s.length && shown > 0 && (s.text[shown] & 0xC0) == 0x80) shown--;
    kd_text_add_plain(out, s.text, shown);
    if (shown < s.length) kd_text_add(out, " …");
}

static void add_key(kd_text *rows, const kd_gguf_key *key) {
    add_string(rows, key->name);
    kd_text_add(rows, "\t");
    const unsigned char *at = key->value;
    if (key->kind == KD_GGUF_STRING) {
        add_string(rows, kd_gguf_next_string(&at));
    } else if (key->kind != KD_GGUF_ARRAY) {
        add_number(rows, key->kind, key->value);
    } else if (key->element == KD_GGUF_STRING) {
        for (uint64_t i = 0; i < key->count && i < STRINGS_SHOWN_MAX; i++) {
            kd_text_add(rows, i ? ", " : "");
            add_string(rows, kd_gguf_next_string(&at));
        }
        if (key->count > STRINGS_SHOWN_MAX) kd_text_add(rows, " … (%" PRIu64 ")", key->count);
    } else {
        for (uint64_t i = 0; i < key->count && i < NUMBERS_SHOWN_MAX; i++) {
            kd_text_add(rows, i ? ", " : "");
            add_number(rows, key->element, key->value + i * NUMBER_BYTES[key->element]);
        }
        if (key->count > NUMBERS_SHOWN_MAX) kd_text_add(rows, " … (%" PRIu64 ")", key->count);
    }
    kd_text_add(rows, "\n");
}

/* --- our graph ------------------------------------------------------------------------------ */

/* A member's number, 0 when it has none. */
static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static void add_text_of(kd_text *rows, const cJSON *object, const char *key) {
    const cJSON *item = kd_json_get(object, key);
    if (cJSON_IsString(item)) kd_text_add_plain(rows, item->valuestring, strlen(item->valuestring));
}

/* "3×3" of a list of numbers. */
static void add_sizes(kd_text *rows, const cJSON *object, const char *key) {
    const char *between = "";
    const cJSON *item;
    cJSON_ArrayForEach(item, kd_json_get(object, key)) {
        kd_text_add(rows, "%s%g", between, item->valuedouble);
        between = "×";
    }
}

static void add_graph_node(kd_text *rows, const cJSON *graph, const cJSON *node) {
    add_text_of(rows, node, "name");
    kd_text_add(rows, "\t");
    add_text_of(rows, node, "kind");
    kd_text_add(rows, " ");
    add_sizes(rows, node, "kernel");
    kd_text_add(rows, "\t");
    const char *between = "";
    const cJSON *item;
    cJSON_ArrayForEach(item, kd_json_get(node, "in")) {
        kd_text_add(rows, "%s", between);
        if (kd_json_is_integer(item) && item->valuedouble >= 0 && item->valuedouble < 1e6)
            add_text_of(rows, cJSON_GetArrayItem(graph, (int)item->valuedouble), "name");
        between = " + ";
    }
    kd_text_add(rows, "\t");
    add_sizes(rows, node, "out");
    const cJSON *grid = kd_json_get(node, "grid"), *bits = kd_json_get(node, "weight_bits");
    kd_text_add(rows, "\t");
    if (bits) kd_text_add(rows, "%g", bits->valuedouble);
    if (grid)
        kd_text_add(rows, "\t%.6g\t%g\t%g … %g\n", number_of(grid, "scale"),
                    number_of(grid, "zero"), number_of(grid, "qmin"), number_of(grid, "qmax"));
    else
        kd_text_add(rows, "\t\t\t\n");
}

static int add_graph(kd_text *out, const kd_gguf_key *key, const char *path) {
    if (key->kind != KD_GGUF_STRING) return KD_OK;
    const unsigned char *at = key->value;
    kd_gguf_string text = kd_gguf_next_string(&at);
    kd_json *json;
    int status = kd_json_parse(&json, text.text, (size_t)text.length, path);
    if (status < 0) return status;
    kd_text rows = {0};
    kd_text_add(&rows, "node\tkind\tfrom\toutput\tweight bits\tscale\tzero\tsteps\n");
    const cJSON *graph = kd_json_root(json), *node;
    cJSON_ArrayForEach(node, graph) add_graph_node(&rows, graph, node);
    kd_json_free(json);
    status = kd_text_add_rows(out, "lllrrrrr", &rows);
    kd_text_add(out, "\n");
    return status;
}

static int add_whisper(kd_text *out, const kd_gguf *gguf, const char *path) {
    kd_whisper_file *file;
    int status =
        kd_whisper_gguf_decode(&file, gguf->bytes, gguf->length, path, KD_WHISPER_TRAIN_NOTHING);
    if (status < 0) return status;
    status = kd_inspect_add_whisper(out, file);
    kd_text_add(out, "\n");
    kd_whisper_file_free(file);
    return status;
}

static int add_llama(kd_text *out, const kd_gguf *gguf, const char *path) {
    kd_llama_file *file;
    int status = kd_llama_gguf_decode(&file, gguf->bytes, gguf->length, path, KD_LLAMA_ONLY_READ);
    if (status < 0) return status;
    status = kd_inspect_add_llama(out, file);
    kd_text_add(out, "\n");
    kd_llama_file_free(file);
    return status;
}

static int add_bert(kd_text *out, const kd_gguf *gguf, const char *path) {
    kd_bert_file *file;
    int status = kd_bert_gguf_decode(&file, gguf->bytes, gguf->length, path, true);
    if (status < 0) return status;
    status = kd_inspect_add_bert(out, file);
    kd_text_add(out, "\n");
    kd_bert_file_free(file);
    return status;
}

/* --- the whole ------------------------------------------------------------------------------ */

static int add_gguf_tensors(kd_text *out, const kd_gguf *gguf) {
    kd_text rows = {0};
    int64_t numbers = 0;
    double bytes = 0;
    kd_text_add(&rows, "tensor\ttype\tshape\tnumbers\tsize\n");
    for (uint64_t i = 0; i < gguf->tensor_count; i++) {
        const kd_gguf_tensor *t = &gguf->tensor[i];
        int64_t shape[KD_GGUF_RANK_MAX];
        for (int d = 0; d < t->rank; d++) shape[d] = (int64_t)t->ne[t->rank - 1 - d];
        char count[32], size[32];
        kd_format_count(count, sizeof count, (int64_t)t->count);
        kd_format_bytes(size, sizeof size, (double)t->bytes);
        add_string(&rows, t->name);
        kd_text_add(&rows, "\t");
        add_type_name(&rows, t->type);
        kd_text_add(&rows, "\t");
        kd_inspect_add_shape(&rows, t->rank, shape);
        kd_text_add(&rows, "\t%s\t%s\n", count, size);
        numbers += (int64_t)t->count;
        bytes += (double)t->bytes;
    }
    kd_inspect_add_total(&rows, (int64_t)gguf->tensor_count, numbers, bytes);
    return kd_text_add_rows(out, "llrrr", &rows);
}

int kd_inspect_gguf(kd_text *out, const char *path) {
    kd_gguf *gguf;
    int status = kd_gguf_open(&gguf, path);
    if (status == KD_OK) {
        bool ours = kd_gguf_checksum_place(gguf) != NULL;
        if (ours) status = kd_gguf_verify(gguf, path);
        kd_text rows = {0};
        kd_text_add(out, "%s: GGUF, %s\n\n", path,
                    ours ? "whole: its checksum is right" : "without a checksum of ours");
        for (uint64_t i = 0; i < gguf->key_count; i++) add_key(&rows, &gguf->key[i]);
        const kd_gguf_key *graph = kd_gguf_find_key(gguf, "distill.graph");
        if (status == KD_OK)
            status = kd_text_add_rows(out, "ll", &rows);
        else
            free(rows.text);
        kd_text_add(out, "\n");
        if (status == KD_OK && ours && graph) status = add_graph(out, graph, path);
        if (status == KD_OK && kd_gguf_is_whisper(gguf)) status = add_whisper(out, gguf, path);
        if (status == KD_OK && kd_gguf_is_llama(gguf)) status = add_llama(out, gguf, path);
        if (status == KD_OK && kd_gguf_is_bert(gguf)) status = add_bert(out, gguf, path);
        if (status == KD_OK) status = add_gguf_tensors(out, gguf);
    }
    kd_gguf_free(gguf);
    return status;
}
