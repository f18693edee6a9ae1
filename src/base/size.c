#include "base/size.h"

#include <stdbool.h>

size_t kd_array_bytes(int64_t count, size_t each) {
    size_t bytes = 0;
    const bool too_large = count < 0 || __builtin_mul_overflow(count, each, &bytes);
    return too_large || bytes > PTRDIFF_MAX ? (size_t)PTRDIFF_MAX + 1 : bytes;
}
