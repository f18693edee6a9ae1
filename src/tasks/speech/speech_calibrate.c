#include "tasks/speech/speech_calibrate.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/rng.h"
#include "distill/trainer.h"

static const uint64_t SHUFFLE_SEED = 0x63616c6962;

typedef struct {
    const kd_whisper *model;
    const kd_windows *windows;
    int64_t *order;  /* (windows)          */
    kd_real *mel;    /* (frames,mels)      */
    kd_real *memory; /* (positions,width)  */
    kd_tape *tape;
} hearing;

static int allocate(hearing *h) {
    const kd_whisper_spec *spec = &h->model->spec;
    const size_t values = (size_t)spec->audio_context * (size_t)spec->width;
    h->order = malloc((size_t)h->windows->count * sizeof *h->order);
    h->mel = malloc((size_t)h->windows->features.values * sizeof *h->mel);
    h->memory = malloc(values * sizeof *h->memory);
    if (!h->order || !h->mel || !h->memory)
        return kd_fail_memory(values * sizeof *h->memory, "calibration windows");
    return kd_tape_create(&h->tape, 0);
}

int kd_speech_say(const kd_whisper *model, kd_tape *tape, const kd_real *memory,
                  const int32_t *token, int length) {
    const int64_t shape[3] = {1, model->spec.audio_context, model->spec.width};
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tape_reset(tape);
    kd_tensor *heard = kd_tape_input(tape, 3, shape);
    memcpy(heard->value, memory, (size_t)heard->size * sizeof *memory);
    kd_tensor *x = kd_whisper_decoder(model, tape, token, 1, length - 1, heard);
    kd_whisper_logits(model, tape, x);
    return KD_OK;
}

static int hear(hearing *h, int64_t i) {
    int status = kd_windows_mel(h->windows, i, h->mel);
    if (status == KD_OK)
        status =
            kd_whisper_encode(h->model, h->tape, h->memory, h->mel, 1, h->windows->features.frames);
    const kd_window *w = &h->windows->item[i];
    return status < 0 ? status : kd_speech_say(h->model, h->tape, h->memory, w->token, w->length);
}

static int hear_all(hearing *h, int64_t samples) {
    kd_progress progress;
    kd_rng rng = kd_rng_init(SHUFFLE_SEED, 1);
    int status = KD_OK;
    if (samples > h->windows->count) samples = h->windows->count;
    h->tape->recording = h->tape->training = false;
    kd_rng_permutation(&rng, h->order, h->windows->count);
    kd_progress_begin(&progress, "calibrate", "windows", 1, 0, samples);
    for (int64_t i = 0; i < samples && status == KD_OK; i++) {
        status = hear(h, h->order[i]);
        if (status == KD_OK && kd_train_take_stop())
            status = kd_fail(KD_EAGAIN, "stopped while calibrating; run again to go on");
        if (status == KD_OK) kd_progress_show(&progress, i + 1, "");
    }
    kd_progress_end(&progress);
    return status;
}

int kd_speech_calibrate(kd_quantized *q, const kd_whisper *model, const kd_windows *windows,
                        int64_t samples) {
    hearing h = {.model = model, .windows = windows};
    int status = allocate(&h);
    if (status == KD_OK) do {
            kd_quantized_watch(q, h.tape);
            status = hear_all(&h, samples);
            kd_quantized_unwatch(h.tape);
            if (status == KD_OK) status = kd_quantized_calibrated(q);
        } while (status == KD_CALIBRATE_AGAIN);
    kd_tape_free(h.tape);
    free(h.order);
    free(h.mel);
    free(h.memory);
    return status;
}
