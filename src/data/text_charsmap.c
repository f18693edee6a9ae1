#include "data/text_charsmap.h"

#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

static uint32_t unit_at(const char *trie, size_t i) {
    uint32_t unit;
    memcpy(&unit, trie + 4 * i, sizeof unit);
    return unit;
}

int kd_charsmap_check(const char *map, size_t map_length) {
    if (map_length < 8)
        return kd_fail(KD_EDATA, "a table of replacements of %zu bytes, should have 8 or more",
                       map_length);
    const uint32_t bytes = unit_at(map, 0);
    if (bytes % 4 || bytes < 4 || bytes > map_length - 4)
        return kd_fail(
            KD_EDATA,
            "a table of replacements of %zu bytes says that its trie has %u, should be a "
            "multiple of 4 within it",
            map_length, bytes);
    if (map_length > 4 + (size_t)bytes && map[map_length - 1] != '\0')
        return kd_fail(KD_EDATA, "a table of replacements whose last text does not end");
    return KD_OK;
}

/* A unit: bits 0-7 the label (and bit 31 where it is a value), bit 8 whether a value is below,
 * 10-31 the offset, which counts in 256s where bit 9 is set. */
static uint32_t offset_of(uint32_t unit) {
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The value of the longest key that `text` begins with, and its length; 0: none. */
static size_t longest(uint32_t *value, const char *trie, size_t units, const char *text,
                      size_t length) {
    size_t found = 0, node = offset_of(unit_at(trie, 0));
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        node ^= c;
        if (c == 0 || node >= units) break;
        const uint32_t unit = unit_at(trie, node);
        if ((unit & (1u << 31 | 0xFF)) != c) break;
        node ^= offset_of(unit);
        if (!(unit & 1u << 8)) continue;
        if (node >= units) break;
        *value = unit_at(trie, node) & 0x7FFFFFFF;
        found = i + 1;
    }
    return found;
}

size_t kd_charsmap_next(const char **out, size_t *out_length, const char *map, size_t map_length,
                        const char *text, size_t length) {
    const uint32_t bytes = unit_at(map, 0);
    const char *texts = map + 4 + bytes;
    uint32_t value = 0;
    const size_t found = longest(&value, map + 4, bytes / 4, text, length);
    if (found == 0 || value >= map_length - 4 - bytes) {
        const int n = kd_utf8_length(text, length);
        *out = text;
        *out_length = n > 0 ? (size_t)n : 1;
        return *out_length;
    }
    *out = texts + value;
    *out_length = strlen(*out);
    return found;
}
