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
    if (used < 0) used = 0;
    if ((size_t)used < sizeof last_message)
        snprintf(last_message + used, sizeof last_message - (size_t)used, ": %s", inner);
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
