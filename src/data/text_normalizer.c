#include "data/text_normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "data/spelling_table.inc"
#include "data/text_pass.h"

/* --- what passes are made of ------------------------------------------------------------------ */

int kd_pass_run(kd_chars *text, kd_pass *pass) {
    kd_pass_out out = {.status = KD_OK};
    pass(&out, text);
    free(text->at);
    *text = out.chars;
    return out.status;
}

bool kd_pass_is_space(uint32_t c) {
    return (c >= 0x1C && c <= 0x1F) || kd_char_class_of(c) == KD_CHAR_SPACE;
}

static bool in_word(uint32_t c) {
    kd_char_class class = kd_char_class_of(c);
    return class == KD_CHAR_LETTER || class == KD_CHAR_DIGIT || class == KD_CHAR_NUMBER || c == '_';
}

bool kd_pass_at_border(const kd_chars *text, size_t i) {
    bool before = i > 0 && in_word(text->at[i - 1]);
    return before != (i < text->count && in_word(text->at[i]));
}

bool kd_pass_starts(const kd_chars *text, size_t i, const char *ascii) {
    for (; *ascii; ascii++, i++)
        if (i >= text->count || text->at[i] != (unsigned char)*ascii) return false;
    return true;
}

bool kd_pass_next_word(const kd_chars *text, size_t *at, size_t *start, size_t *end) {
    while (*at < text->count && kd_pass_is_space(text->at[*at])) ++*at;
    *start = *at;
    while (*at < text->count && !kd_pass_is_space(text->at[*at])) ++*at;
    *end = *at;
    return *end > *start;
}

/* --- passes ----------------------------------------------------------------------------------- */

/* What stands in [], <> or any mixture of them, and behind that in (); not (). */
static void drop_square_brackets(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        size_t end = in->count;
        if (in->at[i] == '<' || in->at[i] == '[')
            for (end = i + 1; end < in->count && in->at[end] != '>' && in->at[end] != ']';) end++;
        if (end < in->count)
            i = end;
        else
            kd_pass_put(out, in->at[i]);
    }
}

static void drop_parentheses(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        size_t end = in->count;
        if (in->at[i] == '(' && i + 1 < in->count && in->at[i + 1] != ')')
            for (end = i + 1; end < in->count && in->at[end] != ')';) end++;
        if (end < in->count)
            i = end;
        else
            kd_pass_put(out, in->at[i]);
    }
}

static void drop_fillers(kd_pass_out *out, const kd_chars *in) {
    static const char *const filler[] = {"hmm", "mm", "mhm", "mmm", "uh", "um"};
    for (size_t i = 0; i < in->count;) {
        size_t n = 0;
        for (size_t f = 0; f < sizeof filler / sizeof *filler && kd_pass_at_border(in, i); f++)
            if (kd_pass_starts(in, i, filler[f]) && kd_pass_at_border(in, i + strlen(filler[f])))
                n = strlen(filler[f]);
        if (n == 0) kd_pass_put(out, in->at[i]);
        i += n ? n : 1;
    }
}

static void drop_space_before_apostrophe(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count;) {
        size_t end = i;
        while (end < in->count && kd_pass_is_space(in->at[end])) end++;
        if (end == i)
            kd_pass_put(out, in->at[end++]);
        else if (end == in->count || in->at[end] != '\'')
            kd_pass_put_chars(out, in->at + i, end - i);
        i = end;
    }
}

