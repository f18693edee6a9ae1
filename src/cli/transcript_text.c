#include "cli/transcript_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_text.h"

const char *kd_transcript_opening(kd_transcript_kind kind) {
    return kind == KD_TRANSCRIPT_VTT ? "WEBVTT\n\n" : "";
}

/* "01:02:03,004"; WebVTT has a point instead of the comma, and hours too. */
static void add_time(kd_text *out, double seconds, char mark) {
    const long long ms = llround(seconds * 1000);
    kd_text_add(out, "%02lld:%02lld:%02lld%c%03lld", ms / 3600000, ms / 60000 % 60, ms / 1000 % 60,
                mark, ms % 1000);
}

static const char SPACES[] = " \t\n\v\f\r";

/* Dashes and ">" that would end a subtitle's text, "-->"; how many characters, or 0. */
static size_t arrow_length(const char *text) {
    const size_t dashes = strspn(text, "-");
    return dashes >= 2 && text[dashes] == '>' ? dashes + 1 : 0;
}

/* The text on one line, without spaces around it: a blank line would end a subtitle too. */
static void add_line(kd_text *out, const char *text, bool subtitle) {
    text += strspn(text, SPACES);
    size_t left = strlen(text);
    while (left > 0 && strchr(SPACES, text[left - 1])) left--;
    while (left > 0) {
        const size_t arrow = subtitle ? arrow_length(text) : 0, taken = arrow ? arrow : 1;
        if (arrow)
            kd_text_add(out, "->");
        else
            kd_text_add_plain(out, strchr(SPACES, *text) ? " " : text, 1);
        text += taken;
        left -= taken;
    }
    kd_text_add(out, "\n");
}

void kd_transcript_add_segment(kd_text *out, kd_transcript_kind kind, int index,
                               const kd_segment *segment) {
    const char mark = kind == KD_TRANSCRIPT_SRT ? ',' : '.';
    if (kind == KD_TRANSCRIPT_TEXT) {
        add_line(out, segment->text, false);
        return;
    }
    if (kind == KD_TRANSCRIPT_SRT) kd_text_add(out, "%d\n", index + 1);
    add_time(out, segment->start, mark);
    kd_text_add(out, " --> ");
    add_time(out, segment->end, mark);
    kd_text_add(out, "\n");
    add_line(out, segment->text, true);
    kd_text_add(out, "\n");
}

static void add_segment_json(kd_text *out, int index, const kd_segment *s) {
    kd_text_add(out, "%s{\"id\": %d, \"start\": %.2f, \"end\": %.2f, \"text\": ", index ? ", " : "",
                index, s->start, s->end);
    kd_json_add_quoted(out, s->text);
    kd_text_add(out, ", \"tokens\": [");
    for (int i = 0; i < s->count; i++) kd_text_add(out, "%s%d", i ? ", " : "", (int)s->token[i]);
    kd_text_add(out,
                "], \"temperature\": %.1f, \"avg_logprob\": %.4f, \"compression_ratio\": %.3f, "
                "\"no_speech_prob\": %.6f}",
                s->temperature, s->average, s->compression, s->no_speech);
}

int kd_transcript_add_row(kd_text *out, const char *file, const kd_transcript *transcript,
                          const kd_tokenizer *tokenizer) {
    char *words;
    int status = kd_transcript_words(&words, transcript, tokenizer);
    if (status < 0) return status;
    kd_text_add_plain(out, file, strlen(file));
    kd_text_add(out, "\t");
    add_line(out, words, false);
    free(words);
    return KD_OK;
}

int kd_transcript_add_json(kd_text *out, const char *file, const kd_transcript *transcript,
                           const kd_tokenizer *tokenizer) {
    char *words;
    int status = kd_transcript_words(&words, transcript, tokenizer);
    if (status < 0) return status;
    kd_text_add(out, "{\"file\": ");
    kd_json_add_quoted(out, file);
    kd_text_add(out, ", \"language\": ");
    if (transcript->language >= 0)
        kd_json_add_quoted(out, kd_tokenizer_language_code(tokenizer, transcript->language));
    else
        kd_text_add(out, kd_tokenizer_ids(tokenizer)->multilingual ? "null" : "\"en\"");
    kd_text_add(out, ", \"text\": ");
    kd_json_add_quoted(out, words);
    free(words);
    kd_text_add(out, ", \"segments\": [");
    for (int i = 0; i < transcript->count; i++) add_segment_json(out, i, &transcript->segment[i]);
    kd_text_add(out, "]}\n");
    return KD_OK;
}

void kd_transcript_add_failure(kd_text *out, const char *file, const char *message) {
    kd_text_add(out, "{\"file\": ");
    kd_json_add_quoted(out, file);
    kd_text_add(out, ", \"error\": ");
    kd_json_add_quoted(out, message);
    kd_text_add(out, "}\n");
}
