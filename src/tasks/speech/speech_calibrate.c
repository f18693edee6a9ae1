#include "tasks/speech/speech_calibrate.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/ops.h"
#include "base/error.h"
#include "base/log.h"
#include "base/order.h"
#include "base/rng.h"
#include "base/size.h"
#include "distill/budget.h"
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

/* Memory, and the windows in the order in which they are taken. */
static int begin(hearing *h) {
    const kd_whisper_spec *spec = &h->model->spec;
    const size_t values = (size_t)spec->audio_context * (size_t)spec->width;
    h->order = malloc(kd_array_bytes(h->windows->count, sizeof *h->order));
    h->mel = malloc(kd_array_bytes(h->windows->features.values, sizeof *h->mel));
    h->memory = malloc(values * sizeof *h->memory);
    if (!h->order || !h->mel || !h->memory)
        return kd_fail_memory(values * sizeof *h->memory, "calibration windows");
    kd_rng rng = kd_rng_init(SHUFFLE_SEED, 1);
    kd_rng_permutation(&rng, h->order, h->windows->count);
    return kd_tape_create(&h->tape, 0);
}

static void end(hearing *h) {
    kd_tape_free(h->tape);
    free(h->order);
    free(h->mel);
    free(h->memory);
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
    int status = KD_OK;
    if (samples > h->windows->count) samples = h->windows->count;
    h->tape->recording = h->tape->training = false;
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
    int status = begin(&h);
    if (status == KD_OK) do {
            kd_quantized_watch(q, h.tape);
            status = hear_all(&h, samples);
            kd_quantized_unwatch(h.tape);
            if (status == KD_OK) status = kd_quantized_calibrated(q);
        } while (status == KD_CALIBRATE_AGAIN);
    end(&h);
    return status;
}

/* What is foretold behind the prompt of a window. */
static int foretell(kd_tensor **out, const kd_whisper *model, kd_tape *tape,
                    const kd_windows *windows, int64_t place) {
    const kd_window *w = &windows->item[place];
    const kd_features *f = &windows->features;
    kd_tensor *mel = kd_tape_input(tape, 3, (const int64_t[]){1, f->frames, f->mels});
    const int status = kd_windows_mel(windows, place, mel->value);
    if (status < 0) return status;
    kd_tensor *heard = kd_whisper_encoder(model, tape, mel);
    kd_tensor *x = kd_whisper_decoder(model, tape, w->token, 1, w->length - 1, heard);
    x = kd_slice(tape, x, 1, w->first_target, w->length - 1, 1);
    *out = kd_whisper_logits(model, tape, x);
    return KD_OK;
}

static int answer(kd_tensor **out, void *context, kd_tape *tape, int64_t i) {
    const hearing *h = context;
    return foretell(out, h->model, tape, h->windows, h->order[i]);
}

int kd_speech_budget(kd_budget **out, const kd_budget_spec *spec, const kd_quantizable *quantizable,
                     const kd_whisper *model, const kd_windows *windows, const char *name) {
    hearing h = {.model = model, .windows = windows};
    int status = begin(&h);
    const kd_answers answers = {.params = model->params,
                                .samples = kd_smaller(spec->samples, windows->count),
                                .answer = answer,
                                .context = &h};
    *out = NULL;
    if (status == KD_OK) status = kd_budget_make(out, spec, quantizable, &answers, name);
    end(&h);
    return status;
}

/* --- beside another model ---------------------------------------------------------------------
 */

static int hear_by(kd_tensor **z, const kd_whisper *model, kd_tape *tape, const kd_windows *windows,
                   int64_t i) {
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tape_reset(tape);
    return foretell(z, model, tape, windows, i);
}

static int compare(kd_fidelity *f, const kd_whisper *model, const kd_whisper *like, kd_tape *tape,
                   const kd_windows *windows, int64_t i) {
    const int64_t V = model->spec.vocabulary;
    kd_tensor *z;
    int status = hear_by(&z, like, tape, windows, i);
    const int64_t rows = status == KD_OK ? z->size / V : 0;
    float *p = malloc(kd_array_bytes(rows * V + 1, sizeof *p));
    if (!p) status = kd_fail_memory((size_t)(rows * V) * sizeof *p, "a window's answers");
#pragma omp parallel for schedule(static) if (status == KD_OK)
    for (int64_t row = 0; row < (status == KD_OK ? rows : 0); row++)
        kd_fidelity_log_softmax(p + row * V, z->value + row * V, V);
    if (status == KD_OK) status = hear_by(&z, model, tape, windows, i);
    if (status == KD_OK) status = kd_fidelity_add(f, p, z->value, rows, V);
    free(p);
    return status;
}

int kd_speech_fidelity(kd_fidelity *f, const kd_whisper *model, const kd_whisper *like,
                       const kd_windows *windows, int64_t most) {
    kd_tape *tape;
    int status = kd_tape_create(&tape, 0);
    if (status < 0) return status;
    tape->recording = tape->training = false;
    for (int64_t i = 0; i < windows->count && i < most && status == KD_OK; i++)
        status = compare(f, model, like, tape, windows, i);
    kd_tape_free(tape);
    return status;
}
