/* Who is at work in a folder: one process, of whatever machine that sees the folder.
 *
 * The folder's file "lock" is locked with flock, which ends with the process, and says who holds
 * it: host, process, start; its time of change is renewed every few seconds. Where flock is not
 * carried between machines, or not there at all, the record decides: an owner on another machine is
 * dead when its record has not been renewed for KD_OWNER_SILENCE seconds, which a process that
 * comes waits to see; then it takes over. An owner that finds another's record in place of its own
 * (it stood still meanwhile) changes no file any more (base/file.h).
 *
 * Of several ranks the first owns; on the others these functions do nothing, and succeed. */
#ifndef KD_BASE_OWNER_H
#define KD_BASE_OWNER_H

enum { KD_OWNER_SILENCE = 90 };

/* Keeps others out while a folder is looked at: nothing is changed in it. Where it has no such file,
 * nobody is at work, and *out is −1, as after an error: KD_EIO when another process has it, and
 * which. */
int kd_folder_own_existing(int *out, const char *folder);
/* Takes a folder until kd_folder_leave or the end of the process; *owned is −1, or what the function
 * above gave. KD_EIO also when its file cannot be written; then it is −1. */
int kd_folder_own(int *owned, const char *folder);
void kd_folder_leave(int *owned); /* −1 is allowed; it is −1 then */

/* KD_EIO once another process has taken over a folder of this one. */
int kd_folder_check_owned(void);

#endif
