/* Decoders as GGUF, the reading half; llama_file.h has the layout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "files/gguf_params.h"
#include "files/gguf_values.h"
#include "files/llama_file.h"
#include "files/llama_gguf.h"
#include "files/llama_names.h"
#include "files/text_tokenizer_gguf.h"

const struct kd_llama_gguf_size kd_llama_gguf_size[KD_LLAMA_GGUF_SIZES] = {
    {"context_length", offsetof(kd_llama_spec, context)},
    {"embedding_length", offsetof(kd_llama_spec, width)},
    {"block_count", offsetof(kd_llama_spec, layers)},
    {"feed_forward_length", offsetof(kd_llama_spec, hidden)},
    {"attention.head_count", offsetof(kd_llama_spec, heads)},
};

char *kd_llama_gguf_key(char out[KD_LLAMA_GGUF_KEY_MAX], const char *architecture,
                        const char *key) {
    snprintf(out, KD_LLAMA_GGUF_KEY_MAX, "%s.%s", architecture, key);
    return out;
}

/* A file that is being read. */
typedef struct {
    const kd_gguf *gguf;
    const char *name, *architecture;
    char key[KD_LLAMA_GGUF_KEY_MAX]; /* the last that was asked for */
} source;

static const char *key_of(source *s, const char *key) {
    return kd_llama_gguf_key(s->key, s->architecture, key);
}

static int size_or(int *out, source *s, const char *key, int fallback) {
    return kd_gguf_size_or(out, s->gguf, key_of(s, key), fallback, s->name);
}

static int number_or(double *out, source *s, const char *key, double fallback) {
    return kd_gguf_number_or(out, s->gguf, key_of(s, key), fallback, s->name);
}

/* --- sizes -------------------------------------------------------------------------------------
 */

static bool family_of(kd_llama_family *out, const kd_gguf *g) {
    for (int i = KD_LLAMA_PLAIN; i <= KD_LLAMA_QWEN3; i++) {
        *out = (kd_llama_family)i;
        if (kd_gguf_says(g, "general.architecture", kd_llama_family_name(*out))) return true;
    }
    return false;
}

bool kd_gguf_is_llama(const kd_gguf *gguf) {
    kd_llama_family family;
    return family_of(&family, gguf);
}

static int read_sizes(kd_llama_spec *spec, source *s) {
    int status = KD_OK, turned;
    for (int i = 0; i < KD_LLAMA_GGUF_SIZES && status == KD_OK; i++) {
        int size;
        status = kd_gguf_size(&size, s->gguf, key_of(s, kd_llama_gguf_size[i].key), s->name);
        memcpy((char *)spec + kd_llama_gguf_size[i].place, &size, sizeof size);
    }
    if (status == KD_OK && (spec->heads < 1 || spec->width < 1))
        return kd_fail(KD_EDATA, "%s: %d heads of %d channels", s->name, spec->heads, spec->width);
    if (status == KD_OK)
        status = size_or(&spec->key_heads, s, "attention.head_count_kv", spec->heads);
    if (status == KD_OK)
        status = size_or(&spec->head_width, s, "attention.key_length", spec->width / spec->heads);
    if (status == KD_OK) status = size_or(&turned, s, "rope.dimension_count", spec->head_width);
    if (status == KD_OK && turned != spec->head_width)
        return kd_fail(KD_EDATA, "%s: %s is %d; all %d channels of a head are turned here", s->name,
                       s->key, turned, spec->head_width);
    if (status == KD_OK) status = size_or(&turned, s, "attention.value_length", spec->head_width);
    if (status == KD_OK && turned != spec->head_width)
        return kd_fail(KD_EDATA, "%s: %s is %d; values are as wide as keys here, %d", s->name,
                       s->key, turned, spec->head_width);
    return status == KD_OK ? kd_gguf_number(&spec->epsilon, s->gguf,
                                            key_of(s, "attention.layer_norm_rms_epsilon"), s->name)
                           : status;
}

