#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files/bert_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t length, size_t room);

static const char CHECKSUM[] = "distill.checksum";

/* A whole tiny GGUF is what mutation starts from: one layer, without tokens, whose reader has a
 * fuzzer of its own. The name of the checksum is changed, or every mutation would end at it. */
static size_t make_file(uint8_t *out, size_t room, bool classes) {
    const kd_bert_spec spec = {.width = 4,
                               .layers = 1,
                               .heads = 2,
                               .hidden = 4,
                               .vocabulary = 5,
                               .context = 8,
                               .types = classes ? 0 : 2,
                               .epsilon = 1e-12,
                               .head = !classes,
                               .pooler = classes,
                               .classes = classes ? 2 : 0};
    kd_bert_file file = {0};
    char path[] = "/tmp/fuzz-bert-XXXXXX";
    size_t length = 0;
    const int fd = mkstemp(path);
    if (fd < 0 || kd_bert_create(&file.model, &spec, true) < 0 ||
        kd_bert_layout(file.model, 1) < 0 || kd_bert_gguf_write(path, &file, &kd_format_f16) < 0)
        abort();
    FILE *from = fopen(path, "rb");
    if (from) length = fread(out, 1, room, from);
    if (from) fclose(from);
    close(fd);
    unlink(path);
    kd_bert_free(file.model);
    uint8_t *name = memmem(out, length, CHECKSUM, sizeof CHECKSUM - 1);
    if (name) *name = 'x';
    return length;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t length, size_t room, unsigned seed) {
    static uint8_t whole[2][1 << 14];
    static size_t whole_length[2];
    const unsigned which = seed / 16 % 2;
    if (whole_length[which] == 0)
        whole_length[which] = make_file(whole[which], sizeof *whole, which != 0);
    if (seed % 16 == 0 && whole_length[which] <= room) {
        memcpy(bytes, whole[which], whole_length[which]);
        length = whole_length[which];
    }
    return LLVMFuzzerMutate(bytes, length, room);
}

/* What the checks let through must be a whole model that computes. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_bert_file *file;
    kd_tape *tape;
    static const int32_t id[2] = {0, 0};
    if (kd_bert_gguf_decode(&file, bytes, length, "input", true) < 0) return 0;
    if (kd_tape_create(&tape, 0) < 0) abort();
    tape->recording = false;
    const kd_bert_spec *spec = &file->model->spec;
    const kd_bert_input in = {id, NULL, NULL, 1, spec->context > 1 ? 2 : 1};
    kd_tensor *states = kd_bert_states(file->model, tape, &in);
    if (spec->head) kd_bert_logits(file->model, tape, states);
    if (spec->classes > 0) kd_bert_classes(file->model, tape, states, id, 1);
    kd_tape_free(tape);
    kd_bert_file_free(file);
    return 0;
}
