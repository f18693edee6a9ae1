/* Numbers that golden/make_*.py wrote: a sequence of {char name[48], int64 size, double[size]}. */
#ifndef KD_TESTS_GOLDEN_H
#define KD_TESTS_GOLDEN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char name[48];
    int64_t size;
    const double *value;
} golden_entry;

/* Finds an entry of `file`, which is read once; a test program has only one such file. */
static inline bool golden_find(golden_entry *out, const char *file, const char *name) {
    static char *bytes;
    static long length;
    if (!bytes) {
        FILE *in = fopen(file, "rb");
        if (!in) fail_msg("%s is not there: run the tests from the top folder", file);
        fseek(in, 0, SEEK_END);
        length = ftell(in);
        rewind(in);
        bytes = malloc((size_t)length);
        assert_int_equal(fread(bytes, 1, (size_t)length, in), length);
        fclose(in);
    }
    for (long at = 0; at < length; at += 56 + 8 * (long)out->size) {
        memcpy(out, bytes + at, 56);
        out->value = (const double *)(const void *)(bytes + at + 56);
        if (strcmp(out->name, name) == 0) return true;
    }
    return false;
}

#endif
