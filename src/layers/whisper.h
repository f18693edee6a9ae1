/* Whisper (Radford et al. 2022, arXiv 2212.04356, section 2.2): an encoder over log-mel frames and
 * a decoder over text tokens, both of pre-norm blocks.
 *
 *   encoder   x = GELU(conv1(mel)), x = GELU(conv2(x)) (stride 2), x += sinusoidal positions,
 *             blocks, norm
 *   decoder   x = tokens[id] + positions, blocks with causal self-attention and cross-attention to
 *             the encoder's output, norm; logits = x·tokensᵀ
 *   block     x += attention(norm(x)), [x += cross(norm(x), memory)], x += W2·GELU(W1·norm(x))
 *
 * The hidden layer of a block has 4·width units; keys have no bias. Parameters carry OpenAI's names
 * ("decoder.blocks.0.cross_attn.key.weight"); convolutions lie as (out,kernel,in), the others as in
 * PyTorch. Everything but the decoder's caches (whisper_session.h) is here.
 */
#ifndef KD_LAYERS_WHISPER_H
#define KD_LAYERS_WHISPER_H

#include "layers/layer.h"
#include "layers/whisper_generation.h"

typedef struct {
    int mels, width, vocabulary;
    int audio_context, audio_layers, audio_heads; /* context: positions, half the frames */
    int text_context, text_layers, text_heads;
} kd_whisper_spec;

/* What the optimizer will update; the rest is state, which has no gradient and takes none. */
typedef enum {
    KD_WHISPER_TRAIN_NOTHING,
    KD_WHISPER_TRAIN_DECODER,
    KD_WHISPER_TRAIN_ALL, /* but for the sinusoids */
    KD_WHISPER_ONLY_READ  /* nothing, and matrices may stay in their file (whisper_file.h) */
} kd_whisper_training;

typedef struct {
    kd_norm_layer attn_norm, cross_norm, mlp_norm; /* cross_*: decoder only */
    kd_attention_layer attn, cross;
    kd_linear_layer up, down;
} kd_whisper_block;

typedef struct {
    kd_whisper_spec spec;
    kd_params *params; /* all of them, in order of registration */
    kd_conv1d_layer conv[2];
    kd_param *audio_positions, *text_positions; /* (context, width) */
    kd_embedding_layer tokens;                  /* (vocabulary, width), also the output matrix */
    kd_norm_layer audio_norm, text_norm;
    kd_whisper_block *audio_block, *text_block;
    kd_whisper_generation generation; /* of text; nothing stated after the creation */
} kd_whisper;

/* KD_EDATA, naming `source`, unless every size is sensible: at least 1, heads divide an even width
 * of 4 or more, and nothing so large that sizes could overflow. */
int kd_whisper_spec_check(const kd_whisper_spec *spec, const char *source);

/* Registers the parameters of a checked spec; nothing is laid out yet. The caller frees. */
int kd_whisper_create(kd_whisper **out, const kd_whisper_spec *spec, kd_whisper_training training);
void kd_whisper_free(kd_whisper *model);

/* Lays the parameters out: initialised from `seed`, or (blank) zero, for whoever fills them from a
 * file. The sinusoids are there in both. */
int kd_whisper_layout(kd_whisper *model, uint64_t seed);
int kd_whisper_layout_blank(kd_whisper *model);

/* --- on the tape --------------------------------------------------------------------------------
 */

/* mel (B,T,mels), T even and at most 2·audio_context → (B,T/2,width) */
kd_tensor *kd_whisper_encoder(const kd_whisper *model, kd_tape *tape, kd_tensor *mel);

/* id: B·T tokens that outlive the backward, T ≤ text_context; memory (B,S,width) → (B,T,width), the
 * last hidden state. Position t sees the tokens 0 … t, so padding behind a row's end disturbs
 * nothing in front of it. */
kd_tensor *kd_whisper_decoder(const kd_whisper *model, kd_tape *tape, const int32_t *id, int64_t B,
                              int64_t T, kd_tensor *memory);

/* hidden (…,width) → (rows,vocabulary) */
kd_tensor *kd_whisper_logits(const kd_whisper *model, kd_tape *tape, kd_tensor *hidden);

/* --- without a tape -----------------------------------------------------------------------------
 */

/* The encoder alone, for inference or when it is frozen: mel (B,T,mels) → out (B,T/2,width). Runs
 * one half of a block after the other on `scratch`, which it resets, and needs the memory of one.
 */
int kd_whisper_encode(const kd_whisper *model, kd_tape *scratch, kd_real *out, const kd_real *mel,
                      int64_t B, int64_t T);

/* --- for whisper_session.c ----------------------------------------------------------------------
 */

/* tokens[id] + positions[first …]. → (B,T,width) */
kd_tensor *kd_whisper_embed(const kd_whisper *model, kd_tape *tape, const int32_t *id, int64_t B,
                            int64_t T, int64_t first);

#endif
