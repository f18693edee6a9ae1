/* Numbers written as words → digits, in lower-case English: "minus two hundred and five point one"
 * →
 * "-205.1". A machine reads word after word and holds the number so far, as a whole number (to
 * which "hundred" or "five" still add) or as written digits (to which others are only appended). */
#include <stdlib.h>
#include <string.h>

#include "data/english_words.h"

static bool is_prefix(uint32_t c) {
    return c == '-' || c == '+' || c == '$' || c == KD_POUND || c == KD_EURO || c == KD_CENT;
}

/* --- the number so far ------------------------------------------------------------------------ */

typedef enum { NOTHING, WHOLE, WRITTEN } value_kind;

typedef struct {
    kd_pass_out *out;
    kd_word before, now, next;
    bool skip; /* the next word was used already */
    uint32_t prefix;
    value_kind kind;
    kd_pass_out value; /* WHOLE: ASCII digits, no zeros in front; WRITTEN: anything */
} machine;

static size_t length(const machine *m) {
    return m->value.chars.count;
}

static void append_number(machine *m, int number) {
    if (number >= 10) kd_pass_put(&m->value, (uint32_t)('0' + number / 10));
    kd_pass_put(&m->value, (uint32_t)('0' + number % 10));
}

/* Whole 0 counts as nothing where digits are appended. */
static void become_written(machine *m) {
    bool zero = m->kind == WHOLE && length(m) == 1 && m->value.chars.at[0] == '0';
    if (m->kind == NOTHING || zero) m->value.chars.count = 0;
    m->kind = WRITTEN;
}

static void set_number(machine *m, int number) {
    m->value.chars.count = 0;
    append_number(m, number);
    m->kind = WHOLE;
}

/* Ends a word of the output: `at`, or the number so far, with the prefix that waits. */
static void give_chars(machine *m, const uint32_t *at, size_t count, const char *ending) {
    if (m->out->chars.count > 0) kd_pass_put(m->out, ' ');
    if (m->prefix) kd_pass_put(m->out, m->prefix);
    kd_pass_put_chars(m->out, at, count);
    if (ending) kd_pass_put_text(m->out, ending);
    m->prefix = 0;
    m->kind = NOTHING;
    m->value.chars.count = 0;
}

static void give_value(machine *m, const char *ending) {
    give_chars(m, m->value.chars.at, length(m), ending);
}

static void give_value_if_any(machine *m) {
    if (m->kind != NOTHING) give_value(m, NULL);
}

static void give_word(machine *m) {
    give_chars(m, m->now.at, m->now.count, NULL);
}

static bool ends_with_zeros(const machine *m, size_t zeros) {
    const kd_chars *v = &m->value.chars;
    if (v->count == 1 && v->at[0] == '0') return true;
    for (size_t i = 0; i < zeros; i++)
        if (i >= v->count || v->at[v->count - 1 - i] != '0') return false;
    return true;
}

/* Puts number (1 to 99) where the whole number ends with as many zeros. */
static void fill_zeros(machine *m, int number) {
    size_t digits = number < 10 ? 1 : 2;
    m->value.chars.count = length(m) > digits ? length(m) - digits : 0;
    append_number(m, number);
}

/* Adds 1 to 19 said behind what is there. */
static void add_one(machine *m, int number) {
    if (m->kind == NOTHING) {
        set_number(m, number);
    } else if (m->kind == WRITTEN || m->before.meaning->kind == KD_WORD_ONE) {
        if (m->before.meaning->kind == KD_WORD_TEN && number < 10)
            m->value.chars.count--; /* "twenty" "two" of written digits: its 0 goes */
        append_number(m, number);
        m->kind = WRITTEN;
    } else if (ends_with_zeros(m, number < 10 ? 1 : 2)) {
        fill_zeros(m, number);
    } else {
        append_number(m, number);
        m->kind = WRITTEN;
    }
}

static void add_ten(machine *m, int number) {
    if (m->kind == NOTHING) {
        set_number(m, number);
    } else if (m->kind == WHOLE && ends_with_zeros(m, 2)) {
        fill_zeros(m, number);
    } else {
        append_number(m, number);
        m->kind = WRITTEN;
    }
}

