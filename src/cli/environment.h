#ifndef KD_CLI_ENVIRONMENT_H
#define KD_CLI_ENVIRONMENT_H

/* KD_EUSAGE where the environment asks for what cannot be: a level of instructions that is not
 * there (DISTILL_ISA), threads beyond counting (OMP_NUM_THREADS), stacks too small for a product's
 * blocks (OMP_STACKSIZE, ulimit -s). Called before the first parallel region, which would crash. */
int kd_environment_check(void);

/* Threads that wait for others look for a moment, then sleep. GNU's OpenMP would look for some
 * milliseconds, and beside another busy program the waiting threads take the processors from those
 * that are waited for. It reads how long from the environment when it is loaded: this starts the
 * program once more with GOMP_SPINCOUNT, which no child inherits. Where the user has set that or
 * OMP_WAIT_POLICY, or the start fails, all stays as it is. */
void kd_environment_settle(char **argv);

/* KD_EUSAGE on all ranks of a job when they compute in different ways, so that the result would
 * depend on which rank computed what: other processors, or another DISTILL_ISA. With
 * DISTILL_MIXED=allow it is a warning. Called by all ranks. */
int kd_environment_agree(void);

#endif
