/* Whisper as GGUF, the reading half; whisper_file.h has the layout. The file is parsed (gguf.h),
 * its tensors are held against the parameters of a model of these sizes, and only then is memory
 * taken for the weights. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/size.h"
#include "data/token_letters.h"
#include "files/gguf_params.h"
#include "files/gguf_values.h"
#include "files/whisper_gguf.h"
#include "files/whisper_names.h"

enum { VOCABULARY_MAX = 1 << 20, BINS_MAX = 1 << 16, HEADS_MAX = 4096 };

/* --- keys ---------------------------------------------------------------------------------------
 */

static int read_spec(kd_whisper_spec *spec, const kd_gguf *g, const char *name) {
    *spec = (kd_whisper_spec){0};
    const kd_gguf_key *tokens = kd_gguf_find_key(g, KD_WHISPER_GGUF_TOKENS);
    if (!tokens || tokens->kind != KD_GGUF_ARRAY || tokens->element != KD_GGUF_STRING ||
        tokens->count > VOCABULARY_MAX)
        return kd_fail(KD_EDATA, "%s: should have %s, a list of at most %d texts", name,
                       KD_WHISPER_GGUF_TOKENS, (int)VOCABULARY_MAX);
    spec->vocabulary = (int)tokens->count;
    for (int i = 0; i < KD_WHISPER_GGUF_SIZES; i++) {
        int size, known;
        int status = kd_gguf_size(&size, g, kd_whisper_gguf_size[i].key, name);
        if (status < 0) return status;
        char *place = (char *)spec + kd_whisper_gguf_size[i].place;
        memcpy(&known, place, sizeof known);
        if (known != 0 && known != size) /* the width is there twice */
            return kd_fail(KD_EDATA, "%s: %s is %d; the encoder's width is %d", name,
                           kd_whisper_gguf_size[i].key, size, known);
        memcpy(place, &size, sizeof size);
    }
    return kd_whisper_spec_check(spec, name);
}

static int read_heads(kd_whisper_file *file, const kd_gguf *g, const char *name) {
    const kd_gguf_key *k = kd_gguf_find_key(g, KD_WHISPER_GGUF_HEADS);
    if (!k) return KD_OK;
    if (k->kind != KD_GGUF_ARRAY || k->element != KD_GGUF_I32 || k->count % 2 ||
        k->count / 2 > HEADS_MAX)
        return kd_fail(KD_EDATA, "%s: %s should be a list of pairs of i32", name,
                       KD_WHISPER_GGUF_HEADS);
    if (k->count == 0) return KD_OK;
    file->head = calloc((size_t)k->count / 2, sizeof *file->head);
    if (!file->head) return kd_fail_memory(k->count * sizeof *file->head, name);
    file->head_count = (int)(k->count / 2);
    for (int i = 0; i < file->head_count; i++) {
        int32_t pair[2];
        memcpy(pair, k->value + (size_t)i * sizeof pair, sizeof pair);
        file->head[i] = (kd_whisper_head){pair[0], pair[1]};
    }
    return KD_OK;
}

/* --- tokens -------------------------------------------------------------------------------------
 */

static bool is_text(const kd_gguf_string *s, const char *text) {
    return s->length == strlen(text) && memcmp(s->text, text, strlen(text)) == 0;
}

/* The ordinary tokens, those in front of <|endoftext|>, in one block of bytes; → their number. */
static int64_t list_tokens(kd_token_bytes *token, char *bytes, const kd_gguf_key *k,
                           const char *name) {
    static const char end[] = "<|endoftext|>";
    const unsigned char *at = k->value;
    for (uint64_t i = 0; i < k->count; i++) {
        const kd_gguf_string text = kd_gguf_next_string(&at);
        if (is_text(&text, end)) return (int64_t)i;
        const int64_t n = kd_letters_read(bytes, text.text, (size_t)text.length);
        if (n < 0)
            return kd_fail(KD_EDATA, "%s: token %llu is not written in GPT-2's letters", name,
                           (unsigned long long)i);
        token[i] = (kd_token_bytes){bytes, (size_t)n};
        bytes += n;
    }
    return kd_fail(KD_EDATA, "%s: there is no %s among the tokens", name, end);
}

