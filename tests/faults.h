/* Failing on purpose: the n-th call of a kind to the C library, once or from then on.
 *
 * faults.c, included by a test program, defines malloc, write, fsync … itself, in front of the C
 * library's. A program's own definitions also serve the shared libraries it uses, so libhdf5's
 * calls are counted like ours (a linker's --wrap would reach only our own objects). Under the
 * address sanitizer, whose malloc cannot be fronted, memory does not fail.
 */
#ifndef KD_FAULTS_H
#define KD_FAULTS_H

#include <stdbool.h>

typedef enum {
    KD_FAULT_MEMORY,     /* malloc, calloc, realloc, aligned_alloc called by the program itself */
    KD_FAULT_ANY_MEMORY, /* the same called by anyone, shared libraries included                */
    KD_FAULT_ROOM,       /* the same when it would take the process n bytes above where it was  */
    KD_FAULT_OPEN,       /* open:                 EMFILE                                        */
    KD_FAULT_READ,       /* read, pread:          EIO                                           */
    KD_FAULT_WRITE,      /* write, pwrite:        ENOSPC                                        */
    KD_FAULT_SHORT,      /* write, pwrite:        writes half, and says so                      */
    KD_FAULT_SYNC,       /* fsync, fdatasync:     EIO                                           */
    KD_FAULT_CLOSE,      /* close:                EIO, after closing                            */
    KD_FAULT_RENAME,     /* rename:               ENOSPC                                        */
    KD_FAULT_UNLINK,     /* unlink:               EACCES                                        */
    KD_FAULT_MKDIR,      /* mkdir:                ENOSPC                                        */
    KD_FAULT_KINDS
} kd_fault_kind;

extern const char *const kd_fault_names[KD_FAULT_KINDS]; /* "memory", "any-memory", "room" … */

/* From now on the n-th call (n ≥ 1) of `kind` fails; with `forever` every later one too. Of
 * KD_FAULT_ROOM every call fails that does not fit, whatever `forever` says. An fsync that does not
 * fail does not wait for the disk either. */
void kd_faults_arm(kd_fault_kind kind, long n, bool forever);

/* Ends it; true when a call failed. */
bool kd_faults_disarm(void);

/* A call to do with files that is about to be made, of KD_FAULT_OPEN and what follows it. What
 * stdio does inside the C library is not seen. */
typedef struct {
    kd_fault_kind kind;
    int fd;                /* −1 where the call has a path */
    const char *path, *to; /* `to` of a rename             */
} kd_fault_call;

/* Is told of every such call in any thread, but not of those it makes itself; NULL: nobody. */
extern void (*kd_faults_watcher)(const kd_fault_call *call);

/* libhdf5 crashes when some of its own allocations fail. From now on a process that crashes in it,
 * or in what it called, exits with this code instead; any other crash stays one. */
enum { KD_FAULT_LIBRARY_CRASH = 100 };
void kd_faults_tell_crashes(void);

#endif