/* The vocabulary is as large as the embedding. */
static int read_vocabulary(kd_llama_spec *spec, const source *s) {
    const kd_gguf_tensor *table = kd_gguf_find_tensor(s->gguf, "token_embd.weight");
    if (!table || table->rank != 2 || table->ne[1] > INT32_MAX)
        return kd_fail(KD_EDATA, "%s: has no tensor token_embd.weight of two axes", s->name);
    spec->vocabulary = (int)table->ne[1];
    spec->tied = !kd_gguf_find_tensor(s->gguf, "output.weight");
    return KD_OK;
}

/* --- rotary positions --------------------------------------------------------------------------
 */

static int read_divisors(kd_rotary_spec *out, const source *s, int pairs) {
    const kd_gguf_tensor *t = kd_gguf_find_tensor(s->gguf, KD_LLAMA_GGUF_DIVISORS);
    if (!t) return KD_OK;
    if (t->type != KD_GGUF_TENSOR_F32 || t->count != (uint64_t)pairs || pairs > KD_ROTARY_PAIRS_MAX)
        return kd_fail(KD_EDATA, "%s: tensor %s should be %d numbers of f32", s->name,
                       KD_LLAMA_GGUF_DIVISORS, pairs);
    if (out->kind != KD_ROTARY_PLAIN)
        return kd_fail(KD_EDATA, "%s: has %s, and rotary positions scaled in another way, too",
                       s->name, KD_LLAMA_GGUF_DIVISORS);
    memcpy(out->divisor, t->data, (size_t)pairs * sizeof *out->divisor);
    out->kind = KD_ROTARY_DIVIDED;
    return KD_OK;
}

static int read_yarn(kd_rotary_spec *out, source *s) {
    double attention;
    int status = number_or(&out->fast, s, "rope.scaling.yarn_beta_fast", 32);
    if (status == KD_OK) status = number_or(&out->slow, s, "rope.scaling.yarn_beta_slow", 1);
    if (status == KD_OK) status = number_or(&attention, s, "rope.scaling.attn_factor", 1);
    if (status == KD_OK && attention != 1) /* times what is usual, which 0 stands for */
        out->attention = attention * (out->factor > 1 ? 0.1 * log(out->factor) + 1 : 1);
    out->whole_pairs = true;
    return status;
}

static int read_rotary(kd_llama_spec *spec, source *s) {
    kd_rotary_spec *out = &spec->rotary;
    char key[KD_LLAMA_GGUF_KEY_MAX];
    int original;
    int status = number_or(&out->base, s, "rope.freq_base", 10000);
    if (status == KD_OK) status = number_or(&out->factor, s, "rope.scaling.factor", 1);
    if (status == KD_OK)
        status = size_or(&original, s, "rope.scaling.original_context_length", spec->context);
    if (status < 0) return status;
    out->original = original;
    kd_llama_gguf_key(key, s->architecture, "rope.scaling.type");
    if (kd_gguf_says(s->gguf, key, "linear"))
        out->kind = KD_ROTARY_LINEAR;
    else if (kd_gguf_says(s->gguf, key, "yarn"))
        out->kind = KD_ROTARY_YARN;
    else if (kd_gguf_find_key(s->gguf, key) && !kd_gguf_says(s->gguf, key, "none"))
        return kd_fail(KD_EDATA, "%s: %s should be none, linear or yarn", s->name, key);
    if (out->kind == KD_ROTARY_YARN) status = read_yarn(out, s);
    return status == KD_OK ? read_divisors(out, s, spec->head_width / 2) : status;
}

/* --- the file ----------------------------------------------------------------------------------
 */

