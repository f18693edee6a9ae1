#include "quant/whisper_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

void kd_whisper_file_free(kd_whisper_file *file) {
    if (!file) return;
    kd_whisper_free(file->model);
    free(file->filters);
    free(file->tokens.begin);
    free(file->tokens.text);
    free(file);
}

/* Where element (o,k,i) of a convolution lies in PyTorch's (out,in,kernel). */
static int64_t torch_place(const kd_tensor *t, int64_t at) {
    const int64_t K = t->shape[1], I = t->shape[2];
    return (at / (K * I) * I + at % I) * K + at / I % K;
}

void kd_whisper_set_values(kd_param *param, const float *values) {
    kd_tensor *t = &param->tensor;
    for (int64_t i = 0; i < t->size; i++)
        t->value[i] = (kd_real)values[t->rank == 3 ? torch_place(t, i) : i];
}

void kd_whisper_get_values(float *values, const kd_param *param) {
    const kd_tensor *t = &param->tensor;
    for (int64_t i = 0; i < t->size; i++)
        values[t->rank == 3 ? torch_place(t, i) : i] = (float)t->value[i];
}

int kd_whisper_tokens_add(kd_whisper_tokens *tokens, int capacity, const char *bytes,
                          uint32_t length) {
    if (!tokens->begin) {
        tokens->begin = calloc((size_t)capacity + 1, sizeof *tokens->begin);
        if (!tokens->begin)
            return kd_fail_memory((size_t)capacity * sizeof *tokens->begin, "tokens");
    }
    KD_CONTRACT(tokens->count < capacity, "token %d of %d", tokens->count, capacity);
    const uint64_t used = tokens->begin[tokens->count], need = used + length;
    if (need > INT32_MAX) return kd_fail(KD_EDATA, "tokens of more than 2 GB");
    /* Grown in powers of two: the room is known from what is used. */
    uint64_t room = 4096;
    while (room < used) room *= 2;
    if (!tokens->text || need > room) {
        while (room < need) room *= 2;
        char *text = realloc(tokens->text, room);
        if (!text) return kd_fail_memory(room, "tokens");
        tokens->text = text;
    }
    if (length > 0) memcpy(tokens->text + used, bytes, length);
    tokens->begin[++tokens->count] = (uint32_t)need;
    return KD_OK;
}
