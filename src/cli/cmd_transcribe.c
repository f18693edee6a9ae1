/* `distill transcribe`: what was said, by a Whisper model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/transcript_text.h"
#include "data/whisper_mel.h"
#include "files/whisper_file.h"

static const kd_option OPTIONS[] = {
    {"language", "NAME",
     "what is spoken: en, german …; when not given, what the model states, or\n"
     "found out by itself"},
    {"task", "TASK", "transcribe (default), or translate into English"},
    {"beam", "N", "rows of the beam search, 1 to 16 (default 1: greedy)"},
    {"no-timestamps", NULL, "text alone; long files are cut every 30 s"},
    {"srt", NULL, "write subtitles, SubRip"},
    {"vtt", NULL, "write subtitles, WebVTT"},
    {"json", NULL, "write one line of JSON for each file"},
    {NULL, NULL, NULL}};

static const kd_usage USAGE = {
    .command = "transcribe",
    .positional = "MODEL FILE…",
    .least = 2,
    .most = -1,
    .summary =
        "Prints what is said in sound files (WAV, FLAC, MP3, Ogg …; - is the standard input).\n"
        "MODEL is a Whisper model: a .bin of whisper.cpp, GGUF or a Hugging Face folder. One file\n"
        "gives one line for each segment; several files give one line each, the name in front.\n"
        "Progress goes to stderr. A file that cannot be heard is named there, and in JSON has\n"
        "\"error\" in place of the words; the others are heard all the same, and the exit code is\n"
        "65.",
    .options = OPTIONS,
    .example = "distill transcribe ggml-base.en.bin talk.flac\n"
               "distill transcribe ggml-base.en.bin talk.flac --srt > talk.srt"};

enum { NAMED_MOST = 5 };

/* Everything one call works with. */
typedef struct {
    kd_transcript_kind kind;
    bool several;
    kd_whisper_file *model;
    kd_decoder decoder;
    kd_logmel *logmel;
    kd_progress progress;
    bool showing;   /* progress, of long files */
    int printed;    /* segments of this file   */
    int failed;     /* files                   */
    kd_text missed; /* the names of the first of them */
} job;

static int read_options(job *j, kd_decode_options *out, const kd_arguments *arguments) {
    static const struct {
        const char *option;
        kd_transcript_kind kind;
    } kinds[] = {
        {"srt", KD_TRANSCRIPT_SRT}, {"vtt", KD_TRANSCRIPT_VTT}, {"json", KD_TRANSCRIPT_JSON}};
    int64_t beam;
    int chosen = 0;
    int status = kd_arguments_integer(&beam, arguments, "beam", 1, KD_BEAM_MOST, 1);
    if (status < 0) return status;
    for (int i = 0; i < 3; i++)
        if (kd_arguments_has(arguments, kinds[i].option)) {
            j->kind = kinds[i].kind;
            chosen++;
        }
    j->several = arguments->positional_count > 2;
    if (chosen > 1) return kd_fail(KD_EUSAGE, "--srt, --vtt and --json exclude each other");
    if (j->several && (j->kind == KD_TRANSCRIPT_SRT || j->kind == KD_TRANSCRIPT_VTT))
        return kd_fail(KD_EUSAGE, "subtitles are written for one file at a time");
    *out = (kd_decode_options){.language = -1,
                               .beam = (int)beam,
                               .timestamps = !kd_arguments_has(arguments, "no-timestamps")};
    return KD_OK;
}

static int read_language(const job *j, kd_decode_options *out, const kd_arguments *arguments) {
    const kd_token_ids *ids = kd_tokenizer_ids(j->model->tokenizer);
    const char *language = kd_arguments_value(arguments, "language");
    const char *task = kd_arguments_value(arguments, "task");
    if (task && strcmp(task, "transcribe") != 0 && strcmp(task, "translate") != 0)
        return kd_fail(KD_EUSAGE, "--task %s: there are transcribe and translate", task);
    const kd_whisper_generation *stated = &j->model->model->generation;
    out->task = task ? strcmp(task, "translate") == 0 ? ids->translate : ids->transcribe
                : stated->task >= 0 ? stated->task
                                    : ids->transcribe;
    if (!ids->multilingual) {
        if (out->task == ids->translate)
            return kd_fail(KD_EUSAGE, "--task translate: this model knows English only");
        if (language && kd_tokenizer_language(j->model->tokenizer, language) != ids->language)
            return kd_fail(KD_EUSAGE, "--language %s: this model knows English only", language);
        return KD_OK;
    }
    out->language = stated->language;
    if (!language) return KD_OK;
    out->language = kd_tokenizer_language(j->model->tokenizer, language);
    if (out->language < 0)
        return kd_fail(KD_EUSAGE, "--language %s: this model knows no such language", language);
    return KD_OK;
}

