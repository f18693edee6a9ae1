#include "data/english_words.h"

#include <string.h>

#define SMALL(n, one, many, nth, th)                                                               \
    {one, KD_WORD_ONE, n, NULL, 0}, {many, KD_WORD_ONE_ENDING, n, "s", 0}, {                       \
        nth, KD_WORD_ONE_ENDING, n, th, 0                                                          \
    }
#define TENS(n, start)                                                                             \
    {start "y", KD_WORD_TEN, n, NULL, 0}, {start "ies", KD_WORD_TEN_ENDING, n, "s", 0}, {          \
        start "ieth", KD_WORD_TEN_ENDING, n, "th", 0                                               \
    }
#define POWERS(n, one)                                                                             \
    {one, KD_WORD_POWER, n, NULL, 0}, {one "s", KD_WORD_POWER_ENDING, n, "s", 0}, {                \
        one "th", KD_WORD_POWER_ENDING, n, "th", 0                                                 \
    }

/* "nineth", and no "ninth", is the published table's. */
static const kd_number_word words[] = {
    {"o", KD_WORD_ZERO, 0, NULL, 0},
    {"oh", KD_WORD_ZERO, 0, NULL, 0},
    {"zero", KD_WORD_ZERO, 0, NULL, 0},
    {"zeroth", KD_WORD_ONE_ENDING, 0, "th", 0},
    SMALL(1, "one", "ones", "first", "st"),
    SMALL(2, "two", "twos", "second", "nd"),
    SMALL(3, "three", "threes", "third", "rd"),
    SMALL(4, "four", "fours", "fourth", "th"),
    SMALL(5, "five", "fives", "fifth", "th"),
    SMALL(6, "six", "sixes", "sixth", "th"),
    SMALL(7, "seven", "sevens", "seventh", "th"),
    SMALL(8, "eight", "eights", "eighth", "th"),
    SMALL(9, "nine", "nines", "nineth", "th"),
    SMALL(10, "ten", "tens", "tenth", "th"),
    SMALL(11, "eleven", "elevens", "eleventh", "th"),
    SMALL(12, "twelve", "twelves", "twelfth", "th"),
    SMALL(13, "thirteen", "thirteens", "thirteenth", "th"),
    SMALL(14, "fourteen", "fourteens", "fourteenth", "th"),
    SMALL(15, "fifteen", "fifteens", "fifteenth", "th"),
    SMALL(16, "sixteen", "sixteens", "sixteenth", "th"),
    SMALL(17, "seventeen", "seventeens", "seventeenth", "th"),
    SMALL(18, "eighteen", "eighteens", "eighteenth", "th"),
    SMALL(19, "nineteen", "nineteens", "nineteenth", "th"),
    TENS(20, "twent"),
    TENS(30, "thirt"),
    TENS(40, "fort"),
    TENS(50, "fift"),
    TENS(60, "sixt"),
    TENS(70, "sevent"),
    TENS(80, "eight"),
    TENS(90, "ninet"),
    POWERS(2, "hundred"),
    POWERS(3, "thousand"),
    POWERS(6, "million"),
    POWERS(9, "billion"),
    POWERS(12, "trillion"),
    POWERS(15, "quadrillion"),
    POWERS(18, "quintillion"),
    POWERS(21, "sextillion"),
    POWERS(24, "septillion"),
    POWERS(27, "octillion"),
    POWERS(30, "nonillion"),
    POWERS(33, "decillion"),
    {"minus", KD_WORD_SIGN, 0, NULL, '-'},
    {"negative", KD_WORD_SIGN, 0, NULL, '-'},
    {"plus", KD_WORD_SIGN, 0, NULL, '+'},
    {"positive", KD_WORD_SIGN, 0, NULL, '+'},
    {"pound", KD_WORD_CURRENCY, 0, NULL, KD_POUND},
    {"pounds", KD_WORD_CURRENCY, 0, NULL, KD_POUND},
    {"euro", KD_WORD_CURRENCY, 0, NULL, KD_EURO},
    {"euros", KD_WORD_CURRENCY, 0, NULL, KD_EURO},
    {"dollar", KD_WORD_CURRENCY, 0, NULL, '$'},
    {"dollars", KD_WORD_CURRENCY, 0, NULL, '$'},
    {"cent", KD_WORD_CURRENCY, 0, NULL, KD_CENT},
    {"cents", KD_WORD_CURRENCY, 0, NULL, KD_CENT},
    {"per", KD_WORD_PER, 0, NULL, 0},
    {"percent", KD_WORD_PERCENT, 0, NULL, 0},
    {"and", KD_WORD_AND, 0, NULL, 0},
    {"point", KD_WORD_POINT, 0, NULL, 0},
    {"double", KD_WORD_REPEAT, 2, NULL, 0},
    {"triple", KD_WORD_REPEAT, 3, NULL, 0},
};

const kd_number_word kd_no_word = {"", KD_WORD_OTHER, 0, NULL, 0};

bool kd_word_is_written(const uint32_t *at, size_t count) {
    size_t i = 0;
    while (i < count && kd_char_digit(at[i]) >= 0) i++;
    if (i == 0 || i == count) return i > 0;
    size_t point = i;
    if (at[i++] != '.') return false;
    while (i < count && kd_char_digit(at[i]) >= 0) i++;
    return i == count && i > point + 1;
}

kd_word kd_word_read(const kd_chars *in, size_t *at) {
    size_t start, end;
    kd_word w = {.meaning = &kd_no_word};
    if (!kd_pass_next_word(in, at, &start, &end)) return w;
    w.at = in->at + start;
    w.count = end - start;
    w.digits = kd_word_is_written(w.at, w.count);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i].text) == w.count && kd_pass_starts(in, start, words[i].text))
            w.meaning = &words[i];
    return w;
}

bool kd_word_is_numeric(const kd_word *w) {
    return w->meaning->kind != KD_WORD_OTHER || w->digits;
}

bool kd_word_is_decimal(const kd_word *w) {
    kd_word_kind kind = w->meaning->kind;
    return kind == KD_WORD_ZERO || kind == KD_WORD_ONE || kind == KD_WORD_TEN;
}
