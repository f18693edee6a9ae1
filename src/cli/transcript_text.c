#include "cli/transcript_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* The text on one line, without the space in front. */
static void add_line(kd_text *out, const char *text) {
    text += strspn(text, " ");
    kd_text_add_plain(out, text, strlen(text));
    kd_text_add(out, "\n");
}

void kd_transcript_add_segment(kd_text *out, kd_transcript_kind kind, int index,
                               const kd_segment *segment) {
    const char mark = kind == KD_TRANSCRIPT_SRT ? ',' : '.';
    if (kind == KD_TRANSCRIPT_TEXT) {
        add_line(out, segment->text);
        return;
    }
    if (kind == KD_TRANSCRIPT_SRT) kd_text_add(out, "%d\n", index + 1);
    add_time(out, segment->start, mark);
    kd_text_add(out, " --> ");
    add_time(out, segment->end, mark);
    kd_text_add(out, "\n");
    /* "-->" would end a subtitle's text. */
    const char *arrow = strstr(segment->text, "-->");
    if (arrow) {
        kd_text_add_plain(out, segment->text, (size_t)(arrow - segment->text));
        kd_text_add(out, "->");
        add_line(out, arrow + 3);
    } else {
        add_line(out, segment->text);
    }
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

void kd_transcript_add_json(kd_text *out, const char *file, const kd_transcript *transcript,
                            const kd_tokenizer *tokenizer) {
    kd_text all = {0};
    for (int i = 0; i < transcript->count; i++)
        kd_text_add(&all, "%s", transcript->segment[i].text);
    kd_text_add(out, "{\"file\": ");
    kd_json_add_quoted(out, file);
    kd_text_add(out, ", \"language\": \"%s\", \"text\": ",
                transcript->language < 0
                    ? "en"
                    : kd_tokenizer_language_code(tokenizer, transcript->language));
    kd_json_add_quoted(out, all.text ? all.text : "");
    if (all.failed) out->failed = true;
    free(all.text);
    kd_text_add(out, ", \"segments\": [");
    for (int i = 0; i < transcript->count; i++) add_segment_json(out, i, &transcript->segment[i]);
    kd_text_add(out, "]}\n");
}
