#include "tasks/speech/speech_calibrate.h"

#include <stdlib.h>

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

/* The decoder and the output matrix over all tokens that a window's decoder reads. */
static int say(hearing *h, const kd_window *w) {
    const kd_whisper_spec *spec = &h->model->spec;
    const int64_t shape[3] = {1, spec->audio_context, spec->width};
    if (kd_tape_guard(h->tape)) return KD_EINTERNAL;
    kd_tape_reset(h->tape);
    kd_tensor *memory = kd_tape_input(h->tape, 3, shape);
    for (int64_t k = 0; k < memory->size; k++) memory->value[k] = h->memory[k];
    kd_tensor *x = kd_whisper_decoder(h->model, h->tape, w->token, 1, w->length - 1, memory);
    kd_whisper_logits(h->model, h->tape, x);
    return KD_OK;
}

static int hear(hearing *h, int64_t i) {
    int status = kd_windows_mel(h->windows, i, h->mel);
    if (status == KD_OK)
        status =
            kd_whisper_encode(h->model, h->tape, h->memory, h->mel, 1, h->windows->features.frames);
    return status < 0 ? status : say(h, &h->windows->item[i]);
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
