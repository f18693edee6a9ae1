#include "layers/whisper_generation.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { FIRST_TIMESTAMP = 50 /* 1 s */ };

kd_whisper_generation kd_whisper_generation_own(void) {
    return (kd_whisper_generation){
        .max_initial_timestamp = FIRST_TIMESTAMP, .language = -1, .task = -1};
}

void kd_whisper_generation_clear(kd_whisper_generation *generation) {
    free(generation->suppress.id);
    free(generation->begin_suppress.id);
    free(generation->languages.id);
    *generation = kd_whisper_generation_own();
}

int kd_token_list_set(kd_token_list *out, const int32_t *id, int count) {
    int32_t *copy = malloc(((size_t)count + 1) * sizeof *copy);
    if (!copy) return kd_fail_memory(((size_t)count + 1) * sizeof *copy, "a list of tokens");
    if (count > 0) memcpy(copy, id, (size_t)count * sizeof *copy);
    free(out->id);
    *out = (kd_token_list){.id = copy, .count = count, .stated = true};
    return KD_OK;
}

static int copy_list(kd_token_list *out, const kd_token_list *from) {
    return from->stated ? kd_token_list_set(out, from->id, from->count) : KD_OK;
}

int kd_whisper_generation_copy(kd_whisper_generation *out, const kd_whisper_generation *from) {
    kd_whisper_generation_clear(out);
    out->max_length = from->max_length;
    out->max_initial_timestamp = from->max_initial_timestamp;
    out->language = from->language;
    out->task = from->task;
    int status = copy_list(&out->suppress, &from->suppress);
    if (status == KD_OK) status = copy_list(&out->begin_suppress, &from->begin_suppress);
    if (status == KD_OK) status = copy_list(&out->languages, &from->languages);
    return status;
}
