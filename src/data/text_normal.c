#include "data/text_normal.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "base/unicode.h"
#include "data/text_charsmap.h"

static char *copy_of(const char *bytes, size_t length) {
    char *out = malloc(length + 1);
    if (!out) return NULL;
    if (length) memcpy(out, bytes, length);
    out[length] = '\0';
    return out;
}

int kd_text_normal_add(kd_text_normal *n, kd_normal_kind kind, const char *from, size_t from_length,
                       const char *to) {
    if (n->count == KD_NORMAL_STEPS_MAX)
        return kd_fail(KD_EDATA, "a normalizer of more than %d steps", KD_NORMAL_STEPS_MAX);
    kd_normal_step step = {
        .kind = kind, .from_length = from_length, .to_length = to ? strlen(to) : 0};
    if (kind == KD_NORMAL_CHARSMAP) {
        const int status = kd_charsmap_check(from, from_length);
        if (status < 0) return status;
    }
    step.from = copy_of(from, from_length);
    step.to = copy_of(to, step.to_length);
    if (!step.from || !step.to) {
        free(step.from);
        free(step.to);
        return kd_fail_memory(from_length, "a normalizer");
    }
    n->step[n->count++] = step;
    return KD_OK;
}

void kd_text_normal_clear(kd_text_normal *n) {
    for (int i = 0; i < n->count; i++) {
        free(n->step[i].from);
        free(n->step[i].to);
    }
    n->count = 0;
}

/* --- steps over characters -------------------------------------------------------------------- */

static bool is_space(uint32_t c) {
    return kd_char_class_of(c) == KD_CHAR_SPACE;
}

/* Controls, formats, what is for private use; tabs and newlines are white space. */
static bool is_bert_control(uint32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') return false;
    const bool private = (c >= 0xE000 && c <= 0xF8FF) || (c >= 0xF0000 && (c & 0xFFFE) != 0xFFFE);
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xFFFD || private || kd_char_is_format(c);
}

/* BERT's Chinese characters: the blocks of Unified Ideographs. */
static bool is_ideograph(uint32_t c) {
    static const uint32_t block[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF},
                                        {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF},
                                        {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof block / sizeof *block; i++)
        if (c >= block[i][0] && c <= block[i][1]) return true;
    return false;
}

/* What one character becomes, at most three; the number. */
static int map_character(uint32_t out[3], kd_normal_kind kind, uint32_t c) {
    enum { DOTTED_I = 0x130, DOT_ABOVE = 0x307 };
    out[0] = c;
    switch (kind) {
    case KD_NORMAL_LOWER:
        out[0] = c == DOTTED_I ? 'i' : kd_char_lower(c);
        out[1] = DOT_ABOVE;
        return c == DOTTED_I ? 2 : 1;
    case KD_NORMAL_MARKS:
        if (kd_char_class_of(c) == KD_CHAR_MARK) return 0;
        return kd_char_class_of(c) == KD_CHAR_ACCENT ? 0 : 1;
    case KD_NORMAL_ACCENTS:
        return kd_char_class_of(c) == KD_CHAR_ACCENT ? 0 : 1;
    case KD_NORMAL_BERT_CLEAN:
        if (is_space(c)) out[0] = ' ';
        return is_bert_control(c) ? 0 : 1;
    case KD_NORMAL_BERT_CJK:
        if (!is_ideograph(c)) return 1;
        out[0] = out[2] = ' ';
        out[1] = c;
        return 3;
    default:
        return 1;
    }
}

static int map_all(kd_chars *chars, kd_normal_kind kind) {
    kd_chars out = {0};
    int status = KD_OK;
    for (size_t i = 0; i < chars->count && status == KD_OK; i++) {
        uint32_t mapped[3];
        const int n = map_character(mapped, kind, chars->at[i]);
        for (int k = 0; k < n && status == KD_OK; k++) status = kd_chars_add(&out, mapped[k]);
    }
    free(chars->at);
    *chars = out;
    return status;
}

static void strip(kd_chars *chars, bool left) {
    size_t start = 0;
    if (left) {
        while (start < chars->count && is_space(chars->at[start])) start++;
        if (start)
            memmove(chars->at, chars->at + start, (chars->count - start) * sizeof *chars->at);
        chars->count -= start;
    } else {
        while (chars->count > 0 && is_space(chars->at[chars->count - 1])) chars->count--;
    }
}

static int apply_to_characters(kd_chars *chars, kd_normal_kind kind) {
    switch (kind) {
    case KD_NORMAL_NFC:
        return kd_chars_normalize(chars, true, false);
    case KD_NORMAL_NFD:
        return kd_chars_normalize(chars, false, false);
    case KD_NORMAL_NFKC:
        return kd_chars_normalize(chars, true, true);
    case KD_NORMAL_NFKD:
        return kd_chars_normalize(chars, false, true);
    case KD_NORMAL_STRIP_LEFT:
    case KD_NORMAL_STRIP_RIGHT:
        strip(chars, kind == KD_NORMAL_STRIP_LEFT);
        return KD_OK;
    default:
        return map_all(chars, kind);
    }
}

