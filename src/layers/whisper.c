#include "layers/whisper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/segment.h"
#include "base/error.h"

enum { NAME = 2 * KD_NAME_MAX };

static const kd_real NORM_EPSILON = KD_REAL(1e-5);

/* --- the parameters ----------------------------------------------------------------------------
 */

int kd_whisper_spec_check(const kd_whisper_spec *s, const char *source) {
    const struct {
        const char *name;
        int value, most;
    } size[] = {{"mel bands", s->mels, 1024},
                {"width", s->width, 1 << 14},
                {"vocabulary", s->vocabulary, 1 << 20},
                {"audio context", s->audio_context, 1 << 16},
                {"encoder layers", s->audio_layers, 256},
                {"encoder heads", s->audio_heads, 1 << 10},
                {"text context", s->text_context, 1 << 16},
                {"decoder layers", s->text_layers, 256},
                {"decoder heads", s->text_heads, 1 << 10}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        if (size[i].value < 1 || size[i].value > size[i].most)
            return kd_fail(KD_EDATA, "%s: %s: %d; a Whisper model has 1 to %d", source,
                           size[i].name, size[i].value, size[i].most);
    if (s->width < 4 || s->width % 2 || s->width % s->audio_heads || s->width % s->text_heads)
        return kd_fail(KD_EDATA,
                       "%s: width %d with %d and %d heads; it must be even, at least 4, and a "
                       "multiple of both",
                       source, s->width, s->audio_heads, s->text_heads);
    return KD_OK;
}

static int add_norm(kd_norm_layer *out, kd_params *params, const char *prefix, const char *name,
                    int64_t C) {
    char full[NAME];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    return kd_norm_layer_init(out, params, full, C, NORM_EPSILON);
}

static int add_attention(kd_attention_layer *out, kd_params *params, const char *prefix,
                         const char *name, int64_t C, int heads) {
    char full[NAME];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    return kd_attention_layer_init(out, params, full, C, heads, false);
}

/* In the order of OpenAI's state dict. */
static int add_block(kd_whisper_block *out, kd_params *params, const char *side, int index,
                     int64_t C, int heads, bool cross) {
    char prefix[KD_NAME_MAX], name[NAME];
    snprintf(prefix, sizeof prefix, "%s.blocks.%d", side, index);
    int status = add_attention(&out->attn, params, prefix, "attn", C, heads);
    if (status == KD_OK) status = add_norm(&out->attn_norm, params, prefix, "attn_ln", C);
    if (status == KD_OK && cross)
        status = add_attention(&out->cross, params, prefix, "cross_attn", C, heads);
    if (status == KD_OK && cross)
        status = add_norm(&out->cross_norm, params, prefix, "cross_attn_ln", C);
    snprintf(name, sizeof name, "%s.mlp.0", prefix);
    if (status == KD_OK) status = kd_linear_layer_init(&out->up, params, name, C, 4 * C, true);
    snprintf(name, sizeof name, "%s.mlp.2", prefix);
    if (status == KD_OK) status = kd_linear_layer_init(&out->down, params, name, 4 * C, C, true);
    if (status == KD_OK) status = add_norm(&out->mlp_norm, params, prefix, "mlp_ln", C);
    return status;
}

static kd_param *add_positions(kd_params *params, const char *name, int64_t context, int64_t C,
                               int flags) {
    const int64_t shape[2] = {context, C};
    return kd_params_add(params, name, 2, shape, KD_INIT_NORMAL_002, 0, 0, flags);
}

static int add_encoder(kd_whisper *m) {
    const kd_whisper_spec *s = &m->spec;
    kd_params *params = m->params;
    m->audio_positions = add_positions(params, "encoder.positional_embedding", s->audio_context,
                                       s->width, KD_PARAM_STATE);
    if (!m->audio_positions) return KD_EINTERNAL;
    int status =
        kd_conv1d_layer_init(&m->conv[0], params, "encoder.conv1", s->mels, s->width, 3, 1, 1);
    if (status == KD_OK)
        status =
            kd_conv1d_layer_init(&m->conv[1], params, "encoder.conv2", s->width, s->width, 3, 2, 1);
    for (int i = 0; i < s->audio_layers && status == KD_OK; i++)
        status =
            add_block(&m->audio_block[i], params, "encoder", i, s->width, s->audio_heads, false);
    if (status == KD_OK) status = add_norm(&m->audio_norm, params, "encoder", "ln_post", s->width);
    return status;
}

static int add_decoder(kd_whisper *m) {
    const kd_whisper_spec *s = &m->spec;
    kd_params *params = m->params;
    m->text_positions = add_positions(params, "decoder.positional_embedding", s->text_context,
                                      s->width, KD_PARAM_TRAINED);
    if (!m->text_positions) return KD_EINTERNAL;
    int status = kd_embedding_layer_init(&m->tokens, params, "decoder.token_embedding",
                                         s->vocabulary, s->width);
    for (int i = 0; i < s->text_layers && status == KD_OK; i++)
        status = add_block(&m->text_block[i], params, "decoder", i, s->width, s->text_heads, true);
    if (status == KD_OK) status = add_norm(&m->text_norm, params, "decoder", "ln", s->width);
    return status;
}

/* Parameters from `first` on become state. */
static void freeze(kd_params *params, int first) {
    for (int i = first; i < params->count; i++) {
        params->list[i]->flags = KD_PARAM_STATE;
        params->list[i]->tensor.needs_grad = false;
    }
}

int kd_whisper_create(kd_whisper **out, const kd_whisper_spec *spec, kd_whisper_training training) {
    *out = NULL;
    kd_whisper *m = calloc(1, sizeof *m);
    if (!m) return kd_fail_memory(sizeof *m, "a Whisper model");
    m->spec = *spec;
    m->generation = kd_whisper_generation_own();
    m->audio_block = calloc((size_t)spec->audio_layers, sizeof *m->audio_block);
    m->text_block = calloc((size_t)spec->text_layers, sizeof *m->text_block);
    int status = m->audio_block && m->text_block
                     ? kd_params_create(&m->params)
                     : kd_fail_memory(sizeof *m->text_block, "a Whisper model");
    if (status == KD_OK) status = add_encoder(m);
    if (status == KD_OK && training != KD_WHISPER_TRAIN_ALL) freeze(m->params, 0);
    const int encoder_count = m->params ? m->params->count : 0;
    if (status == KD_OK) status = add_decoder(m);
    if (status == KD_OK && training != KD_WHISPER_TRAIN_ALL && training != KD_WHISPER_TRAIN_DECODER)
        freeze(m->params, encoder_count);
    if (status < 0) {
        kd_whisper_free(m);
        return status;
    }
    *out = m;
    return KD_OK;
}

void kd_whisper_free(kd_whisper *model) {
    if (!model) return;
    kd_params_free(model->params);
    free(model->audio_block);
    free(model->text_block);
    kd_whisper_generation_clear(&model->generation);
    free(model);
}

/* positions[t,i] = sin(t·w_i), positions[t,C/2+i] = cos(t·w_i), w_i = 10000^(−i/(C/2 − 1)) */
static void fill_sinusoids(kd_tensor *positions) {
    const int64_t C = kd_channels(positions), half = C / 2;
    for (int64_t t = 0; t < positions->shape[0]; t++)
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)t * exp(-log(10000) * (double)i / (double)(half - 1));
            positions->value[t * C + i] = (kd_real)sin(angle);
            positions->value[t * C + half + i] = (kd_real)cos(angle);
        }
}

