/* Decoders as GGUF, the writing half; llama_file.h has the layout. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "files/gguf_params.h"
#include "files/llama_file.h"
#include "files/llama_gguf.h"
#include "files/llama_names.h"
#include "files/text_tokenizer_gguf.h"

static void add_u32(kd_gguf_writer *w, const char *architecture, const char *name, int value) {
    char key[KD_LLAMA_GGUF_KEY_MAX];
    kd_gguf_add_u32(w, kd_llama_gguf_key(key, architecture, name), (uint32_t)value);
}

static void add_f32(kd_gguf_writer *w, const char *architecture, const char *name, double value) {
    char key[KD_LLAMA_GGUF_KEY_MAX];
    kd_gguf_add_f32(w, kd_llama_gguf_key(key, architecture, name), (float)value);
}

static void add_sizes(kd_gguf_writer *w, const char *architecture, const kd_llama_spec *s) {
    for (int i = 0; i < KD_LLAMA_GGUF_SIZES; i++) {
        int size;
        memcpy(&size, (const char *)s + kd_llama_gguf_size[i].place, sizeof size);
        add_u32(w, architecture, kd_llama_gguf_size[i].key, size);
    }
    add_u32(w, architecture, "attention.head_count_kv", s->key_heads);
    add_u32(w, architecture, "attention.key_length", s->head_width);
    add_u32(w, architecture, "attention.value_length", s->head_width);
    add_u32(w, architecture, "vocab_size", s->vocabulary);
    add_f32(w, architecture, "attention.layer_norm_rms_epsilon", s->epsilon);
}

/* Llama 3's scaling goes into the tensor of divisors. */
static void add_rotary(kd_gguf_writer *w, const char *architecture, const kd_llama_spec *s) {
    const kd_rotary_spec *r = &s->rotary;
    char key[KD_LLAMA_GGUF_KEY_MAX];
    add_u32(w, architecture, "rope.dimension_count", s->head_width);
    add_f32(w, architecture, "rope.freq_base", r->base);
    if (r->kind != KD_ROTARY_LINEAR && r->kind != KD_ROTARY_YARN) return;
    kd_gguf_add_string(w, kd_llama_gguf_key(key, architecture, "rope.scaling.type"),
                       r->kind == KD_ROTARY_LINEAR ? "linear" : "yarn");
    add_f32(w, architecture, "rope.scaling.factor", r->factor);
    if (r->kind == KD_ROTARY_LINEAR) return;
    add_u32(w, architecture, "rope.scaling.original_context_length", (int)r->original);
    add_f32(w, architecture, "rope.scaling.yarn_beta_fast", r->fast);
    add_f32(w, architecture, "rope.scaling.yarn_beta_slow", r->slow);
    const double usual = r->factor > 1 ? 0.1 * log(r->factor) + 1 : 1;
    if (r->attention > 0)
        add_f32(w, architecture, "rope.scaling.attn_factor", r->attention / usual);
}

/* What other programs must do otherwise is refused. */
static int check(const char *path, const kd_llama_spec *s, const kd_number_format *format) {
    if (!kd_number_format_in_gguf(format))
        return kd_fail(KD_EUSAGE, "%s: GGUF has no %s; a Hugging Face folder holds it", path,
                       format->name);
    if (s->rotary.kind == KD_ROTARY_YARN && !s->rotary.whole_pairs)
        return kd_fail(KD_EUSAGE,
                       "%s: GGUF has no word for rotary positions with \"truncate\": false", path);
    return KD_OK;
}

static int add_keys(kd_gguf_writer *w, const kd_llama_file *file, const kd_number_format *format) {
    const kd_llama_spec *spec = &file->model->spec;
    const char *architecture = kd_llama_family_name(kd_llama_family_of(spec));
    if (format->gguf_file_type >= 0)
        kd_gguf_add_u32(w, "general.file_type", (uint32_t)format->gguf_file_type);
    if (file->origin) kd_gguf_add_string(w, "distill.origin", file->origin);
    if (file->budget) kd_gguf_add_string(w, "distill.budget", file->budget);
    add_sizes(w, architecture, spec);
    add_rotary(w, architecture, spec);
    return file->tokenizer ? kd_text_tokenizer_add_gguf(w, file->tokenizer, spec->vocabulary)
                           : KD_OK;
}

int kd_llama_gguf_write(const char *path, const kd_llama_file *file,
                        const kd_number_format *format) {
    const kd_llama *model = file->model;
    const kd_llama_family family = kd_llama_family_of(&model->spec);
    const int pairs = model->spec.head_width / 2;
    const kd_rotary_kind kind = model->spec.rotary.kind;
    double divisor[KD_ROTARY_PAIRS_MAX];
    float values[KD_ROTARY_PAIRS_MAX];
    const kd_gguf_array divisors = {
        .name = KD_LLAMA_GGUF_DIVISORS, .rank = 1, .ne = {(uint64_t)pairs}, .values = values};
    const bool divided = kind == KD_ROTARY_LLAMA3 || kind == KD_ROTARY_DIVIDED;
    const kd_encoding *how = file->encoding;
    kd_encoding *own = NULL;
    kd_gguf_writer *w = NULL;
    int status = check(path, &model->spec, format);
    if (status == KD_OK && !how)
        status = kd_encodings_nearest(&own, model->params, kd_llama_format_of, format);
    kd_rotary_divisors(divisor, &model->spec.rotary, pairs);
    for (int i = 0; i < pairs; i++) values[i] = (float)divisor[i];
    if (status == KD_OK) status = kd_gguf_writer_create(&w, kd_llama_family_name(family));
    if (status == KD_OK) status = add_keys(w, file, format);
    if (status == KD_OK)
        status = kd_gguf_write_params(path, w, divided ? &divisors : NULL, model->params,
                                      kd_llama_ggml(family), how ? how : own);
    if (status == KD_OK) kd_encoding_tell(path, model->params, how, kd_llama_format_of, format);
    kd_gguf_writer_free(w);
    free(own);
    return status;
}
