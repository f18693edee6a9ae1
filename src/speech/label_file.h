/* Shards of labels on disk, for label.c. Their format is in label.h. */
#ifndef KD_SPEECH_LABEL_FILE_H
#define KD_SPEECH_LABEL_FILE_H

#include "speech/label.h"

/* What a shard is made from. */
typedef struct {
    kd_hash utterances, teacher;
    int32_t language, task;
} kd_label_key;

/* Labels (count) whose utterances are set, whole or not at all. *hash names the file's content. */
int kd_label_file_write(const char *path, const kd_label *label, int64_t count,
                        const kd_label_key *key, kd_hash *hash);

/* The same back; all else of a label is 0 before. KD_EDATA names the line, or what the shard was
 * made from that `key` is not. */
int kd_label_file_read(const char *path, kd_label *label, int64_t count, const kd_label_key *key,
                       int vocabulary, kd_hash *hash);

/* The same from text; `name` is for messages. */
int kd_label_file_parse(const char *text, size_t length, const char *name, kd_label *label,
                        int64_t count, const kd_label_key *key, int vocabulary);

#endif
