/* Files: reading whole ones, and replacing them so that a reader finds the old or the new, never
 * half of one.
 *
 * Of several ranks (ranks.h) the first changes what is on the disk, and each the files of its own
 * pieces (kd_rank_writes): on the others the functions that write, remove or make folders do
 * nothing, and succeed. Once another process has taken over a folder (owner.h), nothing is replaced
 * any more: KD_EIO. */
#ifndef KD_BASE_FILE_H
#define KD_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KD_PATH_MAX = 4096 };

/* The whole file, with a 0 byte behind it; the caller frees *out. A file larger than `limit` bytes
 * is refused. Errors: KD_ENOINPUT (not there), KD_EIO, KD_EDATA (too large). */
int kd_file_read(char **out, size_t *out_length, const char *path, size_t limit);

/* `length` bytes of an open file from byte `at` on; `path` is for messages. KD_EIO also when the
 * file ends before. Several threads may read at once. */
int kd_file_read_at(int fd, const char *path, void *out, size_t length, int64_t at);

/* A file's bytes as they lie on the disk: read when they are touched, and shared by all processes
 * that map it. Replacing the file (kd_file_replace) leaves them as they are; whoever makes it
 * shorter in place ends the process. */
typedef struct {
    const unsigned char *bytes;
    size_t length;
} kd_file_map;

/* Maps a regular file, to be read only. Errors: KD_ENOINPUT, KD_EIO; *out is empty then. */
int kd_file_map_open(kd_file_map *out, const char *path);
void kd_file_map_close(kd_file_map *map); /* which is empty then; an empty one is allowed */

/* Writes `path` whole: "<path>.part", fsync, rename, fsync of the folder. On any error the
 * temporary is removed and the old file is untouched. */
int kd_file_replace(const char *path, const void *bytes, size_t length);

/* The second half of kd_file_replace, for a file some library wrote as `part`: fsync, rename to
 * `path`, fsync of the folder. On any error `part` is removed. */
int kd_file_commit(const char *part, const char *path);

/* mkdir -p, and fsync of the folders that hold the new ones. */
int kd_file_make_folders(const char *path);

bool kd_file_exists(const char *path);
bool kd_file_is_folder(const char *path);

/* What lies in a folder, by the bytes of the names, without those that begin with '.'. The caller
 * frees each entry and the list. */
struct dirent;
int kd_file_list_folder(struct dirent ***out, int *count, const char *folder);

/* Removes the files of a folder whose names match one of `patterns` ("*.h5", "log.jsonl"; a NULL
 * ends them). A folder that is not there has none. */
int kd_file_remove_matching(const char *folder, const char *const *patterns);

/* Whether `path` is a file or folder right in `folder` whose name matches one of `patterns`, by
 * whatever path it is named. */
bool kd_file_is_among(const char *path, const char *folder, const char *const *patterns);

/* Bytes that can still be written into `folder`, or where it would be made; 0 when unknown. */
double kd_file_free_bytes(const char *folder);

/* Joins with '/', refusing a path that does not fit KD_PATH_MAX. */
int kd_path_join(char out[KD_PATH_MAX], const char *folder, const char *name);

#endif
