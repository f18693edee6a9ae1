#include "files/whisper_suppressed.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { OWN_MOST = 1024 };

/* The list, or what `own` says where none is stated. */
static int resolve(int32_t **out, const kd_token_list *list, const kd_tokenizer *tokenizer,
                   int (*own)(const kd_tokenizer *, int32_t *, int)) {
    kd_token_list copy = {0};
    int32_t id[OWN_MOST];
    int count = list->stated ? list->count : own(tokenizer, id, OWN_MOST);
    int status = count < 0 ? count : kd_token_list_set(&copy, list->stated ? list->id : id, count);
    *out = copy.id;
    return status < 0 ? status : count;
}

int kd_whisper_suppressed(int32_t **out, const kd_whisper_generation *generation,
                          const kd_tokenizer *tokenizer) {
    return resolve(out, &generation->suppress, tokenizer, kd_tokenizer_suppressed);
}

int kd_whisper_begin_suppressed(int32_t **out, const kd_whisper_generation *generation,
                                const kd_tokenizer *tokenizer) {
    return resolve(out, &generation->begin_suppress, tokenizer, kd_tokenizer_begin_suppressed);
}

/* Sets out[id] for each of count ids, which are freed; a negative count is an error. */
static int mark(bool *out, int32_t *id, int count) {
    for (int i = 0; i < count; i++) out[id[i]] = true;
    free(id);
    return count < 0 ? count : KD_OK;
}

int kd_whisper_mark_suppressed(bool *never, bool *first, const kd_whisper_generation *generation,
                               const kd_tokenizer *tokenizer) {
    int32_t *id;
    int count = kd_whisper_suppressed(&id, generation, tokenizer);
    int status = mark(never, id, count);
    if (status < 0) return status;
    count = kd_whisper_begin_suppressed(&id, generation, tokenizer);
    return mark(first, id, count);
}

int kd_whisper_words_stated(kd_whisper_words *out, const kd_whisper_file *file) {
    const kd_whisper_generation own = kd_whisper_generation_own(), *g = &file->model->generation;
    const size_t V = (size_t)kd_tokenizer_ids(file->tokenizer)->vocabulary;
    bool *stated = calloc(4 * V, sizeof *stated);
    *out = (kd_whisper_words){0};
    if (!stated) return kd_fail_memory(4 * V, "suppressed tokens");
    bool *usual = stated + 2 * V;
    int status = kd_whisper_mark_suppressed(stated, stated + V, g, file->tokenizer);
    if (status == KD_OK)
        status = kd_whisper_mark_suppressed(usual, usual + V, &own, file->tokenizer);
    if (status == KD_OK) {
        const kd_hash part[2] = {kd_hash_bytes(stated, 2 * V),
                                 kd_hash_bytes(&g->max_length, sizeof g->max_length)};
        out->suppress = memcmp(stated, usual, V) != 0;
        out->begin = memcmp(stated + V, usual + V, V) != 0;
        out->length = g->max_length > 0 && g->max_length < file->model->spec.text_context / 2;
        out->hash = kd_hash_join(part, out->length ? 2 : 1);
    }
    free(stated);
    return status;
}
