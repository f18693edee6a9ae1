/* Files of numbers: checkpoints, teacher stores, GGUF, safetensors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/inspect.h"
#include "data/h5.h"
#include "data/safetensors.h"
#include "data/store.h"
#include "distill/report_parts.h"
#include "quant/gguf.h"

static const size_t FILE_LIMIT = (size_t)1 << 36;

/* "16×3×3×3"; a single number has no sizes. */
static void add_shape(kd_text *out, int rank, const int64_t *shape) {
    if (rank == 0) kd_text_add(out, "single");
    for (int i = 0; i < rank; i++) kd_text_add(out, "%s%lld", i ? "×" : "", (long long)shape[i]);
}

static void add_total(kd_text *rows, int64_t tensors, int64_t numbers, double bytes) {
    char count[32], size[32];
    kd_format_count(count, sizeof count, numbers);
    kd_format_bytes(size, sizeof size, bytes);
    kd_text_add(rows, "%lld tensors\t\t\t%s\t%s\n", (long long)tensors, count, size);
}

/* --- checkpoint ----------------------------------------------------------------------------- */

static int add_parameters(kd_text *out, hid_t file) {
    int64_t tensors, total = 0;
    kd_text rows = {0};
    int status = kd_h5_count(file, "params", &tensors);
    kd_text_add(&rows, "parameter\tshape\tnumbers\n");
    for (int64_t i = 0; i < tensors && status == KD_OK; i++) {
        char name[128], set[160], count[32];
        int rank;
        int64_t shape[KD_H5_RANK_MAX], size = 1;
        status = kd_h5_child(file, "params", i, name, sizeof name);
        snprintf(set, sizeof set, "params/%s", name);
        if (status == KD_OK) status = kd_h5_shape(file, set, &rank, shape);
        if (status < 0) break;
        for (int d = 0; d < rank; d++) size *= shape[d];
        total += size;
        kd_format_count(count, sizeof count, size);
        kd_text_add_plain(&rows, name, strlen(name));
        kd_text_add(&rows, "\t");
        add_shape(&rows, rank, shape);
        kd_text_add(&rows, "\t%s\n", count);
    }
    if (status < 0) {
        free(rows.text);
        return status;
    }
    char count[32];
    kd_format_count(count, sizeof count, total);
    kd_text_add(&rows, "%lld parameters\t\t%s\n", (long long)tensors, count);
    return kd_inspect_add_table(out, "lrr", &rows);
}

int kd_inspect_checkpoint(kd_text *out, const char *path) {
    hid_t file;
    int status = kd_h5_open(&file, path);
    if (status < 0) return status;
    char stage[64] = "", key[64] = "", dtype[32] = "", duration[32];
    int64_t step = 0, epoch = 0, best_epoch = 0;
    double best = -1, elapsed = 0;
    status = kd_h5_get_string(file, "stage", stage, sizeof stage);
    if (status == KD_OK) status = kd_h5_get_string(file, "key", key, sizeof key);
    if (status == KD_OK) status = kd_h5_get_string(file, "dtype", dtype, sizeof dtype);
    if (status == KD_OK) status = kd_h5_get_int(file, "step", &step);
    if (status == KD_OK) status = kd_h5_get_int(file, "epoch", &epoch);
    if (status == KD_OK) status = kd_h5_get_double(file, "best_accuracy", &best);
    if (status == KD_OK) status = kd_h5_get_int(file, "best_epoch", &best_epoch);
    if (status == KD_OK) status = kd_h5_get_double(file, "elapsed", &elapsed);
    if (status == KD_OK) {
        kd_format_duration(duration, sizeof duration, elapsed);
        kd_text_add(out, "%s: checkpoint of the stage %s, %s, key %s\n", path, stage, dtype, key);
        kd_text_add(out, "after %lld updates, %lld whole epochs, %s of training\n", (long long)step,
                    (long long)epoch, duration);
        if (best >= 0)
            kd_text_add(out, "best on the validation split: %.2f %% after epoch %lld\n", 100 * best,
                        (long long)best_epoch);
        kd_text_add(out, "\n");
        status = add_parameters(out, file);
    }
    kd_h5_close(file);
    return status < 0 ? kd_fail_in(status, "%s", path) : KD_OK;
}

/* --- teacher store -------------------------------------------------------------------------- */

