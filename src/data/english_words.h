/* The words of numbers, for the files that read numbers. Private to src/data. */
#ifndef KD_DATA_ENGLISH_WORDS_H
#define KD_DATA_ENGLISH_WORDS_H

#include "data/text_pass.h"

typedef enum {
    KD_WORD_OTHER,
    KD_WORD_ZERO,         /* "oh"                                       */
    KD_WORD_ONE,          /* 1 to 19                                    */
    KD_WORD_ONE_ENDING,   /* "first", "sixes": ends the number          */
    KD_WORD_TEN,          /* 20 to 90                                   */
    KD_WORD_TEN_ENDING,   /* "twentieth", "sixties"                     */
    KD_WORD_POWER,        /* number: the power of ten                   */
    KD_WORD_POWER_ENDING, /* "hundredth", "millions"                    */
    KD_WORD_SIGN,         /* symbol in front of the number that follows */
    KD_WORD_CURRENCY,     /* symbol in front of the number before       */
    KD_WORD_PER,
    KD_WORD_PERCENT,
    KD_WORD_AND,
    KD_WORD_POINT,
    KD_WORD_REPEAT /* number: how often the next digit is said   */
} kd_word_kind;

typedef struct {
    const char *text;
    kd_word_kind kind;
    int number;
    const char *ending; /* behind the number: "st", "s" */
    uint32_t symbol;
} kd_number_word;

/* One word of the text and what it is. */
typedef struct {
    const uint32_t *at;
    size_t count;                  /* 0: there is no such word          */
    const kd_number_word *meaning; /* kd_no_word: no number word */
    bool digits;                   /* 12 or 12.5                        */
} kd_word;

enum { KD_POUND = 0xA3, KD_EURO = 0x20AC, KD_CENT = 0xA2 };

extern const kd_number_word kd_no_word; /* the meaning of other words */

/* The next word from *at on; count 0 at the end. */
kd_word kd_word_read(const kd_chars *in, size_t *at);

/* Decimal digits of any script, maybe a point with more digits behind. */
bool kd_word_is_written(const uint32_t *at, size_t count);

/* Can the word continue a number? Can it stand behind "point"? */
bool kd_word_is_numeric(const kd_word *w);
bool kd_word_is_decimal(const kd_word *w);

/* The pass that turns the words into digits. */
kd_pass kd_pass_read_numbers;

#endif
