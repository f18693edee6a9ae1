#include "base/unicode.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "base/unicode_tables.inc"

#define COUNT(table) ((int)(sizeof(table) / sizeof *(table)))

/* Hangul syllables are arithmetic (Unicode, section 3.12). */
enum { S_BASE = 0xAC00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7 };
enum { L_COUNT = 19, V_COUNT = 21, T_COUNT = 28, S_COUNT = L_COUNT * V_COUNT * T_COUNT };

/* The last entry of a rising table whose number is not above `key`, or −1. */
static int find_last(const uint32_t *table, int count, int stride, uint32_t key) {
    int low = 0, high = count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (table[middle * stride] <= key)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

kd_char_class kd_char_class_of(uint32_t c) {
    if (c < 0x80) return ascii_class[c];
    if (c > 0x10FFFF) return KD_CHAR_OTHER;
    return class_start[find_last(class_start, COUNT(class_start), 1, c << 3 | 7)] & 7;
}

int kd_char_digit(uint32_t c) {
    if (c > 0x10FFFF) return -1;
    uint32_t run = class_start[find_last(class_start, COUNT(class_start), 1, c << 3 | 7)];
    return (run & 7) == KD_CHAR_DIGIT ? (int)((c - (run >> 3)) % 10) : -1;
}

bool kd_char_is_punctuation(uint32_t c) {
    return find_last(punctuation_edge, COUNT(punctuation_edge), 1, c) % 2 == 0;
}

bool kd_char_is_format(uint32_t c) {
    return find_last(format_edge, COUNT(format_edge), 1, c) % 2 == 0;
}

uint32_t kd_utf8_next(const char *text, size_t length, size_t *at) {
    const unsigned char *s = (const unsigned char *)text + *at;
    int n = kd_utf8_length(text + *at, length - *at);
    if (n == 0) {
        ++*at;
        return KD_CHAR_INVALID;
    }
    *at += (size_t)n;
    if (n == 1) return s[0];
    uint32_t c = s[0] & (0x7Fu >> n);
    for (int i = 1; i < n; i++) c = c << 6 | (s[i] & 0x3F);
    return c;
}

int kd_utf8_put(char out[4], uint32_t c) {
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char mark[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (int i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(mark[n] | c);
    return n;
}

int kd_utf8_broken(const char *text, size_t length) {
    const unsigned char *s = (const unsigned char *)text;
    int whole = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
                : (s[0] & 0xF0) == 0xE0        ? 3
                : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                               : 1;
    /* What the second byte may be, after some first bytes (Unicode, table 3-7). */
    unsigned low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    unsigned high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    int n = 1;
    for (; n < whole - 1 && (size_t)n < length && s[n] >= low && s[n] <= high; n++)
        low = 0x80, high = 0xBF;
    return n;
}

size_t kd_utf8_mend(char *out, const char *bytes, size_t length) {
    size_t to = 0;
    for (size_t at = 0; at < length;) {
        int n = kd_utf8_length(bytes + at, length - at);
        if (n > 0) {
            memcpy(out + to, bytes + at, (size_t)n);
            to += (size_t)n;
        } else {
            n = kd_utf8_broken(bytes + at, length - at);
            to += (size_t)kd_utf8_put(out + to, 0xFFFD);
        }
        at += (size_t)n;
    }
    return to;
}

int kd_chars_add(kd_chars *chars, uint32_t c) {
    if (chars->count == chars->capacity) {
        size_t capacity = chars->capacity ? 2 * chars->capacity : 64;
        uint32_t *at = realloc(chars->at, capacity * sizeof *at);
        if (!at) return kd_fail_memory(capacity * sizeof *at, "text");
        chars->at = at;
        chars->capacity = capacity;
    }
    chars->at[chars->count++] = c;
    return KD_OK;
}

int kd_chars_decode(kd_chars *out, const char *text, size_t length) {
    int status = KD_OK;
    for (size_t at = 0; at < length && status == KD_OK;) {
        size_t start = at;
        uint32_t c = kd_utf8_next(text, length, &at);
        if (c == KD_CHAR_INVALID) {
            at = start + (size_t)kd_utf8_broken(text + start, length - start);
            c = 0xFFFD;
        }
        status = kd_chars_add(out, c);
    }
    return status;
}

/* --- lower case ------------------------------------------------------------------------------ */

uint32_t kd_char_lower(uint32_t c) {
    enum { RUN = 4 }; /* start, how many, step, difference */
    int i = find_last((const uint32_t *)lower_runs, COUNT(lower_runs) / RUN, RUN, c);
    if (i < 0) return c;
    const int32_t *run = lower_runs + RUN * i;
    int32_t from_start = (int32_t)c - run[0];
    if (from_start % run[2] != 0 || from_start / run[2] >= run[1]) return c;
    return (uint32_t)((int32_t)c + run[3]);
}

/* Is there a letter with case next to position i in this direction? Accents, apostrophes and the
 * like are passed over. */
static bool letter_beside(const kd_chars *text, size_t i, int step) {
    enum { LETTER = 1, PASSED = 2 };
    for (i += (size_t)step; i < text->count; i += (size_t)step) {
        int last = find_last(sigma_start, COUNT(sigma_start), 1, text->at[i] << 2 | 3);
        uint32_t kind = sigma_start[last] & 3;
        if (kind != PASSED) return kind == LETTER;
    }
    return false;
}

int kd_chars_lower(kd_chars *chars) {
    enum { SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2, DOTTED_I = 0x130, DOT_ABOVE = 0x307 };
    kd_chars out = {0};
    int status = KD_OK;
    for (size_t i = 0; i < chars->count && status == KD_OK; i++) {
        uint32_t c = chars->at[i];
        if (c == DOTTED_I) {
            status = kd_chars_add(&out, 'i');
            if (status == KD_OK) status = kd_chars_add(&out, DOT_ABOVE);
        } else if (c == SIGMA && letter_beside(chars, i, -1) && !letter_beside(chars, i, 1)) {
            status = kd_chars_add(&out, FINAL_SIGMA);
        } else {
            status = kd_chars_add(&out, kd_char_lower(c));
        }
    }
    free(chars->at);
    *chars = out;
    return status;
}

/* --- normal forms ---------------------------------------------------------------------------- */

static int combining_class(uint32_t c) {
    int i = find_last(combining_start, COUNT(combining_start), 1, c << 8 | 0xFF);
    return (int)(combining_start[i] & 0xFF);
}

static int add_decomposed(kd_chars *out, uint32_t c, bool compatible) {
    enum { ITSELF, THE_SAME, OTHER, TRIPLE };
    int status = KD_OK;
    if (c >= S_BASE && c < S_BASE + S_COUNT) {
        uint32_t s = c - S_BASE, t = s % T_COUNT;
        status = kd_chars_add(out, L_BASE + s / (V_COUNT * T_COUNT));
        if (status == KD_OK) status = kd_chars_add(out, V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT);
        if (status == KD_OK && t) status = kd_chars_add(out, T_BASE + t);
        return status;
    }
    const int i = find_last(decomposed, COUNT(decomposed), 1, c << 2 | 3);
    const uint32_t canonical = i < 0 ? ITSELF : decomposed[i] & 3;
    if (i < 0 || decomposed[i] >> 2 != c || (!compatible && canonical == ITSELF))
        return kd_chars_add(out, c);
    if (!compatible && canonical == OTHER) {
        const int at =
            TRIPLE * find_last(canonical_other, COUNT(canonical_other) / TRIPLE, TRIPLE, c);
        status = kd_chars_add(out, canonical_other[at + 1]);
        if (status < 0 || canonical_other[at + 2] == 0) return status;
        return kd_chars_add(out, canonical_other[at + 2]);
    }
    for (int j = decomposition_at[i]; j < decomposition_at[i + 1] && status == KD_OK; j++)
        status = kd_chars_add(out, decomposition[j]);
    return status;
}

typedef struct {
    size_t from;
    uint32_t c;
    int class;
} ordered;

static int by_class(const void *a, const void *b) {
    const ordered *x = a, *y = b;
    if (x->class != y->class) return x->class - y->class;
    return (x->from > y->from) - (x->from < y->from);
}

/* Sorts each run of marks (class > 0) by their classes, keeping equals in order. */
static int order_marks(kd_chars *text) {
    ordered *run = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < text->count; i++) {
        size_t end = i;
        while (end < text->count && combining_class(text->at[end]) > 0) end++;
        size_t n = end - i;
        if (n < 2) continue;
        if (n > capacity) {
            ordered *more = realloc(run, n * sizeof *run);
            if (!more) {
                free(run);
                return kd_fail_memory(n * sizeof *run, "text");
            }
            run = more;
            capacity = n;
        }
        for (size_t j = 0; j < n; j++)
            run[j] = (ordered){j, text->at[i + j], combining_class(text->at[i + j])};
        qsort(run, n, sizeof *run, by_class);
        for (size_t j = 0; j < n; j++) text->at[i + j] = run[j].c;
        i = end - 1;
    }
    free(run);
    return KD_OK;
}

/* The character that is a followed by b, or 0. */
static uint32_t composition(uint32_t a, uint32_t b) {
    if (a >= L_BASE && a < L_BASE + L_COUNT && b >= V_BASE && b < V_BASE + V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + b - V_BASE) * T_COUNT;
    if (a >= S_BASE && a < S_BASE + S_COUNT && (a - S_BASE) % T_COUNT == 0 && b > T_BASE &&
        b < T_BASE + T_COUNT)
        return a + b - T_BASE;
    enum { TRIPLE = 3 };
    int i = find_last(composed, COUNT(composed) / TRIPLE, TRIPLE, a);
    for (; i >= 0 && composed[TRIPLE * i] == a; i--)
        if (composed[TRIPLE * i + 1] == b) return composed[TRIPLE * i + 2];
    return 0;
}

static void compose_all(kd_chars *text) {
    size_t starter = SIZE_MAX, n = 0;
    int before = 0; /* the class of the last character kept behind the starter */
    for (size_t i = 0; i < text->count; i++) {
        uint32_t c = text->at[i], whole = 0;
        int class = combining_class(c);
        bool blocked = starter != SIZE_MAX && n > starter + 1 && (before == 0 || before >= class);
        if (starter != SIZE_MAX && !blocked) whole = composition(text->at[starter], c);
        if (whole) {
            text->at[starter] = whole;
            continue;
        }
        if (class == 0) starter = n;
        before = class;
        text->at[n++] = c;
    }
    text->count = n;
}

int kd_chars_normalize(kd_chars *chars, bool compose, bool compatible) {
    kd_chars out = {0};
    int status = KD_OK;
    for (size_t i = 0; i < chars->count && status == KD_OK; i++)
        status = add_decomposed(&out, chars->at[i], compatible);
    if (status == KD_OK) status = order_marks(&out);
    if (status == KD_OK && compose) compose_all(&out);
    free(chars->at);
    *chars = out;
    return status;
}
