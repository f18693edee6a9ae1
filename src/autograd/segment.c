#include "autograd/segment.h"

#include <string.h>

#include "base/error.h"

/* What is needed to run it again; its inputs are the node's. */
typedef struct {
    kd_segment_run *run;
    const void *context;
    kd_rng rng; /* where the generator stood */
    int n;
    kd_param **params; /* (param_count) */
    int param_count;
} segment;

/* Runs it on the inner tape, from leaves that stand for the inputs, and share their numbers. */
static kd_tensor *run_inside(kd_tape *inner, const segment *s, kd_tensor *leaf,
                             kd_tensor *const *in) {
    kd_tensor *at[KD_MAX_INPUTS];
    for (int i = 0; i < s->n; i++) {
        leaf[i] = *in[i];
        at[i] = &leaf[i];
    }
    return s->run(inner, s->context, at);
}

/* The parameters that are inputs of the inner tape's nodes → `out`, when it is not NULL; how many.
 */
static int list_params(const kd_tape *inner, kd_param **out) {
    int count = 0;
    for (const kd_node *node = inner->last; node; node = node->previous)
        for (int i = 0; i < KD_MAX_INPUTS; i++) {
            if (!node->in[i] || !node->in[i]->param) continue;
            if (out) out[count] = node->in[i]->param;
            count++;
        }
    return count;
}

static void name_params(segment *s, kd_tape *tape, const kd_tape *inner) {
    s->param_count = list_params(inner, NULL);
    s->params = kd_tape_alloc(tape, (size_t)(s->param_count + 1) * sizeof *s->params);
    list_params(inner, s->params);
}

/* The gradients of the inputs are written where they belong, those of parameters, too. */
static void segment_backward(kd_tape *tape, kd_node *node) {
    const segment *s = node->saved;
    kd_tape *inner = kd_tape_inner(tape);
    kd_tensor leaf[KD_MAX_INPUTS];
    kd_real beta;
    inner->rng = s->rng;
    inner->watch = (kd_tape_watch){0}; /* who watches was told of the inputs on the way there */
    for (int i = 0; i < s->n; i++) kd_tape_grad_room(tape, node->in[i]);
    kd_tensor *y = run_inside(inner, s, leaf, node->in);
    kd_real *g = kd_tape_grad_beta(inner, y, &beta);
    memcpy(g, node->out->grad, (size_t)y->size * sizeof *g);
    inner->after = tape->after;
    kd_tape_run_back(inner);
    inner->after = (kd_tape_after){0};
    for (int i = 0; i < s->n; i++) node->in[i]->grad_written = leaf[i].grad_written;
    kd_tape_reset(inner);
}

kd_tensor *kd_segment(kd_tape *tape, kd_segment_run *run, const void *context, int n,
                      kd_tensor *const *in) {
    KD_CONTRACT(n >= 1 && n <= KD_MAX_INPUTS, "a segment of %d inputs", n);
    if (!tape->recompute || !tape->recording) return run(tape, context, in);
    kd_tensor leaf[KD_MAX_INPUTS];
    kd_tape *inner = kd_tape_inner(tape);
    segment *s = kd_tape_alloc(tape, sizeof *s);
    *s = (segment){.run = run, .context = context, .rng = tape->rng, .n = n};
    const kd_tensor *y = run_inside(inner, s, leaf, in);
    kd_tensor *out = kd_tape_output(tape, y->rank, y->shape);
    memcpy(out->value, y->value, (size_t)y->size * sizeof *y->value);
    if (y->needs_grad) {
        kd_tape_push(tape, "segment", segment_backward, out, s, n, in);
        name_params(s, tape, inner);
    }
    tape->rng = inner->rng;
    kd_tape_reset(inner);
    return out;
}

int kd_segment_params(kd_param *const **out, const kd_node *node) {
    const segment *s = node->saved;
    if (node->backward != segment_backward) return 0;
    *out = s->params;
    return s->param_count;
}
