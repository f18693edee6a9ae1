/* The way back of whisper_bin_read.c: the same layout, tensors in order of registration. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/ranks.h"
#include "files/ggml_records.h"
#include "files/whisper_file.h"
#include "files/whisper_names.h"
#include "files/whisper_suppressed.h"

/* The header's number for the type of the matrices: those of quantized ones have the version of
 * the block layouts (2) in front. */
static int header_type(const kd_number_format *format) {
    return format->file_type > 1 ? 2000 + format->file_type : format->file_type;
}

static void write_header(kd_ggml_sink *s, const kd_whisper_file *file,
                         const kd_number_format *format) {
    const kd_whisper_spec *spec = &file->model->spec;
    const int32_t h[] = {0x67676d6c,         spec->vocabulary,  spec->audio_context,
                         spec->width,        spec->audio_heads, spec->audio_layers,
                         spec->text_context, spec->width,       spec->text_heads,
                         spec->text_layers,  spec->mels,        header_type(format),
                         spec->mels,         file->bins};
    const kd_token_ids *ids = kd_tokenizer_ids(file->tokenizer);
    const int32_t tokens =
        ids->end + !ids->multilingual; /* OpenAI's list for English has the end */
    kd_ggml_put(s, h, sizeof h);
    kd_ggml_put(s, file->filters, (size_t)(spec->mels * file->bins) * sizeof *file->filters);
    kd_ggml_put_int(s, tokens);
    for (int32_t i = 0; i < tokens; i++) {
        const kd_token_bytes token = kd_tokenizer_token(file->tokenizer, i);
        kd_ggml_put_int(s, (int64_t)token.length);
        kd_ggml_put(s, token.bytes, token.length);
    }
}

static bool has_type(const kd_number_format *format) {
    return format->ggml_type != KD_NO_GGML_TYPE && format->file_type >= 0;
}

/* The rows of its matrices are as wide as the model, or four times so. */
bool kd_whisper_bin_fits(const kd_whisper_spec *spec, const kd_number_format *format) {
    return has_type(format) && kd_number_format_bytes(format, spec->width) > 0;
}

static int check_format(const char *path, const kd_whisper_spec *spec,
                        const kd_number_format *format) {
    if (!has_type(format))
        return kd_fail(KD_EUSAGE, "%s: whisper.cpp's files have no %s; a GGUF file may have", path,
                       format->name);
    if (kd_whisper_bin_fits(spec, format)) return KD_OK;
    return kd_fail(KD_EUSAGE,
                   "%s: rows of %d cannot be cut into %s's blocks of %d, and whisper.cpp reads all "
                   "matrices in one format; a GGUF file has %s where it fits, f16 and f32 fit "
                   "every width",
                   path, spec->width, format->name, format->block, format->name);
}

/* whisper.cpp counts the languages by the number of all tokens. */
static int check_tokens(const char *path, const kd_tokenizer *t) {
    const kd_token_ids *ids = kd_tokenizer_ids(t);
    if (ids->added == ids->vocabulary) return KD_OK;
    return kd_fail(KD_EUSAGE,
                   "%s: whisper.cpp's files cannot hold the %d tokens that this model has beyond "
                   "Whisper's; GGUF and folders can",
                   path, (int)(ids->vocabulary - ids->added));
}

/* What the layout cannot hold is said: whisper.cpp has its own. */
static int warn_of_loss(const char *path, const kd_whisper_file *file) {
    const kd_whisper_generation *g = &file->model->generation;
    kd_whisper_words words;
    int status = kd_whisper_words_stated(&words, file);
    if (status < 0) return status;
    const bool first =
        g->max_initial_timestamp != kd_whisper_generation_own().max_initial_timestamp;
    const bool language = g->language >= 0 || g->task >= 0 || g->languages.stated;
    if (words.suppress || words.begin || words.length || first || language)
        kd_warn("%s: whisper.cpp's files have no place for what this model states of%s%s%s%s%s; it "
                "will say what Whisper's own settings make it say. GGUF and folders keep it",
                path, words.suppress ? " suppress_tokens" : "",
                words.begin ? " begin_suppress_tokens" : "", words.length ? " max_length" : "",
                first ? " max_initial_timestamp_index" : "", language ? " language and task" : "");
    return KD_OK;
}

static int write_file(const char *path, const kd_whisper_file *file, const kd_number_format *format,
                      const kd_encoding *how) {
    char part[KD_PATH_MAX];
    if (!kd_rank_writes()) return KD_OK;
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return kd_fail(KD_EIO, "%s: path too long", path);
    kd_ggml_sink s = {.file = fopen(part, "wb"), .path = part};
    if (!s.file) return kd_fail(KD_EIO, "%s: cannot create: %s", part, strerror(errno));
    write_header(&s, file, format);
    kd_ggml_records_write(&s, file->model->params, &kd_whisper_ggml, how);
    if (fclose(s.file) != 0 && s.status == KD_OK)
        s.status = kd_fail(KD_EIO, "%s: cannot write: %s", part, strerror(errno));
    if (s.status == KD_OK) return kd_file_commit(part, path);
    unlink(part);
    return s.status;
}

int kd_whisper_bin_write(const char *path, const kd_whisper_file *file,
                         const kd_number_format *format) {
    const kd_encoding *how;
    kd_encoding *own = NULL;
    int status = check_format(path, &file->model->spec, format);
    if (status == KD_OK) status = check_tokens(path, file->tokenizer);
    if (status == KD_OK) status = warn_of_loss(path, file);
    if (status == KD_OK) status = kd_whisper_encodings(&how, &own, file, format);
    if (status == KD_OK) status = write_file(path, file, format, how);
    free(own);
    return status;
}
