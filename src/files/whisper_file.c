#include "files/whisper_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "data/whisper_mel.h"

static const float FILTER_ERROR = 1e-6f; /* the largest is 0.03 */

void kd_whisper_file_free(kd_whisper_file *file) {
    if (!file) return;
    kd_whisper_free(file->model);
    free(file->filters);
    kd_tokenizer_free(file->tokenizer);
    free(file->head);
    free(file->stored);
    free(file);
}

static bool is_gguf(const char *path) {
    char start[4] = {0};
    FILE *file = fopen(path, "rb");
    const size_t n = file ? fread(start, 1, sizeof start, file) : 0;
    if (file) fclose(file);
    return n == sizeof start && memcmp(start, "GGUF", sizeof start) == 0;
}

/* The filters a file brings must be those through which sound is heard here. */
static int check_filters(const kd_whisper_file *file, const char *path) {
    kd_logmel *logmel;
    const int mels = file->model->spec.mels, bins = 201;
    int status = kd_whisper_mel_create(&logmel, mels);
    if (status < 0) return kd_fail_in(status, "%s", path);
    const float *own = kd_logmel_filters(logmel);
    if (file->bins != bins)
        status = kd_fail(KD_EDATA, "%s: mel filters of %d × %d; should be %d × %d", path, mels,
                         file->bins, mels, bins);
    for (int i = 0; i < mels * bins && status == KD_OK; i++)
        if (!(fabsf(file->filters[i] - own[i]) <= FILTER_ERROR))
            status =
                kd_fail(KD_EDATA,
                        "%s: its mel filters are not Whisper's: band %d, bin %d is %g, should be "
                        "%g; this program hears through Whisper's",
                        path, i / bins, i % bins, (double)file->filters[i], (double)own[i]);
    kd_logmel_free(logmel);
    return status;
}

int kd_whisper_file_open(kd_whisper_file **out, const char *path, kd_whisper_training training) {
    struct stat info;
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    int status = (folder          ? kd_whisper_folder_read
                  : is_gguf(path) ? kd_whisper_gguf_read
                                  : kd_whisper_bin_read)(out, path, training);
    if (status < 0) return status;
    status = check_filters(*out, path);
    if (status < 0) {
        kd_whisper_file_free(*out);
        *out = NULL;
    }
    return status;
}

const kd_number_format *kd_whisper_format_of(const kd_param *param,
                                             const kd_number_format *matrices) {
    const kd_tensor *t = &param->tensor;
    const bool positions = strstr(param->name, "positional_embedding") != NULL;
    if (t->rank == 1 || positions) return &kd_format_f32;
    if (t->rank == 3) return matrices == &kd_format_f32 ? matrices : &kd_format_f16;
    return matrices;
}

kd_encoding kd_whisper_encoding_of(const kd_whisper_file *file, int param,
                                   const kd_number_format *matrices) {
    if (file->encoding) return file->encoding[param];
    const kd_param *p = file->model->params->list[param];
    return (kd_encoding){kd_encoding_format(p, kd_whisper_format_of, matrices), NULL};
}

int kd_whisper_sizes(int64_t ne[4], const kd_param *param) {
    const kd_tensor *t = &param->tensor;
    if (t->rank == 3) {
        ne[0] = t->shape[1];
        ne[1] = t->shape[2];
        ne[2] = t->shape[0];
        return 3;
    }
    const bool conv_bias = t->rank == 1 && strncmp(param->name, "encoder.conv", 12) == 0;
    ne[0] = 1;
    for (int i = 0; i < t->rank; i++) ne[i + conv_bias] = t->shape[t->rank - 1 - i];
    return t->rank + conv_bias;
}

bool kd_whisper_sizes_fit(const kd_param *param, int rank, const int64_t *ne) {
    int64_t own[4], want[4], have[4];
    const int own_rank = kd_whisper_sizes(own, param);
    int wanted = 0, had = 0;
    if (own_rank == 3) return rank == 3 && memcmp(ne, own, 3 * sizeof *ne) == 0;
    for (int i = 0; i < own_rank; i++)
        if (own[i] != 1) want[wanted++] = own[i];
    for (int i = 0; i < rank; i++)
        if (ne[i] != 1) have[had++] = ne[i];
    return wanted == had && memcmp(want, have, (size_t)had * sizeof *have) == 0;
}

int kd_whisper_add_filters(kd_whisper_file *file, int mels) {
    kd_logmel *logmel;
    int status = kd_whisper_mel_create(&logmel, mels);
    if (status < 0) return status;
    file->bins = 201;
    const size_t bytes = (size_t)(mels * file->bins) * sizeof *file->filters;
    file->filters = malloc(bytes);
    if (file->filters)
        memcpy(file->filters, kd_logmel_filters(logmel), bytes);
    else
        status = kd_fail_memory(bytes, "mel filters");
    kd_logmel_free(logmel);
    return status;
}

/* Where element (o,k,i) of a convolution lies in PyTorch's (out,in,kernel). */
static int64_t torch_place(const kd_tensor *t, int64_t at) {
    const int64_t K = t->shape[1], I = t->shape[2];
    return (at / (K * I) * I + at % I) * K + at / I % K;
}

void kd_whisper_set_values(kd_param *param, const float *values) {
    kd_tensor *t = &param->tensor;
    for (int64_t i = 0; i < t->size; i++)
        t->value[i] = (kd_real)values[t->rank == 3 ? torch_place(t, i) : i];
}

void kd_whisper_get_values(float *values, const kd_param *param) {
    const kd_tensor *t = &param->tensor;
    for (int64_t i = 0; i < t->size; i++)
        values[t->rank == 3 ? torch_place(t, i) : i] = (float)t->value[i];
}

/* OpenAI's parts of a name and Hugging Face's, in the order in which they are tried. */
void kd_whisper_foreign_name(char out[KD_WHISPER_NAME_MAX], const char *name) {
    static const char *const part[][2] = {
        {"encoder.positional_embedding", "encoder.embed_positions.weight"},
        {"decoder.positional_embedding", "decoder.embed_positions.weight"},
        {"token_embedding.", "embed_tokens."},
        {"encoder.ln_post.", "encoder.layer_norm."},
        {"decoder.ln.", "decoder.layer_norm."},
        {"blocks.", "layers."},
        {"cross_attn_ln.", "encoder_attn_layer_norm."},
        {"cross_attn.", "encoder_attn."},
        {"attn_ln.", "self_attn_layer_norm."},
        {"attn.", "self_attn."},
        {"query.", "q_proj."},
        {"key.", "k_proj."},
        {"value.", "v_proj."},
        {"out.", "out_proj."},
        {"mlp.0.", "fc1."},
        {"mlp.2.", "fc2."},
        {"mlp_ln.", "final_layer_norm."}};
    const size_t parts = sizeof part / sizeof *part;
    size_t at = (size_t)snprintf(out, KD_WHISPER_NAME_MAX, "model.");
    while (*name) {
        size_t i = 0;
        while (i < parts && strncmp(name, part[i][0], strlen(part[i][0])) != 0) i++;
        /* A part without a translation reaches to its dot. */
        const size_t taken =
            i < parts ? strlen(part[i][0]) : strcspn(name, ".") + (strchr(name, '.') != NULL);
        const char *text = i < parts ? part[i][1] : name;
        const size_t length = i < parts ? strlen(text) : taken;
        KD_CONTRACT(at + length < KD_WHISPER_NAME_MAX, "%s: name too long", name);
        memcpy(out + at, text, length);
        at += length;
        name += taken;
    }
    out[at] = '\0';
}
