/* What the parameters of a decoder (layers/llama.h) are called elsewhere. */
#ifndef KD_FILES_LLAMA_NAMES_H
#define KD_FILES_LLAMA_NAMES_H

#include "files/names.h"
#include "layers/llama.h"

/* Hugging Face's: "model.layers.0.self_attn.q_proj.weight". */
extern const kd_names kd_llama_hugging;

/* By what a decoder's blocks have; Llama's have neither biases nor norms of heads. */
typedef enum { KD_LLAMA_PLAIN, KD_LLAMA_QWEN2, KD_LLAMA_QWEN3 } kd_llama_family;
kd_llama_family kd_llama_family_of(const kd_llama_spec *spec);
/* "llama", in both programs' files. */
const char *kd_llama_family_name(kd_llama_family family);
/* llama.cpp's: "blk.0.attn_q.weight". Its architecture "llama" has the pairs of rotary positions
 * side by side, the others as we do. */
const kd_names *kd_llama_ggml(kd_llama_family family);

#endif
