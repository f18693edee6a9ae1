#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "small_whisper.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t length, size_t room);

static const char CHECKSUM[] = "distill.checksum";

/* A whole tiny file, a `.bin` or GGUF, is what mutation starts from; the fuzzer alone would never
 * get past the tokens. Width 4, one layer each, f32 or int8. In a GGUF the name of the checksum is
 * changed, or every mutation would end at it. */
static size_t make_file(uint8_t *out, size_t room, bool gguf) {
    kd_whisper_file file;
    size_t length = 0;
    char path[] = "/tmp/fuzz-whisper-XXXXXX";
    static const int32_t list[] = {1, 2};
    small_whisper(&file, 256 + 1510, 1);
    if (kd_token_list_set(&file.model->generation.suppress, list, gguf ? 2 : 0) < 0) abort();
    file.model->generation.language = gguf ? kd_tokenizer_ids(file.tokenizer)->language : -1;
    file.model->generation.max_length = gguf ? 7 : 0;
    const int fd = mkstemp(path);
    const int status = gguf ? kd_whisper_gguf_write(path, &file, &kd_format_int8)
                            : kd_whisper_bin_write(path, &file, &kd_format_f32);
    if (fd < 0 || status < 0) abort();
    FILE *from = fopen(path, "rb");
    if (from) length = fread(out, 1, room, from);
    if (from) fclose(from);
    close(fd);
    unlink(path);
    small_whisper_free(&file);
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

/* What the checks let through must be a whole model, in memory or (every second length) in the
 * file.
 */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_whisper_file *file;
    const bool gguf = length > 4 && memcmp(bytes, "GGUF", 4) == 0;
    const kd_whisper_training training =
        length % 2 ? KD_WHISPER_ONLY_READ : KD_WHISPER_TRAIN_NOTHING;
    if ((gguf ? kd_whisper_gguf_decode : kd_whisper_bin_decode)(&file, bytes, length, "input",
                                                                training) < 0)
        return 0;
    double sum = 0;
    for (int i = 0; i < file->model->params->count; i++) {
        const kd_tensor *t = &file->model->params->list[i]->tensor;
        kd_real *values = malloc((size_t)t->size * sizeof *values);
        if (!values) abort();
        kd_tensor_read(t, values, 0, kd_rows(t));
        for (int64_t k = 0; k < t->size; k++) sum += (double)values[k];
        free(values);
    }
    kd_whisper_file_free(file);
    return sum == 12345.678;
}
