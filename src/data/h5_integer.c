/* Whole numbers as other programs store them: of any width, sign and byte order. */
#include <stdio.h>
#include <string.h>

#include "data/h5_inside.h"

bool kd_h5_describe_integer(kd_h5_integer *out, hid_t type) {
    const size_t size = H5Tget_size(type);
    const H5T_order_t order = H5Tget_order(type);
    *out = (kd_h5_integer){size, order == H5T_ORDER_BE, H5Tget_sign(type) != H5T_SGN_NONE};
    return H5Tget_class(type) == H5T_INTEGER && (size & (size - 1)) == 0 && size <= 8 &&
           H5Tget_precision(type) == 8 * size && (order == H5T_ORDER_LE || order == H5T_ORDER_BE);
}

/* The number at `from`, as a uint64_t and, where it is one, negative. */
static uint64_t integer_at(const unsigned char *from, const kd_h5_integer *type, bool *negative) {
    const size_t size = type->size;
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value = value << 8 | from[type->big ? i : size - 1 - i];
    *negative = type->has_sign && value >> (8 * size - 1);
    if (*negative && size < 8) value |= UINT64_MAX << 8 * size;
    return value;
}

size_t kd_h5_convert(void *values, const kd_h5_integer *to, const void *raw,
                     const kd_h5_integer *from, size_t n, char says[32]) {
    const uint64_t high = UINT64_MAX >> (64 - 8 * to->size + to->has_sign); /* the largest */
    for (size_t i = 0; i < n; i++) {
        bool negative;
        const uint64_t value =
            integer_at((const unsigned char *)raw + i * from->size, from, &negative);
        if (negative ? !to->has_sign || ~value > high : value > high) {
            snprintf(says, 32, "%s%llu", negative ? "-" : "",
                     (unsigned long long)(negative ? -value : value));
            return i;
        }
        memcpy((char *)values + i * to->size, &value, to->size); /* little-endian, as here */
    }
    return n;
}
