#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char last_message[4096];

int kd_fail(int status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_message, sizeof last_message, format, arguments);
    va_end(arguments);
    return status;
}

int kd_fail_in(int status, const char *format, ...) {
    char inner[sizeof last_message];
    memcpy(inner, last_message, sizeof inner);
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(last_message, sizeof last_message, format, arguments);
    va_end(arguments);
    size_t at = used < 0 ? 0 : (size_t)used;
    if (at + 3 < sizeof last_message) {
        memcpy(last_message + at, ": ", 2);
        size_t room = sizeof last_message - at - 3, length = strlen(inner);
        if (length > room) length = room;
        memcpy(last_message + at + 2, inner, length);
        last_message[at + 2 + length] = '\0';
    }
    return status;
}

int kd_fail_memory(unsigned long long bytes, const char *what) {
    return kd_fail(KD_EINTERNAL, "out of memory: %llu bytes for %s", bytes, what);
}

const char *kd_error(void) {
    return last_message;
}

void kd_contract_broken(const char *file, int line, const char *function, const char *format, ...) {
    fprintf(stderr, "%s:%d: %s: broken contract: ", file, line, function);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    abort();
}
