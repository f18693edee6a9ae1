#include <stdlib.h>
#include <string.h>

#include "data/utterances.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* The first byte chooses the form. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_utterances utterances = {0};
    if (length == 0) return 0;
    char *text = malloc(length); /* as kd_file_read gives it */
    if (!text) return 0;
    memcpy(text, bytes + 1, length - 1);
    text[length - 1] = '\0';
    const char *path = bytes[0] % 2 ? "folder/list.jsonl" : "folder/list.tsv";
    if (kd_utterances_parse(&utterances, text, length - 1, path) == 0)
        for (int64_t i = 0; i < utterances.count; i++)
            if (utterances.item[i].audio[0] == '\0') abort();
    kd_utterances_free(&utterances);
    free(text);
    return 0;
}
