/* Word error rates. Texts are words between white space: normalise them first
 * (data/text_normalizer.h). */
#ifndef KD_DATA_WER_H
#define KD_DATA_WER_H

#include <stdint.h>

/* What turns the reference into the hypothesis with the fewest changes; of several such ways, the
 * one with the fewest substitutions. */
typedef struct {
    int64_t words; /* of the reference */
    int64_t substitutions, deletions, insertions;
} kd_wer;

/* One utterance, 0-terminated UTF-8. KD_EINTERNAL without memory. */
int kd_wer_count(kd_wer *out, const char *reference, const char *hypothesis);

/* Every word counts the same: the sum of all changes / the sum of all words of the references.
 * Without words it is an infinity when there are changes, and NAN when there are none. */
double kd_wer_rate(const kd_wer *utterance, int64_t count);

/* The interval that holds the rate with `confidence` (0.95, say): percentiles of the rates of
 * `rounds` sets drawn with replacement from the utterances (Efron's bootstrap; Bisani and Ney
 * 2004). A set that has no words could have any rate; where there are too many of those, *high is
 * INFINITY. The same numbers give the same interval. KD_EINTERNAL without memory. */
int kd_wer_interval(double *low, double *high, const kd_wer *utterance, int64_t count,
                    double confidence, int rounds, uint64_t seed);

#endif
