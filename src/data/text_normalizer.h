/* The text normalisers of Whisper's evaluation (Radford et al. 2022, appendix C), so that word
 * error rates count misheard words and not ways of writing. */
#ifndef KD_DATA_TEXT_NORMALIZER_H
#define KD_DATA_TEXT_NORMALIZER_H

/* English: lower case; what stands in brackets and fillers (hmm, uh, um …) left out; contractions
 * and titles written out; numbers in digits ("two dollars and seven cents" → "$2.07"); American
 * spelling; no accents, no symbols but those of numbers; single spaces. Bytes that are not UTF-8
 * count as U+FFFD. *out is 0-terminated; the caller frees it. KD_EINTERNAL without memory. */
int kd_normalize_english(char **out, const char *text);

/* Any language: lower case, what stands in brackets left out, symbols, punctuation and marks
 * replaced by spaces, single spaces. */
int kd_normalize_basic(char **out, const char *text);

/* The same with a space between every two letters, so that words are letters and a word error rate
 * is one of letters: for languages that write no spaces between words. A letter is what is seen as
 * one (an extended grapheme cluster). As in Whisper's evaluation the marks above and below the
 * letters of Thai, Lao and Burmese do not count: they have become spaces by then. */
int kd_normalize_letters(char **out, const char *text);

#endif
