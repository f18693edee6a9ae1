/* Assertions on functions that return a kd_status. Include after cmocka.h. */
#ifndef KD_TESTS_ASSERTS_H
#define KD_TESTS_ASSERTS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* KD_FAULTS=all (make check): every case of a test that otherwise tries some of them. */
static inline bool thoroughly(void) {
    const char *how = getenv("KD_FAULTS");
    return how && strcmp(how, "all") == 0;
}

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != KD_OK) fail_msg("%s: %s", #call, kd_error());                                \
    } while (0)

/* Refused with `status`, and the message says `part`. */
#define assert_refused(call, status, part)                                                         \
    do {                                                                                           \
        assert_int_equal(call, status);                                                            \
        if (!strstr(kd_error(), part)) fail_msg("'%s' does not say '%s'", kd_error(), part);       \
    } while (0)

#endif
