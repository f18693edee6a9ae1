/* A decoder over text of the LLaMA architecture (Touvron et al. 2023, arXiv 2302.13971,
 * section 2.2): pre-norm blocks with RMS norms, rotary positions, attention whose heads may share
 * keys, and SwiGLU.
 *
 *   x = embedding[id]
 *   block   x += out(attention(turn(query(n)), turn(key(n)), value(n))), n = attn_norm(x)
 *           x += down(silu(gate(n)) ∘ up(n)),                            n = mlp_norm(x)
 *   logits  output·norm(x); the output matrix may be the embedding
 *
 * Qwen2's queries, keys and values have biases; Qwen3's queries and keys have a norm for each head,
 * before they are turned; nobody's have both. Pairs of the rotary positions are (i, i + D/2), as in
 * Hugging Face's files. Parameters are called "layers.0.attn.query.weight". Generating with a cache
 * is llama_session.h.
 */
#ifndef KD_LAYERS_LLAMA_H
#define KD_LAYERS_LLAMA_H

#include "layers/layer.h"
#include "layers/rotary.h"

typedef struct {
    int width, layers, heads, key_heads, head_width, hidden, vocabulary;
    int context;         /* positions                                             */
    bool tied;           /* the output matrix is the embedding                    */
    bool attention_bias; /* of queries, keys and values (Qwen2)                   */
    bool head_norms;     /* of queries and keys (Qwen3)                           */
    double epsilon;      /* of the norms                                          */
    kd_rotary_spec rotary;
} kd_llama_spec;

typedef enum {
    KD_LLAMA_TRAIN,
    KD_LLAMA_FROZEN,   /* all parameters are state                              */
    KD_LLAMA_ONLY_READ /* the same, and matrices may stay in their file         */
} kd_llama_training;

typedef struct {
    kd_rms_norm_layer attn_norm, mlp_norm;
    kd_linear_layer query, key, value, out;
    kd_rms_norm_layer query_norm, key_norm; /* with head_norms */
    kd_linear_layer gate, up, down;
} kd_llama_block;

typedef struct {
    kd_llama_spec spec;
    kd_params *params; /* all of them, in order of registration */
    kd_embedding_layer embedding;
    kd_llama_block *block; /* (layers) */
    kd_rms_norm_layer norm;
    kd_param *output; /* (vocabulary,width): the embedding's table where they are tied */
} kd_llama;

/* KD_EDATA, naming `source`, unless every size is sensible: at least 1, heads a multiple of those
 * of the keys, heads of an even width, and nothing so large that sizes could overflow. */
int kd_llama_spec_check(const kd_llama_spec *spec, const char *source);

/* Registers the parameters of a checked spec; nothing is laid out yet. The caller frees. */
int kd_llama_create(kd_llama **out, const kd_llama_spec *spec, kd_llama_training training);
void kd_llama_free(kd_llama *model);

/* Lays the parameters out: initialised from `seed`, N(0, 0.02²) for the matrices as transformers
 * does it, or (blank) zero, for whoever fills them from a file. */
int kd_llama_layout(kd_llama *model, uint64_t seed);
int kd_llama_layout_blank(kd_llama *model);

/* How many parameters a model of these sizes has. */
int64_t kd_llama_size(const kd_llama_spec *spec);

/* id: B·T tokens that outlive the backward, T ≤ context → (B,T,width), behind the last norm, whose
 * product with the output matrix is the logits. Position t sees the tokens first[t] … t of its row;
 * `first` (B,T), which outlives the backward, is where its document begins, or NULL: 0. */
kd_tensor *kd_llama_hidden(const kd_llama *model, kd_tape *tape, const int32_t *id, int64_t B,
                           int64_t T, const int32_t *first);

/* The same, and the states between the blocks, (B,T,width): state[i] is what block i begins with,
 * state[layers] what the last norm does. */
kd_tensor *kd_llama_states(const kd_llama *model, kd_tape *tape, const int32_t *id, int64_t B,
                           int64_t T, const int32_t *first, kd_tensor **state);

/* Queries (B,T,heads·D) and keys (B,T,key_heads·D), turned, of a block that begins with x
 * (B,T,width). */
void kd_llama_watch(const kd_llama *model, kd_tape *tape, int layer, kd_tensor *x,
                    kd_tensor **query, kd_tensor **key);

/* hidden (…,width) → (rows,vocabulary) */
kd_tensor *kd_llama_logits(const kd_llama *model, kd_tape *tape, kd_tensor *hidden);

/* kd_llama_hidden without gradients, a half of a block after the other on `scratch`, which it
 * resets: takes the memory of one. → out (B,T,width) */
int kd_llama_run(const kd_llama *model, kd_tape *scratch, kd_real *out, const int32_t *id,
                 int64_t B, int64_t T, const int32_t *first);

/* The same; state[i] (B,T,width) of layers + 1 receives what block i begins with, unless it is
 * NULL. */
int kd_llama_run_states(const kd_llama *model, kd_tape *scratch, kd_real *out, const int32_t *id,
                        int64_t B, int64_t T, const int32_t *first, kd_real *const *state);

/* --- for llama_session.c ------------------------------------------------------------------- */

/* The angles of T positions from `first` on, in memory of the tape. */
kd_rotary_table kd_llama_angles(const kd_llama *model, kd_tape *tape, int64_t first, int64_t T);
/* x (B,T,heads·D), normed where the model has norms of heads, and turned by the rows' angles. */
kd_tensor *kd_llama_turn(const kd_llama *model, kd_tape *tape, const kd_rms_norm_layer *norm,
                         kd_tensor *x, const kd_rotary_table *angles);

#endif
