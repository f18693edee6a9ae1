/* What the parameters of an encoder are called elsewhere. */
#include "files/bert_file.h"

#define ROW(ours, theirs)                                                                          \
    { ours, theirs, KD_ORDER_OURS, KD_WRITTEN_AS_CHOSEN }
/* γ and β of a norm. */
#define NORM(ours, theirs, gamma, beta)                                                            \
    ROW(ours ".weight", theirs "." gamma), ROW(ours ".bias", theirs "." beta)

#define BERT_LAYER "bert.encoder.layer.*."
#define BERT_ROWS(gamma, beta)                                                                     \
    ROW("embedding.weight", "bert.embeddings.word_embeddings.weight"),                             \
        ROW("position.weight", "bert.embeddings.position_embeddings.weight"),                      \
        ROW("type.weight", "bert.embeddings.token_type_embeddings.weight"),                        \
        NORM("embed_norm", "bert.embeddings.LayerNorm", gamma, beta),                              \
        ROW("layers.*.attn.query.*", BERT_LAYER "attention.self.query.*"),                         \
        ROW("layers.*.attn.key.*", BERT_LAYER "attention.self.key.*"),                             \
        ROW("layers.*.attn.value.*", BERT_LAYER "attention.self.value.*"),                         \
        ROW("layers.*.attn.out.*", BERT_LAYER "attention.output.dense.*"),                         \
        NORM("layers.*.attn_norm", BERT_LAYER "attention.output.LayerNorm", gamma, beta),          \
        ROW("layers.*.mlp.up.*", BERT_LAYER "intermediate.dense.*"),                               \
        ROW("layers.*.mlp.down.*", BERT_LAYER "output.dense.*"),                                   \
        NORM("layers.*.mlp_norm", BERT_LAYER "output.LayerNorm", gamma, beta),                     \
        ROW("pooler.*", "bert.pooler.dense.*"),                                                    \
        ROW("head.transform.*", "cls.predictions.transform.dense.*"),                              \
        NORM("head.norm", "cls.predictions.transform.LayerNorm", gamma, beta),                     \
        ROW("head.bias", "cls.predictions.bias")

static const kd_name_row BERT[] = {BERT_ROWS("weight", "bias")};
static const kd_name_row OLDER_BERT[] = {BERT_ROWS("gamma", "beta")};

#define DISTIL_LAYER "distilbert.transformer.layer.*."
static const kd_name_row DISTILBERT[] = {
    ROW("embedding.weight", "distilbert.embeddings.word_embeddings.weight"),
    ROW("position.weight", "distilbert.embeddings.position_embeddings.weight"),
    ROW("embed_norm.*", "distilbert.embeddings.LayerNorm.*"),
    ROW("layers.*.attn.query.*", DISTIL_LAYER "attention.q_lin.*"),
    ROW("layers.*.attn.key.*", DISTIL_LAYER "attention.k_lin.*"),
    ROW("layers.*.attn.value.*", DISTIL_LAYER "attention.v_lin.*"),
    ROW("layers.*.attn.out.*", DISTIL_LAYER "attention.out_lin.*"),
    ROW("layers.*.attn_norm.*", DISTIL_LAYER "sa_layer_norm.*"),
    ROW("layers.*.mlp.up.*", DISTIL_LAYER "ffn.lin1.*"),
    ROW("layers.*.mlp.down.*", DISTIL_LAYER "ffn.lin2.*"),
    ROW("layers.*.mlp_norm.*", DISTIL_LAYER "output_layer_norm.*"),
    ROW("pooler.*", "pre_classifier.*"),
    ROW("head.transform.*", "vocab_transform.*"),
    ROW("head.norm.*", "vocab_layer_norm.*"),
    ROW("head.bias", "vocab_projector.bias"),
};

static const kd_name_row GGML[] = {
    ROW("embedding.weight", "token_embd.weight"),
    ROW("position.weight", "position_embd.weight"),
    ROW("type.weight", "token_types.weight"),
    ROW("embed_norm.*", "token_embd_norm.*"),
    ROW("layers.*.attn.query.*", "blk.*.attn_q.*"),
    ROW("layers.*.attn.key.*", "blk.*.attn_k.*"),
    ROW("layers.*.attn.value.*", "blk.*.attn_v.*"),
    ROW("layers.*.attn.out.*", "blk.*.attn_output.*"),
    ROW("layers.*.attn_norm.*", "blk.*.attn_output_norm.*"),
    ROW("layers.*.mlp.up.*", "blk.*.ffn_up.*"),
    ROW("layers.*.mlp.down.*", "blk.*.ffn_down.*"),
    ROW("layers.*.mlp_norm.*", "blk.*.layer_output_norm.*"),
    ROW("pooler.*", "cls.*"),
    ROW("classifier.*", "cls.output.*"),
};

static const char *const BERT_OTHERS[] = {"cls.seq_relationship.weight",
                                          "cls.seq_relationship.bias",
                                          "bert.embeddings.position_ids", NULL};
static const char *const DISTILBERT_OTHERS[] = {"distilbert.embeddings.position_ids", NULL};

#define NAMES(rows, prefix, others)                                                                \
    { rows, sizeof rows / sizeof *rows, prefix, others }
static const kd_names hugging_bert = NAMES(BERT, "bert.", BERT_OTHERS);
static const kd_names hugging_older_bert = NAMES(OLDER_BERT, "bert.", BERT_OTHERS);
static const kd_names hugging_distilbert = NAMES(DISTILBERT, "distilbert.", DISTILBERT_OTHERS);
const kd_names kd_bert_ggml = NAMES(GGML, NULL, NULL);

const char *kd_bert_family_name(const kd_bert_spec *spec) {
    return spec->types > 0 ? "bert" : "distilbert";
}

const kd_names *kd_bert_hugging(const kd_bert_spec *spec, bool older) {
    if (spec->types == 0) return &hugging_distilbert;
    return older ? &hugging_older_bert : &hugging_bert;
}
