/* Sizes of arrays whose counts have 64 bits, on processors whose addresses may have 32. */
#ifndef KD_BASE_SIZE_H
#define KD_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of `count` items of `each` bytes; where addresses do not reach that far, a size that
 * every allocator refuses, with a few bytes more as well. So an array is as long as its count says,
 * or there is no memory for it. */
size_t kd_array_bytes(int64_t count, size_t each);

#endif
