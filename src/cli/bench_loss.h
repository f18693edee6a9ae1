#ifndef KD_CLI_BENCH_LOSS_H
#define KD_CLI_BENCH_LOSS_H

/* Times the distillation loss over a vocabulary, forward and backward, with its logits in panels
 * and with all of them in memory, and prints one line. `peak`: operations per second of a float32
 * product. *flop and *seconds are those of the loss with its logits in panels. */
int kd_bench_vocabulary_loss(double peak, double *flop, double *seconds);

#endif
