#include "tasks/encoder/sentences.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "data/text_stream.h"

static const size_t TABLE_LIMIT = (size_t)1 << 30;

/* --- a table -----------------------------------------------------------------------------------
 */

/* The whole file, unpacked, with a 0 byte behind it. */
static int read_file(char **out, size_t *length, const char *path) {
    kd_text_stream *stream;
    size_t room = 1 << 16;
    *length = 0;
    *out = NULL;
    int status = kd_text_stream_open(&stream, path);
    if (status < 0) return status;
    int64_t got = 1;
    while (status == KD_OK && got > 0) {
        char *more = room > TABLE_LIMIT ? NULL : realloc(*out, room + 1);
        if (!more) {
            status = room > TABLE_LIMIT ? kd_fail(KD_EDATA, "%s: larger than 1 GB", path)
                                        : kd_fail_memory(room, path);
            break;
        }
        *out = more;
        got = kd_text_stream_read(stream, *out + *length, room - *length);
        if (got < 0) status = (int)got;
        if (got > 0) *length += (size_t)got;
        if (*length == room) room *= 2;
    }
    if (status == KD_OK) (*out)[*length] = '\0';
    kd_text_stream_close(stream);
    return status;
}

typedef struct {
    const char *path;
    int64_t line;    /* from 1 */
    int label, text; /* columns */
    const kd_text_tokenizer *tokenizer;
    int64_t length;
    int classes;
} table;

/* The column `index` of a line of n bytes; NULL: there are fewer. */
static const char *column(const char *line, size_t n, int index, size_t *length) {
    const char *at = line, *stop = line + n;
    for (; index > 0 && at; index--) {
        at = memchr(at, '\t', (size_t)(stop - at));
        if (at) at++;
    }
    if (!at) return NULL;
    const char *tab = memchr(at, '\t', (size_t)(stop - at));
    *length = (size_t)((tab ? tab : stop) - at);
    return at;
}

static bool is(const char *at, size_t length, const char *word) {
    return length == strlen(word) && memcmp(at, word, length) == 0;
}

static int read_header(table *t, const char *line, size_t n) {
    size_t length;
    const char *at;
    t->label = t->text = -1;
    for (int i = 0; (at = column(line, n, i, &length)); i++) {
        if (is(at, length, "label")) t->label = i;
        if (is(at, length, "sentence") || is(at, length, "text") || is(at, length, "content"))
            t->text = i;
    }
    if (t->label >= 0 && t->text >= 0) return KD_OK;
    return kd_fail(KD_EDATA,
                   "%s:1: should name the columns, \"label\" and \"sentence\" (or \"text\" or "
                   "\"content\") among them, with tabs between them",
                   t->path);
}

static int read_label(int32_t *out, const table *t, const char *at, size_t length) {
    char text[16], *stop;
    *out = -1;
    if (at && length > 0 && length < sizeof text) {
        memcpy(text, at, length);
        text[length] = '\0';
        const long value = strtol(text, &stop, 10);
        if (*stop == '\0' && value >= 0 && value < t->classes) *out = (int32_t)value;
    }
    if (*out >= 0) return KD_OK;
    return kd_fail(KD_EDATA, "%s:%lld: the label should be a whole number from 0 to %d", t->path,
                   (long long)t->line, t->classes - 1);
}

static int grow(void **memory, int64_t *room, int64_t needed, size_t size) {
    if (needed <= *room) return KD_OK;
    const int64_t more = needed * 2;
    void *grown = realloc(*memory, kd_array_bytes(more, size));
    if (!grown) return kd_fail_memory((size_t)more * size, "sentences");
    *memory = grown;
    *room = more;
    return KD_OK;
}

static int add(kd_sentences *s, const int32_t *id, int64_t n, int32_t label) {
    int status = grow((void **)&s->token, &s->token_room, s->tokens + n, sizeof *s->token);
    if (status == KD_OK)
        status = grow((void **)&s->label, &s->label_room, s->count + 1, sizeof *s->label);
    if (status == KD_OK)
        status = grow((void **)&s->place, &s->place_room, s->count + 2, sizeof *s->place);
    if (status < 0) return status;
    memcpy(s->token + s->tokens, id, (size_t)n * sizeof *id);
    s->place[s->count] = s->tokens;
    s->label[s->count++] = label;
    s->tokens += n;
    s->place[s->count] = s->tokens;
    return KD_OK;
}

