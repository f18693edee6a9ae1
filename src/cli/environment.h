#ifndef KD_CLI_ENVIRONMENT_H
#define KD_CLI_ENVIRONMENT_H

/* KD_EUSAGE where the environment asks for what cannot be: a level of instructions that is not
 * there (DISTILL_ISA), threads beyond counting (OMP_NUM_THREADS), stacks too small for a product's
 * blocks (OMP_STACKSIZE, ulimit -s). Called before the first parallel region, which would crash. */
int kd_environment_check(void);

#endif
