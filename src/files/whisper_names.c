#include "files/whisper_names.h"

/* OpenAI's names; whisper.cpp takes the layouts and formats for granted. */
static const kd_name_row GGML[] = {
    {"encoder.conv1.weight", NULL, KD_ORDER_CHANNELS_FIRST, KD_WRITTEN_AS_HALVES},
    {"encoder.conv2.weight", NULL, KD_ORDER_CHANNELS_FIRST, KD_WRITTEN_AS_HALVES},
    {"encoder.conv1.bias", NULL, KD_ORDER_COLUMN, KD_WRITTEN_IN_FULL},
    {"encoder.conv2.bias", NULL, KD_ORDER_COLUMN, KD_WRITTEN_IN_FULL},
    {"*.positional_embedding", NULL, KD_ORDER_OURS, KD_WRITTEN_IN_FULL},
};

#define ROW(ours, theirs)                                                                          \
    { ours, "model." theirs, KD_ORDER_OURS, KD_WRITTEN_AS_CHOSEN }
static const kd_name_row HUGGING[] = {
    {"encoder.conv1.weight", "model.encoder.conv1.weight", KD_ORDER_CHANNELS_FIRST,
     KD_WRITTEN_AS_CHOSEN},
    {"encoder.conv2.weight", "model.encoder.conv2.weight", KD_ORDER_CHANNELS_FIRST,
     KD_WRITTEN_AS_CHOSEN},
    ROW("encoder.conv1.bias", "encoder.conv1.bias"),
    ROW("encoder.conv2.bias", "encoder.conv2.bias"),
    ROW("*.positional_embedding", "*.embed_positions.weight"),
    ROW("decoder.token_embedding.weight", "decoder.embed_tokens.weight"),
    ROW("*.blocks.*.attn.query.*", "*.layers.*.self_attn.q_proj.*"),
    ROW("*.blocks.*.attn.key.*", "*.layers.*.self_attn.k_proj.*"),
    ROW("*.blocks.*.attn.value.*", "*.layers.*.self_attn.v_proj.*"),
    ROW("*.blocks.*.attn.out.*", "*.layers.*.self_attn.out_proj.*"),
    ROW("*.blocks.*.attn_ln.*", "*.layers.*.self_attn_layer_norm.*"),
    ROW("*.blocks.*.cross_attn.query.*", "*.layers.*.encoder_attn.q_proj.*"),
    ROW("*.blocks.*.cross_attn.key.*", "*.layers.*.encoder_attn.k_proj.*"),
    ROW("*.blocks.*.cross_attn.value.*", "*.layers.*.encoder_attn.v_proj.*"),
    ROW("*.blocks.*.cross_attn.out.*", "*.layers.*.encoder_attn.out_proj.*"),
    ROW("*.blocks.*.cross_attn_ln.*", "*.layers.*.encoder_attn_layer_norm.*"),
    ROW("*.blocks.*.mlp.0.*", "*.layers.*.fc1.*"),
    ROW("*.blocks.*.mlp.2.*", "*.layers.*.fc2.*"),
    ROW("*.blocks.*.mlp_ln.*", "*.layers.*.final_layer_norm.*"),
    ROW("encoder.ln_post.*", "encoder.layer_norm.*"),
    ROW("decoder.ln.*", "decoder.layer_norm.*"),
};
#undef ROW

const kd_names kd_whisper_ggml = {GGML, sizeof GGML / sizeof *GGML, NULL, NULL};
const kd_names kd_whisper_hugging = {HUGGING, sizeof HUGGING / sizeof *HUGGING, "model.", NULL};