static int read_ends(kd_llama_ends *ends, const source *s, int V) {
    static const char *const stop[] = {"tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id"};
    int id, status = kd_gguf_size_or(&id, s->gguf, "tokenizer.ggml.bos_token_id", -1, s->name);
    *ends = (kd_llama_ends){.bos = id < V ? id : -1};
    for (int i = 0; i < 2 && status == KD_OK; i++) {
        status = kd_gguf_size_or(&id, s->gguf, stop[i], -1, s->name);
        if (status < 0 || id < 0 || id >= V) continue;
        if (ends->stop_count == 0 || ends->stop[0] != id) ends->stop[ends->stop_count++] = id;
    }
    return status;
}

static int read_tokenizer(kd_llama_file *file, const source *s) {
    if (!kd_gguf_find_key(s->gguf, "tokenizer.ggml.model")) return KD_OK;
    const int status = kd_text_tokenizer_read_gguf(&file->own_tokenizer, s->gguf, s->name);
    file->tokenizer = file->own_tokenizer;
    return status == KD_OK ? kd_llama_file_need_tokenizer(file, s->name) : status;
}

static int read_weights(kd_llama_file *file, const source *s, kd_llama_family family,
                        kd_llama_training training) {
    const kd_params *params = file->model->params;
    const uint64_t others = kd_gguf_find_tensor(s->gguf, KD_LLAMA_GGUF_DIVISORS) != NULL;
    kd_stored *list = calloc((size_t)params->count, sizeof *list);
    int status =
        list ? kd_gguf_list_params(list, s->gguf, params, kd_llama_ggml(family), others, s->name)
             : kd_fail_memory((size_t)params->count * sizeof *list, s->name);
    if (status == KD_OK) status = kd_llama_file_load(file, list, training, s->name);
    free(list);
    return status;
}

static int read_file(kd_llama_file *file, const kd_gguf *g, const char *name,
                     kd_llama_training training) {
    kd_llama_family family;
    if (!family_of(&family, g))
        return kd_fail(KD_EDATA, "%s: general.architecture is none of llama, qwen2 and qwen3",
                       name);
    source s = {.gguf = g, .name = name, .architecture = kd_llama_family_name(family)};
    kd_llama_spec spec = {.attention_bias = family == KD_LLAMA_QWEN2,
                          .head_norms = family == KD_LLAMA_QWEN3};
    int status = kd_gguf_checksum_place(g) ? kd_gguf_verify(g, name) : KD_OK;
    if (status == KD_OK) status = read_sizes(&spec, &s);
    if (status == KD_OK) status = read_vocabulary(&spec, &s);
    if (status == KD_OK) status = read_rotary(&spec, &s);
    if (status == KD_OK) status = kd_llama_spec_check(&spec, name);
    if (status == KD_OK) status = read_ends(&file->ends, &s, spec.vocabulary);
    if (status == KD_OK) status = kd_llama_create(&file->model, &spec, training);
    if (status == KD_OK) status = read_tokenizer(file, &s);
    return status == KD_OK ? read_weights(file, &s, family, training) : status;
}

int kd_llama_gguf_decode(kd_llama_file **out, const void *bytes, size_t length, const char *name,
                         kd_llama_training training) {
    kd_gguf *gguf = NULL;
    *out = NULL;
    kd_llama_file *file = calloc(1, sizeof *file);
    if (!file) return kd_fail_memory(sizeof *file, name);
    int status = kd_gguf_parse(&gguf, bytes, length, name);
    if (status == KD_OK) status = read_file(file, gguf, name, training);
    kd_gguf_free(gguf);
    if (status < 0) {
        kd_llama_file_free(file);
        return status;
    }
    *out = file;
    return KD_OK;
}

int kd_llama_gguf_read(kd_llama_file **out, const char *path, kd_llama_training training) {
    kd_file_map map;
    *out = NULL;
    int status = kd_file_map_open(&map, path);
    if (status < 0) return status;
    status = kd_llama_gguf_decode(out, map.bytes, map.length, path, training);
    if (status == KD_OK && training == KD_LLAMA_ONLY_READ)
        (*out)->map = map;
    else
        kd_file_map_close(&map);
    return status;
}
