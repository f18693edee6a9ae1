#include "distill/gradient.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/segment.h"
#include "base/error.h"
#include "base/ranks.h"

static kd_real *running(const kd_gradient *g) {
    return g->params->value + g->params->trained_size;
}

static size_t running_bytes(const kd_gradient *g) {
    return (size_t)g->params->running_size * sizeof(kd_real);
}

int kd_gradient_init(kd_gradient *out, kd_params *params, const kd_deal *deal, int64_t full,
                     int64_t last) {
    *out = (kd_gradient){.params = params};
    int status = kd_reduction_create(&out->gradients, deal, full, last);
    if (status == KD_OK) status = kd_deal_init(&out->state_deal, params->running_size, NULL, 0);
    if (status == KD_OK) status = kd_reduction_create(&out->states, &out->state_deal, full, last);
    if (status < 0) return status;
    out->before = malloc(running_bytes(out) + 1);
    return out->before ? KD_OK : kd_fail_memory(running_bytes(out), "the running state");
}

void kd_gradient_clear(kd_gradient *gradient) {
    kd_reduction_free(gradient->gradients);
    kd_reduction_free(gradient->states);
    kd_deal_clear(&gradient->state_deal);
    free(gradient->before);
    *gradient = (kd_gradient){0};
}

void kd_gradient_begin(kd_gradient *g, int64_t n, int64_t *first, int64_t *end) {
    g->n = n;
    memcpy(g->before, running(g), running_bytes(g));
    kd_reduction_begin(g->gradients, n);
    kd_reduction_begin(g->states, n);
    kd_ranks_part(kd_rank(), n, first, end);
}

void kd_gradient_enter(kd_gradient *g) {
    kd_params_begin_step(g->params);
    memcpy(running(g), g->before, running_bytes(g));
}

/* How often the tape will still add to each parameter's gradient. */
static void count_uses(kd_gradient *g, const kd_tape *tape) {
    for (int i = 0; i < g->params->count; i++) g->params->list[i]->uses = 0;
    for (const kd_node *node = tape->last; node; node = node->previous) {
        for (int i = 0; i < KD_MAX_INPUTS; i++)
            if (node->in[i] && node->in[i]->param) node->in[i]->param->uses++;
        kd_param *const *inside;
        const int count = kd_segment_params(&inside, node);
        for (int i = 0; i < count; i++) inside[i]->uses++;
    }
    g->waiting = g->params->count;
}

/* Parameters lie in the slab in their order, and gradients are complete from the last one on. */
static void after_node(void *context, const kd_node *node) {
    kd_gradient *g = context;
    const int before = g->waiting;
    for (int i = 0; i < KD_MAX_INPUTS; i++)
        if (node->in[i] && node->in[i]->param) node->in[i]->param->uses--;
    int64_t from = -1;
    for (; g->waiting > 0 && g->params->list[g->waiting - 1]->uses == 0; g->waiting--) {
        kd_param *p = g->params->list[g->waiting - 1];
        if (!(p->flags & KD_PARAM_TRAINED)) continue;
        kd_param_finish_grad(p);
        from = p->offset;
    }
    if (g->waiting < before && from >= 0) kd_reduction_ready(g->gradients, g->params->grad, from);
}

void kd_gradient_backward(kd_gradient *g, kd_tape *tape, kd_tensor *loss) {
    const bool leaves = kd_rank_count() > 1 && kd_reduction_is_last(g->gradients);
    if (leaves) {
        count_uses(g, tape);
        tape->after = (kd_tape_after){after_node, g};
    }
    kd_tape_backward(tape, loss);
    tape->after = (kd_tape_after){NULL, NULL};
    kd_params_finish_grads(g->params);
    kd_reduction_add(g->gradients, g->params->grad);
    kd_reduction_add(g->states, running(g));
}

void kd_gradient_exchange(kd_gradient *g, bool failed) {
    if (failed) {
        kd_reduction_break(g->gradients);
        kd_reduction_break(g->states);
    }
    kd_reduction_finish(g->gradients, g->params->grad);
    kd_reduction_finish(g->states, running(g));
}

void kd_gradient_finish(kd_gradient *g) {
    kd_real *state = running(g);
    kd_deal_gather(&g->state_deal, state);
    if (g->n == 1) return;
    const kd_real part = 1 / (kd_real)g->n;
    for (int64_t i = 0; i < g->params->running_size; i++) state[i] *= part;
}