static void drop_leading_zeros(kd_chars *digits) {
    size_t zeros = 0;
    while (zeros + 1 < digits->count && digits->at[zeros] == '0') zeros++;
    digits->count -= zeros;
    memmove(digits->at, digits->at + zeros, digits->count * sizeof *digits->at);
}

/* The whole number's last three digits times ten to the power, the others staying as they are:
 * "two thousand three hundred" is 2003 → 2300. */
static void multiply_last(machine *m, size_t power) {
    kd_chars *v = &m->value.chars;
    size_t low = v->count < 3 ? v->count : 3,
           places = v->count > low + power ? v->count : low + power;
    kd_pass_out sum = {.status = KD_OK};
    for (size_t i = 0; i < places + 1; i++) kd_pass_put(&sum, '0');
    if (sum.status == KD_OK) {
        uint32_t carry = 0;
        for (size_t i = 0; i < places + 1; i++) { /* the digit worth ten to the i */
            uint32_t digit = carry;
            if (i >= 3 && i < v->count) digit += v->at[v->count - 1 - i] - '0';
            if (i >= power && i - power < low) digit += v->at[v->count - 1 - (i - power)] - '0';
            sum.chars.at[places - i] = '0' + digit % 10;
            carry = digit / 10;
        }
        drop_leading_zeros(&sum.chars);
    }
    if (sum.status < 0) m->value.status = sum.status;
    free(v->at);
    *v = sum.chars;
}

/* Written digits, maybe with a point, times ten to the power, as a whole number; false (nothing has
 * changed) when they are no number or a fraction is left. */
static bool multiply_written(machine *m, size_t power) {
    kd_chars *v = &m->value.chars;
    size_t point = v->count, digits = 0;
    for (size_t i = 0; i < v->count; i++) {
        if (kd_char_digit(v->at[i]) >= 0)
            digits++;
        else if (v->at[i] == '.' && point == v->count)
            point = i;
        else
            return false;
    }
    if (digits == 0) return false;
    for (size_t i = point + 1 + power; i < v->count; i++)
        if (kd_char_digit(v->at[i]) != 0) return false;
    kd_pass_out whole = {.status = KD_OK};
    for (size_t i = 0; i < point; i++)
        kd_pass_put(&whole, (uint32_t)('0' + kd_char_digit(v->at[i])));
    for (size_t i = point + 1; i < point + 1 + power; i++)
        kd_pass_put(&whole, i < v->count ? (uint32_t)('0' + kd_char_digit(v->at[i])) : '0');
    if (whole.status < 0)
        m->value.status = whole.status;
    else
        drop_leading_zeros(&whole.chars);
    free(v->at);
    *v = whole.chars;
    m->kind = WHOLE;
    return true;
}

static void set_power(machine *m, int power) {
    set_number(m, 1);
    for (int i = 0; i < power; i++) kd_pass_put(&m->value, '0');
}

/* "hundred" … "decillion". What cannot be multiplied is given out. */
static void add_power(machine *m, int power) {
    bool zero = m->kind == WHOLE && length(m) == 1 && m->value.chars.at[0] == '0';
    if (m->kind == NOTHING) {
        set_power(m, power);
    } else if (m->kind == WHOLE && !zero) {
        multiply_last(m, (size_t)power);
    } else if (m->kind == WRITTEN && !multiply_written(m, (size_t)power)) {
        give_value(m, NULL);
        set_power(m, power);
    }
}

/* --- the machine ------------------------------------------------------------------------------ */

/* 12, 12.50 or $12: a whole number when nothing but zeros stands behind the point. */
static void read_digits(machine *m, bool prefixed) {
    const kd_word *w = &m->now;
    kd_chars *v = &m->value.chars;
    if (m->kind == WRITTEN && v->count > 0 && v->at[v->count - 1] == '.') {
        kd_pass_put_chars(&m->value, w->at, w->count);
        return;
    }
    give_value_if_any(m);
    if (prefixed) m->prefix = w->at[0];
    kd_pass_put_chars(&m->value, w->at + prefixed, w->count - prefixed);
    m->kind = WRITTEN;
    if (m->value.status == KD_OK) multiply_written(m, 0);
}

