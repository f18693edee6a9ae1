/* How rows of the tables of keys.h are written, and the rows that several tables share. */
#ifndef KD_CONFIG_ROWS_H
#define KD_CONFIG_ROWS_H

#include "config/keys.h"

/* clang-format off */
#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
#define NOWHERE .count = -1 /* no member counts the values or says that they are there */
#define FIELD(s, member) .offset = offsetof(s, member), .size = sizeof(((s *)0)->member), NOWHERE
#define LIST(s, member, n)                                                                         \
    .offset = offsetof(s, member), .size = sizeof(((s *)0)->member),                               \
    .stride = sizeof(((s *)0)->member[0]), .count = (ptrdiff_t)offsetof(s, n)
#define PART(s, member, t) .offset = offsetof(s, member), NOWHERE, .table = &(t)
#define HERE(t) NOWHERE, .table = &(t)
#define OPTIONAL_PART(s, member, flag, t)                                                          \
    .offset = offsetof(s, member), .count = (ptrdiff_t)offsetof(s, flag), .table = &(t)
#define RANGE(from, to) .low = (from), .high = (to)
#define ABOVE_ZERO .low = 0, .high = 1e9, .above = true
#define FRACTION .low = 0, .high = 1
/* Not so near to 1 that float32 would take it for 1: 1/(1 − p) must stay a number. */
#define BELOW_ONE .low = 0, .high = 0.999999

#define U64 .low = 0, .high = KD_KEY_U64_MAX
enum { SIDE = 1 << 12, UNITS = 1 << 16, BILLION = 1000000000 };
/* clang-format on */

#endif
