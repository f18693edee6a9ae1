#include "files/llama_names.h"

#define ROW(ours, theirs)                                                                          \
    { ours, theirs, KD_ORDER_OURS, KD_WRITTEN_AS_CHOSEN }
#define TURNED(ours, theirs)                                                                       \
    { ours, theirs, KD_ORDER_PAIRS, KD_WRITTEN_AS_CHOSEN }

static const kd_name_row HUGGING[] = {
    ROW("embedding.weight", "model.embed_tokens.weight"),
    ROW("norm.weight", "model.norm.weight"),
    ROW("output.weight", "lm_head.weight"),
    ROW("layers.*.attn_norm.weight", "model.layers.*.input_layernorm.weight"),
    ROW("layers.*.mlp_norm.weight", "model.layers.*.post_attention_layernorm.weight"),
    ROW("layers.*.attn.query.*", "model.layers.*.self_attn.q_proj.*"),
    ROW("layers.*.attn.key.*", "model.layers.*.self_attn.k_proj.*"),
    ROW("layers.*.attn.value.*", "model.layers.*.self_attn.v_proj.*"),
    ROW("layers.*.attn.out.*", "model.layers.*.self_attn.o_proj.*"),
    ROW("layers.*.attn.query_norm.*", "model.layers.*.self_attn.q_norm.*"),
    ROW("layers.*.attn.key_norm.*", "model.layers.*.self_attn.k_norm.*"),
    ROW("layers.*.mlp.gate.*", "model.layers.*.mlp.gate_proj.*"),
    ROW("layers.*.mlp.up.*", "model.layers.*.mlp.up_proj.*"),
    ROW("layers.*.mlp.down.*", "model.layers.*.mlp.down_proj.*"),
};

/* All but queries and keys. */
#define GGML_ROWS                                                                                  \
    ROW("embedding.weight", "token_embd.weight"), ROW("norm.weight", "output_norm.weight"),        \
        ROW("layers.*.attn_norm.weight", "blk.*.attn_norm.weight"),                                \
        ROW("layers.*.mlp_norm.weight", "blk.*.ffn_norm.weight"),                                  \
        ROW("layers.*.attn.value.*", "blk.*.attn_v.*"),                                            \
        ROW("layers.*.attn.out.*", "blk.*.attn_output.*"),                                         \
        ROW("layers.*.attn.query_norm.*", "blk.*.attn_q_norm.*"),                                  \
        ROW("layers.*.attn.key_norm.*", "blk.*.attn_k_norm.*"),                                    \
        ROW("layers.*.mlp.gate.*", "blk.*.ffn_gate.*"),                                            \
        ROW("layers.*.mlp.up.*", "blk.*.ffn_up.*"), ROW("layers.*.mlp.down.*", "blk.*.ffn_down.*")

static const kd_name_row LLAMA[] = {GGML_ROWS, TURNED("layers.*.attn.query.*", "blk.*.attn_q.*"),
                                    TURNED("layers.*.attn.key.*", "blk.*.attn_k.*")};
static const kd_name_row QWEN[] = {GGML_ROWS, ROW("layers.*.attn.query.*", "blk.*.attn_q.*"),
                                   ROW("layers.*.attn.key.*", "blk.*.attn_k.*")};

const kd_names kd_llama_hugging = {HUGGING, sizeof HUGGING / sizeof *HUGGING, "model.", NULL};
static const kd_names ggml_llama = {LLAMA, sizeof LLAMA / sizeof *LLAMA, NULL, NULL};
static const kd_names ggml_qwen = {QWEN, sizeof QWEN / sizeof *QWEN, NULL, NULL};

kd_llama_family kd_llama_family_of(const kd_llama_spec *spec) {
    return spec->head_norms       ? KD_LLAMA_QWEN3
           : spec->attention_bias ? KD_LLAMA_QWEN2
                                  : KD_LLAMA_PLAIN;
}

const char *kd_llama_family_name(kd_llama_family family) {
    static const char *const name[] = {"llama", "qwen2", "qwen3"};
    return name[family];
}

const kd_names *kd_llama_ggml(kd_llama_family family) {
    return family == KD_LLAMA_PLAIN ? &ggml_llama : &ggml_qwen;
}
