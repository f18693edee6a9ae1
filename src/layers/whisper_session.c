#include "layers/whisper_session.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "layers/few_rows.h"

struct kd_whisper_session {
    const kd_whisper *model;
    kd_tape *tape;           /* scratch; holds `hidden` between two steps                       */
    int samples;             /* recordings now                                                  */
    int samples_most;        /* at once                                                         */
    kd_precision hears_in;   /* products of the encoder                                        */
    int most;                /* rows for each recording                                         */
    int width;               /* rows for each recording now                                     */
    int64_t length;          /* tokens in every row                                             */
    int64_t heard;           /* positions of the encoder's output                               */
    int32_t *visible;        /* (samples·most) = length + 1, for the attention                  */
    kd_real *memory;         /* (audio_context, C), the encoder's output of one recording       */
    kd_real *cross[2];       /* keys and values (layers, samples, audio_context, C), of which   */
                             /* the first `heard` positions of each sample lie dense            */
    kd_real *own[2];         /* keys and values (layers, samples·most, text_context, C)         */
    kd_real *spare;          /* (samples·most, text_context, C), for reordering rows            */
    kd_few_rows few;         /* of the decoder's matrices                                       */
    const kd_tensor *hidden; /* (samples·width, n, C) of the last step                        */
};

/* --- memory ------------------------------------------------------------------------------------
 */

static int take(kd_real **out, int64_t a, int64_t b, int64_t c, int64_t d) {
    const size_t bytes = kd_array_bytes(a * b * c * d, sizeof **out);
    *out = malloc(bytes);
    return *out ? KD_OK : kd_fail_memory(bytes, "decoding with Whisper");
}

int kd_whisper_session_create(kd_whisper_session **out, const kd_whisper *model, int samples,
                              int width_most) {
    const kd_whisper_spec *spec = &model->spec;
    const int64_t rows = (int64_t)samples * width_most;
    KD_CONTRACT(samples >= 1 && width_most >= 1, "%d recordings, %d rows", samples, width_most);
    *out = NULL;
    kd_whisper_session *s = calloc(1, sizeof *s);
    if (!s) return kd_fail_memory(sizeof *s, "decoding with Whisper");
    s->model = model;
    s->samples = s->samples_most = samples;
    s->most = width_most;
    int status = kd_tape_create(&s->tape, 0);
    s->visible = malloc(kd_array_bytes(rows, sizeof *s->visible));
    if (!s->visible && status == KD_OK)
        status = kd_fail_memory((size_t)rows * sizeof *s->visible, "decoding with Whisper");
    if (status == KD_OK) status = take(&s->memory, 1, 1, spec->audio_context, spec->width);
    for (int i = 0; i < 2 && status == KD_OK; i++) {
        status = take(&s->cross[i], spec->text_layers, samples, spec->audio_context, spec->width);
        if (status == KD_OK)
            status = take(&s->own[i], spec->text_layers, rows, spec->text_context, spec->width);
    }
    if (status == KD_OK)
        status = kd_few_rows_create(&s->few, model->params, "decoder.", KD_PRODUCTS_EXACT);
    if (status == KD_OK) status = take(&s->spare, 1, rows, spec->text_context, spec->width);
    if (status < 0) {
        kd_whisper_session_free(s);
        return status;
    }
    s->tape->recording = s->tape->training = false;
    *out = s;
    return KD_OK;
}

void kd_whisper_session_free(kd_whisper_session *session) {
    if (!session) return;
    kd_tape_free(session->tape);
    free(session->visible);
    free(session->memory);
    for (int i = 0; i < 2; i++) {
        free(session->cross[i]);
        free(session->own[i]);
    }
    kd_few_rows_clear(&session->few);
    free(session->spare);
    free(session);
}

/* --- listening ---------------------------------------------------------------------------------
 */

static kd_tensor view(kd_real *value, int64_t a, int64_t b, int64_t c) {
    return (kd_tensor){.rank = 3, .shape = {a, b, c}, .size = a * b * c, .value = value};
}

/* The keys (which 0) or values (1) of one layer's cross-attention. */
static kd_tensor cross_of(const kd_whisper_session *s, int layer, int which) {
    const kd_whisper_spec *spec = &s->model->spec;
    const int64_t stride = s->samples_most * (int64_t)spec->audio_context * spec->width;
    return view(s->cross[which] + layer * stride, s->samples, s->heard, spec->width);
}

