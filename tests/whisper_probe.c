/* What a Whisper model computes, for tests/whisper_parity.py.
 *
 *     whisper_probe MODEL IN OUT
 *
 * IN: int32 B, frames, T; float mel (B,frames,mels); int32 ids (B·T), labels (B·T; −1: not valid);
 * float teacher logits (B·T,V). OUT: float encoder output, logits (B·T,V), loss, then the gradients
 * of all parameters with one, in PyTorch's layouts. Loss: 0.8·CE + τ²·KL at τ = 2. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "distill/loss.h"
#include "files/whisper_file.h"
#include "files/whisper_names.h"

static void need(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "whisper_probe: %s\n", what);
    exit(1);
}

static void *read_array(FILE *from, int64_t n) {
    void *values = malloc((size_t)n * 4);
    need(values && fread(values, 4, (size_t)n, from) == (size_t)n, "IN is too short");
    return values;
}

static void write_reals(FILE *to, const kd_real *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const float x = (float)values[i];
        need(fwrite(&x, sizeof x, 1, to) == 1, "cannot write OUT");
    }
}

static void write_gradients(FILE *to, const kd_params *params) {
    for (int i = 0; i < params->count; i++) {
        kd_param copy = *params->list[i]; /* its gradient as its value, for the layout's sake */
        if (!copy.tensor.grad) continue;
        copy.tensor.value = copy.tensor.grad;
        float *values = malloc((size_t)copy.tensor.size * sizeof *values);
        need(values, "out of memory");
        kd_named named;
        kd_names_find(&named, &kd_whisper_ggml, &copy);
        kd_param_get(values, &copy, named.order);
        need(fwrite(values, sizeof *values, (size_t)copy.tensor.size, to) ==
                 (size_t)copy.tensor.size,
             "cannot write OUT");
        free(values);
    }
}

static void probe(const kd_whisper *m, FILE *in, FILE *out) {
    int32_t *size = read_array(in, 3);
    const int64_t B = size[0], T = size[2], N = B * T, V = m->spec.vocabulary;
    const int64_t shape[3] = {B, size[1], m->spec.mels};
    kd_tape *tape;
    need(kd_tape_create(&tape, 1) == KD_OK, kd_error());
    kd_tensor *mel = kd_tape_input(tape, 3, shape);
    float *sound = read_array(in, mel->size);
    for (int64_t i = 0; i < mel->size; i++) mel->value[i] = (kd_real)sound[i];
    int32_t *ids = read_array(in, N), *labels = read_array(in, N);
    float *soft = read_array(in, N * V);
    uint8_t *valid = malloc((size_t)N);
    kd_real *teacher = malloc((size_t)(N * V) * sizeof *teacher);
    need(valid && teacher, "out of memory");
    double rows = 0;
    for (int64_t i = 0; i < N; i++) {
        valid[i] = labels[i] >= 0;
        rows += valid[i];
        if (!valid[i]) labels[i] = 0;
    }
    for (int64_t i = 0; i < N * V; i++) teacher[i] = (kd_real)soft[i];
    kd_params_begin_step(m->params);
    kd_tensor *memory = kd_whisper_encoder(m, tape, mel);
    kd_tensor *z = kd_whisper_logits(m, tape, kd_whisper_decoder(m, tape, ids, B, T, memory));
    const kd_loss_spec spec = {
        .hard_weight = KD_REAL(0.8), .kl_weight = 1, .temperature = 2, .normalizer = rows};
    const kd_soft_targets targets = {.logits = teacher};
    kd_tensor *loss = kd_distill_loss(tape, z, labels, valid, &targets, spec, NULL);
    write_reals(out, memory->value, memory->size);
    write_reals(out, z->value, z->size);
    write_reals(out, loss->value, 1);
    kd_tape_backward(tape, loss);
    kd_params_finish_grads(m->params);
    write_gradients(out, m->params);
    kd_tape_free(tape);
    free(size);
    free(sound);
    free(ids);
    free(labels);
    free(soft);
    free(valid);
    free(teacher);
}

int main(int argc, char **argv) {
    kd_whisper_file *file;
    need(argc == 4, "usage: whisper_probe MODEL IN OUT");
    need(kd_whisper_file_open(&file, argv[1], KD_WHISPER_TRAIN_ALL) == KD_OK, kd_error());
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    need(in && out, "cannot open IN or OUT");
    probe(file->model, in, out);
    need(fclose(out) == 0, "cannot write OUT");
    fclose(in);
    kd_whisper_file_free(file);
    return 0;
}
