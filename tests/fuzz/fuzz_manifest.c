#include <stdlib.h>
#include <string.h>

#include "data/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    kd_manifest manifest = {0};
    char *text = malloc(length + 1); /* as kd_file_read gives it */
    if (!text) return 0;
    memcpy(text, bytes, length);
    text[length] = '\0';
    if (kd_manifest_parse(&manifest, text, length, "folder/list.tsv") == 0) {
        char(*names)[KD_CLASS_NAME_MAX];
        int count;
        if (kd_manifest_labels(&names, &count, &manifest, "list.tsv") == 0)
            for (int64_t i = 0; i < manifest.count; i++)
                if (kd_manifest_find(names, count, manifest.entry[i].label) < 0) abort();
        free(names);
    }
    kd_manifest_free(&manifest);
    free(text);
    return 0;
}
