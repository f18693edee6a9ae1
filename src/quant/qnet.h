/* A network made ready for integers: the same node list as layers/net.h, run with batch norm folded
 * and fake-quant nodes on weights and activations.
 *
 * Sites. Every CONV and LINEAR weight (per output channel, symmetric) and the output of every node
 * that makes new numbers (after its relu). Others, as MAX_POOL, SHORTCUT and DROPOUT, pass their
 * input's grid on; node.h says who does what. The last LINEAR's output stays at the resolution of
 * the accumulator. Biases are rounded to int32 at scale s_x·s_w[c].
 *
 * The forward with fake-quant nodes carries whole steps (fake_quant.h) and rounds as the integers
 * will (grid.h: fixed-point multiplier, gemmlowp's rounding), so that the exported blob gives the
 * same numbers, not nearly the same. The first and last layers, and what they read, keep 8 bits at
 * least.
 */
#ifndef KD_QUANT_QNET_H
#define KD_QUANT_QNET_H

#include "layers/net.h"
#include "quant/observer.h"

typedef enum { KD_QUANT_STE, KD_QUANT_LSQ } kd_quant_method;

typedef struct {
    int weight_bits, activation_bits; /* 2 … 8                                           */
    kd_quant_method method;           /* how QAT learns scales: observed (STE) or learned (LSQ) */
    bool symmetric_activations;       /* zero-point 0 in the middle of the range, else affine */
    kd_observer_kind observer;        /* of the activations                              */
    double percentile;                /* KD_OBSERVER_PERCENTILE: e.g. 99.99              */
    double ema;                       /* KD_OBSERVER_EMA: weight of the old value        */
} kd_quant_spec;

typedef struct kd_qnet kd_qnet;

/* KD_ECONFIG, with the node, when integers cannot run the net.
 * Registers the quantizer state (ranges; with LSQ the scales, as trained parameters) beside the
 * net's own parameters, so it is saved with them: call before kd_params_layout. `net` is borrowed.
 */
int kd_qnet_create(kd_qnet **out, kd_net *net, const kd_quant_spec *spec);
void kd_qnet_free(kd_qnet *qnet);

/* Whether a parameter of this name is one of those. */
bool kd_qnet_is_state(const char *name);

typedef enum {
    KD_QUANT_OBSERVE, /* folded float forward; observers watch every activation site. While the
                         tape records (QAT before fake-quant begins) only EMA ranges move  */
    KD_QUANT_TRAIN,   /* fake-quant nodes; EMA ranges go on moving, learned scales do not  */
    KD_QUANT_EVAL     /* fake-quant nodes, frozen; rounds exactly as the integers          */
} kd_quant_mode;

/* x (B,H,W,C) → (B,V). `taps` as in kd_net_forward. */
kd_tensor *kd_qnet_forward(kd_qnet *qnet, kd_tape *tape, kd_tensor *x, kd_quant_mode mode,
                           kd_tensor **taps);

/* After observing calibration samples: turns what was observed into ranges (and LSQ's first scales:
 * s0 = 2·mean|w|/√Qp for weights; the observed scale for activations). */
int kd_qnet_calibrated(kd_qnet *qnet);

#endif
