/* A disk whose power is cut: what is left of what a program wrote, when nothing is left but what it
 * was promised.
 *
 * fsync of a file promises its bytes, fsync of a folder the names in it. disk.c notes both through
 * faults.c, which stands in front of the calls, and makes the folder that a cut would leave.
 * Include after faults.c.
 */
#ifndef KD_TESTS_DISK_H
#define KD_TESTS_DISK_H

#include <stdbool.h>

/* Two extremes; a real file system leaves something between them. */
typedef enum {
    KD_CUT_FORGETS_NAMES, /* files made and renamed in a folder since its last fsync: undone      */
    KD_CUT_KEEPS_NAMES,   /* all are there, but with the bytes of their own last fsync, and of
                             what came later nothing, half, or as many zeros                      */
    KD_CUTS
} kd_cut;

/* What lies under the folder `root` now is on the disk; from now on calls are noted. */
void kd_disk_watch(const char *root);
void kd_disk_unwatch(void);

/* The n-th call from now on that changes the disk (write, fsync, rename, unlink, mkdir) ends the
 * process with KD_DISK_CUT; `left` (not there yet) is then what is left of the root. */
enum { KD_DISK_CUT = 99 };
void kd_disk_cut_at(long n, kd_cut how, const char *left);

/* The same at once, without ending the process. */
void kd_disk_cut(kd_cut how, const char *left);

/* Broken order, in words, or "": a file renamed before its bytes were synced, a file renamed while
 * the folder of an earlier one was not, and, of what is there now, the first file or folder under
 * the root that would not survive. Files named `except` (a NULL ends them) do not count. */
const char *kd_disk_breach(const char *const *except);

#endif