/* Written out in this order; '^' wants the border of a word in front, each ends at one. */
static const char *const short_forms[][2] = {
    {"^won't", "will not"},
    {"^can't", "can not"},
    {"^let's", "let us"},
    {"^ain't", "aint"},
    {"^y'all", "you all"},
    {"^wanna", "want to"},
    {"^gotta", "got to"},
    {"^gonna", "going to"},
    {"^i'ma", "i am going to"},
    {"^imma", "i am going to"},
    {"^woulda", "would have"},
    {"^coulda", "could have"},
    {"^shoulda", "should have"},
    {"^ma'am", "madam"},
    {"^mr", "mister "},
    {"^mrs", "missus "},
    {"^st", "saint "},
    {"^dr", "doctor "},
    {"^prof", "professor "},
    {"^capt", "captain "},
    {"^gov", "governor "},
    {"^ald", "alderman "},
    {"^gen", "general "},
    {"^sen", "senator "},
    {"^rep", "representative "},
    {"^pres", "president "},
    {"^rev", "reverend "},
    {"^hon", "honorable "},
    {"^asst", "assistant "},
    {"^assoc", "associate "},
    {"^lt", "lieutenant "},
    {"^col", "colonel "},
    {"^jr", "junior "},
    {"^sr", "senior "},
    {"^esq", "esquire "},
    {"'d been", " had been"},
    {"'s been", " has been"},
    {"'d gone", " had gone"},
    {"'s gone", " has gone"},
    {"'d done", " had done"},
    {"'s got", " has got"},
    {"n't", " not"},
    {"'re", " are"},
    {"'s", " is"},
    {"'d", " would"},
    {"'ll", " will"},
    {"'t", " not"},
    {"'ve", " have"},
    {"'m", " am"},
};

static void write_out(kd_pass_out *out, const kd_chars *in, const char *form, const char *full) {
    bool from_border = form[0] == '^';
    if (from_border) form++;
    size_t n = strlen(form);
    for (size_t i = 0; i < in->count;) {
        bool found = kd_pass_starts(in, i, form) && kd_pass_at_border(in, i + n) &&
                     (!from_border || kd_pass_at_border(in, i));
        if (found)
            kd_pass_put_text(out, full);
        else
            kd_pass_put(out, in->at[i]);
        i += found ? n : 1;
    }
}

static int write_out_short_forms(kd_chars *text) {
    int status = KD_OK;
    for (size_t i = 0; i < sizeof short_forms / sizeof *short_forms && status == KD_OK; i++) {
        kd_pass_out out = {.status = KD_OK};
        write_out(&out, text, short_forms[i][0], short_forms[i][1]);
        free(text->at);
        *text = out.chars;
        status = out.status;
    }
    return status;
}

static bool is_digit(uint32_t c) {
    return kd_char_digit(c) >= 0;
}

/* Commas between digits; a digit belongs to one comma only. */
static void drop_commas(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        kd_pass_put(out, in->at[i]);
        if (i + 2 < in->count && is_digit(in->at[i]) && in->at[i + 1] == ',' &&
            is_digit(in->at[i + 2])) {
            kd_pass_put(out, in->at[i + 2]);
            i += 2;
        }
    }
}

/* Periods that no digit follows become spaces; a period behind such a period stays. */
static void drop_periods(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        bool last = i + 1 == in->count;
        if (in->at[i] != '.' || (!last && kd_pass_is_ascii_digit(in->at[i + 1]))) {
            kd_pass_put(out, in->at[i]);
            continue;
        }
        kd_pass_put(out, ' ');
        if (!last) kd_pass_put(out, in->at[++i]);
    }
}

/* Letters that no decomposition takes apart. */
static const char *plain_letter(uint32_t c) {
    static const struct {
        uint32_t c;
        const char *plain;
    } letter[] = {{0x153, "oe"}, {0x152, "OE"}, {0xF8, "o"},  {0xD8, "O"},
                  {0xE6, "ae"},  {0xC6, "AE"},  {0xDF, "ss"}, {0x1E9E, "SS"},
                  {0x111, "d"},  {0x110, "D"},  {0xF0, "d"},  {0xD0, "D"},
                  {0xFE, "th"},  {0xDE, "th"},  {0x142, "l"}, {0x141, "L"}};
    for (size_t i = 0; i < sizeof letter / sizeof *letter; i++)
        if (letter[i].c == c) return letter[i].plain;
    return NULL;
}