/* Prints what was put together with `status`, and frees it. */
static int print_text(kd_text *text, int status) {
    if (status == KD_OK) status = kd_text_finish(text, "a transcript");
    if (status == KD_OK) fputs(text->text, stdout);
    if (status == KD_OK) fflush(stdout);
    free(text->text);
    return status;
}

/* Prints what has become ready, and keeps the progress line up. */
static int on_segment(void *context, const kd_segment *segment, int64_t done, int64_t frames) {
    job *j = context;
    (void)frames;
    if (!segment) {
        if (j->showing) kd_progress_show(&j->progress, done, "");
        return KD_OK;
    }
    if (j->several || j->kind == KD_TRANSCRIPT_JSON) return KD_OK;
    kd_text text = {0};
    kd_transcript_add_segment(&text, j->kind, j->printed++, segment);
    return print_text(&text, KD_OK);
}

/* All of a file that is printed at its end. */
static int print_whole(const job *j, const char *path, const kd_transcript *transcript) {
    kd_text text = {0};
    return print_text(
        &text, (j->kind == KD_TRANSCRIPT_JSON ? kd_transcript_add_json : kd_transcript_add_row)(
                   &text, path, transcript, j->model->tokenizer));
}

static int transcribe(job *j, const char *path) {
    kd_whisper_sound *sound;
    kd_transcript transcript = {.language = -1};
    int status = kd_whisper_sound_open(&sound, path, j->logmel);
    if (status < 0) return status;
    const int64_t frames = kd_whisper_sound_samples(sound) / KD_WHISPER_HOP;
    j->printed = 0;
    j->showing = frames > 2 * KD_WHISPER_FRAMES;
    if (j->showing) kd_progress_begin(&j->progress, path, "s", 0.01, 0, frames);
    status = kd_transcribe(&transcript, &j->decoder, sound, on_segment, j);
    if (j->showing) kd_progress_end(&j->progress);
    if (status == KD_OK && (j->several || j->kind == KD_TRANSCRIPT_JSON))
        status = print_whole(j, path, &transcript);
    kd_transcript_clear(&transcript);
    kd_whisper_sound_close(sound);
    return status < 0 ? kd_fail_in(status, "%s", path) : status;
}

/* A file could not be heard. Of several, that is said here and the others follow; not so when it is
 * this program that failed. */
static int pass_over(job *j, const char *path, int status) {
    kd_text line = {0};
    if (status == KD_EINTERNAL) return status;
    if (j->kind == KD_TRANSCRIPT_JSON) {
        kd_transcript_add_failure(&line, path, kd_error());
        int printed = print_text(&line, KD_OK);
        if (printed < 0) return printed;
    }
    if (!j->several) return status;
    kd_log("distill: %s", kd_error());
    if (j->failed++ < NAMED_MOST) kd_text_add(&j->missed, "%s%s", j->failed > 1 ? ", " : "", path);
    return KD_OK;
}

/* Those that were passed over, once more. */
static int count_failed(const job *j, int files) {
    if (j->failed == 0) return KD_OK;
    return kd_fail(KD_EDATA, "%d of %d files could not be heard: %s%s", j->failed, files,
                   j->missed.text ? j->missed.text : "", j->failed > NAMED_MOST ? " …" : "");
}

int kd_cmd_transcribe(int argc, char **argv) {
    kd_arguments arguments;
    int status = kd_arguments_parse(&arguments, &USAGE, argc, argv);
    if (status != KD_OK) return status;
    job j = {0};
    kd_decode_options options;
    status = read_options(&j, &options, &arguments);
    if (status == KD_OK)
        status = kd_whisper_file_open(&j.model, arguments.positional[0], KD_WHISPER_ONLY_READ);
    if (status == KD_OK) status = read_language(&j, &options, &arguments);
    if (status == KD_OK)
        status = kd_decoder_init(&j.decoder, j.model->model, j.model->tokenizer, &options);
    if (status == KD_OK) status = kd_whisper_mel_create(&j.logmel, j.model->model->spec.mels);
    if (status == KD_OK) fputs(kd_transcript_opening(j.kind), stdout);
    for (int i = 1; i < arguments.positional_count && status == KD_OK; i++) {
        status = transcribe(&j, arguments.positional[i]);
        if (status < 0) status = pass_over(&j, arguments.positional[i], status);
    }
    if (status == KD_OK) status = count_failed(&j, arguments.positional_count - 1);
    free(j.missed.text);
    kd_decoder_clear(&j.decoder);
    kd_logmel_free(j.logmel);
    kd_whisper_file_free(j.model);
    return status;
}
