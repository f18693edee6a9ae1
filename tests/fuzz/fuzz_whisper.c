#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quant/whisper_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t length, size_t room);

static const char CHECKSUM[] = "distill.checksum";

/* A whole tiny file, a `.bin` or GGUF, is what mutation starts from; the fuzzer alone would never
 * get past the tokens. Width 4, one layer each, f32 or int8. In a GGUF the name of the checksum is
 * changed, or every mutation would end at it. */
static size_t make_file(uint8_t *out, size_t room, bool gguf) {
    enum { V = 256 + 1510 };
    static char text[256];
    kd_token_bytes token[256];
    kd_whisper_file file = {.bins = 1};
    const kd_whisper_spec spec = {.mels = 1,
                                  .width = 4,
                                  .vocabulary = V,
                                  .audio_context = 1,
                                  .audio_layers = 1,
                                  .audio_heads = 1,
                                  .text_context = 1,
                                  .text_layers = 1,
                                  .text_heads = 2};
    float filter = 1;
    size_t length = 0;
    char path[] = "/tmp/fuzz-whisper-XXXXXX";
    for (int i = 0; i < 256; i++) {
        text[i] = (char)i;
        token[i] = (kd_token_bytes){&text[i], 1};
    }
    file.filters = &filter;
    if (kd_tokenizer_create(&file.tokenizer, token, 256, V, "fuzz") < 0) abort();
    if (kd_whisper_create(&file.model, &spec, KD_WHISPER_TRAIN_NOTHING) < 0) abort();
    if (kd_whisper_layout(file.model, 1) < 0) abort();
    const int fd = mkstemp(path);
    const int status = gguf ? kd_whisper_gguf_write(path, &file, &kd_format_int8)
                            : kd_whisper_bin_write(path, &file, &kd_format_f32);
    if (fd < 0 || status < 0) abort();
    FILE *from = fopen(path, "rb");
    if (from) length = fread(out, 1, room, from);
    if (from) fclose(from);
    close(fd);
    unlink(path);
    kd_whisper_free(file.model);
    kd_tokenizer_free(file.tokenizer);
    uint8_t *name = memmem(out, length, CHECKSUM, sizeof CHECKSUM - 1);
    if (name) *name = 'x';
    return length;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed) {
    static uint8_t whole[2][1 << 17];
    static size_t whole_length[2];
    const int which = seed / 16 % 2;
    if (whole_length[which] == 0)
        whole_length[which] = make_file(whole[which], sizeof *whole, which == 1);
    if (seed % 16 == 0 && whole_length[which] <= room) {
        memcpy(bytes, whole[which], whole_length[which]);
        length = whole_length[which];
    }
    return LLVMFuzzerMutate(bytes, length, room);
}

/* What the checks let through must be a whole model. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_whisper_file *file;
    const bool gguf = length > 4 && memcmp(bytes, "GGUF", 4) == 0;
    if ((gguf ? kd_whisper_gguf_decode : kd_whisper_bin_decode)(&file, bytes, length, "input",
                                                                KD_WHISPER_TRAIN_NOTHING) < 0)
        return 0;
    double sum = 0;
    for (int i = 0; i < file->model->params->count; i++) {
        const kd_tensor *t = &file->model->params->list[i]->tensor;
        for (int64_t k = 0; k < t->size; k++) sum += (double)t->value[k];
    }
    kd_whisper_file_free(file);
    return sum == 12345.678;
}
