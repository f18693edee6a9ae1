/* Which files carry which labels: a TSV file, or a folder whose subfolders are the classes. */
#ifndef KD_DATA_MANIFEST_H
#define KD_DATA_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "data/dataset.h"

typedef struct {
    char *path;
    char label[KD_CLASS_NAME_MAX];
    int64_t line; /* in the TSV file, from 1; 0 for a folder */
} kd_manifest_entry;

typedef struct {
    kd_manifest_entry *entry; /* (count) */
    int64_t count, capacity;
} kd_manifest;

/* `path` is a folder (class folders, and in them the files with the ending of a sound file, both in the
 * order of their bytes; other files are left out, with a warning), or a text file with lines "file<TAB>label[<TAB>ignored…]", the files relative to
 * the folder it lies in. *out is freed by kd_manifest_free, on errors too. */
int kd_manifest_read(kd_manifest *out, const char *path);
void kd_manifest_free(kd_manifest *manifest);

/* The TSV text itself: `length` bytes of any content and a 0 behind them; changed while it is read.
 * A byte order mark, "\r\n" and a last line without its end are taken. */
int kd_manifest_parse(kd_manifest *out, char *text, size_t length, const char *path);

/* The different labels in *names (the caller frees) and how many: whole numbers first and by size,
 * then the rest by their bytes. More than KD_CLASSES_MAX are refused. */
int kd_manifest_labels(char (**names)[KD_CLASS_NAME_MAX], int *count, const kd_manifest *manifest,
                       const char *path);

/* Where `label` stands in names, or −1. */
int kd_manifest_find(char (*names)[KD_CLASS_NAME_MAX], int count, const char *label);

#endif
