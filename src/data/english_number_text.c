/* What happens to a text before and behind the reading of its numbers. */
#include <string.h>

#include "data/english_words.h"

/* The end of "and a half" at position i, with any white space between; 0 when it is not there. */
static size_t half_end(const kd_chars *in, size_t i) {
    static const char *const part[] = {"and", "a", "half"};
    if (!kd_pass_at_border(in, i)) return 0;
    for (int p = 0; p < 3; p++) {
        size_t start = i;
        while (p > 0 && i < in->count && kd_pass_is_space(in->at[i])) i++;
        if ((p > 0 && i == start) || !kd_pass_starts(in, i, part[p])) return 0;
        i += strlen(part[p]);
    }
    return kd_pass_at_border(in, i) ? i : 0;
}

/* The part [from, to) between two halves, and what the half behind it becomes: "point five" behind
 * a number, "and a half" elsewhere. Parts without words vanish, with the half behind them. */
static void put_part(kd_pass_out *out, const kd_chars *in, size_t from, size_t to, bool last) {
    kd_chars part = {.at = in->at + from, .count = to - from};
    kd_word w, final = {.meaning = &kd_no_word};
    for (size_t at = 0; (w = kd_word_read(&part, &at)).count > 0;) final = w;
    if (final.count == 0) return;
    if (out->chars.count > 0) kd_pass_put(out, ' ');
    kd_pass_put_chars(out, part.at, part.count);
    if (last) return;
    bool number = kd_word_is_decimal(&final) || final.meaning->kind == KD_WORD_POWER;
    kd_pass_put_text(out, number ? " point five" : " and a half");
}

static void read_halves(kd_pass_out *out, const kd_chars *in) {
    size_t from = 0;
    for (size_t i = 0; i < in->count;) {
        size_t end = half_end(in, i);
        if (end) {
            put_part(out, in, from, i, false);
            from = end;
        }
        i = end ? end : i + 1;
    }
    put_part(out, in, from, in->count, true);
}

static bool is_letter(uint32_t c) {
    return c >= 'a' && c <= 'z';
}

static void part_letters_and_digits(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        uint32_t c = in->at[i], last = i > 0 ? in->at[i - 1] : 0;
        bool border = (is_letter(last) && kd_pass_is_ascii_digit(c)) ||
                      (kd_pass_is_ascii_digit(last) && is_letter(c));
        if (border) kd_pass_put(out, ' ');
        kd_pass_put(out, c);
    }
}

/* "1 st" and "1960 s" are one word. */
static void join_endings(kd_pass_out *out, const kd_chars *in) {
    static const char *const ending[] = {"st", "nd", "rd", "th", "s"};
    for (size_t i = 0; i < in->count; i++) {
        size_t at = i + 1;
        kd_pass_put(out, in->at[i]);
        if (!kd_pass_is_ascii_digit(in->at[i])) continue;
        while (at < in->count && kd_pass_is_space(in->at[at])) at++;
        for (int e = 0; e < 5 && at > i + 1; e++)
            if (kd_pass_starts(in, at, ending[e]) && kd_pass_at_border(in, at + strlen(ending[e])))
                i = at - 1;
    }
}

/* The end of one or two digits at i, up to a border; 0 when they are not there. */
static size_t cents_end(const kd_chars *in, size_t i) {
    for (size_t n = 2; n > 0; n--) {
        bool digits = i + n <= in->count;
        for (size_t j = i; digits && j < i + n; j++) digits = kd_pass_is_ascii_digit(in->at[j]);
        if (digits && kd_pass_at_border(in, i + n)) return i + n;
    }
    return 0;
}

static bool is_currency(const kd_chars *in, size_t i) {
    return i < in->count && (in->at[i] == '$' || in->at[i] == KD_POUND || in->at[i] == KD_EURO);
}

/* "$2 and ¢7" → "$2.07" */
static void join_cents(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        kd_pass_put(out, in->at[i]);
        if (!is_currency(in, i)) continue;
        size_t whole = i + 1, at = whole;
        while (at < in->count && kd_pass_is_ascii_digit(in->at[at])) at++;
        if (at == whole || !kd_pass_starts(in, at, " ")) continue;
        size_t cents = at + (kd_pass_starts(in, at, " and ") ? 5 : 1);
        size_t end = cents < in->count && in->at[cents] == KD_CENT ? cents_end(in, cents + 1) : 0;
        if (!end) continue;
        kd_pass_put_chars(out, in->at + whole, at - whole);
        kd_pass_put(out, '.');
        if (end == cents + 2) kd_pass_put(out, '0');
        kd_pass_put_chars(out, in->at + cents + 1, end - cents - 1);
        i = end - 1;
    }
}

/* "$0.07" → "¢7" */
static void take_out_cents(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        bool none = is_currency(in, i) && kd_pass_starts(in, i + 1, "0") && i + 2 < in->count &&
                    in->at[i + 2] != '\n';
        size_t end = none ? cents_end(in, i + 3) : 0;
        if (!end) {
            kd_pass_put(out, in->at[i]);
            continue;
        }
        kd_pass_put(out, KD_CENT);
        if (end == i + 5 && in->at[i + 3] != '0') kd_pass_put(out, in->at[i + 3]);
        kd_pass_put(out, in->at[end - 1]);
        i = end - 1;
    }
}

/* A 1 of its own reads better as a word. */
static void write_ones(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        size_t end = i + 1;
        bool one = in->at[i] == '1' && kd_pass_at_border(in, i);
        if (one && kd_pass_starts(in, end, "s") && kd_pass_at_border(in, end + 1)) end++;
        if (one && kd_pass_at_border(in, end))
            kd_pass_put_text(out, "one");
        else
            kd_pass_put(out, in->at[i]);
    }
}

kd_pass *const kd_number_passes[] = {
    read_halves, part_letters_and_digits, join_endings, kd_pass_read_numbers,
    join_cents,  take_out_cents,          write_ones};
const int kd_number_pass_count = sizeof kd_number_passes / sizeof *kd_number_passes;