/* For decomposed text: accents go, symbols become spaces, but for those of numbers. */
static void drop_symbols_and_accents(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        uint32_t c = in->at[i];
        kd_char_class class = kd_char_class_of(c);
        const char *plain = plain_letter(c);
        bool kept = c == '.' || c == '%' || c == '$' || c == 0xA2 || c == 0x20AC || c == 0xA3;
        if (plain)
            kd_pass_put_text(out, plain);
        else if (kept ||
                 (class != KD_CHAR_MARK && class != KD_CHAR_SYMBOL && class != KD_CHAR_ACCENT))
            kd_pass_put(out, c);
        else if (class != KD_CHAR_ACCENT)
            kd_pass_put(out, ' ');
    }
}

static void drop_symbols_and_marks(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        kd_char_class class = kd_char_class_of(in->at[i]);
        bool dropped = class == KD_CHAR_MARK || class == KD_CHAR_SYMBOL || class == KD_CHAR_ACCENT;
        kd_pass_put(out, dropped ? ' ' : in->at[i]);
    }
}

/* Kinds of conjoining Hangul jamo; syllables end in a vowel or behind it. */
typedef enum { NO_JAMO, LEADING, VOWEL, TRAILING, OPEN_SYLLABLE, CLOSED_SYLLABLE } jamo;

static jamo jamo_of(uint32_t c) {
    if ((c >= 0x1100 && c <= 0x115F) || (c >= 0xA960 && c <= 0xA97C)) return LEADING;
    if ((c >= 0x1160 && c <= 0x11A7) || (c >= 0xD7B0 && c <= 0xD7C6)) return VOWEL;
    if ((c >= 0x11A8 && c <= 0x11FF) || (c >= 0xD7CB && c <= 0xD7FB)) return TRAILING;
    if (c >= 0xAC00 && c <= 0xD7A3) return (c - 0xAC00) % 28 ? CLOSED_SYLLABLE : OPEN_SYLLABLE;
    return NO_JAMO;
}

/* Controls and invisible characters, each a letter of its own. */
static bool stands_alone(uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c <= 0x9F) || c == 0xAD || c == 0x200B ||
           (c >= 0x200E && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

static bool is_joiner(uint32_t c) {
    return c == 0x200C || c == 0x200D || (c >= 0xE0020 && c <= 0xE007F);
}

/* Whether b goes on with the letter that a is of (Unicode's annex 29, as far as it matters where
 * marks and symbols are gone): joiners and tags, and Hangul. */
static bool is_one_letter(uint32_t a, uint32_t b) {
    if (is_joiner(b)) return !stands_alone(a);
    const jamo x = jamo_of(a), y = jamo_of(b);
    if (x == LEADING) return y != NO_JAMO && y != TRAILING;
    if (x == OPEN_SYLLABLE || x == VOWEL) return y == VOWEL || y == TRAILING;
    return (x == CLOSED_SYLLABLE || x == TRAILING) && y == TRAILING;
}

static void part_letters(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        if (i > 0 && !is_one_letter(in->at[i - 1], in->at[i])) kd_pass_put(out, ' ');
        kd_pass_put(out, in->at[i]);
    }
}

static int compare_word(const kd_chars *text, size_t start, size_t end, const char *ascii) {
    for (; start < end; start++, ascii++) {
        uint32_t right = (unsigned char)*ascii; /* 0 at its end */
        if (text->at[start] != right) return text->at[start] < right ? -1 : 1;
    }
    return *ascii ? -1 : 0;
}

static const char *american(const kd_chars *text, size_t start, size_t end) {
    size_t low = 0, high = sizeof spelling / sizeof *spelling;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = compare_word(text, start, end, spelling[middle][0]);
        if (order == 0) return spelling[middle][1];
        if (order > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void spell(kd_pass_out *out, const kd_chars *in) {
    size_t at = 0, start, end;
    while (kd_pass_next_word(in, &at, &start, &end)) {
        const char *word = american(in, start, end);
        if (out->chars.count > 0) kd_pass_put(out, ' ');
        if (word)
            kd_pass_put_text(out, word);
        else
            kd_pass_put_chars(out, in->at + start, end - start);
    }
}

/* Symbols of numbers that no digit follows, and percent signs behind none. */
static void drop_lonely_prefixes(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        uint32_t c = in->at[i];
        bool prefix = c == '.' || c == '$' || c == 0xA2 || c == 0x20AC || c == 0xA3;
        if (!prefix || i + 1 == in->count || kd_pass_is_ascii_digit(in->at[i + 1])) {
            kd_pass_put(out, c);
            continue;
        }
        kd_pass_put(out, ' ');
        kd_pass_put(out, in->at[++i]);
    }
}

static void drop_lonely_percents(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        kd_pass_put(out, in->at[i]);
        if (i + 1 < in->count && !kd_pass_is_ascii_digit(in->at[i]) && in->at[i + 1] == '%') {
            kd_pass_put(out, ' ');
            i++;
        }
    }
}

