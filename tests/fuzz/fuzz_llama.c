#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files/llama_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t length, size_t room);

static const char CHECKSUM[] = "distill.checksum";

/* A whole tiny GGUF is what mutation starts from: one layer, without tokens, whose reader has a
 * fuzzer of its own. The name of the checksum is changed, or every mutation would end at it. */
static size_t make_file(uint8_t *out, size_t room, kd_rotary_kind kind) {
    const kd_llama_spec spec = {.width = 4,
                                .layers = 1,
                                .heads = 2,
                                .key_heads = 1,
                                .head_width = 4,
                                .hidden = 4,
                                .vocabulary = 5,
                                .context = 8,
                                .attention_bias = kind == KD_ROTARY_LINEAR,
                                .tied = kind == KD_ROTARY_LLAMA3,
                                .epsilon = 1e-5,
                                .rotary = {.kind = kind,
                                           .base = 100,
                                           .factor = 2,
                                           .original = 4,
                                           .low = 1,
                                           .high = 4,
                                           .fast = 32,
                                           .slow = 1,
                                           .whole_pairs = true}};
    kd_llama_file file = {.ends = {.bos = -1}};
    char path[] = "/tmp/fuzz-llama-XXXXXX";
    size_t length = 0;
    const int fd = mkstemp(path);
    if (fd < 0 || kd_llama_create(&file.model, &spec, KD_LLAMA_FROZEN) < 0 ||
        kd_llama_layout(file.model, 1) < 0 || kd_llama_gguf_write(path, &file, &kd_format_f16) < 0)
        abort();
    FILE *from = fopen(path, "rb");
    if (from) length = fread(out, 1, room, from);
    if (from) fclose(from);
    close(fd);
    unlink(path);
    kd_llama_free(file.model);
    uint8_t *name = memmem(out, length, CHECKSUM, sizeof CHECKSUM - 1);
    if (name) *name = 'x';
    return length;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed) {
    static uint8_t whole[4][1 << 14];
    static size_t whole_length[4];
    const unsigned which = seed / 16 % 4;
    if (whole_length[which] == 0)
        whole_length[which] = make_file(whole[which], sizeof *whole, (kd_rotary_kind)which);
    if (seed % 16 == 0 && whole_length[which] <= room) {
        memcpy(bytes, whole[which], whole_length[which]);
        length = whole_length[which];
    }
    return LLVMFuzzerMutate(bytes, length, room);
}

/* What the checks let through must be a whole model, in memory or (every second length) in the
 * file, that computes. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_llama_file *file;
    kd_tape *tape;
    const int32_t id[2] = {0, 0};
    if (kd_llama_gguf_decode(&file, bytes, length, "input",
                             length % 2 ? KD_LLAMA_ONLY_READ : KD_LLAMA_FROZEN) < 0)
        return 0;
    if (kd_tape_create(&tape, 0) < 0) abort();
    tape->recording = false;
    const int64_t T = file->model->spec.context > 1 ? 2 : 1;
    kd_llama_logits(file->model, tape, kd_llama_hidden(file->model, tape, id, 1, T, NULL));
    kd_tape_free(tape);
    kd_llama_file_free(file);
    return 0;
}
