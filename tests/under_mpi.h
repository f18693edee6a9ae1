/* Tests that start themselves again as the ranks of a job. main() sets own_program, and does `work`
 * when there are arguments. */
#ifndef KD_TESTS_UNDER_MPI_H
#define KD_TESTS_UNDER_MPI_H

#include <stdio.h>
#include <stdlib.h>

static const char *own_program;

/* Skips the test where ranks cannot be started. */
static inline void need_mpi(void) {
#ifdef KD_HAVE_MPI
    if (system("command -v mpirun >/dev/null 2>&1") == 0) return;
#endif
    puts("SKIP no MPI here (libopenmpi-dev, openmpi-bin)");
    skip();
}

/* What ranks that do `work` print, on both channels; the exit code is returned. */
static inline int run_ranks(char *out, size_t capacity, int ranks, const char *work) {
    char command[7 * 4096];
    snprintf(command, sizeof command,
             "OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0 mpirun --allow-run-as-root "
             "--oversubscribe --bind-to none -np %d %s %s 2>&1",
             ranks, own_program, work);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t length = fread(out, 1, capacity - 1, pipe);
    out[length] = 0;
    int status = pclose(pipe);
    return WEXITSTATUS(status);
}

/* Takes the values of a key that is a time out of a report. */
static inline void drop_times(char *text, const char *key) {
    const size_t length = strlen(key);
    for (char *at = text; (at = strstr(at, key)); at += length)
        memmove(at + length, at + length + strcspn(at + length, ",}"),
                strlen(at + length + strcspn(at + length, ",}")) + 1);
}

#endif