static void join_spaces(kd_pass_out *out, const kd_chars *in) {
    for (size_t i = 0; i < in->count; i++) {
        bool space = kd_pass_is_space(in->at[i]);
        if (space && i > 0 && kd_pass_is_space(in->at[i - 1])) continue;
        kd_pass_put(out, space ? ' ' : in->at[i]);
    }
}

/* --- the normalisers -------------------------------------------------------------------------- */

static int run_all(kd_chars *text, kd_pass *const *passes, int count) {
    int status = KD_OK;
    for (int i = 0; i < count && status == KD_OK; i++) status = kd_pass_run(text, passes[i]);
    return status;
}

/* Frees the characters; *out is NULL when status says so. */
static int finish(char **out, kd_chars *text, int status) {
    char *bytes = status == KD_OK ? malloc(4 * text->count + 1) : NULL;
    if (status == KD_OK && !bytes) status = kd_fail_memory(4 * text->count + 1, "text");
    if (bytes) {
        size_t length = 0;
        for (size_t i = 0; i < text->count; i++)
            length += (size_t)kd_utf8_put(bytes + length, text->at[i]);
        bytes[length] = '\0';
    }
    free(text->at);
    *out = bytes;
    return status;
}

#define RUN(passes) run_all(&chars, passes, (int)(sizeof(passes) / sizeof *(passes)))

int kd_normalize_english(char **out, const char *text) {
    static kd_pass *const before[] = {drop_square_brackets, drop_parentheses, drop_fillers,
                                      drop_space_before_apostrophe};
    static kd_pass *const middle[] = {drop_commas, drop_periods};
    static kd_pass *const after[] = {spell, drop_lonely_prefixes, drop_lonely_percents,
                                     join_spaces};
    kd_chars chars = {0};
    int status = kd_chars_decode(&chars, text, strlen(text));
    if (status == KD_OK) status = kd_chars_lower(&chars);
    if (status == KD_OK) status = RUN(before);
    if (status == KD_OK) status = write_out_short_forms(&chars);
    if (status == KD_OK) status = RUN(middle);
    if (status == KD_OK) status = kd_chars_normalize(&chars, false, true);
    if (status == KD_OK) status = kd_pass_run(&chars, drop_symbols_and_accents);
    if (status == KD_OK) status = run_all(&chars, kd_number_passes, kd_number_pass_count);
    if (status == KD_OK) status = RUN(after);
    return finish(out, &chars, status);
}

static int normalize_basic(char **out, const char *text, bool letters) {
    static kd_pass *const before[] = {drop_square_brackets, drop_parentheses};
    kd_chars chars = {0};
    int status = kd_chars_decode(&chars, text, strlen(text));
    if (status == KD_OK) status = kd_chars_lower(&chars);
    if (status == KD_OK) status = RUN(before);
    if (status == KD_OK) status = kd_chars_normalize(&chars, true, true);
    if (status == KD_OK) status = kd_pass_run(&chars, drop_symbols_and_marks);
    if (status == KD_OK) status = kd_chars_lower(&chars);
    if (status == KD_OK && letters) status = kd_pass_run(&chars, part_letters);
    if (status == KD_OK) status = kd_pass_run(&chars, join_spaces);
    return finish(out, &chars, status);
}

int kd_normalize_basic(char **out, const char *text) {
    return normalize_basic(out, text, false);
}

int kd_normalize_letters(char **out, const char *text) {
    return normalize_basic(out, text, true);
}
