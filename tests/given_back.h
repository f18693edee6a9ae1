/* What the tests share that refuse one allocation after the other: an operation gives back all that
 * it took and says that there was no memory. Include after test_data.h. */
#ifndef KD_TESTS_GIVEN_BACK_H
#define KD_TESTS_GIVEN_BACK_H

#include <dirent.h>
#include <errno.h>

#include "asserts.h"
#include "faults.c"

#ifndef __SANITIZE_ADDRESS__
/* What faults.c leaves to the C library, which has its own way to its memory. */
char *strdup(const char *text) {
    const size_t length = strlen(text) + 1;
    char *copy = STRIKES(length) ? NULL : took(__libc_malloc(length), 0);
    return copy ? memcpy(copy, text, length) : NULL;
}
void *memalign(size_t alignment, size_t bytes) {
    return STRIKES(bytes) ? NULL : took(__libc_memalign(alignment, bytes), 0);
}
int posix_memalign(void **out, size_t alignment, size_t bytes) {
    *out = memalign(alignment, bytes);
    return *out ? 0 : ENOMEM;
}
#endif

static test_folder *folder; /* of what the operations read and write */

typedef struct {
    const char *name;
    int (*attempt)(void);
    const char *file; /* in the folder, which may be damaged; NULL: none */
    int spare; /* allocations it can do without: blocks that become smaller, weights that are packed
                */
} operation;

static inline const char *in(const char *name) {
    return test_path(folder, name);
}

static inline int open_files(void) {
    int count = 0;
    DIR *all = opendir("/proc/self/fd");
    assert_non_null(all);
    while (readdir(all)) count++;
    closedir(all);
    return count;
}

/* Once, while the n-th allocation is refused (0: none) → whether one was. */
static inline bool refuse(const operation *op, kd_fault_kind kind, long n, int *status) {
    const int files = open_files();
    kd_faults_arm(kind, n, false);
    *status = op->attempt();
    const bool refused = kd_faults_disarm();
    if (taken != 0)
        fail_msg("%s, allocation %ld: %ld bytes are kept (%s)", op->name, n, (long)taken,
                 kd_error());
    if (open_files() != files) fail_msg("%s, allocation %ld: a file stays open", op->name, n);
    return refused;
}

/* Each of the operations' allocations, refused alone. */
static inline void refuse_every_allocation(const operation *all, int count) {
    int status;
    for (int i = 0; i < count; i++) {
        const operation *op = &all[i];
        for (int warm = 0; warm < 2; warm++) /* libraries make themselves at home */
            assert_ok(op->attempt());
        refuse(op, KD_FAULT_MEMORY, 0, &status);
        assert_ok(status);
        int spared = 0;
        for (long n = 1; refuse(op, KD_FAULT_MEMORY, n, &status); n++) {
            if (status == KD_OK && spared++ < op->spare) continue;
            if (status != KD_EINTERNAL || !strstr(kd_error(), "memory"))
                fail_msg("%s, allocation %ld: %d, %s", op->name, n, status, kd_error());
            if (n > 300 && !thoroughly()) n += n / 20;
        }
        assert_ok(status);
    }
}

#endif
