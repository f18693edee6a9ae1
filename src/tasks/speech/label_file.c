#include "tasks/speech/label_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/json_text.h"
#include "base/shards.h"
#include "base/size.h"
#include "base/text.h"

static const size_t FILE_LIMIT = (size_t)1 << 28;
#define KIND "distill labels"
enum { VERSION = 2 };

struct kd_label_files {
    kd_shards shards;
    kd_label_key key;
    int vocabulary;
    kd_labels known; /* by sound */
    int64_t shard;   /* the last one; it is filled up before another begins */
    int in_shard;
    kd_text text; /* of the last one */
    bool changed;
};

/* --- writing -----------------------------------------------------------------------------------
 */

static void add_header(kd_text *out, const kd_label_key *key) {
    kd_text_add(out, "{\"kind\": \"" KIND "\", \"version\": %d", VERSION);
    for (int i = 0; i < KD_LABEL_FACTS; i++) {
        kd_text_add(out, ", ");
        kd_json_add_string(out, key->fact[i].name, key->fact[i].value);
    }
    kd_text_add(out, "}\n");
}

static void add_label(kd_text *out, const kd_label *l, const char *name) {
    kd_text_add(out, "{\"sound\": \"%s\", \"audio\": ", l->sound.hex);
    kd_json_add_quoted(out, name);
    if (l->fault) {
        kd_text_add(out, ", \"unreadable\": ");
        kd_json_add_quoted(out, l->fault);
        kd_text_add(out, "}\n");
        return;
    }
    if (l->skipped) {
        kd_text_add(out, ", \"skipped\": true}\n");
        return;
    }
    kd_text_add(out, ", \"seconds\": %.17g, \"said\": ", l->seconds);
    kd_json_add_quoted(out, l->said);
    kd_text_add(out, ", \"tokens\": [");
    for (int i = 0; i < l->count; i++) kd_text_add(out, i ? ", %d" : "%d", (int)l->token[i]);
    kd_text_add(out, "], \"average\": %.17g}\n", l->average);
}

int kd_label_files_text(kd_text *out, const kd_label_files *files, const kd_label *const *label,
                        int count) {
    add_header(out, &files->key);
    for (int i = 0; i < count; i++) add_label(out, label[i], "");
    return out->failed ? kd_fail_memory(out->length, "labels") : KD_OK;
}

int kd_label_files_parse(kd_labels *out, const kd_label_files *files, const char *text,
                         size_t length) {
    return kd_label_file_parse(out, text, length, "what a rank heard", &files->key,
                               files->vocabulary);
}

int kd_label_files_add(kd_label_files *files, const kd_label *label, const char *name) {
    if (files->in_shard == KD_LABELS_IN_SHARD) {
        int status = kd_label_files_save(files);
        if (status < 0) return status;
        files->shard++;
        files->in_shard = 0;
        files->text.length = 0;
    }
    if (files->text.length == 0) add_header(&files->text, &files->key);
    add_label(&files->text, label, name);
    files->in_shard++;
    files->changed = true;
    return files->text.failed ? kd_fail_memory(files->text.length, "labels") : KD_OK;
}