static void read_sign(machine *m) {
    give_value_if_any(m);
    if (kd_word_is_numeric(&m->next))
        m->prefix = m->now.meaning->symbol;
    else
        give_word(m);
}

static void read_currency(machine *m) {
    if (m->kind == NOTHING) {
        give_word(m);
        return;
    }
    m->prefix = m->now.meaning->symbol;
    give_value(m, NULL);
}

static void read_percent(machine *m) {
    bool percent = m->now.meaning->kind == KD_WORD_PERCENT;
    if (m->kind == NOTHING) {
        give_word(m);
    } else if (percent) {
        give_value(m, "%");
    } else if (m->next.count == 4 && m->next.meaning->kind == KD_WORD_CURRENCY &&
               m->next.meaning->symbol == KD_CENT) { /* per cent */
        give_value(m, "%");
        m->skip = true;
    } else {
        give_value(m, NULL);
        give_word(m);
    }
}

/* and, point, double, triple: nothing special unless a number follows. */
static void read_special(machine *m) {
    kd_word_kind kind = m->now.meaning->kind, next = m->next.meaning->kind;
    bool plain = !kd_word_is_numeric(&m->next);
    if (kind == KD_WORD_AND && m->before.meaning->kind != KD_WORD_POWER) plain = true;
    if (kind == KD_WORD_REPEAT && next != KD_WORD_ONE && next != KD_WORD_ZERO) plain = true;
    if (plain) {
        give_value_if_any(m);
        give_word(m);
    } else if (kind == KD_WORD_REPEAT) {
        become_written(m);
        for (int i = 0; i < m->now.meaning->number; i++) append_number(m, m->next.meaning->number);
        m->skip = true;
    } else if (kind == KD_WORD_POINT && (kd_word_is_decimal(&m->next) || m->next.digits)) {
        become_written(m);
        kd_pass_put(&m->value, '.');
    }
}

static void read_number_word(machine *m) {
    const kd_number_word *w = m->now.meaning;
    switch (w->kind) {
    case KD_WORD_ZERO:
        become_written(m);
        kd_pass_put(&m->value, '0');
        break;
    case KD_WORD_ONE:
        add_one(m, w->number);
        break;
    case KD_WORD_ONE_ENDING:
        add_one(m, w->number);
        give_value(m, w->ending);
        break;
    case KD_WORD_TEN:
        add_ten(m, w->number);
        break;
    case KD_WORD_TEN_ENDING:
        add_ten(m, w->number);
        give_value(m, w->ending);
        break;
    case KD_WORD_POWER:
        add_power(m, w->number);
        break;
    case KD_WORD_POWER_ENDING:
        add_power(m, w->number);
        give_value(m, w->ending);
        break;
    case KD_WORD_SIGN:
        read_sign(m);
        break;
    case KD_WORD_CURRENCY:
        read_currency(m);
        break;
    case KD_WORD_PER:
    case KD_WORD_PERCENT:
        read_percent(m);
        break;
    default:
        read_special(m);
    }
}

void kd_pass_read_numbers(kd_pass_out *out, const kd_chars *in) {
    machine m = {.out = out, .before = {.meaning = &kd_no_word}};
    size_t at = 0;
    m.now = kd_word_read(in, &at);
    while (m.now.count > 0 && m.value.status == KD_OK) {
        m.next = kd_word_read(in, &at);
        bool prefixed = is_prefix(m.now.at[0]);
        if (m.skip) {
            m.skip = false;
        } else if (kd_word_is_written(m.now.at + prefixed, m.now.count - prefixed)) {
            read_digits(&m, prefixed);
        } else if (m.now.meaning->kind == KD_WORD_OTHER) {
            give_value_if_any(&m);
            give_word(&m);
        } else {
            read_number_word(&m);
        }
        m.before = m.now;
        m.now = m.next;
    }
    give_value_if_any(&m);
    if (m.value.status < 0) out->status = m.value.status;
    free(m.value.chars.at);
}