int kd_inspect_store(kd_text *out, const char *path) {
    kd_store *store;
    int status = kd_store_open(&store, path);
    if (status < 0) return status;
    const kd_store_header *h = kd_store_describe(store);
    const char *dtype = h->dtype == KD_STORE_F16 ? "float16" : "float32";
    char rows[32];
    kd_format_count(rows, sizeof rows, kd_store_rows(store));
    kd_text_add(out, "%s: teacher store, whole\n%s\n\n", path, h->description);
    kd_text_add(out, "rows       %s (%lld view%s of each sample%s)\n", rows, (long long)h->views,
                h->views == 1 ? "" : "s", h->augmented ? ", augmented" : "");
    if (h->kind == KD_STORE_DENSE)
        kd_text_add(out, "targets    all %d logits, %s\n", h->classes, dtype);
    else
        kd_text_add(out, "targets    the largest %d of %d logits, %s\n", h->k, h->classes, dtype);
    for (int i = 0; i < h->temperature_count; i++)
        kd_text_add(out, "%s%g%s", i ? ", " : "tails at τ = ", h->temperature[i],
                    i + 1 == h->temperature_count ? "\n" : "");
    kd_text_add(out, "teacher    %s\nclasses    %s\ndata       %s\n", h->teacher.hex,
                h->class_list.hex, h->data.hex);
    kd_store_free(store);
    return KD_OK;
}

/* --- GGUF ----------------------------------------------------------------------------------- */

static const char *gguf_type_name(uint32_t type) {
    static const char *const name[] = {
        [0] = "F32",   [1] = "F16",   [2] = "Q4_0",   [3] = "Q4_1",  [6] = "Q5_0",  [7] = "Q5_1",
        [8] = "Q8_0",  [9] = "Q8_1",  [10] = "Q2_K",  [11] = "Q3_K", [12] = "Q4_K", [13] = "Q5_K",
        [14] = "Q6_K", [15] = "Q8_K", [24] = "I8",    [25] = "I16",  [26] = "I32",  [27] = "I64",
        [28] = "F64",  [30] = "BF16", [39] = "MXFP4", [40] = "NVFP4"};
    return type < sizeof name / sizeof *name && name[type] ? name[type] : "?";
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
    static const size_t size[KD_GGUF_KIND_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    memcpy(&v, value, size[kind]);
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
        for (uint64_t i = 0; i < key->count && i < 12; i++) {
            kd_text_add(rows, i ? ", " : "");
            add_string(rows, kd_gguf_next_string(&at));
        }
        if (key->count > 12) kd_text_add(rows, " … (%" PRIu64 ")", key->count);
    } else {
        kd_text_add(rows, "%" PRIu64 " values", key->count);
    }
    kd_text_add(rows, "\n");
}

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
        kd_text_add(&rows, "\t%s\t", gguf_type_name(t->type));
        add_shape(&rows, t->rank, shape);
        kd_text_add(&rows, "\t%s\t%s\n", count, size);
        numbers += (int64_t)t->count;
        bytes += (double)t->bytes;
    }
    add_total(&rows, (int64_t)gguf->tensor_count, numbers, bytes);
    return kd_inspect_add_table(out, "llrrr", &rows);
}

int kd_inspect_gguf(kd_text *out, const char *path) {
    char *bytes;
    size_t length;
    int status = kd_file_read(&bytes, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    kd_gguf *gguf = NULL;
    status = kd_gguf_parse(&gguf, bytes, length, path);
    if (status == KD_OK) {
        bool ours = kd_gguf_checksum_place(gguf) != NULL;
        if (ours) status = kd_gguf_verify(gguf, path);
        kd_text rows = {0};
        kd_text_add(out, "%s: GGUF, %s\n\n", path,
                    ours ? "whole: its checksum is right" : "without a checksum of ours");
        for (uint64_t i = 0; i < gguf->key_count; i++) add_key(&rows, &gguf->key[i]);
        if (status == KD_OK)
            status = kd_inspect_add_table(out, "ll", &rows);
        else
            free(rows.text);
        kd_text_add(out, "\n");
        if (status == KD_OK) status = add_gguf_tensors(out, gguf);
    }
    kd_gguf_free(gguf);
    free(bytes);
    return status;
}

/* --- safetensors ---------------------------------------------------------------------------- */

int kd_inspect_safetensors(kd_text *out, const char *path) {
    kd_safetensors *file;
    int status = kd_safetensors_open(&file, path);
    if (status < 0) return status;
    kd_text rows = {0};
    int64_t tensors = kd_safetensors_count(file), numbers = 0;
    double bytes = 0;
    kd_text_add(&rows, "tensor\ttype\tshape\tnumbers\tsize\n");
    for (int64_t i = 0; i < tensors; i++) {
        const kd_safetensors_entry *e = kd_safetensors_at(file, i);
        char count[32], size[32];
        kd_format_count(count, sizeof count, e->count);
        kd_format_bytes(size, sizeof size, (double)(e->end - e->begin));
        kd_text_add_plain(&rows, e->name, strlen(e->name));
        kd_text_add(&rows, "\t%s\t", e->dtype);
        add_shape(&rows, e->rank, e->shape);
        kd_text_add(&rows, "\t%s\t%s\n", count, size);
        numbers += e->count;
        bytes += (double)(e->end - e->begin);
    }
    add_total(&rows, tensors, numbers, bytes);
    kd_text_add(out, "%s: safetensors\n\n", path);
    kd_safetensors_close(file);
    return kd_inspect_add_table(out, "llrrr", &rows);
}
