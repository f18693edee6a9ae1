/* A tiny Whisper model with random weights and a vocabulary of bytes, for tests. */
#ifndef KD_TESTS_WHISPER_TINY_H
#define KD_TESTS_WHISPER_TINY_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "asserts.h"
#include "base/file.h"
#include "data/logmel.h"
#include "files/ggml.h"
#include "files/whisper_file.h"
#include "files/whisper_names.h"

enum { TINY_VOCABULARY = 256 + 1608, TINY_WIDTH = 32 };

/* Encoder and decoder of different depth and heads. */
static const kd_whisper_spec TINY_SPEC = {.mels = 80,
                                          .width = TINY_WIDTH,
                                          .vocabulary = TINY_VOCABULARY,
                                          .audio_context = 50,
                                          .audio_layers = 2,
                                          .audio_heads = 2,
                                          .text_context = 32,
                                          .text_layers = 3,
                                          .text_heads = 4};

/* The 256 bytes are the ordinary tokens. */
static inline kd_tokenizer *tiny_tokenizer(int vocabulary) {
    static char bytes[256];
    kd_token_bytes token[256];
    kd_tokenizer *tokenizer;
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        token[i] = (kd_token_bytes){&bytes[i], 1};
    }
    assert_ok(kd_tokenizer_create(&tokenizer, token, 256, vocabulary, "tiny"));
    return tokenizer;
}

static inline kd_whisper *tiny_whisper_of(const kd_whisper_spec *spec,
                                          kd_whisper_training training) {
    kd_whisper *model;
    assert_ok(kd_whisper_spec_check(spec, "tiny"));
    assert_ok(kd_whisper_create(&model, spec, training));
    assert_ok(kd_whisper_layout(model, 7));
    for (int i = 0; i < model->params->count; i++) { /* no bias or norm is trivial */
        kd_tensor *t = &model->params->list[i]->tensor;
        for (int64_t k = 0; k < t->size && t->rank == 1; k++)
            t->value[k] += (kd_real)((k * 7 + i) % 11) * KD_REAL(0.02) - KD_REAL(0.1);
    }
    kd_params_touch(model->params);
    return model;
}

static inline kd_whisper *tiny_whisper(kd_whisper_training training) {
    return tiny_whisper_of(&TINY_SPEC, training);
}

/* A model with all that goes into files. The caller frees. */
static inline kd_whisper_file *tiny_whisper_file_of(const kd_whisper_spec *spec) {
    kd_logmel *logmel;
    kd_whisper_file *file = calloc(1, sizeof *file);
    assert_non_null(file);
    file->model = tiny_whisper_of(spec, KD_WHISPER_TRAIN_NOTHING);
    file->tokenizer = tiny_tokenizer(spec->vocabulary);
    assert_ok(kd_logmel_create(&logmel, 16000, 400, 160, spec->mels));
    file->bins = 201;
    const size_t bytes = (size_t)(spec->mels * file->bins) * sizeof *file->filters;
    file->filters = malloc(bytes);
    assert_non_null(file->filters);
    memcpy(file->filters, kd_logmel_filters(logmel), bytes);
    kd_logmel_free(logmel);
    return file;
}

static inline kd_whisper_file *tiny_whisper_file(void) {
    return tiny_whisper_file_of(&TINY_SPEC);
}

/* The values of a parameter as they lie in files. */
static inline void values_in_files(float *values, const kd_param *param) {
    kd_named named;
    kd_names_find(&named, &kd_whisper_ggml, param);
    kd_param_get(values, param, named.order);
}

/* Its sizes in a `.bin` or GGUF file; the rank is returned. */
static inline int sizes_in_files(int64_t ne[4], const kd_param *param) {
    kd_named named;
    kd_names_find(&named, &kd_whisper_ggml, param);
    return kd_ggml_sizes(ne, &named, &kd_format_f16);
}

