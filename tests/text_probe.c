/* A text through a tokenizer, for tests/text_parity.py.
 *
 * usage: text_probe TOKENIZER TEXT IDS BACK FOLDER     writes the ids (i32), the text they come
 * back as, and the tokenizer as tokenizer.json; prints the seconds that encoding took. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "files/text_tokenizer_gguf.h"

static int open_tokenizer(kd_text_tokenizer **out, const char *path) {
    kd_gguf *gguf;
    if (!kd_ends_with(path, ".gguf")) return kd_text_tokenizer_read(out, path);
    int status = kd_gguf_open(&gguf, path);
    if (status == KD_OK) status = kd_text_tokenizer_read_gguf(out, gguf, path);
    kd_gguf_free(gguf);
    return status;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    kd_text_tokenizer *t = NULL;
    char *text = NULL, *back = NULL;
    int32_t *id = NULL;
    int64_t count = 0;
    size_t length, back_length = 0;
    if (argc != 6) return 64;
    int status = open_tokenizer(&t, argv[1]);
    if (status == KD_OK) status = kd_file_read(&text, &length, argv[2], (size_t)1 << 28);
    const double start = now();
    if (status == KD_OK) status = kd_text_tokenizer_encode(&id, &count, t, text, length, false);
    const double end = now();
    if (status == KD_OK) status = kd_text_tokenizer_decode(&back, &back_length, t, id, count, true);
    if (status == KD_OK) status = kd_file_replace(argv[3], id, (size_t)count * sizeof *id);
    if (status == KD_OK) status = kd_file_replace(argv[4], back, back_length);
    if (status == KD_OK) status = kd_text_tokenizer_write(t, argv[5]);
    if (status == KD_OK)
        printf("%.6f\n", end - start);
    else
        fprintf(stderr, "%s\n", kd_error());
    free(id);
    free(back);
    free(text);
    kd_text_tokenizer_free(t);
    return -status;
}
