#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "data/utterances.h"
#include "distill/checkpoint.h"
#include "distill/trainer.h"
#include "files/whisper_names.h"
#include "quant/imatrix.h"
#include "tasks/speech/decode_rules.h"
#include "tasks/speech/features.h"
#include "tasks/speech/greedy.h"
#include "tasks/speech/speech_calibrate.h"

typedef struct {
    const char *list;
    kd_whisper_file *file;
    kd_utterances utterances;
    kd_features features;
    kd_greedy *greedy;
    kd_tape *tape;
    kd_input_squares *seen;
    kd_hasher *hasher; /* of what was heard and said */
    kd_real *mel;      /* (frames,mels)              */
    kd_real *memory;   /* (positions,width)          */
    int32_t *token;    /* (text context + 1)         */
    int32_t prompt[4];
    int prompt_count, longest;
    uint32_t heard;
    int64_t left_out;
} gathering;

/* The language's id, and that of transcription; −1 for models of English alone. */
static int find_language(int32_t *language, int32_t *task, const kd_tokenizer *tokenizer,
                         const char *name) {
    const kd_token_ids *ids = kd_tokenizer_ids(tokenizer);
    *language = *task = -1;
    if (!ids->multilingual) return KD_OK;
    *task = ids->transcribe;
    *language = kd_tokenizer_language(tokenizer, name);
    return *language >= 0 ? KD_OK
                          : kd_fail(KD_EUSAGE, "--language %s: the model knows no such one", name);
}

static int open_all(gathering *g, const char *model, const char *language) {
    int32_t id = -1, task = -1;
    int status = kd_utterances_read(&g->utterances, g->list);
    if (status == KD_OK) status = kd_whisper_file_open(&g->file, model, KD_WHISPER_TRAIN_NOTHING);
    if (status < 0) return status;
    const kd_whisper *m = g->file->model;
    const size_t values = (size_t)m->spec.audio_context * (size_t)m->spec.width;
    status = kd_features_init(&g->features, &m->spec);
    if (status == KD_OK) status = find_language(&id, &task, g->file->tokenizer, language);
    if (status == KD_OK) status = kd_greedy_create(&g->greedy, m, g->file->tokenizer, id, task);
    if (status == KD_OK) status = kd_tape_create(&g->tape, 0);
    if (status == KD_OK) status = kd_input_squares_create(&g->seen, m->params);
    if (status == KD_OK) status = kd_hasher_create(&g->hasher);
    if (status < 0) return status;
    g->prompt_count = kd_decode_prompt(g->prompt, g->file->tokenizer, id, task, false);
    g->mel = malloc(kd_array_bytes(g->features.values, sizeof *g->mel));
    g->memory = malloc(values * sizeof *g->memory);
    g->token = malloc((size_t)(m->spec.text_context + 1) * sizeof *g->token);
    if (g->mel && g->memory && g->token) return KD_OK;
    return kd_fail_memory(values * sizeof *g->memory, "recordings");
}

static void close_all(gathering *g) {
    kd_hasher_free(g->hasher);
    kd_input_squares_free(g->seen);
    kd_tape_free(g->tape);
    kd_greedy_free(g->greedy);
    kd_features_clear(&g->features);
    kd_whisper_file_free(g->file);
    kd_utterances_free(&g->utterances);
    free(g->mel);
    free(g->memory);
    free(g->token);
}

/* The decoder over what the model itself says. */
static int say(gathering *g) {
    const kd_whisper *m = g->file->model;
    kd_greedy_text text;
    int status = kd_greedy_listen_encoded(g->greedy, g->memory, 1, m->spec.audio_context);
    if (status == KD_OK) status = kd_greedy_run(g->greedy, &text);
    if (status < 0) return status;
    int length = 0;
    for (int i = 0; i < g->prompt_count; i++) g->token[length++] = g->prompt[i];
    for (int i = 0; i < text.count && length < m->spec.text_context; i++)
        g->token[length++] = text.token[i];
    g->token[length++] = kd_tokenizer_ids(g->file->tokenizer)->end;
    kd_hasher_add(g->hasher, g->token, (size_t)length * sizeof *g->token);
    if (length > g->longest) g->longest = length;
    g->heard++;
    return kd_speech_say(m, g->tape, g->memory, g->token, length);
}

/* What cannot be heard is named and left out. */
static int hear(gathering *g, const char *path) {
    const kd_whisper *m = g->file->model;
    char *fault = NULL;
    int64_t samples;
    int status = kd_features_files(&g->features, g->mel, &samples, &fault, &path, 1);
    if (fault) kd_log("%s", fault);
    const bool left_out = fault || samples < 0;
    free(fault);
    if (status < 0) return status;
    g->left_out += left_out;
    if (left_out) return KD_OK;
    kd_hasher_add(g->hasher, g->mel, (size_t)g->features.values * sizeof *g->mel);
    status = kd_whisper_encode(m, g->tape, g->memory, g->mel, 1, g->features.frames);
    return status < 0 ? status : say(g);
}

static int hear_all(gathering *g) {
    kd_progress progress;
    int status = KD_OK;
    g->tape->recording = g->tape->training = false;
    kd_input_squares_watch(g->seen, g->tape);
    kd_progress_begin(&progress, "imatrix", "recordings", 1, 0, g->utterances.count);
    for (int64_t i = 0; i < g->utterances.count && status == KD_OK; i++) {
        status = hear(g, g->utterances.item[i].audio);
        if (status == KD_OK && kd_train_take_stop())
            status = kd_fail(KD_EAGAIN, "stopped; nothing is written");
        if (status == KD_OK) kd_progress_show(&progress, i + 1, "");
    }
    kd_progress_end(&progress);
    if (status == KD_OK && g->left_out > 0)
        kd_log(
            "%s: %lld of %lld recordings are left out: they cannot be read, or are longer than the "
            "model hears at once",
            g->list, (long long)g->left_out, (long long)g->utterances.count);
    if (status == KD_OK && g->heard == 0)
        status = kd_fail(KD_EDATA, "%s: names no recording that can be heard", g->list);
    return status;
}

static int write_file(gathering *g, const char *out) {
    const kd_params *params = g->file->model->params;
    kd_imatrix_info info = {.dataset = g->list,
                            .chunks = g->heard,
                            .chunk_size = (uint32_t)g->longest,
                            .data = kd_hasher_value(g->hasher)};
    int status = kd_params_hash(&info.model, params);
    return status < 0 ? status : kd_imatrix_write(out, g->seen, params, &kd_whisper_ggml, &info);
}

int kd_speech_imatrix(const char *model, const char *list, const char *language, const char *out) {
    gathering g = {.list = list};
    int status = open_all(&g, model, language);
    if (status == KD_OK) status = hear_all(&g);
    if (status == KD_OK) status = write_file(&g, out);
    close_all(&g);
    return status;
}