/* The keys and values that every layer makes of one recording's memory (heard, C). */
static int keep_cross(kd_whisper_session *s, int sample, const kd_real *memory) {
    const kd_whisper *m = s->model;
    const int64_t size = s->heard * m->spec.width;
    kd_tensor x = view((kd_real *)memory, 1, s->heard, m->spec.width);
    if (kd_tape_guard(s->tape)) return KD_EINTERNAL;
    for (int layer = 0; layer < m->spec.text_layers; layer++) {
        const kd_attention_layer *cross = &m->text_block[layer].cross;
        for (int which = 0; which < 2; which++) {
            kd_tape_reset(s->tape);
            const kd_tensor *y =
                kd_linear_layer_forward(which ? &cross->value : &cross->key, s->tape, &x);
            memcpy(cross_of(s, layer, which).value + sample * size, y->value,
                   (size_t)size * sizeof *y->value);
        }
    }
    kd_tape_reset(s->tape);
    return KD_OK;
}

void kd_whisper_session_hear_in(kd_whisper_session *session, kd_precision precision) {
    session->hears_in = precision;
}

static void begin(kd_whisper_session *s, int samples, int64_t heard) {
    KD_CONTRACT(samples >= 1 && samples <= s->samples_most, "%d recordings of %d", samples,
                s->samples_most);
    KD_CONTRACT(heard >= 1 && heard <= s->model->spec.audio_context, "%lld positions of %d",
                (long long)heard, s->model->spec.audio_context);
    s->samples = samples;
    s->heard = heard;
    kd_whisper_session_restart(s);
}

int kd_whisper_session_listen(kd_whisper_session *s, const kd_real *mel, int samples, int64_t T) {
    const int64_t size = T * s->model->spec.mels;
    begin(s, samples, T / 2);
    for (int i = 0; i < samples; i++) {
        s->tape->precision = s->hears_in;
        int status = kd_whisper_encode(s->model, s->tape, s->memory, mel + i * size, 1, T);
        s->tape->precision = KD_PRECISION_FLOAT32;
        if (status == KD_OK) status = keep_cross(s, i, s->memory);
        if (status < 0) return status;
    }
    return KD_OK;
}

int kd_whisper_session_listen_encoded(kd_whisper_session *s, const kd_real *memory, int samples,
                                      int64_t S) {
    begin(s, samples, S);
    for (int i = 0; i < samples; i++) {
        int status = keep_cross(s, i, memory + i * S * s->model->spec.width);
        if (status < 0) return status;
    }
    return KD_OK;
}

void kd_whisper_session_restart(kd_whisper_session *session) {
    session->width = 1;
    session->length = 0;
    session->hidden = NULL;
}

/* --- stepping ----------------------------------------------------------------------------------
 */

static kd_tensor *linear(const kd_whisper_session *s, const kd_linear_layer *layer, kd_tensor *x) {
    return kd_few_rows_linear(&s->few, s->tape, layer, x);
}

/* x + W2·GELU(W1·norm(x)) */
static kd_tensor *mlp(const kd_whisper_session *s, const kd_whisper_block *b, kd_tensor *x) {
    kd_tensor *h = kd_norm_layer_forward(&b->mlp_norm, s->tape, x);
    h = kd_gelu(s->tape, linear(s, &b->up, h));
    return kd_add(s->tape, x, linear(s, &b->down, h), KD_ACT_NONE);
}

/* One layer's own keys or values: (rows, text_context, C), of which `length` positions are used. */
static kd_real *own_of(const kd_whisper_session *s, int layer, int which) {
    const kd_whisper_spec *spec = &s->model->spec;
    return s->own[which] +
           (int64_t)layer * s->samples_most * s->most * spec->text_context * spec->width;
}

static void append(const kd_whisper_session *s, int layer, int which, const kd_tensor *new) {
    const int64_t context = s->model->spec.text_context, C = new->shape[2], n = new->shape[1];
    kd_real *to = own_of(s, layer, which);
    for (int64_t row = 0; row < new->shape[0]; row++)
        memcpy(to + (row * context + s->length) * C, new->value + row *n *C,
               (size_t)(n * C) * sizeof *to);
}

