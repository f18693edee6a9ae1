/* The strict grammar behind json.c (RFC 8259): says exactly where a text stops being JSON. */
#ifndef KD_BASE_JSON_SCAN_H
#define KD_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *text;
    size_t length;
    size_t at;      /* on failure: the offset of what is wrong              */
    char what[160]; /* and what that is                                     */
    int *offset;    /* of every value, or of its key, in document order; the caller frees */
    size_t count, capacity;
    int depth;
    bool failed_memory;
} kd_json_scan;

/* Set text and length, the rest 0. */
bool kd_json_scan_all(kd_json_scan *scan);

/* The offset of the value whose key is at offset `key` of a text that was scanned. */
size_t kd_json_value_behind_key(const char *text, size_t key);

#endif
