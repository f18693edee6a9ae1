/* Files of which some bytes are read again and again, more of them than a process may keep open:
 * each is opened when it is read, and stays open until another one needs its place. */
#ifndef KD_BASE_OPEN_FILES_H
#define KD_BASE_OPEN_FILES_H

#include <stdint.h>

enum { KD_OPEN_FILES = 128 }; /* at most, of one such set */

typedef struct kd_open_files kd_open_files;

int kd_open_files_create(kd_open_files **out);
void kd_open_files_free(kd_open_files *files);

/* File `number` of the set, which is at `path`, open to be read and this thread's alone until it is
 * given back; other threads may read other files. KD_EIO. */
int kd_open_files_take(kd_open_files *files, int64_t number, const char *path, int *fd);
void kd_open_files_give_back(kd_open_files *files, int64_t number);

#endif