static int read_line(kd_sentences *s, const table *t, const char *line, size_t n) {
    size_t length = 0, label_length = 0;
    const char *label = column(line, n, t->label, &label_length);
    const char *text = column(line, n, t->text, &length);
    int32_t class, *id;
    int64_t count;
    int status = read_label(&class, t, label, label_length);
    if (status < 0) return status;
    if (!text || length == 0)
        return kd_fail(KD_EDATA, "%s:%lld: has no sentence", t->path, (long long)t->line);
    status = kd_text_tokenizer_encode(&id, &count, t->tokenizer, text, length, true);
    if (status < 0) return kd_fail(status, "%s:%lld: %s", t->path, (long long)t->line, kd_error());
    if (count > t->length) {
        id[t->length - 1] = id[count - 1];
        count = t->length;
    }
    status = add(s, id, count, class);
    free(id);
    return status;
}

static int read_table(kd_sentences *s, table *t) {
    char *text;
    size_t length;
    int status = read_file(&text, &length, t->path);
    const char *at = text, *stop = text + length;
    for (t->line = 1; status == KD_OK && at < stop; t->line++) {
        const char *newline = memchr(at, '\n', (size_t)(stop - at));
        size_t n = (size_t)((newline ? newline : stop) - at);
        if (n > 0 && at[n - 1] == '\r') n--;
        if (t->line == 1)
            status = read_header(t, at, n);
        else if (n > 0)
            status = read_line(s, t, at, n);
        at = newline ? newline + 1 : stop;
    }
    free(text);
    return status;
}

int kd_sentences_read(kd_sentences *out, const kd_encoder_files *paths,
                      const kd_text_tokenizer *tokenizer, int64_t length, int classes) {
    table t = {.tokenizer = tokenizer, .length = length, .classes = classes};
    int status = KD_OK;
    *out = (kd_sentences){0};
    for (int i = 0; i < paths->count && status == KD_OK; i++) {
        t.path = paths->path[i];
        status = read_table(out, &t);
    }
    if (status == KD_OK && out->count == 0)
        status = kd_fail(KD_EDATA, "%s: has no sentences", t.path);
    return status;
}

void kd_sentences_clear(kd_sentences *sentences) {
    free(sentences->place);
    free(sentences->token);
    free(sentences->label);
    *sentences = (kd_sentences){0};
}

kd_hash kd_sentences_hash(const kd_sentences *s) {
    const kd_hash part[] = {kd_hash_bytes(s->place, (size_t)(s->count + 1) * sizeof *s->place),
                            kd_hash_bytes(s->token, (size_t)s->tokens * sizeof *s->token),
                            kd_hash_bytes(s->label, (size_t)s->count * sizeof *s->label)};
    return kd_hash_join(part, 3);
}

/* --- rows --------------------------------------------------------------------------------------
 */

int kd_sentence_row_init(kd_sentence_row *out, int64_t n, int64_t length) {
    const size_t tokens = (size_t)(n * length);
    *out = (kd_sentence_row){.token = malloc(tokens * sizeof *out->token),
                             .first = malloc(tokens * sizeof *out->first),
                             .end = malloc(tokens * sizeof *out->end),
                             .start = malloc(kd_array_bytes(n, sizeof *out->start)),
                             .label = malloc(kd_array_bytes(n, sizeof *out->label))};
    return out->token && out->first && out->end && out->start && out->label
               ? KD_OK
               : kd_fail_memory(tokens * sizeof *out->token, "a batch of sentences");
}

void kd_sentence_row_clear(kd_sentence_row *row) {
    free(row->token);
    free(row->first);
    free(row->end);
    free(row->start);
    free(row->label);
}

void kd_sentence_row_fill(kd_sentence_row *row, const kd_sentences *s, const int64_t *which,
                          int64_t from, int64_t n) {
    row->n = n;
    row->tokens = 0;
    for (int64_t k = 0; k < n; k++) {
        const int64_t i = which ? which[k] : from + k, length = s->place[i + 1] - s->place[i];
        const int64_t at = row->tokens;
        memcpy(row->token + at, s->token + s->place[i], (size_t)length * sizeof *row->token);
        for (int64_t t = at; t < at + length; t++) {
            row->first[t] = (int32_t)at;
            row->end[t] = (int32_t)(at + length);
        }
        row->start[k] = (int32_t)at;
        row->label[k] = s->label[i];
        row->tokens += length;
    }
}
