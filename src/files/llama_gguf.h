/* What llama_gguf_read.c and llama_gguf_write.c share: the names in the file. */
#ifndef KD_FILES_LLAMA_GGUF_H
#define KD_FILES_LLAMA_GGUF_H

#include <stddef.h>

#include "layers/llama.h"

/* The tensor (pairs) of what each pair's angle is divided by. */
#define KD_LLAMA_GGUF_DIVISORS "rope_freqs.weight"

enum { KD_LLAMA_GGUF_KEY_MAX = 64, KD_LLAMA_GGUF_SIZES = 5 };

/* "llama.block_count" of "block_count". */
char *kd_llama_gguf_key(char out[KD_LLAMA_GGUF_KEY_MAX], const char *architecture, const char *key);

/* Sizes that every decoder states. */
extern const struct kd_llama_gguf_size {
    const char *key;
    size_t place; /* of an int in kd_llama_spec */
} kd_llama_gguf_size[KD_LLAMA_GGUF_SIZES];

#endif
