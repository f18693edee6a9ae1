/* What a tokenizer does to a text before it splits it: Unicode's normal forms, case, accents,
 * white space, as tokenizer.json ("normalizer") and SentencePiece's models say. */
#ifndef KD_DATA_TEXT_NORMAL_H
#define KD_DATA_TEXT_NORMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    KD_NORMAL_NFC,
    KD_NORMAL_NFD,
    KD_NORMAL_NFKC,
    KD_NORMAL_NFKD,
    KD_NORMAL_LOWER,      /* each character by itself                              */
    KD_NORMAL_MARKS,      /* all marks (M*) are left out                           */
    KD_NORMAL_ACCENTS,    /* those that take no room (Mn) are left out, as by BERT */
    KD_NORMAL_BERT_CLEAN, /* controls left out, each white space is a space        */
    KD_NORMAL_BERT_CJK,   /* a space on both sides of each Chinese character       */
    KD_NORMAL_REPLACE,    /* each `from` by `to`                                   */
    KD_NORMAL_PREPEND,    /* `to` in front, unless the text is empty               */
    KD_NORMAL_SPACES,     /* two or more spaces by one `to`                        */
    KD_NORMAL_TRIM,       /* spaces (U+0020) at the start and the end              */
    KD_NORMAL_STRIP_LEFT, /* white space at the start, at the end                  */
    KD_NORMAL_STRIP_RIGHT,
    KD_NORMAL_CHARSMAP /* SentencePiece's table of replacements                     */
} kd_normal_kind;

typedef struct {
    kd_normal_kind kind;
    char *from, *to; /* owned; `from` of a CHARSMAP is the table, 4-aligned */
    size_t from_length, to_length;
} kd_normal_step;

enum { KD_NORMAL_STEPS_MAX = 12 };

typedef struct {
    kd_normal_step step[KD_NORMAL_STEPS_MAX];
    int count;
} kd_text_normal;

/* The expressions by which tokenizer.json says KD_NORMAL_SPACES and KD_NORMAL_TRIM. */
#define KD_EXPRESSION_SPACES " {2,}"
#define KD_EXPRESSION_TRIM   "\\A +| +\\z"

/* Appends a step; bytes are copied. KD_EDATA when there are too many, or the table is none. */
int kd_text_normal_add(kd_text_normal *normal, kd_normal_kind kind, const char *from,
                       size_t from_length, const char *to);
void kd_text_normal_clear(kd_text_normal *normal);

/* Valid UTF-8 → *out, 0-terminated, which the caller frees. */
int kd_text_normal_apply(char **out, size_t *out_length, const kd_text_normal *normal,
                         const char *text, size_t length);

#endif
