/* Files that another machine wrote: over a network a new name may take its time to show up. */
#ifndef KD_BASE_LATE_FILE_H
#define KD_BASE_LATE_FILE_H

enum { KD_FILE_LATE = 90 }; /* seconds */

/* Waits until a file that another rank has written is seen here. After two seconds it is said, on
 * any rank; after `seconds`, KD_EIO with the host. Any other fault is an error at once. */
int kd_file_await(const char *path, double seconds);

#endif
