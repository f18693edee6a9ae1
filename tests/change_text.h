/* Changing text files that a test has made. Include after test_data.h. */
#ifndef KD_TESTS_CHANGE_TEXT_H
#define KD_TESTS_CHANGE_TEXT_H

#include "asserts.h"

/* The text file with `from`, which must be in it, replaced by `to`. */
static inline void change_text(const char *path, const char *from, const char *to) {
    char *text;
    size_t length, front = strlen(from), back = strlen(to);
    assert_ok(kd_file_read(&text, &length, path, 1 << 24));
    char *at = memmem(text, length, from, front);
    if (!at) fail_msg("%s lacks %s", path, from);
    char *changed = malloc(length + back);
    assert_non_null(changed);
    const size_t before = (size_t)(at - text), behind = length - before - front;
    memcpy(changed, text, before);
    memcpy(changed + before, to, back);
    memcpy(changed + before + back, at + front, behind);
    assert_ok(kd_file_replace(path, changed, before + back + behind));
    free(changed);
    free(text);
}

#endif
