#include "tasks/language/hints.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tasks/language/student.h"

static int layers_of(const kd_layer_hint *hint, const kd_llama_spec *student) {
    return hint->layer_count > 0 ? hint->layer_count : student->layers;
}

/* The k-th pair of layers of a hint. */
static void pair_of(int *mine, int *its, const kd_layer_hint *hint, int k,
                    const kd_language_model *model, const kd_llama_spec *student,
                    const kd_llama_spec *teacher) {
    int from[KD_LANGUAGE_LAYERS_MAX];
    *mine = hint->layer_count > 0 ? hint->layer[k] : k;
    if (hint->teacher_count > 0) {
        *its = hint->teacher[k];
        return;
    }
    kd_language_sources(from, model, student->layers, teacher->layers);
    *its = from[*mine];
}

static int check_layers(const kd_layer_hint *hint, int i, const kd_llama_spec *student,
                        const kd_llama_spec *teacher) {
    for (int k = 0; k < hint->layer_count; k++)
        if (hint->layer[k] >= student->layers)
            return kd_fail(KD_ECONFIG,
                           "loss.hints[%d].layers: layer %d, but the student has 0 to %d", i,
                           hint->layer[k], student->layers - 1);
    for (int k = 0; k < hint->teacher_count; k++)
        if (hint->teacher[k] >= teacher->layers)
            return kd_fail(KD_ECONFIG,
                           "loss.hints[%d].teacher: layer %d, but the teacher has 0 to %d", i,
                           hint->teacher[k], teacher->layers - 1);
    if (hint->teacher_count == 0 && student->layers > teacher->layers)
        return kd_fail(KD_ECONFIG,
                       "loss.hints[%d]: the student has more layers than its teacher; say "
                       "\"layers\" and \"teacher\"",
                       i);
    return KD_OK;
}

int kd_language_hints_check(const kd_loss_config *loss, const kd_llama_spec *student,
                            const kd_llama_spec *teacher) {
    for (int i = 0; i < loss->layer_hint_count; i++) {
        const kd_layer_hint *hint = &loss->layer_hint[i];
        int status = check_layers(hint, i, student, teacher);
        if (status < 0) return status;
        if (hint->kind == KD_LAYERS_ATTENTION &&
            (student->heads != teacher->heads || student->key_heads != teacher->key_heads))
            return kd_fail(
                KD_ECONFIG,
                "loss.hints[%d]: %d heads over %d of the keys, the teacher's are %d over "
                "%d; attention is compared head by head",
                i, student->heads, student->key_heads, teacher->heads, teacher->key_heads);
    }
    return KD_OK;
}

/* --- what is learnt besides ---------------------------------------------------------------------
 */

static void name_projection(char out[KD_NAME_MAX], int hint) {
    snprintf(out, KD_NAME_MAX, "hint%d.projection", hint);
}

int kd_language_hints_add(kd_params *params, const kd_loss_config *loss,
                          const kd_llama_spec *student, const kd_llama_spec *teacher) {
    const int64_t shape[2] = {teacher->width, student->width};
    for (int i = 0; i < loss->layer_hint_count && student->width != teacher->width; i++) {
        char name[KD_NAME_MAX];
        if (loss->layer_hint[i].kind == KD_LAYERS_ATTENTION) continue;
        name_projection(name, i);
        if (!kd_params_add(params, name, 2, shape, KD_INIT_HE_NORMAL, shape[1], shape[0],
                           KD_PARAM_TRAINED))
            return KD_EINTERNAL;
    }
    return KD_OK;
}

bool kd_language_hints_learn(const kd_llama *student) {
    return strncmp(student->params->list[student->params->count - 1]->name, "hint", 4) == 0;
}

/* --- a batch ------------------------------------------------------------------------------------
 */

/* The teacher's states that a hint looks at: behind the layer or, of attention, in front of it. */
static int place_of(const kd_layer_hint *hint, int layer) {
    return hint->kind == KD_LAYERS_ATTENTION ? layer : layer + 1;
}

