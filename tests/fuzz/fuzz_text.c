/* Any text through both normalisers; the results, compared by words. */
#include <stdlib.h>
#include <string.h>

#include "data/text_normalizer.h"
#include "data/wer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    char *text = malloc(length + 1), *english, *basic;
    kd_wer wer;
    if (!text) return 0;
    if (length > 0) memcpy(text, bytes, length);
    text[length] = '\0';
    if (kd_normalize_english(&english, text) < 0 || kd_normalize_basic(&basic, text) < 0) abort();
    if (length < 4096 && kd_wer_count(&wer, english, basic) < 0) abort();
    if (length < 4096 && (wer.deletions < 0 || wer.insertions < 0)) abort();
    free(english);
    free(basic);
    free(text);
    return 0;
}
