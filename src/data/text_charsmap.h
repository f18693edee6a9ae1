/* SentencePiece's table of replacements ("precompiled_charsmap"): u32 the trie's bytes, a
 * double-array trie of u32 units (darts-clone), then 0-terminated texts, which the trie's values
 * point at. A text is replaced from left to right, each time by what the longest match says.
 * Private to src/data. */
#ifndef KD_DATA_TEXT_CHARSMAP_H
#define KD_DATA_TEXT_CHARSMAP_H

#include <stddef.h>

/* KD_EDATA when the table is not what it should be. */
int kd_charsmap_check(const char *map, size_t map_length);
/* What stands for the start of `text` (valid UTF-8, length > 0): *out, *out_length bytes, in the
 * map or in `text`. Returns how many bytes it stands for. */
size_t kd_charsmap_next(const char **out, size_t *out_length, const char *map, size_t map_length,
                        const char *text, size_t length);

#endif