int kd_label_files_save(kd_label_files *files) {
    if (!files->changed) return KD_OK;
    int status =
        kd_shards_write(&files->shards, files->shard, files->text.text, files->text.length);
    files->changed = status < 0;
    return status;
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* One line of a shard. */
typedef struct {
    const char *path;
    kd_json *json;
} line;

static const cJSON *get(const line *l, const char *key) {
    return kd_json_get(kd_json_root(l->json), key);
}

static int refuse(const line *l, const cJSON *item, const char *key, const char *wanted) {
    char place[KD_PATH_MAX + 32];
    kd_json_place(place, sizeof place, l->json, item ? item : kd_json_root(l->json), false);
    return kd_fail(KD_EDATA, "%s: \"%s\" should be %s", place, key, wanted);
}

static int read_text(const line *l, const char *key, const char **out) {
    const cJSON *item = get(l, key);
    *out = "";
    if (!cJSON_IsString(item)) return refuse(l, item, key, "a string");
    *out = item->valuestring;
    return KD_OK;
}

static int read_number(const line *l, const char *key, double *out) {
    const cJSON *item = get(l, key);
    *out = 0;
    if (!cJSON_IsNumber(item)) return refuse(l, item, key, "a number");
    *out = item->valuedouble;
    return KD_OK;
}

static int read_tokens(const line *l, kd_label *out, int vocabulary) {
    const cJSON *array = get(l, "tokens"), *item;
    const int count = cJSON_GetArraySize(array);
    if (!cJSON_IsArray(array)) return refuse(l, array, "tokens", "an array");
    out->token = malloc((size_t)(count + 1) * sizeof *out->token);
    if (!out->token) return kd_fail_memory((size_t)(count + 1) * sizeof *out->token, "labels");
    cJSON_ArrayForEach(item, array) {
        if (!kd_json_is_integer(item) || item->valuedouble < 0 || item->valuedouble >= vocabulary)
            return refuse(l, item, "tokens", "ids of the vocabulary");
        out->token[out->count++] = (int32_t)item->valuedouble;
    }
    return KD_OK;
}

static int keep_text(char **out, const char *text) {
    *out = strdup(text);
    return *out ? KD_OK : kd_fail_memory(strlen(text) + 1, "labels");
}

static int read_sound(const line *l, kd_hash *out) {
    const char *hex;
    int status = read_text(l, "sound", &hex);
    if (status < 0) return status;
    const size_t digits = sizeof out->hex - 1;
    if (strlen(hex) != digits || strspn(hex, "0123456789abcdef") != digits)
        return refuse(l, get(l, "sound"), "sound", "32 lower-case hexadecimal digits");
    memcpy(out->hex, hex, sizeof out->hex);
    return KD_OK;
}

static int read_label(const line *l, kd_label *out, int vocabulary) {
    const char *said, *fault;
    int status = read_sound(l, &out->sound);
    if (status < 0) return status;
    if (get(l, "unreadable")) {
        status = read_text(l, "unreadable", &fault);
        return status < 0 ? status : keep_text(&out->fault, fault);
    }
    out->skipped = cJSON_IsTrue(get(l, "skipped"));
    if (out->skipped) return KD_OK;
    status = read_text(l, "said", &said);
    if (status == KD_OK) status = read_number(l, "seconds", &out->seconds);
    if (status == KD_OK && out->seconds < 0)
        status = refuse(l, get(l, "seconds"), "seconds", "at least 0");
    if (status == KD_OK) status = read_number(l, "average", &out->average);
    if (status == KD_OK) status = read_tokens(l, out, vocabulary);
    return status < 0 ? status : keep_text(&out->said, said);
}

static int check_header(const line *l, const kd_label_key *key) {
    const char *kind, *found;
    double version;
    int status = read_text(l, "kind", &kind);
    if (status == KD_OK) status = read_number(l, "version", &version);
    if (status < 0) return status;
    if (strcmp(kind, KIND) != 0)
        return kd_fail(KD_EDATA, "%s: this is \"%.40s\", should be \"" KIND "\"", l->path, kind);
    if (version != VERSION)
        return kd_fail(
            KD_EDATA,
            "%s: these labels are of version %g, which belong to the rows of a list; now "
            "they belong to sounds (version %d). Move the folder away to make them again",
            l->path, version, (int)VERSION);
    for (int i = 0; i < KD_LABEL_FACTS; i++) {
        const kd_label_fact *fact = &key->fact[i];
        status = read_text(l, fact->name, &found);
        if (status < 0) return status;
        if (strcmp(found, fact->value) != 0)
            return kd_fail(
                KD_EDATA,
                "%s: these labels were made with %s = %s, now it is %s; use another name, "
                "or move the folder away to make them again",
                l->path, fact->name, found, fact->value);
    }
    return KD_OK;
}

static kd_label *new_label(kd_labels *labels) {
    if ((labels->count & (labels->count - 1)) == 0) { /* 0 or a power of two: full */
        const size_t bytes =
            kd_array_bytes(labels->count ? 2 * labels->count : 1, sizeof(kd_label));
        kd_label *item = realloc(labels->item, bytes);
        if (!item) {
            kd_fail_memory(bytes, "labels");
            return NULL;
        }
        labels->item = item;
    }
    labels->item[labels->count] = (kd_label){0};
    return &labels->item[labels->count++];
}

int kd_label_file_parse(kd_labels *out, const char *text, size_t length, const char *name,
                        const kd_label_key *key, int vocabulary) {
    const char *const stop = text + length, *from = text;
    int lines = 0;
    for (const char *end; (end = memchr(from, '\n', (size_t)(stop - from))); from = end + 1) {
        line l = {.path = name};
        int status = kd_json_parse_line(&l.json, from, (size_t)(end - from), name, ++lines);
        if (status < 0) return status;
        if (lines == 1) {
            status = check_header(&l, key);
        } else {
            kd_label *label = new_label(out);
            status = label ? read_label(&l, label, vocabulary) : KD_EINTERNAL;
        }
        kd_json_free(l.json);
        if (status < 0) return status;
    }
    if (lines > 0 && from == stop) return KD_OK;
    return kd_fail(KD_EDATA, "%s:%d: the last line does not end; remove the file to make it again",
                   name, lines + 1);
}

/* Adds a shard's labels; its text stays as that of the last. */
static int read_shard(kd_label_files *f, int64_t number) {
    char path[KD_PATH_MAX];
    size_t length;
    const int64_t before = f->known.count;
    free(f->text.text);
    f->text = (kd_text){0};
    int status = kd_shards_path(&f->shards, number, path);
    if (status == KD_OK) status = kd_file_read(&f->text.text, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    f->text.length = length;
    f->text.capacity = length + 1;
    f->shard = number;
    status = kd_label_file_parse(&f->known, f->text.text, length, path, &f->key, f->vocabulary);
    f->in_shard = (int)(f->known.count - before);
    return status;
}

static int by_sound(const void *a, const void *b) {
    const kd_label *x = a, *y = b;
    return strcmp(x->sound.hex, y->sound.hex);
}

int kd_label_files_open(kd_label_files **out, const char *folder, const kd_label_key *key,
                        int vocabulary) {
    int64_t *number = NULL, count = 0;
    kd_label_files *f = *out = calloc(1, sizeof *f);
    if (!f) return kd_fail_memory(sizeof *f, "labels");
    f->key = *key;
    f->vocabulary = vocabulary;
    int status = kd_shards_init(&f->shards, folder, "labels", ".jsonl");
    if (status == KD_OK) status = kd_shards_list(&f->shards, &number, &count);
    for (int64_t i = 0; i < count && status == KD_OK; i++) status = read_shard(f, number[i]);
    free(number);
    if (status == KD_OK && f->known.count > 0)
        qsort(f->known.item, (size_t)f->known.count, sizeof *f->known.item, by_sound);
    return status;
}

void kd_label_files_free(kd_label_files *files) {
    if (!files) return;
    kd_labels_clear(&files->known);
    free(files->text.text);
    free(files);
}

const kd_label *kd_label_files_find(const kd_label_files *files, const kd_hash *sound) {
    const kd_label wanted = {.sound = *sound};
    if (files->known.count == 0) return NULL;
    return bsearch(&wanted, files->known.item, (size_t)files->known.count,
                   sizeof *files->known.item, by_sound);
}
