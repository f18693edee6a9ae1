#include "distill/gradient.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/ranks.h"

static kd_real *running(const kd_gradient *g) {
    return g->params->value + g->params->trained_size;
}

static size_t running_bytes(const kd_gradient *g) {
    return (size_t)g->params->running_size * sizeof(kd_real);
}

int kd_gradient_init(kd_gradient *out, kd_params *params, int64_t full, int64_t last) {
    *out = (kd_gradient){.params = params};
    int status = kd_reduction_create(&out->gradients, params->trained_size, full, last);
    if (status == KD_OK)
        status = kd_reduction_create(&out->states, params->running_size, full, last);
    if (status < 0) return status;
    out->before = malloc(running_bytes(out) + 1);
    return out->before ? KD_OK : kd_fail_memory(running_bytes(out), "the running state");
}

void kd_gradient_clear(kd_gradient *gradient) {
    kd_reduction_free(gradient->gradients);
    kd_reduction_free(gradient->states);
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

void kd_gradient_leave(kd_gradient *g) {
    kd_params_finish_grads(g->params);
    kd_reduction_add(g->gradients, g->params->grad);
    kd_reduction_add(g->states, running(g));
}

void kd_gradient_finish(kd_gradient *g) {
    kd_reduction_finish(g->gradients, g->params->grad);
    kd_reduction_finish(g->states, running(g));
    if (g->n == 1) return;
    kd_real *state = running(g);
    const kd_real part = 1 / (kd_real)g->n;
    for (int64_t i = 0; i < g->params->running_size; i++) state[i] *= part;
}