/* x (rows,n,C): causal attention to what is in the cache and to itself. */
static kd_tensor *self_attention(kd_whisper_session *s, int layer, kd_tensor *x) {
    const kd_attention_layer *a = &s->model->text_block[layer].attn;
    kd_tensor *q = linear(s, &a->query, x);
    kd_tensor *k = linear(s, &a->key, x);
    kd_tensor *v = linear(s, &a->value, x);
    append(s, layer, 0, k);
    append(s, layer, 1, v);
    if (s->length == 0)
        return linear(
            s, &a->out,
            kd_attention(s->tape, q, k, v, a->heads, (kd_attention_mask){.causal = true}));
    const int64_t rows = x->shape[0], context = s->model->spec.text_context, C = x->shape[2];
    kd_tensor keys = view(own_of(s, layer, 0), rows, context, C);
    kd_tensor values = view(own_of(s, layer, 1), rows, context, C);
    kd_tensor *y = kd_attention(s->tape, q, &keys, &values, a->heads,
                                (kd_attention_mask){.valid = s->visible});
    return linear(s, &a->out, y);
}

/* x (rows,n,C): the rows of one recording are as many queries of one sample. */
static kd_tensor *cross_attention(kd_whisper_session *s, int layer, kd_tensor *x) {
    const kd_attention_layer *a = &s->model->text_block[layer].cross;
    const int64_t C = x->shape[2], n = s->width * x->shape[1], shape[3] = {s->samples, n, C};
    kd_tensor keys = cross_of(s, layer, 0), values = cross_of(s, layer, 1);
    kd_tensor *q = linear(s, &a->query, x);
    q = kd_reshape(s->tape, q, 3, shape);
    kd_tensor *y = kd_attention(s->tape, q, &keys, &values, a->heads, (kd_attention_mask){0});
    y = linear(s, &a->out, y);
    return kd_reshape(s->tape, y, 3, x->shape);
}

int kd_whisper_session_step(kd_whisper_session *s, const int32_t *id, int64_t n) {
    const kd_whisper *m = s->model;
    const int64_t rows = (int64_t)s->samples * s->width;
    KD_CONTRACT(n == 1 || s->length == 0, "%lld tokens at once behind %lld", (long long)n,
                (long long)s->length);
    kd_tape_reset(s->tape);
    s->hidden = NULL;
    if (kd_tape_guard(s->tape)) return KD_EINTERNAL;
    for (int64_t row = 0; row < rows; row++) s->visible[row] = (int32_t)(s->length + 1);
    kd_tensor *x = kd_whisper_embed(m, s->tape, id, rows, n, s->length);
    for (int layer = 0; layer < m->spec.text_layers; layer++) {
        const kd_whisper_block *b = &m->text_block[layer];
        kd_tensor *h = kd_norm_layer_forward(&b->attn_norm, s->tape, x);
        x = kd_add(s->tape, x, self_attention(s, layer, h), KD_ACT_NONE);
        h = kd_norm_layer_forward(&b->cross_norm, s->tape, x);
        x = kd_add(s->tape, x, cross_attention(s, layer, h), KD_ACT_NONE);
        x = mlp(s, b, x);
    }
    s->hidden = kd_norm_layer_forward(&m->text_norm, s->tape, x);
    s->length += n;
    return KD_OK;
}

int kd_whisper_session_logits(kd_whisper_session *s, kd_real *out, int64_t at) {
    KD_CONTRACT(s->hidden && at >= 0 && at < s->hidden->shape[1], "logits of position %lld",
                (long long)at);
    const int64_t rows = s->hidden->shape[0], n = s->hidden->shape[1], C = s->hidden->shape[2];
    if (kd_tape_guard(s->tape)) return KD_EINTERNAL;
    kd_few_rows_product(&s->few, s->tape, s->model->tokens.table, rows, s->hidden->value + at * C,
                        n * C, out);
    return KD_OK;
}

void kd_whisper_session_select(kd_whisper_session *s, int width, const int *from) {
    const int64_t rows = (int64_t)s->samples * width, C = s->model->spec.width;
    const int64_t stride = s->model->spec.text_context * C;
    const size_t used = (size_t)(s->length * C) * sizeof *s->spare;
    KD_CONTRACT(width >= 1 && width <= s->most, "%d rows of %d", width, s->most);
    bool moved = false;
    for (int64_t row = 0; row < rows; row++) moved = moved || from[row] != row;
    for (int layer = 0; moved && layer < s->model->spec.text_layers; layer++)
        for (int which = 0; which < 2; which++) {
            kd_real *own = own_of(s, layer, which);
            for (int64_t row = 0; row < rows; row++)
                memcpy(s->spare + row * stride, own + from[row] * stride, used);
            for (int64_t row = 0; row < rows; row++)
                memcpy(own + row * stride, s->spare + row * stride, used);
        }
    s->width = width;
    s->hidden = NULL;
}

int64_t kd_whisper_session_length(const kd_whisper_session *session) {
    return session->length;
}
