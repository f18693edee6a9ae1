/* By the first byte: any bytes as a tiktoken file; as a Hugging Face vocabulary and merges; as a
 * text, which must come back from its tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "data/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Every byte and some pairs: enough for long chains of joins. */
static kd_tokenizer *make_tokenizer(void) {
    static char text[256 + 4096];
    static kd_token_bytes token[256 + 2048];
    kd_tokenizer *t;
    int count = 0;
    for (int b = 0; b < 256; b++, count++) {
        text[b] = (char)b;
        token[count] = (kd_token_bytes){text + b, 1};
    }
    for (int a = 0; a < 32; a++)
        for (int b = 0; b < 64; b++, count++) {
            char *pair = &text[2 * count - 256];
            pair[0] = (char)(a * 8);
            pair[1] = (char)(b * 4);
            token[count] = (kd_token_bytes){pair, 2};
        }
    if (kd_tokenizer_create(&t, token, count, count + 8 + 99 + 1501, "pairs") < 0) abort();
    return t;
}

static void try_text(const char *text, size_t length) {
    static kd_tokenizer *t;
    if (!t) t = make_tokenizer();
    int32_t *id;
    int64_t count;
    char *back;
    if (kd_tokenizer_encode(&id, &count, t, text, length) < 0) abort();
    size_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        kd_token_bytes token = kd_tokenizer_token(t, id[i]);
        if (token.length > length - at || memcmp(token.bytes, text + at, token.length)) abort();
        at += token.length;
    }
    if (at != length || kd_tokenizer_decode(&back, NULL, t, id, count, true) < 0) abort();
    free(back);
    free(id);
}

static void write_file(const char *folder, const char *name, const char *bytes, size_t length) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) abort();
}

/* The vocabulary up to the first 0 byte, behind it what the merges are. */
static int try_folder(kd_tokenizer **out, const char *bytes, size_t length) {
    static char folder[64];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/dev/shm/kd-fuzz-tokenizer-%d", (int)getpid());
        mkdir(folder, 0700);
    }
    const char *zero = memchr(bytes, 0, length);
    size_t first = zero ? (size_t)(zero - bytes) : length;
    write_file(folder, "vocab.json", bytes, first);
    write_file(folder, "merges.txt", bytes + first, length - first);
    return kd_tokenizer_read_folder(out, folder, 512 + 8 + 99 + 1501);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    if (length == 0) return 0;
    const char *rest = (const char *)bytes + 1;
    kd_tokenizer *t = NULL;
    int status = KD_OK;
    if (bytes[0] % 3 == 0)
        try_text(rest, length - 1);
    else if (bytes[0] % 3 == 1)
        status = kd_tokenizer_parse_ranks(&t, rest, length - 1, 300 + 8 + 99 + 1501, "input");
    else
        status = try_folder(&t, rest, length - 1);
    if (status < 0 && (t || !kd_error()[0])) abort();
    kd_tokenizer_free(t);
    return 0;
}