/* The tokens behind Whisper's own, whose last are the timestamps behind <|notimestamps|>, into
 * token; → their number. */
static int64_t list_added(kd_token_bytes *token, const kd_gguf_key *k) {
    const unsigned char *at = k->value;
    uint64_t first = k->count;
    int64_t count = 0;
    for (uint64_t i = 0; i < k->count; i++) {
        const kd_gguf_string text = kd_gguf_next_string(&at);
        if (is_text(&text, "<|notimestamps|>")) first = i + 1 + KD_TIMESTAMPS;
        if (i >= first) token[count++] = (kd_token_bytes){text.text, (size_t)text.length};
    }
    return count;
}

/* The special tokens must stand where Whisper's do. */
static int check_specials(const kd_tokenizer *t, const kd_gguf_key *k, const char *name) {
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    const unsigned char *at = k->value;
    for (int32_t id = 0; id < ids->added; id++) {
        const kd_gguf_string text = kd_gguf_next_string(&at);
        char copy[32];
        if (id < ids->end || text.length >= sizeof copy || text.length < 4) continue;
        memcpy(copy, text.text, (size_t)text.length);
        copy[text.length] = '\0';
        const int32_t ours = kd_tokenizer_special(t, copy);
        if (ours >= 0 && ours != id)
            return kd_fail(KD_EDATA, "%s: %s: '%s' has the id %d, should be %d", name,
                           KD_WHISPER_GGUF_TOKENS, copy, (int)id, (int)ours);
    }
    return KD_OK;
}

static int read_tokens(kd_whisper_file *file, const kd_gguf *g, const char *name) {
    const kd_gguf_key *k = kd_gguf_find_key(g, KD_WHISPER_GGUF_TOKENS);
    const unsigned char *at = k->value;
    for (uint64_t i = 0; i < k->count; i++) kd_gguf_next_string(&at);
    const size_t room = (size_t)(at - k->value) + 1;
    kd_token_bytes *token = malloc(kd_array_bytes((int64_t)k->count + 1, sizeof *token));
    kd_token_bytes *beyond = malloc(kd_array_bytes((int64_t)k->count + 1, sizeof *beyond));
    char *bytes = malloc(room);
    const int64_t count = token && beyond && bytes ? list_tokens(token, bytes, k, name)
                                                   : kd_fail_memory(room, "tokens");
    int status = count < 0 ? (int)count : KD_OK;
    if (status == KD_OK) {
        const kd_added_tokens added = {.token = beyond, .count = list_added(beyond, k)};
        status = kd_tokenizer_create_added(&file->tokenizer, token, count, (int64_t)k->count,
                                           &added, name);
    }
    if (status == KD_OK) status = check_specials(file->tokenizer, k, name);
    free(token);
    free(beyond);
    free(bytes);
    return status;
}

/* --- how text is generated ----------------------------------------------------------------------
 */

static int read_list(kd_token_list *out, const kd_gguf *g, const char *key, int32_t first,
                     int32_t behind, const char *name) {
    const kd_gguf_key *k = kd_gguf_find_key(g, key);
    if (!k) return KD_OK;
    if (k->kind != KD_GGUF_ARRAY || k->element != KD_GGUF_I32 || k->count > VOCABULARY_MAX)
        return kd_fail(KD_EDATA, "%s: %s should be a list of i32", name, key);
    int status = kd_token_list_set(out, NULL, 0);
    int32_t *id =
        status == KD_OK ? malloc(kd_array_bytes((int64_t)k->count + 1, sizeof *id)) : NULL;
    if (!id) return kd_fail_memory(k->count * sizeof *id, name);
    memcpy(id, k->value, (size_t)k->count * sizeof *id);
    for (uint64_t i = 0; i < k->count && status == KD_OK; i++)
        if (id[i] < first || id[i] >= behind)
            status = kd_fail(KD_EDATA, "%s: %s: token %d should be from %d to %d", name, key,
                             (int)id[i], (int)first, (int)behind - 1);
    if (status == KD_OK) status = kd_token_list_set(out, id, (int)k->count);
    free(id);
    return status;
}

