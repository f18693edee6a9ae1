/* A result that is made piece by piece and kept in a folder of numbered files,
 * "<name>-00000<ending>" and so on, each whole or absent: a program that is killed loses the piece
 * it was making, and goes on with what is there. The teacher store, the labels of recordings and
 * the encoder's outputs are kept so. What stands in a file, and in it what the file was made from,
 * is its maker's business. */
#ifndef KD_BASE_SHARDS_H
#define KD_BASE_SHARDS_H

#include <stdint.h>

#include "base/file.h"

typedef struct {
    char folder[KD_PATH_MAX];
    const char *name, *ending; /* borrowed */
} kd_shards;

/* KD_EIO when the folder's name is too long; nothing is looked at. */
int kd_shards_init(kd_shards *out, const char *folder, const char *name, const char *ending);
int kd_shards_path(const kd_shards *shards, int64_t number, char out[KD_PATH_MAX]);

/* The numbers of the shards that are there, rising; none where there is no folder. The caller frees
 * *out. */
int kd_shards_list(const kd_shards *shards, int64_t **out, int64_t *count);

/* Writes a shard whole, in place of the one that may be there; makes the folder. */
int kd_shards_write(const kd_shards *shards, int64_t number, const void *bytes, size_t length);

/* That all ranks see shards that some of them wrote, those with these numbers: waits for them
 * (kd_file_await). Called by all; the smallest status. */
int kd_shards_await(const kd_shards *shards, const int64_t *number, int64_t count);

/* Removes the shards from `first` on, and what a killed program left half written. */
int kd_shards_remove_from(const kd_shards *shards, int64_t first);

#endif
