/* Classifies pictures (PGM, PPM) or sounds (WAV) of a model's own size and rate with the runner
 * alone: no library but C's. From the project's top:
 *
 *     cc -O2 -Iruntime -o device docs/example/device.c runtime/distill_*.c -lm
 *     ./device student.int8.gguf boot.pgm
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distill_input.h"

enum { WAV_SECONDS = 10 };

static unsigned char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    long end = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) end = ftell(file);
    if (end > 0 && fseek(file, 0, SEEK_SET) == 0) bytes = malloc((size_t)end);
    if (bytes && fread(bytes, 1, (size_t)end, file) != (size_t)end) {
        free(bytes);
        bytes = NULL;
    }
    if (file) fclose(file);
    if (!bytes) fprintf(stderr, "%s: cannot be read\n", path);
    *length = bytes ? (size_t)end : 0;
    return bytes;
}

/* A number of a PGM's head, behind spaces and comments; 0 when there is none. */
static unsigned long head_number(const unsigned char *bytes, size_t length, size_t *at) {
    unsigned long n = 0;
    int comment = 0;
    for (; *at < length && (comment || bytes[*at] <= ' ' || bytes[*at] == '#'); ++*at)
        comment = bytes[*at] == '#' || (comment && bytes[*at] != '\n');
    for (; *at < length && bytes[*at] >= '0' && bytes[*at] <= '9' && n < 100000; ++*at)
        n = 10 * n + (unsigned long)(bytes[*at] - '0');
    return n;
}

/* The pixels of a P5 or P6 of the model's size, or NULL. */
static const unsigned char *pixels_of(const distill_run *run, const unsigned char *bytes,
                                      size_t length) {
    uint32_t size[3];
    size_t at = 2;
    unsigned long width, height, most;
    distill_run_extent(run, size);
    if (length < 3 || bytes[0] != 'P' || bytes[1] != (size[2] == 3 ? '6' : '5')) return NULL;
    width = head_number(bytes, length, &at);
    height = head_number(bytes, length, &at);
    most = head_number(bytes, length, &at);
    if (width != size[1] || height != size[0] || most != 255 || at >= length ||
        length - at - 1 != (size_t)size[0] * size[1] * size[2])
        return NULL;
    return bytes + at + 1;
}

static uint32_t word_at(const unsigned char *at, int bytes) {
    uint32_t word = 0;
    while (bytes-- > 0) word = word << 8 | at[bytes];
    return word;
}

/* The samples of a WAV with one channel of 16 bits at `rate`; NULL: it is another. */
static int16_t *samples_of(const unsigned char *bytes, size_t length, uint32_t rate,
                           uint32_t *count) {
    size_t at = 12;
    int fits = 0;
    if (length < 12 || memcmp(bytes, "RIFF", 4) != 0 || memcmp(bytes + 8, "WAVE", 4) != 0)
        return NULL;
    while (length - at >= 8) {
        const uint32_t size = word_at(bytes + at + 4, 4);
        const unsigned char *body = bytes + at + 8;
        if (size > length - at - 8) return NULL;
        if (memcmp(bytes + at, "fmt ", 4) == 0 && size >= 16)
            fits = word_at(body, 2) == 1 && word_at(body + 2, 2) == 1 &&
                   word_at(body + 4, 4) == rate && word_at(body + 14, 2) == 16;
        if (memcmp(bytes + at, "data", 4) == 0 && fits) {
            int16_t *samples = malloc(size + 2);
            if (samples) memcpy(samples, body, size / 2 * 2);
            *count = size / 2;
            return samples;
        }
        at += 8 + (size_t)size + (size & 1 && length - at - 8 > size);
    }
    return NULL;
}

/* A file into the network's input: 0, or a line for people. */
static const char *put_file(distill_run *run, const unsigned char *blob, size_t blob_bytes,
                            const unsigned char *bytes, size_t length) {
    distill_picture picture;
    distill_sound *sound;
    size_t need = 0;
    uint32_t count = 0;
    int16_t *samples;
    void *arena;
    int status;
    if (distill_picture_open(&picture, run, blob, blob_bytes) == DISTILL_RUN_OK) {
        const unsigned char *pixels = pixels_of(run, bytes, length);
        if (!pixels) return "no PGM or PPM of the model's size";
        distill_picture_put(&picture, run, pixels);
        return NULL;
    }
    status = distill_sound_arena(&need, run, blob, blob_bytes, WAV_SECONDS * 48000);
    if (status != DISTILL_RUN_OK) return distill_run_error(status);
    arena = malloc(need);
    if (!arena) return "no memory";
    status = distill_sound_open(&sound, run, blob, blob_bytes, WAV_SECONDS * 48000, arena, need);
    samples = status == DISTILL_RUN_OK
                  ? samples_of(bytes, length, distill_sound_rate(sound), &count)
                  : NULL;
    if (samples) distill_sound_put(sound, run, samples, count);
    free(arena);
    if (!samples) return "no WAV of one channel, 16 bits and the model's rate";
    free(samples);
    return NULL;
}

int main(int argc, char **argv) {
    size_t blob_bytes = 0, need = 0, length = 0;
    unsigned char *blob = argc > 2 ? read_file(argv[1], &blob_bytes) : NULL;
    distill_run *run = NULL;
    void *arena;
    int status, i, failed = 0;
    if (!blob) {
        fprintf(stderr, "usage: device MODEL FILE...\n");
        return 64;
    }
    status = distill_run_verify(blob, blob_bytes);
    if (status == DISTILL_RUN_OK) status = distill_run_arena(&need, blob, blob_bytes);
    arena = malloc(need + 8);
    if (status == DISTILL_RUN_OK && arena)
        status = distill_run_open(&run, blob, blob_bytes, arena, need);
    if (!run) {
        fprintf(stderr, "%s: %s\n", argv[1], distill_run_error(status));
        return 65;
    }
    for (i = 2; i < argc; i++) {
        unsigned char *bytes = read_file(argv[i], &length);
        const char *wrong = bytes ? put_file(run, blob, blob_bytes, bytes, length) : "";
        if (!wrong) {
            size_t n = 0;
            const char *name;
            distill_run_invoke(run);
            name = distill_run_class_name(&n, run, distill_run_best(run));
            printf("%s  %.*s\n", argv[i], (int)n, name);
        } else {
            if (bytes) fprintf(stderr, "%s: %s\n", argv[i], wrong);
            failed = 65;
        }
        free(bytes);
    }
    free(arena);
    free(blob);
    return failed;
}
