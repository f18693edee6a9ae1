/* An encoder of text: BERT (Devlin et al. 2019, arXiv 1810.04805) and DistilBERT (Sanh et al. 2019,
 * arXiv 1910.01108), which has no token types. Blocks have their norm behind the sum:
 *
 *   x = embed_norm(embedding[id] + position[t − first] + type[0])
 *   block   x = attn_norm(x + out(attention(query(x), key(x), value(x))))
 *           x = mlp_norm(x + down(gelu(up(x))))
 *   masked-language head     h = head_norm(gelu(transform(x))), logits = h·embeddingᵀ + bias
 *   head of classes          p = tanh(pooler(x[0])) (BERT) or relu(…) (DistilBERT),
 *                            logits = classifier(p)
 *
 * All tokens are of type 0: a text is one. A document's positions begin at 0, wherever it lies in
 * its row. Parameters are called "layers.0.attn.query.weight". There is no dropout.
 */
#ifndef KD_LAYERS_BERT_H
#define KD_LAYERS_BERT_H

#include "layers/layer.h"

typedef struct {
    int width, layers, heads, hidden, vocabulary;
    int context; /* positions                                                   */
    int types;   /* of tokens; 0: there are none, as in DistilBERT              */
    double epsilon;
    bool head;   /* for masked tokens                                           */
    bool pooler; /* what classes are told by; without `classes` nothing uses it */
    int classes; /* of texts, 0: it tells none; else it has a pooler            */
} kd_bert_spec;

typedef struct {
    kd_linear_layer query, key, value, out, up, down;
    kd_norm_layer attn_norm, mlp_norm;
} kd_bert_block;

typedef struct {
    kd_bert_spec spec;
    kd_params *params; /* all of them, in order of registration */
    kd_embedding_layer embedding, position, type;
    kd_norm_layer embed_norm;
    kd_bert_block *block; /* (layers) */
    kd_linear_layer pooler, classifier, transform;
    kd_norm_layer head_norm;
    kd_param *bias; /* (vocabulary) of the masked-language head, or NULL */
} kd_bert;

/* Which tokens are read: B rows of T. The arrays (B,T) outlive the backward. */
typedef struct {
    const int32_t *id;
    const int32_t *first, *end; /* where in its row each token's document begins and ends; NULL: a
                                   row is one                                                 */
    int64_t B, T;               /* a document has no more tokens than there are positions     */
} kd_bert_input;

/* KD_EDATA, naming `source`, unless every size is sensible: at least 1, heads dividing the width,
 * and nothing so large that sizes could overflow. */
int kd_bert_spec_check(const kd_bert_spec *spec, const char *source);

/* Registers the parameters of a checked spec; nothing is laid out yet. `frozen`: all are state.
 * The caller frees. */
int kd_bert_create(kd_bert **out, const kd_bert_spec *spec, bool frozen);
void kd_bert_free(kd_bert *model);

/* Lays the parameters out: initialised from `seed`, N(0, 0.02²) for the matrices as transformers
 * does it, or (blank) zero, for whoever fills them from a file. */
int kd_bert_layout(kd_bert *model, uint64_t seed);
int kd_bert_layout_blank(kd_bert *model);

/* How many parameters a model of these sizes has. */
int64_t kd_bert_size(const kd_bert_spec *spec);

/* → (B,T,width), the last hidden states */
kd_tensor *kd_bert_states(const kd_bert *model, kd_tape *tape, const kd_bert_input *in);

/* states (…,width) → (…,width), whose product with the embedding, and the bias, are the logits. */
kd_tensor *kd_bert_head(const kd_bert *model, kd_tape *tape, kd_tensor *states);
/* The same → (rows,vocabulary). */
kd_tensor *kd_bert_logits(const kd_bert *model, kd_tape *tape, kd_tensor *states);

/* states (…,width) → logits (n,classes), each told by row start[i], its text's first token; `start`
 * (n) outlives the backward. */
kd_tensor *kd_bert_classes(const kd_bert *model, kd_tape *tape, kd_tensor *states,
                           const int32_t *start, int64_t n);

/* kd_bert_states without gradients, a half of a block after the other on `scratch`, which it
 * resets: takes the memory of one. → out (B,T,width) */
int kd_bert_run(const kd_bert *model, kd_tape *scratch, kd_real *out, const kd_bert_input *in);

#endif
