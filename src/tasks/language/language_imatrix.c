#include "tasks/language/language_imatrix.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/order.h"
#include "distill/checkpoint.h"
#include "distill/trainer.h"
#include "files/llama_file.h"
#include "files/llama_names.h"
#include "quant/imatrix.h"

static const size_t TEXT_LIMIT = (size_t)1 << 28;
enum { CONTEXT = 512 };

/* The whole model, the output matrix too. */
static int read_context(const kd_llama *model, kd_tape *tape, const int32_t *id, int64_t T) {
    if (kd_tape_guard(tape)) return KD_EINTERNAL;
    kd_tape_reset(tape);
    kd_llama_logits(model, tape, kd_llama_hidden(model, tape, id, 1, T, NULL));
    return KD_OK;
}

/* Contexts of the text; what is left behind the last whole one is a shorter one. */
static int read_text(const kd_llama *model, kd_tape *tape, const int32_t *id, int64_t n,
                     int64_t context, const char *what) {
    kd_progress progress;
    int status = KD_OK;
    tape->recording = tape->training = false;
    kd_progress_begin(&progress, what, "tokens", 1, 0, n);
    for (int64_t at = 0; at < n && status == KD_OK; at += context) {
        const int64_t T = kd_smaller(context, n - at);
        status = read_context(model, tape, id + at, T);
        if (status == KD_OK && kd_train_take_stop())
            status = kd_fail(KD_EAGAIN, "stopped; nothing is written");
        if (status == KD_OK) kd_progress_show(&progress, at + T, "");
    }
    kd_progress_end(&progress);
    return status;
}

static int write_file(const char *out, const kd_llama *model, const kd_input_squares *seen,
                      kd_imatrix_info *info) {
    const kd_names *names = kd_llama_ggml(kd_llama_family_of(&model->spec));
    int status = kd_params_hash(&info->model, model->params);
    return status < 0 ? status : kd_imatrix_write(out, seen, model->params, names, info);
}

static int64_t context_of(const kd_llama *model) {
    return kd_smaller(CONTEXT, model->spec.context);
}

/* The tokens of a text. */
static int read_tokens(int32_t **id, int64_t *n, const kd_llama_file *file, const char *data) {
    char *text = NULL;
    size_t length = 0;
    *id = NULL;
    int status = kd_file_read(&text, &length, data, TEXT_LIMIT);
    if (status == KD_OK) {
        status = kd_text_tokenizer_encode(id, n, file->tokenizer, text, length, true);
        if (status < 0) kd_fail_in(status, "%s", data);
    }
    free(text);
    return status == KD_OK && *n == 0 ? kd_fail(KD_EDATA, "%s: has no text", data) : status;
}

static int see(kd_input_squares **seen, const kd_llama *model, const int32_t *id, int64_t n,
               const char *what) {
    kd_tape *tape = NULL;
    int status = kd_input_squares_create(seen, model->params);
    if (status == KD_OK) status = kd_tape_create(&tape, 0);
    if (status == KD_OK) {
        kd_input_squares_watch(*seen, tape);
        status = read_text(model, tape, id, n, context_of(model), what);
    }
    kd_tape_free(tape);
    return status;
}

int kd_language_see(kd_input_squares **seen, const kd_llama_file *file, const char *data,
                    const char *what) {
    int32_t *id;
    int64_t n = 0;
    *seen = NULL;
    int status = read_tokens(&id, &n, file, data);
    if (status == KD_OK) status = see(seen, file->model, id, n, what);
    free(id);
    return status;
}

static int gather(const kd_llama_file *file, const char *data, const int32_t *id, int64_t n,
                  const char *out) {
    const int64_t context = context_of(file->model);
    kd_imatrix_info info = {.dataset = data,
                            .chunks = (uint32_t)((n + context - 1) / context),
                            .chunk_size = (uint32_t)context,
                            .data = kd_hash_bytes(id, (size_t)n * sizeof *id)};
    kd_input_squares *seen = NULL;
    int status = see(&seen, file->model, id, n, "imatrix");
    if (status == KD_OK) status = write_file(out, file->model, seen, &info);
    kd_input_squares_free(seen);
    return status;
}

int kd_language_imatrix(const char *model, const char *data, const char *language,
                        const char *out) {
    (void)language; /* a text's own */
    kd_llama_file *file = NULL;
    int32_t *id = NULL;
    int64_t n = 0;
    int status = kd_llama_file_open(&file, model, KD_LLAMA_FROZEN);
    if (status == KD_OK) status = kd_llama_file_need_tokenizer(file, model);
    if (status == KD_OK) status = read_tokens(&id, &n, file, data);
    if (status == KD_OK) status = gather(file, data, id, n, out);
    free(id);
    kd_llama_file_free(file);
    return status;
}