/* --- steps over bytes ------------------------------------------------------------------------- */

/* Bytes that grow; `failed` sticks. */
typedef struct {
    char *bytes;
    size_t length, capacity;
    bool failed;
} buffer;

static void put(buffer *b, const char *bytes, size_t length) {
    if (b->length + length + 1 > b->capacity) {
        const size_t capacity = 2 * (b->length + length) + 64;
        char *more = realloc(b->bytes, capacity);
        if (!more) b->failed = true;
        if (b->failed) return;
        b->bytes = more;
        b->capacity = capacity;
    }
    if (b->failed) return;
    if (length) memcpy(b->bytes + b->length, bytes, length);
    b->length += length;
    b->bytes[b->length] = '\0';
}

static int finish(buffer *b) {
    put(b, "", 0);
    if (!b->failed) return KD_OK;
    free(b->bytes);
    *b = (buffer){0};
    return kd_fail_memory(b->capacity, "a text");
}

static void replace(buffer *out, const kd_normal_step *step, const char *text, size_t length) {
    for (size_t at = 0; at < length;) {
        if (step->from_length <= length - at &&
            memcmp(text + at, step->from, step->from_length) == 0) {
            put(out, step->to, step->to_length);
            at += step->from_length;
        } else {
            put(out, text + at++, 1);
        }
    }
}

static void shorten_spaces(buffer *out, const kd_normal_step *step, const char *text,
                           size_t length) {
    for (size_t at = 0, end; at < length; at = end) {
        end = at + 1;
        while (text[at] == ' ' && end < length && text[end] == ' ') end++;
        if (end - at >= 2)
            put(out, step->to, step->to_length);
        else
            put(out, text + at, 1);
    }
}

static int apply_to_bytes(char **out, size_t *out_length, const kd_normal_step *step,
                          const char *text, size_t length) {
    buffer b = {0};
    if (step->kind == KD_NORMAL_CHARSMAP) {
        const char *to;
        size_t n, taken;
        for (size_t at = 0; at < length; at += taken) {
            taken =
                kd_charsmap_next(&to, &n, step->from, step->from_length, text + at, length - at);
            put(&b, to, n);
        }
    } else if (step->kind == KD_NORMAL_PREPEND) {
        if (length > 0) put(&b, step->to, step->to_length);
        put(&b, text, length);
    } else if (step->kind == KD_NORMAL_TRIM) {
        while (length > 0 && text[length - 1] == ' ') length--;
        while (length > 0 && text[0] == ' ') text++, length--;
        put(&b, text, length);
    } else if (step->kind == KD_NORMAL_REPLACE) {
        replace(&b, step, text, length);
    } else {
        shorten_spaces(&b, step, text, length);
    }
    const int status = finish(&b);
    *out = b.bytes;
    *out_length = b.length;
    return status;
}

static bool is_of_bytes(kd_normal_kind kind) {
    return kind == KD_NORMAL_CHARSMAP || kind == KD_NORMAL_PREPEND || kind == KD_NORMAL_REPLACE ||
           kind == KD_NORMAL_SPACES || kind == KD_NORMAL_TRIM;
}

/* Below U+0300 every character is in form C, and stands still. */
static bool is_composed(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] >= 0xCC) return false;
    return true;
}

static int through_characters(char **out, size_t *out_length, const kd_normal_step *step,
                              const char *text, size_t length) {
    kd_chars chars = {0};
    buffer b = {0};
    int status = KD_OK;
    if (step->kind == KD_NORMAL_NFC && is_composed(text, length)) {
        put(&b, text, length);
    } else {
        status = kd_chars_decode(&chars, text, length);
        if (status == KD_OK) status = apply_to_characters(&chars, step->kind);
        for (size_t i = 0; i < chars.count && status == KD_OK; i++) {
            char utf8[4];
            const int n = kd_utf8_put(utf8, chars.at[i]);
            put(&b, utf8, (size_t)n);
        }
    }
    free(chars.at);
    if (status == KD_OK) status = finish(&b);
    *out = b.bytes;
    *out_length = b.length;
    return status;
}

int kd_text_normal_apply(char **out, size_t *out_length, const kd_text_normal *normal,
                         const char *text, size_t length) {
    char *now = NULL;
    int status = KD_OK;
    for (int i = 0; i < normal->count && status == KD_OK; i++) {
        const kd_normal_step *step = &normal->step[i];
        char *before = now;
        status = is_of_bytes(step->kind) ? apply_to_bytes(&now, &length, step, text, length)
                                         : through_characters(&now, &length, step, text, length);
        free(before);
        text = now;
    }
    if (status == KD_OK && !now) {
        now = copy_of(text, length);
        if (!now) status = kd_fail_memory(length, "a text");
    }
    *out = status < 0 ? NULL : now;
    if (status < 0) free(now);
    *out_length = length;
    return status;
}
