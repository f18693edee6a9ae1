/* What of distill.h belongs to no part of it. */
#include "base/error.h"
#include "distill.h"

const char *distill_version(void) {
    return DISTILL_VERSION;
}

const char *distill_error(void) {
    return kd_error();
}
