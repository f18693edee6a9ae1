#include "speech/label_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/json_text.h"
#include "base/text.h"

static const size_t FILE_LIMIT = (size_t)1 << 28;
#define KIND "distill labels"
enum { VERSION = 1 };

static const char *name_of(const kd_utterance *utterance) {
    const char *slash = strrchr(utterance->audio, '/');
    return slash ? slash + 1 : utterance->audio;
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void add_label(kd_text *out, const kd_label *l) {
    kd_text_add(out, "{\"audio\": ");
    kd_json_add_quoted(out, name_of(l->utterance));
    if (l->skipped) {
        kd_text_add(out, ", \"skipped\": true}\n");
        return;
    }
    kd_text_add(out, ", \"seconds\": %.17g, \"said\": ", l->seconds);
    kd_json_add_quoted(out, l->said);
    kd_text_add(out, ", \"tokens\": [");
    for (int i = 0; i < l->count; i++) kd_text_add(out, i ? ", %d" : "%d", (int)l->token[i]);
    kd_text_add(out, "], \"average\": %.17g, \"wer\": [%lld, %lld, %lld, %lld]}\n", l->average,
                (long long)l->wer.words, (long long)l->wer.substitutions,
                (long long)l->wer.deletions, (long long)l->wer.insertions);
}

int kd_label_file_write(const char *path, const kd_label *label, int64_t count,
                        const kd_label_key *key, kd_hash *hash) {
    kd_text all = {0};
    kd_text_add(&all,
                "{\"kind\": \"" KIND "\", \"version\": %d, \"utterances\": \"%s\", "
                "\"teacher\": \"%s\", \"language\": %d, \"task\": %d}\n",
                VERSION, key->utterances.hex, key->teacher.hex, (int)key->language, (int)key->task);
    for (int64_t i = 0; i < count; i++) add_label(&all, &label[i]);
    int status = kd_text_finish(&all, path);
    if (status == KD_OK) status = kd_file_replace(path, all.text, all.length);
    if (status == KD_OK) *hash = kd_hash_bytes(all.text, all.length);
    free(all.text);
    return status;
}

/* --- reading -----------------------------------------------------------------------------------
 */

/* One line of a shard. */
typedef struct {
    const char *path;
    kd_json *json;
} line;

static int refuse(const line *l, const cJSON *item, const char *key, const char *wanted) {
    char place[KD_PATH_MAX + 32];
    kd_json_place(place, sizeof place, l->json, item ? item : kd_json_root(l->json), false);
    return kd_fail(KD_EDATA, "%s: \"%s\" should be %s", place, key, wanted);
}

static int read_text(const line *l, const char *key, const char **out) {
    const cJSON *item = kd_json_get(kd_json_root(l->json), key);
    *out = "";
    if (!cJSON_IsString(item)) return refuse(l, item, key, "a string");
    *out = item->valuestring;
    return KD_OK;
}

static int read_number(const line *l, const char *key, double *out) {
    const cJSON *item = kd_json_get(kd_json_root(l->json), key);
    *out = 0;
    if (!cJSON_IsNumber(item)) return refuse(l, item, key, "a number");
    *out = item->valuedouble;
    return KD_OK;
}

/* An array of at most `most` whole numbers, 0 to below `limit`. */
static int read_numbers(const line *l, const char *key, double limit, int most, double *out,
                        int *count) {
    const cJSON *array = kd_json_get(kd_json_root(l->json), key), *item;
    *count = 0;
    if (!cJSON_IsArray(array)) return refuse(l, array, key, "an array");
    cJSON_ArrayForEach(item, array) {
        if (!kd_json_is_integer(item) || item->valuedouble < 0 || item->valuedouble >= limit)
            return refuse(l, item, key, "whole numbers in range");
        if (*count == most) return refuse(l, array, key, "shorter");
        out[(*count)++] = item->valuedouble;
    }
    return KD_OK;
}

static int read_tokens(const line *l, kd_label *out, int vocabulary) {
    const int most = cJSON_GetArraySize(kd_json_get(kd_json_root(l->json), "tokens"));
    const size_t bytes = (size_t)(most + 1) * sizeof(double);
    double *token = malloc(bytes);
    out->token = malloc((size_t)(most + 1) * sizeof *out->token);
    int status = token && out->token ? KD_OK : kd_fail_memory(bytes, "labels");
    if (status == KD_OK) status = read_numbers(l, "tokens", vocabulary, most, token, &out->count);
    for (int i = 0; i < out->count && status == KD_OK; i++) out->token[i] = (int32_t)token[i];
    free(token);
    return status;
}

static int read_wer(const line *l, kd_wer *out) {
    double part[4];
    int count;
    int status = read_numbers(l, "wer", 1e9, 4, part, &count);
    if (status < 0) return status;
    if (count != 4)
        return refuse(l, kd_json_get(kd_json_root(l->json), "wer"), "wer", "four numbers");
    *out = (kd_wer){(int64_t)part[0], (int64_t)part[1], (int64_t)part[2], (int64_t)part[3]};
    return KD_OK;
}

static int read_label(const line *l, kd_label *out, int vocabulary) {
    const char *audio, *said;
    int status = read_text(l, "audio", &audio);
    if (status < 0) return status;
    if (strcmp(audio, name_of(out->utterance)) != 0)
        return refuse(l, kd_json_get(kd_json_root(l->json), "audio"), "audio",
                      name_of(out->utterance));
    out->skipped = kd_json_get(kd_json_root(l->json), "skipped") != NULL;
    if (out->skipped) return KD_OK;
    status = read_text(l, "said", &said);
    if (status == KD_OK) status = read_number(l, "seconds", &out->seconds);
    if (status == KD_OK) status = read_number(l, "average", &out->average);
    if (status == KD_OK) status = read_wer(l, &out->wer);
    if (status == KD_OK) status = read_tokens(l, out, vocabulary);
    if (status < 0) return status;
    out->said = strdup(said);
    return out->said ? KD_OK : kd_fail_memory(strlen(said) + 1, "labels");
}

static int same_hash(const line *l, const char *key, const kd_hash *wanted, const char *of) {
    const char *found;
    int status = read_text(l, key, &found);
    if (status < 0 || strcmp(found, wanted->hex) == 0) return status;
    return kd_fail(KD_EDATA, "%s: these are labels of %s; remove the file to make them again",
                   l->path, of);
}

static int same_id(const line *l, const char *key, int32_t wanted) {
    double found;
    int status = read_number(l, key, &found);
    if (status < 0 || found == wanted) return status;
    return kd_fail(KD_EDATA, "%s: these labels were made with %s %g, not %d", l->path, key, found,
                   (int)wanted);
}

static int check_header(const line *l, const kd_label_key *key) {
    const char *kind;
    double version;
    int status = read_text(l, "kind", &kind);
    if (status == KD_OK) status = read_number(l, "version", &version);
    if (status < 0) return status;
    if (strcmp(kind, KIND) != 0 || version != VERSION)
        return kd_fail(KD_EDATA,
                       "%s: this is \"%.40s\" version %g, should be \"" KIND "\" version %d",
                       l->path, kind, version, (int)VERSION);
    status = same_hash(l, "utterances", &key->utterances, "other utterances");
    if (status == KD_OK) status = same_hash(l, "teacher", &key->teacher, "another teacher");
    if (status == KD_OK) status = same_id(l, "language", key->language);
    return status < 0 ? status : same_id(l, "task", key->task);
}

int kd_label_file_parse(const char *text, size_t length, const char *name, kd_label *label,
                        int64_t count, const kd_label_key *key, int vocabulary) {
    const char *const stop = text + length, *from = text;
    int64_t read = 0; /* lines */
    for (const char *end; (end = memchr(from, '\n', (size_t)(stop - from))); from = end + 1) {
        line l = {.path = name};
        if (read == count + 1) break;
        int status = kd_json_parse_line(&l.json, from, (size_t)(end - from), name, (int)read + 1);
        if (status < 0) return status;
        status = read == 0 ? check_header(&l, key) : read_label(&l, &label[read - 1], vocabulary);
        kd_json_free(l.json);
        if (status < 0) return status;
        read++;
    }
    if (read == count + 1 && from == stop) return KD_OK;
    return kd_fail(KD_EDATA, "%s: %s than %lld lines; remove the file to make it again", name,
                   read <= count ? "fewer" : "more", (long long)count + 1);
}

int kd_label_file_read(const char *path, kd_label *label, int64_t count, const kd_label_key *key,
                       int vocabulary, kd_hash *hash) {
    char *text;
    size_t length;
    int status = kd_file_read(&text, &length, path, FILE_LIMIT);
    if (status < 0) return status;
    *hash = kd_hash_bytes(text, length);
    status = kd_label_file_parse(text, length, path, label, count, key, vocabulary);
    free(text);
    return status;
}