static int read_number(int *out, const kd_gguf *g, const char *key, int least, int most,
                       const char *name) {
    if (!kd_gguf_find_key(g, key)) return KD_OK;
    int status = kd_gguf_size(out, g, key, name);
    if (status == KD_OK && (*out < least || *out > most))
        status =
            kd_fail(KD_EDATA, "%s: %s is %d, should be %d to %d", name, key, *out, least, most);
    return status;
}

/* A text of less than 32 bytes, or "" when the key is missing. */
static int read_word(char out[32], const kd_gguf *g, const char *key, const char *name) {
    const kd_gguf_key *k = kd_gguf_find_key(g, key);
    out[0] = '\0';
    if (!k) return KD_OK;
    const unsigned char *at = k->value;
    const kd_gguf_string text =
        k->kind == KD_GGUF_STRING ? kd_gguf_next_string(&at) : (kd_gguf_string){0};
    if (text.length < 1 || text.length > 31)
        return kd_fail(KD_EDATA, "%s: %s should be a short text", name, key);
    memcpy(out, text.text, (size_t)text.length);
    out[text.length] = '\0';
    return KD_OK;
}

static int read_language(kd_whisper_generation *to, const kd_gguf *g, const kd_tokenizer *t,
                         const char *name) {
    char language[32], task[32];
    int status = read_word(language, g, KD_WHISPER_GGUF_LANGUAGE, name);
    if (status == KD_OK) status = read_word(task, g, KD_WHISPER_GGUF_TASK, name);
    if (status < 0) return status;
    if (language[0]) to->language = kd_tokenizer_language(t, language);
    if (task[0])
        to->task = strcmp(task, "translate") == 0    ? kd_tokenizer_ids(t)->translate
                   : strcmp(task, "transcribe") == 0 ? kd_tokenizer_ids(t)->transcribe
                                                     : -1;
    if (language[0] && to->language < 0)
        return kd_fail(KD_EDATA, "%s: %s: no language of its tokens", name,
                       KD_WHISPER_GGUF_LANGUAGE);
    if (task[0] && to->task < 0)
        return kd_fail(KD_EDATA, "%s: %s should be transcribe or translate", name,
                       KD_WHISPER_GGUF_TASK);
    return KD_OK;
}

static int read_generation(kd_whisper_file *file, const kd_gguf *g, const char *name) {
    kd_whisper_generation *to = &file->model->generation;
    const kd_token_ids *ids = kd_tokenizer_ids(file->tokenizer);
    const int32_t V = ids->vocabulary;
    int status = read_list(&to->suppress, g, KD_WHISPER_GGUF_SUPPRESS, 0, V, name);
    if (status == KD_OK)
        status = read_list(&to->begin_suppress, g, KD_WHISPER_GGUF_BEGIN_SUPPRESS, 0, V, name);
    if (status == KD_OK)
        status = read_list(&to->languages, g, KD_WHISPER_GGUF_LANGUAGES, ids->language,
                           ids->translate, name);
    if (status == KD_OK && to->languages.stated && to->languages.count == 0)
        status = kd_fail(KD_EDATA, "%s: %s is empty", name, KD_WHISPER_GGUF_LANGUAGES);
    if (status == KD_OK)
        status = read_number(&to->max_length, g, KD_WHISPER_GGUF_MAX_LENGTH, 1, 1 << 20, name);
    if (status == KD_OK)
        status = read_number(&to->max_initial_timestamp, g, KD_WHISPER_GGUF_FIRST_TIMESTAMP, 0,
                             KD_TIMESTAMPS - 1, name);
    return status == KD_OK ? read_language(to, g, file->tokenizer, name) : status;
}

