#include "cli/plan_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cli/file_kind.h"
#include "distill_run.h"
#include "files/gguf.h"
#include "files/llama_config.h"
#include "files/llama_file.h"
#include "files/whisper_file.h"

/* Words of a window of 30 s: 2.5 a second, 4 tokens of 3. */
enum { WINDOW_TOKENS = 100 };

/* "7B" → 7e9; 0 when it is no such number. */
static double number_of(const char *text) {
    char *end;
    const double value = strtod(text, &end);
    const char *units = "kKMB", *unit = *end ? strchr(units, *end) : NULL;
    static const double scale[] = {1e3, 1e3, 1e6, 1e9};
    if (end == text || !(value > 0 && value < 1e15) || (*end && (!unit || end[1]))) return 0;
    return value * (unit ? scale[unit - units] : 1);
}

static void set_name(kd_workload *out, const char *path) {
    const char *slash = strrchr(path, '/');
    snprintf(out->name, sizeof out->name, "%.*s", KD_WORKLOAD_NAME_MAX - 1,
             slash && slash[1] ? slash + 1 : path);
}

static kd_workload workload_of_llama(const kd_llama_spec *s) {
    const double keys = (double)s->key_heads * s->head_width, all = (double)kd_llama_size(s);
    /* a token looks up one row of an embedding that is no output matrix */
    const double read = all - (s->tied ? 0 : (double)s->vocabulary * s->width);
    return (kd_workload){.unit = "token",
                         .parameters = all,
                         .cache = 2.0 * s->layers * keys,
                         .activations = (double)s->vocabulary + 4.0 * s->hidden + 8.0 * s->width,
                         .read = read,
                         .operations = 2 * read};
}

/* The encoder is gone through once for 1500 positions, the decoder once for each token. */
static kd_workload workload_of_whisper(const kd_whisper_spec *s) {
    const double d = s->width, positions = s->audio_context;
    const double encoder = 12 * d * d * s->audio_layers + 3 * d * (s->mels + d);
    const double decoder = 16 * d * d * s->text_layers + (double)s->vocabulary * d;
    const double scores = 4 * positions * positions * d * s->audio_layers;
    kd_workload m = {.unit = "window",
                     .cache = 2.0 * s->text_layers * d,
                     .activations = positions * (8 * d + positions) + s->vocabulary +
                                    2 * positions * d * s->text_layers,
                     .read = encoder + decoder * WINDOW_TOKENS,
                     .operations = 2 * encoder * positions + scores + 2 * decoder * WINDOW_TOKENS};
    snprintf(m.assumed, sizeof m.assumed, "windows of 30 s, %d tokens said in each", WINDOW_TOKENS);
    return m;
}

/* An exported student: what its runner says of it. */
static int plan_student(kd_workload *out, const char *path, const kd_gguf *gguf) {
    size_t bytes = 0;
    distill_run *run;
    int code = distill_run_arena(&bytes, gguf->bytes, gguf->length);
    void *arena = code == 0 ? calloc(bytes / 8 + 1, 8) : NULL;
    if (code == 0 && !arena) return kd_fail_memory(bytes, "an arena");
    if (code == 0) code = distill_run_open(&run, gguf->bytes, gguf->length, arena, bytes);
    if (code == 0) {
        *out = (kd_workload){.unit = "sample",
                             .activations = (double)bytes,
                             .operations = 2 * (double)distill_run_macs(run),
                             .integers = true};
        for (uint64_t i = 0; i < gguf->tensor_count; i++)
            out->parameters += (double)gguf->tensor[i].count;
        out->read = out->parameters;
    }
    free(arena);
    return code == 0 ? KD_OK
                     : kd_fail(KD_EDATA, "%s: no student of distill export (%s)", path,
                               distill_run_error(code));
}

static int plan_llama(kd_workload *out, const char *path) {
    kd_llama_file *file;
    int status = kd_llama_file_open(&file, path, KD_LLAMA_ONLY_READ);
    if (status < 0) return status;
    *out = workload_of_llama(&file->model->spec);
    kd_llama_file_free(file);
    return KD_OK;
}

static int plan_whisper(kd_workload *out, const char *path) {
    kd_whisper_file *file;
    int status = kd_whisper_file_open(&file, path, KD_WHISPER_ONLY_READ);
    if (status < 0) return status;
    *out = workload_of_whisper(&file->model->spec);
    out->parameters = 0;
    for (int i = 0; i < file->model->params->count; i++)
        out->parameters += (double)file->model->params->list[i]->tensor.size;
    kd_whisper_file_free(file);
    return KD_OK;
}

static int plan_gguf(kd_workload *out, const char *path) {
    kd_gguf *gguf;
    int status = kd_gguf_open(&gguf, path);
    if (status < 0) return status;
    const bool llama = kd_gguf_is_llama(gguf), whisper = kd_gguf_is_whisper(gguf);
    if (!llama && !whisper) status = plan_student(out, path, gguf);
    kd_gguf_free(gguf);
    if (llama) return plan_llama(out, path);
    return whisper ? plan_whisper(out, path) : status;
}

/* A Hugging Face folder of either kind: the one whose reader takes it. */
static int plan_folder(kd_workload *out, const char *path) {
    kd_llama_spec spec;
    kd_llama_ends ends;
    return kd_llama_config_read(&spec, &ends, path) == KD_OK ? plan_llama(out, path)
                                                             : plan_whisper(out, path);
}

int kd_plan_model(kd_workload *out, const char *text) {
    const double parameters = number_of(text);
    kd_file_kind kind;
    int status = KD_OK;
    if (parameters > 0) {
        *out = kd_workload_decoder(parameters);
    } else {
        status = kd_file_kind_of(&kind, text);
        if (status < 0) return status;
        if (kind == KD_FILE_GGUF)
            status = plan_gguf(out, text);
        else if (kind == KD_FILE_WHISPER_FOLDER)
            status = plan_folder(out, text);
        else if (kind == KD_FILE_WHISPER_BIN)
            status = plan_whisper(out, text);
        else
            status = kd_fail(KD_EDATA,
                             "%s: no model that can be planned for: an exported student, a Whisper "
                             "or a language model, or a number of parameters like 7B",
                             text);
    }
    if (status == KD_OK) set_name(out, text);
    return status;
}