int kd_whisper_layout(kd_whisper *model, uint64_t seed) {
    int status = kd_params_layout(model->params, seed);
    if (status == KD_OK) fill_sinusoids(&model->audio_positions->tensor);
    return status;
}

int kd_whisper_layout_blank(kd_whisper *model) {
    for (int i = 0; i < model->params->count; i++) model->params->list[i]->init = KD_INIT_ZERO;
    return kd_whisper_layout(model, 0);
}

/* --- on the tape -------------------------------------------------------------------------------
 */

/* x (B,T,C) + positions[first … first+T] for every sample: the positions as one long bias. */
static kd_tensor *add_rows(kd_tape *tape, kd_tensor *x, kd_param *positions, int64_t first) {
    const int64_t B = x->shape[0], T = x->shape[1], C = x->shape[2];
    const int64_t flat[2] = {B, T * C}, line = T * C, shape[3] = {B, T, C};
    KD_CONTRACT(first + T <= positions->tensor.shape[0], "%s: positions %lld to %lld of %lld",
                positions->name, (long long)first, (long long)(first + T),
                (long long)positions->tensor.shape[0]);
    kd_tensor *rows = kd_slice(tape, &positions->tensor, 0, first, first + T, 1);
    x = kd_bias(tape, kd_reshape(tape, x, 2, flat), kd_reshape(tape, rows, 1, &line));
    return kd_reshape(tape, x, 3, shape);
}

/* x + W2·GELU(W1·norm(x)) */
static kd_tensor *mlp(const kd_whisper_block *block, kd_tape *tape, kd_tensor *x) {
    kd_tensor *h = kd_norm_layer_forward(&block->mlp_norm, tape, x);
    h = kd_gelu(tape, kd_linear_layer_forward(&block->up, tape, h));
    return kd_linear_layer_onto(&block->down, tape, x, h);
}

/* x + attention(norm(x)) */
static kd_tensor *self_attention(const kd_whisper_block *b, kd_tape *tape, kd_tensor *x,
                                 bool causal) {
    kd_tensor *h = kd_norm_layer_forward(&b->attn_norm, tape, x);
    return kd_attention_layer_onto(&b->attn, tape, x, h, NULL, causal, NULL);
}

