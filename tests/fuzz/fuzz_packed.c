/* A folder whose matrices are packed, by the first byte in one of the ways that are known; by the
 * second any text as its config.json or hf_quant_config.json, or its weights with bytes changed:
 * place (2 bytes) and value, again and again. What is let through must be a whole model of finite
 * numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "files/llama_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct {
    const char *layout;
    const kd_number_format *format;
} WAYS[] = {
    {"compressed-tensors", &kd_format_f8_e4m3}, {"compressed-tensors", &kd_format_f8_e4m3_tensor},
    {"compressed-tensors", &kd_format_nvfp4},   {"compressed-tensors", &kd_format_mxfp4},
    {"compressed-tensors", &kd_format_q4_0},    {"compressed-tensors", &kd_format_int8},
    {"modelopt", &kd_format_f8_e4m3},           {"modelopt", &kd_format_nvfp4}};
enum { WAY_COUNT = sizeof WAYS / sizeof *WAYS };

static char folder[64];

static void put(const char *name, const void *bytes, size_t length) {
    char path[KD_PATH_MAX];
    if (kd_path_join(path, folder, name) < 0) abort();
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) abort();
}

static void make_folder(int way) {
    const kd_llama_spec spec = {.width = 64,
                                .layers = 1,
                                .heads = 2,
                                .key_heads = 1,
                                .head_width = 32,
                                .hidden = 64,
                                .vocabulary = 5,
                                .context = 8,
                                .tied = true,
                                .epsilon = 1e-5,
                                .rotary = {.kind = KD_ROTARY_PLAIN, .base = 100}};
    kd_llama_file file = {.ends = {.bos = -1}};
    kd_packing packing;
    snprintf(folder, sizeof folder, "/dev/shm/kd-fuzz-packed-%d", (int)getpid());
    if (kd_llama_create(&file.model, &spec, KD_LLAMA_FROZEN) < 0 ||
        kd_llama_layout(file.model, 1) < 0 ||
        kd_packing_choose(&packing, WAYS[way].layout, WAYS[way].format, false) < 0 ||
        kd_llama_folder_write_packed(folder, &file, &packing) < 0)
        abort();
    kd_llama_free(file.model);
}

static void change_weights(const uint8_t *bytes, size_t length) {
    char path[KD_PATH_MAX], *own;
    size_t size;
    if (kd_path_join(path, folder, "model.safetensors") < 0 ||
        kd_file_read(&own, &size, path, 1 << 24) < 0)
        abort();
    for (size_t i = 0; i + 3 <= length; i += 3)
        own[(size_t)(bytes[i] << 8 | bytes[i + 1]) % size] = (char)bytes[i + 2];
    put("model.safetensors", own, size);
    free(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_llama_file *file;
    if (length < 2) return 0;
    make_folder(bytes[0] % WAY_COUNT);
    if (bytes[1] % 3 == 2)
        change_weights(bytes + 2, length - 2);
    else
        put(bytes[1] % 3 ? "hf_quant_config.json" : "config.json", bytes + 2, length - 2);
    if (kd_llama_file_open(&file, folder, length % 2 ? KD_LLAMA_ONLY_READ : KD_LLAMA_FROZEN) < 0) {
        if (file || !kd_error()[0]) abort();
        return 0;
    }
    for (int i = 0; i < file->model->params->count && length % 2 == 0; i++) {
        const kd_tensor *t = &file->model->params->list[i]->tensor;
        for (int64_t k = 0; k < t->size; k++)
            if (!isfinite((double)t->value[k])) abort();
    }
    kd_llama_file_free(file);
    return 0;
}
