#include "autograd/param.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/size.h"

int kd_params_create(kd_params **out) {
    *out = calloc(1, sizeof **out);
    return *out ? KD_OK : kd_fail_memory(sizeof **out, "the parameter list");
}

void kd_params_free(kd_params *params) {
    if (!params) return;
    for (int i = 0; i < params->count; i++) {
        free(params->list[i]->packed);
        free(params->list[i]);
    }
    free(params->list);
    free(params->value);
    free(params->grad);
    free(params);
}

kd_param *kd_params_add(kd_params *params, const char *name, int rank, const int64_t *shape,
                        kd_init init, int64_t fan_in, int64_t fan_out, int flags) {
    KD_CONTRACT(!params->laid_out, "%s: registered after the layout", name);
    KD_CONTRACT(rank >= 1 && rank <= KD_MAX_RANK, "%s: rank %d", name, rank);
    KD_CONTRACT(strlen(name) < KD_NAME_MAX, "%s: name too long", name);
    KD_CONTRACT(!kd_params_find(params, name), "%s: registered twice", name);
    if (params->count == params->capacity) {
        int capacity = params->capacity ? 2 * params->capacity : 64;
        kd_param **list = realloc(params->list, (size_t)capacity * sizeof *list);
        if (!list) {
            kd_fail_memory((unsigned long long)capacity * sizeof *list, "the parameter list");
            return NULL;
        }
        params->list = list;
        params->capacity = capacity;
    }
    kd_param *p = calloc(1, sizeof *p);
    if (!p) {
        kd_fail_memory(sizeof *p, name);
        return NULL;
    }
    memcpy(p->name, name, strlen(name) + 1);
    p->tensor = (kd_tensor){.rank = rank, .size = 1, .param = p};
    p->tensor.needs_grad = (flags & KD_PARAM_TRAINED) != 0;
    for (int i = 0; i < rank; i++) {
        KD_CONTRACT(shape[i] >= 1, "%s: axis %d has size %lld", name, i, (long long)shape[i]);
        p->tensor.shape[i] = shape[i];
        p->tensor.size *= shape[i];
    }
    p->init = init;
    p->fan_in = fan_in;
    p->fan_out = fan_out;
    p->flags = flags;
    p->version = &params->version;
    params->list[params->count++] = p;
    return p;
}

/* Initialises one parameter from a stream named by its own name. */
static void init_values(kd_param *p, uint64_t seed) {
    kd_real *value = p->tensor.value;
    int64_t n = p->tensor.size;
    kd_rng rng = kd_rng_init(seed, kd_checksum64(p->name, strlen(p->name)));
    double fan_in = (double)(p->fan_in > 0 ? p->fan_in : 1);
    double spread = 0.02;
    switch (p->init) {
    case KD_INIT_ZERO:
    case KD_INIT_ONE:
        for (int64_t i = 0; i < n; i++) value[i] = p->init == KD_INIT_ONE;
        return;
    case KD_INIT_XAVIER_UNIFORM:
        spread = sqrt(6.0 / (fan_in + (double)p->fan_out));
        for (int64_t i = 0; i < n; i++)
            value[i] = (kd_real)(spread * (2 * kd_rng_uniform(&rng) - 1));
        return;
    case KD_INIT_HE_NORMAL:
        spread = sqrt(2.0 / fan_in);
        break;
    case KD_INIT_NORMAL_002:
        break;
    }
    for (int64_t i = 0; i < n; i++) value[i] = (kd_real)(spread * kd_rng_normal(&rng));
}

/* Offsets from `offset` on for the parameters of one kind, each on a 64-byte boundary; → the end.
 */
static int64_t assign_offsets(kd_params *params, int kind, int64_t offset) {
    const int64_t boundary = 64 / (int64_t)sizeof(kd_real);
    for (int i = 0; i < params->count; i++) {
        kd_param *p = params->list[i];
        if ((p->flags & (KD_PARAM_TRAINED | KD_PARAM_RUNNING)) != kind) continue;
        KD_CONTRACT(!p->tensor.constant || (p->by_rows && kind == KD_PARAM_STATE), "%s: a constant",
                    p->name);
        if (p->tensor.constant) continue;
        p->offset = offset;
        offset += (p->tensor.size + boundary - 1) / boundary * boundary;
    }
    return offset;
}

static kd_real *slab_create(int64_t size) {
    const size_t bytes = kd_array_bytes(size, sizeof(kd_real));
    kd_real *slab = kd_large_alloc(bytes);
    if (slab)
        memset(slab, 0, bytes);
    else
        kd_fail_memory(bytes, "a parameter slab");
    return slab;
}

int kd_params_layout(kd_params *params, uint64_t seed) {
    KD_CONTRACT(!params->laid_out, "laid out twice");
    params->trained_size = assign_offsets(params, KD_PARAM_TRAINED, 0);
    const int64_t running = assign_offsets(params, KD_PARAM_RUNNING, params->trained_size);
    params->running_size = running - params->trained_size;
    params->slab_size = assign_offsets(params, KD_PARAM_STATE, running);
    params->value = slab_create(params->slab_size);
    params->grad = slab_create(params->trained_size);
    if (!params->value || !params->grad) return KD_EINTERNAL;
    params->laid_out = true;
    for (int i = 0; i < params->count; i++) {
        kd_param *p = params->list[i];
        if (p->tensor.constant) continue;
        p->tensor.value = params->value + p->offset;
        if (p->flags & KD_PARAM_TRAINED) p->tensor.grad = params->grad + p->offset;
        init_values(p, seed);
    }
    kd_params_touch(params);
    return KD_OK;
}

kd_param *kd_params_find(const kd_params *params, const char *name) {
    for (int i = 0; i < params->count; i++)
        if (strcmp(params->list[i]->name, name) == 0) return params->list[i];
    return NULL;
}

void kd_params_begin_step(kd_params *params) {
    for (int i = 0; i < params->count; i++) params->list[i]->tensor.grad_written = false;
}

void kd_param_finish_grad(kd_param *param) {
    kd_tensor *t = &param->tensor;
    if (t->grad && !t->grad_written) memset(t->grad, 0, (size_t)t->size * sizeof *t->grad);
    t->grad_written = true;
}

void kd_params_finish_grads(kd_params *params) {
    for (int i = 0; i < params->count; i++) kd_param_finish_grad(params->list[i]);
}

void kd_params_touch(kd_params *params) {
    params->version++;
}
