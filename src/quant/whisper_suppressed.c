#include "quant/whisper_suppressed.h"

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