/* x + cross(norm(x), memory) */
static kd_tensor *cross_attention(const kd_whisper_block *b, kd_tape *tape, kd_tensor *x,
                                  kd_tensor *memory) {
    kd_tensor *h = kd_norm_layer_forward(&b->cross_norm, tape, x);
    return kd_attention_layer_onto(&b->cross, tape, x, h, memory, false, NULL);
}

static kd_tensor *audio_block(kd_tape *tape, const void *block, kd_tensor *const *in) {
    return mlp(block, tape, self_attention(block, tape, in[0], false));
}

/* From x and the encoder's output. */
static kd_tensor *text_block(kd_tape *tape, const void *block, kd_tensor *const *in) {
    kd_tensor *x = self_attention(block, tape, in[0], true);
    return mlp(block, tape, cross_attention(block, tape, x, in[1]));
}

static kd_tensor *encoder_stem(const kd_whisper *m, kd_tape *tape, kd_tensor *mel) {
    KD_CONTRACT(mel->rank == 3 && mel->shape[2] == m->spec.mels && mel->shape[1] % 2 == 0,
                "mel of %lld frames and %lld bands; the model has %d bands",
                (long long)mel->shape[1], (long long)kd_channels(mel), m->spec.mels);
    kd_tensor *x = mel;
    for (int i = 0; i < 2; i++) x = kd_gelu(tape, kd_conv1d_layer_forward(&m->conv[i], tape, x));
    return add_rows(tape, x, m->audio_positions, 0);
}

kd_tensor *kd_whisper_encoder(const kd_whisper *model, kd_tape *tape, kd_tensor *mel) {
    kd_tensor *x = encoder_stem(model, tape, mel);
    for (int i = 0; i < model->spec.audio_layers; i++)
        x = kd_segment(tape, audio_block, &model->audio_block[i], 1, &x);
    return kd_norm_layer_forward(&model->audio_norm, tape, x);
}

kd_tensor *kd_whisper_embed(const kd_whisper *model, kd_tape *tape, const int32_t *id, int64_t B,
                            int64_t T, int64_t first) {
    const int64_t shape[3] = {B, T, model->spec.width};
    kd_tensor *x = kd_embedding_layer_forward(&model->tokens, tape, id, B * T);
    return add_rows(tape, kd_reshape(tape, x, 3, shape), model->text_positions, first);
}

kd_tensor *kd_whisper_decoder(const kd_whisper *model, kd_tape *tape, const int32_t *id, int64_t B,
                              int64_t T, kd_tensor *memory) {
    kd_tensor *x = kd_whisper_embed(model, tape, id, B, T, 0);
    for (int i = 0; i < model->spec.text_layers; i++)
        x = kd_segment(tape, text_block, &model->text_block[i], 2, (kd_tensor *[]){x, memory});
    return kd_norm_layer_forward(&model->text_norm, tape, x);
}

kd_tensor *kd_whisper_logits(const kd_whisper *model, kd_tape *tape, kd_tensor *hidden) {
    const int64_t shape[2] = {kd_rows(hidden), kd_channels(hidden)};
    return kd_linear(tape, kd_reshape(tape, hidden, 2, shape), &model->tokens.table->tensor, NULL,
                     KD_ACT_NONE);
}

/* --- without a tape ----------------------------------------------------------------------------
 */

/* One stage on an empty scratch tape, from x to x: the attention and the MLP of each block by
 * turns, the norm behind the last. */
static void encode_stage(const kd_whisper *m, kd_tape *scratch, int stage, kd_tensor *x) {
    const kd_whisper_block *block = &m->audio_block[stage / 2];
    kd_tape_reset(scratch);
    kd_tensor *y = stage % 2 ? mlp(block, scratch, x) : self_attention(block, scratch, x, false);
    if (stage == 2 * m->spec.audio_layers - 1)
        y = kd_norm_layer_forward(&m->audio_norm, scratch, y);
    memcpy(x->value, y->value, (size_t)y->size * sizeof *y->value);
}

int kd_whisper_encode(const kd_whisper *model, kd_tape *scratch, kd_real *out, const kd_real *mel,
                      int64_t B, int64_t T) {
    const int64_t sound[3] = {B, T, model->spec.mels}, width = model->spec.width;
    kd_tensor x = {
        .rank = 3, .shape = {B, T / 2, width}, .size = B * (T / 2) * width, .value = out};
    scratch->recording = false;
    if (kd_tape_guard(scratch)) return KD_EINTERNAL;
    kd_tape_reset(scratch);
    kd_tensor *in = kd_tape_input(scratch, 3, sound);
    memcpy(in->value, mel, (size_t)in->size * sizeof *mel);
    memcpy(out, encoder_stem(model, scratch, in)->value, (size_t)x.size * sizeof *out);
    for (int stage = 0; stage < 2 * model->spec.audio_layers; stage++)
        encode_stage(model, scratch, stage, &x);
    kd_tape_reset(scratch);
    return KD_OK;
}