static inline void tiny_mel(kd_real *mel, int64_t count) {
    for (int64_t i = 0; i < count; i++) mel[i] = (kd_real)((i * 37) % 101) / 50 - 1;
}

/* What a format may change: relative to the largest value of a block, half a step of the format and
 * the rounding of d. */
static inline double error_bound(const kd_number_format *format) {
    return format == &kd_format_f32                                   ? 0
           : format == &kd_format_f16                                 ? 1.0 / 2048
           : format == &kd_format_q8_0 || format == &kd_format_int8   ? 0.6 / 127
           : format == &kd_format_q5_0 || format == &kd_format_q5_1   ? 1.1 / 16
           : format == &kd_format_q2_K || format == &kd_format_q3_K   ? 1.1 / 3
           : format == &kd_format_mxfp4 || format == &kd_format_nvfp4 ? 1.1 / 4
           : format == &kd_format_iq4_nl                              ? 1.3 / 8
           : format == &kd_format_iq4_xs                              ? 1.3 / 8
                                                                      : 1.1 / 8;
}

/* Shape, weights (within `bound` of a tensor's largest), tokens and filters. */
static inline void assert_same_model(const kd_whisper_file *a, const kd_whisper_file *b,
                                     double bound) {
    assert_memory_equal(&a->model->spec, &b->model->spec, sizeof a->model->spec);
    assert_int_equal(a->model->params->count, b->model->params->count);
    for (int i = 0; i < a->model->params->count; i++) {
        const kd_tensor *x = &a->model->params->list[i]->tensor;
        const kd_tensor *y = &b->model->params->list[i]->tensor;
        double largest = 0;
        for (int64_t k = 0; k < x->size; k++)
            if (fabs((double)x->value[k]) > largest) largest = fabs((double)x->value[k]);
        for (int64_t k = 0; k < x->size; k++)
            if (fabs((double)(float)x->value[k] - (double)y->value[k]) > bound * largest)
                fail_msg("%s[%lld]: %g, was %g", a->model->params->list[i]->name, (long long)k,
                         (double)y->value[k], (double)x->value[k]);
    }
    kd_hash first = kd_tokenizer_hash(a->tokenizer), second = kd_tokenizer_hash(b->tokenizer);
    assert_memory_equal(&first, &second, sizeof first);
    assert_int_equal(a->bins, b->bins);
    for (int i = 0; i < a->model->spec.mels * a->bins; i++)
        assert_float_equal(a->filters[i], b->filters[i], 0);
}

/* The tiny model as the bytes of a file that `write` makes at `path`. The caller frees. */
static inline char *
tiny_whisper_bytes(int (*write)(const char *, const kd_whisper_file *, const kd_number_format *),
                   const char *path, const kd_number_format *format, size_t *length) {
    kd_whisper_file *file = tiny_whisper_file();
    char *bytes;
    assert_ok(write(path, file, format));
    assert_ok(kd_file_read(&bytes, length, path, 1 << 24));
    kd_whisper_file_free(file);
    return bytes;
}

/* That no beginning of the bytes is a model, and all of them are one. */
static inline void assert_cuts_refused(int (*decode)(kd_whisper_file **, const void *, size_t,
                                                     const char *, kd_whisper_training),
                                       const char *bytes, size_t length) {
    kd_whisper_file *back;
    for (size_t n = 0; n < length; n += n < 64 || n + 64 > length ? 1 : length / 150) {
        char *copy = malloc(n + 1); /* its own block: a byte too far is noticed */
        assert_non_null(copy);
        memcpy(copy, bytes, n);
        assert_int_equal(decode(&back, copy, n, "cut", KD_WHISPER_TRAIN_NOTHING), KD_EDATA);
        assert_null(back);
        free(copy);
    }
    assert_ok(decode(&back, bytes, length, "whole", KD_WHISPER_TRAIN_NOTHING));
    kd_whisper_file_free(back);
}

#endif
