/* bert_probe MODEL IN OUT: what an encoder makes of tokens, for tests/bert_parity.py. IN: int32 B,
 * T, B·T ids, B·T labels, of which −1 is foretold by nobody; B·T·C floats, hidden states of a
 * teacher whose head is the model's own. OUT: floats, the logits, then the loss 5·4·KL + 2·CE + (1
 * − cos), then the gradient of every parameter in order of registration; their names go to the
 * terminal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "distill/loss.h"
#include "files/bert_file.h"

static void *take(const char **at, size_t bytes) {
    void *copy = malloc(bytes);
    memcpy(copy, *at, bytes);
    *at += bytes;
    return copy;
}

static void put(FILE *out, const kd_real *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) fwrite(&(float){(float)x[i]}, sizeof(float), 1, out);
}

static kd_tensor *triple_loss(const kd_bert *m, kd_tape *tape, const kd_bert_input *in,
                              int32_t *label, kd_real *target) {
    const int64_t n = in->B * in->T, C = m->spec.width;
    uint8_t *chosen = malloc((size_t)n);
    double masked = 0;
    for (int64_t i = 0; i < n; i++) {
        masked += chosen[i] = label[i] >= 0;
        if (label[i] < 0) label[i] = 0;
    }
    kd_tensor x = {.rank = 2, .shape = {n, C}, .size = n * C, .value = target};
    tape->recording = false;
    const kd_tensor *taught = kd_bert_head(m, tape, &x);
    tape->recording = true;
    const kd_soft_targets soft = {.hidden = taught->value,
                                  .output = m->embedding.table->tensor.value,
                                  .bias = m->bias->tensor.value,
                                  .width = C};
    kd_loss_spec spec = {
        .kl_weight = 5, .temperature = 2, .normalizer = (double)n, .bias = &m->bias->tensor};
    kd_tensor *states = kd_bert_states(m, tape, in), *E = &m->embedding.table->tensor;
    kd_tensor *h = kd_bert_head(m, tape, states);
    kd_tensor *loss = kd_vocab_loss(tape, h, E, NULL, NULL, &soft, spec, NULL);
    spec.kl_weight = 0;
    spec.hard_weight = 2;
    spec.normalizer = masked;
    loss =
        kd_add(tape, loss, kd_vocab_loss(tape, h, E, label, chosen, NULL, spec, NULL), KD_ACT_NONE);
    kd_tensor *cosine = kd_hint_cosine(tape, states, target, NULL, 1, (double)n);
    free(chosen);
    return kd_add(tape, loss, cosine, KD_ACT_NONE);
}

int main(int argc, char **argv) {
    kd_bert_file *file;
    kd_tape *tape;
    char *bytes;
    size_t length;
    if (argc != 4) return 64;
    if (kd_bert_file_open(&file, argv[1], false) < 0 ||
        kd_file_read(&bytes, &length, argv[2], (size_t)1 << 30) < 0 ||
        kd_tape_create(&tape, 0) < 0) {
        fprintf(stderr, "%s\n", kd_error());
        return 65;
    }
    const char *at = bytes;
    int32_t *size = take(&at, 2 * sizeof *size);
    const int64_t n = (int64_t)size[0] * size[1], C = file->model->spec.width;
    int32_t *id = take(&at, (size_t)n * sizeof *id), *label = take(&at, (size_t)n * sizeof *label);
    float *given = take(&at, (size_t)(n * C) * sizeof *given);
    kd_real *target = malloc((size_t)(n * C) * sizeof *target);
    for (int64_t i = 0; i < n * C; i++) target[i] = (kd_real)given[i];
    const kd_bert_input in = {id, NULL, NULL, size[0], size[1]};
    FILE *out = fopen(argv[3], "wb");
    if (!out) return 74;
    tape->recording = false;
    const kd_tensor *z = kd_bert_logits(file->model, tape, kd_bert_states(file->model, tape, &in));
    put(out, z->value, z->size);
    kd_tape_reset(tape);
    tape->recording = true;
    kd_params *params = file->model->params;
    kd_params_begin_step(params);
    kd_tensor *loss = triple_loss(file->model, tape, &in, label, target);
    kd_tape_backward(tape, loss);
    kd_params_finish_grads(params);
    put(out, loss->value, 1);
    for (int i = 0; i < params->count; i++) {
        kd_named named;
        kd_names_find(&named, kd_bert_hugging(&file->model->spec, false), params->list[i]);
        printf("%s %lld\n", named.name, (long long)params->list[i]->tensor.size);
        put(out, params->list[i]->tensor.grad, params->list[i]->tensor.size);
    }
    return fclose(out) == 0 ? 0 : 74;
}