int kd_language_hints_init(kd_language_hints *out, const kd_loss_config *loss,
                           const kd_language_model *model, const kd_llama *student,
                           const kd_llama *teacher, int64_t rows) {
    const kd_llama_spec *mine = &student->spec, *its = &teacher->spec;
    const size_t size = (size_t)rows * (size_t)its->width;
    *out =
        (kd_language_hints){.loss = loss, .model = model, .student = student, .teacher = teacher};
    out->taught = calloc((size_t)its->layers + 1, sizeof *out->taught);
    out->state = calloc((size_t)mine->layers + 1, sizeof *out->state);
    if (!out->taught || !out->state) return kd_fail_memory(4096, "hints");
    for (int i = 0; i < loss->layer_hint_count; i++) {
        const kd_layer_hint *hint = &loss->layer_hint[i];
        for (int k = 0; k < layers_of(hint, mine); k++) {
            int layer, from;
            pair_of(&layer, &from, hint, k, model, mine, its);
            kd_real **taught = &out->taught[place_of(hint, from)];
            if (!*taught) *taught = malloc(size * sizeof **taught);
            if (!*taught) return kd_fail_memory(size * sizeof **taught, "the teacher's states");
        }
    }
    return KD_OK;
}

void kd_language_hints_clear(kd_language_hints *hints) {
    for (int i = 0; hints->taught && i <= hints->teacher->spec.layers; i++) free(hints->taught[i]);
    free(hints->taught);
    free(hints->state);
}

static kd_tensor *states_loss(const kd_language_hints *h, kd_tape *tape, const kd_layer_hint *hint,
                              kd_tensor *x, const kd_real *target, const uint8_t *valid,
                              kd_real weight, double normalizer) {
    char name[KD_NAME_MAX];
    const int64_t flat[2] = {kd_rows(x), kd_channels(x)};
    name_projection(name, (int)(hint - h->loss->layer_hint));
    kd_param *projection = kd_params_find(h->student->params, name);
    x = kd_reshape(tape, x, 2, flat);
    if (projection) x = kd_linear(tape, x, &projection->tensor, NULL, KD_ACT_NONE);
    return hint->kind == KD_LAYERS_MSE ? kd_hint_mse(tape, x, target, valid, weight, normalizer)
                                       : kd_hint_cosine(tape, x, target, valid, weight, normalizer);
}

static kd_tensor *attention_loss(const kd_language_hints *h, kd_tape *tape, kd_tape *scratch,
                                 int layer, int from, const int32_t *first, const uint8_t *valid,
                                 kd_real weight, double normalizer) {
    const kd_llama_spec *its = &h->teacher->spec;
    kd_tensor *q, *k, *q_taught, *k_taught, *x = h->state[layer];
    const int64_t B = x->shape[0], T = x->shape[1];
    kd_tensor taught = {.rank = 3,
                        .shape = {B, T, its->width},
                        .size = B * T * its->width,
                        .value = h->taught[from]};
    kd_tape_reset(scratch);
    kd_llama_watch(h->teacher, scratch, from, &taught, &q_taught, &k_taught);
    kd_llama_watch(h->student, tape, layer, x, &q, &k);
    const kd_attention_hint target = {q_taught->value, k_taught->value, its->heads,
                                      its->head_width};
    return kd_hint_attention(tape, q, k, &target, first, valid, weight, normalizer);
}

kd_tensor *kd_language_hints_loss(kd_language_hints *h, kd_tape *tape, kd_tape *scratch,
                                  const int32_t *first, const uint8_t *valid, double normalizer,
                                  double *sum) {
    kd_tensor *total = NULL;
    for (int i = 0; i < h->loss->layer_hint_count; i++) {
        const kd_layer_hint *hint = &h->loss->layer_hint[i];
        const int n = layers_of(hint, &h->student->spec);
        const kd_real weight = (kd_real)(hint->weight / n);
        for (int k = 0; k < n; k++) {
            int layer, from;
            pair_of(&layer, &from, hint, k, h->model, &h->student->spec, &h->teacher->spec);
            kd_tensor *loss = hint->kind == KD_LAYERS_ATTENTION
                                  ? attention_loss(h, tape, scratch, layer, from, first, valid,
                                                   weight, normalizer)
                                  : states_loss(h, tape, hint, h->state[layer + 1],
                                                h->taught[from + 1], valid, weight, normalizer);
            *sum += (double)loss->value[0] * normalizer / hint->weight;
            total = total ? kd_add(tape, total, loss, KD_ACT_NONE) : loss;
        }
    }
    return total;
}