/* --- tensors ------------------------------------------------------------------------------------
 */

static int read_filters(kd_whisper_file *file, const kd_gguf *g, int mels, const char *name) {
    const kd_gguf_tensor *t = kd_gguf_find_tensor(g, KD_WHISPER_GGUF_FILTERS);
    if (!t) return kd_whisper_add_filters(file, mels);
    if (t->type != KD_GGUF_TENSOR_F32 || t->rank != 2 || t->ne[0] > BINS_MAX ||
        t->ne[1] != (uint64_t)mels)
        return kd_fail(KD_EDATA, "%s: tensor %s should be f32 of 201 × %d", name,
                       KD_WHISPER_GGUF_FILTERS, mels);
    file->bins = (int)t->ne[0];
    file->filters = malloc((size_t)t->bytes);
    if (!file->filters) return kd_fail_memory(t->bytes, "mel filters");
    memcpy(file->filters, t->data, (size_t)t->bytes);
    return KD_OK;
}

static int read_weights(kd_whisper_file *file, const kd_gguf *g, const char *name,
                        kd_whisper_training training) {
    const kd_params *params = file->model->params;
    const uint64_t filters = kd_gguf_find_tensor(g, KD_WHISPER_GGUF_FILTERS) != NULL;
    kd_stored *list = calloc((size_t)params->count, sizeof *list);
    int status = list ? kd_gguf_list_params(list, g, params, &kd_whisper_ggml, filters, name)
                      : kd_fail_memory((size_t)params->count * sizeof *list, name);
    if (status == KD_OK) status = kd_whisper_file_load(file, list, training, name);
    free(list);
    return status;
}

/* --- the file -----------------------------------------------------------------------------------
 */

bool kd_gguf_is_whisper(const kd_gguf *gguf) {
    return kd_gguf_says(gguf, "general.architecture", "whisper");
}

static int check_kind(const kd_gguf *g, const char *name) {
    if (!kd_gguf_is_whisper(g))
        return kd_fail(KD_EDATA, "%s: general.architecture is not \"whisper\"", name);
    return kd_gguf_checksum_place(g) ? kd_gguf_verify(g, name) : KD_OK;
}

static int read_file(kd_whisper_file *file, const kd_gguf *g, const char *name,
                     kd_whisper_training training) {
    kd_whisper_spec spec;
    int status = check_kind(g, name);
    if (status == KD_OK) status = read_spec(&spec, g, name);
    if (status == KD_OK) status = read_heads(file, g, name);
    if (status == KD_OK) status = read_filters(file, g, spec.mels, name);
    if (status == KD_OK) status = read_tokens(file, g, name);
    if (status == KD_OK) status = kd_whisper_create(&file->model, &spec, training);
    if (status == KD_OK) status = read_generation(file, g, name);
    return status == KD_OK ? read_weights(file, g, name, training) : status;
}

int kd_whisper_gguf_decode(kd_whisper_file **out, const void *bytes, size_t length,
                           const char *name, kd_whisper_training training) {
    kd_gguf *gguf = NULL;
    *out = NULL;
    kd_whisper_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, name);
    int status = kd_gguf_parse(&gguf, bytes, length, name);
    if (status == KD_OK) status = read_file(file, gguf, name, training);
    kd_gguf_free(gguf);
    if (status < 0) {
        kd_whisper_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}

int kd_whisper_gguf_read(kd_whisper_file **out, const char *path, kd_whisper_training training) {
    kd_file_map map;
    *out = NULL;
    int status = kd_file_map_open(&map, path);
    if (status < 0) return status;
    status = kd_whisper_gguf_decode(out, map.bytes, map.length, path, training);
    if (status == KD_OK && training == KD_WHISPER_ONLY_READ)
        (*out)->map = map;
    else
        kd_file_map_close(&map);
    return status;
}
