/* How a text is split into the pieces within which byte-pair encoding joins: the expressions of
 * published tokenizers, each written out as a small splitter over Unicode's classes. */
#ifndef KD_DATA_TEXT_SPLIT_H
#define KD_DATA_TEXT_SPLIT_H

#include <stddef.h>

typedef enum {
    KD_SPLIT_NONE,   /* one piece                                              */
    KD_SPLIT_GPT2,   /* GPT-2, Whisper                                         */
    KD_SPLIT_DIGITS, /* SmolLM, StarCoder: each digit alone, between them GPT-2 */
    KD_SPLIT_LLAMA3, /* Llama 3: up to three digits together                   */
    KD_SPLIT_QWEN2,  /* Qwen 2 to 3: as Llama 3, each digit alone              */
    KD_SPLIT_WORDS   /* a piece begins at each "▁" (SentencePiece's space)     */
} kd_split;

/* Where the piece ends that begins at text[at], at < length. Bytes that are not UTF-8 are
 * characters of no class. */
size_t kd_split_next(kd_split how, const char *text, size_t length, size_t at);

/* The way that a regular expression of a tokenizer.json splits, or KD_SPLIT_NONE when it is none of
 * those above. */
kd_split kd_split_of_expression(const char *expression);
/* The expression (KD_SPLIT_GPT2, _LLAMA3, _QWEN2), else NULL. */
const char *kd_split_expression(kd_split how);

#endif
