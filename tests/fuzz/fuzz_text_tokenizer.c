/* By the first byte: any bytes as a tokenizer.json; as a tokenizer.model of SentencePiece's; as a
 * text for small tokenizers of every kind, which must come back from its tokens where they are
 * bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/text_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const char *const NAMES[] = {
    "smollm.json", "llama3.json",   "qwen2.json", "unigram.json",
    "cased.json",  "unigram.model", "bpe.model",  "sentencepiece_bpe.json"};
enum { KINDS = sizeof NAMES / sizeof *NAMES, BYTE_LEVEL = 2 };

/* From the folder tests/golden/text_tokenizers below where the fuzzer was started. */
static kd_text_tokenizer *open_kind(int i) {
    char path[128] = "tests/golden/text_tokenizers/", *text;
    size_t length;
    kd_text_tokenizer *t;
    strcat(path, NAMES[i]);
    if (kd_file_read(&text, &length, path, 1 << 20) < 0) abort();
    const int status = strstr(path, ".model")
                           ? kd_text_tokenizer_parse_model(&t, text, length, path)
                           : kd_text_tokenizer_parse_json(&t, text, length, path);
    if (status < 0) abort();
    free(text);
    return t;
}

static void try_text(const kd_text_tokenizer *t, const char *text, size_t length, bool same) {
    int32_t *id;
    int64_t count;
    char *back;
    size_t back_length;
    if (kd_text_tokenizer_encode(&id, &count, t, text, length, !same) < 0) return;
    if (kd_text_tokenizer_decode(&back, &back_length, t, id, count, true) < 0) abort();
    if (same && (back_length != length || memcmp(back, text, length) != 0)) abort();
    free(back);
    free(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    static kd_text_tokenizer *kind[KINDS];
    if (length == 0) return 0;
    const char *rest = (const char *)bytes + 1;
    const int which = bytes[0] % (KINDS + 2) - 2;
    kd_text_tokenizer *t = NULL;
    if (which >= 0) {
        if (!kind[which]) kind[which] = open_kind(which);
        try_text(kind[which], rest, length - 1, which < BYTE_LEVEL);
        return 0;
    }
    const int status = which == -2 ? kd_text_tokenizer_parse_json(&t, rest, length - 1, "input")
                                   : kd_text_tokenizer_parse_model(&t, rest, length - 1, "input");
    if (status < 0 && (t || !kd_error()[0])) abort();
    if (t) try_text(t, "A fox, 12 \xC3\xA9\xE4\xB8\xAD <s>", 18, false);
    kd_text_tokenizer_free(t);
    return 0;
}
